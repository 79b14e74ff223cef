"""Frames, packs and indexes are byte for byte what docs/spec-store.md says."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from git_nn.errors import StoreError
from git_nn.objects.oid import Oid
from git_nn.store import frame, index, pack
from git_nn.store.base import SEGMENT
from git_nn.store.frame import DATA, LIST, NO_BASE, DamageError, Header, Part
from git_nn.store.index import Entry
from git_nn.store.local import open_store
from tests.unit.store.support import flip, id_of, noise, only_pack, overwrite, put, weights


def b3(data: bytes) -> bytes:
    return blake3(data).digest()


def test_a_pack_of_one_object_is_laid_out_as_specified(tmp_path: Path) -> None:
    content = b"hello weights"
    put(open_store(tmp_path / "nn"), content, dtype="bf16")
    path = only_pack(tmp_path / "nn")
    head = b"\x89NNP\r\n\x1a\n" + struct.pack("<HH", 1, 0)
    fields = b"\x8aNNF\r\n\x1a\n" + bytes([1, 0, 4, 0]) + bytes(4)
    fields += struct.pack("<QQ", 13, 13) + b3(content) + bytes(32) + b3(content)[:8]
    assert path.read_bytes() == head + b3(head)[:4] + fields + b3(fields)[:8] + content
    assert path.stem == b3(path.read_bytes()).hex()
    assert path.parent.name == path.stem[:2]
    assert (tmp_path / "nn" / "format").read_text() == "git-nn store 1\n"
    assert path.stat().st_mode & 0o333 == 0


def test_an_index_is_laid_out_as_specified(tmp_path: Path) -> None:
    contents = [noise(100, seed) for seed in range(5)]
    put(open_store(tmp_path / "nn"), *contents)
    path = only_pack(tmp_path / "nn")
    data = path.with_suffix(".idx").read_bytes()
    ids = sorted(id_of(content) for content in contents)
    assert data[:8] == b"\x89NNI\r\n\x1a\n"
    assert struct.unpack_from("<IIQ", data, 8) == (1, 5, path.stat().st_size)
    assert data[24:56].hex() == path.stem
    fanout = struct.unpack_from("<256I", data, 56)
    assert list(fanout) == [sum(oid[0] <= first for oid in ids) for first in range(256)]
    assert data[1080 : 1080 + 5 * 32] == b"".join(ids)
    records = [data[1240 + 64 * i : 1304 + 64 * i] for i in range(5)]
    for oid, record in zip(ids, records, strict=True):
        at = contents.index(next(c for c in contents if id_of(c) == oid))
        expected = struct.pack("<QQQ", 16 + at * 212, 100, 100) + bytes([1, 0, 22, 0])
        assert record == expected + bytes(4) + bytes(32)
    assert data[1240 + 5 * 64 :] == b3(data[:-32])


def test_a_long_object_is_segments_and_a_list(tmp_path: Path) -> None:
    content = noise(2 * SEGMENT + 10)
    store = open_store(tmp_path / "nn")
    (oid,) = put(store, content)
    cuts = [content[:SEGMENT], content[SEGMENT : 2 * SEGMENT], content[2 * SEGMENT :]]
    assert store.parts(oid) == [id_of(cut) for cut in cuts]
    data = only_pack(tmp_path / "nn").read_bytes()
    body = b"".join(b3(cut) + struct.pack("<I", len(cut)) for cut in cuts)
    assert data.endswith(body)
    kind, rawlen, clen = data[-220 + 8], *struct.unpack_from("<QQ", data, len(data) - 220 + 16)
    assert (kind, rawlen, clen) == (2, len(content), 108)


def test_equal_segments_are_stored_once(tmp_path: Path) -> None:
    store = open_store(tmp_path / "nn")
    block = noise(SEGMENT)
    put(store, block * 3 + b"tail")
    put(store, block + b"tail")
    assert sum(path.stat().st_size for path in (tmp_path / "nn").rglob("*.nnp")) < 1.01 * SEGMENT


def header(**changes: object) -> Header:
    fields = {
        "id": id_of(b""), "kind": DATA, "codec": 0, "hint": 0, "depth": 0,
        "base": NO_BASE, "clen": 0, "rawlen": 0,
    }  # fmt: skip
    return Header(**{**fields, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "changes",
    [
        {"rawlen": SEGMENT + 1, "clen": 10},
        {"rawlen": 10 * 2**40, "clen": 1000, "codec": 1},
        {"rawlen": 10, "clen": 11},
        {"kind": 0},
        {"kind": 3},
        {"kind": LIST, "clen": 0},
        {"kind": LIST, "clen": 35, "rawlen": 35},
        {"kind": LIST, "clen": 36, "rawlen": 1, "codec": 1},
        {"kind": LIST, "clen": 36, "rawlen": 1, "base": id_of(b"x")},
        {"kind": LIST, "clen": 36 * 2_000_000, "rawlen": 2_000_000},
    ],
)
def test_impossible_headers_cannot_be_built_or_read(changes: dict[str, object]) -> None:
    with pytest.raises(DamageError):
        header(**changes)


def test_a_header_comes_back_and_any_flip_is_damage() -> None:
    made = header(id=id_of(b"abc"), hint=7, rawlen=3, clen=3)
    data = frame.render(made, b"abc")
    assert len(data) == frame.HEADER_SIZE == 112
    assert frame.parse(data) == (made, b3(b"abc")[:8])
    for at in range(len(data)):
        for mask in (1, 0x80, 0xFF):
            broken = bytearray(data)
            broken[at] ^= mask
            with pytest.raises(DamageError):
                frame.parse(broken)
    with pytest.raises(DamageError):
        frame.parse(data[:-1])


@given(st.lists(st.tuples(st.binary(min_size=32, max_size=32), st.integers(0, 2**32 - 1))))
def test_lists_with_wrong_lengths_are_damage(raw: list[tuple[bytes, int]]) -> None:
    parts = [Part(Oid(oid), length) for oid, length in raw]
    total = sum(part.length for part in parts)
    body = frame.render_list(parts)
    if not parts:
        return
    for claimed in (total, total + 1):
        made = header(kind=LIST, clen=len(body), rawlen=claimed)
        if claimed == total and all(0 < part.length <= SEGMENT for part in parts):
            assert list(frame.parse_list(made, body)) == parts
        else:
            with pytest.raises(DamageError):
                frame.parse_list(made, body)


def test_an_index_finds_every_id_and_no_other() -> None:
    entries = [Entry(header(id=id_of(noise(8, i)), clen=i, rawlen=i), i * 200) for i in range(700)]
    found = index.parse(index.render("ab" * 32, 12345, entries), "ab" * 32)
    assert all(found.find(entry.header.id) == entry for entry in entries)
    assert all(found.find(id_of(noise(9, i))) is None for i in range(700))
    assert found.find(Oid(bytes(32))) is None
    assert found.find(Oid(b"\xff" * 32)) is None
    assert sorted(entry.offset for entry in found) == [entry.offset for entry in entries]
    assert index.parse(index.render("ab" * 32, 16, []), "ab" * 32).find(id_of(b"")) is None


def test_every_flip_and_cut_of_an_index_is_damage() -> None:
    data = index.render("ab" * 32, 12345, [Entry(header(id=id_of(b"x")), 16)])
    for at in range(len(data)):
        with pytest.raises(DamageError):
            index.parse(data[:at], "ab" * 32)
        broken = bytearray(data)
        broken[at] ^= 1
        with pytest.raises(DamageError):
            index.parse(bytes(broken), "ab" * 32)
    with pytest.raises(DamageError):
        index.parse(data, "cd" * 32)


@pytest.mark.parametrize("text", ["git-nn store 2\n", "git-nn store 1\nneeds deltas\n", "x", ""])
def test_an_unknown_format_or_flag_says_to_upgrade(tmp_path: Path, text: str) -> None:
    put(open_store(tmp_path), b"abc")
    (tmp_path / "format").write_text(text)
    with pytest.raises(StoreError, match=r"format.*upgrade git-nn"):
        open_store(tmp_path)


def test_a_missing_format_file_comes_back_with_the_next_write(tmp_path: Path) -> None:
    (oid,) = put(open_store(tmp_path), b"abc")
    (tmp_path / "format").unlink()
    store = open_store(tmp_path)
    assert b"".join(store.read(oid)) == b"abc"  # type: ignore[arg-type]
    put(store, b"def")
    assert (tmp_path / "format").read_text() == "git-nn store 1\n"


def test_a_pack_of_a_later_version_says_to_upgrade(tmp_path: Path) -> None:
    (oid,) = put(open_store(tmp_path), b"abc")
    path = only_pack(tmp_path)
    fields = pack.MAGIC + struct.pack("<HH", 2, 0)
    overwrite(path, fields + b3(fields)[:4] + path.read_bytes()[16:])
    with pytest.raises(StoreError, match="upgrade git-nn"):
        list(open_store(tmp_path).read(oid))


def test_a_codec_of_a_later_version_says_to_upgrade(tmp_path: Path) -> None:
    (oid,) = put(open_store(tmp_path), b"abc")
    path = only_pack(tmp_path)
    later = header(id=oid, codec=77, clen=3, rawlen=3)
    overwrite(path, path.read_bytes()[:16] + frame.render(later, b"abc") + b"abc")
    path.with_suffix(".idx").unlink()
    with pytest.raises(StoreError, match=r"codec 77.*upgrade git-nn"):
        list(open_store(tmp_path).read(oid))


def test_scanning_finds_the_frames_behind_damage(tmp_path: Path) -> None:
    contents = [weights(3000, seed) for seed in range(6)]
    store = open_store(tmp_path)
    put(store, *contents, dtype="f32")
    path = only_pack(tmp_path)
    (info,) = store.packs()
    victim = info.frames[2]
    flip(path, victim.offset + 3)
    with path.open("rb") as file:
        found = list(pack.scan(file.fileno(), path.stat().st_size))
    gap = pack.Gap(victim.offset, victim.offset + victim.stored_size)
    assert [item for item in found if isinstance(item, pack.Gap)] == [gap]
    assert {item.header.id for item in found if isinstance(item, Entry)} == {
        f.id for f in info.frames
    } - {victim.id}


def test_a_pack_stored_in_a_pack_does_not_confuse_a_scan(tmp_path: Path) -> None:
    inner = open_store(tmp_path / "inner")
    put(inner, noise(50_000), noise(50_000, 1))
    nested = only_pack(tmp_path / "inner").read_bytes()
    put(open_store(tmp_path / "outer"), nested)
    path = only_pack(tmp_path / "outer")
    with path.open("rb") as file:
        found = list(pack.scan(file.fileno(), path.stat().st_size))
    assert [item.header.id for item in found if isinstance(item, Entry)] == [id_of(nested)]
