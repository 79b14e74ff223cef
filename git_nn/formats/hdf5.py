"""HDF5: Keras full models (.h5), Keras weights (.weights.h5), and any other HDF5 file.

Nothing here loads h5py. HDF5 files are parsed, and composed files written, by a worker
process (hdf5_process, hdf5_worker), since the HDF5 library can be crashed by a damaged
file. Only offsets and attributes are read there, never a dataset: a dataset may keep its
data in any other file of this machine.

Which dataset becomes a payload, and in which form: docs/spec-forms.md.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from git_nn.errors import LayoutError, MergeError
from git_nn.formats.base import BytesSource, Key, Plan, Source
from git_nn.objects.layout import Extent, Layout, Payload

NAME = "hdf5"
VERSION = 1
SUFFIXES = (".h5", ".hdf5", ".hdf", ".he5")
ABOUT = "Keras .h5 and .weights.h5, and any other HDF5"

MAGIC = b"\x89HDF\r\n\x1a\n"
_MEMORY = 2 * 1024**3
# CPU time decides, since it depends less on what else the machine does than the clock.
_CPU_SECONDS = 4
_MOST_CPU_SECONDS = 120
_BYTES_PER_SECOND = 10_000_000  # a file of many tiny datasets takes this long


def sniff(head: bytes) -> bool:
    """The signature stands at 0 or, after a user block, at 512, 1024, 2048 and so on."""
    if head.startswith(MAGIC):
        return True
    at = 512
    while at < len(head):
        if head.startswith(MAGIC, at):
            return True
        at *= 2
    return False


def layout(source: Source) -> Layout:
    """The datasets of ``source`` as payloads, in the order of their names."""
    rows, notes = _ask("layout", source)
    payloads = tuple(_payload(row) for row in rows)
    return Layout(NAME, VERSION, source.size, payloads, notes=tuple(map(str, notes)))


def structure(source: Source) -> dict[str, Any]:
    """Root attributes (Keras' configurations parsed) and the layers of a weights file."""
    found = json.loads(_ask("structure", source))
    if not isinstance(found, dict):
        raise LayoutError("the worker gave no structure")
    return found


def keys(source: Source) -> dict[Key, str]:
    """The attributes of groups and datasets, but for those that follow from the tensors."""
    return {(where, name): digest for where, name, digest in _ask("keys", source)}


def _ask(operation: str, source: Source) -> Any:
    """What the worker says about ``source``. Imported late: most files are only sniffed at."""
    from git_nn.formats import hdf5_process

    cpu = min(_CPU_SECONDS + source.size // _BYTES_PER_SECOND, _MOST_CPU_SECONDS)
    limits = hdf5_process.Limits(cpu, 3 * cpu, _MEMORY)
    return hdf5_process.call(operation, [source.size], [source], limits)


def compose(ours: Path, theirs: Path, plan: Plan, out: Path) -> None:
    """Write ``ours`` changed by ``plan`` to ``out``; see formats/base.py.

    Keras' own lists (layer_names, weight_names) and configurations follow the tensors; where
    neither side's configuration describes the result, that is a MergeError.
    """
    import shutil

    from git_nn.formats import hdf5_process

    shutil.copyfile(ours, out)
    replaced = sorted(plan.replaced)
    sources = [_Replaced(plan.replaced, name) for name in replaced]
    args = [
        [os.fsencode(path.absolute()) for path in (ours, theirs, out)],
        sorted(plan.removed),
        sorted(plan.from_theirs),
        replaced,
        sorted(plan.keys),
    ]
    size = ours.stat().st_size + theirs.stat().st_size
    # A merge of a person's own files takes what it takes; the limit only ends what hangs.
    cpu = 60 + size // _BYTES_PER_SECOND
    limits = hdf5_process.Limits(cpu, 10 * cpu, _MEMORY + 8 * size, writes=True)
    try:
        hdf5_process.call("compose", args, sources, limits)
    except BaseException as error:
        out.unlink(missing_ok=True)
        if isinstance(error, LayoutError):
            raise MergeError(f"the HDF5 files cannot be merged: {error}") from error
        raise


@dataclass
class _Replaced:
    """The new bytes of one tensor behind 8 bytes of their length, loaded when they are asked for.

    They are let go with the last byte, so that one tensor at a time is in memory.
    """

    tensors: Mapping[str, bytes]
    name: str
    size: int = 0
    _content: BytesSource | None = None

    def read(self, offset: int, length: int) -> bytes:
        if self._content is None:
            data = self.tensors[self.name]
            self._content = BytesSource(len(data).to_bytes(8, "little") + data)
            self.size = self._content.size
        piece = self._content.read(offset, length)
        if offset + length == self.size:
            self._content = None
        return piece


def _payload(row: Any) -> Payload:
    """One payload as the worker sent it; a damaged file may have taken over the worker."""
    name, dtype, shape, numbers, form = row
    if not all(type(word) is str for word in (name, dtype, form)):
        raise LayoutError("the worker gave no layout")
    if not all(type(number) is int for number in (*shape, *numbers)):
        raise LayoutError("the worker gave no layout")
    extents = tuple(map(Extent, numbers[::2], numbers[1::2]))
    return Payload(name, dtype, tuple(shape), extents, form)
