"""What du counts: each frame once, a base where it belongs, and nothing that is not there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from git_nn.clean import clean
from git_nn.du import Amount, FileUsage, _count, _Ledger, _read_ledger, _Reading
from git_nn.formats.base import BytesSource
from git_nn.gitio.history import Version
from git_nn.objects import pointer as pointers
from git_nn.objects.oid import Oid, oid_of
from git_nn.store.base import SEGMENT
from git_nn.store.info import FrameInfo, PackInfo
from git_nn.store.local import LocalStore, open_store
from git_nn.worktree import Tracked
from tests.support.models import normal, safetensors_file

HEADER = 112  # bytes of a frame before its body: docs/spec-store.md, section 3
DATA, LIST = 1, 2


def oid(name: str) -> Oid:
    return oid_of(name.encode())


def frame(name: str, clen: int, raw: int, base: str = "", parts: tuple[str, ...] = ()) -> FrameInfo:
    kind = LIST if parts else DATA
    return FrameInfo(
        oid(name), kind, 0, 0, int(bool(base)), oid(base) if base else None, 0, clen, raw,
        tuple(map(oid, parts)),
    )  # fmt: skip


class Packs:
    """A store of which only the packs are asked for."""

    def __init__(self, *packs: list[FrameInfo]) -> None:
        self._packs = packs

    def packs(self) -> Iterator[PackInfo]:
        for number, frames in enumerate(self._packs):
            size = 16 + sum(HEADER + one.clen for one in frames)
            yield PackInfo(str(number), Path(), Path(), size, 0.0, tuple(frames))


def ledger(*packs: list[FrameInfo]) -> _Ledger:
    return _read_ledger(cast("Any", Packs(*packs)))


def test_an_amount_tells_compression_from_deltas_and_lists_yield_nothing() -> None:
    found = ledger([
        frame("a", 70, 100),
        frame("b", 10, 100, base="a"),
        frame("l", 72, 200, parts=("a", "b")),
    ])  # fmt: skip
    whole = found.part(b"w", [oid("l")])
    assert set(whole.frames) == {oid("a"), oid("b"), oid("l")}
    assert (whole.length, whole.absent) == (200, ())
    amount = found.amount(whole.frames)
    assert amount == Amount(200, 3 * HEADER + 152, by_compression=30, by_deltas=90)


def test_a_base_is_not_part_of_what_is_based_on_it_but_is_needed() -> None:
    found = ledger([frame("a", 70, 100), frame("b", 10, 100, base="a"), frame("c", 5, 5)])
    assert found.part(b"b", [oid("b")]).frames == (oid("b"),)
    assert found.closure([oid("b"), oid("not here")]) == {oid("a"), oid("b")}


def test_the_smallest_copy_counts_and_the_others_apart() -> None:
    large, small = frame("a", 90, 100), frame("a", 20, 100, base="b")
    for packs in ([large, frame("b", 50, 100)], [small]), ([small], [large, frame("b", 50, 100)]):
        found = ledger(*packs)
        assert found.amount([oid("a")]) == Amount(100, HEADER + 20, by_deltas=80)
        assert found.copies == {oid("a"): [large]}
        assert found.closure([oid("a")]) == {oid("a"), oid("b")}
        assert (found.packs, found.size) == (2, 32 + 3 * HEADER + 160)


def test_an_object_without_one_of_its_segments_is_absent() -> None:
    found = ledger([frame("l", 72, 200, parts=("a", "b")), frame("a", 70, 100)])
    part = found.part(b"w", [oid("l"), oid("gone")])
    assert set(part.frames) == {oid("l"), oid("a")}
    assert part.absent == (oid("l"), oid("gone"))


# -- versions of a file, in a real store ----------------------------------------------------


class Blobs:
    """Git objects by name."""

    def __init__(self) -> None:
        self.texts: dict[str, bytes] = {}

    def info(self, spec: str) -> tuple[str, str, int] | None:
        text = self.texts.get(spec)
        return None if text is None else (spec, "blob", len(text))

    def read(self, spec: str) -> bytes | None:
        return self.texts.get(spec)


def added(store: LocalStore, blobs: Blobs, name: str, data: bytes) -> Version:
    blobs.texts[name] = pointers.render(clean(BytesSource(data), store).pointer)
    return Version(name, f"commit of {name}")


def count(store: LocalStore, blobs: Blobs, versions: list[Version], now: str) -> FileUsage:
    reading = _Reading(cast("Any", blobs), store, _read_ledger(store))
    item = Tracked(b"m", "100644", now, None, 1)
    return _count(item, versions, reading, tensors=True).usage


def model(a: int, b: int) -> bytes:
    return safetensors_file({"a": normal(a, 700, 500), "b": normal(b, 1_500, 1_000)})


def test_versions_tensors_and_the_file_are_the_same_bytes(tmp_path: Path) -> None:
    store, blobs = open_store(tmp_path / "nn"), Blobs()
    contents = {"v1": model(1, 1), "v2": model(2, 1), "v3": model(2, 3)}
    versions = [added(store, blobs, name, data) for name, data in contents.items()]
    found = count(store, blobs, versions, "v3")
    packs = list(store.packs())
    frames = sum(pack.size - 16 for pack in packs)
    assert found.size == len(contents["v3"])
    assert found.history.stored == frames == sum(row.added.stored for row in found.versions)
    assert found.stored == found.versions[-1].stored
    assert found.stored.stored == sum(row.stored.stored for row in found.tensors)
    assert [row.name for row in found.tensors] == ["a", "b", ""]
    assert [row.versions for row in found.tensors] == [2, 2, 1]
    assert sum(row.history.stored for row in found.tensors) == frames
    assert found.by_sharing == 700 * 500 * 4 + 1_500 * 1_000 * 4 + 2 * found.tensors[2].size
    skeleton = found.tensors[2].stored.stored
    assert found.shared == found.tensors[0].stored.stored + skeleton
    assert found.absent == 0
    assert SEGMENT < 1_500 * 1_000 * 4  # so that a tensor is a list of segments


def test_tensors_with_the_same_bytes_count_once(tmp_path: Path) -> None:
    store, blobs = open_store(tmp_path / "nn"), Blobs()
    same = normal(1, 5_000)
    version = added(store, blobs, "v1", safetensors_file({"a": same, "b": same}))
    found = count(store, blobs, [version], "v1")
    a, b, _ = found.tensors
    assert (a.size, b.size) == (20_000, 20_000)
    assert (a.stored.raw, b.stored) == (20_000, Amount())
    assert found.by_sharing == 20_000
    assert found.shared == 0


def test_what_is_not_in_this_store_is_said(tmp_path: Path) -> None:
    store, blobs = open_store(tmp_path / "nn"), Blobs()
    version = added(open_store(tmp_path / "other"), blobs, "v1", model(1, 1))
    found = count(store, blobs, [version], "v1")
    assert (found.absent, found.stored, found.size) == (3, Amount(), 0)


@pytest.mark.parametrize("text", [b"", b"raw weights", b"git-nn pointer 1\nnonsense\n"])
def test_what_is_no_pointer_takes_nothing_in_the_store(tmp_path: Path, text: bytes) -> None:
    store, blobs = open_store(tmp_path / "nn"), Blobs()
    blobs.texts["v1"] = text
    found = count(store, blobs, [Version("missing"), Version("v1")], "v1")
    assert (found.size, found.stored, found.tensors) == (len(text), Amount(), ())
    assert [row.size for row in found.versions] == [0, len(text)]
