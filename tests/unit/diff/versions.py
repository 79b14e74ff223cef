"""Versions of a weight file in memory, and numbers computed in plain Python to compare with."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from git_nn.arrays import as_array, to_bytes
from git_nn.differences.numbers import Blocks, blocks_of
from git_nn.errors import MissingObjectError
from git_nn.objects.oid import oid_of
from git_nn.objects.pointer import Entry, Pointer, Stored, Window, sorted_entries

Tensors = Mapping[str, tuple[str, np.ndarray]]


@dataclass
class Version:
    """A Readable in memory that notes which tensors were read."""

    pointer: Pointer
    payloads: dict[str, bytes]
    described: dict[str, Any] = field(default_factory=dict)
    read: list[str] = field(default_factory=list)
    missing: set[str] = field(default_factory=set)

    def array(self, name: str) -> np.ndarray | None:
        self.read.append(name)
        if name in self.missing:
            raise MissingObjectError("ab" * 32, what=f"tensor {name}")
        entry = self.pointer.by_name[name]
        if isinstance(entry, Window):
            base = self.array(entry.of)
            assert base is not None
            steps = [step * base.itemsize for step in entry.strides]
            flat = base.reshape(-1)[entry.offset :]
            return np.lib.stride_tricks.as_strided(flat, entry.shape, steps)
        if entry.form:
            return None
        return as_array(self.payloads[name], entry.dtype, entry.shape)

    def blocks(self, name: str) -> Blocks | None:
        array = self.array(name)
        return None if array is None else blocks_of(array)

    def structure(self) -> dict[str, Any]:
        return self.described


def version(
    tensors: Tensors,
    *,
    views: tuple[Window, ...] = (),
    skeleton: str = "skeleton",
    described: dict[str, Any] | None = None,
    form: str = "",
    container: str = "safetensors",
) -> Version:
    payloads = {name: to_bytes(array, dtype) for name, (dtype, array) in tensors.items()}
    entries: list[Entry] = [
        Stored(name, dtype, array.shape, oid_of(payloads[name]), len(payloads[name]), form)
        for name, (dtype, array) in tensors.items()
    ]
    pointer = Pointer(
        container, 1, oid_of(skeleton.encode()), len(skeleton), sorted_entries([*entries, *views])
    )
    return Version(pointer, payloads, described or {})


def f32(*values: float) -> tuple[str, np.ndarray]:
    return "f32", np.array(values, dtype=np.float32)


@dataclass(frozen=True)
class Expected:
    relative: float
    cosine: float
    largest: float
    mean: float


def expected(old: list[float], new: list[float]) -> Expected:
    """The documented numbers of finite values, by math.fsum over Python floats."""
    steps = [b - a for a, b in zip(old, new, strict=True)]
    before = math.sqrt(math.fsum(a * a for a in old))
    after = math.sqrt(math.fsum(b * b for b in new))
    return Expected(
        relative=math.sqrt(math.fsum(d * d for d in steps)) / before,
        cosine=math.fsum(a * b for a, b in zip(old, new, strict=True)) / (before * after),
        largest=max(map(abs, steps)),
        mean=math.fsum(map(abs, steps)) / len(steps),
    )
