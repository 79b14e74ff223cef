"""swap: all refs at once to the new history, then index and work tree after them; and back.

For a migration at 2026-01-02T03:04:05 Git keeps, in the same transaction in which refs move,

    refs/original-nn/20260102T030405/before/heads/main     what refs/heads/main named
    refs/original-nn/20260102T030405/after/heads/main      what it names since

1. A file of the work tree keeps its bytes. Only .gitattributes and texts of pointers that
   stood there are written anew.
2. ``undo`` moves refs that are where the migration put them, or none.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from git_nn.errors import UsageError
from git_nn.gitio import revisions
from git_nn.gitio.repository import Repository
from git_nn.migrate import attributes, lfs
from git_nn.objects.pointer import MAX_SIZE, looks_like_pointer

KEPT = "refs/original-nn/"
_UNDER_WAY = ("MERGE_HEAD", "CHERRY_PICK_HEAD", "REVERT_HEAD", "rebase-merge", "rebase-apply",
              "sequencer", "BISECT_LOG")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Moved:
    """A ref, and the names of the objects that it named before and names now."""

    ref: str
    before: str
    after: str


def wanted_refs(repo: Repository, words: Sequence[str], *, everything: bool) -> dict[str, str]:
    """The refs to rewrite and what they name: branches and tags, as named, or that of HEAD."""
    output = repo.git("for-each-ref", "--format=%(objectname) %(symref) %(refname)",
                      "refs/heads", "refs/tags")  # fmt: skip
    lines = [line.split(" ", 2) for line in output.decode("utf-8", "surrogateescape").splitlines()]
    known = {ref: oid for oid, link, ref in lines if not link}
    head = repo.git("rev-parse", "--symbolic-full-name", "HEAD", check=False).decode().strip()
    if everything:
        detached = revisions.resolve(repo, "HEAD") if head == "HEAD" else None
        return known | ({"HEAD": detached} if detached else {})
    if not words and head == "HEAD":
        raise UsageError("HEAD is on no branch", hint="name the branches, or use --everything")
    names = [_full(repo, word) for word in words] if words else [head]
    for word, name in zip(words or ("HEAD",), names, strict=True):
        if name not in known:
            raise UsageError(f"{word} is no branch or tag here", hint="run 'git branch -a'")
    return {name: known[name] for name in names}


def _full(repo: Repository, word: str) -> str:
    argv = ("rev-parse", "--symbolic-full-name", "--end-of-options", word)
    lines = repo.git(*argv, check=False).decode("utf-8", "surrogateescape").split()
    return lines[-1] if lines else word


# -- what must hold before -----------------------------------------------------------------


def check_filter(repo: Repository, name: str) -> None:
    """UsageError where the files of the new history could not be checked out here."""
    if repo.work_tree is None:
        return
    if not repo.git("config", "--get", f"filter.{name}.process", check=False).strip():
        hint = {"nn": "run 'git nn install'", "lfs": "run 'git lfs install'"}[name]
        raise UsageError(f"the filter '{name}' is not set up here", hint=hint)


def check_ready(repo: Repository, refs: Sequence[str]) -> None:
    """UsageError where a person's work, or another work tree, would be in the way."""
    if repo.git("rev-parse", "--is-shallow-repository").strip() == b"true":
        hint = "run 'git fetch --unshallow'"
        raise UsageError("this clone has only a part of history", hint=hint)
    _check_other_worktrees(repo, refs)
    if repo.work_tree is None:
        return
    for name in _UNDER_WAY:
        if (repo.git_dir / name).exists():
            raise UsageError("a merge, rebase or bisect is under way", hint="run 'git status'")
    if repo.git("status", "--porcelain", "--untracked-files=no", "--ignore-submodules=dirty"):
        raise UsageError("there are changes that no commit has", hint="commit or stash them")
    rules = repo.git("ls-files", "-z", "--others", "--", ":(top,glob)**/.gitattributes")
    if rules:
        name = os.fsdecode(rules.split(b"\0")[0])
        raise UsageError(f"{name} is in no commit", hint="commit it, or move it away")


def _check_other_worktrees(repo: Repository, refs: Sequence[str]) -> None:
    listed = repo.git("worktree", "list", "--porcelain").decode("utf-8", "surrogateescape")
    for stanza in listed.strip().split("\n\n"):
        lines = dict(line.partition(" ")[::2] for line in stanza.splitlines())
        if repo.work_tree is not None and Path(lines["worktree"]) == repo.work_tree:
            continue
        if "bare" not in lines and lines.get("branch") in refs:
            where = lines["worktree"]
            raise UsageError(
                f"{lines['branch']} is checked out in {where}",
                hint="run 'git switch --detach' there, or run this there",
            )


# -- moving --------------------------------------------------------------------------------


def move(repo: Repository, moved: Sequence[Moved], stamp: str, reason: str) -> None:
    """Move refs and keep what they named, in one transaction; then what is checked out."""
    lines = []
    for one in moved:
        kept = one.ref.removeprefix("refs/")
        lines += [f"create {KEPT}{stamp}/before/{kept}\0{one.before}\0",
                  f"create {KEPT}{stamp}/after/{kept}\0{one.after}\0"]  # fmt: skip
    _transact(repo, moved, lines, reason)


def _transact(repo: Repository, moved: Sequence[Moved], lines: list[str], reason: str) -> None:
    before = revisions.resolve(repo, "HEAD")
    for one in moved:
        lines += ["option no-deref\0", f"update {one.ref}\0{one.after}\0{one.before}\0"]
    stdin = "".join(lines).encode("utf-8", "surrogateescape")
    repo.git("update-ref", "-z", "--stdin", "-m", reason, stdin=stdin)
    after = revisions.resolve(repo, "HEAD")
    if repo.work_tree is not None and before and after and before != after:
        _follow(repo, before, after)


def _follow(repo: Repository, before: str, after: str) -> None:
    """Bring index and work tree from the tree of ``before`` to that of ``after``."""
    assert repo.work_tree is not None
    anew = []
    for change in revisions.changed(repo, before, after):
        path = repo.work_tree / os.fsdecode(change.path)
        is_rules = change.path.rpartition(b"/")[2] == attributes.NAME
        if change.new is None:
            path.unlink(missing_ok=True)
        elif is_rules or _is_pointer(path):
            anew.append(change.path)
    repo.git("read-tree", "-m", "HEAD")
    # rules first: they say how the others are written
    for part in (True, False):
        names = [name for name in anew if (name.rpartition(b"/")[2] == attributes.NAME) == part]
        if names:
            stdin = b"".join(name + b"\0" for name in names)
            repo.git("checkout-index", "-f", "-u", "-z", "--stdin", stdin=stdin)
    repo.git("update-index", "-q", "--refresh", check=False)


def _is_pointer(path: Path) -> bool:
    """Whether the file on disk is a text that stands for weights, ours or of Git LFS."""
    try:
        if path.is_symlink() or path.stat().st_size > MAX_SIZE:
            return False
        with path.open("rb") as file:
            head = file.read(4096)
    except OSError:
        return False
    return looks_like_pointer(head) or lfs.parse(head) is not None


# -- and back ------------------------------------------------------------------------------


def last(repo: Repository) -> tuple[str, list[Moved]]:
    """(stamp, refs) of the last migration that can be undone; UsageError where there is none."""
    output = repo.git("for-each-ref", "--format=%(objectname) %(refname)", KEPT)
    kept: dict[str, dict[str, dict[str, str]]] = {}
    for line in output.decode("utf-8", "surrogateescape").splitlines():
        oid, _, ref = line.partition(" ")
        stamp, side, name = ref.removeprefix(KEPT).split("/", 2)
        full = name if name == "HEAD" else f"refs/{name}"
        kept.setdefault(stamp, {"before": {}, "after": {}})[side][full] = oid
    if not kept:
        raise UsageError("there is no migration to undo", hint="see 'git reflog'")
    stamp = max(kept)
    before, after = kept[stamp]["before"], kept[stamp]["after"]
    return stamp, [Moved(ref, before[ref], after[ref]) for ref in sorted(before)]


def undo(repo: Repository, stamp: str, moved: Sequence[Moved]) -> None:
    """Put refs back; UsageError where one was moved since."""
    now = _now(repo, moved)
    for one in moved:
        if now.get(one.ref) != one.after:
            raise UsageError(
                f"{one.ref} was moved since the migration",
                hint=f"what it named before is {KEPT}{stamp}/before/...",
            )
    lines = []
    for one in moved:
        kept = one.ref.removeprefix("refs/")
        lines += [f"delete {KEPT}{stamp}/before/{kept}\0{one.before}\0",
                  f"delete {KEPT}{stamp}/after/{kept}\0{one.after}\0"]  # fmt: skip
    back = [Moved(one.ref, one.after, one.before) for one in moved]
    _transact(repo, back, lines, "git nn migrate undo")


def _now(repo: Repository, moved: Sequence[Moved]) -> dict[str, str | None]:
    return {one.ref: revisions.resolve(repo, one.ref) for one in moved}
