"""git nn demo: the whole tour, with no network, without a trace outside of its own folder."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner

from git_nn.cli.demo import command
from git_nn.demo.story import Stage
from git_nn.errors import GitError, UsageError
from tests.support.git import Repo, Result

# What a person may have configured; any of it would stop the story or change it.
HOSTILE = """
[user]
    useConfigOnly = true
[commit]
    gpgSign = true
[core]
    hooksPath = /nowhere
    autocrlf = true
[init]
    defaultBranch = trunk
[diff]
    external = false
[merge]
    ff = only
"""


@dataclass(frozen=True)
class Told:
    """A run of 'git nn demo --keep'; ``folder`` is the repository that it left."""

    result: Result
    seconds: float
    folder: Path

    def after(self, command: str) -> str:
        """What stands between a command and the next command or heading."""
        _, _, rest = self.result.text.partition(f"$ {command}\n")
        assert rest, f"no {command} in\n{self.result.text}"
        return re.split(r"^[$#] ", rest, maxsplit=1, flags=re.MULTILINE)[0]


def offline() -> tuple[str, ...]:
    """Words before a command that take its network away, where the system lets us."""
    words = ("unshare", "--user", "--map-root-user", "--net")
    tried = shutil.which(words[0]) and subprocess.run([*words, "true"], capture_output=True)
    return words if tried and tried.returncode == 0 else ()


@pytest.fixture
def told(scrubbed: Path, tmp_path: Path) -> Told:
    """The demo in a HOME that holds nothing but somebody's settings, and still does after it."""
    (tmp_path / "tmp").mkdir()
    (scrubbed / ".gitconfig").write_text(HOSTILE)
    env = {
        "TMPDIR": str(tmp_path / "tmp"),
        "GIT_DIR": str(tmp_path / "elsewhere"),
        "https_proxy": "http://127.0.0.1:9",
        "http_proxy": "http://127.0.0.1:9",
    }
    start = time.monotonic()
    result = Repo(tmp_path).run(*offline(), "git-nn", "demo", "--keep", env=env)
    seconds = time.monotonic() - start
    assert list(scrubbed.iterdir()) == [scrubbed / ".gitconfig"]
    assert (scrubbed / ".gitconfig").read_text() == HOSTILE
    (folder,) = (tmp_path / "tmp").iterdir()
    assert f"the repository is in {folder}\n" in result.text
    return Told(result, seconds, folder)


def test_the_demo_shows_each_command_with_its_output_and_is_right(told: Told) -> None:
    assert told.seconds < 30
    assert told.result.errors == ""
    assert told.after("git add .") == ""
    assert told.after("git show --no-textconv HEAD:model.h5").startswith("  git-nn pointer 1\n")
    table = told.after("git diff")
    assert "model.h5   4 changed, 2 same of 6 tensors" in table
    assert re.search(r"^  ~ model_weights/head/head/kernel +64x10 +f32 ", table, re.MULTILINE)
    merged = told.after("git merge -m 'Merge both fine-tunes' noisy")
    assert "model.h5: 2 tensors from ours, 4 from theirs" in merged
    assert told.after("git status --short --branch") == "  ## main\n"
    _holds(told, Repo(told.folder))


def _holds(told: Told, repo: Repo) -> None:
    """What was said about blame and bytes, asked of the repository that the demo left."""
    blame = told.after("git blame -s model.h5")
    for tensor, revision in (("dense/dense/bias", "main~1"), ("head/head/bias", "noisy")):
        commit = repo.git("rev-parse", "--short=8", revision).text.strip()
        assert re.search(rf"^  {commit} .* model_weights/{tensor} f32", blame, re.MULTILINE)
    said = r"^\$ git checkout -q '?([\w~]+)'?\n  sha256 (\w{16})\.\.\.  identical$"
    shown = re.findall(said, told.result.text, re.MULTILINE)
    assert [revision for revision, _ in shown] == ["main~2", "noisy", "main~1", "main"]
    for revision, digest in shown:
        weights = repo.git("cat-file", "--filters", f"{revision}:model.h5").out
        assert hashlib.sha256(weights).hexdigest().startswith(digest)
    assert repo.status() == ""
    repo.nn("fsck")


@pytest.mark.parametrize(("exact", "code"), [(True, 0), (False, 1)])
def test_the_folder_is_removed_unless_it_is_to_be_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exact: bool, code: int
) -> None:
    """A shorter story, since it is the end that matters: the exit code and what is left."""

    def tell(stage: Stage) -> bool:
        (stage.folder / "objects").mkdir()
        (stage.folder / "objects" / "pack").write_bytes(b"x")
        (stage.folder / "objects" / "pack").chmod(0o400)
        return exact

    monkeypatch.setattr("git_nn.demo.story.tell", tell)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert CliRunner().invoke(command, [], standalone_mode=False).return_value == code
    assert list(tmp_path.iterdir()) == []
    kept = CliRunner().invoke(command, ["--keep"], standalone_mode=False)
    (folder,) = tmp_path.iterdir()
    assert f"the repository is in {folder}\n" in kept.output
    assert (folder / "objects" / "pack").read_bytes() == b"x"


def test_when_git_fails_the_demo_says_so_and_leaves_nothing(tmp_path: Path) -> None:
    code, errors = _told_with_git(tmp_path, "#!/bin/sh\necho 'fatal: broken' >&2\nexit 3\n")
    assert code == GitError.exit_code
    assert errors == "git-nn: 'git init -q -b main .' failed: fatal: broken\n"


def test_without_git_the_demo_asks_for_it(tmp_path: Path) -> None:
    code, errors = _told_with_git(tmp_path, None)
    assert code == UsageError.exit_code
    assert errors.startswith("git-nn: git is not on PATH")


def _told_with_git(folder: Path, script: str | None) -> tuple[int, str]:
    """Exit code and stderr of the demo where ``script`` is the only git, or none is there."""
    for name in ("bin", "tmp"):
        (folder / name).mkdir()
    if script is not None:
        (folder / "bin" / "git").write_text(script)
        (folder / "bin" / "git").chmod(0o755)
    env = {"PATH": str(folder / "bin"), "TMPDIR": str(folder / "tmp")}
    result = Repo(folder).nn("demo", code=None, env=env)
    assert list((folder / "tmp").glob("git-nn-demo-*")) == []
    return result.code, result.errors
