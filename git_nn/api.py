"""git-nn from Python: tensors of any version, and what changed between two.

    >>> import git_nn
    >>> model = git_nn.open(".", "main~3", "model.h5")
    >>> model["dense/kernel"][:10]     # a numpy array; only what holds these rows is read
    >>> git_nn.diff(model, git_nn.open(".", "main", "model.h5"))

The repository may be given as a folder, bare or not, or as a GitPython ``git.Repo`` that the
program already has. The work tree is never touched.
"""

from __future__ import annotations

import os
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from git_nn import measured
from git_nn.adopt import alternates
from git_nn.bridges import to_keras, to_torch
from git_nn.compare import Reading, compare
from git_nn.differences.render import text
from git_nn.differences.result import ModelDiff
from git_nn.errors import UsageError
from git_nn.formats.base import BytesSource
from git_nn.gitio.objects import open_reader
from git_nn.gitio.repository import Repository, find
from git_nn.measured import Measured
from git_nn.model import StoredModel, open_pointer, open_source
from git_nn.objects.pointer import looks_like_pointer, parse
from git_nn.store.local import LocalStore, open_store
from git_nn.tensors import Tensor, Tensors
from git_nn.transfer.reaching import ReachingStore

if TYPE_CHECKING:
    import git

__all__ = ["Comparison", "Tensor", "Tensors", "diff", "open", "to_keras", "to_torch"]


def open(  # noqa: A001 - it is always called git_nn.open
    repo: Path | str | git.Repo, rev: str | None, path: str
) -> Tensors:
    """The weight file at ``path`` (relative to the top) as it is in ``rev``; None: in the index.

    Raises UsageError where there is no such version, and MissingObjectError on reading a tensor
    that is not here. A version that was committed as raw bytes is opened as well.
    """
    repository = _find(repo)
    with open_reader(repository) as reader:
        blob = reader.read(f"{rev or ''}:{path}")
    if blob is None:
        raise UsageError(f"there is no {path} in {rev or 'the index'}")
    if not looks_like_pointer(blob[:4096]):
        return Tensors(open_source(BytesSource(blob)))
    pointer = parse(blob)
    store = open_store(repository.nn_dir, alternates=alternates(repository))
    return Tensors(open_pointer(pointer, ReachingStore(repository, store)))


class Comparison(ModelDiff):
    """A ModelDiff that shows itself: as text when printed, as a page in a notebook."""

    __slots__ = ()

    def __str__(self) -> str:
        return text(self, "models")

    def _repr_html_(self) -> str:
        from git_nn.differences.html import fragment

        return fragment(self)


def diff(old: Tensors | None, new: Tensors | None, *, ranks: bool = False) -> Comparison:
    """What differs between two versions (docs/diff.md); None is a version without the file.

    Only tensors that differ are read; what was measured is kept in the store of ``new``.
    ``ranks``: the rank of each changed matrix's difference, too.
    """
    sides = (None if side is None else side.model for side in (old, new))
    found = compare(*sides, reading=Reading(_cache(new), ranks=ranks))
    return Comparison(**{field.name: getattr(found, field.name) for field in fields(found)})


def _cache(tensors: Tensors | None) -> Measured | None:
    model = None if tensors is None else tensors.model
    if isinstance(model, StoredModel) and isinstance(model.store, LocalStore):
        return Measured(model.store.root / measured.FILE)
    return None


def _find(repo: Path | str | git.Repo) -> Repository:
    if isinstance(repo, str | Path):
        return find(Path(repo), os.environ)
    return find(Path(repo.working_tree_dir or repo.git_dir), os.environ)
