"""What becomes of the data beside the tensors. No Git, a store in memory."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from git_nn.combine import Merged, merge
from git_nn.errors import UsageError
from git_nn.merge.keys import Preference, preference
from git_nn.merge.rules import Rules
from git_nn.model import open_pointer
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
from tests.unit.merge.test_combine import CountingStore, sides_of

A, B, C, X, Y, Z = (normal(i, 3, 4) for i in range(6))


def run(
    tmp_path: Path, *files: bytes, prefer: Preference = "keys", store: MemoryStore | None = None
) -> tuple[Merged, bytes]:
    store = store or MemoryStore()
    sides = sides_of(store, *files)
    merged = merge(sides, Rules(skeleton=prefer), store, tmp_path / "scratch")
    out = tmp_path / f"out-{prefer}"
    open_pointer(merged.pointer, store).write(out)
    return merged, out.read_bytes()


def saved(a: np.ndarray, b: np.ndarray, **metadata: str) -> bytes:
    return safetensors_file({"a": a, "b": b}, metadata)


VERSIONS = (
    saved(A, B, epoch="1", lr="1e-3", note="x"),
    saved(X, B, epoch="2", lr="1e-3", note="ours", mine="m"),
    saved(A, Y, epoch="3", lr="1e-4"),
)


def test_metadata_are_merged_by_key_and_ours_where_both_changed_one(tmp_path: Path) -> None:
    merged, data = run(tmp_path, *VERSIONS)
    assert merged.is_clean
    assert safetensors_metadata(data) == {
        "epoch": "2", "lr": "1e-4", "note": "ours", "mine": "m",
    }  # fmt: skip
    assert merged.notes == ("both sides changed epoch and note beside the tensors; ours is kept",)
    assert {name: raw[2] for name, raw in read_safetensors(data).items()} == {
        "a": X.tobytes(),
        "b": Y.tobytes(),
    }


@pytest.mark.parametrize(("side", "version"), [("ours", 1), ("theirs", 2)])
def test_the_setting_takes_the_container_of_one_side(
    tmp_path: Path, side: Preference, version: int
) -> None:
    merged, data = run(tmp_path, *VERSIONS, prefer=side)
    assert merged.notes == (f"both sides changed the container; {side} is kept",)
    assert safetensors_metadata(data) == safetensors_metadata(VERSIONS[version])
    assert safetensors_arrays(data)["b"].tobytes() == Y.tobytes()


def test_a_side_that_was_chosen_gives_its_metadata_to_a_file_that_is_written_anew(
    tmp_path: Path,
) -> None:
    base = safetensors_file({"a": A}, {"epoch": "1"})
    ours = safetensors_file({"a": A, "c": C}, {"epoch": "2", "mine": "m"})
    theirs = safetensors_file({"a": X}, {"epoch": "3"})
    merged, data = run(tmp_path, base, ours, theirs, prefer="theirs")
    assert merged.notes == ("both sides changed the container; theirs is kept",)
    assert data == safetensors_file({"a": X, "c": C}, {"epoch": "3"})


def test_the_setting_can_ask_for_a_conflict(tmp_path: Path) -> None:
    merged, data = run(tmp_path, *VERSIONS, prefer="conflict")
    assert "nn.merge.skeleton is conflict" in merged.whole
    assert data == VERSIONS[1]
    one_sided = (VERSIONS[0], saved(X, B, epoch="1", lr="1e-3", note="x"), VERSIONS[2])
    assert run(tmp_path / "..", *one_sided, prefer="conflict")[0].is_clean


def test_a_setting_that_makes_no_sense_names_itself() -> None:
    assert preference(None) == "keys"
    with pytest.raises(UsageError, match=r"nn\.merge\.skeleton is 'mine'"):
        preference("mine")


def test_tensors_and_metadata_of_both_sides_are_put_together_without_reading_a_tensor(
    tmp_path: Path,
) -> None:
    store = CountingStore()
    base = safetensors_file({"a": A, "b": B}, {"epoch": "1"})
    ours = safetensors_file({"a": A, "b": B, "c": C}, {"epoch": "1"})
    theirs = safetensors_file({"a": A, "b": Y, "d": Z}, {"epoch": "2"})
    sides = sides_of(store, base, ours, theirs)
    merged = merge(sides, Rules(), store, tmp_path)
    assert merged.is_clean
    payloads = {stored.oid for side in (base, ours, theirs) for stored in _stored(side)}
    assert payloads
    assert not payloads & set(store.reads)
    open_pointer(merged.pointer, store).write(tmp_path / "out")
    data = (tmp_path / "out").read_bytes()
    assert data == safetensors_file({"a": A, "b": Y, "c": C, "d": Z}, {"epoch": "2"})


def _stored(data: bytes) -> list[Any]:
    pointer = sides_of(MemoryStore(), None, data, data).ours
    return list(pointer.stored.values())


def attributed(a: np.ndarray, b: np.ndarray, root: dict[str, Any], unit: str) -> bytes:
    return h5_file({"g/a": a, "g/b": b}, {"/": root, "g": {"unit": unit}})


def test_attributes_of_hdf5_files_are_merged_by_key(tmp_path: Path) -> None:
    files = (
        attributed(A, B, {"epoch": 1, "rate": 0.5, "gone": "x"}, "m"),
        attributed(X, B, {"epoch": 2, "rate": 0.5, "gone": "x"}, "km"),
        attributed(A, Y, {"epoch": 3, "rate": 0.25, "new": np.arange(3)}, "m"),
    )
    merged, data = run(tmp_path, *files)
    assert merged.is_clean, merged.whole
    assert merged.notes == ("both sides changed epoch beside the tensors; ours is kept",)
    with h5py.File(io.BytesIO(data)) as file:
        assert dict(file.attrs).keys() == {"epoch", "rate", "new"}
        assert (file.attrs["epoch"], file.attrs["rate"]) == (2, 0.25)
        assert file.attrs["new"].tolist() == [0, 1, 2]
        assert file["g"].attrs["unit"] == "km"
    found = h5_arrays(data)
    assert (found["g/a"].tobytes(), found["g/b"].tobytes()) == (X.tobytes(), Y.tobytes())


def test_attributes_that_both_changed_alike_need_no_new_file(tmp_path: Path) -> None:
    files = [attributed(a, b, {"n": n}, "m") for a, b, n in ((A, B, 1), (X, B, 2), (A, Y, 2))]
    merged, data = run(tmp_path, *files)
    assert merged.notes == ()
    assert data == attributed(X, Y, {"n": 2}, "m")
