"""git-nn from Python: read tensors of any version, without touching the work tree.

    >>> import git_nn.api
    >>> model = git_nn.api.open_model(".", "model.h5", rev="main~3")
    >>> model["dense/kernel"]          # a numpy array; only this tensor is read

The repository may be given as a folder, or as a GitPython ``git.Repo`` that the program
already has.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from git_nn.adopt import adopt, alternates
from git_nn.errors import UsageError
from git_nn.gitio.objects import open_reader
from git_nn.gitio.repository import Repository, find
from git_nn.model import StoredModel, open_pointer
from git_nn.objects.pointer import Pointer, looks_like_pointer, parse
from git_nn.store.local import open_store

if TYPE_CHECKING:
    import git
    from numpy.typing import NDArray


class Tensors(Mapping[str, "NDArray[Any]"]):
    """The tensors of one version by name, each read when it is asked for.

    Reading raises KeyError for a name that is not there, MissingObjectError for a tensor that
    is not in the store, and ValueError for one that the container keeps in a form that
    cannot be decoded (such as HDF5's lzf filter).
    """

    def __init__(self, model: StoredModel) -> None:
        self._model = model

    @property
    def pointer(self) -> Pointer:
        """Names, dtypes, shapes and content ids; costs no read."""
        return self._model.pointer

    def __getitem__(self, name: str) -> NDArray[Any]:
        array = self._model.array(name)
        if array is None:
            raise ValueError(f"{name}: stored in a form that cannot be decoded")
        return array

    def __contains__(self, name: object) -> bool:
        return name in self._model.pointer.by_name  # Mapping's own would read the tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._model.names())

    def __len__(self) -> int:
        return len(self._model.pointer.entries)

    def structure(self) -> dict[str, Any]:
        """What the file says about the model: configuration and metadata."""
        return self._model.structure()

    def write(self, path: Path | str) -> None:
        """Write the whole file, byte for byte; FileExistsError where ``path`` exists."""
        self._model.write(Path(path))


def open_model(repo: Path | str | git.Repo, path: str, *, rev: str | None = None) -> Tensors:
    """Open the weight file at ``path`` (relative to the top) as it is in ``rev``.

    Without ``rev``, as it is in the index. Raises UsageError where there is no such
    version or it was committed as raw bytes, MissingObjectError on reading a tensor
    that is not here.
    """
    repository = _find(repo)
    with open_reader(repository) as reader:
        text = reader.read(f"{rev or ''}:{path}")
    if text is None:
        raise UsageError(f"there is no {path} in {rev or 'the index'}")
    if not looks_like_pointer(text[:4096]):
        raise UsageError(f"{path} in {rev or 'the index'} is not a git-nn pointer")
    pointer = parse(text)
    store = open_store(repository.nn_dir, alternates=alternates(repository))
    adopt(repository, store, [pointer])
    return Tensors(open_pointer(pointer, store))


def _find(repo: Path | str | git.Repo) -> Repository:
    if isinstance(repo, str | Path):
        return find(Path(repo), os.environ)
    return find(Path(repo.working_tree_dir or repo.git_dir), os.environ)
