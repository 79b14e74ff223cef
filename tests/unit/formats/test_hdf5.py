"""HDF5 as proposed by the worker, checked against h5py's own reading of the datasets."""

from __future__ import annotations

import io
import random
import re
import sys
import time
import zlib
from collections.abc import Callable, Mapping
from math import prod
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from git_nn.formats import hdf5, hdf5_read, table
from git_nn.formats.base import BytesSource, FileSource
from git_nn.formats.hdf5_worker import Content
from git_nn.objects.layout import Layout, Payload
from git_nn.objects.tensor import dtype_bits
from tests.contract.format_contract import FormatContract, Sample, Tensor, survive
from tests.support.keras_file import adam_state, dense_layers, keras_file, weights_file

DTYPES = {
    "<f8": "f64", "<f4": "f32", "<f2": "f16", ">f8": "f64be", ">f4": "f32be", ">f2": "f16be",
    "|i1": "i8", "<i2": "i16", "<i4": "i32", "<i8": "i64", "|u1": "u8", "<u2": "u16",
    "<u4": "u32", "<u8": "u64", ">i4": "i32be", ">u2": "u16be", "|b1": "bool",
    "<c8": "c64", "<c16": "c128", ">c8": "c64be",
}  # fmt: skip


def made(write: Callable[[h5py.File], object], **options: Any) -> bytes:
    """The bytes of an HDF5 file that ``write`` fills."""
    out = io.BytesIO()
    with h5py.File(out, "w", **options) as file:
        write(file)
    return out.getvalue()


def noise(*shape: int, seed: int = 0, dtype: str = "<f4") -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal(shape) * 100).astype(dtype)


def tensors(data: bytes) -> dict[str, Tensor]:
    """Every dataset that is not empty, as h5py reads it."""
    found = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.shape is not None and item.size:
            array = item[()]
            found[name] = Tensor(DTYPES[array.dtype.str], array.shape, array.tobytes())

    with h5py.File(io.BytesIO(data), "r") as file:
        file.visititems(visit)
    return found


def detected(data: bytes) -> Layout:
    layout = table.detect(BytesSource(data))
    assert layout.format == "hdf5", layout.notes
    return layout


def by_name(data: bytes) -> dict[str, Payload]:
    return {payload.name: payload for payload in detected(data).payloads}


def stored(data: bytes, payload: Payload) -> bytes:
    return b"".join(data[extent.offset : extent.stop] for extent in payload.extents)


def several(file: h5py.File) -> None:
    for i, dtype in enumerate(DTYPES):
        file[f"group{i % 3}/{DTYPES[dtype]}"] = noise(3, 4, seed=i, dtype=dtype)
    file["scalar"] = np.float32(1.5)
    file.attrs["note"] = "kept"


def chunked(file: h5py.File, **options: Any) -> None:
    file.create_dataset("exact", data=noise(6, 8), chunks=(3, 4), **options)
    file.create_dataset("edges", data=noise(5, 7), chunks=(2, 3), **options)
    file.create_dataset("cube", data=noise(3, 4, 5, dtype="<i2"), chunks=(2, 4, 2), **options)


def unchunked(payload: Payload, parts: list[bytes]) -> bytes:
    """Straight from docs/spec-forms.md, for deflate, shuffle and fletcher32."""
    found = re.fullmatch(r"h5\[([0-9x]+)((?:;[a-z0-9]+)*)\]", payload.form)
    assert found, payload.form
    chunk = tuple(map(int, found[1].split("x")))
    size = dtype_bits(payload.dtype) // 8
    out = np.zeros(payload.shape, f"V{size}")
    grid = [-(-dim // step) for dim, step in zip(payload.shape, chunk, strict=True)]
    assert len(parts) == prod(grid)
    for place, part in zip(np.ndindex(*grid), parts, strict=True):
        for name in reversed(found[2].split(";")[1:]):
            if name == "fletcher32":
                part = part[:-4]  # noqa: PLW2901
            elif name == "deflate":
                part = zlib.decompress(part)  # noqa: PLW2901
            elif name == "shuffle":
                part = np.frombuffer(part, "u1").reshape(size, -1).T.tobytes()  # noqa: PLW2901
        whole = np.frombuffer(part, f"V{size}").reshape(chunk)
        at = [slice(i * step, (i + 1) * step) for i, step in zip(place, chunk, strict=True)]
        there = out[tuple(at)]
        there[...] = whole[tuple(slice(0, dim) for dim in there.shape)]
    return out.tobytes()


class TestHdf5(FormatContract):
    name = "hdf5"

    def samples(self) -> Mapping[str, Sample]:
        layers = dense_layers(1, 4, 5, 3)
        files = {
            "earliest": made(several),
            "latest": made(several, libver="latest"),
            "user block": made(several, userblock_size=1024),
            "chunked": made(chunked),
            "chunked latest": made(chunked, libver="latest", userblock_size=512),
            "times": made(lambda file: chunked(file, track_times=True)),
            "times latest": made(lambda file: chunked(file, track_times=True), libver="latest"),
            "keras": keras_file(layers, optimizer=adam_state(layers, 2)),
            "keras weights": weights_file(layers),
        }
        return {label: Sample(data, tensors(data)) for label, data in files.items()}

    def plain(self, payload: Payload, stored: bytes) -> bytes:
        parts, at = [], 0
        for extent in payload.extents:
            parts.append(stored[at : at + extent.length])
            at += extent.length
        return unchunked(payload, parts)


@pytest.mark.parametrize("libver", ["earliest", "latest"])
@pytest.mark.parametrize(
    ("options", "filters"),
    [
        ({}, ""),
        ({"compression": "gzip"}, ";deflate"),
        ({"compression": "gzip", "shuffle": True, "compression_opts": 9}, ";shuffle;deflate"),
        (
            {"compression": "gzip", "shuffle": True, "fletcher32": True},
            ";shuffle;deflate;fletcher32",
        ),
        ({"fletcher32": True}, ";fletcher32"),
    ],
)
def test_chunks_in_order_with_their_filters_undone_are_the_tensor(
    libver: str, options: dict[str, Any], filters: str
) -> None:
    data = made(lambda file: chunked(file, **options), libver=libver)
    found = by_name(data)
    assert found["edges"].form == f"h5[2x3{filters}]"
    assert len(found["edges"].extents) == 9
    for name, tensor in tensors(data).items():
        parts = [data[extent.offset : extent.stop] for extent in found[name].extents]
        assert unchunked(found[name], parts) == tensor.data


def test_filters_are_named_in_pipeline_order_and_unknown_ones_by_number() -> None:
    def write(file: h5py.File) -> None:
        zeros = np.zeros((4, 4), "i4")
        file.create_dataset("lzf", data=zeros, chunks=(2, 2), compression="lzf", shuffle=True)
        file.create_dataset("scale", data=zeros, chunks=(2, 2), scaleoffset=0)

    found = by_name(made(write))
    assert found["lzf"].form == "h5[2x2;shuffle;lzf]"
    assert found["scale"].form == "h5[2x2;scaleoffset]"


def test_a_filter_that_every_chunk_skipped_is_not_in_the_form() -> None:
    array = np.random.default_rng(0).integers(0, 2**63, (4, 64))

    def write(file: h5py.File) -> None:
        file.create_dataset("rows", data=array, chunks=(1, 64), compression="lzf")
        file.create_dataset("tiles", data=array, chunks=(2, 32), compression="lzf")

    data = made(write)
    found = by_name(data)
    assert found["rows"].form == ""
    assert stored(data, found["rows"]) == array.tobytes()
    assert found["tiles"].form == "h5[2x32]"


def test_filters_that_only_some_chunks_skipped_are_never_decoded() -> None:
    array = np.zeros((4, 64), "i8")
    array[1] = np.random.default_rng(0).integers(0, 2**63, 64)

    def write(file: h5py.File) -> None:
        file.create_dataset("mixed", data=array, chunks=(1, 64), compression="lzf")

    assert by_name(made(write))["mixed"].form == "h5sparse[1x64;lzf]"


def test_missing_chunks_make_a_sparse_form() -> None:
    def write(file: h5py.File) -> None:
        some = file.create_dataset("some", (4, 4), "f4", chunks=(2, 2))
        some[2:4, 0:2] = 1.0
        file.create_dataset("none", (4, 4), "f4", chunks=(2, 2))

    found = by_name(made(write))
    assert found["some"].form == "h5sparse[2x2]"
    assert found["some"].length == 16
    assert "none" not in found


@pytest.mark.parametrize("chunks", [(6, 8), (2, 8), (1, 8), (1, 4), (1, 1)])
def test_chunks_that_are_the_packed_array_one_after_another_have_no_form(
    chunks: tuple[int, int],
) -> None:
    array = noise(6, 8)
    data = made(lambda file: file.create_dataset("a", data=array, chunks=chunks))
    payload = by_name(data)["a"]
    assert payload.form == ""
    assert stored(data, payload) == array.tobytes()


@pytest.mark.parametrize("chunks", [(4, 8), (3, 4), (6, 2)])
def test_other_chunks_have_a_form(chunks: tuple[int, int]) -> None:
    data = made(lambda file: file.create_dataset("a", data=noise(6, 8), chunks=chunks))
    assert by_name(data)["a"].form == f"h5[{chunks[0]}x{chunks[1]}]"


def test_resizable_datasets_with_chunks_larger_than_they_are_keep_their_padding() -> None:
    array = noise(3, 5)
    data = made(
        lambda file: file.create_dataset("a", data=array, chunks=(8, 8), maxshape=(None, None))
    )
    payload = by_name(data)["a"]
    assert (payload.form, payload.length) == ("h5[8x8]", 256)
    assert unchunked(payload, [stored(data, payload)]) == array.tobytes()


def test_bfloat16_of_keras_and_as_a_float_type_are_known() -> None:
    bits = np.arange(6, dtype="<u2").reshape(2, 3)

    def write(file: h5py.File) -> None:
        file.create_dataset("keras", data=bits.view("V2")).attrs["dtype"] = "bfloat16"
        file.create_dataset("unmarked", data=bits.view("V2"))
        kind = h5py.h5t.IEEE_F32LE.copy()
        kind.set_fields(15, 7, 8, 0, 7)
        kind.set_size(2)
        kind.set_precision(16)
        space = h5py.h5s.create_simple((2, 3))
        h5py.h5d.create(file.id, b"float", kind, space).write(
            h5py.h5s.ALL, h5py.h5s.ALL, bits.view("V2"), kind
        )

    data = made(write)
    found = by_name(data)
    assert set(found) == {"keras", "float"}
    for payload in found.values():
        assert (payload.dtype, payload.shape) == ("bf16", (2, 3))
        assert stored(data, payload) == bits.tobytes()


def test_datasets_that_are_no_tensors_stay_literal() -> None:
    def write(file: h5py.File) -> None:
        file["text"] = ["one", "two"]
        file["fixed"] = np.array([b"ab", b"cd"])
        file["record"] = np.zeros(3, [("x", "f4"), ("y", "i4")])
        file["empty"] = h5py.Empty("f4")
        file["nothing"] = np.zeros((0, 4), "f4")
        ragged = file.create_dataset("ragged", (2,), h5py.vlen_dtype(np.dtype("f4")))
        ragged[0] = noise(3)
        file["enum"] = np.zeros(2, dtype=h5py.enum_dtype({"A": 0, "B": 1}, "i1"))
        file["reference"] = np.array([file.ref], dtype=h5py.ref_dtype)
        file.create_dataset("unwritten", (4, 4), "f4")
        creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        creation.set_layout(h5py.h5d.COMPACT)
        space = h5py.h5s.create_simple((4,))
        h5py.h5d.create(file.id, b"compact", h5py.h5t.IEEE_F32LE, space, creation)
        file["tensor"] = noise(4)

    data = made(write)
    assert set(by_name(data)) == {"tensor"}
    survive(data)


def test_data_in_other_files_is_never_read_and_a_note_says_so(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"S3CRET-TOKEN-0123")
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["weights"] = np.frombuffer(b"S3CRET-TOKEN-0123---", "f4")

    def write(file: h5py.File) -> None:
        file.create_dataset("external", (4,), "f4", external=[(str(secret), 0, 16)])
        virtual = h5py.VirtualLayout((5,), "f4")
        virtual[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "weights", (5,))
        file.create_virtual_dataset("virtual", virtual)
        file["soft"] = h5py.SoftLink("/tensor")
        file["nowhere"] = h5py.SoftLink("/absent")
        file["out"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "weights")
        file["tensor"] = noise(4)
        file["again"] = file["tensor"]

    data = made(write)
    layout = survive(data)
    assert [payload.name for payload in layout.payloads] == ["again"]
    assert stored(data, layout.payloads[0]) == noise(4).tobytes()
    assert any("external" in note for note in layout.notes)
    assert any("virtual" in note for note in layout.notes)
    assert (
        b"S3CRET"
        not in repr(layout).encode() + repr(table.structure("hdf5", BytesSource(data))).encode()
    )


@pytest.mark.parametrize(
    "name",
    ["a b", "dense:0", "größe", "日本", "new\nline", "%41", "tab\t", "\u202egnp", "x" * 200, "."],
)
def test_any_name_is_a_name(name: str) -> None:
    data = made(lambda file: file.create_group("g").create_dataset(name + "_", data=noise(4)))
    assert set(by_name(data)) == {f"g/{name}_"}


def test_names_that_are_no_utf8_keep_their_bytes() -> None:
    data = made(lambda file: file.create_dataset(b"caf\xe9", data=noise(4)))
    assert set(by_name(data)) == {"caf\udce9"}


def test_a_name_that_is_too_long_stays_literal() -> None:
    def write(file: h5py.File) -> None:
        file["/".join(["long" * 50] * 25)] = noise(4)
        file["short"] = noise(4)

    assert set(by_name(made(write))) == {"short"}


@pytest.mark.parametrize("block", [0, 512, 1024, 4096, 32768])
def test_the_signature_is_found_behind_a_user_block(block: int) -> None:
    data = made(several, userblock_size=block)
    assert hdf5.sniff(data[:65536])
    assert not hdf5.sniff(b"\0" + data[:65535])


@pytest.mark.parametrize("libver", ["earliest", "latest"])
@pytest.mark.parametrize("small", [0, 1 << 30])
def test_files_are_read_alike_from_memory_and_page_by_page(
    libver: str, small: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Whatever files there are here: the name that HDF5 has for the content is no path."""

    def write(file: h5py.File) -> None:
        several(file)
        chunked(file, compression="gzip", shuffle=True)
        file["again"] = file["scalar"]
        file["group0/loop"] = file["/"]

    (tmp_path / "content").write_bytes(made(lambda file: file.create_dataset("no", data=[1])))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(hdf5_read, "_SMALL", small)
    data = made(write, libver=libver)
    content = Content(len(data), lambda _, offset, length: data[offset : offset + length])
    rows, notes = hdf5_read.layout(content)
    assert {row[0]: tuple(row[2]) for row in rows} == {
        p.name: p.shape for p in detected(data).payloads
    }
    assert [hdf5._payload(row) for row in rows] == list(detected(data).payloads)
    assert notes == []


@pytest.mark.parametrize("libver", ["earliest", "latest"])
def test_two_thousand_datasets_are_read_in_seconds(libver: str) -> None:
    def write(file: h5py.File) -> None:
        for i in range(2000):
            file[f"block{i // 50}/layer{i}/kernel"] = np.full((2, 2), i, "f4")

    data = made(write, libver=libver)
    started = time.monotonic()
    layout = detected(data)
    assert time.monotonic() - started < 10
    assert len(layout.payloads) == 2000
    for payload in layout.payloads:
        number = int(payload.name.split("/")[1].removeprefix("layer"))
        assert stored(data, payload) == np.full((2, 2), number, "f4").tobytes()


def test_a_file_and_the_same_bytes_in_memory_have_the_same_layout(tmp_path: Path) -> None:
    path = tmp_path / "m.h5"
    path.write_bytes(made(several))
    with path.open("rb") as file:
        file.seek(77)
        layout = table.detect(FileSource.of(file.fileno()))
        assert file.tell() == 77
    assert layout == detected(path.read_bytes())


def test_equal_weights_saved_again_have_the_same_skeleton() -> None:
    """The next epoch changes payload bytes only."""
    first = keras_file(dense_layers(1, 4, 5, 3))
    second = keras_file(dense_layers(2, 4, 5, 3))
    assert first != second
    literal = []
    for data in (first, second):
        rest = bytearray(data)
        for payload in detected(data).payloads:
            for extent in payload.extents:
                rest[extent.offset : extent.stop] = bytes(extent.length)
        literal.append(bytes(rest))
    assert literal[0] == literal[1]


def test_what_is_said_about_a_file_that_is_too_short_depends_on_its_bytes_only() -> None:
    data = made(several)
    for length in range(8, 100, 7):
        notes = [table.detect(BytesSource(data[:length])).notes for _ in range(3)]
        assert notes[0] == notes[1] == notes[2]


def test_three_hundred_mutated_files_survive() -> None:
    files = [
        made(lambda file: chunked(file, compression="gzip", shuffle=True), libver=libver)
        for libver in ("earliest", "latest")
    ]
    files.append(keras_file(dense_layers(1, 4, 5, 3)))
    rng = random.Random(7)
    for i in range(300):
        data = bytearray(files[i % len(files)])
        for _ in range(rng.choice((1, 2, 4))):
            data[rng.randrange(len(data))] = rng.randrange(256)
        survive(bytes(data), f"mutation {i}")


def test_reading_opens_imports_and_starts_nothing_in_this_process() -> None:
    events: list[tuple[str, Any]] = []
    watching = True

    def watch(event: str, args: Any) -> None:
        if watching and event in {"subprocess.Popen", "import", "exec", "open", "os.system"}:
            events.append((event, args[0]))

    data = made(several)
    detected(data)
    sys.addaudithook(watch)
    detected(data)
    table.structure("hdf5", BytesSource(data))
    watching = False
    assert events == []


def test_structure_of_a_keras_model_is_its_parsed_configuration() -> None:
    layers = dense_layers(1, 4, 5, 3)
    data = keras_file(layers, optimizer=adam_state(layers, 1), attributes={"epoch": 3})
    found = table.structure("hdf5", BytesSource(data))
    names = [layer["config"]["name"] for layer in found["model_config"]["config"]["layers"]]
    assert names == ["input_layer", "dense", "dense_1"]
    assert found["training_config"]["optimizer_config"]["class_name"] == "Adam"
    assert (found["backend"], found["epoch"]) == ("torch", 3)


def test_structure_does_not_depend_on_the_weights() -> None:
    data = keras_file(dense_layers(1, 4, 5, 3))
    hollow = bytearray(data)
    for payload in detected(data).payloads:
        for extent in payload.extents:
            hollow[extent.offset : extent.stop] = bytes(extent.length)
    assert hollow != data
    found = table.structure("hdf5", BytesSource(hollow))
    assert found == table.structure("hdf5", BytesSource(data)) != {}


def test_structure_of_a_weights_file_names_its_layers() -> None:
    found = table.structure("hdf5", BytesSource(weights_file(dense_layers(1, 4, 5, 3))))
    assert found == {"layers": {".": "tiny", "layers/dense": "dense", "layers/dense_1": "dense_1"}}


def test_structure_bounds_what_it_takes_from_attributes() -> None:
    def write(file: h5py.File) -> None:
        file.attrs["long"] = "x" * (9 * 1024 * 1024)
        file.attrs["short"] = "x" * 100_000
        file.attrs["model_config"] = "[" * 100_000
        file.attrs["nan"] = np.nan
        file.attrs["reference"] = file.ref
        file.attrs["list"] = [1.5, 2.5]
        file.attrs["bytes"] = np.bytes_(b"\xff")

    found = table.structure("hdf5", BytesSource(made(write)))
    assert set(found) == {"short", "model_config", "nan", "list", "bytes"}
    assert found["model_config"] == "[" * 100_000
    assert (found["nan"], found["list"], found["bytes"]) == ("nan", [1.5, 2.5], "\\xff")
