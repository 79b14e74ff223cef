"""What was measured, as data, as tables for people, and as JSON.

A cell is the median over the rounds; a ratio is the median of the ratios within each round.
A row that a round has several times (the adds of nine checkpoints) counts by its mean
seconds, its largest peak, and what is stored after the last.
"""

from __future__ import annotations

import json
import os
import platform
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from operator import attrgetter, itemgetter
from pathlib import Path
from statistics import fmean, median
from typing import Any

from bench_tools import Measure

OTHERS = tuple((other, "git-nn") for other in ("git-lfs", "dvc", "git", "xet"))
# at the same durability as git-lfs; without Git's pipe; and how near the floor of a pipe
SPEED = (
    *OTHERS,
    ("git-lfs", "git-nn-nosync"),
    ("git-lfs", "git-nn-add"),
    ("git-nn", "pipe"),
    ("git-nn-nosync", "pipe"),
)
BAD = ("WRONG", "FAILED")


@dataclass(frozen=True, slots=True)
class Result:
    """One measure: of a step of a workload by a tool in a round (from 0)."""

    workload: str
    round: int
    row: str
    tool: str
    measure: Measure


@dataclass(frozen=True, slots=True)
class Quantity:
    """What is read from a measure, in ``unit``; how several of one round become one; how it is
    printed; and which pairs of tools are compared.
    """

    title: str
    unit: float
    read: Callable[[Measure], float | None]
    one: Callable[[Sequence[float]], float]
    form: str
    pairs: tuple[tuple[str, str], ...]


QUANTITIES = (
    Quantity("seconds", 1, attrgetter("seconds"), fmean, "{:.3g}", SPEED),
    Quantity("MB stored after", 1e6, attrgetter("stored"), itemgetter(-1), "{:.1f}", OTHERS),
    Quantity("MB peak memory", 1e6, attrgetter("peak"), max, "{:.0f}", OTHERS[:1]),
)


@dataclass(frozen=True, slots=True)
class Row:
    """One row of one table. ``outcomes`` has the tools with which not all went well."""

    name: str
    medians: dict[str, float]
    ratios: dict[str, float]
    outcomes: dict[str, str]


def rows_of(results: Iterable[Result], quantity: Quantity) -> list[Row]:
    """The rows of a workload's table, in the order in which they were first measured."""
    values: dict[str, dict[str, dict[int, list[float]]]] = {}
    outcomes: dict[str, dict[str, str]] = defaultdict(dict)
    for result in results:
        row = values.setdefault(result.row, defaultdict(lambda: defaultdict(list)))
        if result.measure.outcome:
            outcomes[result.row][result.tool] = result.measure.outcome
        value = quantity.read(result.measure)
        if value:  # a command may end before the first look at its memory
            row[result.tool][result.round].append(value / quantity.unit)
    rows = []
    for name, tools in values.items():
        rounds = {
            tool: {number: quantity.one(several) for number, several in by_round.items()}
            for tool, by_round in tools.items()
            if outcomes[name].get(tool) not in BAD
        }
        # the first table has every row, so that nothing that went wrong is left out
        if rounds or (quantity is QUANTITIES[0] and outcomes[name]):
            medians = {tool: median(by_round.values()) for tool, by_round in rounds.items()}
            rows.append(Row(name, medians, _ratios(rounds, quantity.pairs), outcomes[name]))
    return rows


def _ratios(
    rounds: dict[str, dict[int, float]], pairs: tuple[tuple[str, str], ...]
) -> dict[str, float]:
    found = {}
    for over, under in pairs:
        if common := rounds.get(over, {}).keys() & rounds.get(under, {}).keys():
            each = (rounds[over][number] / rounds[under][number] for number in common)
            found[f"{over} / {under}"] = median(each)
    return found


def table(title: str, results: list[Result]) -> str:
    """Markdown: for each quantity a block of rows, with a column per tool and per ratio."""
    blocks = []
    for quantity in QUANTITIES:
        rows = rows_of(results, quantity)
        bad = {tool for row in rows for tool, what in row.outcomes.items() if what in BAD}
        present = {tool for row in rows for tool in row.medians} | bad
        tools = [tool for tool in dict.fromkeys(r.tool for r in results) if tool in present]
        pairs = list(dict.fromkeys(pair for row in rows for pair in row.ratios))
        if not rows:
            continue
        lines = [f"| {quantity.title} | {' | '.join([*tools, *pairs])} |",
                 "|---|" + "---:|" * (len(tools) + len(pairs))]  # fmt: skip
        for row in rows:
            cells = [_cell(row, tool, quantity) for tool in tools]
            cells += [f"{row.ratios[pair]:.2f}" if pair in row.ratios else "" for pair in pairs]
            lines.append(f"| {row.name} | {' | '.join(cells)} |")
        blocks.append("\n".join(lines))
    return "\n\n".join([f"## {title}", *blocks])


def _cell(row: Row, tool: str, quantity: Quantity) -> str:
    outcome = row.outcomes.get(tool, "")
    if tool not in row.medians:
        return outcome
    return f"{quantity.form.format(row.medians[tool])} {outcome}".strip()


def line(result: Result) -> str:
    m = result.measure
    parts = [f"{result.workload}, {result.row}, {result.tool}:", m.outcome]
    if m.seconds is not None and m.peak is not None:
        parts.append(f"{m.seconds:.3f} s, {m.peak / 1e6:.0f} MB")
    if m.stored is not None:
        parts.append(f"stored {m.stored / 1e6:.1f} MB")
    return " ".join(filter(None, parts))


def write_json(
    path: Path, versions: dict[str, str], titles: dict[str, str], results: list[Result]
) -> None:
    """The tables as data, and every single measure; sizes in bytes, times in seconds."""
    document: dict[str, Any] = {
        "machine": {
            "cores": os.cpu_count(),
            "kernel": platform.release(),
            "python": platform.python_version(),
        },
        "tools": versions,
        "workloads": {},
        "measures": [asdict(result) for result in results],
    }
    for name, title in titles.items():
        own = [result for result in results if result.workload == name]
        tables = {q.title: [asdict(row) for row in rows_of(own, q)] for q in QUANTITIES}
        document["workloads"][name] = {"title": title, "tables": tables}
    path.write_text(json.dumps(document, indent=2) + "\n")
