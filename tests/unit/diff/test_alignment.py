"""Which tensors belong together, when names alone mislead; and what is said of the whole."""

from __future__ import annotations

import numpy as np
import pytest

from git_nn.compare import compare
from git_nn.differences.changes import Kind, normal
from git_nn.differences.result import ModelDiff, Word
from tests.unit.diff.versions import Version, version

ROLES = {"attn.q": (16, 16), "mlp.up": (32, 16), "norm": (16,)}
Model = dict[str, tuple[str, np.ndarray]]


def layer(seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {role: rng.standard_normal(shape).astype("f4") for role, shape in ROLES.items()}


def model(*layers: dict[str, np.ndarray], step: float = 0.0, **rest: np.ndarray) -> Version:
    rng = np.random.default_rng(99)
    found: Model = {}
    for number, roles in enumerate(layers):
        for role, array in roles.items():
            moved = array + np.float32(step) * rng.standard_normal(array.shape).astype("f4")
            found[f"model.layers.{number}.{role}"] = ("f32", moved)
    found["embed.weight"] = ("f32", np.ones((4, 4), "f4"))
    found |= {name.replace("__", "."): ("f32", array) for name, array in rest.items()}
    return version(found)


def kinds(diff: ModelDiff) -> dict[str, tuple[str, str]]:
    """new name -> kind and old name, of all tensors that are not the same."""
    return {
        delta.name: (str(delta.kind), delta.change.old.name if delta.change.old else "")
        for delta in diff.tensors
    }


FIVE = [layer(seed) for seed in range(5)]


def test_a_layer_put_in_moves_the_others_and_changes_none() -> None:
    diff = compare(model(*FIVE), model(*FIVE[:2], layer(77), *FIVE[2:]))
    found = kinds(diff)
    assert {n for n, (kind, _) in found.items() if kind == "added"} == {
        f"model.layers.2.{role}" for role in ROLES
    }
    assert found["model.layers.4.attn.q"] == ("renamed", "model.layers.3.attn.q")
    assert diff.counts == {Kind.RENAMED: 9, Kind.ADDED: 3}
    assert diff.same == 7
    assert diff.headlines[0] == (
        "1 layer put in: model.layers.2; model.layers.2 to 4 are now model.layers.3 to 5"
    )


def test_a_layer_taken_out_is_removed_and_no_other() -> None:
    diff = compare(model(*FIVE), model(FIVE[0], *FIVE[2:]))
    assert diff.counts == {Kind.RENAMED: 9, Kind.REMOVED: 3}
    assert {n for n, (kind, _) in kinds(diff).items() if kind == "removed"} == {
        f"model.layers.1.{role}" for role in ROLES
    }


def test_a_layer_put_in_and_everything_fine_tuned() -> None:
    """No content is equal; the layers are told by the direction of their values."""
    diff = compare(model(*FIVE), model(*FIVE[:2], layer(77), *FIVE[2:], step=1e-3))
    found = kinds(diff)
    assert found["model.layers.3.mlp.up"] == ("changed", "model.layers.2.mlp.up")
    assert found["model.layers.1.mlp.up"] == ("changed", "model.layers.1.mlp.up")
    assert found["model.layers.2.norm"] == ("added", "")
    assert all(d.numbers.relative < 0.01 for d in diff.tensors if d.numbers)
    assert diff.counts == {Kind.CHANGED: 15, Kind.ADDED: 3}


def test_one_layer_trained_between_others_that_moved() -> None:
    trained = {role: array * np.float32(1.01) for role, array in FIVE[3].items()}
    diff = compare(model(*FIVE), model(layer(77), *FIVE[:3], trained, FIVE[4]))
    assert kinds(diff)["model.layers.4.norm"] == ("changed", "model.layers.3.norm")
    assert diff.counts == {Kind.CHANGED: 3, Kind.RENAMED: 12, Kind.ADDED: 3}


def test_fine_tuning_moves_no_layer() -> None:
    diff = compare(model(*FIVE), model(*FIVE, step=1e-3))
    assert diff.counts == {Kind.CHANGED: 15}
    assert not any("layer" in line and "now" in line for line in diff.headlines)


def test_layers_that_are_all_alike_do_not_move() -> None:
    """Fresh norms are all ones: equal content in many layers says nothing."""
    ones = {"norm": np.ones(16, "f4")}
    diff = compare(model(*[ones] * 4), model(*[ones] * 3))
    assert diff.counts == {Kind.REMOVED: 1}


def test_without_values_layers_are_told_by_content_alone() -> None:
    old, new = model(*FIVE), model(*FIVE[:2], layer(77), *FIVE[2:], step=1e-3)
    diff = compare(old, new, numbers=False)
    assert old.read == new.read == []
    assert diff.counts == {Kind.CHANGED: 15, Kind.ADDED: 3}


def test_a_copied_layer_is_named() -> None:
    diff = compare(model(*FIVE), model(*FIVE, FIVE[3]))
    assert "model.layers.5 is a copy of model.layers.3" in diff.headlines
    relations = {d.name: d.relations for d in diff.tensors}
    (only,) = relations["model.layers.5.norm"]
    assert (only.word, only.of) == (Word.DUPLICATE, "model.layers.3.norm")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("module.encoder.0.weight", "encoder.0.weight"),
        ("_orig_mod.encoder.0.weight", "encoder.0.weight"),
        ("base_model.model.encoder.q.base_layer.weight", "encoder.q.weight"),
        ("model_state_dict.encoder.0.weight", "encoder.0.weight"),
        ("transformer.h.0.ln.weight", "h.0.ln.weight"),
        ("dense/kernel:0", "dense.kernel"),
    ],
)
def test_names_without_what_wrappers_add(one: str, other: str) -> None:
    assert normal(one) == normal(other)


def test_a_wrapped_and_trained_model_is_the_same_model() -> None:
    rng = np.random.default_rng(1)
    names = ["enc.w", "enc.b", "dec.w", "dec.b"]
    arrays = {name: rng.standard_normal((8, 8)).astype("f4") for name in names}
    old = version({name: ("f32", array) for name, array in arrays.items()})
    new = version({f"module.{name}": ("f32", 2 * array + 1) for name, array in arrays.items()})
    diff = compare(old, new)
    assert kinds(diff) == {f"module.{name}": ("changed", name) for name in names}
    assert "module. was put before 4 names" in diff.headlines


def test_ambiguous_names_are_not_paired() -> None:
    old = version({"module.w": ("f32", np.zeros(3, "f4")), "model.w": ("f32", np.ones(3, "f4"))})
    new = version({"w": ("f32", np.full(3, 2, "f4"))})
    assert compare(old, new).counts == {Kind.ADDED: 1, Kind.REMOVED: 2}


def test_only_the_head_was_trained() -> None:
    head = {"head__weight": np.ones((4, 4), "f4")}
    diff = compare(model(*FIVE, **head), model(*FIVE, head__weight=np.full((4, 4), 2, "f4")))
    assert diff.headlines == (
        "only the head was trained: head; unchanged: embed, model.layers.[0-4]",
    )


def test_frozen_layers_are_named() -> None:
    tuned = [*FIVE[:3], *({r: a + 1 for r, a in roles.items()} for roles in FIVE[3:])]
    diff = compare(model(*FIVE), model(*tuned))
    assert diff.headlines == ("trained: model.layers.[3-4]; unchanged: embed, model.layers.[0-2]",)


def test_a_cast_of_everything_is_one_sentence() -> None:
    old = version({f"l.{i}.w": ("f32", np.ones((4, 4), "f4") + i) for i in range(3)})
    new = version({f"l.{i}.w": ("f16", np.ones((4, 4), "f2") + i) for i in range(3)})
    assert compare(old, new).headlines == ("every f32 tensor cast f32→f16",)


def test_a_new_file_has_no_headlines() -> None:
    assert compare(None, model(*FIVE)).headlines == ()
    assert compare(model(*FIVE), None).headlines == ()


def test_the_state_of_training_is_no_part_of_the_model() -> None:
    state = {"optimizer__state__0": np.ones(4, "f4"), "random_state__key": np.ones(4, "f4")}
    still = {"head__w": np.ones(4, "f4")}
    moved = {name: array + 1 for name, array in state.items()}
    assert compare(model(*FIVE, **state, **still), model(*FIVE, **moved, **still)).headlines == ()
