"""modules: the tensors of a network by the layer that has them, as torch names them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from git_nn.objects.tensor import Shape

STATISTICS = ("running_mean", "running_var")
_LEAVES = ("weight", "bias", *STATISTICS)
_EMBEDDING = re.compile(r"emb|wte|wpe|tok|pos", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Module:
    """A layer, norm or embedding: its tensors' names by their leaves, its weight's shape."""

    name: str
    shape: Shape
    tensors: Mapping[str, str]
    bias: Shape | None

    @property
    def weight(self) -> str:
        return self.tensors["weight"]

    @property
    def is_norm(self) -> bool:
        return len(self.shape) == 1

    @property
    def is_embedding(self) -> bool:
        named = _EMBEDDING.search(self.name.rpartition(".")[2]) is not None
        return len(self.shape) == 2 and self.bias is None and named

    @property
    def is_layer(self) -> bool:
        return len(self.shape) > 1 and not self.is_embedding

    @property
    def out(self) -> int:
        return self.shape[0]

    @property
    def into(self) -> int:
        return self.shape[1]

    def is_depthwise(self, width: int) -> bool:
        """A convolution of each of ``width`` channels by itself."""
        return len(self.shape) > 2 and self.into == 1 and self.out == width

    def flattens(self, width: int) -> bool:
        """A Linear that reads all places of ``width`` channels."""
        return len(self.shape) == 2 and self.into > width and self.into % width == 0


def modules(shapes: Mapping[str, Shape]) -> list[Module]:
    """The modules that have a weight, sorted by name with numbers as numbers."""
    found: dict[str, dict[str, str]] = {}
    for name in shapes:
        above, _, leaf = name.rpartition(".")
        if leaf.startswith("in_proj_"):  # torch.nn.MultiheadAttention
            above, leaf = f"{above}.in_proj", leaf.removeprefix("in_proj_")
        if leaf in _LEAVES:
            found.setdefault(above, {})[leaf] = name
    return [
        Module(
            name, shapes[leaves["weight"]], leaves,
            shapes[leaves["bias"]] if "bias" in leaves else None,
        )
        for name, leaves in sorted(found.items(), key=lambda item: natural(item[0]))
        if "weight" in leaves and shapes[leaves["weight"]]
    ]  # fmt: skip


def natural(name: str) -> list[tuple[int, str]]:
    """A key that sorts 2 before 10."""
    return [(int(p), "") if p.isdigit() else (-1, p) for p in re.split(r"(\d+)", name)]


def pattern(name: str) -> str:
    """The name without its last number: conv# of conv1 and conv2."""
    head, _, tail = name.rpartition(".")
    return f"{head}.{re.sub(r'[0-9]+', '#', tail)}"
