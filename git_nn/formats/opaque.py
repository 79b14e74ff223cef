"""Opaque: a file of no known format, kept whole as literal bytes in content-defined chunks."""

from __future__ import annotations

from git_nn.formats.base import Source
from git_nn.objects.layout import Layout

NAME = "opaque"
VERSION = 1
SUFFIXES: tuple[str, ...] = ()
ABOUT = "any other file, in content-defined chunks"


def sniff(head: bytes) -> bool:
    """Anything may be opaque."""
    return isinstance(head, bytes)


def layout(source: Source, *notes: str) -> Layout:
    return Layout(NAME, VERSION, source.size, notes=notes)
