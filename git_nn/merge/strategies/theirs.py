"""theirs: take their tensor, byte for byte."""

from __future__ import annotations

NAME = "theirs"
FORMULA = "theirs"
PAPER = ""
PARAMETERS: dict[str, float] = {}
SIDE = "theirs"
