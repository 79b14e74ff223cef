"""nearswap: theirs where it is near ours, and ever more of ours the farther apart they are."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf

import numpy as np

from git_nn.merge.strategies.blocks import Block, Doubles

NAME = "nearswap"
FORMULA = "w * theirs + (1 - w) * ours, w = min(1, t / |ours - theirs|)"
PAPER = "https://huggingface.co/alchemonaut/QuartetAnemoi-70B-t0.0001"
PARAMETERS = {"t": 1e-4}
LIMITS = {"t": (0.0, inf)}
NEEDS_BASE = False
TWO_SIDED = True


def merge(block: Block, parameters: Mapping[str, float], _: None) -> Doubles:
    distance = np.abs(block.ours - block.theirs)
    step = parameters["t"]
    weight = np.where(distance <= step, 1.0, step / distance)
    return weight * block.theirs + (1.0 - weight) * block.ours
