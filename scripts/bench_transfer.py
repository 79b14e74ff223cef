"""How fast weights go to a folder and to S3 and come back, beside git-lfs and boto3, in one run.

    .venv/bin/python scripts/bench_transfer.py [--megabytes 256] [--rounds 3]

Folder: `git nn push` and `git nn fetch` of one model, beside `git lfs push` and `git lfs fetch` of
the same file with git-lfs's own transfer for file:// remotes. S3 (moto's server on loopback): the
packs by git-nn, beside boto3's upload_file and download_file of the same packs, eight at once.
Times are medians in seconds; memory is the largest resident size of a process of any tool.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.support.models import safetensors_file  # noqa: E402
from tests.support.s3_server import ENVIRONMENT, S3Server, moto  # noqa: E402

LAZY = {"GIT_NN_SKIP_SMUDGE": "1", "GIT_LFS_SKIP_SMUDGE": "1"}
NN = (sys.executable, "-m", "git_nn.cli.main")


def run(folder: Path, *argv: str, env: dict[str, str] | None = None) -> None:
    subprocess.run(
        argv, cwd=folder, check=True, capture_output=True, env={**os.environ, **(env or {})}
    )


def timed(work: Callable[..., object], *arguments: object, **options: object) -> float:
    os.sync()
    start = time.perf_counter()
    work(*arguments, **options)
    return time.perf_counter() - start


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


def folder_rows(place: Path, data: bytes, rounds: int) -> dict[str, list[float]]:
    pattern = "*.safetensors"
    ours = repository(place / "nn", data, (*NN, "install", "--local"), (*NN, "track", pattern))
    setup = (("git", "lfs", "install", "--local"), ("git", "lfs", "track", pattern))
    theirs = repository(place / "lfs", data, *setup)
    times: dict[str, list[float]] = defaultdict(list)
    for number in range(rounds):
        name = f"far{number}"
        for tool, repo, words in (("git-nn", ours, NN), ("git-lfs", theirs, ("git", "lfs"))):
            far, clone = place / f"{tool}-{name}.git", place / f"{tool}-{name}"
            run(place, "git", "init", "-q", "--bare", str(far))
            run(repo, "git", "remote", "add", name, far.as_uri())
            times[f"{tool} push"].append(timed(run, repo, *words, "push", name, "main"))
            run(repo, "git", "push", "-q", "--no-verify", name, "main")
            argv = ("git", "clone", "-q", "-b", "main", "-o", name, far.as_uri(), str(clone))
            run(place, *argv, env=LAZY)
            # by copies, as over a mount, and not by links into the same file system
            run(clone, "git", "config", "nn.url", str(far / "nn"))
            times[f"{tool} fetch"].append(timed(run, clone, *words, "fetch", name, "main"))
    return times


def bucket_rows(place: Path, server: S3Server, rounds: int) -> dict[str, list[float]]:
    ours = place / "nn"
    packs = sorted((ours / ".git/nn/packs").rglob("*.nnp"))
    env = ENVIRONMENT | {"AWS_ENDPOINT_URL": server.endpoint}
    client = server.client()
    times: dict[str, list[float]] = defaultdict(list)
    for number in range(rounds):
        bucket, other, clone = f"ours-{number}", f"boto-{number}", place / f"s3-{number}"
        server.make_bucket(bucket)
        server.make_bucket(other)
        run(ours, "git", "config", "nn.url", f"s3://{bucket}/x")
        times["git-nn push to S3"].append(timed(run, ours, *NN, "push", "far0", env=env))
        run(place, "git", "clone", "-q", "-b", "main", str(place / "git-nn-far0.git"), str(clone),
            env=LAZY)  # fmt: skip
        run(clone, "git", "config", "nn.url", f"s3://{bucket}/x")
        times["git-nn fetch from S3"].append(timed(run, clone, *NN, "fetch", "origin", env=env))
        sent = [(str(pack), other, pack.name) for pack in packs]
        come = [(other, pack.name, str(place / pack.name)) for pack in packs]
        with ThreadPoolExecutor(8) as pool:
            times["boto3 upload"].append(timed(_all, pool, client.upload_file, sent))
            times["boto3 download"].append(timed(_all, pool, client.download_file, come))
    return times


def _all(pool: ThreadPoolExecutor, work: Callable[..., object], rows: list[Any]) -> None:
    for _ in pool.map(lambda row: work(*row), rows):
        pass


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--megabytes", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    os.environ["GIT_CONFIG_COUNT"] = "1"
    os.environ["GIT_CONFIG_KEY_0"], os.environ["GIT_CONFIG_VALUE_0"] = "nn.gcAuto", "0"
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        times = folder_rows(place, model(options.megabytes), options.rounds)
        with moto() as server:
            times |= bucket_rows(place, server, options.rounds)
    for label, seconds in times.items():
        print(f"{label:30} {statistics.median(seconds):7.2f} s")
    print(f"largest child: {resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024} MB")


if __name__ == "__main__":
    main()
