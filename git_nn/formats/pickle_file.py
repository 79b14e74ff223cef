"""pickle: bare pickles, one or several in a row, and joblib files that are not compressed.

Read by an interpreter that makes inert nodes: nothing is imported, called or built.
Payloads are

1. numpy arrays of numbers, of any size, and the numpy scalars that have a key or an attribute
   of their own (in a list they are a record of something);
2. torch tensors, each of which has a whole file of torch-legacy as its literal;
3. any other bytes literal of LARGE bytes or more, and any text that is long (LONG of
   pickle_machine), as ``u8``: boosters, structured arrays, models kept as text.

Arrays below LARGE bytes stay literal where there are more than MANY of them: such are words or
nodes with a few numbers each, and their names would cost more than they hold.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from git_nn.errors import LayoutError
from git_nn.formats import torch_legacy, torch_walk
from git_nn.formats.base import Source, Window
from git_nn.formats.pickle_arrays import ArrayMachine
from git_nn.formats.pickle_compressed import (
    compression,
    hides_pickle,
    may_hide_pickle,
    starts_pickle,
)
from git_nn.formats.pickle_machine import Budget, Call, Dict, Global, Span
from git_nn.formats.pickle_numpy import Array, array_of, bytes_of
from git_nn.formats.pickle_opcodes import run
from git_nn.formats.pickle_plain import plain
from git_nn.formats.pickle_walk import named
from git_nn.formats.torch_place import Placed, free, place
from git_nn.formats.torch_walk import Reference, Storage
from git_nn.objects.layout import Extent, Layout, Payload, View
from git_nn.objects.names import natural_key
from git_nn.objects.tensor import contiguous_strides

NAME = "pickle"
VERSION = 1
SUFFIXES = (".pkl", ".pickle", ".joblib", ".pdparams", ".pdopt")
ABOUT = "pickle and joblib: scikit-learn, XGBoost, LightGBM, numpy, PaddlePaddle"

LARGE = 512
MANY = 1000

_MAX_PICKLES = 1000
_MAX_VIEWS = 50_000  # one literal may have as many names as a pickle has room for
_PLAIN_CALLS = frozenset({"builtins", "__builtin__"})


def sniff(head: bytes) -> bool:
    """A pickle, but not the first of those of torch-legacy: alone they say nothing."""
    return (starts_pickle(head) and not torch_legacy.sniff(head)) or may_hide_pickle(head)


def layout(source: Source) -> Layout:
    reader = _Reader(source)
    found = named(_value(source), reader.read)
    taken = {name for name, _ in found if name is not None}
    tensors = [tensor.called(name) for name, tensor in found if isinstance(tensor, Reference)]
    placed = place(tensors, reader.storages, taken)
    arrays = [(name, array) for name, array in found if name and isinstance(array, Array)]
    _place(_wanted(arrays), taken, placed)
    return Layout(NAME, VERSION, source.size, tuple(placed.payloads), tuple(placed.views))


def structure(source: Source) -> dict[str, Any]:
    """The plain values: classes and their parameters."""
    return plain(_value(source))


def _value(source: Source) -> Any:
    """The value of the file; of several pickles, a list. LayoutError where the first is broken."""
    method = compression(source)
    if method and hides_pickle(source):
        raise LayoutError(f"compressed joblib: {method} hides its arrays, compress=0 would not")
    if method:
        raise LayoutError(f"it is compressed with {method}")
    machine = ArrayMachine(source)
    values = [run(machine)]
    while len(values) < _MAX_PICKLES and starts_pickle(_peek(source, machine.end)):
        machine = ArrayMachine(source, machine.end, budget=machine.budget)
        try:
            values.append(run(machine))
        except LayoutError:
            break  # who loads one pickle never sees what follows
    return values[0] if len(values) == 1 else values


def _peek(source: Source, offset: int) -> bytes:
    return source.read(offset, min(2, source.size - offset))


@dataclass(slots=True)
class _Reader:
    """What the nodes of a pickle are; ``storages`` are those of torch that were met, by ordinal."""

    source: Source
    storages: dict[str, Extent] = field(default_factory=dict)
    _known: dict[int, Storage | None] = field(default_factory=dict)  # by offset
    _budget: Budget = field(default_factory=Budget)

    def read(self, node: Any) -> tuple[Array | Reference | None, Any, tuple[Any, ...] | None]:
        if isinstance(node, Call):
            node = _paddle(node)
        if not isinstance(node, Call):
            return _literal(node), None, None
        array = array_of(node)
        if isinstance(array, Array):
            return array, None, None
        if array is not None:
            return None, array, None
        data = bytes_of(node)
        if data is not None:
            return _literal(data), None, None
        tensor, inside, rest = torch_walk.read(node, self._storage_of)
        if tensor is not None:
            return tensor, inside, rest
        return None, node, None

    def _storage_of(self, node: Any) -> Storage | None:
        """The storage of a torch tensor in a pickle that torch did not write."""
        match node:
            case Call(Global("torch.storage", "_load_from_bytes"), (data,)):
                span = bytes_of(data)
                if span is None or span.text:
                    return None
                if span.offset not in self._known:
                    self._known[span.offset] = self._embedded(span)
                return self._known[span.offset]
        return None

    def _embedded(self, span: Span) -> Storage | None:
        """The storage that a whole file of torch in a bytes literal is."""
        try:
            file = torch_legacy.read(Window(self.source, span.offset, span.length), self._budget)
        except LayoutError:
            return None
        storage = file.storage_of(file.value)
        extent = None if storage is None else file.storages.get(storage.key)
        if storage is None or extent is None:
            return None
        key = str(len(self.storages))
        self.storages[key] = Extent(span.offset + extent.offset, extent.length)
        return replace(storage, key=key)


def _literal(node: Any) -> Array | None:
    if not isinstance(node, Span) or node.length < LARGE:
        return None
    return Array(node, "u8", (node.length,), numeric=False)


def _paddle(node: Call) -> Any:
    """The array in what paddle.save made of a tensor: both have the same name."""
    match node.function, node.args:
        case Global(module, "tuple"), ((str(), data),) if module in _PLAIN_CALLS:
            return data
        case Global(module, "eval"), ("data", Dict([("data", data)])) if module in _PLAIN_CALLS:
            return data
    return node


# -- what becomes a payload


def _wanted(found: list[tuple[str, Array]]) -> list[tuple[str, Array]]:
    kept = [
        (name, array) for name, array in found if array.span.length >= LARGE or _counts(name, array)
    ]
    small = sum(array.span.length < LARGE for _, array in kept)
    return kept if small <= MANY else [each for each in kept if each[1].span.length >= LARGE]


def _counts(name: str, array: Array) -> bool:
    """Whether a small array is worth a name: numbers, and no record in a list."""
    return array.numeric and (bool(array.shape) or not name.rpartition(".")[2].isdigit())


def _place(found: list[tuple[str, Array]], taken: set[str], placed: Placed) -> None:
    """Add a payload for each literal, and views for its other names."""
    if len(found) > _MAX_VIEWS + len({array.span.offset for _, array in found}):
        raise LayoutError(f"more than {_MAX_VIEWS} names for arrays that have one already")
    groups: dict[int, list[tuple[str, Array]]] = {}
    for name, array in found:
        if array.span.length:
            groups.setdefault(array.span.offset, []).append((name, array))
        else:
            placed.payloads.append(Payload(name, array.dtype, array.shape, ()))
    for group in groups.values():
        if group[1:]:
            group[:] = [(name, _turned(array)) for name, array in group]
        group.sort(key=lambda each: natural_key(each[0]))
        name, array = next((each for each in group if not each[1].axes), group[0])
        views = [each for each in group if each[0] != name]
        if array.axes:
            views.append((name, array))
            name = free(f"storage:{name}", taken)
        extent = Extent(array.span.offset, array.span.length)
        placed.payloads.append(Payload(name, array.dtype, array.shape, (extent,), array.form))
        if not array.form:
            placed.views += (_view(*each, name) for each in views if not each[1].form)


def _turned(array: Array) -> Array:
    """A column-major array as one with other axes, since a payload in a form has no views."""
    if array.form != "fortran":
        return array
    axes = tuple(reversed(range(len(array.shape))))
    return replace(array, shape=array.shape[::-1], form="", axes=axes)


def _view(name: str, array: Array, payload: str) -> View:
    strides = contiguous_strides(array.shape)
    axes = array.axes or tuple(range(len(array.shape)))
    shape = tuple(array.shape[axis] for axis in axes)
    return View(name, array.dtype, shape, payload, 0, tuple(strides[axis] for axis in axes))
