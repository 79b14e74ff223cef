"""A long history of a model, made at once by ``git fast-import``: pointers without weights."""

from __future__ import annotations

import hashlib
from pathlib import Path

from tests.support.git import Repo

NAME = "dir/m.safetensors"
_HEAD = (
    "git-nn pointer 1\n# weights of a neural network; to get them: "
    "pip install git-nn && git nn install && git nn pull\n"
    f"layout safetensors 1\nskeleton {'0' * 64} 100\n"
)


def long_history(path: Path, commits: int, tensors: int, changed: int) -> Repo:
    """``commits`` versions of ``tensors`` tensors, of which each changes ``changed``."""
    path.mkdir()
    repo = Repo(path)
    repo.git("init", "-q", "-b", "main", ".")
    names = [f"layers.{i // 9:03}.{'abcdefghi'[i % 9]}_proj.weight" for i in range(tensors)]
    values = [hashlib.sha256(name.encode()).hexdigest() for name in names]
    stream = []
    for commit in range(commits):
        for i in range(changed if commit else 0):
            at = (commit * changed + i) % tensors
            values[at] = hashlib.sha256(f"{commit} {at}".encode()).hexdigest()
        stanzas = zip(names, values, strict=True)
        text = _HEAD + "".join(f"\ntensor {n}\n  bf16 4096x4096 {v}\n" for n, v in stanzas)
        stream.append(
            f"commit refs/heads/main\ncommitter C <c@x> {1_700_000_000 + commit * 60} +0000\n"
            f"data 1\nc\nM 100644 inline {NAME}\ndata {len(text)}\n{text}\n".encode()
        )
    repo.git("fast-import", "--quiet", stdin=b"".join(stream))
    return repo
