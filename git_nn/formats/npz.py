"""npz: a zip file of .npy files, as numpy.savez and savez_compressed write it.

A tensor is called like its member without ``.npy``, folders and all. Of a stored member the
header stays literal and the array is the payload; of a deflated one the whole stream is the
payload, in the form ``npy;deflate`` or ``fortran;npy;deflate`` (docs/spec-forms.md), and no
more of it is inflated here than its header. The CRC-32 of a stored member follows from its
payload, so it is a checksum. Members that hold no array of numbers stay literal.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from git_nn.errors import LayoutError, MergeError
from git_nn.formats.base import FileSource, Plan, Source, pieces
from git_nn.formats.npy import MAX_HEADER, Array, header_of, read_array
from git_nn.formats.zip_directory import Entry, Member, read_members
from git_nn.formats.zip_writer import Content, write_zip
from git_nn.objects.layout import Checksum, Extent, Layout, Payload
from git_nn.objects.names import is_canonical
from git_nn.objects.tensor import Shape

NAME = "npz"
VERSION = 1
SUFFIXES = (".npz",)
RESIZES = True
ABOUT = "arrays of numpy in a zip file, compressed or not"

DEFLATED = 8
SUFFIX = ".npy"

_LOCAL = 30  # bytes of a local header before the name
_STREAM = MAX_HEADER + 4096  # bytes of a deflate stream that are enough for any header


def sniff(head: bytes) -> bool:
    """A zip file whose first member is an .npy file."""
    name_size = int.from_bytes(head[26:28], "little")
    return head.startswith(b"PK\x03\x04") and head[_LOCAL:][:name_size].endswith(SUFFIX.encode())


def layout(source: Source) -> Layout:
    payloads: list[Payload] = []
    checksums: list[Checksum] = []
    for member, array in arrays(source, read_members(source)):
        payloads.append(_payload(member, array))
        if member.is_stored:
            slots = member.crc_slots
            checksums += (Checksum(slot, member.start, member.stop) for slot in slots)
    return Layout(NAME, VERSION, source.size, tuple(payloads), checksums=tuple(checksums))


def arrays(source: Source, members: dict[str, Member]) -> Iterator[tuple[Member, Array]]:
    """The members that are tensors, with what their headers say."""
    for member in members.values():
        array = _array(source, member)
        if array is not None:
            yield member, array


def tensor_name(member: Member) -> str:
    return member.name.removesuffix(SUFFIX)


def _array(source: Source, member: Member) -> Array | None:
    if not member.name.endswith(SUFFIX) or not is_canonical(tensor_name(member)):
        return None
    if not (member.is_stored or member.method == DEFLATED):
        return None
    try:
        array = read_array(partial(first, source, member))
    except (LayoutError, ValueError, zlib.error):
        return None  # what this member is does not matter to the others
    return array if array is not None and array.start + array.length == member.size else None


def first(source: Source, member: Member, limit: int) -> bytes:
    """Up to ``limit`` bytes of the start of the file that ``member`` is."""
    if member.is_stored:
        return source.read(member.start, min(limit, member.size))
    stream = source.read(member.start, min(2 * limit, _STREAM, member.stored_size))
    return zlib.decompressobj(-zlib.MAX_WBITS).decompress(stream, limit)


def _payload(member: Member, array: Array) -> Payload:
    name = tensor_name(member)
    order = ["fortran"] if array.fortran else []
    if not array.length:
        return Payload(name, array.dtype, array.shape, ())
    if member.is_stored:
        extents = (Extent(member.start + array.start, array.length),)
        return Payload(name, array.dtype, array.shape, extents, ";".join(order))
    extents = (Extent(member.start, member.stored_size),)
    return Payload(name, array.dtype, array.shape, extents, ";".join([*order, "npy", "deflate"]))


def compose(ours: Path, theirs: Path, plan: Plan, out: Path) -> None:
    """Write ours changed by ``plan``: ours' members in their order, then what theirs adds.

    A compressed member is copied as the stream that it is. A replaced tensor has the dtype and the
    compression of the side whose array is as long, if there is one.
    """
    try:
        with ours.open("rb") as a, theirs.open("rb") as b, out.open("wb") as file:
            sides = [_Side.of(FileSource.of(side.fileno())) for side in (a, b)]
            write_zip(file, _composed(sides[0], sides[1], plan))
    except (LayoutError, ValueError, zlib.error) as error:
        raise MergeError(f"the merged npz file cannot be written: {error}") from error


@dataclass(frozen=True, slots=True)
class _Side:
    """One of the two files: all its members, and the arrays by the names of the tensors."""

    source: Source
    members: dict[str, Member]
    arrays: dict[str, tuple[Member, Array]]

    @classmethod
    def of(cls, source: Source) -> _Side:
        members = read_members(source)
        found = {tensor_name(member): (member, array) for member, array in arrays(source, members)}
        return cls(source, members, found)

    def copy(self, member: Member) -> tuple[Entry, Content]:
        return member.entry, pieces(self.source, member.start, member.stored_size)


def _composed(ours: _Side, theirs: _Side, plan: Plan) -> Iterator[tuple[Entry, Content]]:
    missing = plan.from_theirs - theirs.arrays.keys()
    stray = plan.replaced.keys() - ours.arrays.keys() - theirs.arrays.keys()
    if missing or stray:
        raise LayoutError(f"no side has an array {min(missing or stray)!r}")
    tensors = {member.name: name for name, (member, _) in ours.arrays.items()}
    for member in ours.members.values():
        if member.name not in tensors:
            yield ours.copy(member)
        else:
            yield from _chosen(tensors[member.name], ours, theirs, plan)
    for name in theirs.arrays:
        if name not in ours.arrays:
            yield from _chosen(name, ours, theirs, plan)


def _chosen(name: str, ours: _Side, theirs: _Side, plan: Plan) -> Iterator[tuple[Entry, Content]]:
    """The member for a tensor, or none."""
    if name in plan.from_theirs:
        yield theirs.copy(theirs.arrays[name][0])
    elif name in plan.replaced:
        shape = plan.tensors[name][1] if name in plan.tensors else ()
        yield _replaced(name, plan.replaced[name], shape, ours, theirs)
    elif name in ours.arrays and name not in plan.removed:
        yield ours.copy(ours.arrays[name][0])


def _replaced(name: str, data: bytes, shape: Shape, *sides: _Side) -> tuple[Entry, Content]:
    """A member with new packed values in the place of the array of a side that is as long; where
    none is, of the first side, in ``shape``."""
    models = [side.arrays[name] for side in sides if name in side.arrays]
    member, array = next(
        ((member, array) for member, array in models if array.length == len(data)), models[0]
    )
    if array.length != len(data):
        array = replace(array, shape=shape, fortran=False)
        if array.length != len(data):
            raise LayoutError(f"{name!r}: the merged values differ in size from either side's")
    content = header_of(array) + data
    stored = content
    if not member.is_stored:
        stream = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)  # as numpy does
        stored = stream.compress(content) + stream.flush()
    entry = replace(
        member.entry, crc=zlib.crc32(content), size=len(content), stored_size=len(stored)
    )
    return entry, [stored]
