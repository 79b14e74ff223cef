#!/usr/bin/env python3
"""Measure a merge that computes every tensor, against reading its three inputs once.

    scripts/bench_merge.py [--tensors 8] [--rows 4096] [--columns 4096] [--dtype bf16]
                           [--strategy ties] [--folder DIR]

Three models are put into a store: a base, and two fine-tunes that changed every tensor. Then
all three are read once, which decodes and verifies them, and merged as the driver does: read,
computed, encoded, written and synced. Both are done in turns of 8 tensors, so that other work
of the machine slows both. 64 tensors of bf16 are 2 GiB a side. The figures
are seconds, seconds of all cores, and the second as a multiple of the first; and the peak of the
resident memory in megabytes after reading and after merging (VmHWM, so it runs on Linux only).
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from git_nn.arrays import to_bytes
from git_nn.assemble import Sides
from git_nn.combine import carry_out
from git_nn.drivers.process import keep_freed_buffers
from git_nn.merge.decide import Combine
from git_nn.merge.rules import parse
from git_nn.objects.oid import oid_of
from git_nn.objects.pointer import Pointer, Stored
from git_nn.store.local import LocalStore, open_store

Side = list[Stored]
TURN = 8


def models(store: LocalStore, options: argparse.Namespace) -> tuple[Side, Side, Side]:
    """A base and two fine-tunes of it: every element moves by about a tenth of its size."""
    base: Side = []
    ours: Side = []
    theirs: Side = []
    shape = (options.rows, options.columns)
    with store.batch() as batch:

        def put(name: str, values: np.ndarray, like: Stored | None) -> Stored:
            data = to_bytes(values, options.dtype)
            oid, length = batch.put([data], dtype=options.dtype, base=like.oid if like else None)
            return Stored(name, options.dtype, shape, oid, length)

        for number in range(options.tensors):
            random = np.random.default_rng(number)
            values = random.standard_normal(shape, dtype=np.float32) * np.float32(0.02)
            base.append(put(f"layers.{number}.weight", values, None))
            for side in (ours, theirs):
                step = random.standard_normal(shape, dtype=np.float32) * np.float32(0.002)
                side.append(put(f"layers.{number}.weight", values + step, base[-1]))
    return base, ours, theirs


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds, and seconds of all cores."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def peak() -> int:
    """The most megabytes of memory that the process has had."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) // 1024


def read(store: LocalStore, sides: tuple[Side, ...]) -> None:
    for side in sides:
        for entry in side:
            for _ in store.read(entry.oid):
                pass


def merge(store: LocalStore, sides: tuple[Side, Side, Side], strategy: str) -> None:
    choice = parse(strategy, "--strategy")
    if choice is None:
        raise SystemExit("--strategy conflict merges nothing")
    skeleton = oid_of(b"")
    base, ours, theirs = (Pointer("safetensors", 1, skeleton, 0, tuple(side)) for side in sides)
    decisions = [Combine(a.name, o, a, b, choice) for o, a, b in zip(*sides, strict=True)]
    carry_out(decisions, Sides(base, ours, theirs), store)


def main() -> int:
    options = _options()
    keep_freed_buffers()  # as every process of ours that works on much data
    folder = Path(tempfile.mkdtemp(prefix="bench-merge-", dir=options.folder))
    try:
        store = open_store(folder / "nn")
        sides = models(store, options)
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # forgets the peak
        store = open_store(folder / "nn")  # with nothing remembered
        reading, merging, before = np.zeros(2), np.zeros(2), 0
        for start in range(0, options.tensors, TURN):
            base, ours, theirs = (side[start : start + TURN] for side in sides)
            some = (base, ours, theirs)
            reading += timed(partial(read, store, some))
            before = before or peak()
            merging += timed(partial(merge, store, some, options.strategy))
    finally:
        shutil.rmtree(folder)
    found = {
        "strategy": options.strategy,
        "gigabytes a side": sum(entry.length for entry in sides[0]) / 1e9,
        "read": reading.round(2).tolist(),
        "merge": merging.round(2).tolist(),
        "times": (merging / reading).round(2).tolist(),
        "peak megabytes": [before, peak()],
    }
    print(json.dumps(found))
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--tensors", type=int, default=8)
    parser.add_argument("--rows", type=int, default=4096)
    parser.add_argument("--columns", type=int, default=4096)
    parser.add_argument("--dtype", default="bf16")
    parser.add_argument("--strategy", default="ties")
    parser.add_argument("--folder", type=Path, help="where the store is made")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
