"""The smallest encoding of a segment, for repack: slow, and for the background.

Tries whatever may be the smallest and decodes what it returns once more, whole, with the
same function that readers use.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from git_nn.codec import table
from git_nn.codec.kinds import Kind, kind_of
from git_nn.codec.packing import MismatchError

Buffer = bytes | bytearray | memoryview
Coded = tuple[int, Buffer]

HOPELESS = 1.15  # a delta that a sample expects to be so much larger is not made


@dataclass(frozen=True, slots=True)
class Cut:
    """A segment's place in its matrix, as for ``encode``; the size that it has ``alone``,
    where no delta is smaller."""

    columns: int
    first: int
    alone: int


def encode(
    data: Buffer, dtype: str, base: Buffer | None = None, *, columns: int = 0, first: int = 0
) -> Coded:
    """(codec, body) that decode to ``data``, never longer than ``table.encode`` makes it.

    ``columns`` is the row length, in elements of ``dtype``, of the matrix that ``data`` is
    cut from, 0 where it is none; ``first`` is the number of elements of it before ``data``.
    """
    found = [table.encode(data, dtype, base)]
    if len(data) >= table.SMALL:
        kind = kind_of(dtype)
        against = base if base is not None and len(base) == len(data) else None
        try:
            codec, body = found[0]
            cut = Cut(columns, first, len(data if table.needs_base(codec) else body))
            found += _narrowed(data, kind, against, cut) or _tried(data, kind, against, cut)
        except MismatchError:
            return found[0]
    for codec, body in sorted(found, key=lambda pair: len(pair[1])):
        if _decodes(codec, body, data, base):
            return codec, body
    return table.RAW, data


def _narrowed(data: Buffer, kind: Kind, base: Buffer | None, cut: Cut) -> list[Coded]:
    from git_nn.codec import narrow

    found = narrow.narrowed(data) if kind.floats and kind.width == 4 else None
    if found is None:
        return []
    dtype, half = found
    old = None if base is None else narrow.narrowed_as(dtype, base)
    return [
        (
            table.NARROWED_DELTA if table.needs_base(codec) else table.NARROWED,
            narrow.wrapped(dtype, codec, body),
        )
        for codec, body in _tried(half, kind_of(dtype), old, cut)
    ]


def _tried(data: Buffer, kind: Kind, base: Buffer | None, cut: Cut) -> list[Coded]:
    from git_nn.codec import planes

    found = [] if base is None else _against(data, kind, base, cut)
    smallest = min([cut.alone, *(len(body) for _, body in found)])
    if kind.planar and smallest > table.CLEARLY[kind.width] * len(data):
        found.append((table.WORDS, planes.encode(data, kind.width, thorough=True)))
    return found


def _against(data: Buffer, kind: Kind, base: Buffer, cut: Cut) -> list[Coded]:
    from git_nn.codec import delta, partition

    found = _low_rank(data, kind, base, cut)
    smallest = min([cut.alone, *(len(body) for _, body in found)])
    expected = delta.estimate(data, base, kind.width, floats=kind.floats) / 8
    if expected * len(data) > HOPELESS * smallest:
        return found
    if not kind.key_bits:
        body = delta.encode(data, base, kind.width, floats=kind.floats, thorough=True)
        found.append((table.DELTA, body))
    mapped = [False, True] if partition.worth_a_map(data, base, kind) else [False]
    bodies = [partition.encode(data, base, kind, mapped=choice) for choice in mapped]
    return found + [(table.PARTITIONED, body) for body in bodies]


def _low_rank(data: Buffer, kind: Kind, base: Buffer, cut: Cut) -> list[Coded]:
    from git_nn.codec import delta, factors, lowrank, partition

    if not cut.columns or kind.name not in lowrank.TYPES[1:]:
        return []
    new, old = delta.words_of(data, kind.width), delta.words_of(base, kind.width)
    place = lowrank.Place(cut.columns, cut.first % cut.columns, len(new))
    found = factors.find(new, old, kind.name, place)
    if found is None:
        return []
    prediction = lowrank.predict(base, kind.name, place, found)
    rest = partition.encode(data, prediction, kind, mapped=False)
    body = lowrank.encode(kind.name, place, found, table.PARTITIONED, rest)
    return [(table.LOW_RANK, body)]


def _decodes(codec: int, body: Buffer, data: Buffer, base: Buffer | None) -> bool:
    old = base if table.needs_base(codec) else None
    try:
        back = table.decode(codec, body, len(data), old)
    except ValueError:
        return False
    return np.array_equal(np.frombuffer(back, np.uint8), np.frombuffer(data, np.uint8))
