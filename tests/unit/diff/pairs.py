"""A small transformer before and after training, for views and golden files: no random numbers."""

from __future__ import annotations

import numpy as np

from tests.unit.diff.versions import Version, version

LAYERS = 12


def _wave(seed: int, *shape: int) -> np.ndarray:
    """Values between -1 and 1 that only depend on ``seed``; rounded to 12 bits, so exact."""
    count = int(np.prod(shape))
    found = np.sin(np.arange(1, count + 1) * (1.7 + seed * 0.311))
    return (np.round(found * 4096) / 4096).astype(np.float32).reshape(shape)


def transformer() -> tuple[Version, Version]:
    """Later layers move more; o_proj only in the last four; one Inf; an adapter; a cast head."""
    old: dict[str, tuple[str, np.ndarray]] = {}
    new: dict[str, tuple[str, np.ndarray]] = {}

    def put(name: str, shape: tuple[int, ...], step: float) -> None:
        array = _wave(len(old), *shape)
        moved = array + np.float32(step) * _wave(len(old) + 999, *shape)
        old[name], new[name] = ("f32", array), ("f32", moved.astype(np.float32))

    put("model.embed_tokens.weight", (32, 8), 0)
    for i in range(LAYERS):
        step = (i + 1) / 128
        at = f"model.layers.{i}"
        put(f"{at}.self_attn.q_proj.weight", (8, 8), step)
        put(f"{at}.self_attn.k_proj.weight", (8, 8), step / 4)
        put(f"{at}.self_attn.o_proj.weight", (8, 8), step / 2 if i >= 8 else 0)
        put(f"{at}.mlp.up.weight", (16, 8), step / 8)
        put(f"{at}.mlp.down.weight", (8, 16), step / 16 if i != 3 else 0)
        put(f"{at}.norm.weight", (8,), 0)
    put("model.norm.weight", (8,), 1 / 512)
    put("lm_head.weight", (32, 8), 0.25)
    new["model.layers.7.mlp.up.weight"][1][2, 3] = np.inf
    new["model.adapter.A"] = ("f32", _wave(500, 4, 8))
    new["model.adapter.B"] = ("f32", _wave(501, 8, 4))
    old["old|name<b>`@x`"] = ("f32", _wave(502, 3))
    described = {"metadata": {"format": "pt", "epoch": "3"}}
    after = {"metadata": {"format": "pt", "epoch": "4", "<script>": "alert(1)"}}
    return (
        version(old, described=described),
        version(new, skeleton="after", described=after),
    )
