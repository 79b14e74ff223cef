"""Which blobs stand where: in the index, in a tree, between two trees, and anywhere at all.

``reachable`` names every blob that Git itself would keep: from all refs, reflogs and
indexes, those of other worktrees included, and from the pseudo refs of operations
that are under way (a stopped rebase or merge, FETCH_HEAD, an autostash).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from git_nn.errors import UsageError
from git_nn.gitio.repository import Repository

_EMPTY_TREE = {
    "sha1": "4b825dc642cb6eb9a060e54bf8d69288fbee4904",
    "sha256": "6ef19b41225c5369f1c104d45d8d85efa9b057b53b14b4b9b939dd74decc5321",
}
_MAX_ARGUMENTS = 60_000  # bytes of paths on a command line
_PSEUDO_REFS = (
    "HEAD", "MERGE_HEAD", "CHERRY_PICK_HEAD", "REVERT_HEAD", "REBASE_HEAD", "ORIG_HEAD",
    "FETCH_HEAD", "AUTO_MERGE", "MERGE_AUTOSTASH", "BISECT_HEAD", "BISECT_EXPECTED_REV",
)  # fmt: skip
_STATE_FILES = (
    *_PSEUDO_REFS,
    "rebase-merge/orig-head", "rebase-merge/onto", "rebase-merge/autostash",
    "rebase-merge/stopped-sha", "rebase-merge/amend", "rebase-merge/git-rebase-todo",
    "rebase-merge/rewritten-list", "rebase-merge/squash-onto",
    "rebase-apply/orig-head", "rebase-apply/onto", "rebase-apply/autostash",
    "rebase-apply/original-commit", "rebase-apply/abort-safety",
    "sequencer/head", "sequencer/todo", "sequencer/abort-safety",
)  # fmt: skip
_OBJECT_NAME = re.compile(rb"\b(?:[0-9a-f]{64}|[0-9a-f]{40})\b")
_STATE_LIMIT = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Entry:
    """A path in the index or in a tree (then ``stage`` is 0)."""

    mode: str
    oid: str
    stage: int
    path: bytes


@dataclass(frozen=True, slots=True)
class Change:
    """A path that differs between two trees; a side without the path is None."""

    path: bytes
    old: Entry | None
    new: Entry | None


@dataclass(frozen=True, slots=True)
class Found:
    """A reachable blob and a path it once had; ``size`` is None where the object is missing.

    The type of a missing object is not known: it may be a tree.
    """

    oid: str
    size: int | None
    path: bytes


def resolve(repo: Repository, rev: str) -> str | None:
    """The full object name of ``rev``; None where it names nothing."""
    if rev.startswith("-"):
        return None
    argv = ("rev-parse", "--verify", "--quiet", "--end-of-options", rev)
    return repo.git(*argv, check=False).decode().strip() or None


def index(repo: Repository, paths: Sequence[bytes] = ()) -> list[Entry]:
    """The index's entries, all stages; ``paths`` are files or folders, taken literally."""
    output = repo.git("--literal-pathspecs", "ls-files", "-z", "--stage", "--full-name",
                      "--", *_arguments(paths), cwd=repo.top)  # fmt: skip
    entries = []
    for line in output.split(b"\0")[:-1]:
        head, _, path = line.partition(b"\t")
        mode, oid, stage = head.decode().split(" ")
        entries.append(Entry(mode, oid, int(stage), path))
    return _under(entries, paths)


def tree(repo: Repository, rev: str, paths: Sequence[bytes] = ()) -> list[Entry]:
    """Every file of ``rev``'s tree; GitError where ``rev`` has no tree."""
    argv = ("ls-tree", "-r", "-z", "--full-tree", _checked(rev))
    entries = []
    for line in repo.git(*argv, "--", *_arguments(paths)).split(b"\0")[:-1]:
        head, _, path = line.partition(b"\t")
        mode, _, oid = head.decode().split(" ")
        entries.append(Entry(mode, oid, 0, path))
    return _under(entries, paths)


def changed(repo: Repository, a: str | None, b: str | None) -> list[Change]:
    """Files that differ from ``a`` to ``b``; no ``a`` is the empty tree, no ``b`` the index.

    Renames are a removal and an addition. An unmerged path shows as its ``a`` side and
    a new side of None.
    """
    old = _EMPTY_TREE[repo.object_format] if a is None else _checked(a)
    what = ("diff-index", "--cached", old) if b is None else ("diff-tree", "-r", old, _checked(b))
    output = repo.git(*what, "-z", "--raw", "--no-renames", "--no-abbrev", "--no-ext-diff")
    fields = output.split(b"\0")[:-1]
    changes: dict[bytes, Change] = {}
    for head, path in zip(fields[::2], fields[1::2], strict=True):
        changes.setdefault(path, _change(head.decode(), path))
    return list(changes.values())


def _change(head: str, path: bytes) -> Change:
    old_mode, new_mode, old, new, _ = head.removeprefix(":").split(" ")
    return Change(path, _side(old_mode, old, path), _side(new_mode, new, path))


def _side(mode: str, oid: str, path: bytes) -> Entry | None:
    return None if mode == "000000" else Entry(mode, oid, 0, path)


def _checked(rev: str) -> str:
    if rev.startswith("-"):
        raise UsageError(f"{rev!r} is not a revision")
    return rev


def _arguments(paths: Sequence[bytes]) -> list[str]:
    """``paths`` for a command line, or none where they are too many: then git lists all."""
    if sum(len(path) + 1 for path in paths) > _MAX_ARGUMENTS:
        return []
    return [os.fsdecode(path) for path in paths]


def _under(entries: list[Entry], paths: Sequence[bytes]) -> list[Entry]:
    if not paths or _arguments(paths):
        return entries
    wanted = {path.rstrip(b"/") for path in paths}
    return [entry for entry in entries if not wanted.isdisjoint(_ancestors(entry.path))]


def _ancestors(path: bytes) -> Iterator[bytes]:
    yield path
    while (cut := path.rfind(b"/")) >= 0:
        path = path[:cut]
        yield path


def reachable(repo: Repository) -> Iterator[Found]:
    """Every blob that Git keeps, once, and every missing object (``size`` None).

    Nothing is fetched from a partial clone's remote. GitError where the walk itself is
    impossible (a missing commit, a damaged ref): then nothing is known of what is behind.
    """
    repo = _exact(repo)
    yield from _walk(repo, state_roots(repo), "--all", "--reflog", "--indexed-objects")


def reachable_from(repo: Repository, revs: Sequence[str]) -> Iterator[Found]:
    """The same for what can be reached from ``revs``, object names, and from nothing else."""
    return _walk(_exact(repo), revs)


def standing(repo: Repository, revs: Sequence[str]) -> Iterator[Found]:
    """The same for the trees of ``revs`` and the indexes of all worktrees, and no history."""
    return _walk(_exact(repo), revs, "--no-walk=unsorted", "--indexed-objects")


def _walk(repo: Repository, roots: Iterable[str], *options: str) -> Iterator[Found]:
    walk = ("rev-list", "--objects", *options, "--missing=print", "--stdin")
    sizes = ("cat-file", "--batch-check=%(objectname) %(objecttype) %(objectsize) %(rest)")
    names = "".join(f"{name}\n" for name in roots).encode()
    with repo.pipe(walk, sizes, stdin=names) as output:
        yield from _found(output)


def reachable_blobs(repo: Repository) -> Iterator[tuple[str, int]]:
    """(object name, size) of every blob that Git keeps and has here."""
    for blob in reachable(repo):
        if blob.size is not None:
            yield blob.oid, blob.size


def _found(output: IO[bytes]) -> Iterator[Found]:
    for line in output:
        name, _, rest = line.rstrip(b"\n").partition(b" ")
        if name.startswith(b"?") or rest == b"missing":
            yield Found(name.lstrip(b"?").decode(), None, b"")
            continue
        kind, _, rest = rest.partition(b" ")
        if kind == b"blob":
            size, _, path = rest.partition(b" ")
            yield Found(name.decode(), int(size), path)


def _exact(repo: Repository) -> Repository:
    """``repo`` as Git's own gc sees it: no replacement, no fetching, and its own index."""
    env = {k: v for k, v in repo.env.items() if k not in ("GIT_INDEX_FILE", "GIT_NAMESPACE")}
    env.update(GIT_NO_REPLACE_OBJECTS="1", GIT_NO_LAZY_FETCH="1")
    return Repository(repo.git_dir, repo.common_dir, repo.work_tree, env, repo.object_format)


def worktree_dirs(repo: Repository) -> list[Path]:
    """The git folder of every worktree, the main one first."""
    linked = repo.common_dir / "worktrees"
    return [repo.common_dir, *(sorted(linked.iterdir()) if linked.is_dir() else ())]


def state_roots(repo: Repository) -> list[str]:
    """Objects that operations under way hold, and other worktrees' own refs.

    ``rev-list --all --reflog`` sees the other worktrees' HEAD, reflogs and indexes, but
    neither pseudo refs nor refs/bisect, refs/worktree and refs/rewritten of theirs.
    Names of objects that are gone are left out: such a file may be older than a gc.
    """
    names: set[str] = set()
    for git_dir in worktree_dirs(repo):
        names.update(_state_files(git_dir))
        names.update(_own_refs(repo, git_dir))
    candidates = sorted(names)
    stdin = "".join(f"{name}\n" for name in candidates).encode()
    answers = repo.git("cat-file", "--batch-check=%(objecttype)", stdin=stdin).splitlines()
    return [
        name
        for name, answer in zip(candidates, answers, strict=True)
        if answer in (b"commit", b"tree", b"tag", b"blob")
    ]


def _state_files(git_dir: Path) -> Iterator[str]:
    for name in _STATE_FILES:
        try:
            with (git_dir / name).open("rb") as file:
                text = file.read(_STATE_LIMIT)
        except OSError:
            continue
        yield from (found.decode() for found in _OBJECT_NAME.findall(text))


def _own_refs(repo: Repository, git_dir: Path) -> Iterator[str]:
    """What only ``git_dir``'s refs name, asked of git because refs need not be files."""
    there = repo.with_env(GIT_DIR=str(git_dir))
    refs = ("refs/bisect", "refs/worktree", "refs/rewritten")
    listed = there.git("for-each-ref", "--format=%(objectname)", *refs, check=False)
    yield from listed.decode().split()
    asked = "".join(f"{name}\n" for name in _PSEUDO_REFS).encode()
    answers = there.git("cat-file", "--batch-check=%(objectname)", stdin=asked, check=False)
    for line in answers.decode("utf-8", "replace").splitlines():
        if not line.endswith((" missing", " ambiguous")):
            yield line
