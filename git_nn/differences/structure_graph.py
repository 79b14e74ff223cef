"""structure_graph: a graph of nodes, as ONNX has it, and what changed in it.

A graph is a mapping with ``nodes``: name -> ``op_type``, ``domain``, ``inputs``, ``outputs``, and
beside these the attributes. Names that exporters number anew are no change where the graph
is otherwise the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from git_nn.differences.structure_keys import arrow, compare_texts, leaves, short, show
from git_nn.differences.structure_nodes import Matched, Node, match

_OWN = ("op_type", "domain", "inputs", "outputs")
_SHOWN = 8  # attributes of a node in a description, operators of many nodes
_FEW = 12  # nodes that come or go and are named one by one


def is_graph(value: Any) -> bool:
    """Whether ``value`` is a graph of nodes."""
    nodes = value.get("nodes") if isinstance(value, dict) else None
    return isinstance(nodes, dict) and any(_is_node(node) for node in nodes.values())


def describe(key: str, graph: Any) -> list[str]:
    lines = [f"{show(path)}: {short(text)}" for path, text in sorted(rest(key, graph).items())]
    for node in _nodes(graph):
        words = [f"{show(name)}={short(text)}" for name, text in sorted(node.attributes.items())]
        ends = f"{_list(node.inputs)} → {_list(node.outputs)}"
        lines.append(f"  {show(node.name)}: {' '.join([node.op, *words[:_SHOWN]])}, {ends}")
    return lines


def compare(key: str, old: Any, new: Any) -> list[str]:
    """A line for each difference: around the nodes, nodes gone and come, then the others."""
    found = match(_nodes(old), _nodes(new))
    lines = compare_texts(rest(key, old), rest(key, new))
    lines += _listed(found.removed, "removed")
    lines += _listed(found.added, "added")
    for before, after, different in _different(found, old, new):
        label = f"{show(after.name)}:"
        lines += [] if before.op == after.op else [f"{label} {before.op} → {after.op}"]
        lines += compare_texts(before.attributes, after.attributes, label)
        lines += different
    return lines


def _listed(nodes: Sequence[Node], what: str) -> list[str]:
    """A line for each node; where they are many, one for all with how often each operator is."""
    if len(nodes) <= _FEW:
        return [f"node {show(node.name)} ({node.op}) {what}" for node in nodes]
    found = Counter(node.op for node in nodes).most_common()
    words = [f"{number} {op}" for op, number in found[:_SHOWN]]
    more = ", ..." if len(found) > _SHOWN else ""
    ends = f"{show(nodes[0].name)} to {show(nodes[-1].name)}"
    return [f"{len(nodes)} nodes {what}, from {ends}: {', '.join(words)}{more}"]


def count(old: Any, new: Any) -> tuple[int, int]:
    """(nodes that differ, nodes of both graphs, each pair once)."""
    found = match(_nodes(old), _nodes(new))
    gone = len(found.removed) + len(found.added)
    changed = sum(
        bool(lines) or before.op != after.op or before.attributes != after.attributes
        for before, after, lines in _different(found, old, new)
    )
    return gone + changed, gone + len(found.pairs)


def rest(key: str, graph: Any) -> dict[str, str]:
    """What the graph says beside its nodes."""
    return dict(leaves({name: graph[name] for name in graph if name != "nodes"}, key))


def _is_node(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("op_type"), str)


def _nodes(graph: Any) -> list[Node]:
    return [_node(name, node) for name, node in graph["nodes"].items() if _is_node(node)]


def _node(name: str, node: Mapping[str, Any]) -> Node:
    attributes: dict[str, str] = {}
    for key, value in node.items():
        if key not in _OWN:
            attributes.update(leaves(value, key))
    domain = node.get("domain")
    op = f"{show(domain)}.{show(node['op_type'])}" if domain else show(node["op_type"])
    return Node(name, op, _names(node.get("inputs")), _names(node.get("outputs")), attributes)


def _names(value: Any) -> tuple[str, ...]:
    items = value if isinstance(value, list) else []
    return tuple(item for item in items if isinstance(item, str))


def _different(found: Matched, old: Any, new: Any) -> Iterator[tuple[Node, Node, list[str]]]:
    """Each pair with a line where it gets its inputs from elsewhere.

    What a pair makes has the same name in both, whatever it is called; so have the graph's
    inputs in their order. A weight goes by its name, but not at nodes found by their place.
    """
    ends = [list(g["inputs"]) if isinstance(g.get("inputs"), dict) else [] for g in (old, new)]
    same: dict[str, str] = dict(zip(*ends, strict=True)) if len(ends[0]) == len(ends[1]) else {}
    for before, after, _ in found.pairs:
        same.update(zip(before.outputs, after.outputs, strict=False))
    made = set(same.values()) | {name for node in found.added for name in node.outputs}
    gone = {name for node in found.removed for name in node.outputs}

    def is_same(one: str, other: str, *, by_place: bool) -> bool:
        weights = one not in same and one not in gone and other not in made
        return same.get(one, one) == other or (weights and by_place)

    for before, after, by_place in found.pairs:
        equal = len(before.inputs) == len(after.inputs) and all(
            is_same(one, other, by_place=by_place)
            for one, other in zip(before.inputs, after.inputs, strict=True)
        )
        wiring = f"{show(after.name)}: inputs {arrow(_list(before.inputs), _list(after.inputs))}"
        yield before, after, [] if equal else [wiring]


def _list(names: Sequence[str]) -> str:
    return ", ".join(map(show, names)) or "nothing"
