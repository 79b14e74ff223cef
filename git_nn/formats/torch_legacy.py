"""torch-legacy: what torch.save wrote before PyTorch 1.6, and still writes when told to.

Five pickles in a row: a magic number, the protocol version, facts about the writer's
machine, the object, and the keys of the storages; then for each key the number of elements
as little-endian int64 and the raw elements, little-endian too whatever the machine was.
The keys are addresses in the memory of the writer, and order the storages, so every save
has others: here a storage is known by its place among those that the object refers to.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from git_nn.errors import LayoutError
from git_nn.formats.base import Source
from git_nn.formats.pickle_machine import Budget, Machine
from git_nn.formats.pickle_opcodes import run
from git_nn.formats.pickle_plain import plain
from git_nn.formats.torch_place import place
from git_nn.formats.torch_walk import Storage, references, storage_of
from git_nn.objects.layout import Extent, Layout
from git_nn.objects.tensor import dtype_bits

NAME = "torch-legacy"
VERSION = 1
SUFFIXES = (".pt", ".pth", ".bin", ".ckpt")
ABOUT = "torch.save before PyTorch 1.6"

_MAGIC = 0x1950A86A20F9469CFC6C
_MAGIC_BYTES = b"\x8a\x0a" + _MAGIC.to_bytes(10, "little")  # the opcode LONG1 and the number
_PROTOCOL = 1001


def sniff(head: bytes) -> bool:
    return head.startswith(b"\x80") and _MAGIC_BYTES in head[:32]


def layout(source: Source) -> Layout:
    file = read(source)
    placed = place(references(file.value, file.storage_of), file.storages, set())
    return Layout(NAME, VERSION, source.size, tuple(placed.payloads), tuple(placed.views))


def structure(source: Source) -> dict[str, Any]:
    """The plain values of the checkpoint: epoch, learning rates, class names."""
    return plain(read(source).value)


@dataclass(frozen=True, slots=True)
class Legacy:
    """The object, where its storages stand by ordinal, and the ordinals of their keys."""

    value: Any
    storages: Mapping[str, Extent]
    ordinals: Mapping[str, str]

    def storage_of(self, node: Any) -> Storage | None:
        storage = storage_of(node)
        return storage and replace(storage, key=self.ordinals[storage.key])


def read(source: Source, budget: Budget | None = None) -> Legacy:
    """The content of a file; LayoutError where it is not one or is too short."""
    machine = Machine(source, budget=budget)
    values = []
    stored: list[Storage] = []
    for _ in range(5):
        machine = Machine(source, machine.end, budget=machine.budget)
        values.append(run(machine))
        stored += filter(None, map(storage_of, machine.persistent))
    magic, protocol, _, value, keys = values
    if magic != _MAGIC or protocol != _PROTOCOL or not isinstance(keys, list):
        raise LayoutError("not what torch wrote before 1.6")
    ordinals: dict[str, str] = {}
    for storage in stored:
        ordinals.setdefault(storage.key, str(len(ordinals)))
    widths = {storage.key: _width(storage) for storage in reversed(stored)}
    return Legacy(value, _storages(source, machine.end, keys, widths, ordinals), ordinals)


def _storages(
    source: Source, start: int, keys: list[Any], widths: dict[str, int], ordinals: dict[str, str]
) -> dict[str, Extent]:
    found: dict[str, Extent] = {}
    for key in keys:
        if not isinstance(key, str) or key not in widths:
            raise LayoutError("the file has a storage that its pickle does not name")
        count = int.from_bytes(source.read(start, 8), "little", signed=True)
        extent = Extent(start + 8, count * widths[key])
        if count < 0 or extent.stop > source.size:
            raise LayoutError("the file has a storage that leaves it")
        found[ordinals[key]] = extent
        start = extent.stop
    return found


def _width(storage: Storage) -> int:
    """Bytes of an element; kinds without a name here, such as quint4x2, have one."""
    return dtype_bits(storage.dtype) // 8 if storage.dtype else 1
