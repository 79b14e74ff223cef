"""earlier: which version a path's new content most likely comes from.

The pointer in the index is the earlier version; its layout also decides how the content
is read (see clean). For a path that is new there, the next best is what HEAD has, and
then the file beside it that its name follows: ``step-200.pt`` after ``step-100.pt``.
"""

from __future__ import annotations

import os
from bisect import bisect
from collections.abc import Mapping
from typing import Any

from git_nn.errors import GitNNError
from git_nn.gitio.objects import Reader
from git_nn.objects import pointer as pointers
from git_nn.objects.names import natural_key
from git_nn.objects.pointer import Pointer, looks_like_pointer


def pointer_at(objects: Reader, spec: str) -> Pointer | None:
    """The pointer that Git has under ``spec``; None for anything else."""
    info = objects.info(spec)
    if info is None or info[1] != "blob" or info[2] > pointers.MAX_SIZE:
        return None
    text = objects.read(spec) or b""
    try:
        return pointers.parse(text) if looks_like_pointer(text[:4096]) else None
    except GitNNError:
        return None


def in_index(objects: Reader, path: bytes) -> Pointer | None:
    return pointer_at(objects, f":{os.fsdecode(path)}")


def likely(
    objects: Reader, path: bytes, listed: Mapping[bytes, str], cleaned: Mapping[bytes, Pointer]
) -> Pointer | None:
    """A version to code against, for a path that the index does not have.

    ``listed`` is the index (path -> blob); ``cleaned`` are paths that this command has just
    cleaned, since Git adds them to the index only when it ends.
    """
    found = pointer_at(objects, f"HEAD:{os.fsdecode(path)}")
    if found is not None:
        return found
    folder, suffix = path.rpartition(b"/")[0], path.rpartition(b".")[2]
    beside = [name for name in {*listed, *cleaned} if _is_beside(name, folder, suffix)]
    if not beside:
        return None
    names = sorted(beside, key=_natural)
    name = names[max(bisect(names, _natural(path), key=_natural) - 1, 0)]
    return cleaned.get(name) or pointer_at(objects, listed[name])


def _natural(path: bytes) -> Any:
    return natural_key(os.fsdecode(path))


def _is_beside(name: bytes, folder: bytes, suffix: bytes) -> bool:
    return name.rpartition(b"/")[0] == folder and name.rpartition(b".")[2] == suffix
