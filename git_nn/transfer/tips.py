"""tips: the refs that a Git remote has now, and which of their objects this clone has.

What a remote must keep follows from its refs, so they are asked for and not taken from what an
earlier 'git fetch' has left here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from git_nn.gitio.repository import Repository

_OURS = "refs/nn/"  # lists of packs, which need none


@dataclass(frozen=True, slots=True)
class Tips:
    """Object names that refs of the remote point to; ``absent`` those that are not here, by ref."""

    here: tuple[str, ...]
    absent: Mapping[str, str]


def tips_of(repo: Repository, name: str) -> Tips:
    """The tips of a remote, a configured name or an address; GitError where Git cannot ask it."""
    refs: dict[str, str] = {}
    for line in (
        repo.git("ls-remote", "--quiet", "--", name).decode("utf-8", "replace").splitlines()
    ):
        oid, _, ref = line.partition("\t")
        if not ref.startswith(_OURS) and not ref.endswith("^{}"):
            refs[ref] = oid
    exact = repo.with_env(GIT_NO_LAZY_FETCH="1")
    stdin = "".join(f"{oid}\n" for oid in refs.values()).encode()
    answers = exact.git("cat-file", "--batch-check=%(objectname)", stdin=stdin).splitlines()
    absent = {
        ref: oid
        for (ref, oid), answer in zip(refs.items(), answers, strict=True)
        if answer.endswith(b" missing")
    }
    here = dict.fromkeys(oid for ref, oid in refs.items() if ref not in absent)
    return Tips(tuple(here), absent)
