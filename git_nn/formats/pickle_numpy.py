"""numpy arrays among the inert nodes of a pickle: where their bytes stand and what they are.

An array of numbers is told with dtype, shape and form (docs/spec-forms.md). Of any other
array, structured, of text or of a dtype unknown here, the bytes are told as ``u8``. Arrays
of objects have no bytes of their own; their elements are nodes like any other.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from git_nn.formats.pickle_machine import Call, Dict, Global, Span
from git_nn.objects.tensor import Shape, check_shape, is_dtype, nbytes

_KINDS = {
    "f8": "f64", "f4": "f32", "f2": "f16", "b1": "bool", "c8": "c64", "c16": "c128",
    "i8": "i64", "i4": "i32", "i2": "i16", "i1": "i8",
    "u8": "u64", "u4": "u32", "u2": "u16", "u1": "u8",
}  # fmt: skip
_ML_DTYPES = {  # of the package of that name, which jax and keras use
    "bfloat16": ("bf16", 2), "float8_e4m3": ("f8_e4m3", 1), "float8_e4m3fn": ("f8_e4m3fn", 1),
    "float8_e4m3fnuz": ("f8_e4m3fnuz", 1), "float8_e5m2": ("f8_e5m2", 1),
    "float8_e5m2fnuz": ("f8_e5m2fnuz", 1), "float8_e8m0fnu": ("f8_e8m0", 1),
}  # fmt: skip
_KIND = re.compile(r"[A-Za-z]([0-9]{1,9})\Z")
_MULTIARRAY = frozenset({"numpy.core.multiarray", "numpy._core.multiarray"})
_NUMERIC = frozenset({"numpy.core.numeric", "numpy._core.numeric"})
_BYTES = frozenset({"bytes", "bytearray"})
_HAS_OBJECTS = 1  # numpy's NPY_ITEM_REFCOUNT
WRAPPER = Global("joblib.numpy_pickle", "NumpyArrayWrapper")


@dataclass(frozen=True, slots=True)
class Dtype:
    """``name`` is empty where it is none of ours; ``size`` is that of an element, in bytes."""

    name: str
    size: int
    objects: bool


@dataclass(frozen=True, slots=True)
class Array:
    """Bytes in the file and what they are; ``numeric`` unless they are told as ``u8``.

    With ``axes``, the array is that of ``dtype`` and ``shape`` with its dimensions in that order.
    """

    span: Span
    dtype: str
    shape: Shape
    form: str = ""
    axes: Shape = ()
    numeric: bool = True


def array_of(node: Call) -> Array | list[Any] | None:
    """The array that a call would make, or its elements where they are objects; else None."""
    match node.function, node.args, node.state:
        case Global(module, "_reconstruct"), _, (_, shape, dtype, fortran, data) if (
            module in _MULTIARRAY
        ):
            return _array(data, dtype, shape, "F" if fortran is True else "C")
        case Global(module, "_frombuffer"), (data, dtype, shape, order, *axes), _ if (
            module in _NUMERIC
        ):
            return _array(data, dtype, shape, order, *axes)
        case Global(module, "scalar"), (dtype, data), _ if module in _MULTIARRAY:
            return _array(data, dtype, (), "C")
        case Global("joblib.numpy_pickle", "NumpyArrayWrapper"), (data,), Dict():
            return _wrapped(data, node.state)
    return None


def dtype_of(node: Any) -> Dtype | None:
    """The dtype that a call of ``numpy.dtype`` would make; None where that is unclear."""
    match node:
        case Call(Global("numpy", "dtype"), (Global("ml_dtypes", kind), *_)) if kind in _ML_DTYPES:
            name, size = _ML_DTYPES[kind]
            return Dtype(name, size, objects=False)
        case Call(Global("numpy", "dtype"), (str(kind), *_), state):
            found = _KIND.match(kind)
            if found is None:
                return None
            rest = state if isinstance(state, tuple) else ()
            flags = rest[7] if len(rest) > 7 and isinstance(rest[7], int) else 0
            name = _KINDS.get(kind, "")
            if name and rest[1:2] == (">",):
                name = f"{name}be" if is_dtype(f"{name}be") else name
            size = int(found[1]) * (4 if kind[0] == "U" else 1)
            return Dtype(name, size, kind[0] == "O" or bool(flags & _HAS_OBJECTS))
    return None


def bytes_of(node: Any) -> Span | None:
    """Where the bytes stand that a literal, or a call that only wraps one, gives."""
    for _ in range(3):
        match node:
            case Span():
                return node
            case Call(Global("_codecs", "encode"), (Span(text=True), "latin1" | "latin-1")):
                return node.args[0]  # type: ignore[no-any-return]
            case Call(Global("builtins" | "__builtin__", name), ()) if name in _BYTES:
                return Span(0, 0)
            case Call(Global("builtins" | "__builtin__", name), (node,)) if name in _BYTES:
                continue
        return None
    return None


def wrapper_shape(state: Dict) -> tuple[Dtype | None, Shape | None, str]:
    """What joblib says about an array: dtype, shape, and ``C`` or ``F``."""
    said = {key: value for key, value in state.items if isinstance(key, str)}
    order = "F" if said.get("order") == "F" else "C"
    return dtype_of(said.get("dtype")), _shape(said.get("shape")), order


def _wrapped(data: Any, state: Dict) -> Array | list[Any] | None:
    if isinstance(data, Call):  # an array of objects, pickled by itself
        return array_of(data)
    if not isinstance(data, Span):
        return None
    dtype, shape, order = wrapper_shape(state)
    return None if dtype is None or shape is None else _placed(data, dtype.name, shape, order)


def _array(data: Any, dtype: Any, shape: Any, order: Any, *axes: Any) -> Array | list[Any] | None:
    if isinstance(data, list):
        return data
    span = bytes_of(data)
    if span is None:
        return None
    kind, dims = dtype_of(dtype), _shape(shape)
    if kind is None or dims is None or order not in {"C", "F", "K", "A"}:
        return _unknown(span)
    turned = _shape(axes[0]) if axes and order == "K" else ()
    if turned is None or (turned and sorted(turned) != list(range(len(dims)))):
        return _unknown(span)
    return _placed(span, kind.name, dims, order, turned)


def _placed(span: Span, dtype: str, shape: Shape, order: str, axes: Shape = ()) -> Array:
    """The array as it says it is; as bytes where it has not the length for that."""
    size = nbytes(dtype, shape) if dtype else -1
    if not (size <= span.length <= 2 * size if span.text else span.length == size):
        return _unknown(span)
    steps = ["fortran"] if order == "F" and sum(dim != 1 for dim in shape) > 1 and size else []
    steps += ["latin1"] if span.text and size else []
    if axes and steps:
        return _unknown(span)
    return Array(span, dtype, shape, ";".join(steps), axes)


def _unknown(span: Span) -> Array:
    return Array(span, "u8", (span.length,), numeric=False)


def _shape(node: Any) -> Shape | None:
    if not isinstance(node, tuple) or any(type(dim) is not int for dim in node):
        return None
    try:
        check_shape(node)
    except ValueError:
        return None
    return node
