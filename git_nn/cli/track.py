"""``git nn track``: which files Git passes through git-nn."""

from __future__ import annotations

import os
from pathlib import Path

import click

from git_nn import track
from git_nn.cli.advice import installed
from git_nn.cli.words import from_here
from git_nn.drivers.open import open_repository
from git_nn.errors import UsageError
from git_nn.gitio.repository import Repository

FILE = ".gitattributes"


@click.command("track")
@click.argument("patterns", nargs=-1)
@click.option("--auto", is_flag=True, help="Find the weight files below this folder.")
@click.option("-n", "--dry-run", is_flag=True, help="Show what would be written.")
def command(patterns: tuple[str, ...], *, auto: bool, dry_run: bool) -> None:
    """Track files that match PATTERNS, by a line in the .gitattributes of this folder.

    Quote the patterns, or the shell replaces them: git nn track "*.h5". The path of a file
    means that file alone, a folder all that is in it. Without patterns: list what is tracked.
    Exit codes: 0 they are tracked, 2 .gitattributes cannot hold them.
    """
    repo, folder = open_repository(), Path.cwd()
    if repo.work_tree is None:
        raise UsageError("there is no work tree here, so no .gitattributes to write")
    if not patterns and not auto:
        _list(repo)
        return
    wanted = [track.pattern_of(pattern, folder) for pattern in patterns]
    if auto:
        wanted += track.propose(repo, folder)
        if not wanted:
            click.echo("no weight files here that are not tracked already")
    _add(folder / FILE, list(dict.fromkeys(wanted)), dry_run=dry_run)
    if not dry_run:
        _advise(repo)


def read(path: Path) -> bytes:
    """The text of .gitattributes, empty where there is none; Git ignores one that is a link."""
    if path.is_symlink():
        raise UsageError(f"{path} is a symbolic link, which Git does not read")
    return path.read_bytes() if path.exists() else b""


def write(path: Path, text: bytes) -> None:
    """Replace the file whole, or remove it where nothing is left."""
    if not text:
        path.unlink()
        return
    new = path.with_name(f"{path.name}.nn-{os.getpid()}")
    try:
        new.write_bytes(text)
        if path.exists():
            new.chmod(path.stat().st_mode & 0o777)
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)


def shown(pattern: bytes) -> str:
    """A pattern as it stands in the file."""
    return track.quote(pattern).decode("utf-8", "replace")


def _add(path: Path, patterns: list[bytes], *, dry_run: bool) -> None:
    text = read(path)
    new = [pattern for pattern in patterns if not track.is_tracked(text, pattern)]
    for pattern in patterns:
        if pattern not in new:
            click.echo(f"{shown(pattern)} is already tracked")
    if new and not dry_run:
        write(path, track.add(text, new))
    for pattern in new:
        click.echo(f"{'would track' if dry_run else 'tracking'} {shown(pattern)}")


def _advise(repo: Repository) -> None:
    """The next step, where there is one that a person would not think of."""
    raw = track.committed_raw(repo) if installed(repo) else []
    if raw:
        names = ", ".join(from_here(repo, path) for path in raw[:3]) + (", ..." if raw[3:] else "")
        click.echo(
            f"git-nn: in Git as raw bytes already: {names}; "
            "to convert: git add .gitattributes && git add --renormalize .", err=True,
        )  # fmt: skip


def _list(repo: Repository) -> None:
    for path in track.attribute_files(repo):
        try:
            text = read(repo.top / os.fsdecode(path))
        except UsageError:
            continue
        for rule in track.rules(text):
            if rule.is_ours:
                click.echo(f"{shown(rule.pattern)} ({os.fsdecode(path)})")
