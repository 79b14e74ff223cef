"""A merged GGUF file without its payloads: key-values of two files, and tensors in any number.

The key-values under ``tokenizer.`` are one: tokens of one version are nothing with the scores
and merges of another.
"""

from __future__ import annotations

import struct
from hashlib import sha256
from typing import BinaryIO

from git_nn.errors import LayoutError, MergeError
from git_nn.formats import gguf
from git_nn.formats.base import Arrangement, Key, Source, pieces
from git_nn.objects.tensor import nbytes

_TOKENIZER = "tokenizer."
_ALIGNMENT = "general.alignment"
_NUMBERS = {dtype: number for number, dtype in gguf.TYPES.items()}

Spans = dict[str, tuple[int, int]]  # key -> where the whole key-value stands


def keys(source: Source) -> dict[Key, str]:
    """A digest of each key-value; of those of the tokenizer together."""
    digests: dict[str, list[bytes]] = {}
    for key, (start, stop) in sorted(_spans(source)[1].items()):
        digest = sha256()
        for piece in pieces(source, start, stop - start):
            digest.update(piece)
        digests.setdefault(_name(key), []).append(digest.digest())
    return {("", name): sha256(b"".join(found)).hexdigest() for name, found in digests.items()}


def arrange(ours: Source, theirs: Source, plan: Arrangement, out: BinaryIO) -> None:
    """Write everything but the payloads: ours' order and key-values, then what theirs adds."""
    try:
        _arrange(ours, theirs, plan, out)
    except (LayoutError, ValueError, KeyError, struct.error) as error:
        raise MergeError(f"the merged GGUF file cannot be written: {error}") from error


def _arrange(ours: Source, theirs: Source, plan: Arrangement, out: BinaryIO) -> None:
    order, mine = _spans(ours)
    their_order, other = _spans(theirs)
    if order != their_order or ours.read(4, 4) != theirs.read(4, 4):
        raise LayoutError("the two sides are of different versions of GGUF")
    if plan.aliases:
        raise LayoutError("it has no place for tensors that share their values")
    homes = _merged(mine, other, {name for _, name in plan.keys})
    alignment = gguf.ALIGNMENT
    for key, is_theirs in homes.items():
        if key == _ALIGNMENT:
            alignment = gguf.alignment_of(theirs if is_theirs else ours)
    in_order = (*gguf.tensor_names(ours), *gguf.tensor_names(theirs), *plan.tensors)
    names = [name for name in dict.fromkeys(in_order) if name in plan.tensors]
    out.write(ours.read(0, 8) + struct.pack(order + "QQ", len(names), len(homes)))
    for key, is_theirs in homes.items():
        source, (start, stop) = (theirs, other[key]) if is_theirs else (ours, mine[key])
        out.writelines(pieces(source, start, stop - start))
    position = 0
    for name in names:
        dtype, shape = plan.tensors[name]
        raw, number = name.encode("utf-8", "surrogateescape"), _NUMBERS[dtype.removesuffix("be")]
        codes = f"{order}Q{len(raw)}sI{len(shape)}QIQ"
        out.write(struct.pack(codes, len(raw), raw, len(shape), *shape[::-1], number, position))
        position = _up(position + nbytes(dtype, shape), alignment)
    out.truncate(_up(out.tell(), alignment) + position)


def _merged(mine: Spans, other: Spans, from_theirs: set[str]) -> dict[str, bool]:
    """The keys of the result, and whether each is theirs."""
    kept = [key for key in mine if _name(key) not in from_theirs or key in other]
    added = [key for key in other if _name(key) in from_theirs]
    return {key: _name(key) in from_theirs for key in dict.fromkeys((*kept, *added))}


def _name(key: str) -> str:
    return "tokenizer" if key.startswith(_TOKENIZER) else key


def _spans(source: Source) -> tuple[str, Spans]:
    """The byte order of a file, and its key-values."""
    order, start, stops = gguf.pair_stops(source)
    found: Spans = {}
    for key, stop in stops:
        if key in found:
            raise LayoutError(f"{key[:80]!r} is there twice")
        found[key] = (start, stop)
        start = stop
    return order, found


def _up(number: int, step: int) -> int:
    return -(-number // step) * step
