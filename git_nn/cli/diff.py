"""``git nn diff``: what changed in the models, between commits, index, work tree or files."""

from __future__ import annotations

import json
import os
from typing import Any

import click

from git_nn.cli import gated
from git_nn.cli.compared import Asked, Separated, Shown, compared, find
from git_nn.diff import as_json
from git_nn.diff.arrange import Form, Sort, View
from git_nn.diff.render import stat, text
from git_nn.diff.style import Style
from git_nn.drivers import diff_view
from git_nn.drivers.gate import Gate
from git_nn.drivers.terminal import quoted, write
from git_nn.gitio.repository import Repository


@click.command("diff", cls=Separated)
@click.argument("words", nargs=-1, metavar="[A [B]] [-- PATH…]")
@click.option("--cached", "--staged", is_flag=True, help="Compare with the index.")
@click.option("--no-index", is_flag=True, help="Compare two files anywhere.")
@click.option("--stat", "short", is_flag=True, help="Totals, and a bar for each layer.")
@click.option("--all", "everything", is_flag=True, help="Every tensor that changed, no groups.")
@click.option("--tree", is_flag=True, help="Below the modules that hold them.")
@click.option("--sort", type=click.Choice([*map(str, Sort)]), help="What comes first.")
@click.option("--top", type=click.IntRange(min=1), metavar="N", help="The first N rows.")
@click.option("--pattern", "patterns", multiple=True, metavar="GLOB", help="Tensors so named.")
@click.option("--json", "machine", is_flag=True, help="Print JSON (schema 'git-nn diff 1').")
@click.option("--exit-code", is_flag=True, help="Exit with 1 where something differs.")
@click.option(
    "--threshold",
    type=float,
    callback=gated.size,
    metavar="D",
    help="Mark tensors whose mean |Δ| is above D.",
)
@click.option("--check", "checks", multiple=True, metavar="EXPR", help="Exit with 1 unless so.")
@click.option("--checks", "check_files", multiple=True, metavar="FILE", help="Checks, in lines.")
@click.pass_context
def command(ctx: click.Context, /, words: tuple[str, ...], **options: Any) -> int:
    """Show what changed in the models, tensor by tensor.

    \b
    git nn diff                 index and work tree
    git nn diff --cached        HEAD and index
    git nn diff A               A and work tree
    git nn diff A B             two revisions; also A..B and A...B
    git nn diff OLD.h5 NEW.h5   two files

    Only tensors that differ are read. Checks: 'embed* unchanged', 'relL2 < 0.05', 'no nan';
    all in docs/checks.md. Exit codes: 0 shown; 1 with --exit-code, where something differs,
    or a check failed; 2 usage; 128 git failed.
    """
    gate = gated.gate(options)
    asked = Asked(words, ctx.meta.get("paths"), options["cached"], options["no_index"])
    repo = find(asked)
    gated.configure(gate, repo, options)
    shown = gated.marked(compared(repo, asked, gate), options["threshold"])
    if options["machine"]:
        click.echo(json.dumps(_document(shown, gate, options["threshold"]), indent=2))
    else:
        style, view = diff_view.style(repo), _view(repo, options)
        write("".join(_as_text(item, style, view, short=options["short"]) for item in shown))
    failed = max((item.status for item in shown), default=0)
    return failed or gated.tell(gate) or int(options["exit_code"] and bool(shown))


def _document(shown: list[Shown], gate: Gate, threshold: float | None) -> dict[str, Any]:
    files = [as_json.file(item.diff, item.path, threshold=threshold) for item in shown if item.diff]
    problems = [{"path": item.path, "message": item.message} for item in shown if item.diff is None]
    checks = gate.verdicts() if gate.checks else None
    return as_json.document(files, problems, checks)


def _view(repo: Repository | None, options: dict[str, Any]) -> View:
    """What the command line asks for, else the settings."""
    view = diff_view.view(repo)
    return View(
        Form.ALL if options["everything"] else view.form,
        Sort(options["sort"] or view.sort),
        options["top"] or (None if options["everything"] else view.top),
        options["patterns"],
        tree=options["tree"] or (view.tree and not options["everything"]),
    )


def _as_text(item: Shown, style: Style, view: View, *, short: bool) -> str:
    label = quoted(os.fsencode(item.path))
    if item.diff is None:
        return f"{label}   {item.message}\n"
    return stat(item.diff, label, style) if short else text(item.diff, label, style, view)
