"""Merges of files whose tensors one side renamed, renumbered or cast. A store in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from git_nn.combine import Merged, merge, named, virtual
from git_nn.merge.rules import Choice, Rules
from git_nn.model import open_pointer
from git_nn.store.memory import MemoryStore
from tests.support.models import h5_arrays, h5_file, normal, safetensors_arrays, safetensors_file
from tests.unit.merge.test_combine import CountingStore, sides_of

MEAN = Rules(Choice("mean", (("weight", 0.5),)))
Arrays = dict[str, np.ndarray]


def run(
    tmp_path: Path, *files: bytes, rules: Rules | None = None, store: MemoryStore | None = None
) -> tuple[Merged, bytes]:
    store = store or MemoryStore()
    merged = merge(sides_of(store, *files), rules or Rules(), store, tmp_path / "scratch")
    out = tmp_path / "out"
    out.unlink(missing_ok=True)
    open_pointer(merged.pointer, store).write(out)
    return merged, out.read_bytes()


def net(layers: int = 3) -> Arrays:
    made = {"model.embed.weight": normal(99, 6, 3)}
    for i in range(layers):
        made |= {f"model.layers.{i}.{p}": normal(10 * i + j, 3, 3) for j, p in enumerate("ab")}
    return made


def prefixed(model: Arrays) -> Arrays:
    return {f"module.{name.removeprefix('model.')}": array for name, array in model.items()}


def same(found: Arrays, wanted: Arrays) -> bool:
    return {k: (v.shape, v.tobytes()) for k, v in found.items()} == {
        k: (v.shape, v.tobytes()) for k, v in wanted.items()
    }


TUNED = {"model.layers.1.a": normal(71, 3, 3), "model.embed.weight": normal(72, 6, 3)}


@pytest.mark.parametrize("swap", [False, True])
def test_a_renamed_model_takes_the_other_sides_changes_and_no_tensor_is_read(
    tmp_path: Path, swap: bool
) -> None:
    base, mine = safetensors_file(net()), safetensors_file(prefixed(net()), {"epoch": "2"})
    other = safetensors_file({**net(), **TUNED}, {"epoch": "3"})
    store = CountingStore()
    sides = sides_of(store, base, *((other, mine) if swap else (mine, other)))
    merged = merge(sides, Rules(), store, tmp_path)
    payloads = {s.oid for side in (sides.ours, sides.theirs) for s in side.stored.values()}
    assert not payloads & set(store.reads)
    open_pointer(merged.pointer, store).write(tmp_path / "out")
    assert merged.is_clean
    found = safetensors_arrays((tmp_path / "out").read_bytes())
    assert same(found, prefixed({**net(), **TUNED}))


def test_a_renamed_hdf5_file_is_written_anew(tmp_path: Path) -> None:
    files = [
        h5_file({name.replace(".", "/"): array for name, array in model.items()})
        for model in (net(), prefixed(net()), {**net(), **TUNED})
    ]
    merged, data = run(tmp_path, *files)
    assert merged.is_clean, merged.whole
    expected = {n.replace(".", "/"): a for n, a in prefixed({**net(), **TUNED}).items()}
    assert same(h5_arrays(data), expected)


def test_both_changes_of_a_tensor_meet_under_its_new_name(tmp_path: Path) -> None:
    mine = normal(81, 3, 3)
    ours = prefixed({**net(), "model.layers.1.a": mine})
    files = [safetensors_file(m) for m in (net(), ours, {**net(), **TUNED})]
    merged, data = run(tmp_path, *files)
    assert [c.name for c in merged.conflicts] == ["module.layers.1.a"]
    assert safetensors_arrays(data)["module.layers.1.a"].tobytes() == mine.tobytes()
    merged, data = run(tmp_path, *files, rules=MEAN)
    mean = ((mine.astype("f8") + TUNED["model.layers.1.a"]) / 2).astype("f4")
    assert safetensors_arrays(data)["module.layers.1.a"].tobytes() == mean.tobytes()


def test_a_layer_put_in_the_middle_leaves_the_others_their_training(tmp_path: Path) -> None:
    names = {1: 2, 2: 3}
    ours = {}
    for name, array in net().items():
        words = name.split(".")
        if words[1] == "layers":
            words[2] = str(names.get(int(words[2]), int(words[2])))
        ours[".".join(words)] = array
    fresh = {f"model.layers.1.{p}": normal(50, 3, 3) for p in "ab"}
    versions = (net(), {**ours, **fresh}, {**net(), **TUNED})
    merged, data = run(tmp_path, *map(safetensors_file, versions))
    assert merged.is_clean
    expected = {**ours, **fresh, "model.layers.2.a": TUNED["model.layers.1.a"]}
    expected["model.embed.weight"] = TUNED["model.embed.weight"]
    assert same(safetensors_arrays(data), expected)
    (note,) = merged.notes
    moved = "model.layers.1-2 are model.layers.2-3"
    assert note == f"ours inserted model.layers.1: {moved}; theirs' changes follow"


def test_the_virtual_base_of_a_renamed_model_is_a_model(tmp_path: Path) -> None:
    store = MemoryStore()
    ours = prefixed({**net(), "model.layers.1.a": normal(81, 3, 3)})
    files = [safetensors_file(m) for m in (net(), ours, {**net(), **TUNED})]
    sides = sides_of(store, *files)
    merged = merge(sides, Rules(), store, tmp_path)
    made = virtual(sides, merged, store)
    base = named(sides).base
    assert base is not None
    assert made.by_name["module.layers.1.a"] == base.by_name["module.layers.1.a"]
    open_pointer(made, store).write(tmp_path / "out")


# --- dtypes -------------------------------------------------------------------------------


def cast(model: Arrays, dtype: Any) -> Arrays:
    return {name: array.astype(dtype) for name, array in model.items()}


@pytest.mark.parametrize("swap", [False, True])
@pytest.mark.parametrize("dtype", [ml_dtypes.bfloat16, np.float16, np.float64])
def test_training_follows_a_cast_of_the_whole_model(tmp_path: Path, swap: bool, dtype: Any) -> None:
    mine, other = cast(net(), dtype), {**net(), **TUNED}
    versions = (net(), other, mine) if swap else (net(), mine, other)
    merged, data = run(tmp_path, *map(safetensors_file, versions))
    assert merged.is_clean
    assert same(safetensors_arrays(data), cast({**net(), **TUNED}, dtype))
    word = {"bfloat16": "bf16", "float16": "f16", "float64": "f64"}[np.dtype(dtype).name]
    caster, trained = ("theirs", "ours") if swap else ("ours", "theirs")
    (note,) = merged.notes
    start = f"cast to {word} by {caster}, nothing else: {trained} is taken"
    assert note == f"{start} (model.embed.weight and 1 more)"


def test_one_that_was_cast_and_one_that_was_cast_and_trained(tmp_path: Path) -> None:
    half = ml_dtypes.bfloat16
    versions = (net(), cast(net(), half), cast({**net(), **TUNED}, half))
    merged, data = run(tmp_path, *map(safetensors_file, versions), rules=MEAN)
    assert merged.is_clean
    assert same(safetensors_arrays(data), cast({**net(), **TUNED}, half))


def test_training_on_both_sides_of_a_cast_is_a_conflict(tmp_path: Path) -> None:
    ours = cast({**net(), "model.layers.1.a": normal(5, 3, 3)}, np.float16)
    versions = (net(), ours, {**net(), **TUNED})
    merged, data = run(tmp_path, *map(safetensors_file, versions))
    assert [c.name for c in merged.conflicts] == ["model.layers.1.a"]
    found = safetensors_arrays(data)
    assert found["model.layers.1.a"].tobytes() == ours["model.layers.1.a"].tobytes()
    tuned = TUNED["model.embed.weight"].astype(np.float16)
    assert found["model.embed.weight"].tobytes() == tuned.tobytes()


def test_a_large_cast_is_read_in_blocks(tmp_path: Path) -> None:
    base, tuned = normal(1, 700_001), normal(2, 700_001)
    files = [safetensors_file({"w": w}) for w in (base, base.astype(np.float16), tuned)]
    merged, data = run(tmp_path, *files)
    assert merged.is_clean
    assert data == safetensors_file({"w": tuned.astype(np.float16)})
