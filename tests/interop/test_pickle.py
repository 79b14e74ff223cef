"""Pickles and joblib files of real libraries, through git and back, and what is found in them."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from typing import Any

import joblib
import lightgbm
import numpy as np
import pytest
import torch
import xgboost
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import git_nn
from git_nn.formats import table
from git_nn.formats.base import BytesSource
from git_nn.formats.pickle_ops import scan
from git_nn.objects import pointer as pointers
from git_nn.objects.layout import Payload
from tests.support.git import Repo
from tests.support.pickle_file import joblib_dumps

pytestmark = [pytest.mark.interop, pytest.mark.filterwarnings("ignore::UserWarning")]

RNG = np.random.default_rng(5)
X = RNG.standard_normal((200, 6))
Y = (X[:, 0] + X[:, 1] > 0).astype(int)

ESTIMATORS: dict[str, Callable[[], Any]] = {
    "logistic": lambda: LogisticRegression(C=0.5),
    "pipeline": lambda: make_pipeline(StandardScaler(), LogisticRegression()),
    "forest": lambda: RandomForestClassifier(10, random_state=1),
    "boosting": lambda: GradientBoostingClassifier(n_estimators=8, random_state=1),
    "perceptron": lambda: MLPClassifier((7,), max_iter=5, random_state=1),
    "xgboost": lambda: xgboost.XGBClassifier(n_estimators=5),
    "lightgbm": lambda: lightgbm.LGBMClassifier(n_estimators=5, verbose=-1),
}


def fitted(name: str) -> Any:
    return ESTIMATORS[name]().fit(X, Y)


def by_joblib(value: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    joblib.dump(value, file, **options)
    return file.getvalue()


WRITERS: dict[str, Callable[[Any], bytes]] = {
    "pickle": pickle.dumps,
    "pickle 2": lambda value: pickle.dumps(value, 2),
    "pickle 5": lambda value: pickle.dumps(value, 5),
    "joblib": by_joblib,
    "joblib 2": lambda value: by_joblib(value, protocol=2),
}


@pytest.mark.parametrize("name", ESTIMATORS)
def test_estimators_come_back_byte_for_byte(repo: Repo, name: str) -> None:
    repo.nn("track", "*.pkl", "*.joblib")
    model = fitted(name)
    files = {
        f"{label}.{'joblib' if 'joblib' in label else 'pkl'}": write(model)
        for label, write in WRITERS.items()
    }
    for path, data in files.items():
        repo.write(path, data)
    repo.commit()
    for path, data in files.items():
        assert pointers.parse(repo.blob(f"HEAD:{path}")).format == "pickle"
        (repo.path / path).unlink()
        repo.git("checkout", "--", path)
        assert repo.read(path) == data
        if path.endswith("joblib"):
            again = joblib.load(repo.path / path)
            assert (again.predict(X) == model.predict(X)).all()
    assert repo.status() == ""


def arrays() -> dict[str, np.ndarray]:
    return {
        "f32": RNG.standard_normal((40, 30)).astype("f4"),
        "fortran": np.asfortranarray(RNG.standard_normal((30, 20))),
        "big": RNG.standard_normal(70).astype(">f8"),
        "small": np.arange(3, dtype="u1"),
        "turned": np.arange(24.0).reshape(2, 3, 4).transpose(1, 0, 2),
        "sliced": np.arange(100, dtype="i4").reshape(10, 10)[::2, 1::3],
        "bool": np.array([True, False]), "complex": np.arange(4, dtype="c8"),
        "empty": np.zeros((0, 3), "f2"), "scalar": np.array(2.5),
    }  # fmt: skip


@pytest.mark.parametrize("label", WRITERS)
def test_every_array_is_numpys_own(repo: Repo, label: str) -> None:
    repo.nn("track", "*.pkl")
    value = arrays()
    names = {"model": value} if label == "pickle 2" else {"model": value, "again": value["fortran"]}
    repo.write("m.pkl", WRITERS[label](names))
    repo.commit()
    tensors = git_nn.open(repo.path, "HEAD", "m.pkl")
    for name, array in value.items():
        found = tensors[f"model.{name}"]
        assert (found.shape, found.dtype) == (array.shape, array.dtype), name
        assert found.tobytes() == array.tobytes(), name


def stored(payload: Payload, data: bytes) -> bytes:
    return b"".join(data[extent.offset : extent.stop] for extent in payload.extents)


def found_in(data: bytes) -> dict[str, bytes]:
    layout = table.detect(BytesSource(data))
    assert layout.format == "pickle", layout.notes
    return {payload.name: stored(payload, data) for payload in layout.payloads}


@pytest.mark.parametrize("write", [pickle.dumps, by_joblib])
def test_the_weights_of_estimators_have_their_attributes_names(
    write: Callable[[Any], bytes],
) -> None:
    model = fitted("pipeline")
    found = found_in(write(model))
    assert found["steps.1.1.coef_"] == model[1].coef_.tobytes()
    assert found["steps.1.1.intercept_"] == model[1].intercept_.tobytes()
    assert found["steps.0.1.mean_"] == model[0].mean_.tobytes()
    forest = fitted("forest")
    found = found_in(write(forest))
    for i, tree in enumerate(forest.estimators_):
        assert found[f"estimators_.{i}.tree_.values"] == tree.tree_.value.tobytes()
        nodes = tree.tree_.__getstate__()["nodes"]
        assert found.get(f"estimators_.{i}.tree_.nodes", nodes.tobytes()) == nodes.tobytes()
    net = fitted("perceptron")
    found = found_in(write(net))
    for i, coefs in enumerate(net.coefs_):
        assert found[f"coefs_.{i}"] == coefs.tobytes()


@pytest.mark.parametrize("write", [pickle.dumps, by_joblib])
def test_boosters_are_payloads(write: Callable[[Any], bytes]) -> None:
    model = fitted("xgboost")
    handle = model.get_booster().__getstate__()["handle"]
    assert found_in(write(model))["_Booster.handle"] == bytes(handle)
    data = write(fitted("lightgbm"))
    (text,) = (v for k, v in found_in(data).items() if "handle" in k)
    assert text.startswith(b"tree\nversion")


def test_parameters_are_the_structure() -> None:
    for write in (pickle.dumps, by_joblib):
        data = write(fitted("logistic"))
        found = table.structure("pickle", BytesSource(data))
        assert found["class"] == "sklearn.linear_model._logistic.LogisticRegression"
        assert (found["C"], found["max_iter"]) == (0.5, 100)


@pytest.mark.parametrize("write", [pickle.dumps, by_joblib])
def test_torch_modules_that_pickle_wrote_are_read_by_name(write: Callable[[Any], bytes]) -> None:
    net = torch.nn.Sequential(torch.nn.Linear(5, 4), torch.nn.BatchNorm1d(4))
    found = found_in(write(net))
    assert found == {name: tensor.numpy().tobytes() for name, tensor in net.state_dict().items()}


@pytest.mark.parametrize("write", [pickle.dumps, by_joblib])
def test_the_same_model_saved_again_is_the_same_bytes(write: Callable[[Any], bytes]) -> None:
    model = fitted("forest")
    assert write(model) == write(model)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_the_writer_of_the_unit_tests_writes_what_joblib_writes(protocol: int) -> None:
    """In protocol 4 and later joblib names the class by another opcode; it reads both."""
    value = {**arrays(), "objects": np.array([1, None, "x"], dtype=object), "lr": 0.5}
    del value["turned"]
    ours, real = joblib_dumps(value, protocol), by_joblib(value, protocol=protocol)
    read = joblib.load(io.BytesIO(ours))
    assert {k: np.asarray(v).tolist() for k, v in read.items()} == {
        k: np.asarray(v).tolist() for k, v in value.items()
    }
    assert found_in(ours) == found_in(real)
    assert scan(BytesSource(ours)) == scan(BytesSource(real)) == []


@pytest.mark.parametrize("method", ["zlib", "gzip", "bz2", "lzma", "xz"])
def test_compressed_joblib_says_so(method: str) -> None:
    data = by_joblib({"w": RNG.standard_normal(1000)}, compress=(method, 3))
    layout = table.detect(BytesSource(data))
    assert layout.format == "opaque"
    assert f"compressed joblib: {method}" in layout.notes[0]
    assert len(scan(BytesSource(data))) == 1


def test_the_classes_of_estimators_are_told() -> None:
    for write in (pickle.dumps, by_joblib):
        found = scan(BytesSource(write(fitted("forest"))))
        assert "sklearn.ensemble._forest RandomForestClassifier" in found
        assert "sklearn.tree._tree Tree" in found
        assert not any(name.startswith("(") for name in found)
