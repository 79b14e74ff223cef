#!/usr/bin/env python3
"""Measure the codecs alone: how small, and how fast on one core, hashing included.

    scripts/bench_codec.py [--megabytes 32] [--rounds 3] [--only real,bf16] [--json FILE]

Segment by segment, as the store does it: encode is BLAKE3 of the raw bytes and the codec;
decode is the codec and BLAKE3 of what comes out, which is compared. Beside ``add``
(table.encode) and ``repack`` (best.encode) stand zstd on the raw bytes, the xor with the
base as byte planes through zstd-3 (without a base: the planes alone), and blosc2 and zipnn where
they are installed. ``order 0`` is what an ideal coder of single bytes, which knows the
base's exponents, would need.

The real weights are those of the network in bench_training.py, trained here; the rest is
Gaussian with rows and columns of different sizes, from a seed.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import bench_training as training
import numpy as np
import zstandard
from blake3 import blake3
from numpy.typing import NDArray

from git_nn.codec import best, delta, kinds, table

SEGMENT = 4 * 1024 * 1024
STEPS, MORE = 400, 60
WIDTH = {"bf16": 2, "f16": 2, "f32": 4}
Values = NDArray[np.float32]
Body = tuple[int, bytes]


@dataclass(frozen=True)
class Segment:
    data: bytes
    base: bytes | None
    columns: int
    first: int


@dataclass(frozen=True)
class Workload:
    name: str
    dtype: str
    segments: list[Segment]

    @property
    def size(self) -> int:
        return sum(len(segment.data) for segment in self.segments)


@dataclass(frozen=True)
class Codec:
    """``encode`` of a segment, and ``decode`` of what it gave; no ``decode``: size only."""

    name: str
    encode: Callable[[Segment, str], Body]
    decode: Callable[[Body, Segment, str], bytes | memoryview]


@dataclass
class Result:
    workload: str
    codec: str
    raw: int
    stored: int = 0
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def ratio(self) -> float:
        return self.raw / max(self.stored, 1)

    def speed(self, what: str) -> float:
        """GB/s of raw bytes."""
        return self.raw / self.seconds[what] / 1e9 if what in self.seconds else math.nan


# Workloads


def words(values: Values, dtype: str) -> bytes:
    if dtype == "f32":
        return values.astype("<f4").tobytes()
    if dtype == "f16":
        return values.astype("<f2").tobytes()
    bits = values.astype("<f4").view("<u4")
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype("<u2").tobytes()


def cut(new: list[Values], old: list[Values] | None, dtype: str) -> list[Segment]:
    """Each matrix in segments, as the store cuts it."""
    segments = []
    for i, matrix in enumerate(new):
        data, base = words(matrix, dtype), words(old[i], dtype) if old else None
        for start in range(0, len(data), SEGMENT):
            at = slice(start, start + SEGMENT)
            first = start // WIDTH[dtype] % matrix.shape[1]
            segments.append(Segment(data[at], base and base[at], matrix.shape[1], first))
    return segments


def synthetic(megabytes: int, dtype: str) -> Iterator[Workload]:
    rng = np.random.default_rng(0)
    shape = (2048, 2048)
    count = max(2, round(megabytes * 1e6 / (math.prod(shape) * WIDTH[dtype])))

    def noise() -> Values:
        return rng.standard_normal(shape, np.float32)

    def quantized(values: Values) -> Values:
        raw = words(values, dtype)
        if dtype == "bf16":
            return (np.frombuffer(raw, "<u2").astype("<u4") << 16).view("<f4").reshape(shape)
        return np.frombuffer(raw, {"f16": "<f2", "f32": "<f4"}[dtype]).astype("<f4").reshape(shape)

    scales = [np.exp(0.3 * rng.standard_normal((2, shape[0]), np.float32)) for _ in range(count)]
    base = [quantized(0.02 * s[0][:, None] * s[1] * noise()) for s in scales]
    yield Workload(f"{dtype} new", dtype, cut(base, None, dtype))
    for size in (2e-4, 2e-5, 1e-6):
        tuned = [w + np.float32(size) * noise() for w in base]
        yield Workload(f"{dtype} full fine-tune {size:g}", dtype, cut(tuned, base, dtype))
    last = [*base[:-1], base[-1] + np.float32(1e-3) * noise()]
    yield Workload(f"{dtype} last layer", dtype, cut(last, base, dtype))
    thin = [rng.standard_normal((2, 2048, 8), np.float32) for _ in base]
    merged = [w + np.float32(3e-4) * (a @ b.T) for w, (a, b) in zip(base, thin, strict=True)]
    yield Workload(f"{dtype} LoRA merged", dtype, cut(merged, base, dtype))


@dataclass
class Trained:
    """A network with Adam's state, which ``train`` moves on."""

    weights: training.Weights
    first: training.Weights
    second: training.Weights
    step: int = 0

    def copy(self) -> Trained:
        parts = (self.weights, self.first, self.second)
        return Trained(*({n: a.copy() for n, a in part.items()} for part in parts), self.step)

    def matrices(self, part: training.Weights) -> list[Values]:
        return [array for array in part.values() if array.ndim == 2 and array.size > 50_000]


def train(state: Trained, seed: int, steps: int, rate: float, only: str = "") -> Trained:
    """``steps`` more of Adam, on the text of ``seed``; of the weights named ``only``."""
    state, rng = state.copy(), np.random.default_rng(seed)
    text = training.draw_text(rng, 20_000)
    for _ in range(steps):
        state.step += 1
        at = rng.integers(training.CONTEXT, len(text), training.BATCH)
        context = text[at[:, None] - np.arange(training.CONTEXT, 0, -1)]
        _, found = training.gradients(state.weights, context, text[at])
        for name in (name for name in found if only in name):
            adam(state, name, found[name], rate * min(1, state.step / 100))
    return state


def adam(state: Trained, name: str, gradient: Values, rate: float) -> None:
    b1, b2 = training.BETAS
    state.first[name] += np.float32(1 - b1) * (gradient - state.first[name])
    state.second[name] += np.float32(1 - b2) * (gradient * gradient - state.second[name])
    rate *= math.sqrt(1 - b2**state.step) / (1 - b1**state.step)
    state.weights[name] -= (
        np.float32(rate) * state.first[name] / (np.sqrt(state.second[name]) + np.float32(1e-8))
    )


def lora(state: Trained, steps: int, rank: int = 8) -> Trained:
    """Weights with factors of ``rank`` merged that were trained on another text."""
    merged, rng = state.copy(), np.random.default_rng(5)
    names = [name for name, array in state.weights.items() if array.size > 50_000]
    thin: training.Weights = {}
    for name in names:
        rows, columns = state.weights[name].shape
        thin[f"{name} a"] = (rng.standard_normal((rows, rank)) / rank).astype(np.float32)
        thin[f"{name} b"] = np.zeros((rank, columns), np.float32)
    zeros = [{n: np.zeros_like(a) for n, a in thin.items()} for _ in range(2)]
    factors = Trained(thin, *zeros)
    text = training.draw_text(rng, 20_000)
    for _ in range(steps):
        factors.step += 1
        at = rng.integers(training.CONTEXT, len(text), training.BATCH)
        context = text[at[:, None] - np.arange(training.CONTEXT, 0, -1)]
        _, found = training.gradients(merged.weights, context, text[at])
        for name in names:
            a, b, gradient = thin[f"{name} a"], thin[f"{name} b"], found[name]
            gradients = (gradient @ b.T, a.T @ gradient)
            for part, value in zip("ab", gradients, strict=True):
                adam(factors, f"{name} {part}", value, 3e-4)
            merged.weights[name] = state.weights[name] + a @ b
    return merged


def real() -> Iterator[Workload]:
    print(f"training a network for {STEPS} steps", file=sys.stderr)
    weights = training.new_weights(np.random.default_rng(7), hidden=768)
    zeros = [{n: np.zeros_like(a) for n, a in weights.items()} for _ in range(2)]
    before = train(Trained(weights, *zeros), 1, STEPS, 1e-3)
    old = before.matrices(before.weights)
    after = {
        "next checkpoint": train(before, 2, MORE, 1e-4),
        "full fine-tune 2e-5": train(before, 3, MORE, 2e-5),
        "full fine-tune 2e-6": train(before, 3, MORE, 2e-6),
        "last layers": train(before, 3, MORE, 1e-4, "blocks.1"),
    }
    for dtype in ("bf16", "f32"):
        yield Workload(f"real {dtype} new", dtype, cut(old, None, dtype))
        for name, state in after.items():
            new = state.matrices(state.weights)
            yield Workload(f"real {dtype} {name}", dtype, cut(new, old, dtype))
        start = as_words(before, dtype)
        tuned = lora(start, MORE)
        pair = [state.matrices(state.weights) for state in (tuned, start)]
        yield Workload(f"real {dtype} LoRA merged", dtype, cut(*pair, dtype))
    yield Workload("real f32 exp_avg", "f32", cut(before.matrices(before.first), None, "f32"))
    yield Workload("real f32 exp_avg_sq", "f32", cut(before.matrices(before.second), None, "f32"))
    narrow = [np.frombuffer(words(w, "bf16"), "<u2").astype("<u4") << 16 for w in old]
    wide = [x.view("<f4").reshape(w.shape) for x, w in zip(narrow, old, strict=True)]
    yield Workload("real bf16 in f32 new", "f32", cut(wide, None, "f32"))


def as_words(state: Trained, dtype: str) -> Trained:
    """``state`` with its weights rounded to ``dtype``."""
    rounded = state.copy()
    if dtype == "bf16":
        for name, array in rounded.weights.items():
            bits = np.frombuffer(words(array, dtype), "<u2").astype("<u4") << 16
            rounded.weights[name] = bits.view("<f4").reshape(array.shape)
    return rounded


# Codecs


def encode_add(segment: Segment, dtype: str) -> Body:
    codec, body = table.encode(segment.data, dtype, segment.base)
    return codec, bytes(body)


def encode_repack(segment: Segment, dtype: str) -> Body:
    codec, body = best.encode(
        segment.data, dtype, segment.base, columns=segment.columns, first=segment.first
    )
    return codec, bytes(body)


def decode_ours(body: Body, segment: Segment, _: str) -> bytes | memoryview:
    base = segment.base if table.needs_base(body[0]) else None
    return memoryview(table.decode(body[0], body[1], len(segment.data), base))


def xor_encode(segment: Segment, dtype: str) -> Body:
    new = np.frombuffer(segment.data, np.uint8)
    if segment.base is not None:
        new = new ^ np.frombuffer(segment.base, np.uint8)
    planes = np.ascontiguousarray(new.reshape(-1, WIDTH[dtype]).T)
    frames = [zstandard.ZstdCompressor(level=3).compress(plane.data) for plane in planes]
    return 0, b"".join(len(frame).to_bytes(4, "little") + frame for frame in frames)


def xor_decode(body: Body, segment: Segment, dtype: str) -> bytes:
    rest, planes = body[1], []
    for _ in range(WIDTH[dtype]):
        size = int.from_bytes(rest[:4], "little")
        frame, rest = rest[4 : 4 + size], rest[4 + size :]
        planes.append(np.frombuffer(zstandard.ZstdDecompressor().decompress(frame), np.uint8))
    found = np.ascontiguousarray(np.array(planes).T).reshape(-1)
    if segment.base is not None:
        found = found ^ np.frombuffer(segment.base, np.uint8)
    return found.tobytes()


def zstd(level: int) -> Codec:
    return Codec(
        f"zstd-{level}",
        lambda segment, _: (0, zstandard.ZstdCompressor(level=level).compress(segment.data)),
        lambda body, *_: zstandard.ZstdDecompressor().decompress(body[1]),
    )


def blosc2() -> Codec:
    import blosc2 as library

    def encode(segment: Segment, dtype: str) -> Body:
        return 0, library.compress(
            segment.data, WIDTH[dtype], clevel=1, filter=library.Filter.SHUFFLE,
            codec=library.Codec.ZSTD,
        )  # fmt: skip

    library.set_nthreads(1)
    return Codec("blosc2", encode, lambda body, *_: library.decompress(body[1]))


def zipnn() -> Codec:
    import zipnn as library

    def coder(dtype: str) -> library.ZipNN:
        names = {"bf16": "bfloat16", "f16": "float16", "f32": "float32"}
        return library.ZipNN(bytearray_dtype=names[dtype], threads=1)

    return Codec(
        "zipnn",
        lambda segment, dtype: (0, bytes(coder(dtype).compress(bytearray(segment.data)))),
        lambda body, _, dtype: bytes(coder(dtype).decompress(body[1])),
    )


def codecs() -> list[Codec]:
    found = [
        Codec("add", encode_add, decode_ours),
        Codec("repack", encode_repack, decode_ours),
        Codec("xor planes zstd-3", xor_encode, xor_decode),
        zstd(1),
        zstd(3),
    ]
    for make in (blosc2, zipnn):
        try:
            found.append(make())
        except ImportError:
            print(f"{make.__name__} is not installed: left out", file=sys.stderr)
    return found


# Measuring


def measure(codec: Codec, work: Workload, rounds: int) -> Result:
    """Processor time, the least of ``rounds`` for each segment: a busy machine counts little."""
    result = Result(work.name, codec.name, work.size)
    seconds = {"encode": 0.0, "decode": 0.0}
    for segment in work.segments:
        times: dict[str, list[float]] = {"encode": [], "decode": []}
        for _ in range(rounds):
            start = time.thread_time()
            name = blake3(segment.data).digest()
            body = codec.encode(segment, work.dtype)
            times["encode"].append(time.thread_time() - start)
            start = time.thread_time()
            back = codec.decode(body, segment, work.dtype)
            same = blake3(back).digest() == name
            times["decode"].append(time.thread_time() - start)
            if not same:
                sys.exit(f"{codec.name}: {work.name} did not come back byte for byte")
        result.stored += len(body[1])
        for what in seconds:
            seconds[what] += min(times[what])
    result.seconds = seconds
    return result


def order_0(work: Workload) -> Result:
    """Bits of the words' bytes by an order-0 model, of residuals by the base's exponent."""
    kind, bits = kinds.kind_of(work.dtype), 0.0
    for segment in work.segments:
        new = delta.words_of(segment.data, kind.width)
        if segment.base is None:
            planes = delta.planes_of(new << 1 | new >> (8 * kind.width - 1), new * 0, floats=False)
            keys = np.zeros(len(new), np.int64)
        else:
            base = delta.words_of(segment.base, kind.width)
            planes = delta.planes_of(new, base, floats=True)
            keys = (base << 1 >> (8 * kind.width - kind.key_bits)).astype(np.int64)
        for plane in planes:
            joint = np.bincount(keys << 8 | plane, minlength=1 << 16).reshape(-1, 256)
            share = joint / np.maximum(joint.sum(axis=1, keepdims=True), 1)
            bits -= float((joint * np.log2(np.where(share > 0, share, 1))).sum())
    return Result(work.name, "order 0", work.size, math.ceil(bits / 8))


def show(results: list[Result]) -> None:
    names = list(dict.fromkeys(result.codec for result in results))
    print(f"| ratio, encode GB/s, decode GB/s | {' | '.join(names)} |")
    print(f"|---|{'---|' * len(names)}")
    for workload in dict.fromkeys(result.workload for result in results):
        cells = {
            result.codec: f"**{result.ratio:.3f}**"
            + (
                f" {result.speed('encode'):.2f} {result.speed('decode'):.2f}"
                if result.seconds
                else ""
            )
            for result in results
            if result.workload == workload
        }
        print(f"| {workload} | {' | '.join(cells.get(name, '-') for name in names)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megabytes", type=int, default=32, help="of each synthetic workload")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="real,bf16,f32,f16", help="real, bf16, f32, f16")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    chosen = options.only.split(",")
    groups = [real()] if "real" in chosen else []
    groups += [synthetic(options.megabytes, dtype) for dtype in WIDTH if dtype in chosen]
    results: list[Result] = []
    for work in (work for group in groups for work in group):
        print(work.name, file=sys.stderr)
        results += [measure(codec, work, options.rounds) for codec in codecs()]
        results.append(order_0(work))
    show(results)
    if options.json:
        rows = [{**vars(result), "ratio": result.ratio} for result in results]
        options.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    if "OPENBLAS_NUM_THREADS" not in os.environ:  # numpy reads it when it is imported
        os.environ["OPENBLAS_NUM_THREADS"] = "1"
        os.execv(sys.executable, [sys.executable, *sys.argv])
    main()
