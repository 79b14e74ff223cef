"""torch: the zip file that torch.save writes since PyTorch 1.6; read without torch.

``ROOT/data.pkl`` is a pickle, which is interpreted and never run; ``ROOT/data/KEY`` are
the storages. torch_place.py says which payloads and views they become.
The CRC-32s of the storages follow from the payloads, so they are checksums; so is the part of
the serialization id that combines them, a chain. Two saves that differ only in the values of
tensors have the same literal bytes.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from git_nn.errors import LayoutError
from git_nn.formats.base import Plan, Source
from git_nn.formats.pickle_machine import Machine
from git_nn.formats.pickle_opcodes import run
from git_nn.formats.pickle_plain import plain
from git_nn.formats.torch_place import place
from git_nn.formats.torch_walk import Reference, references, storage_of
from git_nn.formats.zip_directory import STORED, Member, read_members
from git_nn.objects.layout import CHAIN_LENGTH, Chain, Checksum, Extent, Layout, Payload, View
from git_nn.objects.tensor import dtype_bits, is_dtype

NAME = "torch"
VERSION = 1
SUFFIXES = (".pt", ".pth", ".bin", ".ckpt")
ONE_CONTAINER = True
RESIZES = True
ABOUT = "torch.save since PyTorch 1.6, Lightning checkpoints, TorchScript"

_PICKLES = {"data.pkl": "data/", "constants.pkl": "constants/"}


def sniff(head: bytes) -> bool:
    """A zip whose first members are those of torch; other zips are other formats."""
    if not head.startswith(b"PK\x03\x04"):
        return False
    extra = 30 + int.from_bytes(head[26:28], "little")
    return b"/data.pkl" in head or head[extra : extra + 2] == b"FB"  # its alignment field


def layout(source: Source) -> Layout:
    members = read_members(source)
    root = archive_root(members)
    big = _is_big_endian(source, members.get(f"{root}byteorder"))
    payloads: list[Payload] = []
    views: list[View] = []
    checksums: list[Checksum] = []
    taken: set[str] = set()
    for pickle, folder in _PICKLES.items():
        if f"{root}{pickle}" not in members:
            continue
        named = _references(value_of(source, members[f"{root}{pickle}"]), pickle, big=big)
        stored = {
            reference.storage.key: members.get(f"{root}{folder}{reference.storage.key}")
            for reference in named
        }
        used = {key: member for key, member in stored.items() if member and is_plain(member)}
        places = {key: Extent(member.start, member.size) for key, member in used.items()}
        placed = place(named, places, taken)
        payloads += placed.payloads
        views += placed.views
        for member in used.values():
            slots = member.crc_slots if member.size else ()
            checksums += (Checksum(slot, member.start, member.stop) for slot in slots)
    chains, of_id = _serialization_id(members, root)
    return Layout(
        NAME, VERSION, source.size, tuple(payloads), tuple(views), (*checksums, *of_id), chains
    )


def is_plain(member: Member) -> bool:
    return member.method == STORED and member.size == member.stored_size


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


def compose(ours: Path, theirs: Path, plan: Plan, out: Path) -> None:
    """Ours changed by ``plan``, where both are plain values and tensors: see torch_write."""
    from git_nn.formats import torch_write

    torch_write.compose(ours, theirs, plan, out)


def structure(source: Source) -> dict[str, Any]:
    """The plain values of the checkpoint: epoch, learning rates, class names."""
    members = read_members(source)
    return plain(value_of(source, members[f"{archive_root(members)}data.pkl"]))


def archive_root(members: dict[str, Member]) -> str:
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


def value_of(source: Source, member: Member) -> Any:
    if member.method != STORED:
        raise LayoutError(f"{member.name!r} is compressed")
    return run(Machine(source, member.start, member.stop))


def _references(value: Any, pickle: str, *, big: bool) -> list[Reference]:
    """The tensors of one pickle; those of TorchScript's constants have that as a prefix."""
    found = references(value, storage_of)
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
