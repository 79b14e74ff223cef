"""markdown: comparisons as GitHub-flavoured Markdown, for a comment on a pull request.

What comes from a file cannot do anything there: names stand in code spans, in which neither
HTML nor links nor mentions count, with the characters that could end one written %XX; of a
sentence every word that is not plain stands in one, too. The whole fits into a comment.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from git_nn.differences import arrange, remarks
from git_nn.differences.arrange import View
from git_nn.differences.cells import GROUPS, TENSORS, of_group, of_tensor
from git_nn.differences.groups import Row, single
from git_nn.differences.report import Item
from git_nn.differences.style import PLAIN, shorten
from git_nn.differences.table import Column

LIMIT = 60_000  # bytes of UTF-8; GitHub takes comments of 65,536 characters

_LONGEST = 160  # characters of a name
_LINES = 30  # of warnings of a file, of its structure
_AUTO = View()

_IN_CODE = re.compile(r"[`|\\\x00-\x1f]")
_PLAIN_WORD = re.compile(r"[^\W\d_]+|[+\-−×]?\d[\d,]*(?:\.\d+)?(?:e[+-]\d+)?|rel|Δ|→|≤|%|\+|=")
_EDGES = re.compile(r"([(\"']*)(.*?)([,;:.)\"']*)\Z", re.DOTALL)


def document(items: Sequence[Item], view: View = _AUTO, limit: int = LIMIT) -> str:
    """All files: what matters of each, then the tensors of each as far as there is room."""
    tables = [arrange.rows(item.diff, view) if item.diff else [] for item in items]
    heads = [
        "".join(f"{line}\n" for line in _head(item, rows, view))
        for item, rows in zip(items, tables, strict=True)
    ]
    room = limit - 200  # for the lines that tell what was left out
    kept = 0
    while kept < len(heads) and (size := _size(heads[kept])) <= room:
        room -= size
        kept += 1
    parts = []
    for item, rows, head in zip(items[:kept], tables, heads, strict=False):
        details = _details(item, rows, view, room)
        room -= _size(details)
        parts.append(head + details)
    if rest := items[kept:]:
        parts.append(f"… and {len(rest)} more {'file' if len(rest) == 1 else 'files'}\n")
    return "\n".join(parts)


def _size(text: str) -> int:
    return len(text.encode("utf-8", "surrogateescape"))


def code(text: str) -> str:
    """``text`` as one code span, a long one without its middle."""
    inside = _IN_CODE.sub(lambda found: f"%{ord(found[0]):02X}", shorten(text, _LONGEST, PLAIN))
    return f"`{inside}`" if inside.strip() else "` `"


def sentence(text: str) -> str:
    """``text`` with every word that is not plain in a code span."""
    return " ".join(_word(word) for word in text.split())


def _word(word: str) -> str:
    found = _EDGES.match(word)
    assert found is not None
    before, middle, after = found.groups()
    if not middle or _PLAIN_WORD.fullmatch(middle):
        return word
    return f"{before}{code(middle)}{after}"


def _head(item: Item, rows: Sequence[Row], view: View) -> Iterator[str]:
    yield f"### {code(item.label)}"
    yield ""
    if (diff := item.diff) is None:
        yield sentence(item.message)
        return
    yield f"**{sentence(remarks.totals(diff))}**"
    yield from _list("Not finite:", _warnings(rows))
    yield from _list("", [sentence(line) for line in (*diff.headlines, *diff.notes)])
    if rows:
        most = arrange.limit(view) or arrange.ROWS
        grouped = any(row.is_group for row in rows)
        cells = [of_group(row) if grouped else of_tensor(row) for row in rows[:most]]
        yield ""
        yield from _table(GROUPS if grouped else TENSORS, rows, cells)
        if rest := sum(len(row.members) for row in rows[most:]):
            yield ""
            yield f"… and {remarks.tensors(rest)} more"
    yield from _list("Structure:", [code(line) for line in diff.structure])


def _warnings(rows: Sequence[Row]) -> list[str]:
    found = (pair for row in rows for pair in remarks.warnings(row))
    return [f"⚠ {code(name)}: {said}" for name, said in found]


def _list(title: str, lines: Sequence[str]) -> Iterator[str]:
    if not lines:
        return
    yield ""
    if title:
        yield title
        yield ""
    yield from (f"- {line}" for line in lines[:_LINES])
    if rest := len(lines) - _LINES if len(lines) > _LINES else 0:
        yield f"- … and {rest} more"


def _table(
    table: Sequence[Column], rows: Iterable[Row], cells: Sequence[Sequence[str]]
) -> Iterator[str]:
    used = [i for i in range(len(table)) if any(row[i] for row in cells)]
    # a title's | would end its cell
    titles = [table[i].title.replace("|", "\\|") or " " for i in used]
    yield _row(["", *titles])
    yield _row([":-:", *("--:" if table[i].right else ":--" for i in used)])
    for row, found in zip(rows, cells, strict=False):
        sign = remarks.sign(row.kind)
        yield _row([code(sign), *(_cell(table[i], found[i]) for i in used)])


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(column: Column, text: str) -> str:
    if column.key == "name":
        return code(text)
    if column.key in ("depth", "where", "max_at", "shape"):
        return code(text) if text else ""
    return sentence(text)


def _details(item: Item, groups: Sequence[Row], view: View, room: int) -> str:
    """Every tensor of a file whose table has groups, as far as there is room."""
    if item.diff is None or not any(row.is_group for row in groups):
        return ""
    rows = [single(delta) for delta in arrange.chosen(item.diff, view)]
    opening = f"\n<details><summary>{remarks.tensors(len(rows))}</summary>\n\n"
    closing = "\n</details>\n"
    room -= _size(opening) + _size(closing) + 100
    lines: list[str] = []
    for line in _table(TENSORS, rows, [of_tensor(row) for row in rows]):
        room -= _size(line) + 1
        if room < 0:
            break
        lines.append(line)
    if len(lines) < 3:
        return ""
    if rest := len(rows) - (len(lines) - 2):
        lines += ["", f"… and {remarks.tensors(rest)} more"]
    return f"{opening}{chr(10).join(lines)}\n{closing}"
