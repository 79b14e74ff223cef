"""What the hooks do: ``git nn hook NAME`` calls ``run``.

pre-commit stops a commit for what 'git nn check' calls an error, and pre-push a push whose
weights could not be sent. The others never stop anything: prepare-commit-msg says in the message
of a merge how models were merged; post-checkout and post-merge say when weights were left as
pointers, and drop records of conflicts that are over.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from git_nn.drivers.open import open_repository, store_of
from git_nn.drivers.terminal import quoted
from git_nn.errors import GitNNError, UsageError
from git_nn.gitio import revisions
from git_nn.gitio.config import load
from git_nn.gitio.repository import Repository
from git_nn.objects.pointer import MAX_SIZE, looks_like_pointer

if TYPE_CHECKING:
    from git_nn.check import Finding


def run(name: str, arguments: tuple[str, ...]) -> int:
    """The exit status of a hook; UsageError for one that we do not have."""
    if name == "pre-commit":
        return pre_commit()
    if name == "pre-push":
        from git_nn.drivers.sender import pre_push

        return pre_push(arguments, sys.stdin.buffer)
    if name in _NEVER_STOP:
        try:
            _NEVER_STOP[name](name, arguments)
        except Exception as error:  # noqa: BLE001 - what Git does is worth more than what we say
            print(f"git-nn: {name}: {error}", file=sys.stderr)
        return 0
    raise UsageError(f"git-nn has no {name} hook", hint="see docs/hooks.md")


def pre_commit() -> int:
    """Check what is staged; says nothing where all is well."""
    from git_nn import check

    repo = open_repository()
    findings = check.staged(repo, store_of(repo), check.Limits.of(load(repo)))
    for finding in findings:
        print(describe(finding), file=sys.stderr)
    return 1 if check.has_errors(findings) else 0


def describe(finding: Finding) -> str:
    """A finding as text: what is wrong where, and on a line of its own how to mend it."""
    where = quoted(finding.path)
    return f"git-nn: {finding.severity}: {where}: {finding.message}\n  to mend: {finding.fix}"


def _after(name: str, arguments: tuple[str, ...]) -> None:
    repo = open_repository()
    _drop_stale_conflicts(repo)
    pointers = set(pointers_on_disk(repo))
    if pointers and load(repo).get("filter.nn.process") is not None:
        # The filter has had what Git just wrote, and may yet write large files: it tells
        # of those by itself.
        pointers -= _just_written(repo, name, arguments)
    if pointers:
        count = f"{len(pointers)} files are" if len(pointers) > 1 else "1 file is a"
        noun = "pointers" if len(pointers) > 1 else "pointer"
        print(f"git-nn: {count} {noun}, not weights; run 'git nn pull'", file=sys.stderr)


def _prepare(_: str, arguments: tuple[str, ...]) -> None:
    from git_nn.by_hand import learn
    from git_nn.drivers.merge_message import prepare

    repo = open_repository()
    prepare(repo, Path(arguments[0]))
    learn(repo)


_NEVER_STOP: dict[str, Callable[[str, tuple[str, ...]], None]] = {
    "prepare-commit-msg": _prepare,
    "post-checkout": _after,
    "post-merge": _after,
}


def _drop_stale_conflicts(repo: Repository) -> None:
    from git_nn import by_hand, conflicts

    try:
        by_hand.learn(repo)
        conflicts.current(repo)
    except GitNNError as error:
        print(f"git-nn: {error}", file=sys.stderr)


def pointers_on_disk(repo: Repository) -> Iterable[bytes]:
    """Files of the work tree with ``filter=nn`` that hold a pointer's text.

    Quick: one git process, and the first bytes of the files that pass through our filter.
    """
    if repo.work_tree is None:
        return
    argv = ("ls-files", "-z", "--cached", "--", ":(top,attr:filter=nn)")
    for path in sorted(set(repo.git(*argv).split(b"\0")[:-1])):
        if _is_pointer(repo.work_tree / os.fsdecode(path)):
            yield path


def _is_pointer(path: Path) -> bool:
    try:
        found = path.lstat()
        if not stat.S_ISREG(found.st_mode) or found.st_size > MAX_SIZE:
            return False
        with path.open("rb") as file:
            return looks_like_pointer(file.read(64))
    except OSError:
        return False


def _just_written(repo: Repository, name: str, arguments: tuple[str, ...]) -> set[bytes]:
    """The paths that the Git command which called the hook has written, as far as is known."""
    if name == "post-merge":
        old, new = revisions.resolve(repo, "ORIG_HEAD"), revisions.resolve(repo, "HEAD")
    elif len(arguments) == 3 and arguments[2] == "1":
        old, new = arguments[:2]
    else:  # single files were checked out, and nobody says which
        old, new = None, "HEAD"
    if old is not None and not old.strip("0"):
        old = None  # a clone
    return {change.path for change in revisions.changed(repo, old, new) if change.new}
