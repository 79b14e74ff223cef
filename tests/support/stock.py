"""Repositories whose histories are written at once, for tests of what Git does with them.

The versions of a model are cleaned once, into a stock; a test copies that and has its
commits made by ``git fast-import``, so that only what it is about runs the filter.

A version is written ``a1c2``: tensor a in its first variant, c in its second, the others as
they were. Tensors are ``a`` to ``d``, and the variant 0 is that of the base, ``""``.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from blake3 import blake3

from tests.support.git import Repo
from tests.support.models import normal, read_safetensors, safetensors_file

MODEL = "m.safetensors"
ATTRIBUTES = "*.safetensors filter=nn diff=nn merge=nn -text\n"
VERSIONS = (
    "", "a1", "a2", "b1", "b2", "c1", "d1", "a1b1", "a1b2", "a1c1", "a1d1", "a2b1", "a2c1",
    "b1c1", "a1b1c1", "a2b1c1", "a1b1c1d1", "a1b1d1",
)  # fmt: skip
Arrays = dict[str, np.ndarray]
Files = str | Mapping[str, str | bytes | None]


def arrays(version: str, **instead: np.ndarray) -> Arrays:
    """The tensors of a version; ``instead`` are others in their place."""
    variants = dict.fromkeys("abcd", 0) | {
        version[i]: int(version[i + 1]) for i in range(0, len(version), 2)
    }
    return {n: normal(10 * i + v, 3, 4) for i, (n, v) in enumerate(variants.items())} | instead


def model(version: str) -> bytes:
    return safetensors_file(arrays(version))


@dataclass(frozen=True)
class Stock:
    """A repository without commits that has every version, and Git's name of each pointer."""

    folder: Path
    blobs: Mapping[str, str]

    @classmethod
    def create(cls, folder: Path) -> Stock:
        repo = Repo.create(folder, patterns=())
        repo.write(".gitattributes", ATTRIBUTES.encode())
        for version in VERSIONS:
            repo.write(f"v{version}.safetensors", model(version))
        repo.git("add", "-A")
        listed = repo.git("ls-files", "-s").text.splitlines()
        names = {line.split("\t")[1]: line.split()[1] for line in listed}
        repo.git("read-tree", "--empty")
        for version in VERSIONS:
            (folder / f"v{version}.safetensors").unlink()
        (folder / ".gitattributes").unlink()
        return cls(folder, {v: names[f"v{v}.safetensors"] for v in VERSIONS})

    def copy(self, folder: Path) -> Past:
        shutil.copytree(self.folder, folder)
        return Past(Repo(folder), self.blobs)


@dataclass(frozen=True)
class Past:
    """A repository that gets its history in one go."""

    repo: Repo
    blobs: Mapping[str, str]

    def grow(self, branch: str, start: str | None, *commits: Files) -> None:
        """Commit each of ``commits`` to ``branch``, from ``start`` on (None: a first commit).

        A commit is a version of the model, or files: a version (text), other content
        (bytes), or None for none. Every commit is tagged BRANCH-NUMBER, from 1.
        """
        stream = b"".join(self._commits(branch, start, commits))
        self.repo.git("fast-import", "--quiet", "--force", "--date-format=raw", stdin=stream)

    def _commits(
        self, branch: str, start: str | None, commits: tuple[Files, ...]
    ) -> Iterator[bytes]:
        for number, files in enumerate(commits, 1):
            message = f"{branch} {number}".encode()
            yield b"commit refs/heads/%s\ncommitter C <c@example.com> 1767323045 +0000\n" % (
                branch.encode()
            )
            yield b"data %d\n%s\n" % (len(message), message)
            if number == 1 and start is not None:
                yield b"from %s^0\n" % start.encode()
            elif number == 1:
                yield b"M 100644 inline .gitattributes\n" + _inline(ATTRIBUTES.encode())
            for path, content in ({MODEL: files} if isinstance(files, str) else files).items():
                yield self._file(path.encode(), content)
            yield b"\nreset refs/tags/%s-%d\nfrom refs/heads/%s\n\n" % (
                branch.encode(), number, branch.encode(),
            )  # fmt: skip

    def _file(self, path: bytes, content: str | bytes | None) -> bytes:
        if content is None:
            return b"D %s\n" % path
        if isinstance(content, bytes):
            return b"M 100644 inline %s\n" % path + _inline(content)
        mode = b"100755" if content.endswith("x") else b"100644"
        return b"M %s %s %s\n" % (mode, self.blobs[content.removesuffix("x")].encode(), path)

    def fork(self, ours: Files, theirs: Files, base: Files = "") -> Repo:
        """main and side, each one commit from start, the base; main is checked out."""
        self.grow("start", None, base)
        self.grow("side", "start", theirs)
        self.grow("main", "start", ours)
        return self.out("main")

    def out(self, branch: str) -> Repo:
        """Check a branch out, in a repository that has nothing checked out yet."""
        self.repo.git("symbolic-ref", "HEAD", f"refs/heads/{branch}")
        self.repo.git("reset", "-q", "--hard")
        return self.repo


def _inline(data: bytes) -> bytes:
    return b"data %d\n%s\n" % (len(data), data)


# --- what must hold in the end ----------------------------------------------------------


def is_model(repo: Repo, path: str, expected: Arrays) -> None:
    """The work-tree file loads and has exactly these tensors."""
    found = read_safetensors(repo.read(path))
    assert found == read_safetensors(safetensors_file(expected)), path


def is_pointer_of(text: str, expected: Arrays) -> None:
    """A pointer names exactly these tensors, each by the hash of its bytes."""
    told = [line.split(" ", 1)[1] for line in text.splitlines() if line.startswith("tensor ")]
    assert sorted(told) == sorted(expected)
    for name, array in expected.items():
        stanza = text.partition(f"\ntensor {name}\n")[2].partition("\n\n")[0]
        assert blake3(array.tobytes()).hexdigest() in stanza, name


def holds(repo: Repo, content: str | Arrays) -> None:
    """Git is clean, and HEAD and the work tree have this model, and no other."""
    holds_files(repo, {MODEL: content})


def holds_files(repo: Repo, files: Mapping[str, str | Arrays], *others: str) -> None:
    """Git is clean, and HEAD and the work tree have these models; ``others`` are no models."""
    assert repo.status() == ""
    tree = repo.git("ls-tree", "-r", "-z", "--name-only", "--full-tree", "HEAD").text
    assert set(tree.split("\0")[:-1]) == {".gitattributes", *files, *others}
    for path, content in files.items():
        expected = arrays(content) if isinstance(content, str) else content
        is_pointer_of(repo.blob(f"HEAD:{path}").decode(), expected)
        is_model(repo, path, expected)


def in_conflict(repo: Repo, kept: str, *tensors: str, path: str = MODEL) -> None:
    """The path is unmerged, a whole model with ours stands there, and these are open."""
    assert path in repo.git("ls-files", "-u", "-z").text
    is_model(repo, path, arrays(kept))
    folder = repo.git("rev-parse", "--path-format=absolute", "--git-common-dir").text.strip()
    ours = repo.git("rev-parse", f":2:{path}").text.strip()
    records = [json.loads(file.read_bytes()) for file in Path(folder, "nn/merge").glob("*.json")]
    names = [
        {tensor["name"] for tensor in record["tensors"]}
        for record in records
        if record["path"] == path and record["blobs"]["ours"] == ours
    ]
    assert {*tensors} in names
