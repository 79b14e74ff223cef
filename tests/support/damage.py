"""The store of a test repository, seen and broken from outside."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from git_nn.store.local import LocalStore, open_store
from tests.support.git import Repo
from tests.support.models import normal, safetensors_file
from tests.unit.store.support import rewrite

_YEAR = 365 * 86_400


def store_of(repo: Repo) -> LocalStore:
    return open_store(nn_dir(repo))


def nn_dir(repo: Repo) -> Path:
    common = repo.git("rev-parse", "--path-format=absolute", "--git-common-dir").text
    return Path(common.removesuffix("\n")) / "nn"


def packs(repo: Repo) -> list[Path]:
    return sorted((nn_dir(repo) / "packs").rglob("*.nnp"))


def trashed(repo: Repo) -> list[Path]:
    return sorted((nn_dir(repo) / "trash").rglob("*.nnp"))


def weights(seed: int, *names: str, rows: int = 64) -> bytes:
    """A safetensors file; tensors of other seeds or names differ."""
    tensors: dict[str, np.ndarray] = {
        name: normal(seed * 1000 + number, rows, 32) for number, name in enumerate(names or ("w",))
    }
    return safetensors_file(tensors)


def change(path: Path, offset: int, data: bytes) -> None:
    """Overwrite bytes of a file that is read-only."""
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def flip(path: Path, offset: int) -> None:
    """Flip one bit of a file; a negative offset counts from the end."""
    at = offset % path.stat().st_size
    change(path, at, bytes([path.read_bytes()[at] ^ 1]))


def truncate(path: Path, length: int) -> None:
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.truncate(length)


def forget_reflogs(repo: Repo) -> None:
    """Make unreachable what only a reflog keeps."""
    repo.git("reflog", "expire", "--expire=now", "--all")


def empty_trash(repo: Repo) -> None:
    """Delete all of the trash, as a gc does after the grace time."""
    store_of(repo).empty_trash(-_YEAR)


def merge_packs(repo: Repo) -> str:
    """Copy all frames into one pack, dead or alive, and drop the others; its name."""
    store = store_of(repo)
    names = [pack.name for pack in store.packs()]
    frames = {frame.id for pack in store.packs() for frame in pack.frames}
    (merged,) = rewrite(store, frames, names)
    with store.exclusive():
        for name in names:
            if name != merged:
                store.retire(name)
    empty_trash(repo)
    return merged
