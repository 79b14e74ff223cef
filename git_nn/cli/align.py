"""``git nn align``: put the units of another training into the order of ours."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from git_nn.align import Aligned, Asked, align, write
from git_nn.cli.ls import opened
from git_nn.drivers.terminal import quoted
from git_nn.drivers.terminal import write as write_text
from git_nn.errors import UsageError

_SCHEMA = "git-nn align 1"


@click.command("align")
@click.argument("ours", metavar="A")
@click.argument("theirs", metavar="B")
@click.option("-o", "--output", "out", type=click.Path(path_type=Path), help="Write B so.")
@click.option("--heads", type=click.IntRange(1), help="Attention heads of each block.")
@click.option("--units", "spec", type=click.Path(path_type=Path), help="Which axes, in TOML.")
@click.option("--json", "machine", is_flag=True, help=f"Print JSON (schema {_SCHEMA!r}).")
def command(ours: str, theirs: str, **options: Any) -> None:
    """Reorder the neurons, channels and heads of B, so that it comes near A.

    A and B are FILE or REV:PATH: two trainings of one network that share no ancestor, which
    no merge can mix as they are. The result computes what B computes. How layers follow each
    other is read from names and shapes, and told; docs/merge.md says how to say it yourself.
    Exit codes: 0 done; 2 not two trainings of one network, or its wiring is not known; 7 B
    cannot be written.
    """
    out = options["out"]
    if out is not None and out.exists():
        raise UsageError(f"{out} exists", hint="choose another --output")
    with opened(ours) as one, opened(theirs) as other:
        found = align(one, other, Asked(options["heads"], _spec(options["spec"])))
        if out is not None:
            write(other, found.matched.tensors, out)
    if options["machine"]:
        click.echo(json.dumps(_document(found), indent=2))
    else:
        write_text(_text(found, out))


def _spec(path: Path | None) -> tuple[str, str] | None:
    if path is None:
        return None
    try:
        return path.read_text("utf-8"), str(path)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {path}: {error}") from error


def _text(found: Aligned, out: Path | None) -> str:
    rows = found.matched.found
    lines = ["read as: " + " -> ".join(found.wiring.row)] if found.wiring.row else []
    width = max((len(row.name) for row in rows), default=0)
    for row in rows:
        how = "bit for bit" if row.exact else "matched"
        lines.append(f"  {row.name:{width}}  {row.moved} of {row.count} moved, {how}")
    lines += (f"  {note}" for note in found.wiring.notes)
    if not rows:
        lines.append("nothing can be reordered")
    before, after = found.matched.before, found.matched.after
    lines.append(f"cosine of A and B: {before:.4f} -> {after:.4f}")
    if out is not None:
        name = quoted(os.fsencode(out))
        lines.append(f"written: {name}; compare its outputs with B's before you rely on it")
    return "".join(f"{line}\n" for line in lines)


def _document(found: Aligned) -> dict[str, Any]:
    return {
        "schema": _SCHEMA,
        "row": list(found.wiring.row),
        "units": [asdict(one) for one in found.matched.found],
        "notes": list(found.wiring.notes),
        "cosine": {"before": found.matched.before, "after": found.matched.after},
    }
