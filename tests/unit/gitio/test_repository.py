from __future__ import annotations

from git_nn.gitio.repository import scrub


def test_variables_that_say_where_things_are_stay() -> None:
    env = {
        "GIT_DIR": "x", "GIT_INDEX_FILE": "i", "GIT_CONFIG_COUNT": "0", "GIT_CONFIG_GLOBAL": "g",
        "GIT_SSH_COMMAND": "ssh", "GIT_ASKPASS": "a", "GIT_AUTHOR_NAME": "n",
        "GIT_NN_SMUDGE": "full",
        "GIT_QUARANTINE_PATH": "q", "GIT_OBJECT_DIRECTORY": "o", "PATH": "p", "HOME": "h",
    }  # fmt: skip
    assert env.items() <= scrub(env).items()


def test_variables_that_change_what_git_prints_go() -> None:
    env = dict.fromkeys(
        ("GIT_EXTERNAL_DIFF", "GIT_DIFF_OPTS", "GIT_PAGER", "GIT_LITERAL_PATHSPECS", "GIT_TRACE",
         "GIT_TRACE2_EVENT", "GIT_PREFIX", "GIT_INTERNAL_GETTEXT_SH_SCHEME", "GIT_REFLOG_ACTION",
         "GIT_ICASE_PATHSPECS", "GIT_EDITOR"),
        "1",
    )  # fmt: skip
    assert scrub(env).keys() == {"LC_ALL", "GIT_OPTIONAL_LOCKS"}


def test_children_speak_english() -> None:
    assert scrub({"LC_ALL": "de_DE.UTF-8"})["LC_ALL"] == "C"
