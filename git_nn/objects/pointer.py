"""pointer: the text that Git stores in place of a weight file (docs/spec.md, part 1).

A pointer names contents and nothing else: one stanza per tensor with its dtype, shape
and oid, and the skeleton that says where the tensors stand in the file. It has exactly
one encoding: ``render(parse(text)) == text`` or ``parse`` raises.

Name and value stand on separate lines, with an empty line between stanzas, so that
Git's line merge never meets two changed tensors side by side.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from git_nn.errors import ConflictMarkerError, PointerError, PointerVersionError
from git_nn.objects.names import escape, natural_key, unescape
from git_nn.objects.oid import Oid
from git_nn.objects.tensor import Shape, format_shape, is_dtype, nbytes, parse_shape

VERSION = 1
MAGIC = b"git-nn pointer "
MAX_SIZE = 64 * 1024 * 1024  # no pointer is longer, so a longer file is none
_FIRST = "git-nn pointer 1"
_COMMENT = (
    "# weights of a neural network; to get them: "
    "pip install git-nn && git nn install && git nn pull"
)
_FORMAT = re.compile(r"[a-z][a-z0-9_-]{0,63}\Z")
_FORM = re.compile(r"[!-~]{1,200}\Z")
_NUMBER = re.compile(r"(0|[1-9][0-9]{0,18})\Z")
_MARKER = re.compile(rb"^(<<<<<<<|=======|>>>>>>>|\|\|\|\|\|\|\|)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Stored:
    """A tensor with a payload of its own.

    ``length`` is the payload's bytes. ``form`` is empty where the payload is the packed
    C-order array, else the container's way of storing it (see layout.Payload).
    """

    name: str
    dtype: str
    shape: Shape
    oid: Oid
    length: int
    form: str = ""


@dataclass(frozen=True, slots=True)
class Window:
    """A tensor that is a strided window on the payload of ``of``; elements, not bytes."""

    name: str
    dtype: str
    shape: Shape
    of: str
    offset: int
    strides: Shape


Entry = Stored | Window


@dataclass(frozen=True)
class Pointer:
    """The parsed pointer; ``entries`` are in natural order of their names."""

    format: str
    format_version: int
    skeleton: Oid
    skeleton_size: int
    entries: tuple[Entry, ...] = ()

    @cached_property
    def stored(self) -> dict[str, Stored]:
        """The tensors that have a payload, by name."""
        return {entry.name: entry for entry in self.entries if isinstance(entry, Stored)}

    @cached_property
    def by_name(self) -> dict[str, Entry]:
        return {entry.name: entry for entry in self.entries}

    @property
    def layout(self) -> tuple[str, int]:
        return self.format, self.format_version


def sorted_entries(entries: list[Entry]) -> tuple[Entry, ...]:
    """``entries`` in the order in which a pointer lists them."""
    return tuple(sorted(entries, key=lambda entry: natural_key(entry.name)))


def looks_like_pointer(head: bytes) -> bool:
    """Whether content that starts with ``head`` is meant as a pointer.

    True also for pointers that are damaged, of an unknown version or full of conflict
    markers: those must be refused by ``parse``, never stored as if they were weights.
    """
    return head.startswith(MAGIC) or (head.startswith(b"<<<<<<<") and MAGIC in head[:4096])


def render(pointer: Pointer) -> bytes:
    lines = [
        _FIRST,
        _COMMENT,
        f"layout {pointer.format} {pointer.format_version}",
        f"skeleton {pointer.skeleton} {pointer.skeleton_size}",
    ]
    for entry in pointer.entries:
        lines += ("", f"tensor {escape(entry.name)}", f"  {_render_value(entry)}")
    return "\n".join((*lines, "")).encode("utf-8")


def _render_value(entry: Entry) -> str:
    spec = f"{entry.dtype} {format_shape(entry.shape)}"
    match entry:
        case Stored(form=""):
            return f"{spec} {entry.oid}"
        case Stored():
            return f"{spec} {entry.oid} {entry.length} {entry.form}"
        case Window():
            steps = format_shape(entry.strides)
            return f"{spec} view {entry.offset} {steps} of {escape(entry.of)}"


def parse(data: bytes) -> Pointer:
    """The pointer in ``data``.

    Raises ConflictMarkerError, PointerVersionError or PointerError; never returns a
    pointer whose rendering is not ``data``.
    """
    if len(data) > MAX_SIZE:
        raise PointerError(f"a pointer has at most {MAX_SIZE} bytes")
    if _MARKER.search(data):
        raise ConflictMarkerError(
            "the pointer has conflict markers in it",
            hint="run 'git nn resolve' or 'git checkout --ours' on the file",
        )
    _check_version(data)
    try:
        pointer = _parse_lines(data.decode("utf-8").split("\n"))
    except (ValueError, KeyError, IndexError) as error:
        raise PointerError(
            f"not a valid git-nn pointer: {error}", hint="restore the file with 'git checkout'"
        ) from error
    if render(pointer) != data:
        raise PointerError(
            "not a valid git-nn pointer: the text is not canonical",
            hint="restore the file with 'git checkout'",
        )
    return pointer


def _check_version(data: bytes) -> None:
    first = data.split(b"\n", 1)[0]
    if first == _FIRST.encode():
        return
    if re.fullmatch(rb"git-nn pointer [0-9]+", first):
        version = first.rsplit(b" ", 1)[1].decode()
        raise PointerVersionError(
            f"pointer version {version[:20]} is newer than this git-nn",
            hint="run 'pip install --upgrade git-nn'",
        )
    raise PointerError("not a git-nn pointer", hint="restore the file with 'git checkout'")


def _parse_lines(lines: list[str]) -> Pointer:
    if lines[1] != _COMMENT:
        raise ValueError("line 2 is not the comment that every pointer has")
    _, format_name, version = _words(lines[2], "layout", 3)
    _, skeleton, size = _words(lines[3], "skeleton", 3)
    if not _FORMAT.match(format_name):
        raise ValueError(f"bad format name {format_name[:40]!r}")
    if lines[-1] != "" or (len(lines) - 5) % 3:
        raise ValueError("the text ends in the middle of a tensor")
    entries = [_parse_stanza(lines[i : i + 3]) for i in range(4, len(lines) - 1, 3)]
    pointer = Pointer(
        format_name, _number(version), Oid.from_hex(skeleton), _number(size), tuple(entries)
    )
    _check_entries(pointer)
    return pointer


def _words(line: str, keyword: str, count: int) -> list[str]:
    words = line.split(" ")
    if words[0] != keyword or len(words) != count:
        raise ValueError(f"expected a '{keyword}' line, found {line[:80]!r}")
    return words


def _number(text: str) -> int:
    if not _NUMBER.match(text):
        raise ValueError(f"not a number: {text[:40]!r}")
    return int(text)


def _parse_stanza(lines: list[str]) -> Entry:
    blank, name_line, value_line = lines
    if blank or not name_line.startswith("tensor ") or not value_line.startswith("  "):
        raise ValueError(f"expected a tensor, found {(blank or name_line)[:80]!r}")
    name = unescape(name_line.removeprefix("tensor "))
    try:
        return _parse_value(name, value_line[2:])
    except ValueError as error:
        raise ValueError(f"tensor {escape(name)}: {error}") from error


def _parse_value(name: str, value: str) -> Entry:
    dtype, shape_text, rest = value.split(" ", 2)
    if not is_dtype(dtype):
        raise ValueError(f"unknown dtype {dtype[:40]!r}")
    shape = parse_shape(shape_text)
    if rest.startswith("view "):
        _, offset, strides, of, base = rest.split(" ", 4)
        if of != "of":
            raise ValueError("bad view")
        return Window(name, dtype, shape, unescape(base), _number(offset), parse_shape(strides))
    words = rest.split(" ")
    oid = Oid.from_hex(words[0])
    if len(words) == 1:
        return Stored(name, dtype, shape, oid, nbytes(dtype, shape))
    _, length, form = words
    if not _FORM.match(form):
        raise ValueError("bad form")
    return Stored(name, dtype, shape, oid, _number(length), form)


def _check_entries(pointer: Pointer) -> None:
    keys = [natural_key(entry.name) for entry in pointer.entries]
    if any(left >= right for left, right in pairwise(keys)):
        raise ValueError("tensors are not in natural order, or one is there twice")
    for entry in pointer.entries:
        if isinstance(entry, Window) and entry.of not in pointer.stored:
            raise ValueError(f"tensor {escape(entry.name)}: a view of a tensor that is not there")
