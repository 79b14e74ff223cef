"""structure: what a file says about its model, as lines for a person, and what changed in it.

Input is what a format's ``structure`` gives: plain JSON values that come from files we do
not trust. A Keras configuration is read layer by layer, a graph node by node; anything else
key by key.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from git_nn.differences import structure_graph, structure_keras
from git_nn.differences.structure_graph import is_graph
from git_nn.differences.structure_keys import compare_texts, is_model, leaves, short, show

Structure = Mapping[str, Any]
Texts = dict[str, str]

# Files of these formats may tell of layers, nodes or operators; others of keys alone.
LAYERED = frozenset({"hdf5", "keras", "onnx"})


def describe(structure: Structure) -> list[str]:
    """A line for each key, layer and node; the same structure gives the same lines."""
    lines = []
    for key, value in sorted(structure.items()):
        if is_model(value):
            lines += structure_keras.describe(key, value)
        elif is_graph(value):
            lines += structure_graph.describe(key, value)
        else:
            lines += (f"{show(path)}: {short(text)}" for path, text in leaves(value, key))
    return lines


def compare(old: Structure, new: Structure, *, limit: int = 30) -> tuple[str, ...]:
    """A line for each difference, at most ``limit`` and one that counts the rest."""
    lines = []
    for key in sorted({*old, *new}):
        before, after = old.get(key), new.get(key)
        if is_model(before) and is_model(after):
            lines += structure_keras.compare(before, after)
        elif is_graph(before) and is_graph(after):
            lines += structure_graph.compare(key, before, after)
        else:
            lines += compare_texts(_texts(old, key), _texts(new, key))
    return _bounded(lines, limit)


def compare_file(
    name: str, old: Mapping[str, str], new: Mapping[str, str], *, limit: int = 30
) -> tuple[str, ...]:
    """As ``compare``, for the texts of a file beside the model; each line names it."""
    return _bounded(compare_texts(old, new, f"{show(name)}:"), limit)


def _bounded(lines: list[str], limit: int) -> tuple[str, ...]:
    rest = len(lines) - limit
    return (*lines[:limit], f"... and {rest} more") if rest > 0 else tuple(lines)


def layers(old: Structure, new: Structure) -> tuple[int, int]:
    """(how many differ, how many there are) of the layers and nodes that both files tell of."""
    counts = [
        module.count(old[key], new[key])
        for key in sorted({*old} & {*new})
        for module in [_module(old[key], new[key])]
        if module is not None
    ]
    return sum(one for one, _ in counts), sum(all_ for _, all_ in counts)


def keys(structure: Structure) -> Texts:
    """All that a file says beside its layers and nodes, by key path."""
    found: Texts = {}
    for key, value in structure.items():
        if is_model(value):
            found |= {f"{key}.{name}": text for name, text in structure_keras.whole(value).items()}
        elif is_graph(value):
            found |= structure_graph.rest(key, value)
        else:
            found |= _texts(structure, key)
    return found


def _module(old: Any, new: Any) -> Any:
    if is_model(old) and is_model(new):
        return structure_keras
    return structure_graph if is_graph(old) and is_graph(new) else None


def _texts(structure: Structure, key: str) -> Texts:
    return dict(leaves(structure[key], key)) if key in structure else {}
