"""wires: sets of axes that carry the same units, and what makes and reads them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from git_nn.merge.matching import Place, Units
from git_nn.merge.modules import STATISTICS, Module

INPUT = "stream"


@dataclass(slots=True)
class Wires:
    """Nodes are sets of axes (a union-find); each has a size, the number of its units."""

    sizes: dict[str, int] = field(default_factory=dict)
    joined: dict[str, str] = field(default_factory=dict)
    places: list[tuple[str, Place]] = field(default_factory=list)
    convolved: set[str] = field(default_factory=set)
    makers: set[str] = field(default_factory=set)
    readers: set[str] = field(default_factory=set)
    kept: dict[str, str] = field(default_factory=dict)  # nodes that keep their order, and why
    known: set[str] = field(default_factory=set)  # tensors whose part is known

    def node(self, name: str, size: int) -> str:
        self.sizes.setdefault(name, size)
        return name

    def root(self, node: str) -> str:
        while node in self.joined:
            node = self.joined[node]
        return node

    def size(self, node: str) -> int:
        return self.sizes[self.root(node)]

    def join(self, one: str, other: str) -> None:
        """Both carry the same units; ``one`` gives the name."""
        first, second = self.root(one), self.root(other)
        if self.sizes[first] != self.sizes[second]:
            self.keep(first, f"{second} has another size")
            self.keep(second, f"{first} has another size")
        elif first != second:
            self.joined[second] = first

    def keep(self, node: str, why: str) -> None:
        self.kept.setdefault(node, why)

    def put(self, node: str, tensor: str, axis: int, length: int, *, votes: bool = True) -> None:
        """An axis of ``length`` carries the units of ``node``, each at neighbouring positions."""
        self.known.add(tensor)
        count = self.size(node)
        if length % count:
            self.keep(node, f"the part of {tensor} is not known")
            return
        index = np.arange(length).reshape(count, 1, -1)
        self.places.append((node, Place(tensor, axis, index, votes)))

    def reads(self, node: str, layer: Module) -> None:
        self.put(node, layer.weight, 1, layer.into)
        self.readers.add(node)
        if len(layer.shape) > 2:
            self.convolved.add(node)

    def makes(self, node: str, layer: Module) -> None:
        self.makers.add(node)
        for leaf, tensor in layer.tensors.items():
            length = layer.bias[0] if leaf == "bias" and layer.bias else layer.out
            self.put(node, tensor, 0, length)
        if len(layer.shape) > 2:
            self.convolved.add(node)

    def normalise(self, nodes: Sequence[str], norm: Module) -> None:
        """A norm of the units of one of these nodes, whichever it is."""
        self.known.update(norm.tensors.values())
        for node in nodes[1:]:
            self.join(nodes[0], node)
        for leaf, tensor in norm.tensors.items() if nodes else ():
            self.put(nodes[0], tensor, 0, norm.shape[0], votes=leaf not in STATISTICS)
        is_batch = any(leaf in norm.tensors for leaf in STATISTICS)
        if nodes and not is_batch and self._has(self.convolved, nodes[0]):
            self.keep(nodes[0], f"{norm.name} may be a GroupNorm")

    def of_size(self, size: int, prefix: str = "") -> list[str]:
        """Nodes with so many units; only those that tensors under ``prefix`` know."""
        found = (n for n, place in self.places if place.tensor.startswith(prefix))
        return sorted({root for n in found if self.sizes[root := self.root(n)] == size})

    def _has(self, nodes: set[str], node: str) -> bool:
        return self.root(node) in {self.root(one) for one in nodes}

    def is_whole(self, node: str) -> bool:
        """Whether some layer makes these units and another one reads them."""
        return self._has(self.makers, node) and self._has(self.readers, node)

    def units(self) -> list[Units]:
        """What may be reordered."""
        kept = {self.root(node) for node in self.kept}
        found: dict[str, list[Place]] = {}
        for node, place in self.places:
            found.setdefault(self.root(node), []).append(place)
        return [
            Units(node, self.sizes[node], (tuple(places),))
            for node, places in found.items()
            if node not in kept and self.sizes[node] > 1 and self.is_whole(node)
        ]

    def notes(self) -> list[str]:
        return [f"{node} keeps its order: {why}" for node, why in self.kept.items()]
