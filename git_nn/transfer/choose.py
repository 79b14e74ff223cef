"""choose: which models of which versions a fetch is about, and which of their tensors.

Patterns are globs: over paths from the top of the repository, as in a .gitignore without its
special cases (``*`` goes over slashes; a folder's name stands for all in it), and over the names
of tensors.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from git_nn.errors import PointerError
from git_nn.gitio import revisions
from git_nn.gitio.objects import open_reader
from git_nn.gitio.repository import Repository
from git_nn.objects import pointer as pointers
from git_nn.objects.pointer import Pointer, Window, looks_like_pointer

_DAY = 86_400


@dataclass(frozen=True, slots=True)
class Choice:
    """Paths that are included (all where there are none) and not excluded; tensors likewise."""

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    tensors: tuple[str, ...] = ()

    def has(self, path: bytes) -> bool:
        name = path.decode("utf-8", "surrogateescape")
        included = not self.include or any(_matches(name, one) for one in self.include)
        return included and not any(_matches(name, one) for one in self.exclude)


def _matches(path: str, pattern: str) -> bool:
    pattern = pattern.strip("/")
    return fnmatchcase(path, pattern) or fnmatchcase(path, f"{pattern}/*")


def models(repo: Repository, revs: Iterable[str], choice: Choice) -> Iterator[Pointer]:
    """The models in the trees of ``revs``, each content once, with the tensors chosen."""
    seen: set[str] = set()
    with open_reader(repo) as reader:
        for rev in revs:
            for entry in revisions.tree(repo, rev):
                if entry.oid in seen or not entry.mode.startswith("100"):
                    continue
                info = reader.info(entry.oid) if choice.has(entry.path) else None
                if info is None or not 0 < info[2] <= pointers.MAX_SIZE:
                    continue
                seen.add(entry.oid)
                text = reader.read(entry.oid) or b""
                if looks_like_pointer(text[:4096]):
                    try:
                        yield chosen(pointers.parse(text), choice.tensors)
                    except PointerError:  # 'git nn fsck' tells of it
                        continue


def chosen(pointer: Pointer, patterns: Sequence[str]) -> Pointer:
    """``pointer`` with the tensors that match alone, and what these are views of."""
    if not patterns:
        return pointer
    names = {n for n in pointer.by_name if any(fnmatchcase(n, one) for one in patterns)}
    entries = [pointer.by_name[name] for name in names]
    names |= {entry.of for entry in entries if isinstance(entry, Window)}
    return replace(pointer, entries=tuple(e for e in pointer.entries if e.name in names))


def recent(repo: Repository, days: float) -> list[str]:
    """HEAD, and the tips of branches and tags that are at most so many days old."""
    head = revisions.resolve(repo, "HEAD")
    refs = ("refs/heads", "refs/remotes", "refs/tags")
    argv = ("for-each-ref", "--format=%(objectname) %(*objectname) %(creatordate:unix)", *refs)
    found: list[tuple[float, str]] = []
    for line in repo.git(*argv).decode().splitlines():
        *names, date = line.split()
        found.append((float(date), names[-1]))
    newest = max((date for date, _ in found), default=0.0)
    tips = [name for date, name in found if date >= newest - days * _DAY]
    return list(dict.fromkeys([*([head] if head else []), *tips]))
