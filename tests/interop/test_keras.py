"""Files that Keras 3 itself writes and reads: through git and back, and merged."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "torch")

import h5py
import keras
import numpy as np
import pytest

from git_nn.formats import hdf5, table
from git_nn.formats.base import BytesSource, Plan
from git_nn.objects import pointer as pointers
from git_nn.objects.oid import oid_of
from tests.support.git import Repo
from tests.support.keras_file import (
    Dense,
    Dropout,
    Layer,
    adam_state,
    archive_file,
    dense_layers,
    keras_file,
    tensor_path,
    tuned,
    weights_file,
)

pytestmark = [
    pytest.mark.interop,
    pytest.mark.filterwarnings("ignore"),  # of the frameworks, which are not ours to fix
]


def digits(count: int = 120) -> tuple[np.ndarray, np.ndarray]:
    """Drawn digits, 8x8: for each class a fixed stroke pattern, shifted and noisy."""
    rng = np.random.default_rng(0)
    strokes = rng.random((10, 6, 6)) > 0.6
    labels = rng.integers(0, 10, count)
    images = rng.normal(0, 0.1, (count, 8, 8)).astype("f4")
    for image, label in zip(images, labels, strict=True):
        x, y = rng.integers(0, 3, 2)
        image[x : x + 6, y : y + 6] += strokes[label]
    return images[..., None], labels


def network() -> keras.Model:
    """A convolutional network with a frozen part, normalisation, and a model inside the model."""
    keras.utils.set_random_seed(1)
    inputs = keras.Input((8, 8, 1), name="image")
    backbone = keras.Sequential(
        [
            keras.layers.Conv2D(4, 3, activation="relu", name="conv"),
            keras.layers.BatchNormalization(name="norm"),
            keras.layers.Flatten(name="flat"),
        ],
        name="backbone",
    )
    hidden = keras.layers.Dropout(0.1, name="drop")(backbone(inputs))
    outputs = keras.layers.Dense(10, activation="softmax", name="head")(hidden)
    model = keras.Model(inputs, outputs, name="digits")
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy())
    return model


def train(model: keras.Model, epochs: int = 1) -> keras.Model:
    model.fit(*digits(), epochs=epochs, batch_size=40, verbose=0)
    return model


def h5_tensors(data: bytes, folder: Path) -> dict[str, bytes]:
    """Every dataset as h5py reads it."""
    path = folder / "independent.h5"
    path.write_bytes(data)
    found = {}
    with h5py.File(path) as file:
        file.visititems(
            lambda name, item: found.update(
                {name: item[()].tobytes()} if isinstance(item, h5py.Dataset) else {}
            )
        )
    return found


def save(model: keras.Model, path: Path) -> bytes:
    if path.name.endswith(".weights.h5"):
        model.save_weights(path, overwrite=True)
    else:
        model.save(path)
    return path.read_bytes()


def same_weights(left: keras.Model, right: keras.Model) -> bool:
    pairs = zip(left.get_weights(), right.get_weights(), strict=True)
    return all(a.tobytes() == b.tobytes() for a, b in pairs)


@pytest.mark.parametrize("name", ["m.h5", "m.weights.h5"])
def test_every_version_comes_back_and_keras_sees_the_same_weights(repo: Repo, name: str) -> None:
    model = network()
    versions = []
    for _ in range(2):
        data = save(train(model), repo.path / name)
        versions.append((repo.commit(), data, model.get_weights()))
    assert repo.status() == ""
    for commit, data, weights in versions:
        (repo.path / name).unlink()
        repo.git("checkout", "-q", commit)
        assert repo.read(name) == data
        assert repo.status() == ""
        loaded = network()
        if name == "m.h5":
            loaded = keras.models.load_model(repo.path / name)
        else:
            loaded.load_weights(repo.path / name)
        assert [w.tobytes() for w in loaded.get_weights()] == [w.tobytes() for w in weights]


@pytest.mark.parametrize("name", ["m.h5", "m.weights.h5"])
def test_the_pointer_has_every_dataset_under_its_path(
    repo: Repo, tmp_path: Path, name: str
) -> None:
    data = save(train(network()), repo.path / name)
    repo.commit()
    pointer = pointers.parse(repo.blob(f"HEAD:{name}"))
    assert pointer.format == "hdf5"
    expected = {key: oid_of(value) for key, value in h5_tensors(data, tmp_path).items()}
    assert {key: entry.oid for key, entry in pointer.stored.items()} == expected
    assert all(entry.form == "" for entry in pointer.stored.values())


def test_layers_that_did_not_train_do_not_change_in_the_pointer(repo: Repo) -> None:
    model = train(network())
    save(model, repo.path / "m.weights.h5")
    repo.commit()
    before = pointers.parse(repo.blob("HEAD:m.weights.h5"))
    model.get_layer("backbone").trainable = False
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy())
    save(train(model), repo.path / "m.weights.h5")
    repo.commit()
    after = pointers.parse(repo.blob("HEAD:m.weights.h5"))
    layers = {k: v for k, v in before.stored.items() if not k.startswith("optimizer/")}
    changed = {k for k, v in layers.items() if after.stored[k] != v}
    assert changed == {"layers/dense/vars/0", "layers/dense/vars/1"}


def test_saving_the_same_weights_again_changes_nothing(repo: Repo) -> None:
    model = train(network())
    save(model, repo.path / "m.h5")
    commit = repo.commit()
    (repo.path / "m.h5").unlink()
    save(model, repo.path / "m.h5")
    assert repo.status() == ""
    assert repo.git("rev-parse", "HEAD").text.strip() == commit


def test_structure_is_the_configuration_that_keras_gives(tmp_path: Path) -> None:
    model = train(network())
    data = save(model, tmp_path / "m.h5")
    found = table.structure("hdf5", BytesSource(data))
    names = [layer["config"]["name"] for layer in found["model_config"]["config"]["layers"]]
    assert names == [layer.name for layer in model.layers]
    assert found["keras_version"] == keras.__version__


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_weights_of_other_dtypes_are_plain_tensors(tmp_path: Path, dtype: str) -> None:
    keras.utils.set_random_seed(2)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, dtype=dtype)])
    data = save(model, tmp_path / "m.weights.h5")
    layout = table.detect(BytesSource(data))
    words = {"float16": "f16", "bfloat16": "bf16", "float64": "f64"}
    assert {(p.dtype, p.form) for p in layout.payloads} == {(words[dtype], "")}
    expected = h5_tensors(data, tmp_path)
    for payload in layout.payloads:
        (extent,) = payload.extents
        assert data[extent.offset : extent.stop] == expected[payload.name]


def forward(layers: list[Layer], x: np.ndarray) -> np.ndarray:
    """The network in numpy, in double precision."""
    for layer in layers:
        if isinstance(layer, Dense):
            x = x @ layer.kernel.astype("f8") + layer.bias
            if layer.activation == "relu":
                x = np.maximum(x, 0)
            else:
                e = np.exp(x - x.max(-1, keepdims=True))
                x = e / e.sum(-1, keepdims=True)
    return x


def loads_as(path: Path, layers: list[Layer]) -> None:
    """Keras loads the file, has exactly these weights and computes with them."""
    model = keras.models.load_model(path)
    assert [layer.name for layer in model.layers] == [layer.name for layer in layers]
    weights = [w for layer in layers for w in layer.weights.values()]
    assert [w.tobytes() for w in model.get_weights()] == [w.tobytes() for w in weights]
    x = np.random.default_rng(1).standard_normal((5, weights[0].shape[0])).astype("f4")
    assert np.abs(model.predict(x, verbose=0) - forward(layers, x)).max() < 1e-5


def test_keras_loads_what_our_tests_write_as_keras_files(tmp_path: Path) -> None:
    layers = dense_layers(1, 6, 8, 8, 3)
    layers.insert(1, Dropout("drop"))
    path = tmp_path / "m.h5"
    path.write_bytes(keras_file(layers, optimizer=adam_state(layers, 2)))
    loads_as(path, layers)
    model = keras.models.load_model(path)
    expected = model.get_weights()
    model.set_weights([np.zeros_like(w) for w in expected])
    (tmp_path / "m.weights.h5").write_bytes(weights_file(layers))
    model.load_weights(tmp_path / "m.weights.h5")
    assert [w.tobytes() for w in model.get_weights()] == [w.tobytes() for w in expected]


def composed(folder: Path, ours: list[Layer], theirs: list[Layer], plan: Plan) -> Path:
    paths = [folder / name for name in ("ours.h5", "theirs.h5", "out.h5")]
    for path, layers in zip(paths, (ours, theirs), strict=False):
        path.write_bytes(keras_file(layers, optimizer=adam_state(layers, 1)))
    hdf5.compose(paths[0], paths[1], plan, paths[2])
    return paths[2]


def optimizer_names(layers: list[Layer]) -> set[str]:
    return {f"optimizer_weights/{name}" for name in adam_state(layers, 1)}


def test_keras_loads_a_merge_in_which_theirs_added_layers(tmp_path: Path) -> None:
    base = dense_layers(1, 6, 8, 3)
    ours = tuned(base, 2, "dense")
    extra = Dense("extra", np.eye(8, dtype="f4") * 2, np.ones(8, "f4"))
    theirs = [base[0], Dropout("drop"), extra, *tuned(base[1:], 3)]
    plan = Plan(
        from_theirs=frozenset(
            {tensor_path(x, w) for x in ("extra", "dense_1") for w in ("kernel", "bias")}
            | (optimizer_names(theirs) - optimizer_names(ours))
        )
    )
    out = composed(tmp_path, ours, theirs, plan)
    loads_as(out, [ours[0], Dropout("drop"), extra, theirs[3]])


def test_keras_loads_a_merge_in_which_theirs_removed_a_layer(tmp_path: Path) -> None:
    base = dense_layers(1, 6, 8, 8, 3)
    ours, theirs = tuned(base, 2, "dense_2"), [base[0], base[2]]
    gone = {tensor_path("dense_1", w) for w in ("kernel", "bias")}
    gone |= optimizer_names(ours) - optimizer_names(theirs)
    out = composed(tmp_path, ours, theirs, Plan(removed=frozenset(gone)))
    loads_as(out, [ours[0], ours[2]])


def test_keras_loads_a_merge_of_new_values(tmp_path: Path) -> None:
    base = dense_layers(1, 6, 8, 3)
    merged = tuned(base, 7)
    values = {
        tensor_path(layer.name, name): array.tobytes()
        for layer in merged
        for name, array in layer.weights.items()
    }
    loads_as(composed(tmp_path, base, base, Plan(replaced=values)), merged)


def test_keras_loads_what_git_merges(repo: Repo) -> None:
    """One side trains a layer, the other trains another one and puts a new one between them."""
    base = dense_layers(1, 6, 8, 3)
    repo.write("m.h5", keras_file(base))
    repo.commit("base")
    repo.git("switch", "-q", "-c", "theirs")
    extra = Dense("extra", np.eye(8, dtype="f4") * 2, np.ones(8, "f4"))
    theirs: list[Layer] = [base[0], Dropout("drop"), extra, *tuned(base[1:], 3)]
    repo.write("m.h5", keras_file(theirs))
    repo.commit("theirs")
    repo.git("switch", "-q", "main")
    ours = tuned(base, 2, "dense")
    repo.write("m.h5", keras_file(ours))
    repo.commit("ours")
    repo.git("merge", "-q", "-m", "merge", "theirs")
    assert repo.status() == ""
    loads_as(repo.path / "m.h5", [ours[0], *theirs[1:]])


# --- .keras -----------------------------------------------------------------------------


def pointer_of(repo: Repo, name: str) -> pointers.Pointer:
    return pointers.parse(repo.blob(f"HEAD:{name}"))


def test_a_keras_file_comes_back_and_shares_its_tensors_with_the_weights_file(repo: Repo) -> None:
    repo.nn("track", "*.keras")
    model = train(network())
    data = save(model, repo.path / "m.keras")
    save(model, repo.path / "m.weights.h5")
    repo.commit()
    found, alone = pointer_of(repo, "m.keras"), pointer_of(repo, "m.weights.h5")
    assert found.format == "keras"
    assert found.stored == alone.stored != {}
    (repo.path / "m.keras").unlink()
    repo.git("checkout", "--", "m.keras")
    assert repo.read("m.keras") == data
    assert repo.status() == ""
    assert same_weights(keras.models.load_model(repo.path / "m.keras"), model)


def test_a_second_save_of_a_keras_file_stores_a_skeleton_only(repo: Repo) -> None:
    repo.nn("track", "*.keras")
    model = train(network())
    save(model, repo.path / "m.keras")
    repo.commit()
    before, size = pointer_of(repo, "m.keras"), stored_bytes(repo)
    for member in ("date_saved", "shared_object_id"):
        assert member.encode() in repo.read("m.keras")
    time_of_the_next_save(repo.path / "m.keras", model)
    repo.commit()
    after = pointer_of(repo, "m.keras")
    assert after.entries == before.entries
    assert after.skeleton != before.skeleton
    assert 0 < stored_bytes(repo) - size < 8192


def time_of_the_next_save(path: Path, model: keras.Model) -> None:
    """Save until the file differs: its clock shows seconds."""
    first = path.read_bytes()
    while path.read_bytes() == first:
        model.save(path)


def stored_bytes(repo: Repo) -> int:
    found = sum(file.stat().st_size for file in (repo.path / ".git/nn/packs").rglob("*.nnp"))
    assert found
    return found


def test_the_weights_of_another_epoch_in_the_same_container_load(repo: Repo) -> None:
    """What a merge of single layers gives: tensors of one save in the archive of another."""
    repo.nn("track", "*.keras")
    model = network()
    base = save(train(model), repo.path / "m.keras")
    repo.commit("base")
    repo.git("switch", "-q", "-c", "theirs")
    theirs = keras.models.load_model(repo.path / "m.keras")
    theirs.get_layer("head").set_weights([w + 1 for w in theirs.get_layer("head").get_weights()])
    save(theirs, repo.path / "m.keras")
    repo.commit("theirs")
    repo.git("switch", "-q", "main")
    assert repo.read("m.keras") == base
    conv = model.get_layer("backbone").get_layer("conv")
    conv.set_weights([w * 2 for w in conv.get_weights()])
    save(model, repo.path / "m.keras")
    repo.commit("ours")
    repo.git("merge", "-q", "-m", "merged", "theirs")
    merged = keras.models.load_model(repo.path / "m.keras")
    found = merged.get_layer("backbone").get_layer("conv").get_weights()
    assert [w.tobytes() for w in found] == [w.tobytes() for w in conv.get_weights()]
    found = merged.get_layer("head").get_weights()
    wanted = theirs.get_layer("head").get_weights()
    assert [w.tobytes() for w in found] == [w.tobytes() for w in wanted]


def stacked(*units: int) -> keras.Model:
    keras.utils.set_random_seed(3)
    layers = [keras.layers.Dense(n, name=f"layer_{i}") for i, n in enumerate(units)]
    model = keras.Sequential([keras.Input((4,)), *layers], name="stacked")
    model.compile("adam", "mse")
    model.fit(np.ones((4, 4), "f4"), np.ones((4, units[-1]), "f4"), verbose=0)
    return model


def test_keras_loads_a_merge_in_which_one_side_grew(repo: Repo) -> None:
    repo.nn("track", "*.keras")
    base = stacked(5, 3)
    save(base, repo.path / "m.keras")
    repo.commit("base")
    repo.git("switch", "-q", "-c", "theirs")
    theirs = stacked(5, 3, 2)
    for old, new in zip(base.layers, theirs.layers[:2], strict=True):
        new.set_weights(old.get_weights())
    save(theirs, repo.path / "m.keras")
    repo.commit("theirs")
    repo.git("switch", "-q", "main")
    ours = keras.models.load_model(repo.path / "m.keras")
    ours.layers[0].set_weights([w + 1 for w in ours.layers[0].get_weights()])
    save(ours, repo.path / "m.keras")
    repo.commit("ours")
    repo.run("git", "merge", "-q", "-m", "merged", "theirs", env={"GIT_NN_MERGE": "theirs"})
    merged = keras.models.load_model(repo.path / "m.keras")
    assert [layer.name for layer in merged.layers] == ["layer_0", "layer_1", "layer_2"]
    for layer, source in zip(merged.layers, (ours, theirs, theirs), strict=True):
        wanted = source.get_layer(layer.name).get_weights()
        assert [w.tobytes() for w in layer.get_weights()] == [w.tobytes() for w in wanted]
    x = np.ones((2, 4), "f4")
    by_hand = x
    for layer in merged.layers:
        kernel, bias = layer.get_weights()
        by_hand = by_hand @ kernel + bias
    assert np.abs(merged.predict(x, verbose=0) - by_hand).max() < 1e-4


def test_keras_loads_what_our_tests_write_as_keras_archives(tmp_path: Path) -> None:
    layers = [*dense_layers(1, 6, 8, 8, 3)]
    layers.insert(1, Dropout("drop"))
    (tmp_path / "m.keras").write_bytes(archive_file(layers))
    loads_as(tmp_path / "m.keras", layers)


def test_pickles_of_the_other_container_stay_literal(repo: Repo) -> None:
    from keras.src.saving import saving_lib

    repo.nn("track", "*.keras")
    saving_lib.save_model(train(network()), repo.path / "m.keras", weights_format="npz")
    data = repo.read("m.keras")
    repo.commit()
    found = pointer_of(repo, "m.keras")
    assert (found.format, found.entries) == ("keras", ())
    (repo.path / "m.keras").unlink()
    repo.git("checkout", "--", "m.keras")
    assert repo.read("m.keras") == data
