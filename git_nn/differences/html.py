"""html: comparisons as one page that needs nothing else: no network, no script to read it.

All that comes from a file is escaped, and a policy in the page (html_look) lets nothing run
or load but its own style and script. Equal comparisons give equal pages.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from git_nn.differences import arrange, remarks
from git_nn.differences.arrange import Detail, View
from git_nn.differences.changes import Kind
from git_nn.differences.groups import Row, grouped, single
from git_nn.differences.html_look import SCRIPT, STYLE, policy
from git_nn.differences.html_table import MEANINGS, kind_class, table
from git_nn.differences.report import Item
from git_nn.differences.result import ModelDiff
from git_nn.differences.svg_drift import LINES, drift, labels, lines_of
from git_nn.differences.svg_histogram import shares, steps, values

MOST = 2000  # rows of a table, unless every tensor is asked for
_WARNINGS = 100
_AUTO = View()


def page(items: Sequence[Item], title: str, view: View = _AUTO) -> str:
    """A whole document about ``items``; ``title`` says what was compared with what."""
    sections = "".join(_section(item, f"f{i}", view) for i, item in enumerate(items))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy()}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n"
        '<body>\n<div class="nn">\n'
        f'<header><h1>{escape(title)}</h1><p class="soft">What changed in the weights, by '
        f"git-nn</p>{_contents(items)}</header>\n<main>\n{sections}</main>\n{_meanings()}</div>\n"
        f"<script>{SCRIPT}</script>\n</body>\n</html>\n"
    )


def fragment(diff: ModelDiff, label: str = "models") -> str:
    """One comparison for a page that is there already, such as a notebook."""
    style = "\n".join(line for line in STYLE.splitlines() if not line.startswith("body"))
    return f'<style>{style}</style><div class="nn">{_section(Item(label, diff), "f", _AUTO)}</div>'


def _contents(items: Sequence[Item]) -> str:
    if len(items) < 2:
        return ""
    lines = "".join(
        f'<li><a href="#f{i}"><code>{escape(item.label)}</code></a>'
        f'<span class="soft">{escape(_summary(item))}</span></li>'
        for i, item in enumerate(items)
    )
    return f'<nav aria-label="Files"><ul>{lines}</ul></nav>'


def _summary(item: Item) -> str:
    return remarks.totals(item.diff) if item.diff else item.message


def _section(item: Item, ident: str, view: View) -> str:
    body = "".join(_body(item, item.diff, ident, view)) if item.diff else ""
    return (
        f'<section class="card" id="{ident}" aria-labelledby="{ident}-h">\n'
        f'<h2 id="{ident}-h"><code>{escape(item.label)}</code></h2>\n'
        f"<p>{escape(_summary(item))}</p>\n{body}</section>\n"
    )


def _body(item: Item, diff: ModelDiff, ident: str, view: View) -> Iterator[str]:
    yield _counts(diff)
    rows = arrange.rows(diff, view)
    yield _list("said", [*diff.headlines, *diff.notes])
    yield _alert(rows)
    yield _drift(diff, ident)
    several = any(row.is_group for row in rows)
    if rows:
        kept = rows[: _limit(view)]
        title = "Groups" if several else "Tensors"
        yield f"<h3>{title}</h3>\n{table(kept, title, grouped=several)}{_rest(rows, kept)}"
    yield _histograms(item)
    if several:
        every = [single(delta) for delta in arrange.chosen(diff, view)]
        kept = every[: _limit(view)]
        yield (
            f"<details><summary>{remarks.tensors(len(every))}, one by one</summary>\n"
            f"{table(kept, 'Tensors', grouped=False)}{_rest(every, kept)}</details>\n"
        )
    if diff.structure:
        yield f"<h3>Structure</h3>\n{_list('said mono', list(diff.structure))}"


def _limit(view: View) -> int | None:
    return view.top if view.top is not None else None if view.detail is Detail.ALL else MOST


def _rest(rows: Sequence[Row], kept: Sequence[Row]) -> str:
    rest = sum(len(row.members) for row in rows[len(kept) :])
    return f'<p class="soft">… and {remarks.tensors(rest)} more (--all)</p>\n' if rest else ""


def _counts(diff: ModelDiff) -> str:
    """How many tensors are of each kind, as words and as one bar."""
    found = [(kind_class(kind), str(kind), n) for kind, n in diff.counts.items()]
    if diff.same:
        found.append(("k-same", "same", diff.same))
    words = "".join(f'<li class="{look}"><b>{n}</b> {word}</li>' for look, word, n in found)
    return f'{shares([(look, n) for look, _, n in found])}<ul class="counts">{words}</ul>\n'


def _list(look: str, lines: Sequence[str]) -> str:
    if not lines:
        return ""
    return f'<ul class="{look}">{"".join(f"<li>{escape(line)}</li>" for line in lines)}</ul>\n'


def _alert(rows: Sequence[Row]) -> str:
    found = [pair for row in rows for pair in remarks.warnings(row)]
    if not found:
        return ""
    lines = "".join(
        f"<li><code>{escape(name)}</code>: {escape(said)}</li>" for name, said in found[:_WARNINGS]
    )
    rest = f"<li>… and {len(found) - _WARNINGS} more</li>" if len(found) > _WARNINGS else ""
    return (
        '<div class="alert" role="note"><strong>Values that are not finite</strong>'
        f"<ul>{lines}{rest}</ul></div>\n"
    )


def _drift(diff: ModelDiff, ident: str) -> str:
    moved = [delta for delta in diff.tensors if delta.kind not in {Kind.ADDED, Kind.REMOVED}]
    rows = lines_of(grouped(diff, moved))
    if not rows:
        return ""
    legend = "".join(
        f'<li><svg width="18" height="8" aria-hidden="true"><path class="line s{i}" '
        f'd="M0 4H18"/></svg><code>{escape(label)}</code></li>'
        for i, label in enumerate(labels(rows)[:LINES])
    )
    rest = f'<li class="soft">{len(rows) - LINES} more, thin</li>' if len(rows) > LINES else ""
    return (
        '<h3>Layer drift</h3>\n<figure><div class="scroll">'
        f'{drift(rows, f"{ident}-drift")}</div><ul class="legend">{legend}{rest}</ul>'
        "<figcaption>Relative L2 change by block, on a logarithmic scale; on the floor where "
        "nothing changed.</figcaption></figure>\n"
    )


def _histograms(item: Item) -> str:
    if not item.histograms:
        return ""
    cells = "".join(
        f'<figure class="cell"><p class="name mono">{escape(name)}</p>'
        f'<div class="pair">{values(found, name)}{steps(found, name)}</div></figure>\n'
        for name, found in item.histograms.items()
    )
    return (
        '<h3>Histograms</h3>\n<p class="soft">The tensors that moved most. Left: their values, '
        "before as an area and after as a line. Right: the steps |Δ| by octave, a bar for those "
        f'from 2^k up to 2^(k+1).</p>\n<div class="cells">\n{cells}</div>\n'
    )


def _meanings() -> str:
    lines = "".join(
        f"<dt>{escape(word)}</dt><dd>{escape(meaning)}</dd>" for word, meaning in MEANINGS.items()
    )
    return f"<footer><h3>What the numbers mean</h3><dl>{lines}</dl></footer>\n"
