"""ours: keep our tensor, byte for byte."""

from __future__ import annotations

NAME = "ours"
FORMULA = "ours"
PAPER = ""
PARAMETERS: dict[str, float] = {}
SIDE = "ours"
