"""The smallest encoding of a segment, for repack: slow, and for the background.

Tries whatever may be the smallest and decodes what it returns once more, whole, with the
same function that readers use.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from git_nn.codec import table
from git_nn.codec.kinds import Kind, kind_of
from git_nn.codec.packing import MismatchError

Buffer = bytes | bytearray | memoryview
Coded = tuple[int, Buffer]

HOPELESS = 1.15  # a delta that a sample expects to be so much larger is not made


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
            found += _narrowed(data, kind, against, columns, first) or _tried(
                data, kind, against, columns, first
            )
        except MismatchError:
            return found[0]
    for codec, body in sorted(found, key=lambda pair: len(pair[1])):
        if _decodes(codec, body, data, base):
            return codec, body
    return table.RAW, data


def _narrowed(
    data: Buffer, kind: Kind, base: Buffer | None, columns: int, first: int
) -> list[Coded]:
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
        for codec, body in _tried(half, kind_of(dtype), old, columns, first)
    ]


def _tried(
    data: Buffer, kind: Kind, base: Buffer | None, columns: int, first: int
) -> Iterator[Coded] | list[Coded]:
    from git_nn.codec import planes

    found: list[Coded] = []
    if kind.planar:
        found.append((table.WORDS, planes.encode(data, kind.width, thorough=True)))
    if base is not None:
        found += _low_rank(data, kind, base, columns, first)
        smallest = min((len(body) for _, body in found), default=len(data))
        found += _against(data, kind, base, smallest)
    return found


def _against(data: Buffer, kind: Kind, base: Buffer, alone: int) -> Iterator[Coded]:
    from git_nn.codec import delta, partition

    if (
        delta.estimate(data, base, kind.width, floats=kind.floats) / 8 * len(data)
        > HOPELESS * alone
    ):
        return
    if not kind.key_bits:
        body = delta.encode(data, base, kind.width, floats=kind.floats, thorough=True)
        yield table.DELTA, body
    for mapped in (False, True):
        yield table.PARTITIONED, partition.encode(data, base, kind, mapped=mapped)


def _low_rank(data: Buffer, kind: Kind, base: Buffer, columns: int, first: int) -> list[Coded]:
    from git_nn.codec import delta, factors, lowrank, partition

    if not columns or kind.name not in lowrank.TYPES[1:]:
        return []
    new, old = delta.words_of(data, kind.width), delta.words_of(base, kind.width)
    place = lowrank.Place(columns, first % columns, len(new))
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
