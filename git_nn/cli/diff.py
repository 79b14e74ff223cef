"""``git nn diff``: what changed in the models, between commits, index, work tree or files."""

from __future__ import annotations

import json
from typing import Any

import click

from git_nn.cli import gated, views
from git_nn.cli.compared import Asked, Shown, compared, find
from git_nn.cli.words import Separated
from git_nn.differences import as_json
from git_nn.drivers.gate import Gate


@click.command("diff", cls=Separated)
@click.argument("words", nargs=-1, metavar="[A [B]] [-- PATH…]")
@click.option("--cached", "--staged", is_flag=True, help="Compare with the index.")
@click.option("--no-index", is_flag=True, help="Compare two files anywhere.")
@views.options
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
    output = views.output(repo, asked, options)
    shown = gated.marked(compared(repo, asked, output.watch(gate)), options["threshold"])
    if options["machine"]:
        click.echo(json.dumps(_document(shown, output, gate, options["threshold"]), indent=2))
    else:
        output.show(shown)
    unless = gated.tell(gate)
    failed = max((item.status for item in shown), default=0)
    return failed or unless or int(options["exit_code"] and bool(shown))


def _document(
    shown: list[Shown], output: views.Output, gate: Gate, threshold: float | None
) -> dict[str, Any]:
    files = [
        as_json.file(item.diff, item.path, output.chosen(item.diff), threshold=threshold)
        for item in shown
        if item.diff
    ]
    problems = [{"path": item.path, "message": item.message} for item in shown if item.diff is None]
    checks = gate.verdicts() if gate.checks else None
    return as_json.document(files, problems, checks)
