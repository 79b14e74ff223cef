"""The forms in which ``git nn diff`` shows a comparison, and the options that choose one."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from git_nn.cli.compared import Asked, Models, Shown, Texts, Watcher
from git_nn.differences import arrange
from git_nn.differences.arrange import Sort, View
from git_nn.differences.render import stat, text
from git_nn.differences.report import Item
from git_nn.differences.result import ModelDiff, TensorDelta
from git_nn.differences.style import Style
from git_nn.drivers import diff_view
from git_nn.drivers.terminal import quoted, write
from git_nn.errors import UsageError
from git_nn.gitio.repository import Repository

if TYPE_CHECKING:
    from git_nn.differences.histogram import Histogram

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS = (
    click.option("--stat", "short", is_flag=True, help="Totals, and a bar for each layer."),
    click.option("--all", "everything", is_flag=True, help="Every tensor that changed, no groups."),
    click.option("--tree", is_flag=True, help="Below the modules that hold them."),
    click.option("--sort", type=click.Choice([*map(str, Sort)]), help="What comes first."),
    click.option("--top", type=click.IntRange(min=1), metavar="N", help="The first N rows."),
    click.option("--pattern", "patterns", multiple=True, metavar="GLOB", help="Tensors so named."),
    click.option("--json", "machine", is_flag=True, help="Print JSON (schema 'git-nn diff 1')."),
    click.option("--md", is_flag=True, help="Print Markdown for a pull request."),
    click.option("--html", metavar="FILE", help="Write a page with pictures; - prints it."),
)


def options(function: F) -> F:
    """The options that ``output`` reads."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


@dataclass(slots=True)
class Pictures:
    """A watcher that takes histograms while both versions are open."""

    inner: Watcher
    view: View
    found: dict[str, Mapping[str, Histogram]]

    @property
    def wants_all(self) -> bool:
        return self.inner.wants_all

    def see(self, path: str, diff: ModelDiff, models: Models, texts: Texts) -> None:
        from git_nn.differences.histogram import of_model

        self.inner.see(path, diff, models, texts)
        old, new = models
        if old is not None and new is not None:
            self.found[path] = of_model(old, new, arrange.chosen(diff, self.view))

    def refuse(self, path: str, message: str) -> None:
        self.inner.refuse(path, message)


@dataclass(frozen=True, slots=True)
class Output:
    """What was asked for: ``file`` is where a page goes, None for no page."""

    style: Style
    view: View
    title: str
    short: bool
    markdown: bool
    file: str | None
    histograms: dict[str, Mapping[str, Histogram]]

    def watch(self, inner: Watcher) -> Watcher:
        """``inner``, and what the page needs to see while the models are open."""
        return inner if self.file is None else Pictures(inner, self.view, self.histograms)

    def chosen(self, diff: ModelDiff) -> list[TensorDelta]:
        """The tensors that JSON has."""
        return arrange.chosen(diff, self.view)[: self.view.top]

    def show(self, shown: Sequence[Shown]) -> None:
        """Print for a person or as Markdown, write the page."""
        items = [Item(_label(s), s.diff, s.message, self.histograms.get(s.path, {})) for s in shown]
        if self.file is not None:
            from git_nn.differences.html import page

            _publish(page(items, self.title, self.view), self.file)
        if self.markdown:
            from git_nn.differences.markdown import document

            write(document(items, self.view))
        elif self.file is None:
            write("".join(map(self._text, items)))

    def _text(self, item: Item) -> str:
        if item.diff is None:
            return f"{item.label}   {item.message}\n"
        if self.short:
            return stat(item.diff, item.label, self.style)
        return text(item.diff, item.label, self.style, self.view)


def output(repo: Repository | None, asked: Asked, options: dict[str, Any]) -> Output:
    """What the command line asks for, else the settings, which do not change JSON."""
    settings = View() if options["machine"] else diff_view.view(repo)
    everything = options["everything"]
    view = View(
        arrange.Detail.ALL if everything else settings.detail,
        Sort(options["sort"] or settings.sort),
        options["top"] or (None if everything else settings.top),
        options["patterns"],
        tree=options["tree"] or (settings.tree and not everything),
    )
    if options["html"] == "-" and options["md"]:
        raise UsageError("--html - and --md both print", hint="write --html FILE --md")
    style = diff_view.style(repo)
    return Output(style, view, _title(asked), options["short"], options["md"], options["html"], {})


def _title(asked: Asked) -> str:
    """What is compared with what."""
    words = [quoted(os.fsencode(word)) for word in (*asked.words, *(asked.names or ()))]
    if not words:
        return "HEAD → index" if asked.cached else "index → work tree"
    return " → ".join(words) if len(words) == 2 and not asked.names else " ".join(words)


def _publish(text: str, name: str) -> None:
    if name == "-":
        write(text)
        return
    try:
        Path(name).write_bytes(text.encode("utf-8", "replace"))
    except OSError as error:
        raise UsageError(f"cannot write {name}: {error.strerror}") from error


def _label(item: Shown) -> str:
    return quoted(os.fsencode(item.path))
