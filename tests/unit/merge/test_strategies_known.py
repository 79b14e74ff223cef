"""Strategies that read statistics of each side, against whole arrays of doubles."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from git_nn.merge.arithmetic import Statistic, Versions, merge_tensor
from git_nn.merge.rules import parse
from tests.unit.merge.test_strategies import KINDS, version


def merged(
    choice: str, sides: Sequence[np.ndarray], known: Sequence[np.ndarray], size: int = 0
) -> np.ndarray:
    made = parse(choice, "test")
    assert made is not None
    first = sides[0]
    statistics = tuple(
        Statistic(KINDS[a.dtype.str], a.shape, lambda a=a: [a.tobytes()])  # type: ignore[misc]
        for a in known
    )
    versions = Versions(
        KINDS[first.dtype.str], first.shape, None, tuple(map(version, sides)), statistics
    )
    data = b"".join(block for block, _ in merge_tensor(made, versions, size))
    return np.frombuffer(data, first.dtype).reshape(first.shape)


def layers(shape: tuple[int, int], count: int, kind: str = "<f8") -> list[np.ndarray]:
    random = np.random.default_rng(3)
    return [random.standard_normal(shape).astype(kind) for _ in range(count)]


@pytest.mark.parametrize("kind", ["<f4", "<f2", ">f4"])
@pytest.mark.parametrize("size", [0, 64])
def test_fisher_weighs_each_element_by_its_information(kind: str, size: int) -> None:
    sides = layers((23, 11), 3, kind)
    known = [np.abs(side).astype("<f4") for side in layers((23, 11), 6)[3:]]
    weights = np.stack([np.maximum(f.astype(float), 0.01) for f in known])
    stack = np.stack([side.astype(float) for side in sides])
    expected = (weights * stack).sum(axis=0) / weights.sum(axis=0)
    found = merged("fisher:floor=0.01", sides, known, size).astype(float)
    np.testing.assert_allclose(found, expected, rtol=2**-10, atol=2**-12)
    once = merged("fisher:floor=0.01", sides, known)
    assert once.tobytes() == merged("fisher:floor=0.01", sides, known, size).tobytes()


def test_fisher_goes_with_the_side_that_knows_and_with_the_mean_where_none_does() -> None:
    ours, theirs = np.array([1.0, 2.0, 3.0, 5.0]), np.array([3.0, 4.0, 7.0, 9.0])
    known = [np.array([1.0, 0.0, 0.0, np.nan]), np.array([0.0, 8.0, 0.0, np.inf])]
    assert [*merged("fisher:floor=0", [ours, theirs], known)] == [1.0, 4.0, 5.0, 7.0]
    assert [*merged("fisher:floor=0,weight=0.25", [ours, theirs], known)] == [1.0, 4.0, 4.0, 6.0]


@pytest.mark.parametrize("shape", [(7, 5), (6, 6)])
def test_regmean_has_the_outputs_nearest_to_those_of_every_side(shape: tuple[int, int]) -> None:
    sides = layers(shape, 3)
    inputs = layers((40, shape[1]), 3)
    found = merged("regmean:alpha=1", sides, [x.T @ x for x in inputs])
    wanted = np.concatenate([x @ side.T for x, side in zip(inputs, sides, strict=True)])
    expected, *_ = np.linalg.lstsq(np.concatenate(inputs), wanted, rcond=None)
    np.testing.assert_allclose(found, expected.T, rtol=1e-9, atol=1e-10)


def test_regmean_of_a_kernel_whose_inputs_come_first_and_of_scaled_grams() -> None:
    sides = layers((5, 8), 2)
    grams = [x.T @ x for x in layers((30, 5), 2)]
    scaled = [0.4 * gram + 0.6 * np.diag(np.diag(gram)) for gram in grams]
    pull = sum(gram @ side for gram, side in zip(scaled, sides, strict=True))
    expected = np.linalg.solve(sum(scaled), pull)
    np.testing.assert_allclose(merged("regmean:alpha=0.4", sides, grams), expected, rtol=1e-9)


def test_regmean_averages_inputs_that_no_side_has_used_and_tensors_without_statistics() -> None:
    sides = layers((4, 3), 2)
    used = [np.diag([2.0, 0.0, 1.0]), np.diag([0.0, 0.0, 1.0])]
    found = merged("regmean", sides, used)
    mean = (sides[0] + sides[1]) / 2
    np.testing.assert_allclose(found[:, 0], sides[0][:, 0], rtol=1e-12)
    np.testing.assert_allclose(found[:, 1:], mean[:, 1:], rtol=1e-12)
    assert merged("regmean", sides, []).tobytes() == mean.tobytes()


@pytest.mark.parametrize("choice", ["fisher", "regmean"])
def test_a_nan_shows_and_equal_bits_stay(choice: str) -> None:
    sides = layers((6, 4), 2, "<f4")
    for side in sides:
        side.view("<u4")[1, 1:3] = 0xFF800000, 0x80000000
    sides[1][3, 2] = np.nan
    shape = (6, 4) if choice == "fisher" else (4, 4)
    found = merged(choice, sides, [np.eye(*shape), np.eye(*shape)])
    assert [*found.view("<u4")[1, 1:3]] == [0xFF800000, 0x80000000]
    assert found.view("<u4")[3, 2] == 0x7FC00000
    assert np.isnan(found).sum() == 1
