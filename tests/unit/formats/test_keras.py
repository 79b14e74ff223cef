"""keras: archives laid out as Keras writes them, read by zipfile and h5py."""

from __future__ import annotations

import io
import json
import os
import signal
import zipfile
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from git_nn import smudge
from git_nn.clean import clean
from git_nn.errors import MergeError
from git_nn.formats import hdf5, hdf5_process, keras, table
from git_nn.formats.base import BytesSource, Plan
from git_nn.objects import skeleton as skeletons
from git_nn.objects.layout import Layout, Payload
from git_nn.objects.pointer import Pointer
from git_nn.objects.skeleton import Literal
from git_nn.smudge import MemorySink
from git_nn.store.base import read_bytes
from git_nn.store.memory import MemoryStore
from tests.contract.format_contract import FormatContract, Sample, Tensor, bounded_memory, survive
from tests.support.keras_file import (
    Dense,
    Dropout,
    Layer,
    adam_state,
    archive_file,
    dense_layers,
    tuned,
    weights_file,
)
from tests.unit.formats.test_npz import deflated, stored

LATER = datetime(2026, 11, 21, 8, 0, 2)


def datasets(data: bytes) -> dict[str, np.ndarray]:
    """The weights in a .keras file, as zipfile and h5py read them."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        inner = archive.read("model.weights.h5")
    found: dict[str, np.ndarray] = {}
    with h5py.File(io.BytesIO(inner)) as file:
        file.visititems(
            lambda name, item: found.update({name: item[()]} if hasattr(item, "dtype") else {})
        )
    return found


def expected(data: bytes) -> dict[str, Tensor]:
    words = {"<f4": "f32", "<i4": "i32"}
    return {
        name: Tensor(words[array.dtype.str], array.shape, array.tobytes())
        for name, array in datasets(data).items()
    }


class TestKeras(FormatContract):
    name = "keras"
    truncations = 60
    mutations = 100

    def samples(self) -> Mapping[str, Sample]:
        layers = dense_layers(1, 4, 5, 3)
        arrays = {"layers/dense": layers[0].weights["kernel"]}
        files = {
            "plain": archive_file(layers),
            "compiled": archive_file(layers, optimizer=adam_state(layers, 2)),
            "assets": archive_file(layers, assets={"vocabulary.txt": b"one\ntwo\n" * 99}),
        }
        return {
            **{label: Sample(data, expected(data)) for label, data in files.items()},
            "npz": Sample(
                archive_file(layers, weights=("model.weights.npz", stored(arrays))),
                {
                    name: Tensor("f32", array.shape, array.tobytes())
                    for name, array in arrays.items()
                },
            ),
        }

    def plain(self, payload: Payload, stored: bytes) -> bytes:
        raise AssertionError(payload.form)


def layout_of(data: bytes) -> Layout:
    return table.detect(BytesSource(data))


def cleaned(data: bytes, store: MemoryStore | None = None) -> Pointer:
    pointer = clean(BytesSource(data), store or MemoryStore()).pointer
    assert pointer.format == "keras"
    return pointer


def written(pointer: Pointer, store: MemoryStore) -> bytes:
    frame = smudge.load_skeleton(pointer, store)
    sink = MemorySink(bytearray(frame.size))
    smudge.write_file(pointer, frame, store, sink)
    return bytes(sink.data)


def test_names_and_contents_are_those_of_the_weights_file() -> None:
    layers = dense_layers(1, 4, 5, 3)
    state = adam_state(layers, 2)
    pointer = cleaned(archive_file(layers, optimizer=state))
    alone = clean(BytesSource(weights_file(layers, optimizer=state)), MemoryStore()).pointer
    assert pointer.stored == alone.stored != {}


def test_other_weights_saved_at_the_same_time_have_the_same_skeleton() -> None:
    layers = dense_layers(1, 4, 5, 3)
    first, second = archive_file(layers), archive_file(tuned(layers, 2))
    assert first != second
    assert cleaned(first).skeleton == cleaned(second).skeleton


def test_saving_the_same_weights_again_changes_the_container_only() -> None:
    """In it the time stands twice for each member and in metadata.json; and there are addresses."""
    layers = dense_layers(1, 4, 5, 3)
    store = MemoryStore()
    times = (LATER, datetime(2025, 1, 31, 23, 59, 58))
    pointers = [cleaned(archive_file(layers, saved=at), store) for at in times]
    assert pointers[0].entries == pointers[1].entries
    literals = [
        b"".join(
            run.data
            for run in skeletons.decode(read_bytes(store, pointer.skeleton)).runs
            if isinstance(run, Literal)
        )
        for pointer in pointers
    ]
    assert len(literals[0]) == len(literals[1])
    changed = sum(a != b for a, b in zip(*literals, strict=True))
    assert changed < 64


def test_the_crc_of_the_weights_is_computed_over_another_tensor() -> None:
    layers = dense_layers(1, 4, 5, 3)
    other = tuned(layers, 2, "dense_1")
    store = MemoryStore()
    ours, theirs = (cleaned(archive_file(x), store) for x in (layers, other))
    merged = Pointer(*ours.layout, ours.skeleton, ours.skeleton_size, theirs.entries)
    data = written(merged, store)
    assert data == archive_file(other)
    found = datasets(data)
    assert found["layers/dense_1/vars/0"].tobytes() == other[1].weights["kernel"].tobytes()


def test_structure_is_what_the_files_in_it_say() -> None:
    layers = dense_layers(1, 4, 5, 3)
    data = archive_file(layers, optimizer=adam_state(layers, 2), saved=LATER)
    found = table.structure("keras", BytesSource(data))
    names = [layer["config"]["name"] for layer in found["config"]["config"]["layers"]]
    assert names == ["input_layer", "dense", "dense_1"]
    assert found["metadata"]["date_saved"] == "2026-11-21@08:00:02"
    assert found["compile_config"]["optimizer"]["class_name"] == "Adam"
    assert found["layers"]["layers/dense_1"] == "dense_1"
    assert "shared_object_id" not in json.dumps(found)


def test_structure_does_not_depend_on_the_weights() -> None:
    data = archive_file(dense_layers(1, 4, 5, 3))
    hollow = bytearray(data)
    for payload in layout_of(data).payloads:
        for extent in payload.extents:
            hollow[extent.offset : extent.stop] = bytes(extent.length)
    found = table.structure("keras", BytesSource(hollow))
    assert found == table.structure("keras", BytesSource(data)) != {}


def repacked(data: bytes, changed: Mapping[str, bytes | None], method: int = 0) -> bytes:
    """The archive with other members: new content, or None for no such member."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w", method) as new:
        for name in [*old.namelist(), *changed]:
            content = changed[name] if name in changed else old.read(name)
            if content is not None and name not in new.namelist():
                new.writestr(zipfile.ZipInfo(name), content, method)
    return out.getvalue()


GOOD = archive_file(dense_layers(1, 4, 5, 3))
NO_MODELS = {
    "no weights": repacked(GOOD, {"model.weights.h5": None}),
    "both weights": repacked(GOOD, {"model.weights.npz": stored({"w": np.zeros(3)})}),
    "weights that are no HDF5": repacked(GOOD, {"model.weights.h5": hdf5.MAGIC + bytes(99)}),
    "empty weights": repacked(GOOD, {"model.weights.h5": b""}),
    "compressed": repacked(GOOD, {}, zipfile.ZIP_DEFLATED),
    "weights that leave the file": GOOD[:-200],
    "a zip of something else": repacked(GOOD, {"metadata.json": b'{"version": 1}'}),
}  # fmt: skip


@pytest.mark.parametrize("label", NO_MODELS)
def test_what_is_no_model_is_opaque(label: str) -> None:
    assert survive(NO_MODELS[label], label).format == "opaque"


def test_a_configuration_that_is_damaged_or_huge_costs_no_tensor() -> None:
    for config in (b"", b"{", b"[" * 1_000_000, b'{"a":' + b"9" * 5000 + b"}", b" " * 30_000_000):
        data = repacked(GOOD, {"config.json": config})
        with bounded_memory():
            assert len(survive(data).payloads) == 4
            table.structure("keras", BytesSource(data))


def test_datasets_that_keep_their_data_elsewhere_are_never_read(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"S3CRET-TOKEN-0123")
    inner = io.BytesIO()
    with h5py.File(inner, "w") as file:
        secret = [(str(tmp_path / "secret"), 0, 16)]
        file.create_dataset("layers/dense/vars/0", (4,), "f4", external=secret)
        file["layers/dense/vars/1"] = np.zeros(3, "f4")
    data = repacked(GOOD, {"model.weights.h5": inner.getvalue()})
    layout = survive(data)
    assert [payload.name for payload in layout.payloads] == ["layers/dense/vars/1"]
    assert any("elsewhere" in note for note in layout.notes)


def test_a_crash_of_the_library_makes_the_file_opaque() -> None:
    class Deadly(BytesSource):
        """Kills the worker when it comes to the weights."""

        def read(self, offset: int, length: int) -> bytes:
            worker = hdf5_process._Shared.worker
            if offset > 0 and worker is not None and self.data[offset:].startswith(b"\x89HDF"):
                os.kill(worker.pid, signal.SIGSEGV)
            return super().read(offset, length)

    found = table.detect(Deadly(GOOD))
    assert found.format == "opaque"
    assert "crashed" in found.notes[0]
    assert layout_of(GOOD).format == "keras"


# --- merged files -----------------------------------------------------------------------


def composed(folder: Path, ours: bytes, theirs: bytes, plan: Plan) -> bytes:
    (folder / "ours").write_bytes(ours)
    (folder / "theirs").write_bytes(theirs)
    keras.compose(folder / "ours", folder / "theirs", plan, folder / "out")
    assert {path.name for path in folder.iterdir()} == {"ours", "theirs", "out"}
    return (folder / "out").read_bytes()


def member(data: bytes, name: str) -> Any:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return json.loads(archive.read(name))


def layer_names(data: bytes) -> list[str]:
    layers = member(data, "config.json")["config"]["layers"]
    return [layer["config"]["name"] for layer in layers[1:]]


def holds(data: bytes, layers: Sequence[Layer]) -> None:
    wanted = expected(archive_file(layers))
    assert expected(data) == wanted


EXTRA = Dense("extra", np.eye(3, dtype="f4"), np.ones(3, "f4"))
EXTRA_NAMES = frozenset({"layers/dense_2/vars/0", "layers/dense_2/vars/1"})


def test_a_layer_that_theirs_added_comes_with_their_configuration(tmp_path: Path) -> None:
    base = dense_layers(1, 4, 5, 3)
    mine = tuned(base, 2)
    theirs = archive_file([*base, EXTRA], saved=LATER, assets={"words.txt": b"theirs"})
    data = composed(tmp_path, archive_file(mine), theirs, Plan(EXTRA_NAMES))
    holds(data, [*mine, EXTRA])
    assert layer_names(data) == ["dense", "dense_1", "extra"]
    assert member(data, "metadata.json")["date_saved"] == "2026-11-21@08:00:02"
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.read("assets/words.txt") == b"theirs"
    assert layout_of(data).format == "keras"


def test_a_layer_that_theirs_removed_goes_with_their_configuration(tmp_path: Path) -> None:
    base = [*dense_layers(1, 4, 5, 3), EXTRA]
    mine = tuned(base, 2)
    plan = Plan(removed=EXTRA_NAMES)
    data = composed(tmp_path, archive_file(mine), archive_file(base[:2]), plan)
    holds(data, mine[:2])
    assert layer_names(data) == ["dense", "dense_1"]


def test_a_layer_that_ours_added_keeps_our_configuration(tmp_path: Path) -> None:
    base = dense_layers(1, 4, 5, 3)
    theirs = tuned(base, 2, "dense")
    new = {f"layers/dense/vars/{i}": a.tobytes() for i, a in enumerate(theirs[0].weights.values())}
    ours = [*base, Dropout("drop"), EXTRA]
    data = composed(tmp_path, archive_file(ours), archive_file(theirs), Plan(replaced=new))
    holds(data, [theirs[0], *ours[1:]])
    assert layer_names(data) == ["dense", "dense_1", "drop", "extra"]


def test_layers_that_both_sides_added_are_described_by_neither(tmp_path: Path) -> None:
    base = dense_layers(1, 4, 5, 3)
    theirs = [*base, EXTRA, EXTRA]
    names = frozenset({"layers/dense_3/vars/0", "layers/dense_3/vars/1"})
    with pytest.raises(MergeError, match="describes the result"):
        composed(tmp_path, archive_file([*base, EXTRA]), archive_file(theirs),
                 Plan(names, removed=EXTRA_NAMES))  # fmt: skip


def test_equal_configurations_describe_any_tensors(tmp_path: Path) -> None:
    """Variables of one's own classes stand in no configuration."""
    base = dense_layers(1, 4, 5, 3)
    sides = []
    for name in ("mine", "other"):
        inner = io.BytesIO(weights_file(base))
        with h5py.File(inner, "r+") as file:
            file[f"{name}/vars/0"] = np.full(3, len(name), "f4")
        sides.append(archive_file(base, weights=("model.weights.h5", inner.getvalue())))
    data = composed(tmp_path, *sides, Plan(frozenset({"other/vars/0"})))
    assert datasets(data)["mine/vars/0"].tolist() == [4, 4, 4]
    assert datasets(data)["other/vars/0"].tolist() == [5, 5, 5]


def test_arrays_of_the_other_container_are_merged_too(tmp_path: Path) -> None:
    base = dense_layers(1, 4, 5, 3)
    files = [
        archive_file(base, weights=("model.weights.npz", data))
        for data in (
            stored({"a": np.zeros(3), "b": np.ones(4)}),
            deflated({"a": np.zeros(3), "c": np.ones(4)}),
        )
    ]
    data = composed(tmp_path, *files, Plan(frozenset({"c"})))
    assert {payload.name for payload in layout_of(data).payloads} == {"a", "b", "c"}


@pytest.mark.parametrize(
    ("ours", "theirs", "plan"),
    [
        (GOOD, GOOD, Plan(frozenset({"missing"}))),
        (GOOD, GOOD, Plan(replaced={"layers/dense/vars/0": b"another size"})),
        (GOOD, repacked(GOOD, {"model.weights.h5": None, "model.weights.npz": stored({})}), Plan()),
        (GOOD, b"no zip", Plan()),
    ],
)
def test_what_cannot_be_merged_is_a_merge_error(
    tmp_path: Path, ours: bytes, theirs: bytes, plan: Plan
) -> None:
    with pytest.raises(MergeError):
        composed(tmp_path, ours, theirs, plan)
