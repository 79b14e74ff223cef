"""Numbers as people read them."""

from __future__ import annotations

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def size(number: int) -> str:
    """``1.5 MiB``; whole bytes below one KiB."""
    amount, unit = float(number), 0
    while amount >= 1024 and unit < len(_UNITS) - 1:
        amount, unit = amount / 1024, unit + 1
    return f"{number} B" if unit == 0 else f"{amount:.1f} {_UNITS[unit]}"


def count(number: int, noun: str) -> str:
    """``1 pack``, ``2 packs``, ``12,000 packs``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
