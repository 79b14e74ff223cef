"""The golden views: what a person sees of one comparison, in every form.

    python -m tests.golden.views

writes them anew and prints what changed, to be read before it is committed. The models are those
of tests/unit/diff/pairs.py; numbers are shown with so few digits that they are the same
everywhere.
"""

from __future__ import annotations

from difflib import unified_diff
from pathlib import Path

from git_nn.compare import compare
from git_nn.differences.arrange import Detail, View
from git_nn.differences.histogram import of_model
from git_nn.differences.html import page
from git_nn.differences.markdown import document
from git_nn.differences.render import stat, text
from git_nn.differences.report import Item
from git_nn.differences.style import Style
from tests.unit.diff.pairs import transformer

FOLDER = Path(__file__).parent
NAME = "model.safetensors"


def views() -> dict[str, str]:
    """File name -> what stands in it."""
    old, new = transformer()
    diff = compare(old, new)
    item = Item(NAME, diff, "", of_model(old, new, diff.tensors))
    return {
        "diff_grouped.txt": text(diff, NAME),
        "diff_grouped_60.txt": text(diff, NAME, Style(width=60)),
        "diff_grouped_ascii_100.txt": text(diff, NAME, Style(width=100, signs=False)),
        "diff_colour.txt": text(diff, NAME, Style(colour=True, width=120)),
        "diff_all.txt": text(diff, NAME, view=View(Detail.ALL)),
        "diff_tree.txt": text(diff, NAME, view=View(tree=True)),
        "diff_stat.txt": stat(diff, NAME),
        "diff.md": document([item]),
        "diff.html": page([item], "main~1 → main"),
    }


def main() -> None:
    for name, found in views().items():
        path = FOLDER / name
        old = path.read_text("utf-8") if path.exists() else ""
        print(
            "".join(unified_diff(old.splitlines(True), found.splitlines(True), name, name)), end=""
        )
        path.write_text(found, "utf-8")


if __name__ == "__main__":
    main()
