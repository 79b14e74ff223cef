"""mirrored: refs/nn of a remote, kept in a clone that makes all refs of the remote its own.

'git push --mirror' deletes what the clone does not have, without telling any hook, and replaces
what is another there. A remote that lists its packs in a ref would lose the list. So the clone
has the same refs as the remote after each such push, and Git finds nothing to do about them the
next time. Where it already means to do something nothing may be pushed this time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from git_nn.errors import GitError
from git_nn.gitio.repository import Repository
from git_nn.remote.address import redacted
from git_nn.remote.catalogue import CATALOG, NAME, PACKS, failure, reaching

REFS = (CATALOG, PACKS)


@dataclass(frozen=True, slots=True)
class Endangered:
    """Refs of the remote that the push under way would replace, make or delete."""

    told: frozenset[str]  # that Git says
    doomed: frozenset[str]  # that it says nothing of
    meant: bool = False  # one is deleted that is here: that was typed

    def __bool__(self) -> bool:
        return bool(self.told or self.doomed)

    def __str__(self) -> str:
        return " and ".join(sorted(self.told | self.doomed))


def endangered(repo: Repository, url: str, told: Mapping[str, str], *, mirrors: bool) -> Endangered:
    """What is in danger; ``told`` are the objects that Git will give to refs of the remote.

    A list that stands here alone is brought there: as much as the push was to do, or more.
    """
    ours = told.keys() & set(REFS)
    if not mirrors and not ours:
        return Endangered(frozenset(), frozenset())
    here, there = _here(repo), _there(repo, url)
    meant = any(not told[ref].strip("0") for ref in ours & here.keys())
    for ref in sorted(ours - there.keys()):
        if told[ref].strip("0"):
            _git(repo, url, "push", "--quiet", "--no-verify", "--no-follow-tags",
                 "--recurse-submodules=no", NAME, f"{told[ref]}:{ref}")  # fmt: skip
    doomed = there.keys() - here.keys() if mirrors else ()
    return Endangered(frozenset(ours), frozenset(doomed), meant)


def keep(repo: Repository, url: str) -> None:
    """Make the lists here those of the remote."""
    here, there = _here(repo), _there(repo, url)
    changed = [ref for ref in there if here.get(ref) != there[ref]]
    if changed:
        _git(repo, url, "-c", "gc.auto=0", "-c", "maintenance.auto=false", "fetch", "--quiet",
             "--no-tags", "--no-write-fetch-head", "--recurse-submodules=no", NAME,
             *(f"+{ref}:{ref}" for ref in changed))  # fmt: skip
    for ref in here.keys() - there.keys():
        repo.git("update-ref", "-d", ref)


def _here(repo: Repository) -> dict[str, str]:
    output = repo.git("for-each-ref", "--format=%(objectname)\t%(refname)", *REFS)
    return _refs(output)


def _there(repo: Repository, url: str) -> dict[str, str]:
    return _refs(_git(repo, url, "ls-remote", "--quiet", NAME, *REFS))


def _git(repo: Repository, url: str, *argv: str) -> bytes:
    try:
        return reaching(repo, url).git(*argv)
    except GitError as error:
        raise failure(redacted(url), error) from None


def _refs(output: bytes) -> dict[str, str]:
    lines = output.decode("utf-8", "replace").splitlines()
    pairs = (line.split("\t", 1) for line in lines)
    return {ref: oid for oid, ref in pairs if ref in REFS}
