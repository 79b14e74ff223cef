"""npz: files that numpy writes, hostile zips, and merged ones that numpy reads."""

from __future__ import annotations

import io
import random
import re
import struct
import time
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np
import pytest

from git_nn.clean import clean
from git_nn.errors import MergeError
from git_nn.formats import npz, table, zip_writer
from git_nn.formats.base import BytesSource, FileSource, Plan
from git_nn.formats.zip_directory import read_members
from git_nn.forms import decode_form
from git_nn.objects.layout import Layout, Payload
from git_nn.store.memory import MemoryStore
from tests.contract.format_contract import FormatContract, Sample, Tensor, bounded_memory, survive
from tests.unit.formats.test_npy import DTYPES, GOOD, file, made, saved

Arrays = Mapping[str, np.ndarray]

MIXED: Arrays = {
    **{f"dtypes/{DTYPES[dtype]}": made(3, 4, dtype=dtype) for dtype in DTYPES},
    "scalar": np.float32(1.5),
    "empty": made(0, 3),
    "layers/10/größe": made(4),
    "layers/2/turned": np.asfortranarray(made(5, 6)),
    "bf16": made(3).astype(ml_dtypes.bfloat16),
    "evil\x1b\n../\u202e": made(2),
}


def stored(arrays: Arrays) -> bytes:
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()


def deflated(arrays: Arrays) -> bytes:
    out = io.BytesIO()
    np.savez_compressed(out, **arrays)
    return out.getvalue()


def loaded(data: bytes) -> dict[str, np.ndarray]:
    """What numpy reads; the CRC-32 of each member is verified on the way."""
    with np.load(io.BytesIO(data), allow_pickle=False) as found:
        return {name: found[name] for name in found.files}


def tensors(arrays: Arrays) -> dict[str, Tensor]:
    found = {}
    for name, array in arrays.items():
        if array.dtype.kind == "V":
            shape = (*array.shape, array.dtype.itemsize)
            found[name] = Tensor("u8", shape, array.tobytes())
        else:
            found[name] = Tensor(DTYPES[array.dtype.str], array.shape, array.tobytes())
    return found


def same(left: Arrays, right: Arrays) -> bool:
    return {k: (v.shape, v.dtype.str, v.tobytes()) for k, v in left.items()} == {
        k: (v.shape, v.dtype.str, v.tobytes()) for k, v in right.items()
    }


class TestNpz(FormatContract):
    name = "npz"
    truncations = 100
    mutations = 100

    def samples(self) -> Mapping[str, Sample]:
        few = {"w": made(3, 4), "b": np.asfortranarray(made(5, 6))}
        return {
            "mixed": Sample(stored(MIXED), tensors(MIXED)),
            "mixed, deflated": Sample(deflated(MIXED), tensors(MIXED)),
            "few": Sample(stored(few), tensors(few)),
            "few, deflated": Sample(deflated(few), tensors(few)),
            "with others": Sample(with_others(few), tensors(few)),
        }

    def plain(self, payload: Payload, stored: bytes) -> bytes:
        """Straight from docs/spec-forms.md."""
        steps = payload.form.split(";")
        data = stored
        if "deflate" in steps:
            data = zlib.decompress(data, -zlib.MAX_WBITS)
        if "npy" in steps:
            array = np.load(io.BytesIO(data))
            data = np.asfortranarray(array).tobytes("F") if "fortran" in steps else array.tobytes()
        if "fortran" in steps:
            kind = f"V{len(data) // int(np.prod(payload.shape))}"
            data = np.frombuffer(data, kind).reshape(payload.shape, order="F").tobytes()
        found = decode_form(payload.form, payload.dtype, payload.shape, [len(stored)], stored)
        assert found == data
        return data

    def test_payload_bytes_do_not_matter_to_the_layout(self) -> None:
        """Of compressed arrays they do: the header is in the stream."""
        for label, sample in self.samples().items():
            layout = table.detect(BytesSource(sample.data))
            other = bytearray(sample.data)
            for payload in layout.payloads:
                for extent in payload.extents if "deflate" not in payload.form else ():
                    other[extent.offset : extent.stop] = b"\x55" * extent.length
            assert table.detect(BytesSource(other)) == layout, label

    def corrupt(self, rng: random.Random, data: bytes) -> bytes:
        """Half of the damages hit a header, where they hurt."""
        if rng.random() < 0.5:
            return super().corrupt(rng, data)
        damaged = bytearray(data)
        at = data.find(rng.choice((b"\x93NUMPY", b"PK\x01\x02", b"PK\x05\x06", b"PK\x03\x04")))
        damaged[min(max(at, 0) + rng.randrange(64), len(data) - 1)] = rng.randrange(256)
        return bytes(damaged)


def with_others(arrays: Arrays) -> bytes:
    """Arrays beside members that are none: bzip2, objects, records, a text, a wrong header."""
    objects = io.BytesIO()
    np.save(objects, np.array([{}], dtype=object), allow_pickle=True)
    out = io.BytesIO(stored(arrays))
    with zipfile.ZipFile(out, "a") as archive:
        archive.writestr("packed.npy", saved(made(9)), zipfile.ZIP_BZIP2)
        archive.writestr("objects.npy", objects.getvalue())
        archive.writestr("record.npy", saved(np.zeros(3, [("x", "f4")])))
        archive.writestr("notes.txt", b"no array" * 99, zipfile.ZIP_DEFLATED)
        archive.writestr("short.npy", saved(made(9))[:-1])
        archive.writestr("long.npy", saved(made(9)) + b"\0")
        archive.writestr("broken.npy", b"\x93NUMPY\x01\0\xff\xff{", zipfile.ZIP_DEFLATED)
        archive.writestr("folder/", b"")
    return out.getvalue()


def layout_of(data: bytes) -> Layout:
    return table.detect(BytesSource(data))


def skeleton(data: bytes) -> tuple[bytes, int]:
    pointer = clean(BytesSource(data), MemoryStore()).pointer
    assert pointer.format == "npz"
    return pointer.skeleton, pointer.skeleton_size


def test_other_values_have_the_same_skeleton() -> None:
    changed = {name: np.array(array, order="K") for name, array in MIXED.items()}
    for array in changed.values():
        array.flat = array.reshape(-1)[::-1].copy() if array.ndim else array + 1
    assert stored(MIXED) != stored(changed)
    assert skeleton(stored(MIXED)) == skeleton(stored(changed))


def test_two_thousand_arrays_are_read_at_once() -> None:
    arrays = {f"layers.{i}.w": np.full((2, 3), i, "f4") for i in range(2000)}
    for data in (stored(arrays), deflated(arrays)):
        started = time.process_time()
        layout = npz.layout(BytesSource(data))
        assert time.process_time() - started < 1
        assert len(layout.payloads) == 2000


def test_numpy_without_compression_in_a_zip_that_cannot_seek_back_is_read() -> None:
    class Forward(io.RawIOBase):
        def __init__(self) -> None:
            self.data = bytearray()

        def writable(self) -> bool:
            return True

        def write(self, piece: bytes) -> int:  # type: ignore[override]
            self.data += piece
            return len(piece)

    out = Forward()
    with zipfile.ZipFile(out, "w") as archive, archive.open("w.npy", "w") as member:
        member.write(saved(made(8)))
    layout = layout_of(bytes(out.data))
    assert [payload.name for payload in layout.payloads] == ["w"]
    assert skeleton(bytes(out.data))[1] < 400


def bomb(inflated: int) -> bytes:
    """An array of zeros that is a thousandth of its size in the file."""
    stream = zlib.compressobj(9, zlib.DEFLATED, -15)
    text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({inflated},), }}"
    header = file(text, b"")
    content = stream.compress(header)
    for _ in range(inflated >> 20):
        content += stream.compress(bytes(1 << 20))
    return archive("w.npy", content + stream.flush(), 8, len(header) + inflated)


def archive(name: str, content: bytes, method: int, size: int) -> bytes:
    raw = name.encode()
    local = struct.pack("<4s5H3I2H", b"PK\3\4", 20, 0, method, 0, 33, 0, len(content), size,
                        len(raw), 0) + raw + content  # fmt: skip
    central = struct.pack("<4s6H3I5H2I", b"PK\1\2", 20, 20, 0, method, 0, 33, 0, len(content),
                          size, len(raw), 0, 0, 0, 0, 0, 0) + raw  # fmt: skip
    return (
        local
        + central
        + struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 1, 1, len(central), len(local), 0)
    )


def test_a_bomb_is_never_inflated() -> None:
    data = bomb(1 << 30)
    with bounded_memory():
        started = time.process_time()
        layout = survive(data)
        assert time.process_time() - started < 1
    (payload,) = layout.payloads
    assert (payload.shape, payload.form) == ((1 << 30,), "npy;deflate")
    assert payload.length < 2_000_000


def test_many_members_with_long_headers_are_read_in_bounded_time() -> None:
    """A megabyte of streams that each inflate to a header of 60,000 characters."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for i in range(3500):
            text = ("{'descr': '<f4', 'fortran_order': False, 'shape': (" + "1, " * 20_000)[:60_000]
            archive.writestr(f"{i}.npy", file(text))
    data = out.getvalue()
    assert 500_000 < len(data) < 1_100_000
    with bounded_memory():
        assert survive(data).format == "npz"


def twice() -> bytes:
    return stored({"v": made(3), "w": made(3)}).replace(b"v.npy", b"w.npy")


def flagged(data: bytes, flag: int) -> bytes:
    """``data`` with flags in every header, whichever version zipfile wrote before them."""
    local = re.sub(rb"(PK\x03\x04..).", lambda m: m[1] + bytes([flag]), data, flags=re.DOTALL)
    return re.sub(rb"(PK\x01\x02....).", lambda m: m[1] + bytes([flag]), local, flags=re.DOTALL)


HOSTILE = {
    "two members of one name": twice,
    "bytes before": lambda: b"PK\x03\x04" + stored({"w": made(3)}),
    "encrypted": lambda: flagged(stored({"w": made(3)}), 1),
    "another local name": lambda: stored({"w": made(3)}).replace(b"w.npy", b"v.npy", 1),
    "local method differs": lambda: archive("w.npy", file(GOOD), 0, 75).replace(
        b"\x14\0\0\0\0\0", b"\x14\0\0\0\x08\0", 1
    ),
}


@pytest.mark.parametrize("label", HOSTILE)
def test_a_zip_that_two_readers_may_read_in_two_ways_is_opaque(label: str) -> None:
    data = HOSTILE[label]()
    assert npz.sniff(data) or label == "bytes before"
    assert survive(data, label).format == "opaque"


def test_a_deflated_member_whose_size_lies_is_told_as_what_it_is_not() -> None:
    """The layout believes the header; to look at the tensor then fails without an error."""
    stream = zlib.compress(file(GOOD, bytes(12)), wbits=-15)
    (payload,) = survive(archive("w.npy", stream, 8, len(file(GOOD)))).payloads
    assert decode_form(payload.form, "f32", (2, 2), [len(stream)], stream) is None


# --- merged files -----------------------------------------------------------------------


def composed(folder: Path, ours: bytes, theirs: bytes, plan: Plan) -> bytes:
    (folder / "ours").write_bytes(ours)
    (folder / "theirs").write_bytes(theirs)
    npz.compose(folder / "ours", folder / "theirs", plan, folder / "out")
    data = (folder / "out").read_bytes()
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
    return data


@pytest.mark.parametrize("mine", [stored, deflated])
@pytest.mark.parametrize("other", [stored, deflated])
def test_compose_adds_removes_resizes_and_replaces(
    tmp_path: Path, mine: Callable[[Arrays], bytes], other: Callable[[Arrays], bytes]
) -> None:
    ours = {"a": made(3), "b": made(4, 5), "c": np.asfortranarray(made(2, 3)), "gone": made(2)}
    theirs = {"z": made(7, 7), "b": made(9), "y": np.asfortranarray(made(4, 4)), "not": made(1)}
    new = made(2, 3) * 2
    plan = Plan(
        from_theirs=frozenset({"z", "b", "y"}),
        removed=frozenset({"gone"}),
        replaced={"c": new.tobytes()},
    )
    data = composed(tmp_path, mine(ours), other(theirs), plan)
    wanted = {"a": ours["a"], "b": theirs["b"], "c": new, "z": theirs["z"], "y": theirs["y"]}
    assert same(loaded(data), wanted)
    assert list(loaded(data)) == ["a", "b", "c", "z", "y"]
    found = {payload.name: payload for payload in layout_of(data).payloads}
    assert {name: "deflate" in payload.form for name, payload in found.items()} == {
        "a": mine is deflated, "b": other is deflated, "c": mine is deflated,
        "z": other is deflated, "y": other is deflated,
    }  # fmt: skip


def test_compose_keeps_compressed_streams_to_the_byte(tmp_path: Path) -> None:
    ours = deflated({"a": made(30, 30)})
    theirs = deflated({"b": made(40, 40)})
    data = composed(tmp_path, ours, theirs, Plan(from_theirs=frozenset({"b"})))
    for side in (ours, theirs):
        ((name, member),) = read_members(BytesSource(side)).items()
        copied = read_members(BytesSource(data))[name]
        assert data[copied.start : copied.stop] == side[member.start : member.stop]


def test_compose_keeps_members_that_are_no_arrays(tmp_path: Path) -> None:
    few = {"w": made(3)}
    data = composed(tmp_path, with_others(few), stored({"v": made(2)}), Plan(frozenset({"v"})))
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.read("notes.txt") == b"no array" * 99
        assert archive.read("packed.npy") == saved(made(9))
    assert set(loaded(stored(few))) | {"v"} <= {p.name for p in layout_of(data).payloads}


def test_compose_of_a_resized_tensor_with_new_values_takes_the_shape_of_its_side(
    tmp_path: Path,
) -> None:
    new = made(6)
    plan = Plan(replaced={"w": new.tobytes()})
    data = composed(tmp_path, stored({"w": made(3)}), stored({"w": made(6)}), plan)
    assert same(loaded(data), {"w": new})


@pytest.mark.parametrize(
    "plan",
    [
        Plan(from_theirs=frozenset({"missing"})),
        Plan(replaced={"missing": b""}),
        Plan(replaced={"w": b"neither size"}),
    ],
)
def test_compose_refuses_a_plan_that_does_not_fit(tmp_path: Path, plan: Plan) -> None:
    with pytest.raises(MergeError):
        composed(tmp_path, stored({"w": made(4)}), stored({"w": made(5)}), plan)


class Hole:
    """5 GiB of zeros that nobody writes."""

    def __len__(self) -> int:
        return 5 << 30


@dataclass
class Sparse:
    """A file in which a Hole is left out, but for its length."""

    file: BinaryIO

    def write(self, piece: bytes | Hole) -> int:
        if isinstance(piece, Hole):
            self.file.seek(len(piece), io.SEEK_CUR)
            return len(piece)
        return self.file.write(piece)

    def writelines(self, pieces: Iterable[bytes]) -> None:
        self.file.writelines(pieces)


def test_archives_beyond_four_gigabytes_have_wide_numbers(tmp_path: Path) -> None:
    (member,) = read_members(BytesSource(stored({"w": made(3)}))).values()
    hole: Any = Hole()
    large = replace(
        member.entry, raw_name=b"large", name="large", size=len(hole), stored_size=len(hole), crc=0
    )
    small = replace(
        member.entry, raw_name=b"small", name="small", size=3, stored_size=3, crc=zlib.crc32(b"abc")
    )
    path = tmp_path / "large.zip"
    with path.open("wb") as file:
        sink: Any = Sparse(file)
        zip_writer.write_zip(sink, [(large, [hole]), (small, [b"abc"])])
    with zipfile.ZipFile(path) as archive:
        sizes = {info.filename: info.file_size for info in archive.infolist()}
        assert sizes == {"large": len(hole), "small": 3}
        assert archive.getinfo("small").header_offset > len(hole)
        assert archive.read("small") == b"abc"
    with path.open("rb") as file:
        found = read_members(FileSource.of(file.fileno()))
    assert {name: member.size for name, member in found.items()} == sizes
