"""Tries a merge with several strategies by a command of the person's, away from the work tree.

1. The command comes from the command line, never from the repository. It runs in the current
   folder, with the path of the merged model, or of the folder that holds them if there are more.
2. The branches, the index and the work tree are not touched. Tensors that were tried stay in the
   store until 'git nn gc'.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from git_nn import __version__, origins
from git_nn.drivers.progress import metered
from git_nn.earlier import pointer_at
from git_nn.errors import MissingObjectError, UsageError
from git_nn.gitio import revisions
from git_nn.gitio.merging import commit
from git_nn.gitio.objects import open_batch
from git_nn.gitio.repository import Repository
from git_nn.merge.sweeping import Trial, metric
from git_nn.merge.trailers import Line, Plan
from git_nn.model import open_pointer
from git_nn.objects.pointer import Pointer
from git_nn.replay import merged_models, merged_tree
from git_nn.store.local import LocalStore
from git_nn.transfer.obtain import obtain

VALUE = "GIT_NN_SWEEP_VALUE"


def trials(
    repo: Repository, store: LocalStore, branch: str, choices: Mapping[str, str], command: str
) -> Iterator[Trial]:
    """What ``command`` says of the merge with ``branch``, for each value and its strategy."""
    ours, theirs = commit(repo, "HEAD"), commit(repo, branch)
    settings = origins.settings(repo)
    scratch = repo.nn_dir / "tmp"
    scratch.mkdir(parents=True, exist_ok=True)
    for value, choice in choices.items():
        plan = Plan((Line("NN-Merge", "*", choice),), settings, __version__)
        tree = merged_tree(repo, ours, theirs, plan)
        models = _models(repo, tree, ours, theirs)
        if not models:
            raise UsageError(f"no model was changed both here and in {branch}: nothing to try")
        with tempfile.TemporaryDirectory(dir=scratch, prefix="sweep-") as folder:
            for path, pointer in models.items():
                _write(repo, store, pointer, Path(folder) / os.fsdecode(path))
            only = os.fsdecode(next(iter(models))) if len(models) == 1 else ""
            yield Trial(value, _measure(command, Path(folder) / only, value))


def _models(repo: Repository, tree: str, ours: str, theirs: str) -> dict[bytes, Pointer]:
    """What was merged, also where a value gives back one of the sides."""
    bases = repo.git("merge-base", ours, theirs, check=False).decode().split()
    revs = (ours, theirs, *bases[:1])
    there = [{e.path: e.oid for e in revisions.tree(repo, rev)} for rev in revs]
    with open_batch(repo) as reader:
        wanted = set(merged_models(repo, reader, tree, (ours, theirs)))
        wanted |= {
            path
            for path in there[0].keys() & there[1].keys()
            if len({side.get(path) for side in there}) == len(there)
        }
        blobs = {e.path: e.oid for e in revisions.tree(repo, tree) if e.path in wanted}
        found = {path: pointer_at(reader, oid) for path, oid in blobs.items()}
    return {path: pointer for path, pointer in found.items() if pointer is not None}


def _write(repo: Repository, store: LocalStore, pointer: Pointer, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        open_pointer(pointer, store).write(path)
    except MissingObjectError:
        path.unlink(missing_ok=True)
        with metered("Fetching weights") as begin:
            obtain(repo, store, [pointer], begin)
        open_pointer(pointer, store).write(path)


def _measure(command: str, path: Path, value: str) -> float:
    """The last number that ``command`` prints about ``path``; its errors go to the person."""
    word = shlex.quote(str(path))
    line = command.replace("{}", word) if "{}" in command else f"{command} {word}"
    sys.stdout.flush()
    done = subprocess.run(  # noqa: S602 - the person typed it, for a shell
        line,
        shell=True,
        env={**os.environ, VALUE: value},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        check=False,
    )
    if done.returncode:
        raise UsageError(f"the command of --eval ended with status {done.returncode} at {value}")
    found = metric(done.stdout)
    if found is None:
        hint = "the last number that it prints is the metric"
        raise UsageError(f"the command of --eval printed no number at {value}", hint=hint)
    return found
