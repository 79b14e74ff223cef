"""keras: the .keras file of Keras 3, a zip file of two JSON files and the weights.

``model.weights.h5`` is read where it stands in the zip file, by the worker that reads every HDF5
file; its tensors have the names that they have in a ``.weights.h5``, so both files
share what is stored. The CRC-32 of that member follows from the payloads, so it is a
checksum. ``config.json``, ``metadata.json`` and assets are literal. Keras' other container,
``model.weights.npz``, holds pickles, which are never read; plain arrays in it are tensors.
"""

from __future__ import annotations

import json
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from git_nn.errors import LayoutError, MergeError
from git_nn.formats import hdf5, npz
from git_nn.formats.base import FileSource, Plan, Source, Window, pieces
from git_nn.formats.zip_directory import Entry, Member, read_members
from git_nn.formats.zip_writer import Content, write_zip
from git_nn.objects.layout import Checksum, Extent, Layout, Payload

NAME = "keras"
VERSION = 1
SUFFIXES = (".keras",)
ABOUT = "model.save of Keras 3"

METADATA = "metadata.json"
CONFIG = "config.json"
WEIGHTS = {"model.weights.h5": hdf5, "model.weights.npz": npz}

_FIRST = b"PK\x03\x04"
_LOCAL = 30  # bytes of a local header before the name
_MAX_JSON = 8 * 1024 * 1024
FLEETING = frozenset({"date_saved"})
_SHARED = "shared_object_id"  # an address in the memory of the process that saved


def sniff(head: bytes) -> bool:
    """A zip file whose first member is Keras' metadata.json."""
    start = head.startswith(_FIRST) and head[_LOCAL:].startswith(METADATA.encode())
    return start and b'"keras_version"' in head[:4096]


def layout(source: Source) -> Layout:
    member = _weights(read_members(source))
    inner = WEIGHTS[member.name].layout(_window(source, member))
    payloads = tuple(_moved(payload, member.start) for payload in inner.payloads)
    checksums = tuple(Checksum(slot, member.start, member.stop) for slot in member.crc_slots)
    return Layout(NAME, VERSION, source.size, payloads, checksums=checksums, notes=inner.notes)


def _weights(members: dict[str, Member]) -> Member:
    found = [members[name] for name in WEIGHTS if name in members]
    if len(found) != 1:
        raise LayoutError("the zip file has no weights of Keras, or two of them")
    if not found[0].is_stored:
        raise LayoutError(f"{found[0].name} is compressed")
    return found[0]


def _window(source: Source, member: Member) -> Window:
    return Window(source, member.start, member.size)


def _moved(payload: Payload, by: int) -> Payload:
    extents = tuple(Extent(extent.offset + by, extent.length) for extent in payload.extents)
    return replace(payload, extents=extents)


def structure(source: Source) -> dict[str, Any]:
    """The two JSON files, how the model was compiled, and the layers that have weights."""
    members = read_members(source)
    config = _json(source, members, CONFIG)
    found = {"config": config, "metadata": _json(source, members, METADATA)}
    if isinstance(config, dict) and "compile_config" in config:
        found["compile_config"] = config.pop("compile_config")
    weights = _weights(members)
    if WEIGHTS[weights.name] is hdf5:
        found |= hdf5.structure(_window(source, weights))
    return {key: value for key, value in found.items() if value is not None}


def _json(source: Source, members: dict[str, Member], name: str) -> Any:
    """A JSON file of the archive, without the addresses that change with every save.

    None where it is not there, compressed or too long.
    """
    member = members.get(name)
    if member is None or not member.is_stored or member.size > _MAX_JSON:
        return None
    return json.loads(
        source.read(member.start, member.size), parse_constant=str, object_hook=_without_address
    )


def _without_address(value: dict[str, Any]) -> dict[str, Any]:
    value.pop(_SHARED, None)
    return value


def compose(ours: Path, theirs: Path, plan: Plan, out: Path) -> None:
    """Write ours changed by ``plan``: its weights, in the archive of the side that describes them.

    That is the side whose tensors have these names and shapes; where neither has, and the two
    configurations differ, it is a MergeError.
    """
    try:
        with ours.open("rb") as a, theirs.open("rb") as b:
            sides = [_Side.of(FileSource.of(side.fileno())) for side in (a, b)]
            with tempfile.TemporaryDirectory(dir=out.parent) as folder:
                _compose(sides[0], sides[1], plan, Path(folder), out)
    except (LayoutError, ValueError, RecursionError) as error:
        raise MergeError(f"the merged Keras file cannot be written: {error}") from error


@dataclass(frozen=True, slots=True)
class _Side:
    """One of the two files, its members, and its weights among them."""

    source: Source
    members: dict[str, Member]
    weights: Member

    @classmethod
    def of(cls, source: Source) -> _Side:
        members = read_members(source)
        return cls(source, members, _weights(members))

    @property
    def config(self) -> Any:
        return _json(self.source, self.members, CONFIG)

    def unpack(self, path: Path) -> Path:
        with path.open("wb") as file:
            file.writelines(pieces(self.source, self.weights.start, self.weights.size))
        return path

    def with_weights(self, path: Path) -> Iterator[tuple[Entry, Content]]:
        """The members in their order, the weights replaced by the file at ``path``."""
        for member in self.members.values():
            if member is self.weights:
                with path.open("rb") as file:
                    yield _packed(member.entry, FileSource.of(file.fileno()))
            else:
                yield member.entry, pieces(self.source, member.start, member.stored_size)


def _compose(ours: _Side, theirs: _Side, plan: Plan, folder: Path, out: Path) -> None:
    format_ = WEIGHTS[ours.weights.name]
    if theirs.weights.name != ours.weights.name:
        raise LayoutError("the two sides keep their weights in different ways")
    mine, other = ours.unpack(folder / "ours"), theirs.unpack(folder / "theirs")
    merged = folder / "merged"
    format_.compose(mine, other, plan, merged)
    found = _signature(format_, merged)
    if found == _signature(format_, mine):
        side = ours
    elif found == _signature(format_, other):
        side = theirs
    elif ours.config == theirs.config:
        side = ours
    else:
        raise MergeError(
            "both sides changed the structure of the model, and no config.json describes the result"
        )
    with out.open("wb") as file:
        write_zip(file, side.with_weights(merged))


def _signature(format_: Any, path: Path) -> dict[str, Any]:
    """Dtype and shape of every tensor."""
    with path.open("rb") as file:
        found = format_.layout(FileSource.of(file.fileno()))
    return {payload.name: (payload.dtype, payload.shape) for payload in found.payloads}


def _packed(entry: Entry, source: Source) -> tuple[Entry, Content]:
    crc = 0
    for piece in pieces(source, 0, source.size):
        crc = zlib.crc32(piece, crc)
    size = source.size
    return replace(entry, crc=crc, size=size, stored_size=size), pieces(source, 0, size)
