"""conflicts: what a merge left unsettled, one JSON file for each path (docs/spec-conflicts.md).

1. A record is of three versions of a path in one worktree, and is worth what it says only
   while the index has these as unmerged. Git knows nothing of it: 'git merge --abort' or
   'git add' leave it behind, and ``current`` drops it then. What else calls the driver
   meanwhile ('git merge-tree') has other versions and another record.
2. Everything can be found again without it, from the versions in the index, except for
   what has been settled already.
3. Its oids are roots for gc.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from git_nn.errors import StoreError
from git_nn.gitio import revisions
from git_nn.gitio.repository import Repository
from git_nn.merge.decide import Conflict
from git_nn.objects import skeleton as skeletons
from git_nn.objects.oid import oid_of
from git_nn.objects.pointer import Entry, Pointer, Window
from git_nn.store.base import Store, read_bytes

VERSION = 1
Blobs = tuple[str | None, str | None, str | None]


@dataclass(frozen=True, slots=True)
class Spec:
    """What one side has of a tensor; the oid is that of its payload."""

    dtype: str
    shape: tuple[int, ...]
    oid: str


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor that is to be settled; a side without it is None."""

    name: str
    why: str
    base: Spec | None
    ours: Spec | None
    theirs: Spec | None


@dataclass(frozen=True, slots=True)
class Record:
    """The unsettled state of one path in one worktree.

    ``blobs`` are Git's names of the three versions. ``result`` is the pointer of the model
    as it is merged so far. ``whole`` says why the file as a whole is a conflict, if it is.
    """

    path: bytes
    git_dir: str
    blobs: Blobs
    result: bytes
    tensors: tuple[Tensor, ...]
    whole: str = ""
    oids: tuple[str, ...] = ()


def tensor(conflict: Conflict, sides: tuple[Pointer | None, Pointer, Pointer]) -> Tensor:
    entries = (conflict.base, conflict.ours, conflict.theirs)
    base, ours, theirs = (_spec(s, e) for s, e in zip(sides, entries, strict=True))
    return Tensor(conflict.name, conflict.why, base, ours, theirs)


def spec_of(pointer: Pointer, name: str) -> Spec | None:
    """What a version has of a tensor; None where it does not have it."""
    return _spec(pointer, pointer.by_name.get(name))


def _spec(side: Pointer | None, entry: Entry | None) -> Spec | None:
    if side is None or entry is None:
        return None
    stored = side.stored[entry.of] if isinstance(entry, Window) else entry
    return Spec(entry.dtype, entry.shape, stored.oid.hex())


def oids_of(pointers: Iterable[Pointer | None], store: Store) -> tuple[str, ...]:
    """Everything that these pointers need, for ``Record.oids``."""
    found: set[str] = set()
    for pointer in pointers:
        if pointer is None:
            continue
        found.add(pointer.skeleton.hex())
        found.update(stored.oid.hex() for stored in pointer.stored.values())
        if store.size(pointer.skeleton) is not None:
            skeleton = skeletons.decode(read_bytes(store, pointer.skeleton))
            found.update(blob.oid.hex() for blob in skeleton.blobs())
    return tuple(sorted(found))


def load(repo: Repository) -> list[Record]:
    """Every record, of all worktrees, stale ones too; StoreError where one is damaged."""
    return [_read(path) for path in _files(repo)]


def save(repo: Repository, record: Record) -> None:
    """Write a record in place of an earlier one of the same versions, whole or not at all."""
    path = _file(repo, record)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fd, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".tmp")
        try:
            with os.fdopen(fd, "wb") as file:
                file.write(_encode(record))
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror}") from error


def drop(repo: Repository, record: Record) -> None:
    """Forget a record, if it is there."""
    _file(repo, record).unlink(missing_ok=True)


def current(repo: Repository) -> list[Record]:
    """The records of this worktree that hold; those that no longer do are dropped.

    Nothing is dropped while Git keeps the index locked: then a merge is under way.
    """
    records = list(_readable(repo))
    if not records:
        return []
    here = str(repo.git_dir)
    versions = unmerged(repo)
    held = [r for r in records if r.git_dir == here and blobs(versions.get(r.path, {})) == r.blobs]
    if not is_locked(repo):
        for record in records:
            if record not in held and (record.git_dir == here or not Path(record.git_dir).exists()):
                drop(repo, record)
    return sorted(held, key=lambda record: record.path)


def is_locked(repo: Repository) -> bool:
    """Whether Git is about to write the index."""
    return repo.index_file.with_name(repo.index_file.name + ".lock").exists()


def stale(repo: Repository) -> list[Record]:
    """The records of this worktree that no longer hold and are not dropped yet.

    While Git keeps the index locked a merge is under way, and its own are among them.
    """
    here = str(repo.git_dir)
    records = [record for record in _readable(repo) if record.git_dir == here]
    versions = unmerged(repo) if records else {}
    return [r for r in records if blobs(versions.get(r.path, {})) != r.blobs]


def unmerged(repo: Repository) -> dict[bytes, dict[int, revisions.Entry]]:
    """The unmerged paths of the index, each with its versions by stage (1, 2, 3)."""
    found: dict[bytes, dict[int, revisions.Entry]] = {}
    for entry in revisions.index(repo):
        if entry.stage:
            found.setdefault(entry.path, {})[entry.stage] = entry
    return found


def blobs(stages: dict[int, revisions.Entry]) -> Blobs:
    base, ours, theirs = (stages[i].oid if i in stages else None for i in (1, 2, 3))
    return base, ours, theirs


def _file(repo: Repository, record: Record) -> Path:
    """A file for each path of each worktree and its versions; worktrees share the folder."""
    versions = "".join(f"\0{blob or ''}" for blob in record.blobs).encode()
    key = oid_of(os.fsencode(record.git_dir), b"\0", record.path, versions).hex()[:32]
    return repo.nn_dir / "merge" / f"{key}.json"


def _files(repo: Repository) -> list[Path]:
    return sorted((repo.nn_dir / "merge").glob("*.json"))


def _readable(repo: Repository) -> Iterator[Record]:
    for path in _files(repo):
        with suppress(StoreError):
            yield _read(path)


def _encode(record: Record) -> bytes:
    value = {
        "version": VERSION,
        "path": record.path.decode("utf-8", "surrogateescape"),
        "git_dir": record.git_dir,
        "blobs": dict(zip(("base", "ours", "theirs"), record.blobs, strict=True)),
        "result": record.result.decode("utf-8"),
        "whole": record.whole,
        "tensors": [as_json(tensor) for tensor in record.tensors],
        "oids": list(record.oids),
    }
    return json.dumps(value, indent=1).encode("ascii") + b"\n"


def as_json(tensor: Tensor) -> dict[str, Any]:
    """``{"name", "why", "base", "ours", "theirs"}``, as in docs/spec-conflicts.md."""
    sides = {"base": tensor.base, "ours": tensor.ours, "theirs": tensor.theirs}
    specs = {side: spec and spec_json(spec) for side, spec in sides.items()}
    return {"name": tensor.name, "why": tensor.why, **specs}


def spec_json(spec: Spec) -> dict[str, Any]:
    return {"dtype": spec.dtype, "shape": spec.shape, "oid": spec.oid}


def _read(path: Path) -> Record:
    try:
        value = json.loads(path.read_bytes())
        if value["version"] != VERSION:
            raise StoreError(f"{path} is of a newer git-nn", hint="upgrade git-nn")
        return Record(
            value["path"].encode("utf-8", "surrogateescape"),
            value["git_dir"],
            (value["blobs"]["base"], value["blobs"]["ours"], value["blobs"]["theirs"]),
            value["result"].encode("utf-8"),
            tuple(tensor_of(tensor) for tensor in value["tensors"]),
            value["whole"],
            tuple(value["oids"]),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(f"the conflict record {path} is damaged", hint=f"rm {path}") from error


def tensor_of(value: dict[str, Any]) -> Tensor:
    """The inverse of ``as_json``; KeyError, TypeError or ValueError where it is none."""
    base, ours, theirs = (
        value[side] and spec_from(value[side]) for side in ("base", "ours", "theirs")
    )
    return Tensor(value["name"], value["why"], base, ours, theirs)


def spec_from(value: dict[str, Any]) -> Spec:
    """The inverse of ``spec_json``, with its errors."""
    return Spec(value["dtype"], tuple(value["shape"]), value["oid"])
