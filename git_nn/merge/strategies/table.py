"""The table of merge strategies, each loaded on use, and what a strategy is.

A strategy module has these names:

    NAME: str                     what a person writes, such as ``task-arithmetic``
    FORMULA: str                  one line, in terms of base, ours and theirs
    PAPER: str                    where it comes from; empty where it is nobody's idea
    PARAMETERS: dict[str, float]  the parameters and their defaults

and either, where it copies one side's bytes,

    SIDE: "ours" | "theirs"

or, where it computes,

    NEEDS_BASE: bool
    def merge(base, ours, theirs, parameters) -> array
        Element by element on float64 arrays of one shape; ``base`` is None unless
        NEEDS_BASE. It sees a block at a time and complex numbers as pairs, so an element
        may depend only on those at its own place. Uses nothing but IEEE operations, so
        that the result is the same on every machine.

and may have ``LIMITS: dict[str, (low, high)]`` for its parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from math import inf
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Doubles = NDArray[np.float64]
    Formula = Callable[[Doubles | None, Doubles, Doubles, Mapping[str, float]], Doubles]

# strategy name -> module in this folder
_MODULES = {
    "ours": "ours",
    "theirs": "theirs",
    "mean": "mean",
    "task-arithmetic": "task_arithmetic",
}
NAMES = tuple(_MODULES)


@dataclass(frozen=True, slots=True)
class Strategy:
    """A strategy module, checked and typed."""

    name: str
    formula: str
    paper: str
    parameters: Mapping[str, float]
    limits: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    side: Literal["ours", "theirs"] | None = None
    needs_base: bool = False
    merge: Formula | None = None


def by_name(name: str) -> Strategy:
    """The strategy called ``name``; KeyError for a name that is in no table."""
    module = import_module(f"git_nn.merge.strategies.{_MODULES[name]}")
    return Strategy(
        name=module.NAME,
        formula=module.FORMULA,
        paper=module.PAPER,
        parameters=module.PARAMETERS,
        limits=dict.fromkeys(module.PARAMETERS, (-inf, inf)) | getattr(module, "LIMITS", {}),
        side=getattr(module, "SIDE", None),
        needs_base=getattr(module, "NEEDS_BASE", False),
        merge=getattr(module, "merge", None),
    )
