"""torch: the zip file that torch.save writes since PyTorch 1.6; read without torch.

``ROOT/data.pkl`` is a pickle, which is interpreted and never run; ``ROOT/data/KEY`` are
the storages, one payload each. A storage that a tensor fills in C order is a payload of that
tensor's name, dtype and shape; every other tensor on it is a view. A storage that is seen
only in parts or transposed is called ``storage:KEY``. What cannot be placed stays literal.
The CRC-32s of the storages follow from the payloads, so they are checksums; so is the part of
the serialization id that combines them, a chain. Two saves that differ only in the values of
tensors have the same literal bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from git_nn.errors import LayoutError
from git_nn.formats.base import Source
from git_nn.formats.pickle_machine import Machine
from git_nn.formats.pickle_opcodes import run
from git_nn.formats.torch_plain import plain
from git_nn.formats.torch_walk import Reference, references
from git_nn.formats.zip_directory import STORED, Member, read_members
from git_nn.objects.layout import CHAIN_LENGTH, Chain, Checksum, Extent, Layout, Payload, View
from git_nn.objects.names import natural_key
from git_nn.objects.tensor import contiguous_strides, dtype_bits, is_dtype, nbytes

NAME = "torch"
VERSION = 1
SUFFIXES = (".pt", ".pth", ".bin", ".ckpt")
ABOUT = "torch.save since PyTorch 1.6, Lightning checkpoints, TorchScript"

_PICKLES = {"data.pkl": "data/", "constants.pkl": "constants/"}
_SLACK = 64 * 1024 * 1024  # a view may be larger than its storage by this much (expanded tensors)


def sniff(head: bytes) -> bool:
    """A zip whose first members are those of torch; other zips are other formats."""
    if not head.startswith(b"PK\x03\x04"):
        return False
    extra = 30 + int.from_bytes(head[26:28], "little")
    return b"/data.pkl" in head or head[extra : extra + 2] == b"FB"  # its alignment field


def layout(source: Source) -> Layout:
    members = read_members(source)
    root = _root(members)
    big = _is_big_endian(source, members.get(f"{root}byteorder"))
    payloads: list[Payload] = []
    views: list[View] = []
    checksums: list[Checksum] = []
    taken: set[str] = set()
    for pickle, folder in _PICKLES.items():
        if f"{root}{pickle}" not in members:
            continue
        named = _references(_value(source, members[f"{root}{pickle}"]), pickle, big=big)
        taken |= {reference.name for reference in named if reference.name is not None}
        for key, found in _by_storage(named).items():
            member = members.get(f"{root}{folder}{key}")
            if member is None or member.method != STORED or member.size != member.stored_size:
                continue
            payload, seen = _place(member, found, _free(f"storage:{key}", taken))
            payloads.append(payload)
            views += seen
            if member.size:
                slots = member.crc_slots
                checksums += (Checksum(slot, member.start, member.stop) for slot in slots)
    chains, of_id = _serialization_id(members, root)
    return Layout(
        NAME, VERSION, source.size, tuple(payloads), tuple(views), (*checksums, *of_id), chains
    )


def _serialization_id(
    members: dict[str, Member], root: str
) -> tuple[tuple[Chain, ...], tuple[Checksum, ...]]:
    """Of its forty digits the last twenty combine the CRC-32s of all members before it.

    The first twenty depend on the names of the members only, and stay literal.
    """
    last = members.get(f"{root}.data/serialization_id")
    if last is None or last.size != 2 * CHAIN_LENGTH or last.method != STORED:
        return (), ()
    before = [member for member in members.values() if member.start < last.start]
    if not before or any(member.method != STORED for member in before):
        return (), ()  # the CRC-32 of a compressed member is that of bytes that are not here
    spans = tuple((member.start, member.stop) for member in before)
    slots = tuple(Checksum(slot, last.start, last.stop) for slot in last.crc_slots)
    return (Chain(last.start + CHAIN_LENGTH, spans),), slots


def structure(source: Source) -> dict[str, Any]:
    """The plain values of the checkpoint: epoch, learning rates, class names."""
    members = read_members(source)
    return plain(_value(source, members[f"{_root(members)}data.pkl"]))


def _root(members: dict[str, Member]) -> str:
    """The folder of the archive, which torch names after the file; with a slash."""
    roots = [
        name.removesuffix("data.pkl")
        for name in members
        if name.endswith("/data.pkl") and name.count("/") == 1
    ]
    if len(roots) != 1:
        raise LayoutError("the zip file has no data.pkl, or several")
    return roots[0]


def _is_big_endian(source: Source, member: Member | None) -> bool:
    return member is not None and member.size == 3 and source.read(member.start, 3) == b"big"


def _value(source: Source, member: Member) -> Any:
    if member.method != STORED:
        raise LayoutError(f"{member.name!r} is compressed")
    return run(Machine(source, member.start, member.stop))


def _references(value: Any, pickle: str, *, big: bool) -> list[Reference]:
    """The tensors of one pickle; those of TorchScript's constants have that as a prefix."""
    found = references(value)
    if pickle == "constants.pkl":
        found = [replace(r, name=None if r.name is None else f"constants.{r.name}") for r in found]
    if big:
        found = [
            replace(r, dtype=_big(r.dtype), storage=replace(r.storage, dtype=_big(r.storage.dtype)))
            for r in found
        ]
    return found


def _big(dtype: str) -> str:
    """The big-endian form of a dtype; empty where it has none."""
    if not dtype or dtype_bits(dtype) == 8:
        return dtype
    return f"{dtype}be" if is_dtype(f"{dtype}be") else ""


def _by_storage(found: list[Reference]) -> dict[str, list[Reference]]:
    groups: dict[str, list[Reference]] = {}
    for reference in found:
        groups.setdefault(reference.storage.key, []).append(reference)
    return groups


def _free(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "~"
    taken.add(name)
    return name


def _place(member: Member, found: list[Reference], spare: str) -> tuple[Payload, list[View]]:
    """The payload of a storage, and its other tensors as views; ``spare`` is its own name."""
    extents = (Extent(member.start, member.size),) if member.size else ()
    usable = [reference for reference in found if _fits(reference, member.size)]
    whole = [reference for reference in usable if _fills(reference, member.size)]
    if whole:
        owner = min(whole, key=lambda reference: natural_key(reference.name or ""))
        payload = Payload(owner.name or "", owner.dtype, owner.shape, extents)
        usable.remove(owner)
    else:
        dtype = found[0].storage.dtype or "u8"
        if member.size % (dtype_bits(dtype) // 8):
            dtype = "u8"
        shape = (member.size // (dtype_bits(dtype) // 8),)
        payload = Payload(spare, dtype, shape, extents)
    return payload, list(_views(usable, payload.name))


def _views(found: list[Reference], payload: str) -> Iterator[View]:
    for r in found:
        yield View(r.name or "", r.dtype, r.shape, payload, r.offset, r.strides)


def _fits(reference: Reference, size: int) -> bool:
    """Whether the tensor has a name and a dtype and stays inside its storage."""
    if reference.name is None or not reference.dtype:
        return False
    if nbytes(reference.dtype, reference.shape) > size + _SLACK:
        return False
    if 0 in reference.shape:
        return True
    steps = zip(reference.shape, reference.strides, strict=True)
    last = reference.offset + sum((dim - 1) * step for dim, step in steps)
    return nbytes(reference.dtype, (last + 1,)) <= size


def _fills(reference: Reference, size: int) -> bool:
    """Whether the tensor is the whole storage in C order."""
    return (
        reference.offset == 0
        and reference.strides == contiguous_strides(reference.shape)
        and nbytes(reference.dtype, reference.shape) == size
    )
