"""groups and arrange: which tensors make one row, in which order, and which are shown."""

from __future__ import annotations

import numpy as np
import pytest

from git_nn.compare import compare
from git_nn.differences.arrange import FEW, Detail, Sort, View, chosen, rows
from git_nn.differences.changes import Kind
from git_nn.differences.groups import Row, cut, grouped
from git_nn.differences.result import ModelDiff
from tests.unit.diff.versions import f32, version

Tensors = dict[str, tuple[str, np.ndarray]]


def moved(names: list[str], by: float = 1.0, **shapes: int) -> ModelDiff:
    """Each of ``names`` is [1, 1] and becomes [1, 1 + by * place]."""
    old = {name: f32(1, 1) for name in names}
    new = {name: f32(1, 1 + by * (i + 1)) for i, name in enumerate(names)}
    return compare(version(old), version(new))


def names(found: list[Row]) -> dict[str, int]:
    return {row.name: len(row.members) for row in found}


@pytest.mark.parametrize(
    ("name", "indices"),
    [
        ("model.layers.17.mlp.up.weight", ("17",)),
        ("block_11/attn/q/kernel", ("11",)),
        ("layers.3.moe.experts.7.w1.weight", ("3", "7")),  # w1 is a role
        ("h.3.ln_2.weight", ("3",)),
        ("layer1.0.conv2.weight", ("1", "0")),
        ("fc1.weight", ("1",)),  # it has no other
        ("dense_3/kernel:0", ("3",)),
        ("conv2d/kernel", ()),
        ("a%09b.w", ()),  # an escaped tab
        ("12", ("12",)),
        ("norm.weight", ()),
        ("", ()),
    ],
)
def test_which_numbers_are_indices(name: str, indices: tuple[str, ...]) -> None:
    key, found = cut(name)
    assert found == indices
    assert "".join(a + b for a, b in zip(key, [*found, ""], strict=True)) == name


def test_names_that_differ_in_numbers_are_one_row() -> None:
    diff = moved([f"layers.{i}.{p}.w" for i in range(12) for p in ("q", "k")] + ["head.w"])
    found = grouped(diff, diff.tensors)
    assert names(found) == {"layers.[0-11].q.w": 12, "layers.[0-11].k.w": 12, "head.w": 1}
    row = next(row for row in found if row.name == "layers.[0-11].q.w")
    assert row.depths == tuple(map(str, range(12)))
    assert {delta.name for delta in row.members} == {f"layers.{i}.q.w" for i in range(12)}
    sizes = [(2 * i + 1) / 2**0.5 for i in range(12)]  # |Δ| by the norm of [1, 1]
    assert row.profile == pytest.approx(sizes)
    assert row.at == ("11",)
    assert row.median == pytest.approx((sizes[5] + sizes[6]) / 2)


def test_gaps_and_tensors_that_stayed_are_told() -> None:
    old = {f"h.{i}.w": f32(1, i) for i in range(8)}
    new = old | {f"h.{i}.w": f32(2, i) for i in (1, 2, 3, 6)}
    diff = compare(version(old), version(new))
    (row,) = grouped(diff, diff.tensors)
    assert (row.name, len(row.members), row.total) == ("h.[1-3,6].w", 4, 8)
    assert [size == 0 for size in row.profile] == [i not in (1, 2, 3, 6) for i in range(8)]


def test_experts_are_a_product_and_depth_is_the_first_number() -> None:
    diff = moved([f"l.{i}.experts.{e}.w1.w" for i in range(3) for e in range(4)])
    (row,) = grouped(diff, diff.tensors)
    assert row.name == "l.[0-2].experts.[0-3].w1.w"
    assert row.depths == ("0", "1", "2")
    assert row.profile == pytest.approx([4 / 2**0.5, 8 / 2**0.5, 12 / 2**0.5])
    assert row.at == ("2", "3")


def test_numbers_that_tell_the_shape_apart_stay() -> None:
    def model(step: float) -> Tensors:
        wide, high = np.ones((2, 5), np.float32), np.ones((5, 2), np.float32)
        return {
            f"b.{i}.mlp.{j}.w": ("f32", array + np.float32(step))
            for i in range(3)
            for j, array in ((0, wide), (2, high))
        }

    diff = compare(version(model(0)), version(model(1)))
    assert names(grouped(diff, diff.tensors)) == {"b.[0-2].mlp.0.w": 3, "b.[0-2].mlp.2.w": 3}


def test_kinds_are_rows_of_their_own_and_renamed_groups_tell_the_old_names() -> None:
    old = {f"old.{i}.w": f32(i, 5) for i in range(4)} | {f"x.{i}.w": f32(1) for i in range(2)}
    new = {f"new.{i}.w": f32(i, 5) for i in range(4)} | {f"y.{i}.v": f32(7, i) for i in range(3)}
    diff = compare(version(old), version(new))
    found = {(row.kind, row.name): row for row in grouped(diff, diff.tensors)}
    assert set(found) == {
        (Kind.RENAMED, "new.[0-3].w"), (Kind.ADDED, "y.[0-2].v"), (Kind.REMOVED, "x.[0-1].w"),
    }  # fmt: skip
    assert found[Kind.RENAMED, "new.[0-3].w"].was == "old.[0-3].w"


def test_a_tensor_that_was_zero_tops_its_group_and_one_without_values_is_no_number() -> None:
    old = {"h.0.w": f32(0, 0), "h.1.w": f32(1, 1), "h.2.w": f32(np.nan, np.nan)}
    new = {"h.0.w": f32(0, 1), "h.1.w": f32(1, 2), "h.2.w": f32(np.nan, 3)}
    diff = compare(version(old), version(new))
    (row,) = grouped(diff, diff.tensors)
    assert row.profile == (float("inf"), pytest.approx(0.5**0.5), None)
    assert row.at == ("0",)


def test_few_tensors_stand_alone_and_many_in_groups() -> None:
    few, many = (moved([f"h.{i}.w" for i in range(n)]) for n in (FEW, FEW + 1))
    assert len(rows(few, View())) == FEW
    assert len(rows(many, View())) == 1
    assert len(rows(few, View(Detail.GROUPED))) == 1
    assert len(rows(many, View(Detail.ALL))) == FEW + 1


def test_patterns_choose_by_old_and_new_names() -> None:
    old = {"a.w": f32(1), "b.w": f32(2), "was.x": f32(3, 3), "c[0]": f32(1)}
    new = {"a.w": f32(2), "b.w": f32(3), "is.y": f32(3, 3), "c[0]": f32(2)}
    diff = compare(version(old), version(new))

    def found(*patterns: str) -> set[str]:
        return {delta.name for delta in chosen(diff, View(patterns=patterns))}

    assert found("*.w") == {"a.w", "b.w"}
    assert found("a.*", "c[[]0]") == {"a.w", "c[0]"}
    assert found("was.*") == {"is.y"} == found("is.*")
    assert found("nothing") == set()


@pytest.mark.parametrize(
    ("sort", "order"),
    [
        (Sort.REL, ["small", "long", "big"]),
        (Sort.MAX, ["big", "long", "small"]),
        (Sort.MEAN, ["big", "small", "long"]),
        (Sort.CHANGED, ["small", "big", "long"]),
        (Sort.NAME, ["big", "long", "small"]),
        (Sort.SIZE, ["long", "big", "small"]),
    ],
)
def test_orders(sort: Sort, order: list[str]) -> None:
    old = {"small": f32(1), "big": f32(100, 100), "long": f32(1, 1, 1, 1, 1, 1, 1, 1)}
    new = {"small": f32(2), "big": f32(140, 100), "long": f32(3, 1, 1, 1, 1, 1, 1, 1)}
    diff = compare(version(old), version(new))
    assert [delta.name for delta in chosen(diff, View(sort=sort))] == order
