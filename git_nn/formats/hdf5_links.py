"""Paths in an HDF5 file, followed along hard links only, and groups made along them.

Imported in the worker process only. A soft link may lead anywhere in the file and an
external link to any file of this machine, so neither is ever resolved.
"""

from __future__ import annotations

from typing import Any

import h5py
from h5py import h5l, h5s

from git_nn.errors import MergeError
from git_nn.objects.names import escape


def shown(path: bytes) -> str:
    """A path of a file as a person may see it."""
    return escape(path.decode("utf-8", "surrogateescape"))[:200]


def child(group: h5py.Group, name: bytes) -> Any:
    """The object that a hard link of ``group`` names; None where there is none."""
    links = group.id.links
    if not links.exists(name) or links.get_info(name).type != h5l.TYPE_HARD:
        return None
    return group[name]


def find(start: h5py.Group, path: bytes) -> Any:
    """The object at ``path`` below ``start``; None where there is none by hard links."""
    found: Any = start
    for part in path.split(b"/") if path else ():
        found = child(found, part) if isinstance(found, h5py.Group) else None
    return found


def ensure_groups(source: h5py.File, target: h5py.File, path: bytes) -> h5py.Group:
    """The group at ``path`` of ``target``; what is missing is made, with source's attributes."""
    here, model = target["/"], source["/"]
    for part in path.split(b"/") if path else ():
        model = child(model, part)
        if not isinstance(model, h5py.Group):
            raise MergeError(f"{shown(path)} is no group of theirs")
        if not here.id.links.exists(part):
            _copy_attributes(model, here.create_group(part))
        here = child(here, part)
        if not isinstance(here, h5py.Group):
            raise MergeError(f"{shown(path)} is a group on one side only")
    return here


def _copy_attributes(source: Any, target: Any) -> None:
    for name in source.attrs:
        copy_attribute(source, target, name)


def copy_attribute(source: Any, target: Any, name: str) -> None:
    """One attribute in its own datatype; references are left out, since they name other objects."""
    there = source.attrs.get_id(name)
    if there.get_space().get_simple_extent_type() == h5s.NULL:
        target.attrs[name] = h5py.Empty(there.dtype)
    elif h5py.check_ref_dtype(there.dtype) is None:
        target.attrs.create(name, source.attrs[name], shape=there.shape, dtype=there.dtype)
