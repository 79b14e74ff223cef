"""compare: only tensors that differ are read, and nothing that is missing makes it fail."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import h5py
import numpy as np

from git_nn.clean import clean
from git_nn.compare import NOT_HERE, compare, compare_pointers
from git_nn.differences.changes import Kind
from git_nn.differences.render import text
from git_nn.formats.base import BytesSource
from git_nn.model import open_source
from git_nn.objects.oid import Oid
from git_nn.store.base import Buffer
from git_nn.store.memory import MemoryStore
from tests.support.models import h5_file, normal, safetensors_file
from tests.unit.diff.versions import Version, f32, version


def three_hundred(*changed: int) -> Version:
    return version({f"layer.{i}.w": f32(i, 1 + (i in changed)) for i in range(300)})


def test_two_versions_that_differ_in_3_of_300_tensors_read_3_tensors() -> None:
    old, new = three_hundred(), three_hundred(7, 80, 299)
    diff = compare(old, new)
    assert sorted(old.read) == sorted(new.read) == ["layer.299.w", "layer.7.w", "layer.80.w"]
    assert diff.same == 297


def test_without_numbers_nothing_is_read() -> None:
    old, new = three_hundred(), three_hundred(7)
    diff = compare(old, new, numbers=False)
    assert (old.read, new.read) == ([], [])
    assert [(d.name, d.kind, d.numbers) for d in diff.tensors] == [
        ("layer.7.w", Kind.CHANGED, None)
    ]


def test_renames_and_removals_read_nothing() -> None:
    old = version({"a": f32(1, 2), "gone": f32(3), "r": ("f32", np.ones((2, 2), np.float32))})
    new = version({"b": f32(1, 2), "come": f32(4), "r": ("f32", np.ones(4, np.float32))})
    diff = compare(old, new)
    assert (old.read, new.read) == ([], ["come"])
    assert {str(delta.kind) for delta in diff.tensors} == {
        "renamed", "added", "removed", "reshaped",
    }  # fmt: skip


def test_missing_values_leave_the_classification_and_say_so() -> None:
    old, new = three_hundred(), three_hundred(1, 2)
    new.missing.add("layer.1.w")
    diff = compare(old, new)
    unread = {delta.name: delta.unread for delta in diff.tensors}
    assert unread == {"layer.2.w": "", "layer.1.w": NOT_HERE}
    assert "to get them: git nn fetch" in text(diff, "m")


def test_a_form_that_cannot_be_decoded_says_so() -> None:
    old = version({"a": f32(1)}, form="h5[1;lzf]")
    new = version({"a": f32(2)}, form="h5[1;lzf]")
    (delta,) = compare(old, new).tensors
    assert delta.numbers is None
    assert delta.unread == "stored as h5[1;lzf], which git-nn does not decode"


def test_equal_structures_are_not_compared() -> None:
    class Untouchable(Version):
        def structure(self) -> dict[str, object]:
            raise AssertionError

    old = version({"a": f32(1)})
    assert compare(Untouchable(old.pointer, old.payloads), old).structure == ()


@dataclass
class CountingStore:
    """A store in memory that notes which objects were read."""

    inner: MemoryStore = field(default_factory=MemoryStore)
    reads: list[Oid] = field(default_factory=list)

    def size(self, oid: Oid) -> int | None:
        return self.inner.size(oid)

    def read(self, oid: Oid) -> Iterator[Buffer]:
        self.reads.append(oid)
        return self.inner.read(oid)

    def batch(self):
        return self.inner.batch()


def test_two_stored_revisions_that_differ_in_3_of_300_tensors_read_3_pairs() -> None:
    store = CountingStore()
    tensors = {f"layer.{i}.w": normal(i, 5, 4) for i in range(300)}
    old = clean(BytesSource(safetensors_file(tensors)), store).pointer
    for i in (7, 80, 299):
        tensors[f"layer.{i}.w"] = tensors[f"layer.{i}.w"] + 1
    new = clean(BytesSource(safetensors_file(tensors)), store).pointer
    store.reads.clear()
    diff = compare_pointers(old, new, store)
    assert diff.same == 297
    assert sorted(store.reads) == sorted(
        pointer.stored[f"layer.{i}.w"].oid for pointer in (old, new) for i in (7, 80, 299)
    )


def test_a_plain_file_and_its_stored_version_are_equal() -> None:
    store = MemoryStore()
    data = h5_file({"a/kernel": normal(1, 20, 6)}, chunks=(7, 4), compression=4, shuffle=True)
    stored = clean(BytesSource(data), store).pointer
    assert compare(open_source(BytesSource(data)), open_source(BytesSource(data))).is_empty
    assert compare_pointers(stored, open_source(BytesSource(data)).pointer, store).is_empty


def test_the_same_values_under_another_compression_are_recoded() -> None:
    store = MemoryStore()
    array = normal(1, 20, 6)
    old, new = (
        clean(BytesSource(h5_file({"k": array}, chunks=(7, 4), **options)), store).pointer
        for options in ({"compression": 1}, {"compression": 9, "shuffle": True})
    )
    (delta,) = compare_pointers(old, new, store).tensors
    assert delta.kind is Kind.RECODED
    assert delta.numbers is not None
    assert delta.numbers.changed == 0


def test_a_changed_value_under_compression_is_measured() -> None:
    store = MemoryStore()
    array = normal(1, 20, 6)
    other = array.copy()
    other[19, 5] += 2
    options = {"chunks": (7, 4), "compression": 4, "fletcher32": True}
    old, new = (
        clean(BytesSource(h5_file({"k": values}, **options)), store).pointer
        for values in (array, other)
    )
    (delta,) = compare_pointers(old, new, store).tensors
    assert delta.numbers is not None
    assert (delta.numbers.changed, delta.numbers.max_at) == (1, (19, 5))
    assert delta.numbers.max_abs == float(other[19, 5]) - float(array[19, 5])


def test_lzf_is_told_apart_but_not_decoded() -> None:
    store = MemoryStore()
    assert h5py.h5z.filter_avail(h5py.h5z.FILTER_LZF)
    old, new = (
        clean(BytesSource(h5_file({"k": np.full(4000, v)}, compression="lzf")), store).pointer
        for v in (1.0, 2.0)
    )
    (delta,) = compare_pointers(old, new, store).tensors
    assert delta.kind is Kind.CHANGED
    assert "does not decode" in delta.unread


def test_opaque_versions_tell_their_sizes() -> None:
    store = MemoryStore()
    old, new = (clean(BytesSource(data), store).pointer for data in (b"abc", b"defgh"))
    diff = compare_pointers(old, new, store)
    assert diff.notes == (
        "the old version is of no known format, 3 bytes",
        "the new version is of no known format, 5 bytes",
    )
    assert compare_pointers(old, new, MemoryStore()).notes[0].endswith("values are not here")


def test_an_added_tensor_is_looked_at_once_and_what_is_wrong_with_it_is_told() -> None:
    odd = np.array([1, np.nan, np.inf, -np.inf, 3], np.float32)
    big = np.array([1e308, -1e308])
    store = MemoryStore()
    kept = normal(1, 4)
    old, new = (
        clean(BytesSource(safetensors_file(tensors)), store).pointer
        for tensors in (
            {"kept": kept},
            {"kept": kept, "odd": odd, "zero": np.zeros(4, np.float32), "big": big, "no": kept[:0]},
        )
    )
    diff = compare_pointers(old, new, store)
    found = {delta.name: delta.summary for delta in diff.tensors}
    assert found["no"] is None
    assert found["odd"] is not None
    assert (found["odd"].elements, found["odd"].nan, found["odd"].inf) == (5, 1, 2)
    assert (found["odd"].mean, found["odd"].low, found["odd"].high) == (2.0, 1.0, 3.0)
    assert found["big"] is not None
    assert found["big"].std == 1e308
    shown = text(diff, "m")
    assert "odd: NaN 1, Inf 2 of 5 values" in shown
    assert "all 0" in next(line for line in shown.splitlines() if "zero" in line)
