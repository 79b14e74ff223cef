"""Merged files, held against files that are made independently. No Git, a store in memory."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path

import h5py
import ml_dtypes
import numpy as np
import pytest

from git_nn.assemble import Sides, assemble
from git_nn.clean import clean
from git_nn.combine import Merged, merge, virtual
from git_nn.errors import MergeError, MissingObjectError
from git_nn.formats.base import BytesSource
from git_nn.merge.report import lines, summary
from git_nn.merge.rows import WHOLE
from git_nn.merge.rules import Choice, Rules
from git_nn.model import open_pointer
from git_nn.objects.oid import Oid, oid_of
from git_nn.objects.pointer import Pointer, Stored, Window, parse, render, sorted_entries
from git_nn.store.memory import MemoryStore
from tests.support.models import (
    h5_arrays,
    h5_file,
    normal,
    read_safetensors,
    safetensors_arrays,
    safetensors_file,
    safetensors_metadata,
)

MEAN = Rules(Choice("mean", (("weight", 0.5),)))
TASK = Rules(Choice("task-arithmetic", (("lambda", 1.0),)))
OURS, THEIRS = Rules(Choice("ours")), Rules(Choice("theirs"))
NONE = Rules()


class CountingStore(MemoryStore):
    """Remembers which objects were read."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: list[Oid] = []

    def read(self, oid: Oid):  # type: ignore[no-untyped-def]
        self.reads.append(oid)
        return super().read(oid)


def point(store: MemoryStore, data: bytes | None) -> Pointer | None:
    return None if data is None else clean(BytesSource(data), store).pointer


def sides_of(store: MemoryStore, base: bytes | None, ours: bytes, theirs: bytes) -> Sides:
    a, b = point(store, ours), point(store, theirs)
    assert a is not None
    assert b is not None
    return Sides(point(store, base), a, b)


def run(
    tmp_path: Path, base: bytes | None, ours: bytes, theirs: bytes, rules: Rules = NONE
) -> tuple[Merged, bytes]:
    """The merge, and the file that its pointer stands for."""
    store = MemoryStore()
    merged = merge(sides_of(store, base, ours, theirs), rules, store, tmp_path / "scratch")
    assert parse(render(merged.pointer)) == merged.pointer
    out = tmp_path / f"out-{len(list(tmp_path.iterdir()))}"
    open_pointer(merged.pointer, store).write(out)
    data = out.read_bytes()
    scratch = tmp_path / "scratch"
    assert not scratch.exists() or not list(scratch.iterdir())
    if merged.pointer.format == "safetensors":
        assert clean(BytesSource(data), MemoryStore()).pointer.by_name == merged.pointer.by_name
    return merged, data


def base_model(**changes: np.ndarray) -> dict[str, np.ndarray]:
    made = {name: normal(i, 5, 7) for i, name in enumerate("abcd")}
    return made | changes


X, Y, Z = normal(101, 5, 7), normal(102, 5, 7), normal(103, 5, 7)


def test_changes_of_different_tensors_merge_to_both(tmp_path: Path) -> None:
    files = [safetensors_file(base_model(**c), {"format": "pt"}) for c in ({}, {"a": X}, {"c": Y})]
    merged, data = run(tmp_path, *files)
    assert merged.is_clean
    assert data == safetensors_file(base_model(a=X, c=Y), {"format": "pt"})
    assert summary(merged.decisions) == "1 tensor from ours, 1 from theirs"
    assert merged.notes == ()


def test_a_merge_of_different_tensors_reads_nothing(tmp_path: Path) -> None:
    store = CountingStore()
    files = [safetensors_file(base_model(**c)) for c in ({}, {"a": X}, {"c": Y})]
    sides = sides_of(store, *files)
    merged = merge(sides, NONE, store, tmp_path)
    assert merged.is_clean
    assert store.reads == []


def test_a_conflict_keeps_ours_and_merges_the_rest(tmp_path: Path) -> None:
    files = [safetensors_file(base_model(**c)) for c in ({}, {"a": X, "b": X}, {"a": Y, "c": Y})]
    merged, data = run(tmp_path, *files)
    assert [conflict.name for conflict in merged.conflicts] == ["a"]
    assert data == safetensors_file(base_model(a=X, b=X, c=Y))
    assert list(lines(merged.conflicts)) == ["a  f32 5x7  changed on both sides"]
    assert summary(merged.decisions) == "1 tensor from ours, 1 from theirs"


def test_the_mean_is_computed_and_stored(tmp_path: Path) -> None:
    files = [safetensors_file(base_model(**c)) for c in ({}, {"a": X}, {"a": Y, "b": Z})]
    merged, data = run(tmp_path, *files, rules=MEAN)
    mean = ((X.astype(np.float64) + Y) / 2).astype(np.float32)
    assert data == safetensors_file(base_model(a=mean, b=Z))
    assert summary(merged.decisions) == "1 tensor from theirs, 1 by mean:weight=0.5"


def test_task_arithmetic_adds_both_changes(tmp_path: Path) -> None:
    kind = ml_dtypes.bfloat16
    made = [base_model(a=v.astype(kind)) for v in (Z, X, Y)]
    merged, data = run(tmp_path, *map(safetensors_file, made), rules=TASK)
    o, a, b = (m["a"].astype(np.float64) for m in made)
    expected = (a + b - o).astype(np.float32).astype(kind)
    assert merged.is_clean
    found = safetensors_arrays(data)["a"]
    assert found.dtype == np.dtype(kind)
    assert np.array_equal(found.view(np.uint16), expected.view(np.uint16))


def test_a_large_tensor_is_computed_in_blocks(tmp_path: Path) -> None:
    shape = (3, 700_001)  # 8 MB: several blocks and several segments, no round number
    base, ours, theirs = (normal(i, *shape) for i in range(3))
    files = [safetensors_file({"w": w}) for w in (base, ours, theirs)]
    _, data = run(tmp_path, *files, rules=MEAN)
    mean = ((ours.astype(np.float64) + theirs) / 2).astype(np.float32)
    assert data == safetensors_file({"w": mean})


def test_chosen_sides_are_copied_and_never_computed(tmp_path: Path) -> None:
    ours = np.array([0x7FC00001, 0xFF800000, 0x80000000], dtype=np.uint32).view(np.float32)
    theirs = np.array([0x7FC00002, 0x7F800000, 0x00000000], dtype=np.uint32).view(np.float32)
    files = [safetensors_file({"w": w}) for w in (np.zeros(3, np.float32), ours, theirs)]
    assert run(tmp_path, *files, rules=OURS)[1] == files[1]
    assert run(tmp_path, *files, rules=THEIRS)[1] == files[2]


def test_integers_are_not_averaged(tmp_path: Path) -> None:
    files = [safetensors_file({"w": np.array([n], np.int64)}) for n in (1, 2**50, 2**50 + 2)]
    merged, data = run(tmp_path, *files, rules=MEAN)
    assert data == files[1]
    assert [c.why for c in merged.conflicts] == [
        "changed on both sides; i64 values are never computed with"
    ]


def test_nan_that_is_computed_is_told(tmp_path: Path) -> None:
    ours, theirs = np.float32([np.inf, 1]), np.float32([-np.inf, 2])
    files = [safetensors_file({"w": w}) for w in (np.zeros(2, np.float32), ours, theirs)]
    merged, _ = run(tmp_path, *files, rules=MEAN)
    assert merged.is_clean
    assert merged.notes == ("tensor w: mean gave NaN or infinity for 1 of its values",)


def test_tensors_added_on_one_side_come_with_its_container(tmp_path: Path) -> None:
    base, ours = base_model(), base_model(a=X)
    theirs = {**base_model(), "e": Y}
    merged, data = run(tmp_path, *map(safetensors_file, (base, ours, theirs)))
    assert merged.is_clean
    assert data == safetensors_file({**base_model(a=X), "e": Y})


def test_a_tensor_removed_on_one_side_is_removed(tmp_path: Path) -> None:
    theirs = base_model()
    del theirs["b"]
    files = [safetensors_file(m) for m in (base_model(), base_model(a=X), theirs)]
    merged, data = run(tmp_path, *files)
    assert merged.is_clean
    assert data == safetensors_file({k: v for k, v in base_model(a=X).items() if k != "b"})


def test_a_tensor_removed_here_and_changed_there_is_a_conflict(tmp_path: Path) -> None:
    removed = base_model()
    del removed["b"]
    changed = base_model(b=X, c=Y)
    base, one, other = (safetensors_file(m) for m in (base_model(), removed, changed))
    merged, data = run(tmp_path, base, one, other)
    assert [c.why for c in merged.conflicts] == ["removed by ours, changed by theirs"]
    assert data == safetensors_file({k: v for k, v in base_model(c=Y).items() if k != "b"})
    merged, data = run(tmp_path, base, other, one)
    assert [c.why for c in merged.conflicts] == ["changed by ours, removed by theirs"]
    assert data == safetensors_file(base_model(b=X, c=Y))


def test_different_tensors_added_on_both_sides_make_a_new_safetensors_file(tmp_path: Path) -> None:
    """Nothing fits either container, so the format writes one: ours' order, then theirs'."""
    base = safetensors_file(base_model(), {"format": "pt"})
    ours = safetensors_file({**base_model(a=X), "lora.a": Y}, {"format": "pt"})
    theirs = safetensors_file({**base_model(b=Z), "lora.b": X}, {"format": "pt"})
    merged, data = run(tmp_path, base, ours, theirs)
    assert merged.is_clean
    expected = {**base_model(a=X, b=Z), "lora.a": Y, "lora.b": X}
    assert read_safetensors(data) == read_safetensors(safetensors_file(expected))
    assert safetensors_metadata(data) == {"format": "pt"}


def test_computed_tensors_go_into_a_new_file_too(tmp_path: Path) -> None:
    base = safetensors_file(base_model())
    ours = safetensors_file({**base_model(a=X), "e": Y})
    theirs = safetensors_file({**base_model(a=Y), "f": Z})
    merged, data = run(tmp_path, base, ours, theirs, rules=MEAN)
    assert merged.is_clean
    mean = ((X.astype(np.float64) + Y) / 2).astype(np.float32)
    expected = {**base_model(a=mean), "e": Y, "f": Z}
    assert read_safetensors(data) == read_safetensors(safetensors_file(expected))


def test_resized_tensors_go_with_the_side_that_resized_them(tmp_path: Path) -> None:
    longer = normal(9, 8, 7)
    base = safetensors_file(base_model())
    ours = safetensors_file(base_model(a=longer))
    theirs = safetensors_file(base_model(b=X, c=longer))
    merged, data = run(tmp_path, base, ours, theirs)
    assert merged.is_clean
    expected = base_model(a=longer, b=X, c=longer)
    assert read_safetensors(data) == read_safetensors(safetensors_file(expected))


def test_a_cast_of_equal_length_takes_the_container_that_says_so(tmp_path: Path) -> None:
    """f32 -> i32 has as many bytes, but the container names the dtype."""
    base = safetensors_file(base_model())
    ours = safetensors_file(base_model(a=X))
    theirs = safetensors_file(base_model(b=np.arange(35, dtype=np.int32).reshape(5, 7)))
    merged, data = run(tmp_path, base, ours, theirs)
    assert merged.is_clean
    expected = base_model(a=X, b=np.arange(35, dtype=np.int32).reshape(5, 7))
    assert data == safetensors_file(expected)


def test_a_key_that_both_sides_changed_is_ours_and_that_is_told(tmp_path: Path) -> None:
    files = [
        safetensors_file(base_model(**c), {"epoch": e})
        for c, e in (({}, "1"), ({"a": X}, "2"), ({"b": Y}, "3"))
    ]
    merged, data = run(tmp_path, *files)
    assert merged.is_clean
    assert merged.notes == ("both sides changed epoch beside the tensors; ours is kept",)
    assert data == safetensors_file(base_model(a=X, b=Y), {"epoch": "2"})


def test_a_container_that_one_side_changed_is_that_sides(tmp_path: Path) -> None:
    plain, noted = ({"epoch": "1"}, {"epoch": "2"})
    base = safetensors_file(base_model(), plain)
    merged, data = run(
        tmp_path,
        base,
        safetensors_file(base_model(a=X), plain),
        safetensors_file(base_model(b=Y), noted),
    )
    assert merged.notes == ()
    assert data == safetensors_file(base_model(a=X, b=Y), noted)


def test_add_add_takes_what_is_equal_and_asks_for_the_rest(tmp_path: Path) -> None:
    ours, theirs = safetensors_file(base_model(a=X)), safetensors_file(base_model(a=Y))
    merged, data = run(tmp_path, None, ours, theirs)
    assert [c.why for c in merged.conflicts] == ["added on both sides"]
    assert data == ours
    merged, data = run(tmp_path, None, ours, theirs, rules=MEAN)
    assert merged.is_clean


def test_a_file_without_tensors_that_both_sides_changed_is_a_conflict(tmp_path: Path) -> None:
    """Taking our container would lose their change without a word."""
    versions = [b"no weights " + word for word in (b"base", b"ours", b"theirs")]
    merged, data = run(tmp_path, *versions)
    assert not merged.is_clean
    assert "no tensors" in merged.whole
    assert data == versions[1]
    merged, data = run(tmp_path, *versions, rules=THEIRS)
    assert merged.is_clean
    assert data == versions[2]
    assert not run(tmp_path, *versions, rules=MEAN)[0].is_clean


def test_files_of_two_formats_are_a_conflict(tmp_path: Path) -> None:
    base = safetensors_file(base_model())
    merged, data = run(tmp_path, base, safetensors_file(base_model(a=X)), h5_file(base_model(b=Y)))
    assert merged.whole == "ours is a safetensors file and theirs a hdf5 file"
    assert safetensors_arrays(data)["a"].tobytes() == X.tobytes()


# --- HDF5 -------------------------------------------------------------------------------


def test_contiguous_datasets_merge_without_a_new_file(tmp_path: Path) -> None:
    files = [h5_file(base_model(**c)) for c in ({}, {"a": X}, {"c": Y})]
    merged, data = run(tmp_path, *files)
    assert merged.is_clean
    assert data == h5_file(base_model(a=X, c=Y))


@pytest.mark.parametrize(
    "options",
    [
        {"chunks": (2, 3), "compression": "gzip"},
        {"chunks": (5, 7), "compression": "gzip", "shuffle": True, "fletcher32": True},
        {"chunks": (2, 3)},
        {"chunks": (2, 3), "compression": "lzf"},
    ],
)
def test_chunked_datasets_merge_whatever_their_lengths(tmp_path: Path, options: dict) -> None:
    smooth = np.zeros((5, 7), np.float32)  # compresses to fewer bytes than noise
    versions = (base_model(), base_model(a=smooth), base_model(c=Y, d=smooth))
    merged, data = run(tmp_path, *(h5_file(m, **options) for m in versions))
    assert merged.is_clean, merged
    found = h5_arrays(data)
    expected = base_model(a=smooth, c=Y, d=smooth)
    assert {k: v.tobytes() for k, v in found.items()} == {
        k: v.tobytes() for k, v in expected.items()
    }
    with h5py.File(io.BytesIO(data)) as file:
        assert file["a"].chunks == options["chunks"]
        assert file["a"].compression == options.get("compression")


def test_compressed_datasets_are_computed(tmp_path: Path) -> None:
    options = {"chunks": (2, 3), "compression": "gzip"}
    versions = (base_model(), base_model(a=X, b=Z), base_model(a=Y))
    merged, data = run(tmp_path, *(h5_file(m, **options) for m in versions), rules=MEAN)
    assert merged.is_clean, merged
    mean = ((X.astype(np.float64) + Y) / 2).astype(np.float32)
    expected = base_model(a=mean, b=Z)
    assert {k: v.tobytes() for k, v in h5_arrays(data).items()} == {
        k: v.tobytes() for k, v in expected.items()
    }


def test_different_datasets_added_on_both_sides_make_a_new_hdf5_file(tmp_path: Path) -> None:
    base = h5_file(base_model())
    ours = h5_file({**base_model(a=X), "new/ours": Y})
    theirs = h5_file({**base_model(b=Z), "new/theirs": X})
    merged, data = run(tmp_path, base, ours, theirs)
    assert merged.is_clean, merged
    expected = {**base_model(a=X, b=Z), "new/ours": Y, "new/theirs": X}
    assert {k: v.tobytes() for k, v in h5_arrays(data).items()} == {
        k: v.tobytes() for k, v in expected.items()
    }


def test_compressing_again_is_no_change_of_values(tmp_path: Path) -> None:
    versions = [
        h5_file(base_model(), chunks=(5, 7), compression="gzip", compression_opts=1),
        h5_file(base_model(), chunks=(5, 7), compression="gzip", compression_opts=9),
        h5_file(base_model(a=X), chunks=(5, 7), compression="gzip", compression_opts=1),
    ]
    merged, data = run(tmp_path, *versions)
    assert merged.is_clean, merged
    assert h5_arrays(data)["a"].tobytes() == X.tobytes()


def test_a_form_that_cannot_be_decoded_is_a_conflict_and_never_computed(tmp_path: Path) -> None:
    options = {"chunks": (5, 7), "compression": "lzf"}
    smooth = [np.full((5, 7), n, np.float32) for n in range(3)]
    merged, data = run(tmp_path, *(h5_file({"w": w}, **options) for w in smooth), rules=MEAN)
    assert not merged.is_clean
    assert h5_arrays(data)["w"].tobytes() == smooth[1].tobytes()


# --- views, damage, virtual bases --------------------------------------------------------


def tied(store: MemoryStore, value: np.ndarray, spare: np.ndarray) -> Pointer:
    """A pointer with tied weights, as torch files have them; its container is made up."""
    made = clean(BytesSource(safetensors_file({"embed": value, "x": spare})), store).pointer
    view = Window("head", "f32", (5, 7), "embed", 0, (7, 1))
    return Pointer(
        "torch", 1, made.skeleton, made.skeleton_size, sorted_entries([*made.entries, view])
    )


def test_tied_weights_stay_tied(tmp_path: Path) -> None:
    store = MemoryStore()
    sides = Sides(tied(store, X, X), tied(store, Y, X), tied(store, X, Z))
    merged = merge(sides, NONE, store, tmp_path)
    assert merged.is_clean
    model = open_pointer(merged.pointer, store)
    assert model.read("head") == model.read("embed") == Y.tobytes()
    assert model.read("x") == Z.tobytes()
    sides = Sides(tied(store, X, X), tied(store, Y, X), tied(store, Z, X))
    model = open_pointer(merge(sides, MEAN, store, tmp_path).pointer, store)
    mean = ((Y.astype(np.float64) + Z) / 2).astype(np.float32).tobytes()
    assert model.read("head") == model.read("embed") == mean


def test_a_format_that_cannot_write_files_gives_a_conflict_of_the_whole(tmp_path: Path) -> None:
    store = MemoryStore()
    base = tied(store, X, X)
    grown = []
    for name in ("ours", "theirs"):
        data = safetensors_file({"embed": X, "x": X, name: Y})
        made = clean(BytesSource(data), store).pointer
        grown.append(Pointer("opaque", 1, made.skeleton, made.skeleton_size, made.entries))
    merged = merge(Sides(base, *grown), NONE, store, tmp_path)
    assert merged.pointer == grown[0]
    assert "cannot write new opaque files" in merged.whole


def test_views_that_would_lose_their_payload_are_refused(tmp_path: Path) -> None:
    store = MemoryStore()
    pointer = tied(store, X, X)
    wanted = {name: e for name, e in pointer.by_name.items() if name != "embed"}
    with pytest.raises(MergeError, match="head is a view of embed"):
        assemble(Sides(None, pointer, pointer), wanted, store, tmp_path)


def test_a_missing_tensor_is_an_error_and_no_merge(tmp_path: Path) -> None:
    store, other = MemoryStore(), MemoryStore()
    files = [safetensors_file(base_model(**c)) for c in ({}, {"a": X}, {"a": Y})]
    sides = sides_of(store, *files)
    gone = sides_of(other, files[0], files[1], files[0])
    with pytest.raises(MissingObjectError):
        merge(sides, MEAN, other, tmp_path)
    by_tensors = Rules(ladder=WHOLE)
    assert merge(sides, by_tensors, other, tmp_path).pointer == gone.ours  # nothing is read


def test_a_lying_store_makes_no_file(tmp_path: Path) -> None:
    """The format writes from what it is given; what comes out is compared with what was meant."""

    class Lying(MemoryStore):
        lies: Iterable[Oid] = ()

        def read(self, oid: Oid):  # type: ignore[no-untyped-def]
            data = b"".join(bytes(piece) for piece in super().read(oid))
            yield bytes(len(data)) if oid in self.lies else data

    store = Lying()
    base = h5_file(base_model())
    ours = h5_file({**base_model(a=X), "e": Y})
    theirs = h5_file({**base_model(), "f": Z})
    sides = sides_of(store, base, ours, theirs)
    store.lies = [oid_of(Z.tobytes())]
    merged = merge(sides, NONE, store, tmp_path)
    assert merged.pointer == sides.ours
    assert merged.whole == "tensor f was not written as intended"


def test_what_merge_bases_leave_open_goes_back_to_where_both_started(tmp_path: Path) -> None:
    store = MemoryStore()
    files = [safetensors_file(base_model(**c)) for c in ({}, {"a": X, "b": X}, {"a": Y, "c": Y})]
    sides = sides_of(store, *files)
    merged = merge(sides, NONE, store, tmp_path)
    expected = point(store, safetensors_file(base_model(b=X, c=Y)))
    assert virtual(sides, merged, store) == expected
    no_base = Sides(None, sides.ours, sides.theirs)
    assert virtual(no_base, merge(no_base, NONE, store, tmp_path), store) == sides.ours
    unlike = sides_of(store, b"1", b"2", b"3")
    assert virtual(unlike, merge(unlike, NONE, store, tmp_path), store) == unlike.base


def test_every_result_of_random_merges_is_the_model_that_was_meant(tmp_path: Path) -> None:
    """Random histories of six tensors: add, remove, change, resize, cast, on each side."""
    random = np.random.default_rng(7)
    shapes = [(5, 7), (3,), (8, 7)]
    for turn in range(60):
        base = {n: normal(i, 5, 7) for i, n in enumerate("abcdef") if random.random() < 0.8}
        versions = []
        for _ in range(2):
            version = dict(base)
            for name in "abcdefgh":
                action = random.random()
                if action < 0.15:
                    version.pop(name, None)
                elif action < 0.4:
                    shape = shapes[int(random.integers(3))]
                    version[name] = normal(int(random.integers(1000)), *shape)
            versions.append(version)
        ours, theirs = versions
        folder = tmp_path / str(turn)
        folder.mkdir()
        merged, data = run(folder, *(safetensors_file(m) for m in (base, ours, theirs)))
        found = {name: (raw[1], raw[2]) for name, raw in read_safetensors(data).items()}
        expected, conflicts = _by_hand(base, ours, theirs)
        assert not merged.whole
        assert {c.name for c in merged.conflicts} == conflicts
        assert found == expected


def _by_hand(*models: dict[str, np.ndarray]) -> tuple[dict[str, tuple], set[str]]:
    base, ours, theirs = ({k: (v.shape, v.tobytes()) for k, v in m.items()} for m in models)
    result, conflicts = {}, set()
    for name in base.keys() | ours.keys() | theirs.keys():
        o, a, b = base.get(name), ours.get(name), theirs.get(name)
        taken = b if a == o else a
        if len({o, a, b}) == 3:
            conflicts.add(name)
        if taken is not None:
            result[name] = taken
    return result, conflicts


def test_the_stored_length_of_a_computed_tensor_is_its_own(tmp_path: Path) -> None:
    store = MemoryStore()
    files = [safetensors_file({"w": normal(i, 4, dtype=np.float16)}) for i in range(3)]
    merged = merge(sides_of(store, *files), MEAN, store, tmp_path)
    entry = merged.pointer.by_name["w"]
    assert isinstance(entry, Stored)
    assert (entry.length, store.size(entry.oid)) == (8, 8)
