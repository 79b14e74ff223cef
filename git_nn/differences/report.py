"""report: what a page or a comment about several files is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from git_nn.differences.result import ModelDiff

if TYPE_CHECKING:
    from git_nn.differences.histogram import Histogram


@dataclass(frozen=True, slots=True)
class Item:
    """A file and its comparison, or what is to be said in its place.

    ``label`` is one visible line; ``histograms`` are by name of the tensor.
    """

    label: str
    diff: ModelDiff | None
    message: str = ""
    histograms: Mapping[str, Histogram] = field(default_factory=dict)
