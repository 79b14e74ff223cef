"""How fast weights go to a folder and to S3 and come back, beside git-lfs and boto3, in one run.

    .venv/bin/python scripts/bench_transfer.py [--megabytes 256] [--rounds 3] [--other /dev/shm]

Folder: `git nn push` and `git nn fetch` of one model, beside `git lfs push` and `git lfs fetch` of
the same file with git-lfs's own transfer for file:// remotes; on the same file system, where
git-lfs makes a link, and on another one, where it must copy, too. S3 (moto's server on loopback):
the packs by git-nn, beside boto3's upload_file and download_file of the same packs, eight at once,
in a process of its own and, in brackets, without its start-up.
Times are medians in seconds, of whole commands; memory is the largest resident size that a process
of the command had, in MB.
"""

from __future__ import annotations

import argparse
import logging
import os
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.support.models import safetensors_file  # noqa: E402
from tests.support.s3_server import S3Server, moto  # noqa: E402

LAZY = {"GIT_NN_SKIP_SMUDGE": "1", "GIT_LFS_SKIP_SMUDGE": "1"}
NN = (sys.executable, "-m", "git_nn.cli.main")
# A process begins with the largest size of the one that starts it: this one is small.
MEASURE = """
import resource, subprocess, sys, time
start = time.perf_counter()
subprocess.run(sys.argv[1:], check=True)
seconds = time.perf_counter() - start
print()
print(seconds, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024)
"""
BOTO = """
import sys, time
from concurrent.futures import ThreadPoolExecutor
import boto3
way, bucket, folder, endpoint, *names = sys.argv[1:]
client = boto3.client("s3", endpoint_url=endpoint)
def move(name):
    if way == "upload":
        client.upload_file(f"{folder}/{name}", bucket, name.rpartition("/")[2])
    else:
        client.download_file(bucket, name.rpartition("/")[2], f"{folder}/{name}")
start = time.perf_counter()
with ThreadPoolExecutor(8) as pool:
    list(pool.map(move, names))
print(time.perf_counter() - start)
"""


class Table:
    """What was measured of each row: seconds, and the largest resident size in MB."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = defaultdict(list)
        self.memory: dict[str, list[int]] = defaultdict(list)

    def run(self, row: str, folder: Path, *argv: str, env: dict[str, str] | None = None) -> str:
        os.sync()
        said = run(folder, sys.executable, "-ISc", MEASURE, *argv, env=env)
        *lines, measured = said.splitlines()
        seconds, memory = measured.split()
        self.seconds[row].append(float(seconds))
        self.memory[row].append(int(memory))
        return "".join(lines)

    def print(self) -> None:
        print(f"{'':34}{'seconds':>8}{'MB':>6}")
        for row, seconds in self.seconds.items():
            memory = max(self.memory[row], default=0) or ""
            print(f"{row:34}{statistics.median(seconds):8.2f}{memory:>6}")


def run(folder: Path, *argv: str, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        argv, cwd=folder, check=True, capture_output=True, env={**os.environ, **(env or {})}
    )
    return done.stdout.decode()


def model(megabytes: int) -> bytes:
    """bf16 as a trained transformer has it: normal, in matrices of 1024 x 1024."""
    rng = np.random.default_rng(0)
    tensors: dict[str, Any] = {}
    for number in range(max(1, megabytes // 2)):
        floats = rng.standard_normal((1024, 1024)).astype(np.float32) * np.float32(0.02)
        halves = (floats.view(np.uint32) >> 16).astype(np.uint16)
        tensors[f"layers.{number}.w"] = ("BF16", floats.shape, halves.tobytes())
    return safetensors_file(tensors)


def repository(folder: Path, data: bytes, *setup: tuple[str, ...]) -> Path:
    folder.mkdir()
    run(folder, "git", "init", "-q", "-b", "main", ".")
    for argv in setup:
        run(folder, *argv)
    (folder / "m.safetensors").write_bytes(data)
    run(folder, "git", "add", "-A")
    run(folder, "git", "commit", "-qm", "model")
    return folder


def both(place: Path, data: bytes) -> dict[str, Path]:
    """The same model in a repository of each tool."""
    pattern = "*.safetensors"
    setup = (("git", "lfs", "install", "--local"), ("git", "lfs", "track", pattern))
    ours = (*NN, "install", "--local"), (*NN, "track", pattern)
    return {
        "git-nn": repository(place / "nn", data, *ours),
        "git-lfs": repository(place / "lfs", data, *setup),
    }


def folder_rows(table: Table, repos: dict[str, Path], kind: str, place: Path, rounds: int) -> None:
    """Push to bare repositories in ``place``, and fetch from there."""
    for number in range(rounds):
        name = f"{kind}{number}".replace(" ", "-")
        for tool, words in (("git-nn", NN), ("git-lfs", ("git", "lfs"))):
            repo = repos[tool]
            far, clone = place / f"{tool}-{name}.git", repo.parent / f"{tool}-{name}"
            run(repo, "git", "init", "-q", "--bare", str(far))
            run(repo, "git", "remote", "add", name, far.as_uri())
            table.run(f"{tool} push, {kind}", repo, *words, "push", name, "main")
            run(repo, "git", "push", "-q", "--no-verify", name, "main")
            argv = ("git", "clone", "-q", "-b", "main", "-o", name, far.as_uri(), str(clone))
            run(repo, *argv, env=LAZY)
            # by copies, as over a mount, and not by links into the same file system
            run(clone, "git", "config", "nn.url", str(far / "nn"))
            table.run(f"{tool} fetch, {kind}", clone, *words, "fetch", name, "main")


def bucket_rows(table: Table, ours: Path, server: S3Server, rounds: int) -> None:
    place = ours.parent
    store = ours / ".git/nn/packs"
    packs = [str(pack.relative_to(store)) for pack in sorted(store.rglob("*.nnp"))]
    for number in range(rounds):
        bucket, other, clone = f"ours-{number}", f"boto-{number}", place / f"s3-{number}"
        server.make_bucket(bucket)
        server.make_bucket(other)
        url = ("git", "config", "nn.url", f"s3://{bucket}/x")
        run(ours, *url)
        head = ("HEAD:refs/heads/main", str(place / "refs.git"))
        run(ours, "git", "init", "-q", "--bare", "-b", "main", head[1])
        run(ours, "git", "push", "-q", "-f", "--no-verify", head[1], head[0])
        table.run("git-nn push, S3", ours, *NN, "push", head[1], env=server.environment)
        run(ours, "git", "clone", "-q", "-b", "main", head[1], str(clone), env=LAZY)
        run(clone, *url)
        table.run("git-nn fetch, S3", clone, *NN, "fetch", "origin", env=server.environment)
        for way, folder in (("upload", store), ("download", clone)):
            for pack in packs:
                (folder / pack).parent.mkdir(exist_ok=True)
            row = f"boto3 {way}, S3"
            argv = (sys.executable, "-c", BOTO, way, other, str(folder), server.endpoint, *packs)
            inner = table.run(row, clone, *argv, env=server.environment)
            table.seconds[f"  ({way} alone)"].append(float(inner))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--megabytes", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--other", type=Path, default=Path("/dev/shm"))
    options = parser.parse_args()
    os.environ["GIT_CONFIG_COUNT"] = "1"
    os.environ["GIT_CONFIG_KEY_0"], os.environ["GIT_CONFIG_VALUE_0"] = "nn.gcAuto", "0"
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    table = Table()
    with (
        tempfile.TemporaryDirectory() as name,
        tempfile.TemporaryDirectory(dir=options.other) as other,
        moto() as server,
    ):
        repos = both(Path(name), model(options.megabytes))
        folder_rows(table, repos, "same disk", Path(name), options.rounds)
        folder_rows(table, repos, "another", Path(other), options.rounds)
        bucket_rows(table, repos["git-nn"], server, options.rounds)
    table.print()


if __name__ == "__main__":
    main()
