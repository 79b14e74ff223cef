"""The one door to msgpack: canonical encoding of plain values, strict and bounded decoding."""

from __future__ import annotations

from typing import Any

import msgpack


def pack(value: Any) -> bytes:
    """msgpack of ints, strs, bytes, and lists of them; equal values give equal bytes.

    Strings may hold surrogate escapes (PEP 383), as tensor names do.
    """
    packed: bytes = msgpack.packb(value, use_bin_type=True, unicode_errors="surrogateescape")
    return packed


def unpack(data: bytes | memoryview) -> Any:
    """The value that ``pack`` wrote; ValueError for anything that is not one whole value."""
    try:
        return msgpack.unpackb(
            data,
            raw=False,
            use_list=True,
            strict_map_key=True,
            unicode_errors="surrogateescape",
            max_ext_len=0,
        )
    except (msgpack.UnpackException, ValueError, RecursionError) as error:
        raise ValueError(f"not a record: {error}") from error
