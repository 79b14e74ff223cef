"""``git nn env``: what a bug report should say; secrets in URLs are left out."""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import click

from git_nn import __version__
from git_nn.drivers.doctor import rules_of
from git_nn.drivers.install import place, settings
from git_nn.drivers.launcher import Launcher
from git_nn.drivers.open import open_repository, store_of
from git_nn.drivers.progress import human
from git_nn.errors import GitNNError, UsageError
from git_nn.gitio.config import load
from git_nn.gitio.repository import Repository
from git_nn.track import quote

_LIBRARIES = ("numpy", "ml_dtypes", "h5py", "zstandard", "blake3", "msgpack", "pygit2",
              "GitPython", "click")  # fmt: skip
_CREDENTIALS = re.compile(r"(?<=://)[^/\s]*@")
_SECRET = re.compile(r"token|secret|password|key$", re.IGNORECASE)


@click.command("env")
def command() -> None:
    """Print versions, paths and settings, as text for a bug report. Exit code: 0."""
    try:
        repo, inside = open_repository(), True
    except UsageError:
        repo, inside = place("global", Path.cwd(), os.environ).repo, False
    for name, value in (*_versions(repo), *(_repository(repo) if inside else ()), *_settings(repo)):
        click.echo(f"{name}: {redacted(value)}")


def redacted(text: str) -> str:
    """``text`` without what stands before the @ of a URL."""
    return _CREDENTIALS.sub("***@", text)


def _versions(repo: Repository) -> Iterator[tuple[str, str]]:
    yield "git-nn", f"{__version__} ({Path(__file__).parents[1]})"
    yield "git", repo.git("version").decode().strip().removeprefix("git version ")
    yield "python", f"{platform.python_version()} ({sys.executable})"
    yield "platform", platform.platform()
    for name in _LIBRARIES:
        try:
            yield name, version(name)
        except PackageNotFoundError:
            yield name, "not installed"
    yield "HDF5", _hdf5()


def _hdf5() -> str:
    try:
        import h5py
    except ImportError:
        return "not available"
    return str(h5py.version.hdf5_version)


def _repository(repo: Repository) -> Iterator[tuple[str, str]]:
    yield "work tree", str(repo.work_tree or "none (bare)")
    yield "git folder", str(repo.git_dir)
    yield "object format", repo.object_format
    yield "store", f"{repo.nn_dir} ({_store(repo)})"
    if repo.work_tree is not None:
        for path, rule in rules_of(repo):
            words = b" ".join((quote(rule.pattern), *rule.attributes))
            yield os.fsdecode(path), words.decode("utf-8", "replace")


def _store(repo: Repository) -> str:
    try:
        packs = list(store_of(repo).packs())
    except GitNNError as error:
        return str(error)
    files = [path for path in repo.nn_dir.rglob("*") if path.is_file()]
    return f"{human(sum(path.stat().st_size for path in files))}, {len(packs)} packs"


def _settings(repo: Repository) -> Iterator[tuple[str, str]]:
    config = load(repo)
    for setting in settings(Launcher("python", ())):
        yield setting.key, config.get(setting.key) or "not set"
    for key, value in sorted(config.section("nn").items()):
        yield key, "***" if _SECRET.search(key) else value
    for name, value in sorted(os.environ.items()):
        if name.startswith("GIT_NN_"):
            yield name, "***" if _SECRET.search(name) else value
