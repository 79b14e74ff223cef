"""diff_view: how a comparison is shown here: as Git, the terminal and the settings say."""

from __future__ import annotations

from git_nn.differences.arrange import Detail, Sort, View
from git_nn.differences.style import Style
from git_nn.drivers.terminal import shows_signs, wants_colour, width
from git_nn.errors import UsageError
from git_nn.gitio.config import Config, load
from git_nn.gitio.repository import Repository

_VIEWS = {
    "auto": View(),
    "grouped": View(Detail.GROUPED),
    "all": View(Detail.ALL),
    "tree": View(tree=True),
}


def style(repo: Repository | None, arguments: tuple[str, ...] = ()) -> Style:
    """Colour as Git would colour here, lines that fit the terminal, signs that it can show."""
    return Style(wants_colour(repo, arguments), width(), shows_signs())


def view(repo: Repository | None) -> View:
    """What ``nn.diff.view``, ``nn.diff.sort`` and ``nn.diff.top`` ask for.

    Raises UsageError for a value that is none.
    """
    return View() if repo is None else from_config(load(repo))


def from_config(config: Config) -> View:
    made = _VIEWS[_choice(config, "nn.diff.view", list(_VIEWS), "auto")]
    sort = Sort(_choice(config, "nn.diff.sort", [*map(str, Sort)], str(Sort.REL)))
    top = config.integer("nn.diff.top", 0)
    return View(made.detail, sort, top if top > 0 else None, tree=made.tree)


def _choice(config: Config, key: str, values: list[str], default: str) -> str:
    value = config.get(key) or default
    if value not in values:
        raise UsageError(
            f"{key} is {value!r}, not one of {', '.join(values)}",
            hint=f"run 'git config --unset {key}' or set it right",
        )
    return value
