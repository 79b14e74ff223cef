"""The contents that files had: every blob of a path, in all branches and tags, oldest first."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from git_nn.gitio import revisions
from git_nn.gitio.repository import Repository

_MAX_ARGUMENTS = 60_000  # bytes of paths on a command line


@dataclass(frozen=True, slots=True)
class Version:
    """A blob that a path had, and the first commit that had it: '' where only the index has."""

    blob: str
    commit: str = ""
    subject: str = ""


def versions(repo: Repository, now: Sequence[tuple[bytes, str]]) -> dict[bytes, list[Version]]:
    """The distinct blobs of each path of the index, of which ``now`` has (path, blob).

    Parents come before children, and the blob in the index last where no commit has it.
    Renames are not followed.
    """
    found: dict[bytes, dict[str, Version]] = {path: {} for path, _ in now}
    for path, version in _changes(repo, list(found)) if found else ():
        if path in found:
            found[path].setdefault(version.blob, version)
    for path, blob in now:
        found[path].setdefault(blob, Version(blob))
    return {path: list(known.values()) for path, known in found.items()}


def _changes(repo: Repository, paths: Sequence[bytes]) -> Iterator[tuple[bytes, Version]]:
    """Every file that a commit has otherwise than one of its parents."""
    few = sum(len(path) + 1 for path in paths) < _MAX_ARGUMENTS
    limit = ("--", *map(os.fsdecode, paths)) if few else ()
    head = ("HEAD",) if revisions.resolve(repo, "HEAD") else ()
    walk = ("--literal-pathspecs", "rev-list", "--full-history", "--topo-order", "--reverse",
            "--all", *head, *limit)  # fmt: skip
    diff = ("--literal-pathspecs", "diff-tree", "--stdin", "-r", "-m", "--root", "-z", "--raw",
            "--no-renames", "--no-abbrev", "--format=%H%x00%s", *limit)  # fmt: skip
    with repo.pipe(walk, diff) as output:
        fields = iter(output.read().split(b"\0")[:-1])
    commit = subject = ""
    for one in fields:
        if not one.lstrip(b"\n").startswith(b":"):
            commit, subject = one.decode(), next(fields).decode("utf-8", "replace")
            continue
        _, mode, _, blob, _ = one.decode().split(" ")
        path = next(fields)
        if mode.startswith("100"):
            yield path, Version(blob, commit, subject)
