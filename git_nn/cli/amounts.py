"""Numbers of things as people read them; for amounts of bytes see drivers/progress.py."""

from __future__ import annotations


def count(number: int, noun: str) -> str:
    """``1 pack``, ``2 packs``, ``12,000 packs``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
