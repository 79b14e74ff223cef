"""The codecs by number, and the choice among them.

Numbers are never reused (docs/spec-store.md, section 6). ``encode`` may choose as it
likes; ``decode`` undoes whatever any version chose. A decoder allocates no more than the
raw length it was told and a constant, so a lying body is refused before it costs memory.
A body that is not valid is a ValueError; a number from the future an UnknownCodecError.
"""

from __future__ import annotations

from git_nn.codec import zstd

Buffer = bytes | bytearray | memoryview

RAW, ZSTD, PLANES16, PLANES32, PLANES64 = range(5)

SMALL = 16 * 1024  # below this numpy does not earn its import
REPEATS = 3.0  # a sample that zstd shrinks by this has structure that planes would hide
SAMPLE = 64 * 1024

_WIDTHS = {PLANES16: 2, PLANES32: 4, PLANES64: 8}
_FLOATS = {
    "bf16": PLANES16, "f16": PLANES16, "f32": PLANES32, "c64": PLANES32,
    "f64": PLANES64, "c128": PLANES64,
}  # fmt: skip
_DENSE = ("f8_", "f6_", "f4_", "i8", "i4", "u4")  # no repeats to find, only uneven values


class UnknownCodecError(Exception):
    """A codec number that this version does not know."""


def encode(data: Buffer, dtype: str = "u8", base: Buffer | None = None) -> tuple[int, Buffer]:
    """(codec, body) that decode to ``data``; never longer than ``data``. Any dtype will do."""
    if len(data) < SMALL:
        return _smallest(data, [(ZSTD, zstd.compress(data, zstd.DEFAULT))])
    planes = _FLOATS.get(dtype)
    if planes is not None:
        return _smallest(data, _float_bodies(data, planes))
    preset = zstd.HUFFMAN if dtype.startswith(_DENSE) else zstd.DEFAULT
    return _smallest(data, [(ZSTD, zstd.compress(data, preset))])


def _float_bodies(data: Buffer, codec: int) -> list[tuple[int, Buffer]]:
    from git_nn.codec import planes

    bodies: list[tuple[int, Buffer]] = [(codec, planes.encode(data, _WIDTHS[codec]))]
    middle = len(data) // 2
    sample = memoryview(data)[middle : middle + SAMPLE]
    if len(sample) > REPEATS * len(zstd.compress(sample, zstd.FAST)):
        bodies.append((ZSTD, zstd.compress(data, zstd.DEFAULT)))
    return bodies


def _smallest(data: Buffer, bodies: list[tuple[int, Buffer]]) -> tuple[int, Buffer]:
    codec, body = min(bodies, key=lambda pair: len(pair[1]))
    return (codec, body) if len(body) <= 0.98 * len(data) else (RAW, data)


def decode(codec: int, body: Buffer, rawlen: int, base: Buffer | None = None) -> Buffer:
    """The ``rawlen`` bytes that were encoded; ValueError where ``body`` is not their encoding."""
    if codec == RAW:
        if len(body) != rawlen:
            raise ValueError("the stored length is wrong")
        return body
    if codec == ZSTD:
        return zstd.decompress(body, rawlen)
    if codec in _WIDTHS:
        from git_nn.codec import planes

        return planes.decode(body, rawlen, _WIDTHS[codec])
    raise UnknownCodecError(f"codec {codec} is unknown")


def needs_base(codec: int) -> bool:
    """Whether ``decode`` of this codec needs the base."""
    return False
