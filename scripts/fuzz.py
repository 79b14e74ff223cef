#!/usr/bin/env python3
"""Fuzz every format of the table: damaged copies of good files must give a checked layout.

    .venv/bin/python scripts/fuzz.py --cases 100000 --formats gguf,onnx --seed 7 --minutes 30

A case is a pure function of seed, format and number, so a failure can be made again. What must
hold is survive() of tests/contract/format_contract.py: a checked partition that gives back the
bytes, soon. Inputs that fail are written to --out; the exit code says whether there were any.
"""

from __future__ import annotations

import argparse
import importlib
import random
import re
import resource
import struct
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from git_nn.formats import table  # noqa: E402
from git_nn.formats.base import BytesSource  # noqa: E402
from tests.contract.format_contract import FormatContract, survive  # noqa: E402

SMALL = 24 * 1024  # bytes; larger samples cost time and have no other structure
EDGES = (0, 1, 2, 3, 7, 8, 15, 16, 31, 32, 63, 64, 127, 128, 255)
NUMBERS = tuple(
    {sign * ((1 << bits) + near) for bits in (7, 8, 15, 16, 31, 32, 53, 62, 63, 64)
     for near in (-2, -1, 0, 1) for sign in (1, -1)} | set(EDGES)
)  # fmt: skip
_DIGITS = re.compile(rb"[0-9]+")


@dataclass
class Report:
    """What fuzzing one format found; ``failures`` are (case, message, input)."""

    format: str
    cases: int = 0
    opaque: int = 0
    seconds: float = 0.0
    worst: float = 0.0
    memory: int = 0
    failures: list[tuple[int, str, bytes]] = field(default_factory=list)


def samples(name: str) -> list[bytes]:
    """Good files of a format, small ones: the golden ones and those of its contract tests."""
    found = {path.read_bytes() for path in (ROOT / "tests/golden").glob("tiny.*")}
    for kind in _contracts():
        if kind.name == name:
            found.update(sample.data for sample in kind().samples().values())
    known = [data for data in found if table.detect(BytesSource(data)).format == name]
    known.sort(key=lambda data: (len(data), data))
    return [data for data in known if len(data) <= SMALL] or known[:1]


def _contracts() -> Iterator[type[FormatContract]]:
    for path in sorted((ROOT / "tests/unit/formats").glob("test_*.py")):
        module = importlib.import_module(f"tests.unit.formats.{path.stem}")
        for kind in vars(module).values():
            if isinstance(kind, type) and issubclass(kind, FormatContract) and "name" in vars(kind):
                yield kind


def case(seed: int, name: str, number: int, good: Sequence[bytes]) -> bytes:
    """Input ``number``: a good file, damaged at one to a few places."""
    rng = random.Random(f"{seed}/{name}/{number}")
    data = bytearray(rng.choice(good))
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        if data:
            rng.choice(_DAMAGES)(rng, data, good)
    return bytes(data)


def _place(rng: random.Random, data: bytearray) -> int:
    """Containers keep their structure at both ends."""
    at = rng.randrange(len(data))
    if rng.random() < 0.6:
        near = min(len(data), rng.choice((16, 256, 2048)))
        at = at % near if rng.random() < 0.7 else len(data) - 1 - at % near
    return at


def _flip(rng: random.Random, data: bytearray, _: Sequence[bytes]) -> None:
    data[_place(rng, data)] ^= 1 << rng.randrange(8)


def _byte(rng: random.Random, data: bytearray, _: Sequence[bytes]) -> None:
    data[_place(rng, data)] = rng.choice(EDGES)


def _number(rng: random.Random, data: bytearray, _: Sequence[bytes]) -> None:
    """An interesting number, or one near a size of this file, at what may be a number."""
    width = rng.choice((1, 2, 4, 4, 8, 8))
    value = rng.choice(NUMBERS)
    if rng.random() < 0.3:
        value = len(data) * rng.choice((1, 1, 2)) + rng.randrange(-64, 64)
    at = _length_field(rng, data, width)
    raw = (value % (1 << 8 * width)).to_bytes(width, rng.choice(("little", "little", "big")))
    data[at : at + width] = raw


def _length_field(rng: random.Random, data: bytearray, width: int) -> int:
    """A place whose bytes read as a number of this file's magnitude, if one is met soon."""
    for _ in range(20):
        at = _place(rng, data)
        if 0 < int.from_bytes(data[at : at + width], "little") <= len(data):
            return at
    return at


def _nudge(rng: random.Random, data: bytearray, _: Sequence[bytes]) -> None:
    """A number that is a little off."""
    at = _length_field(rng, data, 4)
    if at + 4 <= len(data):
        (value,) = struct.unpack_from("<I", data, at)
        struct.pack_into("<I", data, at, (value + rng.choice((-8, -4, -1, 1, 4, 8))) % 2**32)


def _decimal(rng: random.Random, data: bytearray, _: Sequence[bytes]) -> None:
    """Another number in text, as JSON and Python literals have them."""
    numbers = list(_DIGITS.finditer(data, 0, 4096))
    if numbers:
        found = rng.choice(numbers)
        text = rng.choice((str(rng.choice(NUMBERS)), "1e999", "-0", "true", '"1"', "9" * 400, ""))
        data[found.start() : found.end()] = text.encode()


def _varint(rng: random.Random, data: bytearray, _: Sequence[bytes]) -> None:
    at = _place(rng, data)
    data[at : at + 1] = b"\xff" * rng.randrange(1, 12) + bytes([rng.randrange(128)])


def _truncate(rng: random.Random, data: bytearray, _: Sequence[bytes]) -> None:
    if rng.random() < 0.5:
        del data[_place(rng, data) :]
    else:
        del data[: rng.randrange(1, 64)]


def _delete(rng: random.Random, data: bytearray, _: Sequence[bytes]) -> None:
    at = _place(rng, data)
    del data[at : at + rng.choice((1, 2, 4, 8, rng.randrange(1, 200)))]


def _insert(rng: random.Random, data: bytearray, _: Sequence[bytes]) -> None:
    at = _place(rng, data)
    length = rng.choice((1, 4, 8, rng.randrange(1, 200)))
    data[at:at] = rng.choice((rng.randbytes(length), bytes(length), b"\xff" * length))


def _duplicate(rng: random.Random, data: bytearray, _: Sequence[bytes]) -> None:
    start = _place(rng, data)
    piece = data[start : start + rng.randrange(1, 300)]
    at = rng.choice((start, _place(rng, data)))
    data[at:at] = piece * rng.choice((1, 1, 2, 30))


def _swap(rng: random.Random, data: bytearray, _: Sequence[bytes]) -> None:
    """A copy of some of the file over another part of it."""
    start, at = _place(rng, data), _place(rng, data)
    piece = data[start : start + rng.randrange(1, 100)]
    data[at : at + len(piece)] = piece


def _splice(rng: random.Random, data: bytearray, good: Sequence[bytes]) -> None:
    """The beginning of one file and the rest of another."""
    other = rng.choice(good)
    at = _place(rng, data)
    data[at:] = other[min(at + rng.choice((0, 0, rng.randrange(-32, 32))), len(other)) :]


_DAMAGES = (
    _flip, _flip, _byte, _number, _number, _number, _nudge, _decimal, _varint, _truncate, _delete,
    _insert, _duplicate, _swap, _splice,
)  # fmt: skip


def fuzz(name: str, cases: int, seed: int, *, limit: float = float("inf")) -> Report:
    """Run so many cases of one format, or as many as ``limit`` seconds allow."""
    good, report = samples(name), Report(name)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    for number in range(cases if good else 0):
        data = case(seed, name, number, good)
        begun = time.perf_counter()  # survive() looks after our CPU; this is with the worker
        try:
            layout = survive(data, f"{name} {number}")
            table.structure(layout.format, BytesSource(data))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what is looked for
            report.failures.append((number, f"{type(error).__name__}: {error}"[:300], data))
        else:
            report.opaque += layout.format == "opaque"
        report.worst = max(report.worst, time.perf_counter() - begun)
        report.cases += 1
        if time.perf_counter() - started > limit or len(report.failures) >= 20:
            break
    report.seconds = time.perf_counter() - started
    report.memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024
    return report


def line(report: Report) -> str:
    share = 100 * report.opaque / max(report.cases, 1)
    rate = report.cases / max(report.seconds, 1e-9)
    return (
        f"{report.format:14} {report.cases:8} cases {rate:8.0f}/s  {share:5.1f} % opaque  "
        f"worst {report.worst:6.3f} s  +{report.memory} MB  {len(report.failures)} failures"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=100_000, help="per format")
    parser.add_argument("--formats", default=",".join(table.FORMATS), help="comma-separated")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--minutes", type=float, default=float("inf"), help="for all formats together"
    )
    parser.add_argument("--out", type=Path, default=Path("fuzz-failures"))
    options = parser.parse_args()
    names = options.formats.split(",")
    failed = False
    for name in names:
        limit = 60 * options.minutes / len(names)
        report = fuzz(name, options.cases, options.seed, limit=limit)
        print(line(report), flush=True)
        for number, message, data in report.failures:
            options.out.mkdir(exist_ok=True)
            path = options.out / f"{name}-{options.seed}-{number}.bin"
            path.write_bytes(data)
            print(f"  case {number}: {message}; {path}")
        failed |= bool(report.failures) or not report.cases
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
