"""Packages that coremltools writes, and blob storage read by its own reader, through Git."""

from __future__ import annotations

from pathlib import Path

import coremltools as ct
import numpy as np
import pytest
from coremltools.converters.mil import Builder
from coremltools.libmilstoragepython import _BlobStorageReader, _BlobStorageWriter

import git_nn
from git_nn.formats import table
from git_nn.formats.base import BytesSource
from git_nn.objects import pointer as pointers
from tests.contract.format_contract import FormatContract, Sample, Tensor
from tests.support.git import Repo

pytestmark = [
    pytest.mark.interop,
    pytest.mark.filterwarnings("ignore"),  # of the frameworks, which are not ours to fix
]


NAMES = {
    "float32": "float", "int8": "int8", "uint8": "uint8", "int16": "int16", "uint16": "uint16",
    "int32": "int32",
}  # fmt: skip


def arrays(seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    kinds = (np.float32, np.int8, np.uint8, np.int16, np.uint16, np.int32)
    return [(rng.normal(size=37) * 50).astype(kind) for kind in kinds]


def stored(folder: Path, seed: int = 0) -> tuple[bytes, list[int]]:
    """A file of the library's own writer, and where it says that each blob is told."""
    path = folder / f"weight-{seed}.bin"
    writer = _BlobStorageWriter(str(path))
    half = np.random.default_rng(seed).normal(size=9).astype(np.float16)
    places = [getattr(writer, f"write_{NAMES[a.dtype.name]}_data")(a) for a in arrays(seed)]
    places.append(writer.write_fp16_data(half.view(np.uint16)))
    del writer
    return path.read_bytes(), places


class TestTheLibrary(FormatContract):
    name = "coreml"
    truncations = 60
    mutations = 60

    @pytest.fixture(autouse=True)
    def folder(self, tmp_path: Path) -> None:
        self.path = tmp_path

    def samples(self) -> dict[str, Sample]:
        data, places = stored(self.path)
        reader = _BlobStorageReader(str(self.path / "weight-0.bin"))
        expected = {}
        for number, (array, place) in enumerate(zip(arrays(), places, strict=False)):
            read = getattr(reader, f"read_{NAMES[array.dtype.name]}_data")(place)
            values = np.asarray(read).astype(array.dtype)
            dtype = f"{array.dtype.kind}{8 * array.dtype.itemsize}"
            expected[f"blob.{number}"] = Tensor(dtype, (37,), values.tobytes())
        half = np.asarray(reader.read_fp16_data(places[-1])).astype(np.uint16)
        expected[f"blob.{len(places) - 1}"] = Tensor("f16", (9,), half.tobytes())
        return {"of the writer": Sample(data, expected)}


def package(folder: Path, seed: int) -> Path:
    """A program with two large constants, converted and saved as a package."""
    rng = np.random.default_rng(seed)
    kernel, more = (rng.normal(size=(64, 64)).astype(np.float32) for _ in range(2))

    @ct.converters.mil.Builder.program(input_specs=[Builder.TensorSpec(shape=(1, 64))])
    def program(x):  # type: ignore[no-untyped-def]
        return Builder.linear(x=Builder.linear(x=x, weight=kernel), weight=more)

    model = ct.convert(program, convert_to="mlprogram", minimum_deployment_target=ct.target.iOS16)
    path = folder / f"model-{seed}.mlpackage"
    model.save(str(path))
    return path


def test_the_weights_of_a_package_go_through_git(repo: Repo, tmp_path: Path) -> None:
    (weights,) = package(tmp_path, 0).rglob("weight.bin")
    data = weights.read_bytes()
    repo.nn("track", "weight.bin")
    path = repo.write("m.mlpackage/Data/com.apple.CoreML/weights/weight.bin", data)
    commit = repo.commit()
    name = path.relative_to(repo.path).as_posix()
    assert pointers.parse(repo.blob(f"HEAD:{name}")).format == "coreml"
    path.unlink()
    repo.git("checkout", "--", name)
    assert path.read_bytes() == data
    assert repo.status() == ""
    model = git_nn.open(repo.path, commit, name)
    rng = np.random.default_rng(0)
    kernels = [rng.normal(size=(64, 64)).astype(np.float32).astype(np.float16) for _ in range(2)]
    large = [model[blob] for blob in model if model[blob].size == 64 * 64]
    assert sorted(a.tobytes() for a in large) == sorted(k.tobytes() for k in kernels)


def test_other_values_change_no_literal_byte(tmp_path: Path) -> None:
    files = [next(package(tmp_path, seed).rglob("weight.bin")).read_bytes() for seed in (0, 1)]
    layouts = [table.detect(BytesSource(data)) for data in files]
    assert layouts[0] == layouts[1]
    assert layouts[0].format == "coreml"
