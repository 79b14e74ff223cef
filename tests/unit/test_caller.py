"""Which git command calls the filter, and what that command is therefore answered."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from git_nn.clean import clean
from git_nn.drivers import caller, filter_session
from git_nn.drivers.caller import Command, calling_command
from git_nn.drivers.filter_session import Request, Session
from git_nn.formats.base import BytesSource
from git_nn.gitio.config import Config
from git_nn.gitio.repository import Repository
from git_nn.objects.pointer import render
from git_nn.store.local import open_store
from tests.support.models import normal, safetensors_file

MODEL = safetensors_file({"w": normal(1, 40, 30)})
Processes = Callable[..., int]
Answer = Callable[..., str]

# every process that is asked for, the outermost first; the filter is started by the last one
LATER = {  # nothing runs between the last smudge and the end of the command
    "checkout": ["git checkout -q main"],
    "switch": ["git switch tune"],
    "restore": ["git restore --source=HEAD~1 ."],
    "reset": ["git reset --hard"],
    "clone": ["git clone /else/where"],
    "merge": ["git merge side"],
    "pull": ["git pull", "git merge FETCH_HEAD"],
    "stash": ["git stash pop"],
    "worktree add": ["git worktree add ../second", "git reset --hard --no-recurse-submodules"],
    "bisect": ["git bisect good", "git checkout -q 0123456789"],
    "in a script": ["bash", "/bin/sh ./release", "git checkout v1"],
    "through a shell": ["git checkout main", "sh -c '/venv/bin/python -m git_nn' x"],
}
AT_ONCE = {  # the person, a hook or the command itself may read the file before Git ends
    "rebase": ["git rebase main"],
    "cherry-pick": ["git cherry-pick side"],
    "revert": ["git revert HEAD"],
    "am": ["git am -3"],
    "archive": ["git archive HEAD"],
    "cat-file": ["git cat-file --filters HEAD:m"],
    "checkout-index": ["git checkout-index -a"],
    "read-tree": ["git read-tree -u -m HEAD"],
    "sparse-checkout": ["git sparse-checkout disable"],
    "a command of somebody": ["git frobnicate checkout"],
    "no command": ["git"],
    "no git at all": ["python train.py", "sh -c 'cat checkout'"],
}
POINTER = {  # our drivers look at the answer, nobody else
    "diff": ["git diff"],
    "log": ["git log -p"],
    "show": ["git show HEAD"],
    "whatchanged": ["git whatchanged -p"],
    "blame": ["git blame m.safetensors"],
    "annotate": ["git annotate m.safetensors"],
    "reflog": ["git reflog -p"],
    "range-diff": ["git range-diff a b c", "git log -p --no-prefix a..b"],
    "log in rebase": ["git rebase -i", "sh -c 'git log -p'", "git log -p"],
}
WEIGHTS = {  # somebody keeps or opens the answer, or might
    "archive": ["git archive HEAD"],
    "cat-file": ["git cat-file --filters HEAD:m"],
    "cat-file --textconv": ["git cat-file --textconv HEAD:m"],
    "difftool": ["git difftool -y", "sh git-difftool--helper", "git diff"],
    "mergetool": ["git mergetool", "/bin/sh /usr/lib/git-core/git-mergetool", "git show :2:m"],
    "format-patch": ["git format-patch -1"],
    "checkout": ["git checkout -p"],
    "stash": ["git stash show -p"],
    "diff-tree": ["git diff-tree -p HEAD"],
    "diff-index": ["git diff-index -p HEAD"],
    "a command of somebody": ["git frobnicate diff"],
    "no git at all": ["tig log", "sh -c diff"],
}


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> Processes:
    """Puts command lines, the outermost first, into the process table; the last one's id."""

    def put(*lines: str) -> int:
        table = {100 + i: (99 + i, shlex.split(line)) for i, line in enumerate(lines)}
        monkeypatch.setattr(caller, "_process", lambda pid: table.get(pid, (1, ["init"])))
        return max(table)

    return put


@pytest.fixture
def answer(processes: Processes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Answer:
    """What a smudge under these processes is answered: 'weights', 'pointer' or 'later'."""
    store = open_store(tmp_path / "nn")
    text = render(clean(BytesSource(MODEL), store).pointer)
    repo = Repository(tmp_path, tmp_path, tmp_path, {})

    def ask(lines: list[str], *, delay: bool, hook: str = "", size: str = "1") -> str:
        config = Config({"nn.largethreshold": (size,)})
        monkeypatch.setattr(filter_session, "has_foreign_hook", lambda _, name: name == hook)
        monkeypatch.setattr(Session, "_has_other_diff_driver", lambda *_: False)
        session = Session(repo, store)
        command = calling_command(start=processes(*lines))
        vars(session).update(config=config, command=command)
        request = Request(b"smudge", b"m.safetensors", can_delay=delay)
        content = b"".join(session.smudge(request, [text]).pieces)
        if session.later:
            assert content == text
            return "later"
        return {MODEL: "weights", text: "pointer"}[content]

    return ask


@pytest.mark.parametrize("lines", LATER.values(), ids=LATER)
def test_a_large_file_waits_where_nothing_runs_before_git_ends(
    answer: Answer, lines: list[str]
) -> None:
    assert answer(lines, delay=True) == "later"
    assert answer(lines, delay=False) == "weights"
    assert answer(lines, delay=True, size="1m") == "weights"


@pytest.mark.parametrize("lines", AT_ONCE.values(), ids=AT_ONCE)
def test_a_large_file_is_there_at_once_where_something_may_read_it(
    answer: Answer, lines: list[str]
) -> None:
    assert answer(lines, delay=True) == "weights"


@pytest.mark.parametrize("lines", POINTER.values(), ids=POINTER)
def test_a_diff_is_answered_with_the_pointer(answer: Answer, lines: list[str]) -> None:
    assert answer(lines, delay=False) == "pointer"
    assert answer(lines, delay=True) == "weights"


@pytest.mark.parametrize("lines", WEIGHTS.values(), ids=WEIGHTS)
def test_a_pointer_is_never_the_answer_where_it_may_be_kept(
    answer: Answer, lines: list[str]
) -> None:
    assert answer(lines, delay=False) == "weights"


@pytest.mark.parametrize(
    ("hook", "at_once"),
    [
        ("post-checkout",
         {"checkout", "switch", "clone", "bisect", "in a script", "through a shell"}),
        ("post-merge", {"merge", "pull"}),
        ("pre-commit", set[str]()),
    ],
)  # fmt: skip
def test_nothing_waits_for_the_end_where_a_foreign_hook_runs_before_it(
    answer: Answer, hook: str, at_once: set[str]
) -> None:
    answers = {name: answer(lines, delay=True, hook=hook) for name, lines in LATER.items()}
    assert {name for name, found in answers.items() if found == "weights"} == at_once


@pytest.mark.parametrize(
    ("env", "delay", "expected"),
    [
        ({"GIT_NN_SMUDGE": "full"}, False, "weights"),
        ({"GIT_NN_SMUDGE": "full", "GIT_NN_SKIP_SMUDGE": "1"}, False, "weights"),
        ({"GIT_NN_SMUDGE": "other"}, False, "pointer"),
        ({"GIT_NN_SKIP_SMUDGE": "1"}, True, "pointer"),
        ({"GIT_NN_SKIP_SMUDGE": "0"}, True, "weights"),
    ],
)
def test_a_person_can_ask_for_either(
    answer: Answer,
    monkeypatch: pytest.MonkeyPatch,
    env: dict[str, str],
    delay: bool,
    expected: str,
) -> None:
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    assert answer(["git diff"], delay=delay) == expected


@pytest.mark.parametrize(
    "line",
    [
        "git checkout -q x",
        "/usr/lib/git-core/git checkout -q x",
        "git.exe checkout -q x",
        "git-checkout -q x",
        "git --no-pager -p -c color.ui=always -C 'some where' checkout -q x",
        "git --git-dir g --work-tree=w --namespace n --exec-path=/e --bare checkout -q x",
        "git --config-env=a.b=C --literal-pathspecs --attr-source HEAD checkout -q x",
    ],
)
def test_the_command_stands_behind_gits_own_options(processes: Processes, line: str) -> None:
    assert calling_command(start=processes(line)) == Command("checkout", ("-q", "x"))


def test_the_nearest_git_counts_and_the_outer_ones_are_known(processes: Processes) -> None:
    lines = ("git rebase -i main", "sh -c 'git nn check'", "git nn check", "python /v/git-nn check",
             "git-nn check", "git diff --cached")  # fmt: skip
    found = calling_command(start=processes(*lines))
    assert found == Command("diff", ("--cached",), ("nn", "rebase"))
    assert found.is_within("rebase")
    assert found.is_within("log", "diff")
    assert not found.is_within("log", "-i")


def test_what_an_alias_stands_for_is_a_process_of_its_own(processes: Processes) -> None:
    lines = ("git -c 'alias.co=checkout -q' co x", "/usr/lib/git-core/git checkout -q x")
    assert calling_command(start=processes(*lines)) == Command("checkout", ("-q", "x"), ("co",))
    hidden = processes("git -c alias.cat-file=show cat-file --filters HEAD:m")
    assert calling_command(start=hidden).name == "cat-file"


def test_the_real_process_table_is_read(tmp_path: Path) -> None:
    """A shell that is called git stands for it; no git is started."""
    script = tmp_path / "ask.py"
    script.write_text(
        "from git_nn.drivers.caller import calling_command\nprint(calling_command())\n"
    )
    ask = f"{shlex.quote(sys.executable)} {shlex.quote(str(script))}; :"
    outer = ["git", "-c", ask, "two words", "--flag"]
    done = subprocess.run(outer, executable="/bin/sh", capture_output=True, text=True, check=True)
    assert done.stdout.strip() == repr(Command("two words", ("--flag",)))


def test_a_process_that_is_gone_is_no_command() -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    assert calling_command(start=gone.pid) == Command()


def test_without_proc_the_table_is_that_of_ps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ps = tmp_path / "ps"
    asked = "-o ppid=,args= -p 4711"
    ps.write_text(f'#!/bin/sh\ntest "$*" = "{asked}" && echo "  12 git -C a log -p"\n')
    ps.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert caller._process_by_ps(4711) == (12, ["git", "-C", "a", "log", "-p"])
    assert caller._process_by_ps(4712) == (0, [])
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    assert caller._process_by_ps(4711) == (0, [])
