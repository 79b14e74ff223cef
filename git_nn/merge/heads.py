"""heads: the queries, keys and values of an attention block, and how its heads may move.

Heads change places with all that is theirs. Within a head its values do, with the columns
that read them, and its queries with its keys, unless a rotation (RoPE) pairs them. Where
several heads share keys and values (grouped queries), they stay together in their order.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from git_nn.errors import UsageError
from git_nn.merge.matching import Place, Units
from git_nn.merge.modules import Module

_WORDS = {
    "q": r"(^|\.)(q|query|q_proj|wq|to_q|q_lin)$",
    "k": r"(^|\.)(k|key|k_proj|wk|to_k|k_lin)$",
    "v": r"(^|\.)(v|value|v_proj|wv|to_v|v_lin)$",
    "qkv": r"(^|\.)(qkv|in_proj|c_attn|qkv_proj|to_qkv)$",
    "o": r"(^|\.)(o|out|o_proj|out_proj|wo|to_out\.0|out_lin|proj)$|att.*\.(dense|c_proj)$",
}


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows [start, stop) of a layer."""

    layer: Module
    start: int
    stop: int

    @property
    def count(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True, slots=True)
class Attention:
    """Who makes queries, keys and values, and who reads what is mixed of them."""

    queries: Rows
    keys: Rows
    values: Rows
    reader: Module

    @property
    def inside(self) -> frozenset[tuple[str, int]]:
        """Axes that belong to the heads: (layer, axis of its weight)."""
        made = {(rows.layer.name, 0) for rows in (self.queries, self.keys, self.values)}
        return frozenset(made | {(self.reader.name, 1)})


def attention(layers: Sequence[Module]) -> Attention | None:
    """The attention of a block; None where it has none that is known."""
    found = {word: _named(layers, regex) for word, regex in _WORDS.items()}
    reader = found["o"]
    if reader is None:
        return None
    made = [found[word] for word in "qkv"]
    if found["qkv"] is not None:
        fused = found["qkv"]
        rest = fused.out - reader.into
        if rest <= 0 or rest % 2:
            return None
        cuts = (0, reader.into, reader.into + rest // 2, fused.out)
        rows = [Rows(fused, *cut) for cut in pairwise(cuts)]
    else:
        rows = [Rows(layer, 0, layer.out) for layer in made if layer is not None]
    if len(rows) < 3 or rows[0].count != reader.into or rows[1].count != rows[2].count:
        return None
    return Attention(rows[0], rows[1], rows[2], reader)


def _named(layers: Sequence[Module], regex: str) -> Module | None:
    found = [layer for layer in layers if re.search(regex, layer.name)]
    return found[0] if len(found) == 1 else None


def head_units(block: Attention, heads: int, *, free: bool) -> list[Units]:
    """The heads of a block; ``free`` where queries and keys may change places within a head."""
    width = block.queries.count
    if heads < 1 or width % heads:
        raise UsageError(f"{block.queries.layer.name} makes {width} queries for {heads} heads")
    size = width // heads
    groups, rest = divmod(block.keys.count, size)
    if rest or not groups or heads % groups:
        raise UsageError(
            f"{block.keys.layer.name} makes {block.keys.count} keys: no share of {heads} heads"
        )
    many, few = _index(groups, heads // groups, size), _index(groups, 1, size)
    pairs = (*_places(block.queries, many), *_places(block.keys, few))
    if not free:
        pairs = tuple(
            Place(one.tensor, one.axis, one.index.reshape(groups, 1, -1)) for one in pairs
        )
    mixed = (*_places(block.values, few), Place(block.reader.weight, 1, many))
    return [Units(f"{block.reader.name} heads", groups, (pairs, mixed))]


def _index(groups: int, shared: int, size: int) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    """[group, part, head of the group]: where it stands."""
    return np.arange(groups * shared * size).reshape(groups, shared, size).transpose(0, 2, 1)


def _places(
    rows: Rows, index: np.ndarray[tuple[int, ...], np.dtype[np.int64]]
) -> tuple[Place, ...]:
    return tuple(Place(name, 0, index + rows.start) for name in rows.layer.tensors.values())
