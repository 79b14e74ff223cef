#!/usr/bin/env python3
"""Measure pointers of many tensors: bytes, bytes after zlib, time to render and to parse."""

from __future__ import annotations

import time
import zlib

from git_nn.objects import pointer as pointers
from git_nn.objects.oid import oid_of
from git_nn.objects.pointer import Pointer, Stored

PARTS = ("self_attn.q_proj", "self_attn.k_proj", "mlp.up_proj", "mlp.down_proj")


def sample(count: int) -> Pointer:
    entries = [
        Stored(
            f"model.layers.{i // 64}.experts.{i // 4 % 16}.{PARTS[i % 4]}.weight",
            "bf16", (1024, 4096), oid_of(b"%d" % i), 2 * 1024 * 4096,
        )
        for i in range(count)
    ]  # fmt: skip
    return Pointer("safetensors", 1, oid_of(b""), 1, pointers.sorted_entries(list(entries)))


def main() -> None:
    print("| tensors | bytes | after zlib | render, ms | parse, ms |")
    print("|---:|---:|---:|---:|---:|")
    for count in (300, 1_000, 3_000, 10_000, 100_000):
        pointer = sample(count)
        start = time.perf_counter()
        text = pointers.render(pointer)
        rendered = time.perf_counter()
        pointers.parse(text)
        parsed = time.perf_counter()
        print(
            f"| {count} | {len(text)} | {len(zlib.compress(text))} "
            f"| {1000 * (rendered - start):.0f} | {1000 * (parsed - rendered):.0f} |"
        )


if __name__ == "__main__":
    main()
