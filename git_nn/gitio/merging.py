"""merging: what ``git merge`` would find at each path; nothing is written and no file is read.

Renames are those that ``git diff -M`` finds, where the settings ask merges for them. That a
whole folder was renamed is not followed, and submodules and links are told by their mode only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from git_nn.errors import UsageError
from git_nn.gitio import revisions
from git_nn.gitio.config import load
from git_nn.gitio.repository import Repository
from git_nn.gitio.revisions import Entry
from git_nn.objects.names import escape

_RENAMES = 7000  # files that are compared at most: git-config, merge.renameLimit


@dataclass(frozen=True, slots=True)
class Meeting:
    """A file that a side changed. A side without it is None; each has the path that it has there.

    ``path`` is where the result stands. ``clash`` says why Git leaves the path unmerged
    whatever is in the files; empty where it does not, or asks the merge driver.
    """

    path: bytes
    base: Entry | None
    ours: Entry | None
    theirs: Entry | None
    clash: str = ""

    @property
    def is_shared(self) -> bool:
        """Whether both sides have it and neither has what the base or the other side has."""
        versions = [e and (e.mode, e.oid) for e in (self.base, self.ours, self.theirs)]
        return None not in versions[1:] and len(set(versions)) == 3


def commit(repo: Repository, rev: str) -> str:
    """The commit that ``rev`` names; UsageError where there is none."""
    name = "@{-1}" if rev == "-" else rev  # as for git merge
    found = revisions.resolve(repo, f"{name}^{{commit}}")
    if found is None:
        what = "there is no commit here yet" if rev == "HEAD" else f"{rev!r} names no commit"
        raise UsageError(what, hint="run 'git branch --all'")
    return found


def merge_bases(repo: Repository, ours: str, theirs: str) -> tuple[str, ...]:
    """All best common ancestors, as Git orders them; more than one where histories cross."""
    found = repo.git("merge-base", "--all", ours, theirs, check=False)
    return tuple(found.decode().split())


def meetings(repo: Repository, base: str | None, ours: str, theirs: str) -> list[Meeting]:
    """Every file that a side changed, by path; without a base both sides added all they have."""
    mine, other = (changes(repo, base, rev) for rev in (ours, theirs))
    found = [*_moved(mine, other), *_added(mine, other)]
    places = Counter(meeting.path for meeting in found if meeting.ours or meeting.theirs)
    crowded = "two files would stand here after a rename"
    return sorted(
        (
            replace(m, clash=crowded) if places[m.path] > 1 and not m.clash else m
            for m in found
            if m.ours or m.theirs
        ),
        key=lambda meeting: meeting.path,
    )


@dataclass(frozen=True, slots=True)
class Changes:
    """What one side did: to files of the base, by their path there, and which it added.

    ``now`` is what became of those in ``base``, under the path that they have; None: removed.
    """

    base: dict[bytes, Entry] = field(default_factory=dict)
    now: dict[bytes, Entry | None] = field(default_factory=dict)
    added: dict[bytes, Entry] = field(default_factory=dict)


def changes(repo: Repository, base: str | None, rev: str) -> Changes:
    """From ``base`` to ``rev``; without a base all was added."""
    side = Changes()
    if base is None:
        side.added.update((entry.path, entry) for entry in revisions.tree(repo, rev))
        return side
    fields = iter(_raw(repo, base, rev).split(b"\0")[:-1])
    for head in fields:
        old_mode, new_mode, old, new, status = head.decode().removeprefix(":").split(" ")
        path = next(fields)
        target = next(fields) if status.startswith("R") else path
        entry = None if status == "D" else Entry(new_mode, new, 0, target)
        if status == "A" and entry is not None:
            side.added[path] = entry
        else:
            side.base[path] = Entry(old_mode, old, 0, path)
            side.now[path] = entry
    return side


def _raw(repo: Repository, base: str, rev: str) -> bytes:
    config = load(repo)
    wanted = config.get("merge.renames") or config.get("diff.renames") or "true"
    followed = wanted.lower() not in ("false", "no", "off", "0")
    how = ("-M", f"-l{_RENAMES}") if followed else ("--no-renames",)
    return repo.git("diff-tree", "-r", "-z", "--raw", "--no-abbrev", *how, base, rev)


def _moved(mine: Changes, other: Changes) -> Iterator[Meeting]:
    """Files of the base that a side changed, renamed or removed."""
    for path, base in {**mine.base, **other.base}.items():
        ours, theirs = mine.now.get(path, base), other.now.get(path, base)
        yield Meeting(_place(base, ours, theirs), base, ours, theirs, _clash(base, ours, theirs))


def _place(base: Entry, ours: Entry | None, theirs: Entry | None) -> bytes:
    """Where the result stands: under the new name, where a side renamed it."""
    names = [side.path for side in (ours, theirs) if side and side.path != base.path]
    return names[0] if len(set(names)) == 1 else base.path


def _clash(base: Entry, ours: Entry | None, theirs: Entry | None) -> str:
    if ours is None or theirs is None:
        left = ours or theirs
        if left is None or left == base:
            return ""
        gone, kept = ("ours", "theirs") if ours is None else ("theirs", "ours")
        if left.path != base.path:
            return f"removed by {gone}, renamed to {_shown(left)} by {kept}"
        return f"removed by {gone}, changed by {kept}"
    if base.path not in (ours.path, theirs.path) and ours.path != theirs.path:
        return f"renamed to {_shown(ours)} by ours and to {_shown(theirs)} by theirs"
    return _mode_clash(base, ours, theirs)


def _shown(entry: Entry) -> str:
    return escape(entry.path.decode("utf-8", "surrogateescape"))


def _mode_clash(base: Entry | None, ours: Entry, theirs: Entry) -> str:
    """Why no driver is asked although both sides have the file."""
    sides = [side and (side.mode, side.oid) for side in (base, ours, theirs)]
    if len(set(sides)) < 3 or all(side.mode.startswith("100") for side in (ours, theirs)):
        return ""
    return "no plain file on one side"


def _added(mine: Changes, other: Changes) -> Iterator[Meeting]:
    for path in {**mine.added, **other.added}:
        ours, theirs = mine.added.get(path), other.added.get(path)
        clash = _mode_clash(None, ours, theirs) if ours and theirs else ""
        yield Meeting(path, None, ours, theirs, clash)
