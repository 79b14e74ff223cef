"""Pointers in the index that no rule covers: weights that Git no longer passes through us.

A clone gets their text in place of the weights, and the next version would go in raw. A
path with any value of ``filter`` is not meant, not even ``-filter``: that says that its
owner wants the text itself there, e.g. as a fixture of a test.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from git_nn.gitio import revisions
from git_nn.gitio.attributes import lookup
from git_nn.gitio.objects import Reader, open_reader
from git_nn.gitio.repository import Repository
from git_nn.objects import pointer as pointers
from git_nn.objects.pointer import looks_like_pointer
from git_nn.track import escape, glob


@dataclass(frozen=True, slots=True)
class Stranded:
    """The paths, and for ``git nn track`` at the top the patterns that cover them again."""

    paths: tuple[bytes, ...]
    patterns: tuple[bytes, ...]

    def fix(self, git: str = "git") -> str:
        """The command; ``git`` is to run at the top of the work tree."""
        words = " ".join(shlex.quote(os.fsdecode(pattern)) for pattern in self.patterns)
        return f"{git} nn track {words} && {git} add .gitattributes"


def find(repo: Repository, *, cached: bool) -> Stranded:
    """Those of the whole index, but for files that a sparse checkout leaves out.

    ``cached`` takes the rules from the index, too, else they are those of the work tree.
    """
    entries = [e for e in revisions.index(repo) if e.stage == 0 and e.mode.startswith("100")]
    filters = lookup(repo, [entry.path for entry in entries], ["filter"], cached=cached)
    outside = _outside(repo)
    with open_reader(repo) as reader:
        found = {
            entry.path
            for entry in entries
            if "filter" not in filters[entry.path]
            and entry.path not in outside
            and _is_pointer(reader, entry.oid)
        }
    others = {_suffix(entry.path) for entry in entries if entry.path not in found}
    patterns = dict.fromkeys(_patterns(sorted(found), others))
    return Stranded(tuple(sorted(found)), tuple(patterns))


def _outside(repo: Repository) -> set[bytes]:
    """What a sparse checkout leaves out: a partial clone would fetch it to be looked at."""
    listed = repo.git("ls-files", "-z", "-t", "--cached", "--full-name", cwd=repo.top)
    return {line[2:] for line in listed.split(b"\0") if line.startswith(b"S ")}


def _is_pointer(reader: Reader, oid: str) -> bool:
    info = reader.info(oid)
    if info is None or info[1] != "blob" or info[2] > pointers.MAX_SIZE:
        return False
    return looks_like_pointer((reader.read(oid) or b"")[:4096])


def _patterns(paths: list[bytes], others: Collection[bytes]) -> Iterator[bytes]:
    """``*.suffix``, or the path where ``others``, the suffixes of other files, have it too."""
    for path in paths:
        suffix = _suffix(path)
        yield b"/" + escape(path) if suffix in others or not suffix else glob(b"*" + escape(suffix))


def _suffix(path: bytes) -> bytes:
    stem, dot, suffix = path.rpartition(b"/")[2].rpartition(b".")
    return dot + suffix if stem else b""
