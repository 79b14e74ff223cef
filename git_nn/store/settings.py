"""settings: what a store is told about how to work; none of it changes what is stored."""

from __future__ import annotations

import os
from dataclasses import dataclass

MEMORY = 256 * 1024 * 1024
_PER_THREAD = 64 * 1024 * 1024  # a segment, its base, both coded, and the codecs' scratch


@dataclass(frozen=True, slots=True)
class Settings:
    """``sync``: must what is written survive a power loss? ``memory``: bytes for pipelines."""

    sync: bool = True
    memory: int = MEMORY

    @property
    def threads(self) -> int:
        """How many segments may be worked on at once."""
        return max(1, min(os.cpu_count() or 1, self.memory // _PER_THREAD))
