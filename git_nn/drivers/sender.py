"""What ``git push`` has us do before it moves refs: send the weights that the commits need.

Git tells the name and the address of the remote, and on stdin a line for each ref: its local name
and object, its remote name and object. Deleted refs need nothing. Where sending fails the push is
refused, since others would get pointers whose weights nobody has.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import BinaryIO

from git_nn.drivers.caller import calling_command
from git_nn.drivers.open import open_repository, store_of
from git_nn.drivers.progress import human, metered
from git_nn.errors import UsageError
from git_nn.gitio.config import load
from git_nn.gitio.repository import Repository
from git_nn.remote.address import Address, address_of, redacted
from git_nn.transfer.obtain import connect
from git_nn.transfer.push import Pushed, push


def pre_push(arguments: Sequence[str], refs: BinaryIO) -> int:
    """Send; 0 where Git may go on. Raises what ``push`` raises."""
    if len(arguments) < 2:
        raise UsageError("Git calls this with the name and the address of a remote")
    repo = open_repository()
    _refuse_mirror(repo, arguments[0])
    tips = list(_tips(refs))
    if tips:
        name, url = arguments[:2]  # the address as Git made it: pushurl, insteadOf
        send(repo, address_of(repo, load(repo), name, url), tips)
    return 0


def _refuse_mirror(repo: Repository, name: str) -> None:
    """UsageError where Git would delete what a remote keeps under refs/nn, as no clone has it.

    Git does not tell the hook of such deletions (2.39).
    """
    mirrors = "--mirror" in calling_command().arguments
    if not mirrors and not load(repo).boolean(f"remote.{name}.mirror", False):
        return
    if repo.git("ls-remote", "--", name, "refs/nn/*"):
        raise UsageError(
            f"a mirroring push would delete refs/nn/ on {redacted(name)}, which lists its weights",
            hint=f"run 'git push --prune {redacted(name)} +refs/heads/*:refs/heads/*"
            " +refs/tags/*:refs/tags/*'",
        )


def _tips(refs: BinaryIO) -> Iterable[str]:
    """The objects that are pushed; nothing for a deletion."""
    for line in refs:
        words = line.decode("utf-8", "surrogateescape").split()
        if len(words) == 4 and words[1].strip("0"):
            yield words[1]


def send(repo: Repository, address: Address, tips: Sequence[str]) -> Pushed:
    """Send what ``tips`` need, and say on a terminal what was sent."""
    store = store_of(repo)
    with (
        connect(repo, load(repo), address) as remote,
        metered("Sending weights") as begin,
    ):
        sent = push(repo, store, remote, tips, begin)
    if sent.packs and sys.stderr.isatty():
        print(f"git-nn: {human(sent.size)} of weights sent to {remote.label}", file=sys.stderr)
    return sent
