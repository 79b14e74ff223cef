"""summary: a version of a model in one line."""

from __future__ import annotations

from math import prod

from git_nn.drivers.progress import human
from git_nn.objects.pointer import Pointer, Stored


def parameters(pointer: Pointer) -> int:
    """Elements of all tensors that have a payload; tied ones count once."""
    return sum(prod(entry.shape) for entry in pointer.stored.values())


def payload_bytes(pointer: Pointer) -> int:
    """Bytes that the file takes for tensors, in the form that its container stores."""
    return sum(entry.length for entry in pointer.stored.values())


def summary(pointer: Pointer) -> str:
    """``safetensors, 291 tensors (2 tied), 1.2 M parameters (f32), 4.6 MiB``."""
    if not pointer.entries:
        return "no known format" if pointer.format == "opaque" else f"{pointer.format}, 0 tensors"
    stored = list(pointer.stored.values())
    tied = len(pointer.entries) - len(stored)
    count = f"{len(pointer.entries)} tensor{'' if len(pointer.entries) == 1 else 's'}"
    views = f" ({tied} tied)" if tied else ""
    size = f"{_thousands(parameters(pointer))} parameters ({_dtypes(stored)})"
    return f"{pointer.format}, {count}{views}, {size}, {human(payload_bytes(pointer))}"


def _dtypes(stored: list[Stored]) -> str:
    """The dtypes by how many elements they have, the largest first."""
    totals: dict[str, int] = {}
    for entry in stored:
        totals[entry.dtype] = totals.get(entry.dtype, 0) + prod(entry.shape)
    return ", ".join(sorted(totals, key=lambda dtype: (-totals[dtype], dtype)))


def _thousands(count: int) -> str:
    """``1.2 M``, ``7.2 B``: a count as the field writes it."""
    for limit, unit in ((10**9, "B"), (10**6, "M"), (10**3, "k")):
        if count >= limit:
            return f"{count / limit:.1f} {unit}"
    return str(count)
