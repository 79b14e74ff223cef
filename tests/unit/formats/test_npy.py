"""npy: files that numpy writes, and headers written by hand."""

from __future__ import annotations

import io
from collections.abc import Mapping

import ml_dtypes
import numpy as np
import pytest

from git_nn.formats import npy, table
from git_nn.formats.base import BytesSource
from git_nn.forms import decode_form
from git_nn.objects.layout import Layout, Payload
from tests.contract.format_contract import FormatContract, Sample, Tensor, bounded_memory, survive

DTYPES = {
    "<f8": "f64", "<f4": "f32", "<f2": "f16", ">f8": "f64be", ">f2": "f16be", "|i1": "i8",
    "<i2": "i16", "<i4": "i32", "<i8": "i64", "|u1": "u8", "<u2": "u16", "<u4": "u32",
    "<u8": "u64", ">i4": "i32be", ">u2": "u16be", "|b1": "bool", "<c8": "c64", ">c16": "c128be",
}  # fmt: skip


def saved(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def made(*shape: int, dtype: str = "<f4") -> np.ndarray:
    return (np.random.default_rng(len(shape)).standard_normal(shape) * 50).astype(dtype)


def sample(array: np.ndarray) -> Sample:
    dtype = DTYPES[array.dtype.str]
    return Sample(saved(array), {"array": Tensor(dtype, array.shape, array.tobytes())})


def lost(array: np.ndarray) -> Sample:
    """An array whose type numpy has no name for: bytes, with those of an element last."""
    shape = (*array.shape, array.dtype.itemsize)
    return Sample(saved(array), {"array": Tensor("u8", shape, array.tobytes())})


def from_form(payload: Payload, stored: bytes) -> bytes:
    """An array in column-major order, as numpy reads it."""
    assert payload.form == "fortran"
    size = len(stored) // int(np.prod(payload.shape))
    return np.frombuffer(stored, f"V{size}").reshape(payload.shape, order="F").tobytes()


class TestNpy(FormatContract):
    name = "npy"

    def samples(self) -> Mapping[str, Sample]:
        return {
            **{dtype: sample(made(3, 4, dtype=dtype)) for dtype in DTYPES},
            "scalar": sample(np.float64(2.5)),
            "empty": sample(made(0, 4)),
            "column-major": sample(np.asfortranarray(made(2, 3, 4))),
            "column-major row": sample(np.asfortranarray(made(1, 5, 1))),
            "bf16": lost(made(3, 4).astype(ml_dtypes.bfloat16)),
            "fp8": lost(made(3, 4).astype(ml_dtypes.float8_e4m3fn)),
            "column-major fp8": lost(np.asfortranarray(made(3, 4).astype(ml_dtypes.float8_e4m3fn))),
            "records": Sample(saved(np.zeros(3, [("x", "<f4"), ("y", "<i4", (2,))]))),
            "texts": Sample(saved(np.array(["one", "two"]))),
            "dates": Sample(saved(np.zeros(3, "M8[s]"))),
            "long double": Sample(saved(np.zeros(3, np.longdouble))),
        }

    def plain(self, payload: Payload, stored: bytes) -> bytes:
        assert decode_form(
            payload.form, payload.dtype, payload.shape, [len(stored)], stored
        ) == from_form(payload, stored)
        return from_form(payload, stored)


def layout_of(data: bytes) -> Layout:
    return table.detect(BytesSource(data))


def file(header: str | bytes, data: bytes = bytes(16), version: int = 1) -> bytes:
    text = header if isinstance(header, bytes) else header.encode()
    width = 2 if version == 1 else 4
    return b"\x93NUMPY" + bytes([version, 0]) + len(text).to_bytes(width, "little") + text + data


GOOD = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), }"


@pytest.mark.parametrize(
    "header",
    [
        GOOD,
        "{'shape': (2, 2), 'fortran_order': False, 'descr': '<f4'}",
        '{"descr":"<f4","fortran_order":False,"shape":(2,2,)}\n',
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2L, 2L), }   \n",
        GOOD + " " * 5000,
    ],
)
@pytest.mark.parametrize("version", [1, 2, 3])
def test_headers_of_other_writers_are_read(header: str, version: int) -> None:
    (payload,) = layout_of(file(header, version=version)).payloads
    assert (payload.dtype, payload.shape, payload.form) == ("f32", (2, 2), "")
    assert payload.extents[0].stop == len(file(header, version=version))


def test_float8_with_a_name_of_numpys_own_is_known() -> None:
    array = np.arange(6).astype(ml_dtypes.float8_e5m2)
    (payload,) = layout_of(saved(array)).payloads
    assert (payload.dtype, payload.shape) == ("f8_e5m2", (6,))


def test_column_major_elements_of_a_lost_type_stay_literal() -> None:
    array = np.asfortranarray(made(3, 4).astype(ml_dtypes.bfloat16))
    layout = layout_of(saved(array))
    assert (layout.format, layout.payloads) == ("npy", ())


def test_objects_are_never_read() -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, ...]:
            return (pytest.fail, ("it was unpickled",))

    out = io.BytesIO()
    np.save(out, np.array([Evil()], dtype=object), allow_pickle=True)
    layout = survive(out.getvalue())
    assert (layout.format, layout.payloads) == ("npy", ())


def test_bytes_after_the_array_are_literal() -> None:
    data = saved(made(3)) + saved(made(4))
    (payload,) = layout_of(data).payloads
    assert payload.shape == (3,)
    assert survive(data).format == "npy"


HOSTILE = {
    "code": "{'descr': __import__('os').abort(), 'fortran_order': False, 'shape': (4,), }",
    "call": "exit()",
    "parentheses": "(" * 60_000,
    "lists": "{'descr': '<f4', 'fortran_order': False, 'shape': (" + "[" * 60_000,
    "minus": "-" * 60_000 + "1",
    "no dict": "'<f4', False, (4,)",
    "negative": "{'descr': '<f4', 'fortran_order': False, 'shape': (-4,), }",
    "huge": "{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904,)*2, }",
    "2**80": f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({2**40}, {2**40}), }}",
    "2**80 of nothing": f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({2**80}, 0), }}",
    "rank 70": "{'descr': '<f4', 'fortran_order': False, 'shape': (" + "1, " * 70 + "), }",
    "rank 20,000": "{'descr': '<f4', 'fortran_order': False, 'shape': (" + "1, " * 20_000 + "), }",
    "number as shape": "{'descr': '<f4', 'fortran_order': False, 'shape': (4), }",
    "bool as shape": "{'descr': '<f4', 'fortran_order': False, 'shape': True, }",
    "text as order": "{'descr': '<f4', 'fortran_order': 'False', 'shape': (4,), }",
    "no order": "{'descr': '<f4', 'shape': (4,), }",
    "beyond the file": "{'descr': '<f4', 'fortran_order': False, 'shape': (5,), }",
    "digits": "{'descr': '<f4', 'fortran_order': False, 'shape': (" + "9" * 60_000 + ",), }",
    "nothing": "",
}


@pytest.mark.parametrize("label", HOSTILE)
def test_a_hostile_header_makes_the_file_opaque(label: str) -> None:
    layout = survive(file(HOSTILE[label]), label)
    assert layout.format == "opaque"
    assert all(note.isprintable() for note in layout.notes)


def test_a_header_of_gigabytes_is_refused_before_it_is_read() -> None:
    data = b"\x93NUMPY\x02\x00" + (2**32 - 1).to_bytes(4, "little") + GOOD.encode() + bytes(16)
    with bounded_memory():
        assert survive(data).format == "opaque"


def test_a_header_that_we_write_is_the_one_that_numpy_writes() -> None:
    for array in (made(3, 4), np.float32(1), made(2, 1, 5, dtype=">i4"), np.zeros(3, "<V2")):
        data = saved(array)
        found = npy.read_array(lambda limit, data=data: data[:limit])
        assert found is not None
        assert data.startswith(npy.header_of(found))
        assert len(npy.header_of(found)) == found.start
