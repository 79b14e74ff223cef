"""Two branches of a model, for tests of merging."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.support.git import Repo

ATTRIBUTES = (
    "*.safetensors filter=nn diff=nn merge=nn -text\n*.h5 filter=nn diff=nn merge=nn -text\n"
)
MODEL = "sub dir/model.safetensors"


@dataclass(frozen=True)
class Branches:
    """A repository on main with a branch side; both start from the tag start."""

    repo: Repo

    @property
    def path(self) -> Path:
        return self.repo.path

    @classmethod
    def create(
        cls,
        folder: Path,
        base: bytes | None,
        ours: bytes | None,
        theirs: bytes | None,
        *,
        name: str = MODEL,
        attributes: str = "",
    ) -> Branches:
        """``name`` has these versions; None is no file. ``attributes`` are more lines."""
        repo = Repo.create(folder, patterns=())
        repo.write(".gitattributes", (ATTRIBUTES + attributes).encode())
        made = cls(repo)
        made.put(name, base, "start")
        repo.git("tag", "start")
        repo.git("switch", "-q", "-c", "side")
        made.put(name, theirs, "theirs")
        repo.git("switch", "-q", "main")
        made.put(name, ours, "ours")
        assert repo.status() == ""
        return made

    def put(self, name: str, data: bytes | None, message: str) -> str:
        """Commit ``data`` as the file ``name`` (None removes it); returns the commit."""
        if data is None:
            (self.path / name).unlink(missing_ok=True)
        else:
            self.repo.write(name, data)
        self.repo.git("add", "-A")
        self.repo.git("commit", "-q", "--allow-empty", "-m", message)
        return self.repo.git("rev-parse", "HEAD").text.strip()

    def records(self) -> list[Path]:
        return sorted((self.path / ".git/nn/merge").glob("*"))
