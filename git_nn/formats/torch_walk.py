"""The tensors of a torch checkpoint among the inert nodes of its pickle, as windows on storages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from git_nn.formats.pickle_machine import Call, Dict, Global, PersistentId
from git_nn.formats.pickle_walk import named
from git_nn.objects.tensor import check_shape, contiguous_strides

_WRAPPERS = frozenset({"_rebuild_parameter", "_rebuild_parameter_with_state"})
_TENSORS = frozenset(
    {"_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_tensor_v3", "_rebuild_qtensor"}
)
_METADATA = {"_rebuild_tensor_v2": 6, "_rebuild_tensor_v3": 7}  # the place of this argument

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


@dataclass(frozen=True, slots=True)
class Storage:
    """A persistent id: the storage ``key`` of the file, as ``count`` elements.

    ``dtype`` is empty where the elements are of a kind that has no name here. ``start`` is
    where in it the storage begins, in elements: files of before 1.6 may share one so.
    """

    key: str
    dtype: str
    count: int
    start: int = 0


@dataclass(frozen=True, slots=True)
class Reference:
    """A tensor as a window on a storage, in elements; ``name`` is None where it has none."""

    name: str | None
    storage: Storage
    dtype: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def called(self, name: str | None) -> Reference:
        return Reference(name, self.storage, self.dtype, self.offset, self.shape, self.strides)


FindStorage = Callable[[Any], Storage | None]


def references(root: Any, storage_of: FindStorage) -> list[Reference]:
    """Every tensor that is reachable, in the order in which the pickle has them."""
    return [r.called(name) for name, r in named(root, partial(read, storage_of=storage_of))]


def read(
    node: Any, storage_of: FindStorage
) -> tuple[Reference | None, Any, tuple[Any, ...] | None]:
    """What tensor a node is, for ``pickle_walk``; ``storage_of`` knows where storages are."""
    if isinstance(node, PersistentId):
        storage = storage_of(node)
        return None if storage is None else _whole(storage), None, None
    if not isinstance(node, Call):
        return None, None, None
    node = _unwrap(node)
    rebuilt = _rebuilt(node)
    if rebuilt is None:
        return None, node, None
    function, args, rest = rebuilt
    storage = storage_of(args[0])
    if storage is None:
        return None, node, rest
    return _window(storage, function, args), node, rest


def storage_of(node: Any) -> Storage | None:
    """The storage that a persistent id is; None for any other node."""
    match node:
        case PersistentId(("storage", Global(_, kind), str(key), _, int(count), *rest)):
            pass
        case _:
            return None
    start = 0
    match rest:
        case [(_, int(start), int(count)), *_]:  # a window on the storage of that key
            pass
    if count < 0 or start < 0:
        return None
    return Storage(key, STORAGES.get(kind, ""), count, start)


def _whole(storage: Storage) -> Reference:
    return Reference(None, storage, storage.dtype, storage.start, (storage.count,), (1,))


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


def _window(storage: Storage, function: str, args: tuple[Any, ...]) -> Reference | None:
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
    dtype = storage.dtype
    if function == "_rebuild_tensor_v3":
        dtype = _dtype(args[6]) if len(args) > 6 else ""
    if _is_lazy(args[_METADATA.get(function, len(args)) :]):
        dtype = ""
    strides = _plain_strides(shape, strides)
    return Reference(None, storage, dtype, storage.start + offset, shape, strides)


def _is_lazy(metadata: tuple[Any, ...]) -> bool:
    """Whether the values are to be conjugated or negated on reading."""
    return any(
        key in {"conj", "neg"} and value is not False
        for node in metadata
        if isinstance(node, Dict)
        for key, value in node.items
        if isinstance(key, str)
    )


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
