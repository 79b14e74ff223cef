"""Zstandard frames: plain, fast, and set up to be no more than a Huffman coder.

The HUFFMAN preset has a 64-entry hash table and matches of at least 7 bytes: on a plane
of exponents it finds no matches, skips quickly, and what remains is Huffman coding of
128 KiB blocks, smaller and faster than the levels 1 and 3 (research/codecs.md A).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import zstandard

Buffer = bytes | bytearray | memoryview
T = TypeVar("T")

DEFAULT, FAST, HUFFMAN = "default", "fast", "huffman"
MAX_WINDOW = 8 * 1024 * 1024
_RUN = 1  # the kind of a block of one repeated byte

# Contexts must not be shared between threads, and cost a megabyte each to make.
_contexts = threading.local()


def compress(data: Buffer, preset: str) -> bytes:
    """One frame with its content size."""
    return _compressor(preset).compress(data)


def decompress(body: Buffer, rawlen: int) -> bytes:
    """The content of ``body``, which must be one frame of exactly ``rawlen`` bytes."""
    import zstandard

    try:
        declared = zstandard.get_frame_parameters(body)
        if declared.content_size != rawlen or declared.window_size > MAX_WINDOW:
            raise ValueError("a zstd frame of another size or of too large a window")
        data = _decompressor().decompress(body, max_output_size=rawlen, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise ValueError(f"not a zstd frame: {error}") from error
    if len(data) != rawlen:
        raise ValueError("a zstd frame of another size")
    return data


def decompress_into(body: Buffer, out: memoryview) -> None:
    """The content of ``body``, which must be one frame of exactly ``len(out)`` bytes."""
    import zstandard

    try:
        declared = zstandard.get_frame_parameters(body)
        if declared.content_size != len(out) or declared.window_size > MAX_WINDOW:
            raise ValueError("a zstd frame of another size or of too large a window")
        if _frame_length(body, 4 * declared.has_checksum) != len(body):
            raise ValueError("not one whole zstd frame")
        # with room for the whole content zstd decodes in place, without a copy of its own
        if _decompressor().stream_reader(body).readinto(out) != len(out):
            raise ValueError("a zstd frame of another size")
    except zstandard.ZstdError as error:
        raise ValueError(f"not a zstd frame: {error}") from error


def _frame_length(body: Buffer, checksum: int) -> int:
    """Bytes up to the end of the frame's last block and checksum, by the block headers."""
    import zstandard

    at, last = zstandard.frame_header_size(body), 0
    while not last:
        header = int.from_bytes(body[at : at + 3], "little")
        last, kind, size = header & 1, header >> 1 & 3, header >> 3
        at += 3 + (1 if kind == _RUN else size)
        if at > len(body):
            raise ValueError("a zstd frame is cut off")
    return at + checksum


def _compressor(preset: str) -> zstandard.ZstdCompressor:
    def make() -> zstandard.ZstdCompressor:
        import zstandard

        if preset == HUFFMAN:
            parameters = zstandard.ZstdCompressionParameters(
                strategy=zstandard.STRATEGY_FAST,
                window_log=17,
                hash_log=6,
                chain_log=6,
                search_log=1,
                min_match=7,
                target_length=0,
                write_content_size=True,
            )
            return zstandard.ZstdCompressor(compression_params=parameters)
        return zstandard.ZstdCompressor(level=3 if preset == DEFAULT else 1)

    return _of_thread(preset, make)


def _decompressor() -> zstandard.ZstdDecompressor:
    def make() -> zstandard.ZstdDecompressor:
        import zstandard

        return zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW)

    return _of_thread("decompressor", make)


def _of_thread(name: str, make: Callable[[], T]) -> T:
    found: T | None = getattr(_contexts, name, None)
    if found is None:
        found = make()
        setattr(_contexts, name, found)
    return found
