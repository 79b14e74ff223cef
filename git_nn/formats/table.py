"""The table of formats, each loaded on use, and the one way from content to a checked layout.

Rules: content decides, never a name. Whatever a format does - raise anything, run out of
stack or memory, propose nonsense - the result is a checked layout, if need be the opaque
one with a note that says why.
"""

from __future__ import annotations

import re
from importlib import import_module
from types import ModuleType
from typing import Any

from git_nn.errors import LayoutError
from git_nn.formats import opaque as _opaque
from git_nn.formats.base import Source
from git_nn.objects.layout import Layout, check
from git_nn.objects.pointer import MAX_SIZE
from git_nn.objects.tensor import format_shape

SNIFFED = 64 * 1024

_STANZA = 160  # bytes of a pointer's stanza beside its names, shapes and form, at most
_PLAIN = re.compile(r"[!-$&-~]+\Z")  # names that are their own escaped form

# format name -> module in this folder; asked in this order
_MODULES = {
    "safetensors": "safetensors",
    "hdf5": "hdf5",
    "torch": "torch_zip",
}
FORMATS = tuple(_MODULES)


def by_name(name: str) -> ModuleType:
    """The module of a format; KeyError for a name that is in no table."""
    if name == _opaque.NAME:
        return _opaque
    return import_module(f"git_nn.formats.{_MODULES[name]}")


def latest(name: str) -> int:
    """The newest layout version of a format; KeyError for an unknown name."""
    version: int = by_name(name).VERSION
    return version


def suffixes() -> tuple[str, ...]:
    """File name endings of all formats, for proposals to a person only."""
    return tuple(suffix for name in FORMATS for suffix in by_name(name).SUFFIXES)


def opaque(source: Source, *notes: str) -> Layout:
    """The layout that is always right: the whole file is literal."""
    return _opaque.layout(source, *notes)


def detect(source: Source) -> Layout:
    """The layout of the first format that recognises ``source``, checked; else opaque.

    The notes of an opaque layout say which format looked right and why it was not.
    """
    head = source.read(0, min(source.size, SNIFFED))
    notes = []
    for name in FORMATS:
        try:
            module = by_name(name)
            if module.sniff(head):
                return _checked(module, module.VERSION, source)
        except Exception as error:  # noqa: BLE001 - a parser may raise anything; data comes first
            notes.append(f"looks like {name}, but {_reason(error)}")
    return opaque(source, *notes)


def build(name: str, version: int, source: Source) -> Layout | None:
    """The layout of exactly this format and version; None where it is unknown or fails.

    A module whose VERSION has moved on keeps each older one as ``layout_<version>``, so
    that an upgrade of the tool never shows a file as modified.
    """
    try:
        return _checked(by_name(name), version, source)
    except Exception:  # noqa: BLE001 - as in detect; the caller goes on with another layout
        return None


def has_structure(name: str) -> bool:
    """Whether files of this format say something about the model beside its tensors."""
    try:
        return hasattr(by_name(name), "structure")
    except KeyError:
        return False


def structure(name: str, source: Source) -> dict[str, Any]:
    """What a file says about its model, as plain JSON values; {} where it cannot be read."""
    if not has_structure(name):
        return {}
    try:
        found: dict[str, Any] = by_name(name).structure(source)
    except Exception:  # noqa: BLE001 - as in detect; a diff goes on without it
        return {}
    return found


def _checked(module: ModuleType, version: int, source: Source) -> Layout:
    function = module.layout if version == module.VERSION else getattr(module, f"layout_{version}")
    layout: Layout = function(source)
    if (layout.format, layout.version, layout.size) != (module.NAME, version, source.size):
        raise LayoutError("the parser described another file")
    check(layout)
    _check_pointer_size(layout)
    return layout


def _check_pointer_size(layout: Layout) -> None:
    """The pointer must be one that ``parse`` accepts, or the file would never come back."""
    size = sum(
        _STANZA + _text_size(payload.name) + len(format_shape(payload.shape)) + len(payload.form)
        for payload in layout.payloads
    ) + sum(
        _STANZA + _text_size(view.name) + len(format_shape(view.shape))
        + _text_size(view.payload) + len(format_shape(view.strides))
        for view in layout.views
    )  # fmt: skip
    if size > MAX_SIZE:
        raise LayoutError("the names of the tensors are too long for a pointer")


def _text_size(name: str) -> int:
    """No less than the length of the escaped name, and cheaper than to escape it."""
    if _PLAIN.match(name):
        return len(name)
    return 3 * len(name.encode("utf-8", "surrogateescape"))


def _reason(error: Exception) -> str:
    """One short line without control characters; messages may quote the file."""
    text = str(error) if isinstance(error, LayoutError) else f"{type(error).__name__}: {error}"
    line = "".join(char if char.isprintable() else "?" for char in text[:200])
    return line or type(error).__name__
