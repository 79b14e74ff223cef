"""track: the lines of .gitattributes that make Git pass files through git-nn.

Words: pattern, what stands first on a line once Git has unquoted it (a glob); rule, a line
with a pattern and attributes.

1. Text is edited, never rewritten: order, comments, line endings and a missing last line
   feed stay, and ``untrack`` after ``track`` gives the bytes of before.
2. Only the attributes in ATTRIBUTES are ours; others on the same line are their owner's.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from git_nn.beside import Folder
from git_nn.errors import UsageError
from git_nn.formats import table
from git_nn.formats.base import FileSource
from git_nn.gitio.attributes import lookup
from git_nn.gitio.quoting import unquote
from git_nn.gitio.repository import Repository
from git_nn.worktree import tracked

ATTRIBUTES = (b"filter=nn", b"diff=nn", b"merge=nn", b"-text")
LARGE = 1024 * 1024  # a file that is only named like weights is taken for weights from here on

_BOM = b"\xef\xbb\xbf"
_BLANK = b" \t\r\n"
_UNSAFE = re.compile(rb"[\x00-\x20\x7f]|\A\"")
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[^ \t\r\n]+')
_LETTERS = {b"\a": b"a", b"\b": b"b", b"\t": b"t", b"\n": b"n", b"\v": b"v", b"\f": b"f",
            b"\r": b"r", b'"': b'"', b"\\": b"\\"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Rule:
    """A line of .gitattributes, parsed as Git does."""

    pattern: bytes
    attributes: tuple[bytes, ...]

    @property
    def is_ours(self) -> bool:
        return ATTRIBUTES[0] in self.attributes


# -- patterns ------------------------------------------------------------------------------


def pattern_of(argument: str, folder: Path) -> bytes:
    """The pattern for what a person typed in ``folder``, where .gitattributes stands.

    The path of a file that exists means that file alone, a folder all that is in it, and
    anything else is a glob. Raises UsageError for what is outside of ``folder``, where the
    line would match nothing.
    """
    path = Path(os.path.normpath(folder / argument))
    if not os.path.lexists(path):
        return glob(os.fsencode(_below(argument, folder)))
    if path == folder:
        return b"**"
    if folder not in path.parents:
        raise UsageError(f"{argument} is not in {folder}", hint=f"run this in {path.parent}")
    anchored = b"/" + escape(os.fsencode(path.relative_to(folder).as_posix()))
    return anchored + b"/**" if path.is_dir() else anchored


def _below(pattern: str, folder: Path) -> str:
    """A glob as typed, in words that Git knows: relative to ``folder``, and ** for a folder."""
    pattern = pattern.removeprefix("./")
    if pattern.startswith("../"):
        raise UsageError(f"{pattern} is not in {folder}", hint=f"run this in {folder.parent}")
    if pattern.startswith(f"{folder}/"):
        pattern = pattern.removeprefix(str(folder))
    return f"{pattern}**" if pattern.endswith("/") else pattern


def escape(path: bytes) -> bytes:
    """A glob that matches ``path`` and nothing else."""
    return re.sub(rb"([*?\[\\])", rb"\\\1", path)


def glob(pattern: bytes) -> bytes:
    """``pattern`` so that Git reads it as a glob at the beginning of a line."""
    if not pattern.strip(_BLANK):
        raise UsageError("an empty pattern matches nothing")
    if pattern.startswith((b"!", b"#")):  # Git would take these for a negation and a comment
        pattern = b"\\" + pattern
    if pattern.startswith(b"[attr]"):  # ... and this for a macro; the order in a class is free
        pattern = b"[ttra]" + pattern.removeprefix(b"[attr]")
    backslashes = len(pattern) - len(pattern.rstrip(b"\\"))
    return pattern + b"\\" if backslashes % 2 else pattern  # alone at the end it matches nothing


def quote(pattern: bytes) -> bytes:
    """``pattern`` as one word of the file, in C-style quotes where it needs them."""
    # a byte order mark at the start of the file is none of its first pattern for Git
    if not _UNSAFE.search(pattern) and not pattern.startswith(_BOM):
        return pattern
    return b'"' + re.sub(rb'[\x00-\x1f\x7f"\\]', _quoted, pattern) + b'"'


def _quoted(match: re.Match[bytes]) -> bytes:
    letter = _LETTERS.get(match[0])
    return b"\\" + (letter if letter is not None else b"%03o" % match[0][0])


# -- the text of .gitattributes ------------------------------------------------------------


def rules(text: bytes) -> list[Rule]:
    """Every rule of a .gitattributes file; comments, macros and nonsense are left out."""
    return [rule for line in _lines(text) if (rule := _parse(line)) is not None]


def _lines(text: bytes) -> list[bytes]:
    """Lines with their ends; only a line feed ends a line."""
    return re.findall(rb"[^\n]*\n|[^\n]+", text)


def _parse(line: bytes) -> Rule | None:
    words = _TOKEN.findall(line.removeprefix(_BOM).strip(_BLANK))
    if not words or words[0].startswith((b"#", b"[attr]")):
        return None
    pattern = unquote(words[0])
    return None if pattern is None else Rule(pattern, tuple(words[1:]))


def is_tracked(text: bytes, pattern: bytes) -> bool:
    """Whether the rules for exactly ``pattern``, in order, end with all our attributes."""
    state: dict[bytes, bytes] = {}
    for rule in rules(text):
        if rule.pattern == pattern:
            state.update({_name(word): word for word in rule.attributes})
    return all(state.get(_name(word)) == word for word in ATTRIBUTES)


def _name(attribute: bytes) -> bytes:
    return attribute.lstrip(b"-!").partition(b"=")[0]


def add(text: bytes, patterns: Iterable[bytes]) -> bytes:
    """``text`` with a rule at its end for each pattern; the last rule is the one that counts."""
    end = b"\r\n" if text.partition(b"\n")[0].endswith(b"\r") else b"\n"
    closed = not text or text.endswith(b"\n")
    for pattern in patterns:
        line = b" ".join((quote(pattern), *ATTRIBUTES))
        text += line + end if closed else end + line
    return text


def remove(
    text: bytes, patterns: Iterable[bytes], attributes: Sequence[bytes] = ATTRIBUTES
) -> bytes:
    """``text`` without ``attributes`` on rules for ``patterns``, and without rules left empty.

    Only rules that have the first of ``attributes`` are touched.
    """
    unwanted = set(patterns)
    kept = []
    for line in _lines(text):
        rule = _parse(line)
        if rule is None or rule.pattern not in unwanted or attributes[0] not in rule.attributes:
            kept.append(line)
        elif set(rule.attributes) - set(attributes):
            kept.append(_without(line, attributes))
    left = b"".join(kept)
    if not text.endswith(b"\n"):  # the last line has no end: nor has the one that is last now
        return left.removesuffix(b"\n").removesuffix(b"\r")
    return left


def _without(line: bytes, attributes: Sequence[bytes]) -> bytes:
    first, *words = re.split(rb"(?<=[ \t])(?=[^ \t])", line)
    mine = set(attributes)
    end = line[len(line.rstrip(b"\r\n")) :]
    return (first + b"".join(w for w in words if w.strip(_BLANK) not in mine)).rstrip(_BLANK) + end


# -- the repository ------------------------------------------------------------------------


def attribute_files(repo: Repository) -> list[bytes]:
    """Every .gitattributes of the work tree, relative to its top."""
    output = repo.git("ls-files", "-z", "--cached", "--others", "--exclude-standard", "--",
                      ":(top,glob)**/.gitattributes")  # fmt: skip
    return sorted(set(output.split(b"\0")[:-1]))


def committed_raw(repo: Repository) -> list[bytes]:
    """Paths that pass through our filter now, but of which the index holds the raw weights."""
    return [item.path for item in tracked(repo) if item.is_raw]


def propose(repo: Repository, folder: Path) -> list[bytes]:
    """Patterns for the weight files below ``folder`` that no filter takes yet.

    ``*.suffix`` where every file of that suffix is one, else the paths.
    """
    output = repo.git("ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=folder)
    paths = sorted(set(output.split(b"\0")[:-1]))
    prefix = os.fsencode(os.path.relpath(folder, repo.top)) + b"/" if folder != repo.top else b""
    found = lookup(repo, [prefix + path for path in paths], ["filter"])
    free = [path for path in paths if "filter" not in found[prefix + path]]
    weights = {path for path in free if _is_weights(folder / os.fsdecode(path))}
    return list(covering(weights, paths))


def covering(weights: set[bytes], paths: list[bytes]) -> Iterator[bytes]:
    """Patterns that match just ``weights`` among ``paths``, which are all files."""
    by_suffix = defaultdict(set)
    for path in paths:
        by_suffix[ending(path)].add(path)
    for suffix, files in sorted(by_suffix.items()):
        mine = files & weights
        if mine and suffix and mine == files:
            yield glob(b"*" + escape(suffix))
        else:
            yield from (b"/" + escape(path) for path in sorted(mine))


def ending(path: bytes) -> bytes:
    """``.pt``; empty where a file's name has no such end."""
    stem, dot, suffix = path.rpartition(b"/")[2].rpartition(b".")
    return dot + suffix if stem else b""


def _is_weights(path: Path) -> bool:
    """Whether a format reads the file, or it is named like weights and large."""
    try:
        if path.is_symlink() or not path.is_file():
            return False
        with path.open("rb") as file:
            source = FileSource.of(file.fileno())
            if not source.size:
                return False
            if table.detect(source, Folder(path)).format != "opaque":
                return True
            return source.size >= LARGE and path.name.lower().endswith(table.suffixes())
    except OSError:
        return False
