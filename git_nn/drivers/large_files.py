"""nn-check-large-files: pre-commit's check-added-large-files, for repositories with filters.

    nn-check-large-files [--maxkb=500] [--enforce-all] [FILE ...]

Takes the same arguments and says the same. The original measures the file in the work
tree and lets only ``filter=lfs`` pass; this measures the staged blob, which is what would
be committed: a pointer of a few KB, whatever the filter.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from git_nn.drivers.open import open_repository
from git_nn.drivers.paths import from_top
from git_nn.drivers.terminal import quoted
from git_nn.errors import GitNNError
from git_nn.gitio import revisions
from git_nn.gitio.objects import open_batch
from git_nn.gitio.repository import Repository


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="nn-check-large-files")
    parser.add_argument("filenames", nargs="*", help="Files that pre-commit believes are changed.")
    parser.add_argument("--enforce-all", action="store_true", help="Not only files just added.")
    parser.add_argument("--maxkb", type=int, default=500, help="Largest size that is allowed.")
    given = parser.parse_args(argv)
    try:
        repo = open_repository()
        large = find_large(repo, given.filenames, given.maxkb, every=given.enforce_all)
    except GitNNError as error:
        print(f"git-nn: {error}", file=sys.stderr)
        return error.exit_code
    for path, kilobytes in large:
        print(f"{quoted(path)} ({kilobytes} KB) exceeds {given.maxkb} KB.")
    return 1 if large else 0


def find_large(
    repo: Repository, filenames: Sequence[str], maxkb: int, *, every: bool
) -> list[tuple[bytes, int]]:
    """(path, KB) of the staged blobs among ``filenames`` above ``maxkb``."""
    wanted = {from_top(repo, name) for name in filenames}
    if not every:
        head = revisions.resolve(repo, "HEAD")
        changes = revisions.changed(repo, head, None)
        wanted &= {change.path for change in changes if change.old is None}
    if not wanted:
        return []
    entries = [entry for entry in revisions.index(repo, sorted(wanted)) if entry.path in wanted]
    large = []
    with open_batch(repo) as reader:
        for entry in entries:
            info = reader.info(entry.oid) if entry.mode.startswith("100") else None
            if info is not None and -(-info[2] // 1024) > maxkb:
                large.append((entry.path, -(-info[2] // 1024)))
    return large


if __name__ == "__main__":
    sys.exit(main())
