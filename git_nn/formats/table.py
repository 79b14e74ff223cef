"""The table of formats, each loaded on use, and the one way from content to a checked layout.

Rules: content decides, never a name. Whatever a format does - raise anything, run out of
stack or memory, propose nonsense - the result is a checked layout, if need be the opaque
one with a note that says why.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from git_nn.errors import LayoutError
from git_nn.formats import opaque as _opaque
from git_nn.formats.base import Beside, Key, Source
from git_nn.objects.layout import Layout, check
from git_nn.objects.pointer import MAX_SIZE
from git_nn.objects.tensor import format_shape

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

SNIFFED = 64 * 1024

_STANZA = 160  # bytes of a pointer's stanza beside its names, shapes and form, at most
_PLAIN = re.compile(r"[!-$&-~]+\Z")  # names that are their own escaped form

# format name -> module in this folder; asked in this order
_MODULES = {
    "safetensors": "safetensors",
    "hdf5": "hdf5",
    "torch": "torch_zip",
    "keras": "keras",
    "npz": "npz",
    "npy": "npy",
    "gguf": "gguf",
    "tflite": "tflite",
    "coreml": "coreml",
    "torch-legacy": "torch_legacy",
    "pickle": "pickle_file",
    "flax": "flax",
    "onnx": "onnx",
}
# formats whose files are described by another file; asked last
_DESCRIBED: dict[str, str] = {"tensorflow": "tensorflow", "onnx-data": "onnx_data"}
FORMATS = tuple(_MODULES)
DESCRIBED = tuple(_DESCRIBED)

GROUP = "git_nn.formats"
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,63}\Z")
_RESERVED = frozenset({*FORMATS, *DESCRIBED, _opaque.NAME})


def by_name(name: str) -> Any:
    """The module of a format, ours or installed; KeyError for a name that is in no table."""
    if name == _opaque.NAME:
        return _opaque
    ours = {**_MODULES, **_DESCRIBED}.get(name)
    return import_module(f"git_nn.formats.{ours}") if ours else installed()[name].load()


@cache
def installed() -> dict[str, EntryPoint]:
    """Formats of other packages, by name: entry points of the group ``git_nn.formats``.

    A package that is installed may run code here; nothing in a repository names one.
    """
    from importlib.metadata import entry_points  # 30 ms, which few files cost

    try:
        found = entry_points(group=GROUP)
    except Exception:  # noqa: BLE001 - any installed package may be broken; data comes first
        return {}
    return {e.name: e for e in found if _NAME.match(e.name) and e.name not in _RESERVED}


def _asked() -> Iterator[str]:
    """Formats that tell by content; those of other packages only where none of ours does."""
    yield from FORMATS
    yield from sorted(installed())


def names() -> tuple[str, ...]:
    """All formats in the order of asking, opaque last."""
    return (*_asked(), *DESCRIBED, _opaque.NAME)


def latest(name: str) -> int:
    """The newest layout version of a format; KeyError for an unknown name."""
    version: int = by_name(name).VERSION
    return version


def suffixes() -> tuple[str, ...]:
    """File name endings of all formats, for proposals to a person only."""
    return tuple(suffix for name in (*FORMATS, *DESCRIBED) for suffix in by_name(name).SUFFIXES)


def opaque(source: Source, *notes: str) -> Layout:
    """The layout that is always right: the whole file is literal."""
    return _opaque.layout(source, *notes)


def detect(source: Source, beside: Beside | None = None) -> Layout:
    """The layout of the first format that recognises ``source``, checked; else opaque.

    The notes of an opaque layout say which format looked right and why it was not.
    """
    head = source.read(0, min(source.size, SNIFFED))
    notes: list[str] = []
    for name in _asked():
        try:
            module = by_name(name)
            if module.sniff(head):
                return _checked(module, module.layout(source), source)
        except Exception as error:  # noqa: BLE001 - a parser may raise anything; data comes first
            notes.append(f"looks like {name}, but {_reason(error)}")
    return (beside and _described(source, beside, notes)) or opaque(source, *notes)


def _described(source: Source, beside: Beside, notes: list[str]) -> Layout | None:
    """The layout that a file beside this one describes; what went wrong is added to ``notes``."""
    for name in DESCRIBED:
        module = by_name(name)
        names = module.descriptions(beside.name)
        for description in filter(None, map(beside.read, names)):
            try:
                layout = module.layout(source, beside.name, description)
                return _checked(module, layout, source)
            except Exception as error:  # noqa: BLE001 - as in detect
                notes.append(f"looks like {name}, but {_reason(error)}")
        if names and not notes:
            notes.append(f"may be {name}, but no file beside it ({names[0]}) tells its tensors")
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


def keys(name: str, source: Source) -> dict[Key, str] | None:
    """The keyed data of a file; None where the format has no keys or they cannot be read."""
    try:
        module = by_name(name)
        found: dict[Key, str] | None = module.keys(source) if hasattr(module, "keys") else None
    except Exception:  # noqa: BLE001 - as in detect; a merge goes on without them
        return None
    return found


def _checked(module: Any, layout: Layout, source: Source) -> Layout:
    is_of = (module.NAME, module.VERSION, source.size)
    if (layout.format, layout.version, layout.size) != is_of:
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
