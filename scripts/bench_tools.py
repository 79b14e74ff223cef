"""The tools that are compared, and how a command of theirs is run and measured.

Each tool works in a repository of its own with a HOME of its own, so that no configuration
of the machine or of another tool is seen. Before a command is timed, what was written
before is on the disk and the repository is in the page cache: no tool pays for another.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

FILE = "model.safetensors"
SAMPLE_EVERY = 0.02  # seconds between two looks at a command's memory
_PAGE = os.sysconf("SC_PAGE_SIZE")
_PIPE = Path(__file__).with_name("bench_pipe.py")
_XET = """
import sys, hf_xet
with hf_xet.XetSession().new_upload_commit(endpoint="local://" + sys.argv[1]) as commit:
    commit.start_upload_file(sys.argv[2])
"""


@dataclass(frozen=True, slots=True)
class Tool:
    """How a person works with a tool; every command is a line of shell.

    ``diff``, ``merge`` and ``gc`` are empty where the tool has none; ``storage_only`` is for
    what is no version control: it only adds, and only its bytes are reported.
    """

    name: str
    probe: str
    set_up: tuple[str, ...] = ()
    add: str = f"git add {FILE}"
    checkout: str = "git checkout -q -f {revision}"
    status: str = "git status --porcelain"
    diff: str = "git --no-pager diff {old} {new}"
    merge: str = "git merge -q --no-edit {revision}"
    gc: str = ""
    store: tuple[str, ...] = (".git",)
    stores: bool = True
    storage_only: bool = False


_GIT_NN = Tool(
    "git-nn",
    "git-nn --version",
    set_up=("git nn install", 'git nn track "*.safetensors"'),
    gc="git nn gc --grace 0",
)
TOOLS = (
    _GIT_NN,
    # git-lfs never syncs: this is git-nn at the same durability
    replace(
        _GIT_NN,
        name="git-nn-nosync",
        set_up=("git config --global core.fsync none", *_GIT_NN.set_up),
    ),
    # adds without Git's pipe; the rest is as with git-nn
    replace(_GIT_NN, name="git-nn-add", add=f"git nn add {FILE}", diff="", merge="", gc=""),
    Tool("git-lfs", "git-lfs version", ("git lfs install", 'git lfs track "*.safetensors"')),
    Tool(
        "dvc",
        "dvc --version",
        ("dvc init -q", "dvc config core.analytics false", "dvc config core.check_update false"),
        add=f"dvc add -q {FILE} && git add {FILE}.dvc .gitignore",
        checkout="git checkout -q -f {revision} && dvc checkout -q -f",
        status="dvc status -q && git status --porcelain",
        diff="dvc diff {old} {new}",
        store=(".git", ".dvc/cache"),
    ),
    Tool("git", "git --version", gc="git gc -q"),
    Tool(
        "pipe",
        "git --version",
        (
            f'git config --global filter.pipe.process \'"{sys.executable}" -I -S "{_PIPE}"\'',
            "git config --global filter.pipe.required true",
            "echo '*.safetensors filter=pipe -text' > .gitattributes",
        ),
        diff="",
        merge="",
        stores=False,
    ),
    Tool(
        "xet",
        '"$XET_PYTHON" -c "import hf_xet, importlib.metadata as m; print(m.version(\'hf_xet\'))"',
        add=f'"$XET_PYTHON" -c \'{_XET}\' "$PWD/xet" {FILE}',
        store=("xet",),
        storage_only=True,
    ),
)


class StepFailedError(Exception):
    """A tool's command ended with another exit code than it should."""


@dataclass(frozen=True, slots=True)
class Measure:
    """What one step of one tool gave. ``outcome`` is empty where all is as it should be."""

    seconds: float | None = None
    peak: int | None = None
    stored: int | None = None
    outcome: str = ""


@dataclass(slots=True)
class Repository:
    """One tool's repository in one round."""

    tool: Tool
    folder: Path
    env: dict[str, str] = field(repr=False)

    @property
    def file(self) -> Path:
        return self.folder / FILE


def environment(home: Path, xet_python: str) -> dict[str, str]:
    """An environment with nothing of the machine's Git configuration in it."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("GIT_", "XDG_"))}
    names = {
        f"GIT_{who}_{what}": value
        for who in ("AUTHOR", "COMMITTER")
        for what, value in (("NAME", "bench"), ("EMAIL", "bench@example.com"))
    }
    return kept | names | {
        "HOME": str(home),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": str(home / ".gitconfig"),
        "DVC_SITE_CACHE_DIR": str(home / "dvc"),
        "DVC_NO_ANALYTICS": "1",
        "HF_XET_TELEMETRY_ENABLED": "false",
        "XET_PYTHON": xet_python,
        "BENCH_CONTENT": os.devnull,
    }  # fmt: skip


def installed_version(tool: Tool, env: Mapping[str, str]) -> str:
    """What the tool says of its version; nothing where it is not installed."""
    done = subprocess.run(
        ["sh", "-c", tool.probe], env=env, capture_output=True, text=True, check=False
    )
    return done.stdout.splitlines()[-1] if done.returncode == 0 else ""


def create(tool: Tool, folder: Path, xet_python: str) -> Repository:
    """An empty repository with the tool set up, and nothing that runs in the background."""
    shutil.rmtree(folder, ignore_errors=True)
    home = folder.with_name(f"{folder.name}-home")
    shutil.rmtree(home, ignore_errors=True)
    folder.mkdir(parents=True)
    home.mkdir()
    repo = Repository(tool, folder, environment(home, xet_python))
    commands = ("git config --global gc.auto 0", "git init -q -b main .", *tool.set_up,
                "git add -A", "git commit -q --allow-empty -m set-up")  # fmt: skip
    for command in commands:
        run(repo, command)
    return repo


def remove(repo: Repository) -> None:
    shutil.rmtree(repo.folder)
    shutil.rmtree(repo.env["HOME"])


def run(repo: Repository, command: str, codes: tuple[int, ...] = (0,)) -> int:
    """Run without a measure; the exit code, which is one of ``codes``."""
    return measure(repo, command, codes)[0]


def measure(
    repo: Repository, command: str, codes: tuple[int, ...] = (0,)
) -> tuple[int, float, int]:
    """(exit code, seconds, peak bytes of memory) of a command.

    The memory is the sum of the resident bytes of the command's processes at one time, the
    largest of all samples; pages that two processes share are counted for both.
    """
    with tempfile.TemporaryFile() as errors:
        start = time.perf_counter()
        process = subprocess.Popen(
            ["sh", "-c", command],
            cwd=repo.folder,
            env=repo.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
        )
        sampler = _Sampler(process.pid)
        code = process.wait()
        seconds = time.perf_counter() - start
        peak = sampler.stop()
        if code not in codes:
            errors.seek(0)
            text = errors.read()[-2000:].decode(errors="replace")
            raise StepFailedError(f"{repo.tool.name}: {command!r} ended with {code}\n{text}")
    return code, seconds, peak


def timed(repo: Repository, command: str, codes: tuple[int, ...] = (0,)) -> tuple[int, Measure]:
    """The exit code and the measure of a command that starts from a settled machine."""
    os.sync()
    _warm(repo.folder)
    code, seconds, peak = measure(repo, command, codes)
    return code, Measure(seconds, peak)


def stored(repo: Repository) -> int:
    """Bytes of the tool's store, without what a gc has put into git-nn's trash."""
    trash = repo.folder / ".git/nn/trash"
    return sum(
        path.lstat().st_size
        for part in repo.tool.store
        for path in _files(repo.folder / part)
        if trash not in path.parents
    )


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def _warm(folder: Path) -> None:
    buffer = bytearray(2**20)
    for path in _files(folder):
        with path.open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass


class _Sampler(threading.Thread):
    """Looks at the memory of a process and its descendants until it is stopped."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._pid, self._peak, self._end = pid, 0, threading.Event()
        self.start()

    def run(self) -> None:
        while True:
            self._peak = max(self._peak, _resident(self._pid))
            if self._end.wait(SAMPLE_EVERY):
                return

    def stop(self) -> int:
        self._end.set()
        self.join()
        return self._peak


def _resident(pid: int) -> int:
    """Resident bytes of a process and its descendants; 0 once it has ended."""
    process = Path(f"/proc/{pid}")
    try:
        total = int((process / "statm").read_text().split()[1]) * _PAGE
        children = [
            int(child)
            for task in (process / "task").iterdir()
            for child in (task / "children").read_text().split()
        ]
    except (OSError, IndexError):  # ended meanwhile
        return 0
    return total + sum(_resident(child) for child in children)
