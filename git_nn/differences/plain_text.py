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

from git_nn.differences.structure_keys import DEEP, bounded, leaves

MOST = 1 << 20  # bytes of a file that is read

_COMMENT = re.compile(r"(?:^|\s)#.*")
_FLOW = frozenset("{}[],")  # a line with one of them before its colon is a value


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
        line = _COMMENT.sub("", raw).replace("\t", " ").rstrip()
        if not line.strip() or line in ("---", "..."):
            continue
        indent = len(line) - len(line.lstrip())
        line = line.strip()
        while above and _is_over(above[-1], indent, is_item=_is_item(line)):
            above.pop()
        while _is_item(line) and len(above) < DEEP:
            path = _item(above[-1][1] if above else "", items)
            above.append((indent, path))
            rest = line[1:].lstrip()
            indent, line = indent + len(line) - len(rest), rest
        path = above[-1][1] if above else ""
        key, value = _key(line) if len(above) < DEEP else ("", line)
        if key:
            path = f"{path}.{bounded(key)}" if path else bounded(key)
            above.append((indent, path))
        elif not path.endswith("]"):
            path = _item(path, items)
        if value:
            yield path, value


def _key(line: str) -> tuple[str, str]:
    """The key of a line and what follows it; no key where the line is a value."""
    if line[:1] in ("'", '"'):
        end = line.find(line[0], 1)
        rest = line[end + 1 :].lstrip()
        is_key = end > 0 and rest.startswith(":")
        return (line[1:end], rest[1:].strip()) if is_key else ("", line)
    key, colon, value = line.partition(": ")
    if not colon and line.endswith(":"):
        key, colon = line[:-1], ":"
    key = key.rstrip()
    return (key, value.strip()) if colon and _FLOW.isdisjoint(key) else ("", line)


def _is_over(above: tuple[int, str], indent: int, *, is_item: bool) -> bool:
    """Whether a line is not below ``above``; items may stand as far left as their list's key."""
    column, path = above
    return column > indent or (column == indent and (path.endswith("]") or not is_item))


def _is_item(line: str) -> bool:
    return line.startswith("- ") or line == "-"


def _item(path: str, items: dict[str, int]) -> str:
    number = items[path] = items.get(path, -1) + 1
    return f"{path}[{number}]"
