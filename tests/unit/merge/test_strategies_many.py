"""Strategies over three sides and more, each against its formula on whole arrays of doubles."""

from __future__ import annotations

from itertools import combinations, permutations

import ml_dtypes
import numpy as np
import pytest

from git_nn.merge.strategies import table
from tests.unit.merge.test_strategies import (
    COMPUTED,
    draws,
    key_of,
    largest,
    merged,
    merged_many,
    version,
)

MANY = [name for name in COMPUTED if not table.by_name(name).two_sided]


def family(
    shape: tuple[int, ...], count: int = 3, kind: object = "<f8", seed: int = 1
) -> tuple[np.ndarray, list[np.ndarray]]:
    """A base and fine-tunes of it that share a part of their change."""
    random = np.random.default_rng(seed)
    base, common = random.standard_normal((2, *shape))
    changes = [common + scale * random.standard_normal(shape) for scale in range(1, count + 1)]
    return base.astype(kind), [(base + 0.1 * change).astype(kind) for change in changes]


def elect(changes: np.ndarray) -> np.ndarray:
    """The disjoint mean of TIES over the first axis, element by element."""
    result = np.zeros(changes.shape[1:])
    for place in np.ndindex(result.shape):
        values = [float(change[place]) for change in changes]
        total = 0.0
        for value in values:
            total += value
        agree = [value for value in values if (value > 0 if total >= 0 else value < 0)]
        result[place] = sum(agree) / len(agree) if agree else 0
    return result


def of(base: np.ndarray, sides: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    return base.astype(float), np.stack([side.astype(float) for side in sides]) - base.astype(float)


def on_sphere(vectors: np.ndarray) -> np.ndarray:
    """The Karcher mean by gradient descent in the space itself, not in the span of the sides."""
    flat = vectors.reshape(len(vectors), -1)
    lengths = np.linalg.norm(flat, axis=1)
    units = flat / lengths[:, np.newaxis]
    point = units.mean(axis=0) / np.linalg.norm(units.mean(axis=0))
    for _ in range(200):
        cos = np.clip(units @ point, -1, 1)
        angles = np.arccos(cos)
        logs = (angles / np.sin(angles))[:, np.newaxis] * (units - cos[:, np.newaxis] * point)
        step = logs.mean(axis=0)
        size = np.linalg.norm(step)
        if size < 1e-15:
            break
        point = np.cos(size) * point + np.sin(size) * step / size
        point /= np.linalg.norm(point)
    return lengths.mean() * point.reshape(vectors.shape[1:])


# --- the formulas -----------------------------------------------------------------------


def test_mean_of_many_is_the_model_soup_and_weight_sets_ours_apart() -> None:
    base, sides = family((13, 7), 5)
    np.testing.assert_allclose(merged_many("mean", base, sides), np.mean(sides, 0), rtol=1e-14)
    weights = np.array([0.8, 0.2, 0.2, 0.2, 0.2])
    expected = np.tensordot(weights / weights.sum(), np.stack(sides), 1)
    np.testing.assert_allclose(merged_many("mean:weight=0.2", base, sides), expected, rtol=1e-13)
    assert merged_many("mean:weight=0", base, sides).tobytes() == sides[0].tobytes()


def test_task_arithmetic_adds_every_change() -> None:
    base, sides = family((9, 4), 4)
    b, changes = of(base, sides)
    expected = b + 0.3 * (((changes[0] + changes[1]) + changes[2]) + changes[3])
    assert merged_many("task-arithmetic:lambda=0.3", base, sides).tobytes() == expected.tobytes()


@pytest.mark.parametrize("count", [3, 6])
@pytest.mark.parametrize("kind", ["<f4", ml_dtypes.bfloat16])
def test_ties_trims_each_and_elects_over_all(count: int, kind: object) -> None:
    base, sides = family((23, 9), count, kind)
    b, changes = of(base, sides)
    kept = int(0.3 * b.size)
    expected = b + 0.7 * elect(np.stack([np.where(largest(d, kept), d, 0) for d in changes]))
    found = merged_many("ties:density=0.3,lambda=0.7", base, sides).astype(float)
    np.testing.assert_allclose(found, expected, rtol=1e-6 if kind == "<f4" else 2**-7)


def test_breadcrumbs_and_dare_treat_each_change_alone() -> None:
    base, sides = family((30, 11), 4)
    b, changes = of(base, sides)
    first, last = int(0.1 * b.size), int(0.1 * b.size) + int(0.5 * b.size)
    masked = [np.where(largest(d, last) & ~largest(d, first), d, 0) for d in changes]
    found = merged_many("breadcrumbs:density=0.5,gamma=0.1", base, sides)
    np.testing.assert_allclose(found, b + sum(masked), rtol=1e-13)
    kept = []
    for i, change in enumerate(changes):
        others = sorted(sides[:i] + sides[i + 1 :], key=lambda side: version(side).oid)
        drawn = draws(key_of(base, sides[i], *others), b.size)
        kept.append(np.where(drawn.reshape(b.shape) < 0.5, change / 0.5, 0))
    found = merged_many("dare-linear", base, sides)
    np.testing.assert_allclose(found, b + sum(kept), rtol=1e-12)
    found = merged_many("dare-ties", base, sides)
    np.testing.assert_allclose(found, b + elect(np.stack(kept)), rtol=1e-12)


@pytest.mark.parametrize("count", [3, 5])
def test_model_stock_takes_the_mean_cosine_of_all_pairs(count: int) -> None:
    base, sides = family((40, 8), count)
    b, changes = of(base, sides)
    flat = changes.reshape(count, -1)
    units = flat / np.linalg.norm(flat, axis=1)[:, np.newaxis]
    cos = np.mean([units[i] @ units[j] for i, j in combinations(range(count), 2)])
    part = count * cos / (1 + (count - 1) * cos)
    assert 0.2 < part < 0.9
    expected = part * np.mean(sides, axis=0) + (1 - part) * b
    np.testing.assert_allclose(merged_many("model-stock", base, sides), expected, rtol=1e-12)


@pytest.mark.parametrize("select", [1.0, 0.4])
def test_sce_selects_by_variance_and_weighs_by_energy(select: float) -> None:
    base, sides = family((37, 9), 4)
    b, d = of(base, sides)
    if select < 1:
        d = d * largest(d.var(axis=0), int(select * b.size))
    energy = (d**2).sum(axis=(1, 2))
    agree = np.sign(d) == np.where(d.sum(axis=0) >= 0, 1, -1)
    weight = (energy / energy.sum())[:, None, None] * agree
    total = weight.sum(axis=0)
    expected = b + (weight * d).sum(axis=0) / np.where(total > 0, total, 1)
    np.testing.assert_allclose(merged_many(f"sce:select={select}", base, sides), expected, 1e-11)


def test_iso_c_and_tsv_take_the_matrices_of_all_sides() -> None:
    base, sides = family((24, 15), 3)
    b, changes = of(base, sides)
    u, s, v = np.linalg.svd(changes.sum(axis=0), full_matrices=False)
    np.testing.assert_allclose(merged_many("iso-c", base, sides), b + s.mean() * u @ v, atol=1e-11)
    parts = [np.linalg.svd(change, full_matrices=False) for change in changes]
    left = np.concatenate([u[:, :5] for u, _, _ in parts], axis=1)
    right = np.concatenate([v[:5].T for _, _, v in parts], axis=1)
    left = left @ _root(left.T @ left)
    right = right @ _root(right.T @ right)
    expected = b + (left * np.concatenate([s[:5] for _, s, _ in parts])) @ right.T
    np.testing.assert_allclose(merged_many("tsv", base, sides), expected, atol=1e-9)


def _root(square: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(square)
    return (vectors / np.sqrt(values)) @ vectors.T


@pytest.mark.parametrize("count", [2, 3, 7])
def test_multislerp_averages_directions_and_lengths_apart(count: int) -> None:
    base, sides = family((31, 6), count)
    b, changes = of(base, sides)
    flat = changes.reshape(count, -1)
    lengths = np.linalg.norm(flat, axis=1)
    mean = (flat / lengths[:, np.newaxis]).mean(axis=0)
    expected = b + (lengths.mean() * mean / np.linalg.norm(mean)).reshape(b.shape)
    np.testing.assert_allclose(merged_many("multislerp", base, sides), expected, rtol=1e-11)


def test_multislerp_of_two_is_half_way_along_the_great_circle() -> None:
    base = np.zeros(2)
    turned = [np.array([np.cos(angle), np.sin(angle)]) for angle in (0.2, 1.4)]
    found = merged_many("multislerp", base, turned)
    np.testing.assert_allclose(found, [np.cos(0.8), np.sin(0.8)], rtol=1e-14)


@pytest.mark.parametrize("count", [2, 3, 6])
def test_karcher_is_the_mean_on_the_sphere(count: int) -> None:
    random = np.random.default_rng(count)
    base = random.standard_normal((12, 5))
    sides = [base * scale + random.standard_normal(base.shape) for scale in range(1, count + 1)]
    found = merged_many("karcher", base, sides)
    np.testing.assert_allclose(found, on_sphere(np.stack(sides)), rtol=1e-10, atol=1e-12)
    close = [base + 1e-3 * random.standard_normal(base.shape) for _ in range(count)]
    found = merged_many("karcher", base, close)
    np.testing.assert_allclose(found, on_sphere(np.stack(close)), rtol=1e-10, atol=1e-12)


def test_karcher_goes_by_angles_and_not_by_chords() -> None:
    """Two of three sides in one place: the mean lies a third of the angle away from them."""
    near, far = (np.array([np.cos(angle), np.sin(angle)]) for angle in (0.0, 1.5))
    found = merged_many("karcher", near, [near, near.copy(), far])
    np.testing.assert_allclose(found, [np.cos(0.5), np.sin(0.5)], rtol=1e-12)


def test_karcher_with_a_weight_is_slerp() -> None:
    base, (ours, theirs) = family((20, 9), 2)
    theirs = theirs + base[::-1]
    found = merged_many("karcher:weight=0.3", base, [ours, theirs])
    lengths = [np.linalg.norm(side) for side in (ours, theirs)]
    units = ours / lengths[0], theirs / lengths[1]
    expected = merged("slerp:t=0.3", base, *units) * (0.7 * lengths[0] + 0.3 * lengths[1])
    np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("name", ["multislerp", "karcher"])
def test_directions_that_cancel_out_are_finite(name: str) -> None:
    side = np.arange(1.0, 7).reshape(2, 3)
    zero = np.zeros_like(side)
    found = merged_many(name, zero, [side, -side])
    assert np.isfinite(found).all()
    third = [np.array([np.cos(a), np.sin(a)]) for a in (0, 2 * np.pi / 3, 4 * np.pi / 3)]
    assert np.isfinite(merged_many(name, np.zeros(2), third)).all()
    half = merged_many(name, zero, [side, zero, side, zero])
    np.testing.assert_allclose(half, side / 2, rtol=1e-12)


# --- what holds for all -----------------------------------------------------------------


@pytest.mark.parametrize("name", MANY)
def test_many_sides_give_the_same_bytes_in_any_blocks(name: str) -> None:
    for kind in ("<f4", "<c8"):
        base, sides = family((17, 23), 4, kind)
        whole = merged_many(name, base, sides)
        assert merged_many(name, base, sides, 100).tobytes() == whole.tobytes()
        assert (whole != sides[0]).any()


@pytest.mark.parametrize("name", MANY)
@pytest.mark.parametrize("shape", [(), (1,), (0, 4), (3, 1, 2)])
def test_many_sides_of_any_shape_are_merged(name: str, shape: tuple[int, ...]) -> None:
    base, sides = family(shape, 3, "<f4")
    found = merged_many(name, base, sides)
    assert found.shape == shape
    assert np.isfinite(found).all()


@pytest.mark.parametrize("name", [name for name in MANY if name != "base"])
def test_equal_bits_and_strange_values_of_many_sides(name: str) -> None:
    base, sides = family((6, 8), 3, "<f4")
    for version_ in (base, *sides):
        version_.view("<u4")[2, 1:4] = 0xFF800000, 0x7FC00001, 0x80000000
    assert [*merged_many(name, base, sides).view("<u4")[2, 1:4]] == [
        0xFF800000,
        0x7FC00001,
        0x80000000,
    ]
    sides[1][4, 4] = np.nan
    found = merged_many(name, base, sides)
    assert found.view("<u4")[4, 4] == 0x7FC00000
    assert np.isnan(found).sum() == 2


@pytest.mark.parametrize("name", MANY)
def test_the_order_of_the_sides_is_no_more_than_rounding(name: str) -> None:
    base, sides = family((14, 9), 3)
    once = merged_many(name, base, sides)
    for order in permutations(sides):
        np.testing.assert_allclose(merged_many(name, base, order), once, rtol=1e-9, atol=1e-9)


CHANGED_ONE = ["task-arithmetic", "ties:density=0.4", "dare-ties:density=1", "breadcrumbs", "sce"]


@pytest.mark.parametrize("choice", CHANGED_ONE)
def test_sides_without_change_add_nothing(choice: str) -> None:
    random = np.random.default_rng(5)
    base, side = random.integers(-64, 64, (2, 9, 5)) / 8.0
    found = merged_many(choice, base, [side, base, base.copy()])
    np.testing.assert_array_equal(found, merged_many(choice, base, [side, base]))


def test_sides_without_change_count_in_a_mean() -> None:
    base, (side,) = family((9, 5), 1)
    found = merged_many("mean", base, [side, base, base])
    np.testing.assert_allclose(found, (side + 2 * base) / 3, rtol=1e-14)
