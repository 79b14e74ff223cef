"""structure_keras: a Keras configuration layer by layer, those of nested models included."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from git_nn.differences.structure_keys import (
    DEEP,
    as_json,
    compare_texts,
    is_model,
    leaves,
    short,
    show,
)

_PARAMETERS = 8  # parameters of a layer in a description
_NOISE = ("module", "registered_name", "build_config", "name", "layers")
_MINOR = ("_initializer", "_regularizer", "_constraint")


@dataclass(frozen=True, slots=True)
class _Layer:
    """A layer of a Keras configuration; everything but the names is text."""

    kind: str
    wiring: str
    parameters: Mapping[str, str]


def describe(key: str, model: Any) -> list[str]:
    words = (model["class_name"], *_name_of(model).values())
    lines = [f"{show(key)}: {' '.join(map(show, words))}"]
    for name, layer in _layers(model).items():
        lines.append(f"  {show(name)}: {layer.kind}{_main(layer)}")
    return lines


def compare(old: Any, new: Any) -> list[str]:
    before, after = _layers(old), _layers(new)
    lines = compare_texts(whole(old), whole(new), "model:")
    lines += (f"layer {show(n)} ({before[n].kind}) removed" for n in before if n not in after)
    lines += (f"layer {show(n)} ({after[n].kind}) added" for n in after if n not in before)
    for name in before:
        if name in after:
            lines += _compare_layers(f"{show(name)}:", before[name], after[name])
    if [name for name in before if name in after] != [name for name in after if name in before]:
        lines.append("layers in another order")
    return lines


def count(old: Any, new: Any) -> tuple[int, int]:
    """(layers that differ, layers of both models, each name once)."""
    before, after = _layers(old), _layers(new)
    names = {*before, *after}
    return sum(before.get(name) != after.get(name) for name in names), len(names)


def _compare_layers(label: str, old: _Layer, new: _Layer) -> list[str]:
    lines = [] if old.kind == new.kind else [f"{label} {old.kind} → {new.kind}"]
    if old.wiring != new.wiring:
        lines.append(f"{label} connected in another way")
    return lines + compare_texts(old.parameters, new.parameters, label)


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
        wiring = as_json(layer.get("inbound_nodes") or [])
        found[name] = _Layer(show(layer.get("class_name")), wiring, _parameters(layer))
        if is_model(layer) and depth < DEEP:
            found.update(_layers(layer, f"{name}/", depth + 1))
    return found


def _parameters(layer: Mapping[str, Any]) -> dict[str, str]:
    config = layer.get("config")
    texts: dict[str, str] = {}
    for key, value in config.items() if isinstance(config, dict) else ():
        if key not in _NOISE:
            texts.update(leaves(value, key))
    return texts


def whole(model: Any) -> dict[str, str]:
    """What a configuration says about the model as a whole."""
    return {"class": model["class_name"], **_parameters(model)} | _name_of(model)


def _name_of(model: Any) -> dict[str, str]:
    config = model["config"]
    name = config.get("name") if isinstance(config, dict) else None
    return {"name": name} if isinstance(name, str) else {}


def _main(layer: _Layer) -> str:
    """The parameters that tell what a layer does, as far as they are set."""
    words = [
        f"{show(name)}={short(text)}"
        for name, text in layer.parameters.items()
        if text not in ("null", "false")
        and (name, text) != ("trainable", "true")
        and not any(part in name for part in _MINOR)
    ]
    return "".join(f" {word}" for word in words[:_PARAMETERS])
