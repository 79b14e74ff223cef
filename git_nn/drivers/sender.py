"""What ``git push`` has us do before it moves refs: send the weights that the commits need.

Git tells the name and the address of the remote, and on stdin a line for each ref: its local name
and object, its remote name and object. Deleted refs need nothing. Where sending fails the push is
refused, since others would get pointers whose weights nobody has.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import BinaryIO

from git_nn.drivers.caller import calling_command
from git_nn.drivers.open import open_repository, store_of
from git_nn.drivers.progress import human, metered
from git_nn.errors import UsageError
from git_nn.gitio.config import Config, load
from git_nn.gitio.repository import Repository
from git_nn.remote.address import Address, address_of, redacted
from git_nn.transfer import mirrored
from git_nn.transfer.obtain import connect
from git_nn.transfer.push import Pushed, push


def pre_push(arguments: Sequence[str], refs: BinaryIO) -> int:
    """Send; 0 where Git may go on. Raises what ``push`` raises.

    UsageError where Git would harm the list of packs that the remote keeps in a ref. That list
    is here then, and the same push does it no harm.
    """
    if len(arguments) < 2:
        raise UsageError("Git calls this with the name and the address of a remote")
    name, url = arguments[:2]  # the address as Git made it: pushurl, insteadOf
    repo = open_repository()
    config = load(repo)
    told = dict(_told(refs))
    mirrors = _mirrors(config, name)
    danger = mirrored.endangered(repo, url, told, mirrors=mirrors)
    tips = [oid for ref, oid in told.items() if oid.strip("0") and ref not in mirrored.REFS]
    if tips:
        send(repo, address_of(repo, config, name, url), tips)
    if mirrors or danger:
        mirrored.keep(repo, url)
    if danger.meant:
        raise UsageError(f"{danger} of {redacted(url)} lists its weights, and would be gone")
    if danger:
        raise UsageError(
            f"{danger} of {redacted(url)}, which lists its weights, was not here, and this push"
            " would have replaced or deleted it there; now it is here",
            hint=_again(config, name, url),
        )
    return 0


def _told(refs: BinaryIO) -> Iterator[tuple[str, str]]:
    """Refs of the remote, and the objects that they will name; zeros for a deletion."""
    for line in refs:
        words = line.decode("utf-8", "surrogateescape").split()
        if len(words) == 4:
            yield words[2], words[1]


def _mirrors(config: Config, name: str) -> bool:
    """Whether Git will delete refs of the remote that are not here."""
    words = calling_command().arguments
    asked = any(len(word) > 2 and "--mirror".startswith(word) for word in words)
    return asked or config.boolean(f"remote.{name}.mirror", False)


def _again(config: Config, name: str, url: str) -> str:
    """What to run: with several addresses their lists cannot all be here."""
    if len(config.get_all(f"remote.{name}.pushurl") or config.get_all(f"remote.{name}.url")) < 2:
        return "run the same command again"
    return f"run 'git push --prune {redacted(url)} +refs/*:refs/* ^refs/nn/*' for each address"


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
