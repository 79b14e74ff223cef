"""structure_keys: plain values as texts by key path, and what differs between two sets of them.

The values come from files that we do not trust, so every text is made visible and short, and
depth is bounded.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any
from zlib import crc32

DEEP = 12  # levels below which a value is one text
_LONG = 60  # characters of a value
_KEY = 120  # characters of one key of a path


def leaves(value: Any, path: str, depth: int = 0) -> Iterator[tuple[str, str]]:
    """(path, text) of every plain value in ``value``."""
    if isinstance(value, dict) and depth < DEEP:
        if "class_name" in value and not is_model(value):
            yield path, _object(value)
            return
        for key in sorted(value):
            below = f"{path}.{bounded(key)}" if path else bounded(key)
            yield from leaves(value[key], below, depth + 1)
    elif isinstance(value, list) and depth < DEEP and any(isinstance(i, dict) for i in value):
        for i, item in enumerate(value):
            yield from leaves(item, f"{path}[{i}]", depth + 1)
    else:
        yield path, value if isinstance(value, str) else as_json(value)


def bounded(key: str) -> str:
    """A key that is not so long that the paths of all below it fill the memory."""
    return key if len(key) <= _KEY else f"{key[:_KEY]}~{crc32(key.encode('utf-8', 'replace')):08x}"


def is_model(value: Any) -> bool:
    """Whether ``value`` is the configuration of a Keras model with layers."""
    if not isinstance(value, dict) or not isinstance(value.get("class_name"), str):
        return False
    config = value.get("config")
    layers = config.get("layers") if isinstance(config, dict) else config
    return isinstance(layers, list)


def compare_texts(old: Mapping[str, str], new: Mapping[str, str], label: str = "") -> list[str]:
    """A line for each key that differs."""
    lines = []
    for path in sorted({*old, *new}):
        name = f"{label} {show(path)}" if label else f"{show(path)}:"
        if path not in new:
            lines.append(f"{name} {short(old[path])} removed")
        elif path not in old:
            lines.append(f"{name} {short(new[path])} added")
        elif old[path] != new[path]:
            lines.append(f"{name} {arrow(old[path], new[path])}")
    return lines


def _object(value: Mapping[str, Any]) -> str:
    """A serialised object of Keras (an initialiser, a dtype policy) in one line."""
    config = value.get("config")
    inner = ""
    if isinstance(config, dict):
        inner = ", ".join(f"{key}={as_json(item)}" for key, item in sorted(config.items()))
    return f"{value['class_name']}({inner})"


def as_json(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, sort_keys=True)
    except RecursionError:
        return "(nested too deep to show)"


def arrow(old: str, new: str) -> str:
    before, after = short(old), short(new)
    if before == after:  # they differ beyond what is shown
        return f"changed ({len(old)} → {len(new)} characters)"
    return f"{before} → {after}"


def short(text: str) -> str:
    shown = show(text)
    return shown if len(shown) <= _LONG else f"{shown[: _LONG - 3]}..."


def show(value: Any) -> str:
    """Text in which every character is visible, on one line."""
    text = value if isinstance(value, str) else "?"
    return "".join(char if char.isprintable() else "?" for char in text[:1000])
