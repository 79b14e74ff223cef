"""statistics: what was measured of a model, versioned beside it, for strategies that need it.

Beside ``models/m.safetensors`` (or ``m.h5`` ...) stand ``models/m.fisher.safetensors``, the
diagonal Fisher information of each tensor under the tensor's name and in its shape, and
``models/m.gram.safetensors``, the Gram matrix X'X of the inputs of a linear layer under the
name of its weight. They are those of the model in the same commit; nothing checks that.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from git_nn.errors import MergeError
from git_nn.gitio.objects import Reader
from git_nn.gitio.repository import Repository
from git_nn.merge.strategies import table
from git_nn.objects.names import escape
from git_nn.objects.pointer import Pointer, Stored
from git_nn.replay import pointer_of
from git_nn.store.base import Store

if TYPE_CHECKING:
    from git_nn.merge.arithmetic import Statistic

_REAL = frozenset({"f64", "f32", "f16", "bf16"})
_KINDS = ("fisher", "gram")


def beside(path: bytes, kind: str) -> str:
    """The file with the statistics of the model at ``path``, from the top of the tree."""
    model = PurePosixPath(path.decode("utf-8", "surrogateescape"))
    return str(model.with_name(f"{model.stem}.{kind}.safetensors"))


def is_statistics(path: bytes) -> bool:
    """Whether a file is no model but what was measured of one."""
    return any(path.endswith(f".{kind}.safetensors".encode()) for kind in _KINDS)


def of_side(
    repo: Repository, reader: Reader, side: tuple[str, str], path: bytes, kind: str
) -> Pointer:
    """Those of a commit, which a person calls by a name; MergeError that names the missing file."""
    commit, name = side
    file = beside(path, kind)
    found = repo.git("rev-parse", "--verify", "-q", f"{commit}:{file}", check=False)
    pointer = pointer_of(reader, found.decode().strip()) if found else None
    if pointer is None:
        raise MergeError(
            f"{name} has no {escape(file)}, which this strategy needs; nothing was done",
            hint=f"commit it there, tracked by git-nn (see docs/merge.md, {kind})",
        )
    return pointer


def of_tensor(
    pointer: Pointer, tensor: Stored, strategy: table.Strategy, store: Store
) -> Statistic | None:
    """What is known of a tensor; None where nothing is and the strategy can do without."""
    from git_nn.merge.arithmetic import Statistic

    entry = pointer.by_name.get(tensor.name)
    name = escape(tensor.name)
    if entry is None and strategy.needs == "gram":
        return None
    if not isinstance(entry, Stored) or entry.form or entry.dtype not in _REAL:
        raise MergeError(f"tensor {name}: there is no {strategy.needs} of it on every side")
    square = len(tensor.shape) == 2 and any(entry.shape == (n, n) for n in tensor.shape)
    fits = square if strategy.needs == "gram" else entry.shape == tensor.shape
    if not fits or tensor.dtype.removesuffix("be") not in _REAL:
        raise MergeError(f"tensor {name}: its {strategy.needs} has another shape or dtype")
    return Statistic(entry.dtype, entry.shape, lambda: store.read(entry.oid))
