"""survey: every file that history ever had, and which of them are to become pointers.

A person names globs, or the formats say by content: then a file counts that had, in some
version, at least ``above`` bytes of weights. Either way the answer is patterns as they will
stand in .gitattributes, and Git itself says which paths they match.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import IO

from git_nn import track
from git_nn.errors import GitNNError
from git_nn.formats import table
from git_nn.gitio.objects import Reader
from git_nn.gitio.repository import Repository
from git_nn.migrate import attributes
from git_nn.migrate.blobs import Blobs

_READ = 1024 * 1024
_NAME = "nn-migrate"  # an attribute that nobody else sets


@dataclass(frozen=True, slots=True)
class Chosen:
    """Patterns, and the paths of history that each matches (the last one counts)."""

    patterns: tuple[bytes, ...]
    paths: dict[bytes, bytes] = field(default_factory=dict)


def history(repo: Repository, tips: Sequence[str]) -> dict[bytes, list[str]]:
    """The distinct blobs of each path of a plain file, parents before children."""
    walk = ("rev-list", "--full-history", "--topo-order", "--reverse", "--stdin")
    diff = ("diff-tree", "--stdin", "-r", "-m", "--root", "-z", "--raw", "--no-renames",
            "--no-abbrev", "--no-ext-diff", "--no-commit-id")  # fmt: skip
    found: dict[bytes, dict[str, None]] = {}
    with repo.pipe(walk, diff, stdin="".join(f"{tip}\n" for tip in tips).encode()) as output:
        fields = _fields(output)
        for head in fields:
            if not head.startswith(b":"):
                continue
            _, mode, _, blob, _ = head.split(b" ")
            path = next(fields)
            if mode.startswith(b"100"):
                found.setdefault(path, {}).setdefault(blob.decode())
    return {path: list(blobs) for path, blobs in found.items()}


def _fields(output: IO[bytes]) -> Iterator[bytes]:
    rest = b""
    while piece := output.read(_READ):
        *whole, rest = (rest + piece).split(b"\0")
        yield from whole


def named(repo: Repository, files: Iterable[bytes], globs: Sequence[str]) -> Chosen:
    """The files that ``globs`` match, as lines of .gitattributes at the top would."""
    patterns = tuple(dict.fromkeys(track.glob(glob.encode("utf-8", "surrogateescape"))
                                   for glob in globs))  # fmt: skip
    return Chosen(patterns, matched(repo, files, patterns))


def recognised(repo: Repository, blobs: Blobs, files: dict[bytes, list[str]], above: int) -> Chosen:
    """The files that our formats read, with at least ``above`` bytes in some version."""
    large = {
        path
        for path, versions in files.items()
        if any(_is_large_model(blobs, path, blob, above) for blob in reversed(versions))
    }
    endings = {track.ending(path) for path in large} - {b""}
    small = {path for path in files.keys() - large if track.ending(path) in endings}
    # a file of the same ending that no format reads: then each is named by itself
    models = large | {
        path for path in small if any(_is_model(blobs, path, blob) for blob in files[path])
    }
    patterns = tuple(
        pattern
        for pattern in track.covering(models, list(files))
        if pattern.startswith(b"*") or pattern[1:] in {track.escape(path) for path in large}
    )
    return Chosen(patterns, matched(repo, files, patterns))


def _is_large_model(blobs: Blobs, path: bytes, blob: str, above: int) -> bool:
    return blobs.size(blob) >= max(above, 1) and _is_model(blobs, path, blob)


def _is_model(blobs: Blobs, path: bytes, blob: str) -> bool:
    """By content; where Git LFS has not the content here, by the name. No content is any file's."""
    try:
        with blobs.opened(blob) as source:
            return not source.size or table.detect(source).format != "opaque"
    except GitNNError:
        return path.lower().endswith(tuple(s.encode() for s in table.suffixes()))


def lfs_rules(
    repo: Repository, reader: Reader, files: dict[bytes, list[str]]
) -> dict[tuple[bytes, bytes], set[bytes]]:
    """Every rule for Git LFS in history, (folder, pattern), and the files that it matches."""
    rules: dict[tuple[bytes, bytes], None] = {}
    for path, versions in files.items():
        folder, slash, name = path.rpartition(b"/")
        if name != attributes.NAME:
            continue
        for blob in versions:
            for pattern in attributes.lfs_patterns(reader.read(blob) or b""):
                rules[folder + slash, pattern] = None
    return {rule: set(matched(repo, files, [_from_top(*rule)])) for rule in rules}


def _from_top(folder: bytes, pattern: bytes) -> bytes:
    """A pattern of the .gitattributes in ``folder``, as that at the top would say it."""
    if not folder:
        return pattern
    deep = b"" if b"/" in pattern.rstrip(b"/") else b"**/"
    return b"/" + track.escape(folder) + deep + pattern.lstrip(b"/")


def matched(
    repo: Repository, paths: Iterable[bytes], patterns: Sequence[bytes]
) -> dict[bytes, bytes]:
    """Which of ``patterns`` holds for each of ``paths``; Git matches, by its own rules."""
    lines = [track.quote(p) + b" %s=%d\n" % (_NAME.encode(), i) for i, p in enumerate(patterns)]
    with tempfile.NamedTemporaryFile() as file:
        file.write(b"".join(lines))
        file.flush()
        stdin = b"".join(path + b"\0" for path in paths)
        output = repo.git("-c", f"core.attributesFile={file.name}",
                          "check-attr", "--stdin", "-z", _NAME, stdin=stdin)  # fmt: skip
    fields = output.split(b"\0")[:-1]
    found = zip(fields[::3], fields[2::3], strict=True)
    return {path: patterns[int(value)] for path, value in found if value.isdigit()}
