"""The lines in hooks: the same in hooks/ and in what install writes, and plain sh."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from git_nn.drivers import hook_files
from git_nn.drivers.launcher import Launcher

SHIMS = Path(__file__).parents[2] / "hooks"


def test_the_shims_are_what_install_writes() -> None:
    assert sorted(path.name for path in SHIMS.iterdir()) == sorted(hook_files.NAMES)
    for name in hook_files.NAMES:
        assert (SHIMS / name).read_text("utf-8") == hook_files.script(name)
        assert os.access(SHIMS / name, os.X_OK)


@pytest.mark.parametrize("name", hook_files.NAMES)
def test_an_installed_hook_differs_only_by_the_interpreter(name: str) -> None:
    how = Launcher("/some where/python", ("-I", "-m"))
    lines = hook_files.script(name, how).splitlines()
    start = lines.index("if test -x '/some where/python'; then")
    assert f"'/some where/python' -I -m git_nn.cli.main hook {name} \"$@\"" in lines[start + 1]
    assert lines[start + 1].endswith(" </dev/null") == (name != "pre-push")
    plain = [*lines[:start], lines[start + 2].replace("elif", "if"), *lines[start + 3 :]]
    assert plain == hook_files.script(name).splitlines()


def test_a_line_to_add_by_hand_stops_commits_and_pushes_alone() -> None:
    assert hook_files.line_for("pre-push") == 'git nn hook pre-push "$@" || exit 1'
    assert hook_files.line_for("pre-commit").endswith("</dev/null || exit 1")
    assert hook_files.line_for("post-merge").endswith("</dev/null || :")
