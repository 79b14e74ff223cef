"""torch zip files, written by tests/support/torch_file.py as torch.save writes them."""

from __future__ import annotations

import io
import random
import struct
import time
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from git_nn.formats import table, torch_zip
from git_nn.formats.base import BytesSource
from git_nn.formats.pickle_ops import scan
from git_nn.objects.layout import Layout, View
from tests.contract.format_contract import FormatContract, Sample, Tensor, checksum_holds, survive
from tests.support.torch_file import (
    SIZES,
    G,
    R,
    S,
    archive,
    contiguous,
    dumps,
    ordered,
    parameter,
    save,
    tensor,
)


def content(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


def storage(key: str, count: int, dtype: str = "f32") -> S:
    return S(key, dtype, content(count * SIZES[dtype], int(key) if key.isdigit() else 0))


def window(
    store: S, shape: tuple[int, ...], strides: tuple[int, ...] | None = None, offset: int = 0
) -> Tensor:
    """What numpy reads at that place: the independent reader."""
    size = SIZES[store.dtype]
    flat = np.frombuffer(store.data, dtype=f"V{size}")[offset:]
    steps = contiguous(shape) if strides is None else strides
    view = np.lib.stride_tricks.as_strided(flat, shape, [step * size for step in steps])
    return Tensor(store.dtype, shape, view.tobytes())


def layout_of(data: bytes) -> Layout:
    return table.detect(BytesSource(data))


A, B, C, D = storage("0", 6), storage("1", 4, "bf16"), storage("2", 24), storage("3", 1, "i64")


def checkpoint() -> tuple[Any, dict[str, Tensor]]:
    """A state dict with optimizer state, a tied weight, views and a parameter."""
    tied = tensor(A, (2, 3))
    state = ordered(
        {
            "layers.10.weight": tensor(A, (2, 3)),
            "layers.2.weight": tied,
            "again": tied,
            "head": parameter(tensor(B, (4,))),
            "steps": tensor(D, ()),
        },
        {"_metadata": ordered({"": {"version": 1}})},
    )
    value = {
        "epoch": 3,
        "model": state,
        "optimizer": {
            "state": {0: {"exp_avg": tensor(C, (6, 4), (1, 6))}},
            "param_groups": [{"lr": 0.1}],
        },
        "part": tensor(C, (2, 3), (6, 2), 1),
    }  # fmt: skip
    tensors = {
        "model.layers.10.weight": window(A, (2, 3)),
        "model.layers.2.weight": window(A, (2, 3)),
        "model.again": window(A, (2, 3)),
        "model.head": window(B, (4,)),
        "model.steps": window(D, ()),
        "optimizer.state.0.exp_avg": window(C, (6, 4), (1, 6)),
        "part": window(C, (2, 3), (6, 2), 1),
        "storage:2": window(C, (24,)),
    }
    return value, tensors


class TestTorch(FormatContract):
    name = "torch"

    def samples(self) -> Mapping[str, Sample]:
        value, tensors = checkpoint()
        odd = "evil\x1b[31m\n/../\u202e é%"
        every = {dtype: storage(str(i), 6, dtype) for i, dtype in enumerate(SIZES)}
        return {
            "checkpoint": Sample(save(value), tensors),
            "another archive name": Sample(save(value, root="epoch_12"), tensors),
            "every dtype": Sample(
                save({dtype: tensor(store, (2, 3)) for dtype, store in every.items()}),
                {dtype: window(store, (2, 3)) for dtype, store in every.items()},
            ),
            "odd name": Sample(save({odd: tensor(A, (6,))}), {odd: window(A, (6,))}),
            "one tensor": Sample(save(tensor(A, (6,))), {"tensor": window(A, (6,))}),
            "empty tensor": Sample(
                save({"a": tensor(S("0", "f32", b""), (0, 3))}), {"a": Tensor("f32", (0, 3), b"")}
            ),
            "no tensors": Sample(save({"epoch": 3}), {}),
            "by zipfile": Sample(rezipped(save(value)), tensors),
        }

    def corrupt(self, rng: random.Random, data: bytes) -> bytes:
        """Half of the damages hit the pickle or a header, where they hurt."""
        if rng.random() < 0.5:
            return super().corrupt(rng, data)
        damaged = bytearray(data)
        at = data.find(rng.choice((b"\x80\x02", b"PK\x01\x02", b"PK\x05\x06", b"PK\x07\x08")))
        at = min(max(at, 0) + rng.randrange(64), len(data) - 1)
        damaged[at] = rng.randrange(256)
        return bytes(damaged)


def rezipped(data: bytes, compression: int = zipfile.ZIP_STORED) -> bytes:
    """The same members, packed by Python: no alignment, no descriptors, no zip64."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(file, "w", compression) as new:
        for info in old.infolist():
            new.writestr(info.filename, old.read(info))
    return file.getvalue()


def views(layout: Layout) -> dict[str, View]:
    return {view.name: view for view in layout.views}


def test_a_tied_weight_is_a_payload_under_its_first_name_and_views() -> None:
    layout = layout_of(save(checkpoint()[0]))
    names = [payload.name for payload in layout.payloads]
    assert "model.again" in names  # a comes before l
    assert views(layout)["model.layers.2.weight"].payload == "model.again"
    assert views(layout)["model.layers.10.weight"].strides == (3, 1)


def test_natural_order_decides_which_name_is_first() -> None:
    tied = {"w10": tensor(A, (6,)), "w9": tensor(A, (2, 3))}
    (payload,) = layout_of(save(tied)).payloads
    assert (payload.name, payload.shape) == ("w9", (2, 3))


def test_a_part_of_a_whole_tensor_is_a_view_on_it() -> None:
    layout = layout_of(save({"w": tensor(A, (2, 3)), "row": tensor(A, (3,), (1,), 3)}))
    assert [payload.name for payload in layout.payloads] == ["w"]
    assert layout.views == (View("row", "f32", (3,), "w", 3, (1,)),)


def test_tensors_that_tile_a_storage_are_payloads_of_their_own() -> None:
    """Flat parameters: one payload per tensor, as if each had a storage of its own."""
    value = {
        "bias": tensor(C, (4,), (1,), 20), "w": tensor(C, (4, 5)), "tied": tensor(C, (5, 4)),
        "row": tensor(C, (5,), (1,), 10), "column": tensor(C, (2,), (2,), 20),
        "none": tensor(C, (0, 3), (3, 1), 7),
    }  # fmt: skip
    data = save(value)
    layout = layout_of(data)
    stored = {p.name: data[p.extents[0].offset : p.extents[0].stop] for p in layout.payloads}
    assert stored == {"tied": C.data[:80], "bias": C.data[80:]}
    assert views(layout) == {
        "w": View("w", "f32", (4, 5), "tied", 0, (5, 1)),
        "row": View("row", "f32", (5,), "tied", 10, (1,)),
        "column": View("column", "f32", (2,), "bias", 0, (2,)),
        "none": View("none", "f32", (0, 3), views(layout)["none"].payload, 7, (3, 1)),
    }
    assert len(layout.checksums) == 2 * 2  # still one CRC-32 for the whole member
    assert all(checksum_holds(checksum, data) for checksum in layout.checksums)


@pytest.mark.parametrize(
    "value",
    [
        {"a": tensor(C, (10,)), "b": tensor(C, (13,), (1,), 11)},  # a gap
        {"a": tensor(C, (10,)), "b": tensor(C, (15,), (1,), 9)},  # an overlap
        {"a": tensor(C, (10,)), "b": tensor(C, (14,), (1,), 10), "c": tensor(C, (2,), (1,), 9)},
        {"a": tensor(C, (10,)), "b": tensor(C, (7, 2), (1, 7), 10)},  # not in C order
        {"b": tensor(C, (14,), (1,), 10)},
    ],
)
def test_a_storage_that_is_not_tiled_is_one_payload(value: Any) -> None:
    data = save(value)
    layout = layout_of(data)
    assert [(p.name, p.length) for p in layout.payloads] == [("storage:2", 96)]
    assert set(views(layout)) == set(value)


def test_windows_of_another_dtype_do_not_cut_a_storage() -> None:
    dtypes = {"a": ("float32", 0, 2), "b": ("float64", 1, 2)}
    value = {
        name: R(
            G("torch._utils", "_rebuild_tensor_v3"),
            (PID("0", "UntypedStorage", 24), at, (n,), (1,), False, ordered({}), G("torch", kind)),
        )
        for name, (kind, at, n) in dtypes.items()
    }
    layout = layout_of(packed(dumps(value), {"0": content(24)}))
    assert [(p.name, p.dtype, p.length) for p in layout.payloads] == [("storage:0", "u8", 24)]
    assert views(layout)["b"] == View("b", "f64", (2,), "storage:0", 1, (1,))


def test_a_tensor_that_is_conjugated_on_reading_is_kept_by_its_storage() -> None:
    store = storage("0", 3, "c64")
    args = (*tensor(store, (3,)).args, {"conj": True})
    value = {"w": R(G("torch._utils", "_rebuild_tensor_v2"), args)}
    layout = layout_of(save(value))
    assert [(p.name, p.dtype) for p in layout.payloads] == [("storage:0", "c64")]
    assert layout.views == ()


def test_strides_of_dimensions_of_one_element_do_not_matter() -> None:
    layout = layout_of(save({"conv": tensor(A, (6, 1, 1), (1, 77, 6))}))
    assert [(p.name, p.shape) for p in layout.payloads] == [("conv", (6, 1, 1))]


def test_a_name_of_a_storage_gives_way_to_a_tensor_of_that_name() -> None:
    value = {"storage:0": tensor(B, (4,)), "part": tensor(A, (2,))}
    names = {payload.name for payload in layout_of(save(value)).payloads}
    assert names == {"storage:0", "storage:0~"}


def test_two_tensors_of_one_path_both_have_a_name() -> None:
    value = {"a": {"b": tensor(A, (6,))}, "a.b": tensor(B, (4,)), "a.b~2": tensor(C, (24,))}
    names = {payload.name for payload in layout_of(save(value)).payloads}
    assert names == {"a.b", "a.b~2", "a.b~2~2"}


def test_modules_have_the_names_of_their_state_dict() -> None:
    linear = R(
        G("torch.nn.modules.linear", "Linear"),
        state={
            "training": True,
            "in_features": 3,
            "_parameters": ordered({"weight": parameter(tensor(A, (2, 3)))}),
            "_buffers": ordered({"steps": tensor(D, ())}),
            "_modules": ordered({}),
        },
    )
    model = R(
        G("torch.nn.modules.container", "Sequential"),
        state={"_parameters": ordered({}), "_modules": ordered({"0": linear})},
    )
    data = save({"model": model, "epoch": 7})
    assert [p.name for p in layout_of(data).payloads] == ["model.0.weight", "model.0.steps"]
    found = torch_zip.structure(BytesSource(data))
    assert found["epoch"] == 7
    assert found["model"]["_modules"]["0"] == {
        "class": "torch.nn.modules.linear.Linear", "training": True, "in_features": 3,
    }  # fmt: skip


def test_tensors_inside_unknown_calls_are_found() -> None:
    sparse = R(
        G("torch._utils", "_rebuild_sparse_tensor"),
        (G("torch", "sparse_coo"), (tensor(D, (1,)), tensor(A, (6,)), (3, 3))),
    )
    subclass = R(
        G("torch._tensor", "_rebuild_from_type_v2"),
        (G("torch._utils", "_rebuild_tensor_v2"), G("mine", "Sub"), tensor(B, (4,)).args, {}),
    )
    names = [p.name for p in layout_of(save({"s": sparse, "sub": subclass})).payloads]
    assert names == ["s.1.0", "s.1.1", "sub"]


def test_untyped_storages_take_their_dtype_from_the_call() -> None:
    untyped, dtype = PID("0", "UntypedStorage", 6), G("torch", "float8_e4m3fn")
    args = (untyped, 0, (2, 3), (3, 1), False, ordered({}), dtype)
    value = {"w": R(G("torch._utils", "_rebuild_tensor_v3"), args)}
    data = packed(dumps(value), {"0": b"abcdef"})
    (payload,) = layout_of(data).payloads
    assert (payload.name, payload.dtype, payload.shape) == ("w", "f8_e4m3fn", (2, 3))


def test_a_dtype_without_a_name_keeps_its_bytes_as_a_storage() -> None:
    value = {
        "w": R(
            G("torch._utils", "_rebuild_tensor_v2"), (PID("0", "QUInt4x2Storage", 6), 0, (6,), (1,))
        )
    }
    (payload,) = layout_of(packed(dumps(value), {"0": b"abc"})).payloads
    assert (payload.name, payload.dtype, payload.shape) == ("storage:0", "u8", (3,))


def test_big_endian_files_have_big_endian_dtypes() -> None:
    value = {"a": tensor(A, (6,)), "b": tensor(B, (4,)), "c": tensor(S("9", "u8", b"xy"), (2,))}
    layout = layout_of(save(value, byteorder="big"))
    found = {payload.name: payload.dtype for payload in layout.payloads}
    assert found == {"a": "f32be", "storage:1": "u8", "c": "u8"}


def test_the_crcs_of_storages_are_checksums_and_hold() -> None:
    data = save(checkpoint()[0])
    layout = layout_of(data)
    assert len(layout.checksums) == 2 * 5  # directory and descriptor; storages and the id
    assert all(checksum_holds(checksum, data) for checksum in layout.checksums)
    assert len(layout_of(rezipped(data)).checksums) == 2 * 5  # directory and local header


def test_two_saves_with_other_weights_have_the_same_layout() -> None:
    def saved(seed: int) -> bytes:
        return save({"a": tensor(S("0", "f32", content(24, seed)), (6,)), "lr": 0.1})

    first, second = layout_of(saved(1)), layout_of(saved(2))
    assert first == second
    literal = [
        bytes(byte for i, byte in enumerate(data) if not covered(first, i))
        for data in (saved(1), saved(2))
    ]
    assert literal[0] == literal[1]


def covered(layout: Layout, i: int) -> bool:
    extents = [e for payload in layout.payloads for e in payload.extents]
    return (
        any(e.offset <= i < e.stop for e in extents)
        or any(c.offset <= i < c.offset + 4 for c in layout.checksums)
        or any(c.offset <= i < c.offset + 20 for c in layout.chains)
    )


def test_structure_is_the_plain_values() -> None:
    value = {
        "epoch": 3, "lr": 0.1, "nan": float("nan"), "names": {0: "cat", 1: "dog"}, "none": None,
        "list": [1, [2, "x"], {}], "model": ordered({"w": tensor(A, (6,))}), "long": "x" * 5000,
        "many": list(range(2000)), "flags": (True, False),
    }  # fmt: skip
    assert table.structure("torch", BytesSource(save(value))) == {
        "epoch": 3, "lr": 0.1, "nan": "nan", "names": {"0": "cat", "1": "dog"}, "none": None,
        "list": [1, [2, "x"]], "flags": [True, False],
    }  # fmt: skip


def test_structure_does_not_need_the_payloads() -> None:
    data = bytearray(save(checkpoint()[0]))
    before = torch_zip.structure(BytesSource(data))
    layout = layout_of(bytes(data))
    for extent in (e for payload in layout.payloads for e in payload.extents):
        data[extent.offset : extent.stop] = bytes(extent.length)
    for checksum in layout.checksums:
        data[checksum.offset : checksum.offset + 4] = bytes(4)
    assert torch_zip.structure(BytesSource(data)) == before
    assert before["epoch"] == 3


# -- files that lie


def PID(key: str, kind: str, count: int) -> Any:  # noqa: N802 - reads as a node
    return _Id(("storage", G("torch", kind), key, "cpu", count))


class _Id(S):
    """A persistent id of any content, which brings no member with it."""

    def __init__(self, value: Any) -> None:
        object.__setattr__(self, "value", value)

    @property
    def id(self) -> Any:
        return self.value  # type: ignore[attr-defined]


def packed(pickle: bytes, data: Mapping[str, bytes], **more: bytes) -> bytes:
    members = {"a/data.pkl": pickle, **{f"a/data/{key}": value for key, value in data.items()}}
    return archive({**members, **more})


def lying(*args: Any, data: bytes = bytes(24)) -> bytes:
    """A file with one tensor, rebuilt from these arguments."""
    call = R(G("torch._utils", "_rebuild_tensor_v2"), args)
    return packed(dumps({"w": call}), {"0": data})


F32 = PID("0", "FloatStorage", 6)
LIES = {
    "a tensor larger than its storage": lying(F32, 0, (7,), (1,)),
    "an offset beyond the storage": lying(F32, 6, (1,), (1,)),
    "an offset of 2**80": lying(F32, 2**80, (1,), (1,)),
    "a shape of 2**80": lying(F32, 0, (2**80,), (0,)),
    "a shape of 2**60 on one element": lying(F32, 0, (2**60,), (0,)),
    "a shape of 2**40 by 2**40 on one element": lying(F32, 0, (2**40, 2**40), (0, 0)),
    "negative strides": lying(F32, 5, (6,), (-1,)),
    "a negative shape": lying(F32, 0, (-6,), (1,)),
    "other strides than dimensions": lying(F32, 0, (6,), (1, 1)),
    "a bool as a size": lying(F32, 0, (True,), (1,)),
    "text as a shape": lying(F32, 0, "666", "111"),
    "a rank of 1000": lying(F32, 0, (1,) * 1000, (1,) * 1000),
    "a storage that is no storage": lying("storage", 0, (6,), (1,)),
    "a storage of another length": lying(PID("0", "FloatStorage", 99), 0, (99,), (1,)),
    "a storage of odd length": lying(F32, 0, (6,), (1,), data=bytes(23)),
    "a storage that is not there": lying(PID("7", "FloatStorage", 6), 0, (6,), (1,)),
    "a key that climbs": lying(PID("../data.pkl", "FloatStorage", 6), 0, (6,), (1,)),
}  # fmt: skip


@pytest.mark.parametrize("label", LIES)
def test_a_tensor_that_lies_is_not_placed(label: str) -> None:
    layout = survive(LIES[label], label)
    assert layout.format == "torch", layout.notes
    assert "w" not in {tensor.name for tensor in (*layout.payloads, *layout.views)}


def test_an_expanded_tensor_is_a_view() -> None:
    layout = layout_of(save({"w": tensor(storage("0", 1), (1000,), (0,))}))
    assert layout.views == (View("w", "f32", (1000,), "storage:0", 0, (0,)),)


def nested(levels: int) -> bytes:
    inner = dumps(tensor(A, (6,)))[2:-1]
    return packed(b"\x80\x02" + b"]" * levels + inner + b"a" * levels + b".", {"0": A.data})


PICKLES = {
    "200,000 deep lists": nested(200_000),
    "200,000 deep tuples": packed(b"\x80\x02N" + b"\x85" * 200_000 + b".", {}),
    "a cycle": packed(b"\x80\x02]q\x00h\x00a.", {}),
    "a cycle through a dict": packed(b"\x80\x02}q\x00X\x01\x00\x00\x00ah\x00s.", {}),
    "billion laughs": packed(
        b"\x80\x02]q\x00" + b"".join(
            b"]" + b"q%c(" % i + b"h%c" % (i - 1) * 10 + b"e" for i in range(1, 60)
        ) + b".", {},
    ),
    "a name of a million characters": packed(
        dumps({"n" * 1_000_000: tensor(A, (6,)), "m" * 4000: {"o" * 1000: tensor(B, (4,))}}),
        {"0": A.data, "1": B.data},
    ),
    "a name that is no text": packed(dumps({"\ud800": tensor(A, (6,))}), {"0": A.data}),
    "names that add up to a gigabyte": packed(
        b"\x80\x02" + dumps({})[2:-1] + b"(" + b"X\xa0\x0f\x00\x00" + b"n" * 4000 + b"}("
        + dumps("first")[2:-1] + dumps(tensor(A, (6,)))[2:-1] + b"q\x63"
        + b"".join(dumps(f"k{i}")[2:-1] + b"h\x63" for i in range(150_000)) + b"uu.",
        {"0": A.data},
    ),
    "a wide tree of long names": packed(
        b"\x80\x02}(" + b"X\xa0\x0f\x00\x00" + b"n" * 4000 + b"](" + b"]" * 1_000_000 + b"eu.", {}
    ),
}  # fmt: skip


@pytest.mark.parametrize("label", PICKLES)
def test_a_hostile_pickle_is_survived(label: str) -> None:
    started = time.process_time()
    survive(PICKLES[label], label)
    assert time.process_time() - started < 5
    table.structure("torch", BytesSource(PICKLES[label]))
    scan(BytesSource(PICKLES[label]))


def test_a_tensor_whose_name_is_too_long_is_kept_by_its_storage() -> None:
    layout = layout_of(PICKLES["a name of a million characters"])
    assert {payload.name for payload in layout.payloads} == {"storage:0", "storage:1"}


def test_a_file_that_would_run_code_is_data_like_any_other() -> None:
    evil = R(G("os", "system"), ("echo hacked",))
    data = save({"w": tensor(A, (6,)), "evil": evil})
    assert [payload.name for payload in layout_of(data).payloads] == ["w"]
    assert scan(BytesSource(data)) == ["os system"]
    assert scan(BytesSource(save(checkpoint()[0]))) == []


def test_scan_looks_into_every_pickle_of_the_zip() -> None:
    evil = dumps(R(G("os", "system"), ("x",)))
    more = {"a/extra/other.pkl": evil}
    assert scan(BytesSource(packed(dumps({}), {}, **more))) == ["os system"]
    deflated = rezipped(packed(evil, {}), zipfile.ZIP_DEFLATED)
    (found,) = scan(BytesSource(deflated))
    assert "compressed" in found
    assert scan(BytesSource(b"PK\x03\x04" + bytes(30) + b"a/data.pkl")) != []


# -- zip files that lie


def good() -> bytes:
    return save({"w": tensor(A, (6,))})


ENTRY, LOCAL, END, END64 = b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06", b"PK\x06\x06"


def patched(data: bytes, find: bytes, skip: int, new: bytes, *, last: bool = False) -> bytes:
    at = (data.rfind(find) if last else data.find(find)) + skip
    return data[:at] + new + data[at + len(new) :]


def members_of(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        return {info.filename: file.read(info) for info in file.infolist()}


ZIPS = {
    "bytes before the archive": b"junk" + good(),
    "bytes after the archive": good() + b"junk",
    "encrypted": patched(patched(good(), ENTRY, 8, b"\x09"), LOCAL, 6, b"\x09"),
    "another name in the local header": patched(good(), b"archive/data/0", 0, b"archive/data/9"),
    "another method in the local header": patched(good(), LOCAL, 8, b"\x08"),
    "a size beyond the file": patched(good(), ENTRY, 20, b"\xff\xff\xff\x7f" * 2),
    "a size into the next member": patched(good(), ENTRY, 20, struct.pack("<II", 4000, 4000)),
    "an offset beyond the file": patched(good(), ENTRY, 42, b"\xff\xff\xff\x7f"),
    "two entries of one local header": patched(good(), ENTRY, 42, bytes(4), last=True),
    "a count that is wrong": patched(good(), END, 8, b"\x01\x00\x01\x00"),
    "a count of 2**60": patched(good(), END64, 24, struct.pack("<2Q", 2**60, 2**60)),
    "a directory of 2**62 bytes": patched(good(), END64, 40, struct.pack("<Q", 2**62)),
    "several disks": patched(good(), END, 4, b"\x01"),
    "a zip64 record elsewhere": patched(good(), b"PK\x06\x07", 8, struct.pack("<Q", 0)),
    "a zip64 record that contradicts": patched(good(), END64, 48, struct.pack("<Q", 7)),
    "two data.pkl": archive({**members_of(good()), "other/data.pkl": dumps({})}),
    "no data.pkl": archive({"archive/data/0": A.data}),
    "the same name twice": archive({**members_of(good()), "archive/data/1": b"x"}).replace(
        b"archive/data/1", b"archive/data/0"
    ),
    "a deflated pickle": rezipped(good(), zipfile.ZIP_DEFLATED),
    "a name that is no UTF-8": good().replace(b"archive/version", b"archive/\xffersion"),
}  # fmt: skip


@pytest.mark.parametrize("label", ZIPS)
def test_a_zip_that_lies_is_opaque(label: str) -> None:
    assert ZIPS[label] != good()
    layout = survive(ZIPS[label], label)
    assert layout.format == "opaque"


def test_the_untouched_file_of_these_tests_is_fine() -> None:
    assert layout_of(good()).format == "torch"


def test_a_zip_bomb_is_not_inflated() -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as bomb:
        bomb.writestr(zipfile.ZipInfo("a/data.pkl"), dumps({}), zipfile.ZIP_STORED)
        bomb.writestr("a/code/x.py", bytes(50_000_000))
    layout = survive(file.getvalue())
    assert layout.format == "torch"
    assert layout.payloads == ()


def test_a_wrong_crc_is_kept_as_it_is() -> None:
    data = patched(good(), b"PK\x07\x08", 4, b"\x00\x00\x00\x00", last=True)
    survive(data)
    crc = good().find(A.data) + len(A.data) + 4
    data = good()[:crc] + bytes(4) + good()[crc + 4 :]
    layout = survive(data)
    assert [payload.name for payload in layout.payloads] == ["w"]
    assert len(layout.checksums) == 1 + 2


@pytest.mark.parametrize(
    "data",
    [b"", b"PK", b"PK\x03\x04", b"PK\x05\x06" + bytes(18), b"PK\x03\x04" + b"\xff" * 100],
)
def test_rudiments_of_a_zip_are_opaque(data: bytes) -> None:
    assert survive(data).format == "opaque"


def test_a_zip_of_another_format_is_opaque_without_a_note() -> None:
    layout = layout_of(archive({"word/document.xml": b"<w/>"}).replace(b"FB", b"XX"))
    assert (layout.format, layout.notes) == ("opaque", ())
