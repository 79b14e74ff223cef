"""A repository, and the one place that starts git.

1. A child gets a scrubbed environment: variables that say *where* things are and *who*
   commits stay, variables that change what git prints go.
2. A child is told GIT_DIR and GIT_WORK_TREE by absolute path and runs at the top of the
   work tree, so that it sees the same repository from wherever we were started.
3. ``find`` asks git once; nothing here reads .git by itself, so linked worktrees,
   submodules, SHA-256 and reftable repositories are no special cases.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from git_nn.errors import GitError, UsageError

_KEPT = frozenset({
    "GIT_DIR", "GIT_WORK_TREE", "GIT_COMMON_DIR", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_QUARANTINE_PATH", "GIT_SHALLOW_FILE",
    "GIT_GRAFT_FILE", "GIT_NAMESPACE", "GIT_NO_REPLACE_OBJECTS", "GIT_REPLACE_REF_BASE",
    "GIT_CEILING_DIRECTORIES", "GIT_DISCOVERY_ACROSS_FILESYSTEM", "GIT_EXEC_PATH",
    "GIT_DEFAULT_HASH", "GIT_DEFAULT_REF_FORMAT", "GIT_ATTR_SOURCE", "GIT_ATTR_NOSYSTEM",
    "GIT_ASKPASS", "GIT_TERMINAL_PROMPT", "GIT_ALLOW_PROTOCOL", "GIT_PROTOCOL",
    "GIT_PROTOCOL_FROM_USER", "GIT_NO_LAZY_FETCH", "GIT_HTTP_USER_AGENT",
    "GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_AUTHOR_DATE",
    "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL", "GIT_COMMITTER_DATE",
})  # fmt: skip
_KEPT_PREFIXES = ("GIT_CONFIG", "GIT_SSH", "GIT_SSL_", "GIT_PROXY_", "GIT_HTTP_PROXY_", "GIT_NN_")
# Git reads these after it went to the top of the work tree, so they are relative to it.
_PATHS = ("GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR", "GIT_SHALLOW_FILE",
          "GIT_GRAFT_FILE", "GIT_QUARANTINE_PATH")  # fmt: skip
_FORMATS = (b"sha1", b"sha256")


@dataclass(frozen=True, slots=True)
class Repository:
    """Where a repository is; ``env`` is the whole environment of its git children.

    ``git_dir`` belongs to this worktree, ``common_dir`` to all of them; ``work_tree`` is
    None in a bare repository and inside of a .git folder.
    """

    git_dir: Path
    common_dir: Path
    work_tree: Path | None
    env: Mapping[str, str]
    object_format: str = "sha1"

    @property
    def nn_dir(self) -> Path:
        """The store, shared by all worktrees."""
        return self.common_dir / "nn"

    @property
    def top(self) -> Path:
        """Where children run: the top of the work tree, or the git folder."""
        return self.work_tree or self.git_dir

    @property
    def index_file(self) -> Path:
        named = self.env.get("GIT_INDEX_FILE")
        return Path(named) if named else self.git_dir / "index"

    @property
    def object_dir(self) -> Path:
        named = self.env.get("GIT_OBJECT_DIRECTORY")
        return Path(named) if named else self.common_dir / "objects"

    def with_env(self, **variables: str) -> Repository:
        """The same repository, with more variables for its children."""
        return replace(self, env={**self.env, **variables})

    def git(
        self, *argv: str, stdin: bytes | None = None, check: bool = True, cwd: Path | None = None
    ) -> bytes:
        """Run git and return what it printed; GitError where ``check`` and it failed.

        UsageError where it needs a work tree and there is none: we are inside of .git.
        """
        folder = cwd or self.top
        try:
            done = subprocess.run(
                ["git", *argv],
                cwd=folder,
                env=self.env,
                input=b"" if stdin is None else stdin,
                capture_output=True,
                check=False,
            )
        except (FileNotFoundError, NotADirectoryError) as error:
            raise not_started(folder) from error
        if check and done.returncode:
            if b"must be run in a work tree" in done.stderr:
                raise UsageError(f"there is no work tree in {folder}", hint="run it in one")
            raise GitError(argv, done.returncode, done.stderr.decode("utf-8", "replace"))
        return done.stdout

    def start(
        self,
        *argv: str,
        stdin: int | IO[bytes] = subprocess.DEVNULL,
        stderr: int | IO[bytes] = subprocess.DEVNULL,
    ) -> subprocess.Popen[bytes]:
        """Start git with a pipe on its output; the caller ends it."""
        try:
            return subprocess.Popen(
                ["git", *argv],
                cwd=self.top,
                env=self.env,
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=stderr,
            )
        except (FileNotFoundError, NotADirectoryError) as error:
            raise not_started(self.top) from error

    @contextmanager
    def pipe(self, *commands: Sequence[str], stdin: bytes = b"") -> Iterator[IO[bytes]]:
        """The output of a pipeline of git commands, as a stream; read it to its end.

        Raises GitError when the block ends if one of them failed. Where the block is left
        by an exception the children are killed.
        """
        with tempfile.TemporaryFile() as source, tempfile.TemporaryFile() as errors:
            source.write(stdin)
            source.seek(0)
            children = self._chain(commands, source, errors)
            last = children[-1].stdout
            assert last is not None
            try:
                yield last
            except BaseException:
                _kill(children)
                raise
            _close(children)
            statuses = [child.wait() for child in children]
            for argv, status in zip(commands, statuses, strict=True):
                if status:
                    errors.seek(0)
                    raise GitError(tuple(argv), status, errors.read().decode("utf-8", "replace"))

    def _chain(
        self, commands: Sequence[Sequence[str]], source: IO[bytes], errors: IO[bytes]
    ) -> list[subprocess.Popen[bytes]]:
        children: list[subprocess.Popen[bytes]] = []
        try:
            for argv in commands:
                before = children[-1].stdout if children else source
                assert before is not None
                children.append(self.start(*argv, stdin=before, stderr=errors))
                if len(children) > 1:
                    before.close()
        except BaseException:
            _kill(children)
            raise
        return children


def _close(children: Sequence[subprocess.Popen[bytes]]) -> None:
    for child in children:
        if child.stdout is not None:
            child.stdout.close()


def _kill(children: Sequence[subprocess.Popen[bytes]]) -> None:
    for child in children:
        child.kill()
    _close(children)
    for child in children:
        child.wait()


def not_started(folder: Path) -> UsageError:
    """Why git could not be run in ``folder``: the system says the same of both reasons."""
    if not folder.is_dir():
        return UsageError(f"there is no folder {folder}")
    return UsageError("git is not on PATH", hint="install Git 2.31 or newer")


def find(start: Path, env: Mapping[str, str]) -> Repository:
    """The repository that git would use in ``start``; UsageError where there is none."""
    kept = scrub(env)
    argv = ("git", "rev-parse", "--path-format=absolute", "--git-dir", "--show-object-format",
            "--git-common-dir", "--show-object-format", "--show-toplevel")  # fmt: skip
    try:
        done = subprocess.run(argv, cwd=start, env=kept, capture_output=True, check=False)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise not_started(start) from error
    found = _split(done.stdout)
    if found is None:
        raise _refusal(start, done.stderr.decode("utf-8", "replace"))
    object_format, git_dir, common_dir, top = found
    work_tree = Path(os.fsdecode(top)) if top and done.returncode == 0 else None
    kept = _resolved(kept, (work_tree or start).absolute())
    kept["GIT_DIR"] = os.fsdecode(git_dir)
    kept.pop("GIT_WORK_TREE", None)
    if work_tree is None:
        kept["GIT_IMPLICIT_WORK_TREE"] = "0"  # else git takes the folder it runs in for one
    else:
        kept["GIT_WORK_TREE"] = str(work_tree)
    common = Path(os.fsdecode(common_dir))
    return Repository(Path(os.fsdecode(git_dir)), common, work_tree, kept, object_format)


def _split(output: bytes) -> tuple[str, bytes, bytes, bytes] | None:
    """Object format, git dir, common dir, top: the format is there to stand between paths.

    A path may hold a line feed, so lines alone do not say where a path ends. Without a
    work tree the top is missing, and git fails after it printed the rest.
    """
    for name in _FORMATS:
        parts = output.split(b"\n%s\n" % name)
        if len(parts) == 3:
            return name.decode(), parts[0], parts[1], parts[2].removesuffix(b"\n")
    return None


def _refusal(start: Path, stderr: str) -> UsageError:
    if "dubious ownership" in stderr:
        return UsageError(
            f"git does not trust the repository at {start}, which somebody else owns",
            hint=f"run 'git config --global --add safe.directory {start}' if you do",
        )
    if "not a git repository" in stderr:
        hint = "go to one, or run 'git init'"
        return UsageError(f"{start} is not in a Git repository", hint=hint)
    lines = stderr.strip().splitlines()
    return UsageError(f"git cannot open the repository at {start}: {lines[-1] if lines else '?'}")


def _resolved(kept: Mapping[str, str], base: Path) -> dict[str, str]:
    """``kept`` with paths made absolute, for children that run somewhere else."""
    env = {**kept, **{name: str(base / kept[name]) for name in _PATHS if kept.get(name)}}
    listed = kept.get("GIT_ALTERNATE_OBJECT_DIRECTORIES", "")
    if listed and '"' not in listed:  # Git quotes only what it has made absolute
        folders = [path and str(base / path) for path in listed.split(os.pathsep)]
        env["GIT_ALTERNATE_OBJECT_DIRECTORIES"] = os.pathsep.join(folders)
    return env


def scrub(env: Mapping[str, str]) -> dict[str, str]:
    """``env`` without the variables that change what git prints."""
    kept = {
        name: value
        for name, value in env.items()
        if not name.startswith("GIT_") or name in _KEPT or name.startswith(_KEPT_PREFIXES)
    }
    # Messages are matched in English; reading must not take a lock that a person waits for.
    kept.update(LC_ALL="C", GIT_OPTIONAL_LOCKS="0")
    return kept
