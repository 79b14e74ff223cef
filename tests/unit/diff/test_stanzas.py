"""What two pointer texts say must be what the two parsed pointers say."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from git_nn.differences.changes import Kind, classify
from git_nn.differences.stanzas import Moves, compare_texts, tensors
from git_nn.errors import ConflictMarkerError, PointerError
from git_nn.objects.oid import oid_of
from git_nn.objects.pointer import Entry, Pointer, Stored, Window, render, sorted_entries
from git_nn.objects.tensor import nbytes

NAMES = ("alpha", "beta", "gamma", "delta", "module.alpha", "x view y", "100%", "ünï of ode")
SHAPES = ((2, 3), (2, 3), (3, 2), (6,), (2, 4), (0, 3))


def stored(name: str, content: str, dtype: str = "f32", shape: tuple[int, ...] = (2, 3)) -> Stored:
    return Stored(name, dtype, shape, oid_of(content.encode()), nbytes(dtype, shape))


def pointer(*entries: Entry, skeleton: str = "skeleton") -> Pointer:
    return Pointer("safetensors", 1, oid_of(skeleton.encode()), 10, sorted_entries([*entries]))


def moves(old: Pointer | None, new: Pointer | None) -> Moves:
    return compare_texts(*(None if side is None else render(side) for side in (old, new)))


def any_pointer(dice: random.Random) -> Pointer:
    entries: list[Entry] = []
    for name in NAMES:
        if dice.random() < 0.75:
            one = stored(name, str(dice.randrange(8)), dice.choice(("f32", "f32", "i32", "f64")),
                         dice.choice(SHAPES))  # fmt: skip
            entries.append(replace(one, form=dice.choice(("", "", "", "fortran"))))
    bases = [one for one in entries if len(one.shape) == 2]
    for name in ("view", "window"):
        if bases and dice.random() < 0.5:
            base = dice.choice(bases)
            entries.append(Window(name, base.dtype, base.shape, base.name, 0, (base.shape[1], 1)))
    return pointer(*entries)


def edited(old: Pointer, dice: random.Random) -> Pointer:
    """``old`` with two tensors as another model has them."""
    other = [one for one in any_pointer(dice).entries if isinstance(one, Stored)]
    entries = old.by_name | {one.name: one for one in dice.sample(other, min(2, len(other)))}
    return pointer(*entries.values())


@pytest.mark.parametrize("seed", range(20))
def test_texts_say_what_parsed_pointers_say(seed: int) -> None:
    dice = random.Random(seed)
    for _ in range(100):
        old = any_pointer(dice)
        new = any_pointer(dice) if dice.random() < 0.5 else edited(old, dice)
        want = classify(old, new)
        names = [change.name for change in want.changes]
        if len(set(names)) < len(names):
            continue  # a name that went and another tensor's that came: both cannot be keys
        found = moves(old, new)
        assert found.kinds == {change.name: change.kind for change in want.changes}
        assert found.same == want.same
        assert found.was == {
            one.name: one.old.name for one in want.changes if one.old and one.old.name != one.name
        }


def test_a_view_changes_with_what_it_views_although_its_own_lines_do_not() -> None:
    view = Window("tied", "f32", (2, 3), "table", 0, (3, 1))
    found = moves(pointer(stored("table", "a"), view), pointer(stored("table", "b"), view))
    assert found.kinds == {"table": Kind.CHANGED, "tied": Kind.CHANGED}


def test_layers_behind_an_inserted_one_keep_their_content_under_new_names() -> None:
    old = pointer(*(stored(f"layers.{i}.w", f"{i}") for i in range(4)))
    new = pointer(
        stored("layers.0.w", "0"), stored("layers.1.w", "new"),
        *(stored(f"layers.{i + 1}.w", f"{i}") for i in range(1, 4)),
    )  # fmt: skip
    found = moves(old, new)
    assert found.counts == {Kind.RENAMED: 3, Kind.ADDED: 1}
    assert found.was == {f"layers.{i + 1}.w": f"layers.{i}.w" for i in range(1, 4)}
    assert found.same == 1


def test_only_the_container() -> None:
    one = stored("a", "a")
    found = moves(pointer(one), pointer(one, skeleton="other"))
    assert (found.kinds, found.same, found.container) == ({}, 1, True)


def test_a_file_that_comes_and_goes() -> None:
    here = pointer(stored("a", "a"), stored("100%", "b"))
    assert moves(None, here).kinds == {"a": Kind.ADDED, "100%": Kind.ADDED}
    assert moves(here, None).kinds == {"a": Kind.REMOVED, "100%": Kind.REMOVED}
    assert tensors(render(here)) == ["100%", "a"]


@pytest.mark.parametrize(
    ("damage", "error"),
    [
        (lambda text: text.replace(b"pointer 1\n", b"pointer x\n"), PointerError),
        (lambda text: text[:-20], PointerError),
        (lambda text: text.replace(b"f32", b"f33"), PointerError),
        (lambda text: text.replace(b"\n  f32", b" f32"), PointerError),
        (lambda text: text + b"\n<<<<<<< ours\n", ConflictMarkerError),
    ],
)
def test_a_broken_text_is_an_error_that_says_so(
    damage: Callable[[bytes], bytes], error: type[PointerError]
) -> None:
    text = render(pointer(stored("a", "a"), stored("b", "b")))
    with pytest.raises(error):
        compare_texts(render(pointer(stored("a", "x"), stored("b", "y"))), damage(text))
