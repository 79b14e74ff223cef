"""heap: freed buffers stay ours, for the pipelines that fill and free megabytes all the time.

The C library gives a freed buffer of megabytes back to the kernel, and getting the next
one means a page fault for every 4 KiB of it. That costs more than encoding what is in it:
adding 2 GB took 7.5 s with that and 5.4 s without (scripts/bench.py, add).
"""

from __future__ import annotations

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
