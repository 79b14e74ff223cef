"""plain_text: what a JSON or YAML file says, as texts by key path.

For files beside a model (configurations, parameters of a training). JSON is parsed. YAML is
read line by line: a key is the path of the keys above it by indentation, an item of a list has
its number, and whatever else a line says is text. That is enough to tell which keys
differ; no value is interpreted and nothing is run.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from git_nn.diff.structure_keys import leaves

MOST = 1 << 20  # bytes of a file that is read

_KEY = re.compile(r"""("[^"]*"|'[^']*'|[^\s:#{}\[\],"'][^:#]*?)\s*:(?:\s+|\Z)""")
_COMMENT = re.compile(r"(?:^|\s)#.*")


def texts(name: str, data: bytes) -> dict[str, str] | None:
    """The values of a file by key path; None where it is too long or not what its name says."""
    if len(data) > MOST:
        return None
    try:
        text = data.decode("utf-8-sig")
        if name.endswith((".yaml", ".yml")):
            return dict(_yaml(text))
        return dict(leaves(json.loads(text, parse_constant=str), ""))
    except (ValueError, RecursionError):
        return None


def _yaml(text: str) -> Iterator[tuple[str, str]]:
    """(path, text) of each line that holds a value."""
    above: list[tuple[int, str]] = []  # (indentation, path) of what the line is below
    items: dict[str, int] = {}
    for raw in text.splitlines():
        line = _COMMENT.sub("", raw).rstrip()
        if not line.strip() or line in ("---", "..."):
            continue
        indent = len(line) - len(line.lstrip())
        line = line.strip()
        while above and _is_over(above[-1], indent, is_item=_is_item(line)):
            above.pop()
        while _is_item(line):
            path = _item(above[-1][1] if above else "", items)
            above.append((indent, path))
            rest = line[1:].lstrip()
            indent, line = indent + len(line) - len(rest), rest
        key = _KEY.match(line)
        path = above[-1][1] if above else ""
        if key is None:
            if line:
                yield (path if path.endswith("]") else _item(path, items)), line
            continue
        path = ".".join(filter(None, [path, key[1].strip("\"'")]))
        above.append((indent, path))
        if value := line[key.end() :]:
            yield path, value


def _is_over(above: tuple[int, str], indent: int, *, is_item: bool) -> bool:
    """Whether a line is not below ``above``; items may stand as far left as their list's key."""
    column, path = above
    return column > indent or (column == indent and (path.endswith("]") or not is_item))


def _is_item(line: str) -> bool:
    return line.startswith("- ") or line == "-"


def _item(path: str, items: dict[str, int]) -> str:
    number = items[path] = items.get(path, -1) + 1
    return f"{path}[{number}]"
