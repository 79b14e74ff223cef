"""Keras' bookkeeping in a merged file: layer_names, weight_names and the configurations.

A Keras .h5 says in attributes which groups are layers and in which order (layer_names), which
datasets are a layer's weights (weight_names), and how the model is built (model_config). Where
the merged tensors are by name, shape and dtype those of one side, that side's bookkeeping
holds. Where they are neither side's, lists are united; but a configuration cannot
be, without knowing the model, so that is a MergeError. Files without these
attributes (.weights.h5 of Keras 3, plain HDF5) need nothing.

Imported in the worker process only.
"""

from __future__ import annotations

from itertools import count
from typing import Any

import h5py
import numpy as np
from h5py import h5d, h5g

from git_nn.errors import MergeError
from git_nn.formats.hdf5_links import copy_attribute, ensure_groups, find
from git_nn.formats.hdf5_read import objects

_LISTS = ("layer_names", "weight_names")
_LIMIT = 64512  # bytes of one attribute; Keras cuts longer lists into NAME0, NAME1 ...
# part of the file -> root attributes that describe it
_PARTS = {b"model_weights": ("model_config",), b"optimizer_weights": ("training_config",)}

Signature = dict[bytes, tuple[Any, ...]]


def reconcile(ours: h5py.File, theirs: h5py.File, out: h5py.File) -> None:
    """Make the lists and configurations of ``out``, now ours', fit its tensors."""
    parts = [
        part for part in _PARTS if find(ours, part) is not None or find(theirs, part) is not None
    ]
    for part in parts or [b""]:
        merged = _signature(out, part)
        if merged == _signature(ours, part):
            continue
        if merged == _signature(theirs, part):
            _adopt(theirs, out, part)
        elif part == b"model_weights" and "model_config" in ours.attrs:
            raise MergeError(
                "both sides changed the structure of the model, "
                "and no model_config describes the result"
            )
        else:
            _unite(theirs, out, part)


def is_list(name: str) -> bool:
    """Whether an attribute is one of the lists, or a part of one."""
    return name.rstrip("0123456789") in _LISTS


def _groups(file: h5py.File, part: bytes) -> dict[bytes, h5py.Group]:
    """Every group of a part of the file by its path, the part's own included."""
    root = find(file, part)
    if not isinstance(root, h5py.Group):
        return {}
    below = objects(root.id, h5g.GroupID)
    return {part: root} | {_join(part, name): h5py.Group(group) for name, group in below}


def _signature(file: h5py.File, part: bytes) -> Signature:
    """Shape and kind of every dataset in a part of the file."""
    root = find(file, part)
    if not isinstance(root, h5py.Group):
        return {}
    return {
        name: (item.shape, item.get_type().get_class(), item.get_type().get_size())
        for name, item in objects(root.id, h5d.DatasetID)
    }


def _join(part: bytes, name: bytes) -> bytes:
    return part + b"/" + name if part else name


def _adopt(theirs: h5py.File, out: h5py.File, part: bytes) -> None:
    """Take theirs' groups, lists and configuration: the tensors are theirs, by name."""
    for name in _PARTS.get(part, ()):
        if name in theirs.attrs:
            copy_attribute(theirs, out, name)
    wanted = _groups(theirs, part)
    for path, group in wanted.items():
        target = ensure_groups(theirs, out, path)
        for name in _LISTS:
            _store(target, name, _load(group, name))
    for path in sorted(_groups(out, part), key=len, reverse=True):
        if path not in wanted and not len(find(out, path)):
            del out[path]


def _unite(theirs: h5py.File, out: h5py.File, part: bytes) -> None:
    """Bring each list in line with what is there: ours' order, theirs' additions in place."""
    others = _groups(theirs, part)
    for path, group in _groups(out, part).items():
        for name in _LISTS:
            mine = _load(group, name)
            if mine is None:
                continue
            added = _load(others[path], name) if path in others else None
            united = _insert(mine, added or [])
            _store(group, name, [item for item in united if find(group, item) is not None])


def _insert(mine: list[bytes], others: list[bytes]) -> list[bytes]:
    """``mine`` with what only ``others`` has, each after the item that it follows there."""
    united = list(mine)
    at = 0
    for item in others:
        if item in united:
            at = united.index(item) + 1
        else:
            united.insert(at, item)
            at += 1
    return united


def _load(group: h5py.Group, name: str) -> list[bytes] | None:
    """A list of names, put together where Keras had to cut it; None where there is none."""
    if name in group.attrs:
        return _names(group.attrs[name])
    if f"{name}0" not in group.attrs:
        return None
    found: list[bytes] = []
    for i in count():
        if f"{name}{i}" not in group.attrs:
            return found
        found += _names(group.attrs[f"{name}{i}"])
    return None


def _names(value: Any) -> list[bytes]:
    items = np.asarray(value).reshape(-1).tolist()
    return [item if isinstance(item, bytes) else str(item).encode() for item in items]


def _store(group: h5py.Group, name: str, items: list[bytes] | None) -> None:
    """Write the list as Keras does, in place of the one that is there."""
    if items is None or items == _load(group, name):
        return
    for old in [key for key in group.attrs if key.rstrip("0123456789") == name]:
        del group.attrs[old]
    longest = max(map(len, items), default=1)
    step = max(1, _LIMIT // longest)
    if len(items) <= step:
        group.attrs[name] = items
        return
    for i, start in enumerate(range(0, len(items), step)):
        group.attrs[f"{name}{i}"] = np.asarray(items[start : start + step])
