"""Files that the gguf library writes, read back by it and by git-nn, and through Git."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType as Kind

import git_nn
from git_nn.formats import table
from git_nn.formats.base import BytesSource
from git_nn.objects import pointer as pointers
from git_nn.objects.tensor import BLOCKS, nbytes
from tests.contract.format_contract import FormatContract, Sample, Tensor
from tests.support.git import Repo

pytestmark = pytest.mark.interop

QUANTISED = [
    Kind.Q4_0, Kind.Q4_1, Kind.Q5_0, Kind.Q5_1, Kind.Q8_0, Kind.TQ1_0, Kind.TQ2_0, Kind.MXFP4,
]  # fmt: skip
PLAIN = [np.float64, np.float32, np.float16, np.int64, np.int32, np.int16, np.int8]


def values(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(3, 512)).astype(np.float32)


def written(
    *, seed: int = 0, vocabulary: int = 100, alignment: int | None = None, big: bool = False
) -> bytes:
    """A file with a tensor of every type that the library can write."""
    order = gguf.GGUFEndian.BIG if big else gguf.GGUFEndian.LITTLE
    with TemporaryDirectory() as folder:
        path = Path(folder) / "m.gguf"
        writer = gguf.GGUFWriter(path, "llama", endianess=order)
        writer.add_name("tiny")
        writer.add_block_count(2)
        writer.add_rope_freq_base(10000.0)
        writer.add_token_list([f"▁w{i}" for i in range(vocabulary)])
        writer.add_token_scores([-float(i) for i in range(vocabulary)])
        if alignment:
            writer.add_custom_alignment(alignment)
        for dtype in PLAIN:
            array = (values(seed)[:, :7] * 50).astype(dtype)
            writer.add_tensor(f"plain.{np.dtype(dtype).name}", array)
        if not big:
            for kind in QUANTISED:
                packed = gguf.quantize(values(seed), kind)
                writer.add_tensor(f"blk.{kind.name}.weight", packed, raw_dtype=kind)
            for kind in set(Kind) - {*QUANTISED, Kind.BF16, Kind.Q8_1}:
                if kind.name.lower() in BLOCKS:
                    size = nbytes(kind.name.lower(), (2, 256))
                    rng = np.random.default_rng(seed)
                    raw = rng.integers(0, 256, (2, size // 2), dtype=np.uint8)
                    writer.add_tensor(f"raw.{kind.name}", raw, raw_dtype=kind)
            half = gguf.quantize(values(seed), Kind.BF16)
            writer.add_tensor("half", half, raw_dtype=Kind.BF16)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path.read_bytes()


def read(data: bytes) -> gguf.GGUFReader:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "m.gguf"
        path.write_bytes(data)
        return gguf.GGUFReader(path)


class TestTheLibrary(FormatContract):
    name = "gguf"
    truncations = 60
    mutations = 60

    def samples(self) -> dict[str, Sample]:
        files = {
            "little": written(),
            "aligned": written(alignment=256),
            "big": written(big=True),
        }
        samples = {}
        for label, data in files.items():
            suffix = "be" if label == "big" else ""
            expected = {}
            for t in read(data).tensors:
                name = t.tensor_type.name.lower()
                dtype = name if name in BLOCKS or name in ("i8", "bf16") else name + suffix
                shape = tuple(t.shape.tolist()[::-1])
                expected[t.name] = Tensor(dtype, shape, t.data.tobytes())
            samples[label] = Sample(data, expected)
        return samples


def test_structure_is_what_the_library_reads() -> None:
    found = table.structure("gguf", BytesSource(written(vocabulary=20)))
    fields = read(written(vocabulary=20)).fields
    assert found == {
        name: field.contents() for name, field in fields.items() if not name.startswith("GGUF.")
    }
    assert found["general.name"] == "tiny"


def test_values_are_those_of_the_library_and_the_file_comes_back(repo: Repo) -> None:
    data = written()
    repo.nn("track", "*.gguf")
    path = repo.write("model.gguf", data)
    repo.commit()
    assert pointers.parse(repo.blob("HEAD:model.gguf")).format == "gguf"
    path.unlink()
    repo.git("checkout", "--", "model.gguf")
    assert path.read_bytes() == data
    assert repo.status() == ""
    model = git_nn.open(repo.path, "HEAD", "model.gguf")
    tensors = {t.name: t for t in read(data).tensors}
    assert set(model) == set(tensors)
    for kind in QUANTISED:
        t = tensors[f"blk.{kind.name}.weight"]
        wanted = gguf.dequantize(t.data, kind).reshape(3, 512)
        np.testing.assert_array_equal(model[t.name], wanted)
    for dtype in PLAIN:
        array = model[f"plain.{np.dtype(dtype).name}"]
        np.testing.assert_array_equal(array, (values()[:, :7] * 50).astype(dtype))


def test_git_diff_measures_quantised_tensors(repo: Repo) -> None:
    repo.nn("track", "*.gguf")
    repo.write("model.gguf", written(seed=0))
    repo.commit("first")
    repo.write("model.gguf", written(seed=1))
    repo.commit("second")
    found = json.loads(repo.nn("diff", "--json", "HEAD~1", "HEAD", "--", "model.gguf").text)
    by_name = {t["name"]: t for t in found["files"][0]["tensors"]}
    assert by_name["raw.Q8_K"]["unread"] == "stored as q8_k, which git-nn does not decode"
    old, new = (
        gguf.dequantize(gguf.quantize(values(seed), Kind.Q8_0), Kind.Q8_0).astype(np.float64)
        for seed in (0, 1)
    )
    relative = np.linalg.norm(new - old) / np.linalg.norm(old)
    assert by_name["blk.Q8_0.weight"]["numbers"]["relative"] == pytest.approx(relative)
