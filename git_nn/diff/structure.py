"""structure: what a file says about its model, as lines for a person, and what changed in it.

Input is what a format's ``structure`` gives: plain JSON values that come from files we do
not trust, so every text is made visible and short, and depth and count are bounded. A
Keras configuration is read layer by layer; anything else key by key.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

_DEEP = 12  # levels below which a value is one text
_LONG = 60  # characters of a value
_PARAMETERS = 8  # parameters of a layer in a description
_NOISE = ("module", "registered_name", "build_config", "name", "layers")
_MINOR = ("_initializer", "_regularizer", "_constraint")

Structure = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Layer:
    """A layer of a Keras configuration; everything but the names is text."""

    kind: str
    wiring: str
    parameters: Mapping[str, str]


def describe(structure: Structure) -> list[str]:
    """A line for each key and for each layer; the same structure gives the same lines."""
    lines = []
    for key, value in sorted(structure.items()):
        if _is_keras(value):
            words = (value["class_name"], *_name_of(value).values())
            lines.append(f"{_show(key)}: {' '.join(map(_show, words))}")
            lines += (
                f"  {_show(name)}: {layer.kind}{_main(layer)}"
                for name, layer in _layers(value).items()
            )
        else:
            lines += (f"{_show(path)}: {_short(text)}" for path, text in _leaves(value, key))
    return lines


def compare(old: Structure, new: Structure, *, limit: int = 30) -> tuple[str, ...]:
    """A line for each difference, at most ``limit`` and one that counts the rest."""
    lines = []
    for key in sorted({*old, *new}):
        before, after = old.get(key), new.get(key)
        if _is_keras(before) and _is_keras(after):
            lines += _compare_keras(before, after)
        else:
            lines += _compare_texts(_texts(old, key), _texts(new, key))
    rest = len(lines) - limit
    return (*lines[:limit], f"... and {rest} more") if rest > 0 else tuple(lines)


def _texts(structure: Structure, key: str) -> dict[str, str]:
    return dict(_leaves(structure[key], key)) if key in structure else {}


def _compare_texts(old: Mapping[str, str], new: Mapping[str, str], label: str = "") -> list[str]:
    lines = []
    for path in sorted({*old, *new}):
        name = f"{label} {_show(path)}" if label else f"{_show(path)}:"
        if path not in new:
            lines.append(f"{name} {_short(old[path])} removed")
        elif path not in old:
            lines.append(f"{name} {_short(new[path])} added")
        elif old[path] != new[path]:
            lines.append(f"{name} {_arrow(old[path], new[path])}")
    return lines


def _compare_keras(old: Any, new: Any) -> list[str]:
    before, after = _layers(old), _layers(new)
    lines = _compare_texts(_model(old), _model(new), "model:")
    lines += (f"layer {_show(n)} ({before[n].kind}) removed" for n in before if n not in after)
    lines += (f"layer {_show(n)} ({after[n].kind}) added" for n in after if n not in before)
    for name in before:
        if name in after:
            lines += _compare_layers(f"{_show(name)}:", before[name], after[name])
    if [name for name in before if name in after] != [name for name in after if name in before]:
        lines.append("layers in another order")
    return lines


def _compare_layers(label: str, old: _Layer, new: _Layer) -> list[str]:
    lines = [] if old.kind == new.kind else [f"{label} {old.kind} → {new.kind}"]
    if old.wiring != new.wiring:
        lines.append(f"{label} connected in another way")
    return lines + _compare_texts(old.parameters, new.parameters, label)


def _is_keras(value: Any) -> bool:
    """Whether ``value`` is the configuration of a model with layers."""
    if not isinstance(value, dict) or not isinstance(value.get("class_name"), str):
        return False
    config = value.get("config")
    layers = config.get("layers") if isinstance(config, dict) else config
    return isinstance(layers, list)


def _layers(model: Any, prefix: str = "", depth: int = 0) -> dict[str, _Layer]:
    """The layers of a model and of the models in it, in order, by name."""
    config = model["config"]
    found: dict[str, _Layer] = {}
    for i, layer in enumerate(config["layers"] if isinstance(config, dict) else config):
        if not isinstance(layer, dict):
            continue
        inner = layer.get("config")
        named = inner.get("name") if isinstance(inner, dict) else layer.get("name")
        name = f"{prefix}{named if isinstance(named, str) else i}"
        wiring = _json(layer.get("inbound_nodes") or [])
        found[name] = _Layer(_show(layer.get("class_name")), wiring, _parameters(layer))
        if _is_keras(layer) and depth < _DEEP:
            found.update(_layers(layer, f"{name}/", depth + 1))
    return found


def _parameters(layer: Mapping[str, Any]) -> dict[str, str]:
    config = layer.get("config")
    texts: dict[str, str] = {}
    for key, value in config.items() if isinstance(config, dict) else ():
        if key not in _NOISE:
            texts.update(_leaves(value, key))
    return texts


def _model(model: Any) -> dict[str, str]:
    """What a configuration says about the model as a whole."""
    return {"class": model["class_name"], **_parameters(model)} | _name_of(model)


def _name_of(model: Any) -> dict[str, str]:
    config = model["config"]
    name = config.get("name") if isinstance(config, dict) else None
    return {"name": name} if isinstance(name, str) else {}


def _main(layer: _Layer) -> str:
    """The parameters that tell what a layer does, as far as they are set."""
    words = [
        f"{_show(name)}={_short(text)}"
        for name, text in layer.parameters.items()
        if text not in ("null", "false")
        and (name, text) != ("trainable", "true")
        and not any(part in name for part in _MINOR)
    ]
    return "".join(f" {word}" for word in words[:_PARAMETERS])


def _leaves(value: Any, path: str, depth: int = 0) -> Iterator[tuple[str, str]]:
    """(path, text) of every plain value in ``value``."""
    if isinstance(value, dict) and depth < _DEEP:
        if "class_name" in value and not _is_keras(value):
            yield path, _object(value)
            return
        for key in sorted(value):
            yield from _leaves(value[key], f"{path}.{key}", depth + 1)
    elif isinstance(value, list) and depth < _DEEP and any(isinstance(i, dict) for i in value):
        for i, item in enumerate(value):
            yield from _leaves(item, f"{path}[{i}]", depth + 1)
    else:
        yield path, value if isinstance(value, str) else _json(value)


def _object(value: Mapping[str, Any]) -> str:
    """A serialised object of Keras (an initialiser, a dtype policy) in one line."""
    config = value.get("config")
    inner = ""
    if isinstance(config, dict):
        inner = ", ".join(f"{key}={_json(item)}" for key, item in sorted(config.items()))
    return f"{value['class_name']}({inner})"


def _json(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, sort_keys=True)
    except RecursionError:
        return "(nested too deep to show)"


def _arrow(old: str, new: str) -> str:
    before, after = _short(old), _short(new)
    if before == after:  # they differ beyond what is shown
        return f"changed ({len(old)} → {len(new)} characters)"
    return f"{before} → {after}"


def _short(text: str) -> str:
    shown = _show(text)
    return shown if len(shown) <= _LONG else f"{shown[: _LONG - 3]}..."


def _show(value: Any) -> str:
    """Text in which every character is visible, on one line."""
    text = value if isinstance(value, str) else "?"
    return "".join(char if char.isprintable() else "?" for char in text[:1000])
