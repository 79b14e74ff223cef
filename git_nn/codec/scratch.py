"""Working memory of the codecs: one set of buffers per thread, used again and again.

Fresh memory costs a page fault per 4 KiB, more than most of what is done to it here. What
an ``array`` holds lasts until the same thread asks for the same name again, so a name
belongs to one place in the code, and no array of this module may leave the package.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

_buffers = threading.local()


def array(name: str, count: int, dtype: str = "u1") -> Array:
    """``count`` elements of undefined content."""
    size = count * np.dtype(dtype).itemsize
    found: Array | None = getattr(_buffers, name, None)
    if found is None or len(found) < size:
        found = np.empty(max(size, 4096), np.uint8)
        setattr(_buffers, name, found)
    return found[:size].view(dtype)
