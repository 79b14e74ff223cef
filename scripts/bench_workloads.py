"""What is measured: versions of models that follow each other, made from a seed.

The transformers: separate q, k, v, o, an MLP, embeddings and a head, of Gaussian weights,
which compress as real ones do (mantissas not at all, exponents well). Every version is
computed from its parent as the file stores it:

v1      the model
v2      v1, every weight moved by 0.001 of its layer's spread (in bf16 about 22 % change)
v3      v2 with the last two layers, the last norm and the head moved by 0.01
v4      v3 with a rank-8 LoRA merged into q, k, v, o of all layers
A, B    v4 with four layers moved by 0.01 each, on two branches
merged  what a merge of A and B has to give
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import bench_safetensors
import bench_training
import ml_dtypes
import numpy as np
from bench_safetensors import SIZES, header
from numpy.typing import NDArray

Array = NDArray[Any]

BLOCK = 2**22  # elements that are in memory at a time
BITS = {"BF16": np.dtype(ml_dtypes.bfloat16), "F32": np.dtype(np.float32)}
RANK, LORA = 8, 5e-3  # the spread of what LoRA adds, in spreads of the layer


@dataclass(frozen=True, slots=True)
class Shape:
    """A transformer: megabytes follow from the width; the vocabulary grows with it."""

    width: int
    layers: int
    vocabulary: int
    dtype: str

    @property
    def nbytes(self) -> int:
        each = 12 * self.width**2 + 9 * self.width
        both_ends = (2 * self.vocabulary + 1) * self.width
        return SIZES[self.dtype] * (self.layers * each + both_ends)

    def scaled(self, megabytes: int) -> Shape:
        factor = math.sqrt(megabytes * 1e6 / self.nbytes)
        width = max(16, round(self.width * factor / 16) * 16)
        return Shape(width, self.layers, self.vocabulary * width // self.width, self.dtype)


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor before it has values: ``layer`` is -1 for the embedding, else from 0."""

    name: str
    shape: tuple[int, ...]
    layer: int
    mean: float
    spread: float

    @property
    def is_attention(self) -> bool:
        return "_proj.weight" in self.name and "self_attn" in self.name


def tensors_of(shape: Shape) -> Iterator[Tensor]:
    d = shape.width
    yield Tensor("model.embed_tokens.weight", (shape.vocabulary, d), -1, 0, 0.02)
    for layer in range(shape.layers):
        at, spread = f"model.layers.{layer}", 0.02 * (1 + 0.3 * math.sin(layer))
        for norm in ("input_layernorm", "post_attention_layernorm"):
            yield Tensor(f"{at}.{norm}.weight", (d,), layer, 1, 0.05)
            yield Tensor(f"{at}.{norm}.bias", (d,), layer, 0, 0.01)
        for name in "qkvo":
            yield Tensor(f"{at}.self_attn.{name}_proj.weight", (d, d), layer, 0, spread)
        for name, rows, columns in (("up", 4 * d, d), ("down", d, 4 * d)):
            yield Tensor(f"{at}.mlp.{name}_proj.weight", (rows, columns), layer, 0, spread)
            yield Tensor(f"{at}.mlp.{name}_proj.bias", (rows,), layer, 0, 0.01)
    yield Tensor("model.norm.weight", (d,), shape.layers, 1, 0.05)
    yield Tensor("lm_head.weight", (shape.vocabulary, d), shape.layers, 0, 0.02)


def moves(version: str, tensor: Tensor, layers: int) -> float:
    """How far a version moves a tensor, in its spreads; 0 where it is the parent's."""
    middle = layers // 2
    if version == "v2":
        return 1e-3
    if version == "v3":
        return 1e-2 * (tensor.layer >= layers - 2)
    if version == "v4":
        return LORA * tensor.is_attention
    first = {"A": middle - 3, "B": middle + 1}[version]
    return 1e-2 * (first <= tensor.layer < first + 4)


PARENTS = {"v2": "v1", "v3": "v2", "v4": "v3", "A": "v4", "B": "v4"}


def blocks(tensor: Tensor, number: int, shape: Shape, stems: tuple[str, ...]) -> Iterator[Any]:
    """The values of every version in turn, some rows at a time: {stem: array as stored}."""
    rngs = {stem: np.random.default_rng([number, at]) for at, stem in enumerate(("v1", *PARENTS))}
    rows, columns = tensor.shape if len(tensor.shape) == 2 else (tensor.shape[0], 1)
    low = rngs["v4"].standard_normal((RANK, columns), np.float32)
    step = max(1, BLOCK // columns)
    for start in range(0, rows, step):
        size = (min(step, rows - start), columns)
        first = rngs["v1"].standard_normal(size, np.float32)
        values = {"v1": (tensor.mean + tensor.spread * first).astype(BITS[shape.dtype])}
        for stem, parent in PARENTS.items():
            if stem not in stems:
                continue
            values[stem] = values[parent]
            if far := moves(stem, tensor, shape.layers):
                if stem == "v4":
                    rise = rngs[stem].standard_normal((size[0], RANK), np.float32) @ low
                    rise /= np.float32(math.sqrt(RANK))
                else:
                    rise = rngs[stem].standard_normal(size, np.float32)
                moved = values[parent].astype(np.float32) + np.float32(far * tensor.spread) * rise
                values[stem] = moved.astype(BITS[shape.dtype])
        if "merged" in stems:
            values["merged"] = values["B"] if values["A"] is values["v4"] else values["A"]
        yield values


def write_transformer(shape: Shape, stems: tuple[str, ...], folder: Path, megabytes: int) -> None:
    shape = shape.scaled(megabytes)
    tensors = list(tensors_of(shape))
    with ExitStack() as stack:
        files = {s: stack.enter_context((folder / f"{s}.safetensors").open("wb")) for s in stems}
        for file in files.values():
            file.write(header((t.name, shape.dtype, t.shape) for t in tensors))
        for number, tensor in enumerate(tensors):
            for values in blocks(tensor, number, shape, stems):
                for stem, file in files.items():
                    file.write(values[stem].view(np.uint8).data)


@dataclass(frozen=True, slots=True)
class Version:
    """One commit of the model: the row of the table that its add belongs to, and its parent.

    Without a parent it follows the version before it.
    """

    name: str
    row: str
    parent: str = ""


@dataclass(frozen=True, slots=True)
class Workload:
    """Versions of one file. ``kinds`` are the kinds of steps that are measured on it.

    ``slow`` are pairs of a tool and a kind that take many minutes: run only when asked for.
    """

    name: str
    title: str
    megabytes: int
    line: tuple[Version, ...]
    branches: tuple[Version, ...]
    kinds: frozenset[str]
    write: Callable[[Path, int], None]
    slow: frozenset[tuple[str, str]] = frozenset()


@dataclass(frozen=True, slots=True)
class Model:
    """A version as a file, with what a checkout has to give."""

    path: Path
    nbytes: int
    sha256: str


LINE = (
    Version("v1", "add"),
    Version("v2", "add fine-tune"),
    Version("v3", "add last layers"),
    Version("v4", "add LoRA merged"),
)
BRANCHES = (Version("A", "add four layers", "v4"), Version("B", "add four layers", "v4"))
STEPS = ("add", "touched", "diff", "checkout", "merge", "gc")
ALL = frozenset(STEPS)
# above core.bigFileThreshold plain Git adds, and cleans, at 13 MB/s
GIT_CRAWLS = frozenset(("git", kind) for kind in STEPS)


def _transformer(shape: Shape, *stems: str) -> Callable[[Path, int], None]:
    return partial(write_transformer, shape, stems)


WORKLOADS = (
    Workload("base", "transformer bf16, four versions and two branches", 528, LINE, BRANCHES, ALL,
             _transformer(Shape(1024, 16, 30528, "BF16"), "v1", *PARENTS, "merged"),
             slow=frozenset({("git", "gc")})),
    Workload("large", "transformer bf16, large", 2006, LINE[:2], (),
             frozenset({"add", "touched", "checkout"}),
             _transformer(Shape(1536, 25, 96000, "BF16"), "v1", "v2"), slow=GIT_CRAWLS),
    Workload("fp32", "transformer fp32", 547, LINE, (), ALL - {"merge"},
             _transformer(Shape(768, 16, 15264, "F32"), "v1", "v2", "v3", "v4"), slow=GIT_CRAWLS),
    Workload("training", "ten checkpoints with optimizer state, fp32", 36,
             (Version("c01", "add first checkpoint"),
              *(Version(name, "add next checkpoint") for name in bench_training.CHECKPOINTS[1:])),
             (), ALL - {"merge"}, bench_training.write_checkpoints),
)  # fmt: skip


def make(workload: Workload, megabytes: int, folder: Path) -> dict[str, Model]:
    """The files of a workload, made where the folder does not have them yet."""
    # files that another version of the generators made are not taken for today's
    sources = (
        Path(name) for name in (bench_safetensors.__file__, bench_training.__file__, __file__)
    )
    state = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()
    folder = folder / f"{workload.name}-{megabytes}-{state[:8]}"
    manifest = folder / "manifest.json"
    if not manifest.exists():
        print(f"making {workload.name} in {folder}", file=sys.stderr)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        workload.write(folder, megabytes)
        sums = {path.stem: digest(path) for path in sorted(folder.glob("*.safetensors"))}
        manifest.write_text(json.dumps(sums, indent=2))
    models = {}
    for stem, sha256 in json.loads(manifest.read_text()).items():
        path = folder / f"{stem}.safetensors"
        models[stem] = Model(path, path.stat().st_size, sha256)
    return models


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
