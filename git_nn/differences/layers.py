"""layers: the part of a model that a tensor belongs to, told from its name alone."""

from __future__ import annotations

import re
from functools import lru_cache

_SPLIT = re.compile(r"([./])")
_DIGIT = re.compile(r"[0-9]")
_CONTAINERS = {"vars"}  # what Keras puts between a layer and its weights


@lru_cache(1 << 16)
def layer_of(name: str) -> str:
    """The layer of a tensor: its name up to the first part with a digit, the last part excluded.

    ``model.layers.17.mlp.up.weight`` -> ``model.layers.17``, ``block_3/ln/gamma`` ->
    ``block_3``, ``model.norm.weight`` -> ``model.norm``. A name of one part is its own layer.
    """
    parts = _SPLIT.split(name)
    if len(parts) == 1:
        return name
    for i in range(0, len(parts) - 2, 2):
        if _DIGIT.search(parts[i]):
            return "".join(parts[: i + 1])
    above = parts[:-2]
    if len(above) > 1 and above[-1] in _CONTAINERS:
        above = above[:-2]
    return "".join(above)
