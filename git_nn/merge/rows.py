"""rows: which tensors may be woven from the rows, or elements, that each side changed.

A row is all that belongs to one index of the first axis. Rules (docs/merge.md, Rows):
1. A row that one side changed is that side's, bit for bit; nothing is computed. A row that
   both changed, and not to the same bytes, stops the weaving of the whole tensor.
2. Rows are taken from both sides only where a row is a thing of its own. That is so where a
   person says it (``Rung.asked``), by the tensor's name (``_NAMED``), and where both sides
   together left at least half of a matrix alone: training a dense layer touches every row.
3. Rows that one side adds at the end, or takes away there, need no such ground where that
   side left all the others alone. Then the shape of that side holds.
4. Rows of tokens that both sides added are matched before (merge.tokens, reorder).

Here no tensor is read (and no numpy imported, which every merge would wait for): that is
merge/woven.py.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from math import prod
from typing import Literal

from git_nn.errors import UsageError
from git_nn.objects.tensor import Shape

Unit = Literal["row", "element"]
Ground = Literal["named", "sparse", "resized"]

SETTING = "nn.merge.ladder"
_PREFIX, _SUFFIX = "nn.merge.", ".ladder"

# Floats and complex numbers of 16 bits and more. What is narrower, and integers, are codes:
# their meaning stands in another tensor (a scale, a code book) that might be the other side's.
VALUES = frozenset({"f64", "f32", "f16", "bf16", "c64", "c128"})

# Layers with a row for each token, position or class, by their last names.
_NAMED = re.compile(
    r"(?:.*_)?(?:embed|embd|embeddings?|emb)(?:_(?:tokens?|positions?|in|out))?(?:_[0-9]+)?"
    r"|wte|wpe|lm_head|embed_tokens_per_layer"
)
# Those of tokens, and not of positions, types or classes.
_OF_TOKENS = re.compile(
    r"embed_tokens(?:_per_layer)?|(?:word|tok|token)s?_emb(?:d|ed|eddings?)?|wte|lm_head"
    r"|embed_(?:in|out)"
)
_HEADS = frozenset({"classifier", "head", "score"})
_STACKED = re.compile(r"(?:.*_)?experts?")
# Matrices that are several, one below the other; and those that mean nothing without another
# tensor: factors of a product, scales of quantised weights. Their rows are not found by counting.
_BOUND = re.compile(
    r"qkv|c_attn|in_proj|query_key_value|gate_up|(?:weight|bias)_[ih]h|lora_|scale|zero|absmax"
)


@dataclass(frozen=True, slots=True)
class Rung:
    """How finely a tensor may be taken apart; ``asked`` where a person named the tensor, and
    ``vectors`` where it may have one axis."""

    unit: Literal["tensor", "row", "element"]
    asked: bool = False
    vectors: bool = False


ROW = Rung("row")
TOKEN = Rung("row", asked=True, vectors=True)  # of a tensor whose rows are those of tokens


@dataclass(frozen=True, slots=True)
class Ladder:
    """The rung for each tensor: of the last of ``patterns`` that matches its name, or ``rung``."""

    rung: Rung = ROW
    patterns: tuple[tuple[str, Rung], ...] = ()

    def __call__(self, name: str) -> Rung:
        for pattern, rung in reversed(self.patterns):
            if fnmatchcase(name, pattern):
                return rung
        return self.rung


BY_ROWS = Ladder()
WHOLE = Ladder(Rung("tensor"))


def ladder(settings: Mapping[str, str]) -> Ladder:
    """The ladder by the keys of the configuration that start with ``nn.merge.``.

    These are ``nn.merge.ladder`` and ``nn.merge.<pattern>.ladder``; UsageError names the one
    that makes no sense.
    """
    patterns = tuple(
        (key.removeprefix(_PREFIX).removesuffix(_SUFFIX), Rung(_unit(value, key), asked=True))
        for key, value in settings.items()
        if key != SETTING and key.startswith(_PREFIX) and key.endswith(_SUFFIX)
    )
    rung = Rung(_unit(settings[SETTING], SETTING)) if SETTING in settings else ROW
    return Ladder(rung, patterns)


def _unit(text: str, source: str) -> Literal["tensor", "row", "element"]:
    match text:
        case "tensor" | "row" | "element":
            return text
    raise UsageError(f"{source} is {text[:80]!r}", hint="use one of: tensor, row, element")


@dataclass(frozen=True, slots=True)
class Way:
    """In what units a tensor may be woven, and on what ground."""

    unit: Unit
    ground: Ground


def way(name: str, dtype: str, shapes: Sequence[Shape], rung: Rung) -> Way | None:
    """How the tensor of these shapes (base, ours, theirs) may be woven; None if not at all.

    The number of rows may be another on one side, or the same other on both.
    """
    base, ours, theirs = shapes
    if rung.unit == "tensor" or dtype.removesuffix("be") not in VALUES or not base:
        return None
    if not base[1:] == ours[1:] == theirs[1:] or len({len(shape) for shape in shapes}) > 1:
        return None
    if not prod(base) or base[0] != ours[0] != theirs[0] != base[0]:
        return None
    if rung.unit == "element":
        return Way("element", "named")
    if rung.vectors or (len(base) > 1 and (rung.asked or _is_named(name, base))):
        return Way("row", "named")
    if len(base) == 2 and not _BOUND.search(name.lower()):
        return Way("row", "sparse")
    return Way("row", "resized") if base[0] != ours[0] or base[0] != theirs[0] else None


def is_of_tokens(name: str) -> bool:
    """Whether the name says that a row is a token's, or an output for one."""
    words = [word.split(":")[0] for word in re.split(r"[./]", name.lower()) if word]
    return any(_OF_TOKENS.fullmatch(word) for word in words[-2:])


def _is_named(name: str, shape: Shape) -> bool:
    """Whether the name says that a row is an embedding, a class or an expert."""
    words = [word for word in re.split(r"[./]", name.lower()) if word]
    last = words[-1].split(":")[0] if words else ""
    if last == "0" and words[-2:-1] == ["vars"]:  # as Keras 3 names the weights of a layer
        last, words = "weight", words[:-1]
    layer = words[-2] if len(words) > 1 else ""
    if (
        len(shape) == 3
    ):  # experts.down_proj, or experts.down_proj.weight; experts.0.w1 is one expert
        return any(_STACKED.fullmatch(word) for word in words[-3:])
    if len(shape) != 2:
        return False
    if last == "weight":
        return bool(_NAMED.fullmatch(layer)) or layer in _HEADS
    return bool(_NAMED.fullmatch(last))
