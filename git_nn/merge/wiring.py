"""wiring: which axes of which tensors know the same units, from names and shapes alone.

Read are networks as torch names them: layers in a row (Linear, Conv; with biases and norms),
and blocks with a residual stream (attention, MLP, ResNet). A file does not say how its layers
are called one after the other, so:

1. Axes that may carry the same units are taken to do so. One order for more axes than
   needed keeps the function all the same; it only finds less.
2. Units need a layer that makes them and one that reads them: inputs and outputs of the
   network keep their order. So does all that has the size of a tensor whose part is not known.
3. Where the layers do not fit into one row, nothing is guessed: UsageError.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from git_nn.errors import UsageError
from git_nn.merge.heads import Attention, attention, head_units
from git_nn.merge.matching import Units
from git_nn.merge.modules import Module, modules, natural, pattern
from git_nn.merge.wires import INPUT, Wires
from git_nn.objects.tensor import Shape

_SHORTCUT = re.compile(r"downsample|shortcut|skip", re.IGNORECASE)
_TOKEN = re.compile(r"(cls|class|mask|dist)_?token|pos(ition)?_?emb", re.IGNORECASE)
_TRIES = 10_000  # steps of the search for a row in which all layers fit


@dataclass(frozen=True, slots=True)
class Wiring:
    """Kinds of units, the row in which the layers were read, and what keeps its order."""

    units: tuple[Units, ...]
    row: tuple[str, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Element:
    """A layer, or a block of several: what stands in the row."""

    name: str
    layers: tuple[Module, ...]
    attention: Attention | None = None
    shortcut: Module | None = None
    is_chain: bool = False  # conv1, conv2, ...: one after the other

    def fits(self, width: int | None) -> bool:
        first = self.layers[0]
        if width is None:
            return True
        if len(self.layers) > 1:
            return (first.into == width) if self.is_chain else self.stream(width)
        return first.into == width or first.is_depthwise(width) or first.flattens(width)

    def stream(self, width: int) -> bool:
        """Whether some layer reads the stream and some layer adds to it."""
        return any(layer.into == width for layer in self.layers) and any(
            layer.out == width for layer in self.layers
        )

    def after(self, width: int | None) -> int:
        if self.shortcut is not None:
            return self.shortcut.out
        if len(self.layers) == 1 or self.is_chain or width is None:
            return self.layers[-1].out
        return width


def infer(shapes: Mapping[str, Shape], heads: int | None = None) -> Wiring:
    """The wiring of a network with these tensors; ``heads`` of each attention block.

    Where ``heads`` is None, heads keep their order: a file does not tell how many there are.
    UsageError where the layers do not fit together, or the heads do not fit the layers.
    """
    parts = modules(shapes)
    embeddings = [one for one in parts if one.is_embedding]
    embeddings = [one for one in embeddings if one.into == embeddings[0].into]
    elements = _elements([one for one in parts if one.is_layer])
    width = embeddings[0].into if embeddings else None
    row = _row(elements, width)
    if not row:
        raise UsageError(
            "it cannot be told from names and shapes how the layers follow each other",
            hint="say which axes belong together with --units FILE (docs/merge.md)",
        )
    wires = Wires()
    wires.node(INPUT, width or row[0].layers[0].into)
    for one in embeddings:
        wires.put(INPUT, one.weight, 1, one.into)
        wires.makers.add(INPUT)
    stream = INPUT
    for element in row:
        stream, before = _wire(wires, element, stream), stream
        if embeddings and element is not row[-1] and _may_be_embedding(element):
            for node in (stream, before):
                wires.keep(node, f"{element.name} may be an embedding")
    if row[-1].attention or len(row[-1].layers) > 1:
        wires.keep(stream, "the last block's output is the network's")
    _norms(wires, row, [one for one in parts if one.is_norm])
    _others(wires, shapes)
    found = wires.units()
    for element in row:
        if element.attention is not None and heads is not None:
            # a learned place for each position means that no rotation pairs the parts of a head
            found += head_units(element.attention, heads, free=len(embeddings) > 1)
    return Wiring(tuple(found), tuple(element.name for element in row), tuple(wires.notes()))


# --- the row --------------------------------------------------------------------------------


def _elements(layers: Sequence[Module]) -> list[_Element]:
    """Layers, and blocks: those under one numbered prefix where there are several."""
    blocks: dict[str, list[Module]] = {}
    for layer in layers:
        blocks.setdefault(_block(layer.name, layers), []).append(layer)
    return [_element(name, found) for name, found in blocks.items()]


def _block(name: str, layers: Sequence[Module]) -> str:
    """The shortest prefix that ends with a number and holds several layers; else the name."""
    pieces = name.split(".")
    for i, piece in enumerate(pieces[:-1]):
        prefix = ".".join(pieces[: i + 1])
        if piece.isdigit() and sum(one.name.startswith(prefix + ".") for one in layers) > 1:
            return prefix
    return name


def _element(name: str, layers: Sequence[Module]) -> _Element:
    shortcut = next((one for one in layers if _SHORTCUT.search(one.name)), None)
    rest = [one for one in layers if one is not shortcut]
    found = attention(rest)
    chain = len(rest) > 1 and len({pattern(one.name) for one in rest}) == 1
    chain = chain and all(b.into == a.out or b.is_depthwise(a.out) for a, b in pairwise(rest))
    return _Element(name, tuple(rest), found, shortcut, chain and found is None)


def _row(elements: Sequence[_Element], width: int | None) -> list[_Element]:
    """All elements in the first order, near that of their names, in which each fits the last."""
    tries = 0

    def go(left: list[_Element], width: int | None) -> list[_Element] | None:
        nonlocal tries
        tries += 1
        if not left or tries > _TRIES:
            return [] if not left else None
        for i, element in enumerate(left):
            if element.fits(width):
                rest = go(left[:i] + left[i + 1 :], element.after(width))
                if rest is not None:
                    return [element, *rest]
        return None

    return go(list(elements), width) or []


def _may_be_embedding(element: _Element) -> bool:
    first = element.layers[0]
    return len(element.layers) == 1 and len(first.shape) == 2 and first.bias is None


# --- wires ----------------------------------------------------------------------------------


def _wire(wires: Wires, element: _Element, stream: str) -> str:
    """Wire a layer or block that reads ``stream``; what it gives."""
    if len(element.layers) == 1:
        return _layer(wires, element.layers[0], stream)
    if element.is_chain:
        given = stream
        for layer in element.layers:
            given = _layer(wires, layer, given)
    else:
        given = _by_size(wires, element, stream)
    if element.shortcut is not None:
        wires.join(_layer(wires, element.shortcut, stream), given)
    elif wires.size(given) == wires.size(stream):
        wires.join(stream, given)  # a residual stream, it may be
    return given


def _layer(wires: Wires, layer: Module, stream: str) -> str:
    if layer.is_depthwise(wires.size(stream)):
        wires.makes(stream, layer)
        return stream
    wires.reads(stream, layer)
    wires.makes(wires.node(layer.name, layer.out), layer)
    return layer.name


def _by_size(wires: Wires, element: _Element, stream: str) -> str:
    """A block of layers in no known order: axes of one size carry the same units."""
    width = wires.size(stream)
    inside = element.attention.inside if element.attention else frozenset()
    used = {stream}
    for layer in element.layers:
        for axis, size, put in ((1, layer.into, wires.reads), (0, layer.out, wires.makes)):
            if (layer.name, axis) in inside:
                wires.known.update(layer.tensors.values())
                continue
            node = stream if size == width else wires.node(f"{element.name}, {size} units", size)
            put(node, layer)
            used.add(node)
    loose = sorted(node for node in used if node != stream and not wires.is_whole(node))
    for node in used if loose else ():  # what is split or joined on the way, nobody knows how
        wires.keep(node, f"how {loose[0]} are read is not known")
    return stream


def _norms(wires: Wires, row: Sequence[_Element], norms: Sequence[Module]) -> None:
    """Biases, scales and statistics go with what they normalise."""
    twins = [(norm, layer) for norm in norms for layer in _twin(norm, row)]
    behind = {layer.out == norm.shape[0] != layer.into for norm, layer in twins}
    before = {layer.into == norm.shape[0] != layer.out for norm, layer in twins}
    is_behind = True in behind and True not in before
    matched = {norm.name: layer.name for norm, layer in twins if is_behind}
    for norm in norms:
        element = next((one for one in row if norm.name.startswith(one.name + ".")), None)
        last = matched.get(norm.name) or _preceding(norm, row)
        if last is not None and wires.size(last) == norm.shape[0]:
            nodes = [last]
        else:
            nodes = wires.of_size(norm.shape[0], element.name if element else "")
        wires.normalise(nodes, norm)


def _twin(norm: Module, row: Sequence[_Element]) -> Iterator[Module]:
    """conv2 of bn2: the layer beside it with the same number."""
    parent, _, leaf = norm.name.rpartition(".")
    number = re.search(r"\D(\d+)$", leaf)
    for element in row:
        for layer in () if element.attention or not number else element.layers:
            above, _, name = layer.name.rpartition(".")
            same = re.search(r"\D(\d+)$", name)
            if above == parent and number and same and same[1] == number[1]:
                yield layer


def _preceding(norm: Module, row: Sequence[_Element]) -> str | None:
    """In a Sequential, whose parts are numbers, the layer before it."""
    parent, _, leaf = norm.name.rpartition(".")
    if not leaf.isdigit():
        return None
    layers = [one for element in row for one in (*element.layers, element.shortcut) if one]
    beside = [
        one.name
        for one in layers
        if one.name.rpartition(".")[0] == parent and one.name.rpartition(".")[2].isdigit()
    ]
    before = [one for one in beside if int(one.rpartition(".")[2]) < int(leaf)]
    return max(before, key=natural, default=None)


def _others(wires: Wires, shapes: Mapping[str, Shape]) -> None:
    """Tokens and positions go with the stream; the rest keeps what has one of its sizes."""
    for name, shape in shapes.items():
        if name in wires.known or not shape:
            continue
        nodes = wires.of_size(shape[-1])
        if _TOKEN.search(name) and len(shape) > 1 and nodes:
            for node in nodes[1:]:
                wires.join(nodes[0], node)
            wires.put(nodes[0], name, len(shape) - 1, shape[-1])
            continue
        for node in (node for size in shape for node in wires.of_size(size)):
            wires.keep(node, f"the part of {name} is not known")
