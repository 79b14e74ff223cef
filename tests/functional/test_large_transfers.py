"""Memory of transfers that are larger than it may grow."""

from __future__ import annotations

import random
import sys
from uuid import uuid4

import pytest

from tests.support.git import Repo
from tests.support.models import safetensors_file
from tests.support.s3_server import S3Server

NAME = "m.safetensors"
PACK = 64 << 20
BUDGET = 350  # MB, of which a process without a transfer takes 30
# A process begins with the largest size of the one that starts it: this one is small.
MEASURE = """
import resource, subprocess, sys
subprocess.run([sys.executable, "-m", "git_nn.cli.main", *sys.argv[1:]], check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024)
"""


def megabytes(repo: Repo, *argv: str) -> int:
    """The largest resident size of ``git nn ARGV``."""
    done = repo.run(sys.executable, "-ISc", MEASURE, *argv)
    return int(done.text.splitlines()[-1])


def test_large_packs_go_to_a_bucket_and_come_back_in_little_memory(
    repo: Repo, far: Repo, other_s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With eight connections all six packs would be in memory at once."""
    bucket = f"bucket-{uuid4().hex}"
    other_s3_server.make_bucket(bucket)
    for key, value in other_s3_server.environment.items():
        monkeypatch.setenv(key, value)
    random.seed(1)
    data = safetensors_file({f"t{i}": ("U8", (PACK,), random.randbytes(PACK)) for i in range(6)})
    repo.git("config", "nn.url", f"s3://{bucket}/x")
    repo.write(NAME, data)
    repo.commit()
    assert megabytes(repo, "push", str(far.path)) < BUDGET
    repo.git("push", "-q", "--no-verify", str(far.path), "main")
    place = repo.path.with_name("clone")
    repo.git("clone", "-q", str(far.path), str(place), env={"GIT_NN_SKIP_SMUDGE": "1"})
    clone = Repo(place)
    clone.nn("install", "--local")
    clone.git("config", "nn.url", f"s3://{bucket}/x")
    assert megabytes(clone, "fetch") < BUDGET
    clone.git("config", "nn.url", str(place / "nowhere"))
    clone.nn("checkout")
    assert clone.read(NAME) == data
