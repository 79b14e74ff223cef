"""Which dtype an HDF5 datatype is: only exact matches count, all else stays literal.

Imported in the worker process only.
"""

from __future__ import annotations

from typing import Any

import h5py
from h5py import h5a, h5t

# size in bytes, (sign, exponent position, exponent bits, mantissa position, bits), exponent bias
_FLOATS = {
    (8, (63, 52, 11, 0, 52), 1023): "f64",
    (4, (31, 23, 8, 0, 23), 127): "f32",
    (2, (15, 10, 5, 0, 10), 15): "f16",
    (2, (15, 7, 8, 0, 7), 127): "bf16",
    (1, (7, 2, 5, 0, 2), 15): "f8_e5m2",
}
_COMPLEX = {"f32": "c64", "f64": "c128", "f32be": "c64be", "f64be": "c128be"}
_NO_BIG_ENDIAN = frozenset({"bf16"})  # git-nn has no name for it


def dtype_of(dataset: Any) -> str | None:
    """The dtype of a dataset's elements; None where git-nn has no name for it."""
    kind = dataset.get_type()
    if _is_keras_bfloat16(dataset, kind):
        return "bf16"
    return _dtype(kind)


def _dtype(kind: Any) -> str | None:
    match kind.get_class():
        case h5t.FLOAT:
            return _float(kind)
        case h5t.INTEGER:
            return _integer(kind)
        case h5t.ENUM:
            return _boolean(kind)
        case h5t.COMPOUND:
            return _complex(kind)
    return None


def _float(kind: Any) -> str | None:
    name = _FLOATS.get((kind.get_size(), tuple(kind.get_fields()), kind.get_ebias()))
    if name is None or kind.get_norm() != h5t.NORM_IMPLIED:
        return None
    return _ordered(kind, name)


def _integer(kind: Any) -> str | None:
    size = kind.get_size()
    if size not in (1, 2, 4, 8):
        return None
    sign = "u" if kind.get_sign() == h5t.SGN_NONE else "i"
    return _ordered(kind, f"{sign}{8 * size}")


def _ordered(kind: Any, name: str) -> str | None:
    """``name`` with its byte order, where every bit of the type is in use."""
    if kind.get_precision() != 8 * kind.get_size() or kind.get_offset() != 0:
        return None
    if kind.get_size() == 1 or kind.get_order() == h5t.ORDER_LE:
        return name
    if kind.get_order() != h5t.ORDER_BE or name in _NO_BIG_ENDIAN:
        return None
    return f"{name}be"


def _boolean(kind: Any) -> str | None:
    """h5py's way of storing bool: one byte with the values FALSE and TRUE."""
    if kind.get_size() != 1 or kind.get_nmembers() != 2:
        return None
    members = {kind.get_member_name(i): kind.get_member_value(i) for i in range(2)}
    return "bool" if members == {b"FALSE": 0, b"TRUE": 1} else None


def _complex(kind: Any) -> str | None:
    """h5py's way of storing complex numbers: two equal floats r and i, nothing between."""
    if kind.get_nmembers() != 2:
        return None
    if [kind.get_member_name(i) for i in range(2)] != [b"r", b"i"]:
        return None
    parts = [kind.get_member_type(i) for i in range(2)]
    size = parts[0].get_size()
    offsets = [kind.get_member_offset(i) for i in range(2)]
    if offsets != [0, size] or kind.get_size() != 2 * size or not parts[0].equal(parts[1]):
        return None
    return _COMPLEX.get(_dtype(parts[0]) or "")


def _is_keras_bfloat16(dataset: Any, kind: Any) -> bool:
    """Keras 3 stores bfloat16 as two opaque bytes and says so in an attribute."""
    if kind.get_class() != h5t.OPAQUE or kind.get_size() != 2 or not h5a.exists(dataset, b"dtype"):
        return False
    attribute = h5a.open(dataset, b"dtype")
    if attribute.get_type().get_class() != h5t.STRING or attribute.shape != ():
        return False
    return h5py.Dataset(dataset).attrs["dtype"] in ("bfloat16", b"bfloat16")
