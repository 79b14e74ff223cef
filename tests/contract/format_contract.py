"""What every format must do; each format's unit test subclasses ``FormatContract``.

A subclass gives ``name`` and ``samples``. A sample is a whole file and what an
independent reader (never code of git_nn) sees in it.
"""

from __future__ import annotations

import random
import resource
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product

from git_nn.formats import table
from git_nn.formats.base import BytesSource
from git_nn.objects.layout import Checksum, Layout, Payload, View, check
from git_nn.objects.tensor import dtype_bits

SECONDS = 5.0  # of this process; a worker that hangs meets pytest's own time-out
MEMORY = 512 * 1024 * 1024


@dataclass(frozen=True)
class Tensor:
    """A tensor as the independent reader sees it; ``data`` is packed and in C order."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes


@dataclass(frozen=True)
class Sample:
    data: bytes
    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    only: bool = True  # the layout has no other tensors than these


class FormatContract:
    """Subclass me as ``class TestX(FormatContract)``."""

    name: str
    truncations = 200  # at most so many lengths per sample are tried
    mutations = 200  # damaged copies per sample

    def samples(self) -> Mapping[str, Sample]:
        """Named files of this format; small (some KB), as the real library writes them."""
        raise NotImplementedError

    def plain(self, payload: Payload, stored: bytes) -> bytes:
        """Packed C-order bytes of a payload that has a ``form``."""
        raise NotImplementedError(f"{payload.form}: tell the contract how to read it")

    def corrupt(self, rng: random.Random, data: bytes) -> bytes:
        """A damaged copy of a sample; subclasses may aim better than at random."""
        damaged = bytearray(data)
        for _ in range(rng.choice((1, 1, 2, 8))):
            _mutate(rng, damaged)
        return bytes(damaged)

    # -- what holds for a good file

    def test_samples_are_recognised(self) -> None:
        for label, sample in self.samples().items():
            layout = table.detect(BytesSource(sample.data))
            assert layout.format == self.name, (label, layout.notes)
            assert layout.version == table.latest(self.name)
            assert layout.size == len(sample.data)

    def test_literals_and_payloads_in_file_order_are_the_file(self) -> None:
        for label, sample in self.samples().items():
            layout = table.detect(BytesSource(sample.data))
            assert reassemble(layout, sample.data) == sample.data, label

    def test_every_tensor_equals_what_an_independent_reader_reads(self) -> None:
        for label, sample in self.samples().items():
            layout = table.detect(BytesSource(sample.data))
            found = {tensor.name: tensor for tensor in (*layout.payloads, *layout.views)}
            if sample.only:
                assert set(found) == set(sample.tensors), label
            for name, expected in sample.tensors.items():
                tensor = found[name]
                assert (tensor.dtype, tensor.shape) == (expected.dtype, expected.shape), name
                assert self.read(layout, sample.data, tensor) == expected.data, (label, name)

    def test_the_layout_is_a_pure_function_of_the_bytes(self) -> None:
        for sample in self.samples().values():
            first = table.detect(BytesSource(sample.data))
            assert table.detect(BytesSource(bytearray(sample.data))) == first
            assert table.detect(BytesSource(sample.data), Alone()) == first

    # -- what holds for any bytes whatever

    def test_a_truncated_file_still_has_a_checked_layout(self) -> None:
        with bounded_memory():
            for label, sample in self.samples().items():
                for length in _lengths(len(sample.data), self.truncations):
                    survive(sample.data[:length], f"{label}[:{length}]")

    def test_a_damaged_file_still_has_a_checked_layout(self) -> None:
        with bounded_memory():
            for label, sample in self.samples().items():
                rng = random.Random(label)
                for i in range(self.mutations):
                    survive(self.corrupt(rng, sample.data), f"{label} mutation {i}")

    def test_appended_bytes_do_not_break_anything(self) -> None:
        for label, sample in self.samples().items():
            for tail in (b"\0", b"\xff" * 100, sample.data):
                survive(sample.data + tail, f"{label} + {len(tail)} bytes")

    def test_payload_bytes_do_not_matter_to_the_layout(self) -> None:
        """The layout of a file with other weights is the same."""
        for label, sample in self.samples().items():
            layout = table.detect(BytesSource(sample.data))
            other = bytearray(sample.data)
            for extent in (extent for payload in layout.payloads for extent in payload.extents):
                for i in range(extent.offset, extent.stop):
                    other[i] ^= 0x55
            assert table.detect(BytesSource(other)) == layout, label

    def read(self, layout: Layout, data: bytes, tensor: Payload | View) -> bytes:
        """The packed C-order bytes of one tensor."""
        if isinstance(tensor, Payload):
            stored = b"".join(data[e.offset : e.stop] for e in tensor.extents)
            return self.plain(tensor, stored) if tensor.form else stored
        whole = next(p for p in layout.payloads if p.name == tensor.payload)
        stored = b"".join(data[e.offset : e.stop] for e in whole.extents)
        size = dtype_bits(tensor.dtype) // 8
        assert size, "a view of a sub-byte type must be read by the subclass"
        picked = []
        for index in product(*map(range, tensor.shape)):
            at = tensor.offset + sum(i * s for i, s in zip(index, tensor.strides, strict=True))
            picked.append(stored[at * size : (at + 1) * size])
        return b"".join(picked)


class Alone:
    """A folder in which the file has nothing beside it (see formats.base.Beside)."""

    name = "model.bin"

    def read(self, name: str) -> None:
        return None


class bounded_memory:  # noqa: N801 - reads as a statement
    """Fails when the process's peak memory grows by more than MEMORY in the block."""

    def __enter__(self) -> None:
        self.before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - self.before) * 1024
        assert kind is not None or grown < MEMORY, f"peak memory grew by {grown} bytes"


def survive(data: bytes, label: str = "") -> Layout:
    """``detect`` of anything gives a checked layout that gives back the bytes, soon."""
    started = time.process_time()
    layout = table.detect(BytesSource(data))
    assert time.process_time() - started < SECONDS, f"{label}: took too long"
    check(layout)
    assert layout.size == len(data), label
    assert reassemble(layout, data) == data, label
    return layout


def reassemble(layout: Layout, data: bytes) -> bytes:
    """The file from its literals, payloads and computed checksums, each taken apart first."""
    runs: list[tuple[int, bytes]] = []
    for payload in layout.payloads:
        stored = b"".join(data[extent.offset : extent.stop] for extent in payload.extents)
        at = 0
        for extent in payload.extents:
            runs.append((extent.offset, stored[at : at + extent.length]))
            at += extent.length
    for checksum in layout.checksums:
        if checksum_holds(checksum, data):
            crc = zlib.crc32(data[checksum.start : checksum.stop])
            runs.append((checksum.offset, crc.to_bytes(4, "little")))
    for chain in layout.chains:
        digits = combined(zlib.crc32(data[start:stop]) for start, stop in chain.spans)
        if data[chain.offset : chain.offset + 20] == digits:
            runs.append((chain.offset, digits))
    out = bytearray()
    for start, taken in sorted(run for run in runs if run[1]):
        assert start >= len(out), "two runs overlap"
        out += data[len(out) : start] + taken
    return bytes(out + data[len(out) :])


def combined(crcs: Iterable[int]) -> bytes:
    """As torch combines them: 64-bit hash_combine of each CRC-32 in turn."""
    seed = 0
    for crc in crcs:
        seed = (seed ^ (crc + 0x9E3779B9 + seed * 64 % 2**64 + seed // 4) % 2**64) % 2**64
    return f"{seed:020}".encode()


def checksum_holds(checksum: Checksum, data: bytes) -> bool:
    """clean computes each checksum that a layout proposes; a wrong one stays literal."""
    crc = zlib.crc32(data[checksum.start : checksum.stop]).to_bytes(4, "little")
    return data[checksum.offset : checksum.offset + 4] == crc


def _lengths(size: int, count: int) -> Iterator[int]:
    """Up to ``count`` lengths below ``size``: the first and last ones, and some between."""
    edge = min(count // 4, size)
    steps = range(0, size, max(1, size * 2 // count))
    return iter(sorted({*range(edge), *range(max(0, size - edge), size), *steps}))


def _mutate(rng: random.Random, data: bytearray) -> None:
    if not data:
        return
    at = rng.randrange(len(data))
    if rng.random() < 0.5:  # containers keep their structure at both ends
        at = rng.choice((at % min(4096, len(data)), len(data) - 1 - at % min(1024, len(data))))
    match rng.randrange(6):
        case 0:
            data[at] ^= 1 << rng.randrange(8)
        case 1:
            data[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF))
        case 2:
            data[at : at + 8] = rng.choice((b"\xff" * 8, b"\0" * 8, b"\0" * 7 + b"\x40"))
        case 3:
            del data[at : at + rng.randrange(1, 64)]
        case 4:
            data[at:at] = rng.randbytes(rng.randrange(1, 32))
        case 5:
            other = rng.randrange(len(data))
            length = rng.randrange(1, 64)
            data[at : at + length] = data[other : other + length]
