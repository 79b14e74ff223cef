"""Merged HDF5 files: their tensors, attributes, and Keras' own lists and configurations."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from git_nn.errors import MergeError, MissingObjectError
from git_nn.formats import hdf5, hdf5_process
from git_nn.formats.base import BytesSource, Plan
from tests.support.keras_file import (
    Dense,
    Dropout,
    Layer,
    adam_state,
    dense_layers,
    keras_file,
    tensor_path,
    tuned,
    weights_file,
)


@dataclass(frozen=True)
class Sides:
    """Two files in a folder, and the merged one beside them."""

    folder: Path

    def compose(self, ours: bytes, theirs: bytes, plan: Plan) -> Path:
        paths = [self.folder / name for name in ("ours.h5", "theirs.h5", "out.h5")]
        for path, data in zip(paths, (ours, theirs), strict=False):
            path.write_bytes(data)
        hdf5.compose(*paths[:2], plan, paths[2])
        assert [path.read_bytes() for path in paths[:2]] == [ours, theirs]
        return paths[2]


@pytest.fixture
def sides(tmp_path: Path) -> Sides:
    return Sides(tmp_path)


def arrays(path: Path) -> dict[str, np.ndarray]:
    found = {}
    with h5py.File(path) as file:
        file.visititems(
            lambda name, item: found.update({name: item[()]} if hasattr(item, "dtype") else {})
        )
    return found


def listed(path: Path, group: str, name: str) -> list[str]:
    with h5py.File(path) as file:
        return [x if isinstance(x, str) else x.decode() for x in file[group].attrs[name]]


def configured(path: Path) -> list[str]:
    """Layers of the model_config, without the input layer."""
    with h5py.File(path) as file:
        config = json.loads(file.attrs["model_config"])
    return [layer["config"]["name"] for layer in config["config"]["layers"][1:]]


def expect(path: Path, layers: Sequence[Layer]) -> None:
    """A Keras file with exactly these layers' weights, as Keras would look for them."""
    weights = {
        tensor_path(layer.name, name): array
        for layer in layers
        for name, array in layer.weights.items()
    }
    found = {k: v for k, v in arrays(path).items() if k.startswith("model_weights/")}
    assert {k: (v.dtype, v.shape, v.tobytes()) for k, v in found.items()} == {
        k: (v.dtype, v.shape, v.tobytes()) for k, v in weights.items()
    }
    assert listed(path, "model_weights", "layer_names") == [layer.name for layer in layers]
    for layer in layers:
        names = listed(path, f"model_weights/{layer.name}", "weight_names")
        assert names == [f"tiny/{layer.name}/{name}" for name in layer.weights]


def names_of(*layers: Layer) -> frozenset[str]:
    return frozenset(tensor_path(x.name, name) for x in layers for name in x.weights)


def h5(tmp_path: Path, write: Callable[[h5py.File], Any], **options: Any) -> bytes:
    path = tmp_path / "made.h5"
    with h5py.File(path, "w", **options) as file:
        write(file)
    return path.read_bytes()


def test_a_plan_that_changes_nothing_gives_ours(sides: Sides) -> None:
    ours = keras_file(dense_layers(1, 4, 5, 3))
    assert sides.compose(ours, keras_file(dense_layers(2, 4, 5, 3)), Plan()).exists()
    expect(sides.folder / "out.h5", dense_layers(1, 4, 5, 3))


@pytest.mark.parametrize(
    "options",
    [{}, {"chunks": (3, 4)}, {"chunks": (3, 4), "compression": "gzip", "shuffle": True},
     {"chunks": (3, 4), "compression": "lzf", "fletcher32": True}],
)  # fmt: skip
@pytest.mark.parametrize("libver", ["earliest", "latest"])
@pytest.mark.parametrize("dtype", ["<f4", ">f8", "?", "<c8", "<i2", "V2"])
def test_new_values_are_written_bit_by_bit(
    sides: Sides, options: dict[str, Any], libver: str, dtype: str
) -> None:
    rng = np.random.default_rng(3)
    size = np.dtype(dtype).itemsize
    new = rng.integers(0, 2 if dtype == "?" else 256, (6, 8 * size), "u1").tobytes()
    old = np.zeros((6, 8 * size), "u1").view(dtype)
    data = h5(
        sides.folder, lambda file: file.create_dataset("a", data=old, **options), libver=libver
    )
    out = sides.compose(data, data, Plan(replaced={"a": new}))
    found = arrays(out)["a"]
    assert (found.tobytes(), found.dtype, found.shape) == (new, np.dtype(dtype), (6, 8))


def test_new_values_of_another_size_are_refused(sides: Sides) -> None:
    data = keras_file(dense_layers(1, 4, 5, 3))
    with pytest.raises(MergeError, match="another size"):
        sides.compose(data, data, Plan(replaced={tensor_path("dense", "bias"): b"1234"}))
    assert not (sides.folder / "out.h5").exists()


def test_new_values_in_the_shape_that_theirs_has_take_their_dataset(sides: Sides) -> None:
    mine, wide = dense_layers(1, 4, 5, 3), dense_layers(2, 4, 8, 3)
    merged = tuned(wide, 3)
    plan = Plan(replaced={
        tensor_path(layer.name, name): array.tobytes()
        for layer in merged for name, array in layer.weights.items()
    })  # fmt: skip
    expect(sides.compose(keras_file(mine), keras_file(wide), plan), merged)


def test_new_values_are_asked_for_one_tensor_at_a_time(sides: Sides) -> None:
    asked = []

    class Counted(dict[str, bytes]):
        def __getitem__(self, name: str) -> bytes:
            asked.append(name)
            return super().__getitem__(name)

    data = h5(sides.folder, lambda file: [file.create_dataset(n, data=np.zeros(3)) for n in "abc"])
    new = Counted({name: np.full(3, ord(name), "f8").tobytes() for name in "abc"})
    out = sides.compose(data, data, Plan(replaced=new))
    assert asked == ["a", "b", "c"]
    assert {name: array.tobytes() for name, array in arrays(out).items()} == dict(new.items())


def test_a_tensor_that_cannot_be_had_leaves_no_file(sides: Sides) -> None:
    class Gone(dict[str, bytes]):
        def __getitem__(self, name: str) -> bytes:
            raise MissingObjectError("0" * 64)

    data = h5(sides.folder, lambda file: file.create_dataset("a", data=np.zeros(3)))
    with pytest.raises(MissingObjectError):
        sides.compose(data, data, Plan(replaced=Gone(a=b"")))
    assert not (sides.folder / "out.h5").exists()
    sides.compose(data, data, Plan(replaced={"a": bytes(24)}))


def test_a_crash_while_writing_is_a_merge_error_and_leaves_no_file(sides: Sides) -> None:
    class Deadly(dict[str, bytes]):
        def __getitem__(self, name: str) -> bytes:
            worker = hdf5_process._Shared.worker
            assert worker is not None
            os.kill(worker.pid, signal.SIGKILL)
            return super().__getitem__(name)

    data = h5(sides.folder, lambda file: file.create_dataset("a", data=np.zeros(3)))
    hdf5.layout(BytesSource(data))
    with pytest.raises(MergeError, match="crashed"):
        sides.compose(data, data, Plan(replaced=Deadly(a=bytes(24))))
    assert not (sides.folder / "out.h5").exists()


def test_a_large_tensor_is_written_whole(sides: Sides) -> None:
    new = np.random.default_rng(1).random(1_300_000).tobytes()
    data = h5(sides.folder, lambda file: file.create_dataset("a", data=np.zeros(1_300_000)))
    assert arrays(sides.compose(data, data, Plan(replaced={"a": new})))["a"].tobytes() == new


def test_a_layer_that_theirs_added_comes_with_their_configuration(sides: Sides) -> None:
    base = dense_layers(1, 4, 5, 3)
    mine = tuned(base, 2)
    extra = Dense("extra", np.ones((3, 3), "f4"), np.zeros(3, "f4"))
    theirs = [base[0], Dropout("drop"), base[1], extra]
    plan = Plan(from_theirs=names_of(extra))
    out = sides.compose(keras_file(mine), keras_file(theirs), plan)
    expect(out, [mine[0], Dropout("drop"), mine[1], extra])
    assert configured(out) == ["dense", "drop", "dense_1", "extra"]


def test_a_layer_in_the_middle_keeps_its_place(sides: Sides) -> None:
    first, last = dense_layers(1, 4, 5, 3)
    middle = Dense("middle", np.ones((5, 5), "f4"), np.ones(5, "f4"))
    plan = Plan(from_theirs=names_of(middle))
    out = sides.compose(keras_file([first, last]), keras_file([first, middle, last]), plan)
    expect(out, [first, middle, last])
    assert configured(out) == ["dense", "middle", "dense_1"]


def test_a_layer_that_theirs_removed_goes_with_their_configuration(sides: Sides) -> None:
    layers = dense_layers(1, 4, 4, 4, 3)
    rest = [layers[0], layers[2]]
    plan = Plan(removed=names_of(layers[1]))
    out = sides.compose(keras_file(layers), keras_file(rest), plan)
    expect(out, rest)
    assert configured(out) == ["dense", "dense_2"]
    with h5py.File(out) as file:
        assert "dense_1" not in file["model_weights"]


def test_a_layer_that_ours_added_keeps_our_configuration(sides: Sides) -> None:
    first, last = dense_layers(1, 4, 5, 3)
    middle = Dense("middle", np.ones((5, 5), "f4"), np.ones(5, "f4"))
    moved = tuned([first], 5)[0]
    plan = Plan(replaced={
        tensor_path("dense", name): array.tobytes() for name, array in moved.weights.items()
    })  # fmt: skip
    out = sides.compose(keras_file([first, middle, last]), keras_file([moved, last]), plan)
    expect(out, [moved, middle, last])
    assert configured(out) == ["dense", "middle", "dense_1"]


def test_a_layer_that_theirs_resized_comes_with_their_configuration(sides: Sides) -> None:
    mine, wide = dense_layers(1, 4, 5, 3), dense_layers(2, 4, 8, 3)
    kept = tensor_path("dense_1", "bias")  # the only tensor of the same shape on both sides
    out = sides.compose(
        keras_file(mine), keras_file(wide), Plan(from_theirs=names_of(*wide) - {kept})
    )
    expect(out, [wide[0], replace(wide[1], bias=mine[1].weights["bias"])])
    with h5py.File(out) as file:
        config = json.loads(file.attrs["model_config"])["config"]["layers"]
    assert [layer["config"].get("units") for layer in config] == [None, 8, 3]


def test_two_structures_that_no_configuration_describes_are_a_conflict(sides: Sides) -> None:
    first, last = dense_layers(1, 4, 4, 3)
    mine = Dense("mine", np.ones((4, 4), "f4"), np.ones(4, "f4"))
    other = Dense("other", np.ones((4, 4), "f4"), np.ones(4, "f4"))
    with pytest.raises(MergeError, match="model_config"):
        sides.compose(
            keras_file([first, mine, last]),
            keras_file([first, other, last]),
            Plan(from_theirs=names_of(other)),
        )
    assert not (sides.folder / "out.h5").exists()


def test_weights_without_configuration_unite_the_layers_of_both(sides: Sides) -> None:
    """What save_weights of older Keras writes: layer_names at the root."""

    def write(names: list[str]) -> Callable[[h5py.File], None]:
        def fill(file: h5py.File) -> None:
            file.attrs["layer_names"] = [name.encode() for name in names]
            for name in names:
                group = file.create_group(name)
                group.attrs["weight_names"] = [f"{name}/kernel:0".encode()]
                group[f"{name}/kernel:0"] = np.full((2, 2), len(name), "f4")

        return fill

    ours = h5(sides.folder, write(["a", "mine", "z"]))
    theirs = h5(sides.folder, write(["a", "theirs", "z"]))
    out = sides.compose(ours, theirs, Plan(from_theirs=frozenset({"theirs/theirs/kernel:0"})))
    assert listed(out, "/", "layer_names") == ["a", "theirs", "mine", "z"]
    assert listed(out, "theirs", "weight_names") == ["theirs/kernel:0"]
    assert set(arrays(out)) == {f"{n}/{n}/kernel:0" for n in ("a", "mine", "theirs", "z")}


def test_lists_that_keras_had_to_cut_are_read_and_written_cut(sides: Sides) -> None:
    def write(names: list[str]) -> Callable[[h5py.File], None]:
        def fill(file: h5py.File) -> None:
            half = len(names) // 2
            file.attrs["layer_names0"] = np.asarray([name.encode() for name in names[:half]])
            file.attrs["layer_names1"] = np.asarray([name.encode() for name in names[half:]])
            for name in names:
                file[f"{name}/w"] = np.zeros(1, "f4")

        return fill

    common = [f"{i:03}_{'x' * 100}" for i in range(900)]
    ours = h5(sides.folder, write([*common, "mine"]))
    theirs = h5(sides.folder, write([*common[:5], "theirs", *common[5:]]))
    out = sides.compose(ours, theirs, Plan(from_theirs=frozenset({"theirs/w"})))
    with h5py.File(out) as file:
        assert set(file.attrs) == {"layer_names0", "layer_names1"}
        found = [x.decode() for i in (0, 1) for x in file.attrs[f"layer_names{i}"]]
    assert found == [*common[:5], "theirs", *common[5:], "mine"]


def test_optimizer_state_follows_the_layers(sides: Sides) -> None:
    base = dense_layers(1, 4, 5, 3)
    extra = Dense("extra", np.ones((3, 3), "f4"), np.zeros(3, "f4"))
    theirs = [*base, extra]
    ours_state, their_state = adam_state(base, 1), adam_state(theirs, 2)
    added = {f"optimizer_weights/{name}" for name in their_state.keys() - ours_state.keys()}
    plan = Plan(from_theirs=names_of(extra) | added)
    out = sides.compose(
        keras_file(base, optimizer=ours_state), keras_file(theirs, optimizer=their_state), plan
    )
    expect(out, theirs)
    assert listed(out, "optimizer_weights", "weight_names") == list(their_state)
    found = arrays(out)
    for name, array in (their_state | ours_state).items():
        assert found[f"optimizer_weights/{name}"].tobytes() == array.tobytes()


def test_weights_files_of_keras_3_take_groups_with_their_attributes(sides: Sides) -> None:
    base = dense_layers(1, 4, 5, 3)
    extra = Dense("extra", np.ones((3, 3), "f4"), np.zeros(3, "f4"))
    new = frozenset({"layers/dense_2/vars/0", "layers/dense_2/vars/1"})
    out = sides.compose(weights_file(base), weights_file([*base, extra]), Plan(from_theirs=new))
    with h5py.File(out) as file, h5py.File(sides.folder / "theirs.h5") as theirs:
        assert file["layers/dense_2/vars"].attrs["name"] == "extra"
        assert file["layers/dense/vars"].attrs["name"] == "dense"
        assert set(file["layers"]) == set(theirs["layers"])
    assert arrays(out)["layers/dense_2/vars/0"].tobytes() == extra.kernel.tobytes()


def test_a_dataset_comes_with_its_attributes_chunks_and_filters(sides: Sides) -> None:
    def write(file: h5py.File) -> None:
        item = file.create_dataset(
            "new/a", data=np.arange(12.0).reshape(3, 4), chunks=(2, 2), compression="gzip"
        )
        item.attrs["units"] = "m"
        file["new"].attrs["list"] = np.arange(3)

    ours = h5(sides.folder, lambda file: file.create_dataset("old", data=np.zeros(3)))
    out = sides.compose(ours, h5(sides.folder, write), Plan(from_theirs=frozenset({"new/a"})))
    with h5py.File(out) as file:
        item = file["new/a"]
        assert (item.chunks, item.compression, item.attrs["units"]) == ((2, 2), "gzip", "m")
        assert item[()].tobytes() == np.arange(12.0).tobytes()
        assert file["new"].attrs["list"].tolist() == [0, 1, 2]
        assert set(file) == {"old", "new"}


def test_nothing_is_read_or_written_through_soft_or_external_links(sides: Sides) -> None:
    """A merged file cannot be made to reach into another file of this machine."""
    victim = sides.folder / "victim.h5"
    with h5py.File(victim, "w") as file:
        file["group/w"] = np.zeros(4, "f4")
    before = victim.read_bytes()

    def linked(file: h5py.File) -> None:
        file["group"] = h5py.ExternalLink(str(victim), "group")
        file["real/w"] = np.ones(4, "f4")
        file["soft"] = h5py.SoftLink("/real")

    def plain(file: h5py.File) -> None:
        for name in ("group/w", "group/new", "soft/w", "soft/new"):
            file[name] = np.full(4, 7, "f4")

    ours, theirs = h5(sides.folder, linked), h5(sides.folder, plain)
    for name in ("group/w", "group/new", "soft/w", "soft/new"):
        with pytest.raises(MergeError):
            sides.compose(ours, theirs, Plan(from_theirs=frozenset({name})))
    for name in ("group/w", "soft/w"):
        with pytest.raises(MergeError):
            sides.compose(ours, theirs, Plan(replaced={name: bytes(16)}))
        with pytest.raises(MergeError):
            sides.compose(ours, theirs, Plan(removed=frozenset({name})))
        with pytest.raises(MergeError):
            sides.compose(theirs, ours, Plan(from_theirs=frozenset({name})))
    assert victim.read_bytes() == before


def test_datasets_that_keep_data_elsewhere_are_refused(sides: Sides) -> None:
    target = sides.folder / "raw"
    target.write_bytes(b"untouched bytes!")

    def write(file: h5py.File) -> None:
        file.create_dataset("w", (4,), "f4", external=[(str(target), 0, 16)])

    data = h5(sides.folder, write)
    plain = h5(sides.folder, lambda file: file.create_dataset("w", data=np.zeros(4, "f4")))
    with pytest.raises(MergeError, match="another file"):
        sides.compose(data, data, Plan(replaced={"w": bytes(16)}))
    with pytest.raises(MergeError, match="another file"):
        sides.compose(plain, data, Plan(from_theirs=frozenset({"w"})))
    assert target.read_bytes() == b"untouched bytes!"


def test_a_name_that_is_a_group_on_the_other_side_is_refused(sides: Sides) -> None:
    ours = h5(sides.folder, lambda file: file.create_dataset("a/b", data=np.zeros(3)))
    theirs = h5(sides.folder, lambda file: file.create_dataset("a", data=np.zeros(3)))
    with pytest.raises(MergeError):
        sides.compose(ours, theirs, Plan(from_theirs=frozenset({"a"})))
    with pytest.raises(MergeError):
        sides.compose(theirs, ours, Plan(from_theirs=frozenset({"a/b"})))


def test_removing_what_is_not_there_is_refused(sides: Sides) -> None:
    data = keras_file(dense_layers(1, 4, 3))
    with pytest.raises(MergeError, match="no dataset"):
        sides.compose(data, data, Plan(removed=frozenset({"absent"})))


def test_files_that_cannot_be_read_are_refused(sides: Sides) -> None:
    data = keras_file(dense_layers(1, 4, 3))
    for ours, theirs in ((data[:500], data), (data, b"not HDF5")):
        with pytest.raises(MergeError):
            sides.compose(ours, theirs, Plan(from_theirs=frozenset({"x"})))
        assert not (sides.folder / "out.h5").exists()


def test_names_with_odd_bytes_are_found(sides: Sides) -> None:
    ours = h5(sides.folder, lambda file: file.create_dataset("a", data=np.zeros(3)))
    theirs = h5(sides.folder, lambda file: file.create_dataset(b"g/caf\xe9", data=np.ones(3)))
    out = sides.compose(ours, theirs, Plan(from_theirs=frozenset({"g/caf\udce9"})))
    with h5py.File(out) as file:
        assert file[b"g/caf\xe9"][()].tolist() == [1, 1, 1]
