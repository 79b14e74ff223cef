"""The table of merge strategies, each loaded on use, and what a strategy is.

A strategy module has these names:

    NAME: str                     what a person writes, such as ``task-arithmetic``
    FORMULA: str                  one line, in terms of base, ours and theirs; dO and dT are
                                  ours - base and theirs - base, and "..." is for more sides
    PAPER: str                    where it comes from; empty where it is nobody's idea
    PARAMETERS: dict[str, float]  the parameters and their defaults

and either, where it copies one side's bytes,

    SIDE: "ours" | "theirs"

or, where it computes,

    NEEDS_BASE: bool
    def merge(block, parameters, measured) -> array
        The doubles of a block (``blocks.Block``). An element may depend on those at its own
        place, on its index, on what was measured, and on its unit.

It may have

    LIMITS: dict[str, (low, high)]  of its parameters
    def measure(tensor, parameters) -> measured
        A small frozen value that needs the whole tensor (``blocks.Tensor``), which is read in
        as many passes as this takes; else ``measured`` is None.
    def unit(shape) -> int
        How many elements in a row are never cut by a block, such as a row of a matrix. They
        are held in memory at once.
    def touched(block, parameters, measured) -> mask
        Of a block of singles: all elements that merge makes another value of than the base
        has, and perhaps some others. merge then gets these alone (``block.places``), which
        is worth it where they are few.
    NEEDS = "fisher"                it reads statistics of each side (``block.statistics``), from
                                    NAME.fisher.safetensors beside the model
    COPIES_BASE = True              the result is the base's tensor, which is not read
    TWO_SIDED = True                it is for ours and theirs only; else for two sides or more
    READS_BOTH = False              the formula reads ours only, so elements that are equal on
                                    all sides are computed too

The result must not depend on how the tensor is cut into blocks, nor on the machine: it comes
from IEEE operations on elements, from exact ranks (``ranks``), from sums in a fixed order
(``sums``), and from draws by index (``draws``). The modules of this folder that are not in
the table hold what several strategies share.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from math import inf
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from git_nn.merge.strategies.blocks import Block, Doubles, Tensor
    from git_nn.objects.tensor import Shape

    Formula = Callable[[Block, Mapping[str, float], Any], Doubles]
    Touched = Callable[[Block, Mapping[str, float], Any], Any]
    Measure = Callable[[Tensor, Mapping[str, float]], Any]
    Unit = Callable[[Shape], int]

# strategy name -> module in this folder
_MODULES = {
    "ours": "ours",
    "theirs": "theirs",
    "base": "base",
    "mean": "mean",
    "task-arithmetic": "task_arithmetic",
    "passthrough": "passthrough",
    "nearswap": "nearswap",
    "slerp": "slerp",
    "nuslerp": "nuslerp",
    "model-stock": "model_stock",
    "multislerp": "multislerp",
    "karcher": "karcher",
    "fisher": "fisher",
    "regmean": "regmean",
    "ties": "ties",
    "breadcrumbs": "breadcrumbs",
    "dare-linear": "dare_linear",
    "dare-ties": "dare_ties",
    "della": "della",
    "sce": "sce",
    "arcee-fusion": "arcee_fusion",
    "iso-c": "iso_c",
    "tsv": "tsv",
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
    copies_base: bool = False
    reads_both: bool = True
    two_sided: bool = False
    needs: str = ""
    merge: Formula | None = None
    measure: Measure | None = None
    unit: Unit | None = None
    touched: Touched | None = None


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
        copies_base=getattr(module, "COPIES_BASE", False),
        reads_both=getattr(module, "READS_BOTH", True),
        two_sided=getattr(module, "TWO_SIDED", False),
        needs=getattr(module, "NEEDS", ""),
        merge=getattr(module, "merge", None),
        measure=getattr(module, "measure", None),
        unit=getattr(module, "unit", None),
        touched=getattr(module, "touched", None),
    )
