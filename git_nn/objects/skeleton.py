"""skeleton: a file without its payloads.

The runs of a skeleton, in order, say how to write the file: literal bytes, blobs (long
literals, stored by content id), parts of payloads, and CRC-32s that are computed while
writing. Payloads are named, not identified, so two branches that changed different
tensors of the same file have the same skeleton, and a text merge of their pointers
gives a file. The encoding is canonical and specified in docs/spec.md.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from git_nn.errors import PointerError
from git_nn.objects.encoding import pack, unpack
from git_nn.objects.layout import CHAIN_LENGTH
from git_nn.objects.names import is_canonical, natural_key
from git_nn.objects.oid import Oid

VERSION = 1
INLINE_LIMIT = 65536  # a literal run of this length or more is stored as blobs


@dataclass(frozen=True, slots=True)
class Literal:
    data: bytes

    @property
    def length(self) -> int:
        return len(self.data)


@dataclass(frozen=True, slots=True)
class Blob:
    """Literal bytes that stand in the store under ``oid``."""

    oid: Oid
    length: int


@dataclass(frozen=True, slots=True)
class Part:
    """Bytes [offset, offset + length) of the payload called ``payload``."""

    payload: str
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class Crc32:
    """Four bytes: the little-endian CRC-32 of [start, stop) of the finished file."""

    start: int
    stop: int
    length: int = 4


@dataclass(frozen=True, slots=True)
class Crc32Chain:
    """Twenty digits: ``chain_digits`` of the CRC-32s of ``spans`` of the finished file."""

    spans: tuple[tuple[int, int], ...]
    length: int = CHAIN_LENGTH


Run = Literal | Blob | Part | Crc32 | Crc32Chain


def chain_digits(crcs: Iterable[int]) -> bytes:
    """The second half of torch's serialization id: CRC-32s combined, as a decimal number."""
    seed = 0
    for crc in crcs:
        seed ^= (crc + 0x9E3779B9 + (seed << 6) + (seed >> 2)) & 0xFFFF_FFFF_FFFF_FFFF
    return b"%0*d" % (CHAIN_LENGTH, seed)


@dataclass(frozen=True, slots=True)
class Skeleton:
    runs: tuple[Run, ...]

    @property
    def size(self) -> int:
        """Bytes of the whole file."""
        return sum(run.length for run in self.runs)

    def payload_lengths(self) -> dict[str, int]:
        """Bytes that the file takes from each payload."""
        lengths: dict[str, int] = {}
        for run in self.runs:
            if isinstance(run, Part):
                lengths[run.payload] = lengths.get(run.payload, 0) + run.length
        return lengths

    def blobs(self) -> list[Blob]:
        return [run for run in self.runs if isinstance(run, Blob)]

    def parts(self, payload: str) -> list[Part]:
        """The parts of one payload, in payload order."""
        found = [run for run in self.runs if isinstance(run, Part) and run.payload == payload]
        return sorted(found, key=lambda part: part.offset)


def encode(skeleton: Skeleton) -> bytes:
    """The one valid encoding of ``skeleton``."""
    payloads = sorted(skeleton.payload_lengths(), key=natural_key)
    index = {name: i for i, name in enumerate(payloads)}
    return pack([VERSION, payloads, [_encode_run(run, index) for run in skeleton.runs]])


def _encode_run(run: Run, index: dict[str, int]) -> Any:
    match run:
        case Literal():
            return run.data
        case Blob():
            return [bytes(run.oid), run.length]
        case Part():
            return [index[run.payload], run.offset, run.length]
        case Crc32():
            return [run.start, run.stop]
        case Crc32Chain():
            return [list(span) for span in run.spans]


def decode(data: bytes) -> Skeleton:
    """Parse an encoded skeleton; PointerError unless it is valid and canonical."""
    try:
        version, payloads, runs = unpack(data)
        if version != VERSION:
            raise PointerError(f"skeleton version {version!r} is unknown", hint="upgrade git-nn")
        if not all(isinstance(name, str) and is_canonical(name) for name in payloads):
            raise ValueError("bad payload name")
        skeleton = Skeleton(tuple(_decode_run(run, payloads) for run in runs))
    except (ValueError, TypeError, IndexError) as error:
        raise PointerError(f"not a skeleton: {error}") from error
    _check_runs(skeleton)
    if encode(skeleton) != data:
        raise PointerError("not a skeleton: the encoding is not canonical")
    return skeleton


def _decode_run(run: Any, payloads: list[str]) -> Run:
    match run:
        case bytes():
            return Literal(run)
        case [bytes(digest), int(length)]:
            return Blob(Oid(digest), length)
        case [int(index), int(offset), int(length)] if index >= 0:
            return Part(payloads[index], offset, length)
        case [int(start), int(stop)]:
            return Crc32(start, stop)
        case [[int(), int()], *_]:
            return Crc32Chain(tuple((int(start), int(stop)) for start, stop in run))
    raise ValueError("unknown kind of run")


def _spans(run: Run) -> tuple[tuple[int, int], ...]:
    match run:
        case Crc32():
            return ((run.start, run.stop),)
        case Crc32Chain():
            return run.spans
    return ()


def _check_runs(skeleton: Skeleton) -> None:
    """Lengths are positive and each payload is used whole, once, without gaps."""
    covered: dict[str, list[tuple[int, int]]] = {}
    size = skeleton.size
    for run in skeleton.runs:
        if run.length <= 0:
            raise PointerError("not a skeleton: a run without bytes")
        if isinstance(run, Part):
            covered.setdefault(run.payload, []).append((run.offset, run.length))
        if any(not 0 <= start <= stop <= size for start, stop in _spans(run)):
            raise PointerError("not a skeleton: a checksum outside the file")
    for name, parts in covered.items():
        end = 0
        for offset, length in sorted(parts):
            if offset != end:
                raise PointerError(f"not a skeleton: {name!r} has gaps or overlaps")
            end += length
