"""process: what every process of ours sets for itself before it works on much data.

The C library gives a freed buffer of megabytes back to the kernel, and getting the next
one means a page fault for every 4 KiB of it. That costs more than encoding what is in it:
cleaning 2 GB took 7.5 s with that and 5.4 s without.

A BLAS of its own accord uses all cores for each product. We use them for segments, so its
threads only stand in each other's way: decoding low-rank deltas took twice as long.
"""

from __future__ import annotations

import os
import sys
from functools import cache

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD of mallopt(3)
_KEPT = 64 * 1024 * 1024


@cache
def keep_freed_buffers() -> None:
    """Ask glibc to reuse buffers up to 32 MiB; elsewhere nothing happens."""
    if not sys.platform.startswith("linux"):
        return
    import ctypes

    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _KEPT // 2)  # 32 MiB is the most that glibc takes
        mallopt(_TRIM_THRESHOLD, _KEPT)


def one_thread_per_product() -> None:
    """Before numpy is imported; whoever has set these variables knows better."""
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
