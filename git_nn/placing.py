"""placing: settle tensors whose rows are matched by token, once the tokenizer is settled.

As long as it is not known which id each token has in the result, every tensor with rows of tokens
is open (reorder.held). Then the tokenizer beside the model in the work tree says it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from git_nn.assemble import assemble
from git_nn.combine import carry_out, named
from git_nn.errors import UsageError
from git_nn.merge.decide import Conflict, decide
from git_nn.merge.rows import BY_ROWS
from git_nn.merge.ways import ways
from git_nn.reorder import has_tokens, rungs, waits
from git_nn.resolve import Settled, Unsettled, matching, shown
from git_nn.store.base import Store


def require(file: Unsettled, patterns: Sequence[str]) -> None:
    """UsageError where an open tensor that matches has rows of tokens whose ids are not known."""
    rows = file.sides.rows
    names = [c.name for c in matching(file, patterns) if waits(c.name, rows)]
    if rows is not None and names:
        raise UsageError(
            f"{shown(file.path)}: {rows.placement.open}, and {names[0]} has a row for each token",
            hint=f"settle {rows.placement.file} first",
        )


def ways_of(file: Unsettled, conflict: Conflict) -> tuple[str, ...]:
    """What could settle a tensor of the file; ``tokens`` alone while its tokenizer is open."""
    rows = file.sides.rows
    if rows is None or not has_tokens(conflict.name, rows):
        return ways(conflict)
    return ("tokens",) if waits(conflict.name, rows) else ("tokens", *ways(conflict))


def place(file: Unsettled, patterns: Sequence[str], store: Store, scratch: Path) -> Settled:
    """Merge the rows of open tensors that match, where the tokenizer has their tokens.

    Tensors of which both sides changed a row stay open, with ours' in it. UsageError where
    nothing says whose the rows are; MergeError where no file can hold the result.
    """
    rows = file.sides.rows
    if rows is None:
        raise UsageError(
            f"{shown(file.path)} has no rows of tokens that both sides added",
            hint="use --ours, --theirs or --strategy mean",
        )
    require(file, patterns)
    sides = named(file.sides)
    chosen = {c.name for c in matching(file, patterns) if has_tokens(c.name, rows)}
    decided = decide(sides.base, sides.ours, sides.theirs, ladder=rungs(BY_ROWS, rows))
    made = carry_out([d for d in decided if d.name in chosen], sides, store)
    wanted = {name: e for name, e in file.result.by_name.items() if name not in chosen}
    result, notes = assemble(file.sides, wanted | dict(made.wanted), store, scratch, file.result)
    left = {d.name: d for d in made.decisions if isinstance(d, Conflict)}
    still = tuple(left.get(c.name, c) for c in file.open if c.name in left or c.name not in chosen)
    return Settled(replace(file, result=result, open=still), made.decisions, (*made.notes, *notes))
