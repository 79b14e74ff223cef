"""``git nn merge --replay``: is a merge commit what its message says?"""

from __future__ import annotations

import click

from git_nn import __version__
from git_nn.drivers.open import store_of
from git_nn.drivers.terminal import quoted
from git_nn.gitio.merging import commit as commit_of
from git_nn.gitio.repository import Repository
from git_nn.objects.names import escape
from git_nn.replay import Difference, Replayed, replay

_SHOWN = 10


def show(repo: Repository, rev: str) -> int:
    """Make the merge again, say what came of it; 1 where a model differs."""
    commit = commit_of(repo, rev)
    done = replay(repo, store_of(repo), commit)
    for path in done.same:
        click.echo(f"{quoted(path)}: the same, bit for bit")
    for difference in done.differences:
        click.echo(f"{quoted(difference.path)}: {_told(difference)}")
    if done.differences and done.plan.version != __version__:
        click.echo(f"merged by git-nn {done.plan.version}, replayed by {__version__}")
    return 1 if done.differences else _settled(done, commit)


def _told(difference: Difference) -> str:
    names = [escape(name) for name in difference.tensors[:_SHOWN]]
    more = len(difference.tensors) - len(names)
    if not names:
        return difference.why
    verb = "differs" if len(difference.tensors) == 1 else "differ"
    return f"{', '.join(names)}{f' and {more} more' if more else ''} {verb}"


def _settled(done: Replayed, commit: str) -> int:
    if not done.same:
        click.echo(f"{commit[:12]} has no model that several sides changed")
    return 0
