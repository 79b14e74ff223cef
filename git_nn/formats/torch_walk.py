"""The tensors of a torch checkpoint, found by walking the inert nodes of its pickle.

A name is the path of keys and attributes, joined by dots, as ``state_dict`` writes it:
the ``_modules``, ``_parameters`` and ``_buffers`` of a pickled module are left out. The
walk meets each container once, so cycles and shared parts cost nothing, but meets a tensor
as often as it is named. Paths deeper than DEPTH or longer than a name may be are not
followed; what stands there has no name and is kept by its storage alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

from git_nn.errors import LayoutError
from git_nn.formats.pickle_machine import Call, Dict, Global, PersistentId, Set, Span
from git_nn.objects.layout import MAX_TENSORS
from git_nn.objects.names import is_canonical
from git_nn.objects.tensor import check_shape, contiguous_strides

DEPTH = 200
ROOT = "tensor"  # the name of a tensor that is the whole checkpoint

_MAX_NAMES = 32 * 1024 * 1024  # bytes of all names; they all end up in one pointer
_INNER = frozenset({"_modules", "_parameters", "_buffers"})
_WRAPPERS = frozenset({"_rebuild_parameter", "_rebuild_parameter_with_state"})
_TENSORS = frozenset(
    {"_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_tensor_v3", "_rebuild_qtensor"}
)

# storage class or dtype, as torch names it -> ours
STORAGES = {
    "DoubleStorage": "f64", "FloatStorage": "f32", "HalfStorage": "f16", "BFloat16Storage": "bf16",
    "LongStorage": "i64", "IntStorage": "i32", "ShortStorage": "i16", "CharStorage": "i8",
    "ByteStorage": "u8", "BoolStorage": "bool", "ComplexFloatStorage": "c64",
    "ComplexDoubleStorage": "c128", "QInt8Storage": "i8", "QUInt8Storage": "u8",
    "QInt32Storage": "i32", "UntypedStorage": "u8",
}  # fmt: skip
DTYPES = {
    "float64": "f64", "float32": "f32", "float16": "f16", "bfloat16": "bf16",
    "float8_e4m3fn": "f8_e4m3fn", "float8_e4m3fnuz": "f8_e4m3fnuz", "float8_e5m2": "f8_e5m2",
    "float8_e5m2fnuz": "f8_e5m2fnuz", "float8_e8m0fnu": "f8_e8m0",
    "int64": "i64", "int32": "i32", "int16": "i16", "int8": "i8",
    "uint64": "u64", "uint32": "u32", "uint16": "u16", "uint8": "u8", "bool": "bool",
    "complex64": "c64", "complex128": "c128", "qint8": "i8", "quint8": "u8", "qint32": "i32",
}  # fmt: skip


_CONTAINERS = (list, tuple, Dict, Set, Call)
_INERT = (Call, PersistentId)
_Child = tuple[str | None, Any]
_END: Any = (None, object())


@dataclass(frozen=True, slots=True)
class Storage:
    """A persistent id: the bytes of the member ``key``, as ``count`` elements.

    ``dtype`` is empty where the elements are of a kind that has no name here.
    """

    key: str
    dtype: str
    count: int


@dataclass(frozen=True, slots=True)
class Reference:
    """A tensor as a window on a storage, in elements; ``name`` is None where it has none."""

    name: str | None
    storage: Storage
    dtype: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def references(root: Any) -> list[Reference]:
    """Every tensor that is reachable, in the order in which the pickle has them."""
    found: list[Reference] = []
    taken: dict[str, int] = {}
    total = 0
    for path, reference in _walk(root):
        name = None if path is None else _unique(path or ROOT, taken)
        total += len(name or "")
        if len(found) >= MAX_TENSORS or total > _MAX_NAMES:
            raise LayoutError("the checkpoint has too many tensors or too long names")
        found.append(replace(reference, name=name))
    return found


def _unique(name: str, taken: dict[str, int]) -> str:
    """``name``, or ``name~2``, ``name~3`` ... where several tensors have the same path."""
    unique = name
    while unique in taken:
        taken[name] += 1
        unique = f"{name}~{taken[name]}"
    taken[unique] = 1
    return unique


def _walk(root: Any) -> Iterator[tuple[str | None, Reference]]:
    """Tensors with their paths, depth first; each container is entered once."""
    seen: set[int] = set()
    keys: list[str | None] = [""]
    stack: list[Iterator[_Child]] = [iter([("", root)])]
    while stack:
        key, child = next(stack[-1], _END)
        if child is _END[1]:
            stack.pop()
            keys.pop()
            continue
        node = _unwrap(child) if isinstance(child, Call) else child
        reference = _reference(node) if isinstance(node, _INERT) else None
        if reference is not None:
            yield _path([*keys, key]), reference
        if isinstance(node, _CONTAINERS) and id(node) not in seen and len(stack) < DEPTH:
            seen.add(id(node))
            keys.append(key)
            stack.append(_children(node))


def _path(keys: list[str | None]) -> str | None:
    """None where the path is too long or no text, which no name may be."""
    if None in keys:
        return None
    path = ".".join(key for key in keys if key)
    return path if is_canonical(path) else None


def _unwrap(node: Call) -> Any:
    """The tensor in a parameter: both have the same name."""
    if (
        isinstance(node.function, Global)
        and node.function.name in _WRAPPERS
        and isinstance(node.args, tuple)
        and node.args
    ):
        return node.args[0]
    return node


def _children(node: Any) -> Iterator[_Child]:
    match node:
        case Dict():
            return _pairs(node.items)
        case Set():
            return _numbered(node.elements)
        case Call():
            return _call_children(node)
    return _numbered(node)


def _call_children(call: Call) -> Iterator[_Child]:
    """What was given to the call and to its result; attributes as a module names them."""
    rebuilt = _rebuilt(call)
    args = call.args if isinstance(call.args, tuple) else ()
    yield from _numbered(rebuilt[2] if rebuilt else args)
    yield from _pairs(call.items or ())
    yield from _numbered(call.elements or ())
    states = call.state if isinstance(call.state, tuple) else (call.state,)
    for state in states:  # a tuple is the attributes and the slots
        if isinstance(state, Dict):
            for key, value in _pairs(state.items):
                yield ("" if key in _INNER else key), value
        else:
            yield "state", state


def _numbered(nodes: Iterable[Any]) -> Iterator[_Child]:
    return zip(map(str, count()), nodes, strict=False)


def _pairs(items: Iterable[tuple[Any, Any]]) -> Iterator[_Child]:
    for i, (key, value) in enumerate(items):
        match key:
            case str():
                yield key, value
            case int() | float() | None:
                yield str(key), value
            case Span():
                yield None, value
            case _:
                yield str(i), value


def _reference(node: Any) -> Reference | None:
    """The tensor that ``node`` is, when it is one and its numbers make sense."""
    if isinstance(node, PersistentId):
        storage = _storage(node)
        if storage is None:
            return None
        return Reference(None, storage, storage.dtype, 0, (storage.count,), (1,))
    found = _rebuilt(node)
    if found is None:
        return None
    function, args, _ = found
    storage = _storage(args[0])
    if storage is None:
        return None
    return _window(storage, args, typed=function != "_rebuild_tensor_v3")


def _rebuilt(node: Any) -> tuple[str, tuple[Any, ...], tuple[Any, ...]] | None:
    """How a tensor is rebuilt, when ``node`` is one: by what, from what, and what else is given."""
    if not isinstance(node, Call) or not isinstance(node.args, tuple):
        return None
    match node.function, node.args:
        case Global("torch._utils", name), (_, _, _, _, *rest) if name in _TENSORS:
            return name, node.args, tuple(rest)
        case Global("torch._tensor", "_rebuild_from_type_v2"), (
            Global("torch._utils", name), _, (_, _, _, _, *_) as args, *rest,
        ) if name in _TENSORS:  # fmt: skip
            return name, args, tuple(rest)  # a subclass of Tensor
    return None


def _window(storage: Storage, args: tuple[Any, ...], *, typed: bool) -> Reference | None:
    offset, shape, strides = args[1:4]
    if not isinstance(shape, tuple) or not isinstance(strides, tuple):
        return None
    numbers = (offset, *shape, *strides)
    if len(shape) != len(strides) or any(type(n) is not int or n < 0 for n in numbers):
        return None
    try:
        check_shape((offset,))
        check_shape(shape)
        check_shape(strides)
    except ValueError:
        return None
    dtype = storage.dtype if typed else _dtype(args[6]) if len(args) > 6 else ""
    return Reference(None, storage, dtype, offset, shape, _plain_strides(shape, strides))


def _plain_strides(shape: tuple[int, ...], strides: tuple[int, ...]) -> tuple[int, ...]:
    """Strides of dimensions that are never stepped along say nothing: make them the usual ones."""
    usual = contiguous_strides(shape)
    if 0 in shape:
        return usual
    return tuple(
        given if dim > 1 else plain for dim, given, plain in zip(shape, strides, usual, strict=True)
    )


def _dtype(node: Any) -> str:
    return DTYPES.get(node.name, "") if isinstance(node, Global) and node.module == "torch" else ""


def _storage(node: Any) -> Storage | None:
    match node:
        case PersistentId(("storage", Global(_, kind), str(key), _, int(count), *_)) if count >= 0:
            return Storage(key, STORAGES.get(kind, ""), count)
    return None
