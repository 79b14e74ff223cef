"""units_file: which axes carry the same units, as a person wrote it down in TOML.

    [hidden]
    places = ["0.weight:0", "0.bias:0", "2.weight:1"]

    [heads]
    count = 4
    places = [["q.weight:0", "k.weight:0"], ["v.weight:0", "out.weight:1"]]

A place is TENSOR:AXIS, or TENSOR:AXIS[START:STOP] for a part of the axis. Each unit has
neighbouring positions there; ``count`` is the first place's length where it is not given. In
a list of lists, units also have parts, one for each position; each list is in an order of its own.
The file is data: nothing in it is run.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from typing import Any

import numpy as np

from git_nn.errors import UsageError
from git_nn.merge.matching import Place, Units
from git_nn.merge.modules import STATISTICS
from git_nn.objects.tensor import Shape

_PLACE = re.compile(r"(?P<tensor>.+):(?P<axis>\d+)(?:\[(?P<start>\d+):(?P<stop>\d+)\])?")


def read(text: str, source: str, shapes: Mapping[str, Shape]) -> tuple[Units, ...]:
    """The units that ``text`` names; UsageError says what in ``source`` makes no sense."""
    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{source} is no TOML: {error}") from error
    return tuple(
        _units(name, table, f"{source}, [{name}]", shapes) for name, table in found.items()
    )


def _units(name: str, table: Any, where: str, shapes: Mapping[str, Shape]) -> Units:
    places = table.get("places") if isinstance(table, dict) else None
    if not isinstance(places, list) or not places or table.keys() - {"places", "count"}:
        raise UsageError(f"{where} needs a list of places, and may have a count; nothing else")
    nested = isinstance(places[0], list)
    lists = places if nested else [places]
    ranges = [[_range(word, where, shapes) for word in words] for words in lists]
    if not all(ranges):
        raise UsageError(f"{where} has an empty list of places")
    count = table.get("count", len(ranges[0][0][2]))
    if not isinstance(count, int) or count < 1:
        raise UsageError(f"{where}: count is {count!r}", hint="use a whole number from 1")
    made = tuple(tuple(_place(one, count, nested, where) for one in words) for words in ranges)
    if any(place.index.shape[1] != some[0].index.shape[1] for some in made for place in some):
        raise UsageError(f"{where}: the places of one list have different numbers of parts")
    return Units(name, count, made)


def _range(word: Any, where: str, shapes: Mapping[str, Shape]) -> tuple[str, int, range]:
    """The tensor, the axis and the positions that a place names."""
    match = _PLACE.fullmatch(word) if isinstance(word, str) else None
    if match is None:
        raise UsageError(f"{where}: {word!r} is no place", hint="write TENSOR:AXIS")
    shape = shapes.get(match["tensor"])
    axis = int(match["axis"])
    if shape is None or axis >= len(shape):
        missing = "tensor" if shape is None else "axis"
        raise UsageError(f"{where}: there is no {missing} {word!r}", hint="run 'git nn ls FILE'")
    found = range(int(match["start"] or 0), int(match["stop"] or shape[axis]))
    if not found or found.stop > shape[axis]:
        raise UsageError(f"{where}: {word!r} is beyond the axis of {shape[axis]}")
    return match["tensor"], axis, found


def _place(one: tuple[str, int, range], count: int, nested: bool, where: str) -> Place:
    tensor, axis, found = one
    if len(found) % count:
        raise UsageError(f"{where}: {len(found)} positions of {tensor} are no share of {count}")
    shape = (count, -1, 1) if nested else (count, 1, -1)
    index = np.arange(found.start, found.stop).reshape(shape)
    return Place(tensor, axis, index, tensor.rpartition(".")[2] not in STATISTICS)
