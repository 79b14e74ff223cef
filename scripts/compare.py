#!/usr/bin/env python3
"""Measure git-nn beside git-lfs, DVC and plain Git, in one run, on weights made from a seed.

    scripts/compare.py [--megabytes 200] [--rounds 5] [--tools git-nn,git-lfs,dvc,git]

Each round runs every tool on the same files, one after another, so that a busy machine
slows all of them alike; what is printed are medians. A tool that is not installed is
left out and said so. The workload is a transformer-like bf16 model in safetensors:
v1, v2 with the last layers trained, v3 with every weight trained a little.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import ml_dtypes
import numpy as np

# a small process of its own: a child's peak counts the memory of whoever forked it
_LAUNCHER = """
import os, resource, sys
pid = os.fork()
if not pid:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.execvp("sh", ["sh", "-c", sys.argv[1]])
status = os.waitstatus_to_exitcode(os.wait()[1])
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(status)
"""
FILE = "model.safetensors"
VERSIONS = ("v1", "v2", "v3")


def weights(megabytes: int) -> dict[str, dict[str, np.ndarray]]:
    """Three versions of a model with matrices of 512 x 2048 in layers of four."""
    rng = np.random.default_rng(0)
    count = max(4, megabytes * 2**20 // (512 * 2048 * 2))
    names = [f"layers.{i // 4}.{('q', 'k', 'v', 'o')[i % 4]}_proj.weight" for i in range(count)]
    base = {n: (0.02 * rng.standard_normal((512, 2048), np.float32)) for n in names}
    last = {n: w + np.float32(1e-3) * rng.standard_normal(w.shape, np.float32)
            for n, w in base.items() if n in names[-max(4, count // 12):]}  # fmt: skip
    full = {n: w + np.float32(2e-5) * rng.standard_normal(w.shape, np.float32)
            for n, w in {**base, **last}.items()}  # fmt: skip
    versions = (base, {**base, **last}, full)
    return {
        version: {n: w.astype(ml_dtypes.bfloat16) for n, w in tensors.items()}
        for version, tensors in zip(VERSIONS, versions, strict=True)
    }


def write(path: Path, tensors: dict[str, np.ndarray]) -> None:
    at, header = 0, {}
    for name, array in tensors.items():
        offsets = [at, at + array.nbytes]
        header[name] = {"dtype": "BF16", "shape": array.shape, "data_offsets": offsets}
        at += array.nbytes
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for array in tensors.values():
            file.write(array.tobytes())


@dataclass(frozen=True)
class Tool:
    """How a person works with a tool; every step is a list of shell commands."""

    name: str
    program: str
    set_up: tuple[str, ...]
    add: tuple[str, ...] = (f"git add {FILE}",)
    checkout: tuple[str, ...] = ("git checkout -q -f {revision}",)
    store: tuple[str, ...] = (".git",)


TOOLS = (
    Tool("git-nn", "git-nn", ("git nn install --local", 'git nn track "*.safetensors"')),
    Tool("git-lfs", "git-lfs", ("git lfs install --local", 'git lfs track "*.safetensors"')),
    Tool(
        "dvc",
        "dvc",
        ("dvc init -q", "dvc config core.analytics false", "dvc config core.check_update false"),
        add=(f"dvc add -q {FILE}", f"git add {FILE}.dvc .gitignore"),
        checkout=("git checkout -q -f {revision}", "dvc checkout -q -f"),
        store=(".git", ".dvc/cache"),
    ),
    Tool("git", "git", ()),
)


class Bench:
    """One repository of one tool in one round."""

    def __init__(self, tool: Tool, folder: Path) -> None:
        self.tool, self.folder = tool, folder
        self.folder.mkdir()
        self.env = {**os.environ, "HOME": str(folder), "GIT_CONFIG_GLOBAL": str(folder / "config")}
        for who in ("AUTHOR", "COMMITTER"):
            self.env[f"GIT_{who}_NAME"], self.env[f"GIT_{who}_EMAIL"] = "bench", "b@example.com"
        commit = "git commit -q --allow-empty -m set-up"
        self.run("git init -q -b main .", *tool.set_up, "git add -A", commit)

    def run(self, *commands: str) -> tuple[float, int]:
        """(seconds, largest resident bytes of any process) of shell commands."""
        start = time.perf_counter()
        peak = 0
        for command in commands:
            done = subprocess.run(
                [sys.executable, "-S", "-c", _LAUNCHER, command],
                cwd=self.folder,
                env=self.env,
                stdout=subprocess.PIPE,
                check=False,
            )
            if done.returncode:
                sys.exit(f"{self.tool.name}: {command!r} failed")
            peak = max(peak, int(done.stdout) * 1024)
        return time.perf_counter() - start, peak

    def stored(self) -> int:
        return sum(
            path.stat().st_size
            for part in self.tool.store
            for path in (self.folder / part).rglob("*")
            if path.is_file()
        )


def measure(bench: Bench, files: dict[str, Path]) -> Iterator[tuple[str, float]]:
    """Every row of the table for one tool: (what, how much)."""
    peak = 0
    for version, path in files.items():
        shutil.copyfile(path, bench.folder / FILE)
        seconds, used = bench.run(*bench.tool.add)
        yield f"add {version}, s", seconds
        bench.run(f"git commit -q -m {version}", f"git tag {version}")
        yield f"stored after {version}, MB", bench.stored() / 1e6
        peak = max(peak, used)
    for version in ("v1", "v3"):
        seconds, used = bench.run(*(c.format(revision=version) for c in bench.tool.checkout))
        yield f"checkout {version}, s", seconds
        peak = max(peak, used)
        if digest(bench.folder / FILE) != digest(files[version]):
            sys.exit(f"{bench.tool.name}: {version} did not come back byte for byte")
    yield "status after checkout, s", bench.run("git status --porcelain")[0]
    yield "largest process, MB", peak / 1e6


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megabytes", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tools", default=",".join(tool.name for tool in TOOLS))
    options = parser.parse_args()
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    wanted = [tool for tool in TOOLS if tool.name in options.tools.split(",")]
    tools = [tool for tool in wanted if shutil.which(tool.program)]
    for tool in wanted:
        if tool not in tools:
            print(f"{tool.name} is not installed: left out", file=sys.stderr)
    results: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    with tempfile.TemporaryDirectory() as temporary:
        files = {}
        for version, tensors in weights(options.megabytes).items():
            files[version] = Path(temporary) / f"{version}.safetensors"
            write(files[version], tensors)
        for _ in range(options.rounds):
            for tool in tools:
                folder = Path(temporary) / tool.name
                for row, value in measure(Bench(tool, folder), files):
                    results[row][tool.name].append(value)
                shutil.rmtree(folder)
        size = files["v1"].stat().st_size / 1e6
    show(results, [tool.name for tool in tools], f"{size:.0f} MB bf16, {options.rounds} rounds")


def show(results: dict[str, dict[str, list[float]]], tools: list[str], title: str) -> None:
    print(f"| {title} | {' | '.join(tools)} |")
    print(f"|---|{'---:|' * len(tools)}")
    for row, values in results.items():
        cells = [f"{statistics.median(values[tool]):.3g}" for tool in tools]
        print(f"| {row} | {' | '.join(cells)} |")


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    main()
