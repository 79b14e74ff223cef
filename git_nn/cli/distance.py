"""``git nn distance``: how far two versions are apart, as one number (docs/distance.md)."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from typing import Any

import click

from git_nn.cli import gated
from git_nn.cli.compared import Asked, Models, Texts, compared, find
from git_nn.cli.words import Separated
from git_nn.differences.distance import Distance, Span, Weights, combined, total
from git_nn.differences.remarks import tensors
from git_nn.differences.result import ModelDiff
from git_nn.drivers.gate import measured, weights
from git_nn.drivers.terminal import quoted, write
from git_nn.errors import UsageError
from git_nn.gitio.config import load

_SCHEMA = "git-nn distance 1"
_PARTS = ("structure", "parameters", "metadata")
_MISSING = 3  # the exit code where values are not here


@dataclass(slots=True)
class _Distances:
    """The distance of every model, by its path."""

    found: dict[str, Distance] = field(default_factory=dict)
    wants_all: bool = True

    def see(self, path: str, diff: ModelDiff, models: Models, texts: Texts) -> None:
        self.found[path] = measured(diff, *models, texts())

    def refuse(self, path: str, message: str) -> None:
        raise UsageError(f"{quoted(os.fsencode(path))} {message}")


@click.command("distance", cls=Separated)
@click.argument("words", nargs=-1, metavar="[A [B]] [-- PATH…]")
@click.option("--cached", "--staged", is_flag=True, help="From the index.")
@click.option("--no-index", is_flag=True, help="Between two files anywhere.")
@click.option("--structure", type=float, callback=gated.size, help="What structure counts.")
@click.option("--parameters", type=float, callback=gated.size, help="What parameters count.")
@click.option("--metadata", type=float, callback=gated.size, help="What metadata count.")
@click.option("--json", "machine", is_flag=True, help=f"Print JSON (schema {_SCHEMA!r}).")
@click.pass_context
def command(ctx: click.Context, /, words: tuple[str, ...], **options: Any) -> int:
    """Tell how far two versions of the models are apart: a number from 0 to 1.

    The sides are those of git nn diff. The number is a weighted mean of structure (0.3),
    parameters (0.6) and metadata (0.1); settings nn.distance.structure, .parameters and
    .metadata weigh them otherwise. docs/distance.md defines each.
    Exit codes: 0 shown; 3 a range is shown, since not all values are known; 2 usage.
    """
    asked = Asked(words, ctx.meta.get("paths"), options["cached"], options["no_index"])
    repo = find(asked)
    config = None if repo is None else load(repo)
    chosen = weights(config, **{part: options[part] for part in _PARTS})
    seen = _Distances()
    for _ in compared(repo, asked, seen):
        pass
    if not seen.found:
        raise UsageError("there is no model on either side", hint="run 'git nn ls-files'")
    if options["machine"]:
        click.echo(json.dumps(_document(seen.found, chosen), indent=2))
    else:
        write(_text(seen.found, chosen))
    span = total(combined(list(seen.found.values())), chosen)
    return 0 if span.low == span.high else _MISSING


def _text(found: dict[str, Distance], chosen: Weights) -> str:
    """The number alone, then what it is made of."""
    whole = combined(list(found.values()))
    rows = [(part, getattr(whole, part), f"x {getattr(chosen, part):g}") for part in _PARTS]
    if len(found) > 1:
        rows += (
            (quoted(os.fsencode(path)), total(one, chosen), f"of {one.elements} parameters")
            for path, one in found.items()
        )
    width = max(len(name) for name, _, _ in rows)
    size = max(len(_span(span)) for _, span, _ in rows)
    span = total(whole, chosen)
    lines = [_span(span)]
    lines += (f"  {name:{width}}  {_span(span):{size}}  {more}" for name, span, more in rows)
    if span.low != span.high:
        what = f"values of {tensors(whole.unread)}" if whole.unread else "structures"
        lines.append(f"  a range, since {what} are not known; to get what is not here: git nn pull")
    return "".join(f"{line}\n" for line in lines)


def _span(span: Span) -> str:
    """``0.0213``, or ``0.0213..0.19`` where something is not known."""
    ends = dict.fromkeys(f"{end:.4g}" for end in (span.low, span.high))
    return "..".join(ends)


def _document(found: dict[str, Distance], chosen: Weights) -> dict[str, Any]:
    whole = combined(list(found.values()))
    files = [{"path": path, **_plain(one, chosen)} for path, one in found.items()]
    return {"schema": _SCHEMA, "weights": asdict(chosen), **_plain(whole, chosen), "files": files}


def _plain(one: Distance, chosen: Weights) -> dict[str, Any]:
    span = total(one, chosen)
    return {
        "distance": span.low if span.low == span.high else None,
        "low": span.low,
        "high": span.high,
        "elements": one.elements,
        "unread": one.unread,
        **{part: asdict(getattr(one, part)) for part in _PARTS},
    }
