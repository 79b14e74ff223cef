"""The codecs by number, and the fast choice among them.

Numbers are never reused (docs/spec-codecs.md). ``encode`` may choose as it likes;
``decode`` undoes whatever any version chose. A decoder allocates no more than a multiple
of the raw length it was told, so a lying body is refused before it costs memory. A body
that is not valid is a ValueError; a number from the future an UnknownCodecError.
"""

from __future__ import annotations

from git_nn.codec import zstd
from git_nn.codec.kinds import Kind, kind_of

Buffer = bytes | bytearray | memoryview

RAW, ZSTD, PLANES16, PLANES32, PLANES64, WORDS, DELTA = range(7)
NARROWED, NARROWED_DELTA, PARTITIONED, LOW_RANK = range(7, 11)

SMALL = 16 * 1024  # below this numpy does not earn its import
REPEATS = 3.0  # a sample that zstd shrinks by this has structure that planes would hide
SAMPLE = 32 * 1024
WORTH = 0.98  # of the raw length; a body that is not shorter does not pay for decoding it
CLEARLY = {
    1: 0.5,
    2: 0.55,
    4: 0.72,
    8: 0.82,
}  # width -> of the raw length; no weights reach it alone

_PLANES = {PLANES16: 2, PLANES32: 4, PLANES64: 8}
_WITH_BASE = frozenset({DELTA, NARROWED_DELTA, PARTITIONED, LOW_RANK})


class UnknownCodecError(Exception):
    """A codec number that this version does not know."""


def encode(data: Buffer, dtype: str = "u8", base: Buffer | None = None) -> tuple[int, Buffer]:
    """(codec, body) that decode to ``data``; never longer than ``data``.

    Any dtype will do. ``base`` are the raw bytes of an earlier version, for a codec that
    ``needs_base``; one of another length is not used. What was coded has been decoded
    again and compared.
    """
    if len(data) < SMALL:
        body = zstd.compress(data, zstd.DEFAULT)
        same = zstd.decompress(body, len(data)) == data
        return _smallest(data, [(ZSTD, body)] if same else [(RAW, data)])
    from git_nn.codec.packing import MismatchError

    kind = kind_of(dtype)
    if base is not None and len(base) != len(data):
        base = None
    try:
        return _narrowed(data, kind, base) or _chosen(data, kind, base)
    except MismatchError:
        return RAW, data


def _narrowed(data: Buffer, kind: Kind, base: Buffer | None) -> tuple[int, Buffer] | None:
    """f32 words that hold 16-bit floats, as those; None where they do not."""
    if not (kind.floats and kind.width == 4):
        return None
    from git_nn.codec import narrow

    found = narrow.narrowed(data)
    if found is None:
        return None
    dtype, half = found
    old = None if base is None else narrow.narrowed_as(dtype, base)
    codec, body = _chosen(half, kind_of(dtype), old)
    outer = NARROWED_DELTA if needs_base(codec) else NARROWED
    return outer, narrow.wrapped(dtype, codec, body)


def _chosen(data: Buffer, kind: Kind, base: Buffer | None) -> tuple[int, Buffer]:
    if base is None:
        return _smallest(data, _alone(data, kind))
    return _against(data, base, kind)


def _against(data: Buffer, base: Buffer, kind: Kind) -> tuple[int, Buffer]:
    """The delta, unless the data alone, which costs as much again to try, may be smaller."""
    from git_nn.codec import delta

    bodies: list[tuple[int, Buffer]] = []
    expected = delta.estimate(data, base, kind.width, floats=kind.floats) / 8
    clearly = CLEARLY[kind.width]
    if expected > clearly:
        bodies += _alone(data, kind)
    if expected * len(data) < min((1.02 * len(body) for _, body in bodies), default=len(data)):
        body = delta.encode(data, base, kind.width, floats=kind.floats)
        bodies.append((DELTA, body))
        if len(bodies) == 1 and len(body) > clearly * len(data):
            bodies += _alone(data, kind)
    return _smallest(data, bodies)


def _alone(data: Buffer, kind: Kind) -> list[tuple[int, Buffer]]:
    if not kind.planar:
        return [(ZSTD, _zstd(data, zstd.HUFFMAN if kind.dense else zstd.DEFAULT))]
    from git_nn.codec import planes

    bodies: list[tuple[int, Buffer]] = [(WORDS, planes.encode(data, kind.width))]
    middle = len(data) // 2
    sample = memoryview(data)[middle : middle + SAMPLE]
    if len(sample) > REPEATS * len(zstd.compress(sample, zstd.FAST)):
        bodies.append((ZSTD, _zstd(data, zstd.DEFAULT)))
    return bodies


def _zstd(data: Buffer, preset: str) -> bytes:
    import numpy as np

    from git_nn.codec import records

    return records.compressed(np.frombuffer(data, np.uint8), preset)


def _smallest(data: Buffer, bodies: list[tuple[int, Buffer]]) -> tuple[int, Buffer]:
    codec, body = min(bodies, key=lambda pair: len(pair[1]))
    return (codec, body) if len(body) <= WORTH * len(data) else (RAW, data)


def needs_base(codec: int) -> bool:
    """Whether ``decode`` must be given the base."""
    return codec in _WITH_BASE


def decode(codec: int, body: Buffer, rawlen: int, base: Buffer | None = None) -> Buffer:
    """The ``rawlen`` bytes that were encoded; ValueError where ``body`` is not their encoding.

    ``base`` is the raw bytes that ``encode`` was given, where the codec ``needs_base``.
    """
    if codec == RAW:
        if len(body) != rawlen:
            raise ValueError("the stored length is wrong")
        return body
    if codec == ZSTD:
        return zstd.decompress(body, rawlen)
    if codec in _PLANES or codec == WORDS:
        from git_nn.codec import planes

        if codec == WORDS:
            return planes.decode(body, rawlen)
        return planes.decode_planes(body, rawlen, _PLANES[codec])
    if codec == NARROWED:
        from git_nn.codec import narrow

        return narrow.decode(body, rawlen, None, decode)
    if codec not in _WITH_BASE:
        raise UnknownCodecError(f"codec {codec} is unknown")
    if base is None or len(base) != rawlen:
        raise ValueError("the base is missing or of another length")
    return _decode_against(codec, body, rawlen, base)


def _decode_against(codec: int, body: Buffer, rawlen: int, base: Buffer) -> Buffer:
    from git_nn.codec import delta, lowrank, narrow, partition

    if codec == NARROWED_DELTA:
        return narrow.decode(body, rawlen, base, decode)
    if codec == PARTITIONED:
        return partition.decode(body, rawlen, base)
    if codec == LOW_RANK:
        return lowrank.decode(body, rawlen, base, decode)
    return delta.decode(body, rawlen, base)
