"""settled: how conflicts of tensors were settled before, so that the same one need not be again.

Git's rerere knows conflicts by the text between markers; here one is known by the contents
of the three tensors. What is remembered is the choice and not the bytes; of a tensor that a
person edited it is the content's id, which gc keeps (docs/spec-conflicts.md).

1. Only an equal base and equal sides are the same conflict; the sides may be swapped.
2. What is remembered is used where somebody asks or has said so (``nn.rerere``), and told.
3. What cannot be read, or names what this version does not know, is passed over.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from git_nn import conflicts
from git_nn.conflicts import Spec, Tensor
from git_nn.errors import MergeError, StoreError, UsageError
from git_nn.gitio.config import load
from git_nn.gitio.repository import Repository
from git_nn.merge.decide import Conflict, Side
from git_nn.merge.report import plural
from git_nn.merge.rules import Choice, parse
from git_nn.objects.oid import oid_of
from git_nn.reorder import waits
from git_nn.resolve import Settled, Unsettled, settle_tensors, tensor_of
from git_nn.store.base import Store

VERSION = 1
KEPT = 5000  # a record is less than a kilobyte
SETTING, GITS = "nn.rerere", "rerere.enabled"

How = Side | Choice | Spec
_SWAPPED: dict[Side, Side] = {"ours": "theirs", "theirs": "ours", "base": "base"}
# A choice for swapped sides: the parameter that counts from the other end, or the same choice.
_MIRRORED = {"mean": "weight", "fisher": "weight", "slerp": "t", "nuslerp": "t"}
_SYMMETRIC = frozenset({
    "task-arithmetic", "model-stock", "ties", "breadcrumbs", "dare-linear", "dare-ties", "della",
    "sce", "iso-c", "tsv", "regmean",
})  # fmt: skip


def is_automatic(repo: Repository) -> bool:
    """Whether a merge settles by itself what was settled before."""
    config = load(repo)
    return config.boolean(SETTING, config.boolean(GITS, default=False))


def goes_on(repo: Repository) -> bool:
    """Whether a file that was settled so counts as merged; else a person looks at it first."""
    return load(repo).boolean("rerere.autoupdate", default=False)


# --- remembering ------------------------------------------------------------------------


def remember(repo: Repository, before: Unsettled, after: Unsettled, how: How) -> None:
    """Write down that what is open in ``before`` and no longer in ``after`` was settled so."""
    if before.whole or not load(repo).boolean(SETTING, default=True):
        return
    still = {conflict.name for conflict in after.open}
    done = [conflict for conflict in before.open if conflict.name not in still]
    _write_all(_folder(repo), [_tensor(before, conflict) for conflict in done], how)


def note(repo: Repository, tensor: Tensor, how: How) -> None:
    """Write down that the conflict of a tensor was settled so."""
    if load(repo).boolean(SETTING, default=True):
        _write_all(_folder(repo), [tensor], how)


def forget(repo: Repository, patterns: Sequence[str] = ()) -> int:
    """Forget the tensors whose names match, all without a pattern; returns how many."""
    count = 0
    for path in _files(_folder(repo)):
        record = _read(path)
        name = record.tensor.name if record else ""
        if not patterns or _matches(name, patterns):
            path.unlink(missing_ok=True)
            count += 1
    return count


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(name == pattern or fnmatchcase(name, pattern) for pattern in patterns)


# --- recalling --------------------------------------------------------------------------


def recall(
    repo: Repository, store: Store, file: Unsettled, patterns: Sequence[str] = ()
) -> dict[How, list[str]]:
    """What was chosen before for the open tensors (that match), with their names."""
    found: dict[How, list[str]] = {}
    folder = _folder(repo)
    if file.whole or not folder.is_dir():
        return found
    for conflict in file.open:
        if patterns and not _matches(conflict.name, patterns):
            continue
        if waits(conflict.name, file.sides.rows):
            continue
        tensor = _tensor(file, conflict)
        record = _read(folder / _name(tensor))
        how = None if record is None else _for(tensor, record)
        if how is not None and _is_here(how, store):
            found.setdefault(how, []).append(conflict.name)
    return found


def _is_here(how: How, store: Store) -> bool:
    return not isinstance(how, Spec) or store.size(tensor_of("", how).oid) is not None


def again(repo: Repository, store: Store, file: Unsettled, patterns: Sequence[str] = ()) -> Settled:
    """Settle the open tensors (that match) as they were before; nothing is written.

    The notes tell of every choice. What was never settled before stays open.
    """
    notes: list[str] = []
    for how, names in recall(repo, store, file, patterns).items():
        try:
            done = settle_named(file, how, names, store, repo.nn_dir / "tmp")
        except (MergeError, UsageError) as error:
            notes.append(f"not settled as before: {error.message}")
            continue
        count = len(file.open) - len(done.file.open)
        file = done.file
        words = "as edited by hand" if isinstance(how, Spec) else how
        notes += [f"{count} {plural(count)} settled as before: {words}", *done.notes]
    return Settled(file, (), tuple(notes))


def settle_named(
    file: Unsettled, how: How, names: Collection[str], store: Store, scratch: Path
) -> Settled:
    """As ``settle_tensors``, for tensors by their very names, whatever signs are in them."""
    wanted = frozenset(names)
    mine = tuple(conflict for conflict in file.open if conflict.name in wanted)
    settled = settle_tensors(replace(file, open=mine), how, (), store, scratch)
    left = {conflict.name: conflict for conflict in settled.file.open}
    still = tuple(
        left.get(conflict.name, conflict)
        for conflict in file.open
        if conflict.name in left or conflict.name not in wanted
    )
    return replace(settled, file=replace(settled.file, open=still))


def _for(tensor: Tensor, record: _Record) -> How | None:
    """The remembered choice for this conflict, perhaps with its sides swapped."""
    known, how = record.tensor, record.how
    if tensor.base != known.base:
        return None
    if (tensor.ours, tensor.theirs) == (known.ours, known.theirs):
        return how
    if (tensor.theirs, tensor.ours) != (known.ours, known.theirs):
        return None
    if isinstance(how, Spec):
        return how
    if not isinstance(how, Choice):
        return _SWAPPED[how]
    if how.strategy in _SYMMETRIC:
        return how
    key = _MIRRORED.get(how.strategy)
    mirrored = ((k, 1 - value if k == key else value) for k, value in how.parameters)
    return Choice(how.strategy, tuple(mirrored)) if key else None


# --- records ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Record:
    tensor: Tensor
    how: How


def _tensor(file: Unsettled, conflict: Conflict) -> Tensor:
    sides = file.sides
    return conflicts.tensor(conflict, (sides.base, sides.ours, sides.theirs))


def _folder(repo: Repository) -> Path:
    return repo.nn_dir / "settled"


def _name(tensor: Tensor) -> str:
    base, *sides = (_word(spec) for spec in (tensor.base, tensor.ours, tensor.theirs))
    return oid_of(b"\0".join((base, *sorted(sides)))).hex()[:32] + ".json"


def _word(spec: conflicts.Spec | None) -> bytes:
    if spec is None:
        return b"-"
    shape = ",".join(map(str, spec.shape))
    return f"{spec.dtype} {shape} {spec.oid}".encode()


def _files(folder: Path) -> Iterator[Path]:
    return folder.glob("*.json")


def _write_all(folder: Path, tensors: Sequence[Tensor], how: How) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for tensor in tensors:
            _write(folder, tensor, how)
        _trim(folder)
    except OSError as error:
        raise StoreError(f"cannot write into {folder}: {error.strerror}") from error


def _write(folder: Path, tensor: Tensor, how: How) -> None:
    value = {"version": VERSION, **conflicts.as_json(tensor), "choice": _encode(how)}
    fd, name = tempfile.mkstemp(dir=folder, prefix=".", suffix=".tmp")
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(json.dumps(value).encode("ascii") + b"\n")
        Path(name).replace(folder / _name(tensor))
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _trim(folder: Path) -> None:
    """Forget the oldest where there are too many; another process may do so too."""
    files = list(_files(folder))
    if len(files) <= KEPT:
        return
    ages = []
    for path in files:
        with suppress(FileNotFoundError):
            ages.append((path.stat().st_mtime_ns, path))
    for _, path in sorted(ages)[: len(ages) - KEPT]:
        path.unlink(missing_ok=True)


def _encode(how: How) -> dict[str, Any]:
    if isinstance(how, Choice):
        return {"strategy": how.strategy, "parameters": dict(how.parameters)}
    if isinstance(how, Spec):
        return {"content": conflicts.spec_json(how)}
    return {"side": how}


def _read(path: Path) -> _Record | None:
    try:
        value = json.loads(path.read_bytes())
        if value["version"] != VERSION:
            return None
        return _Record(conflicts.tensor_of(value), _decode(value["choice"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, UsageError):
        return None


def _decode(value: dict[str, Any]) -> How:
    for side in _SWAPPED:
        if value.get("side") == side:
            return side
    if "content" in value:
        found = conflicts.spec_from(value["content"])
        tensor_of("", found)  # ValueError where it is no tensor
        return found
    words = ",".join(f"{key}={number!r}" for key, number in value["parameters"].items())
    choice = parse(f"{value['strategy']}:{words}" if words else value["strategy"], "a record")
    if choice is None:
        raise ValueError(value)
    return choice
