"""octopus: trees of several branches merged by git, aside from the work tree, index and refs.

Git merges two at a time; here each branch in turn is merged into what came of those before,
all from one base. That takes ``git merge-tree --write-tree`` (Git 2.38).
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from git_nn.errors import UsageError
from git_nn.gitio.repository import Repository

_GONE = "0"


@dataclass(frozen=True, slots=True)
class Placed:
    """A blob at a path of a tree; without an oid the path is taken out."""

    path: bytes
    mode: str = ""
    oid: str = ""


@dataclass(frozen=True, slots=True)
class Clash:
    """Paths that git cannot merge, and the number of the side that brought them."""

    side: int
    paths: tuple[str, ...]


def merged(
    repo: Repository, base: str, sides: Sequence[str], without: Collection[bytes]
) -> str | Clash:
    """The tree that all ``sides`` make together, with no path of ``without`` in it."""
    taken_out = [Placed(path) for path in without]

    def bare(commit: str, *parents: str) -> str:
        return commit_tree(repo, placed(repo, commit, taken_out), parents)

    start = bare(base)
    tips = [bare(side, start) for side in sides]
    tree = _tree_of(repo, tips[0])
    argv = ("merge-tree", "--write-tree", "--no-messages", "--name-only", "-z")
    for number, tip in enumerate(tips[1:], 1):
        so_far = commit_tree(repo, tree, [start])
        output = repo.git(*argv, so_far, tip, check=False)
        if not output:
            repo.git(*argv, so_far, tip)  # raises, with what git says
        tree, *clashes = output.rstrip(b"\0").decode("utf-8", "surrogateescape").split("\0")
        if clashes:
            return Clash(number, tuple(clashes))
    return tree


def _tree_of(repo: Repository, commit: str) -> str:
    return repo.git("rev-parse", "--verify", f"{commit}^{{tree}}").decode().strip()


def commit_tree(repo: Repository, tree: str, parents: Sequence[str], message: bytes = b"") -> str:
    """A commit that no ref names yet."""
    options = [word for parent in parents for word in ("-p", parent)]
    return repo.git("commit-tree", *options, tree, stdin=message).decode().strip()


def placed(repo: Repository, start: str, files: Sequence[Placed]) -> str:
    """The tree ``start`` with files put in or taken out."""
    none = _GONE * len(start)
    lines = b"".join(
        b"%s %s\t%s\0" % ((f.mode or _GONE).encode(), (f.oid or none).encode(), f.path)
        for f in files
    )
    with _own_index(repo) as there:
        there.git("read-tree", start)
        there.git("update-index", "-z", "--index-info", stdin=lines)
        return there.git("write-tree").decode().strip()


@contextmanager
def _own_index(repo: Repository) -> Iterator[Repository]:
    with tempfile.TemporaryDirectory(prefix="octopus-", dir=repo.git_dir) as folder:
        yield repo.with_env(GIT_INDEX_FILE=str(Path(folder) / "index"))


def contains(repo: Repository, commit: str, others: Iterable[str]) -> bool:
    """Whether ``commit`` has all of ``others`` in its history."""
    return repo.git("merge-base", "--independent", commit, *others).decode().split() == [commit]


def common_base(repo: Repository, commits: Sequence[str]) -> str:
    """The best common ancestor of all; UsageError where there is none."""
    found = repo.git("merge-base", "--octopus", *commits, check=False).decode().split()
    if not found:
        raise UsageError("these have no common ancestor", hint="name branches of one history")
    return found[0]
