"""What two sides changed in a tensor, against numpy on whole arrays of doubles."""

from __future__ import annotations

import math

import ml_dtypes
import numpy as np
import pytest

from git_nn.differences.numbers import blocks_of
from git_nn.merge import overlap as module
from git_nn.merge.overlap import Apart, Overlap, distances, overlap, sum_of

KINDS = ["<f8", "<f4", "<f2", ">f4", ml_dtypes.bfloat16, "<i4", "u1"]


def versions(kind: object, size: int = 5000, seed: int = 3) -> list[np.ndarray]:
    """A base, ours that leaves a third alone, theirs that leaves the last half alone."""
    random = np.random.default_rng(seed)
    base = random.standard_normal(size) * 20
    ours, theirs = (base + random.standard_normal(size) * 4 for _ in range(2))
    ours[::3], theirs[size // 2 :] = base[::3], base[size // 2 :]
    with np.errstate(all="ignore"):
        return [side.astype(kind) for side in (np.abs(base), np.abs(ours), np.abs(theirs))]


def measured(base: np.ndarray, ours: np.ndarray, theirs: np.ndarray) -> Overlap:
    return overlap(*map(blocks_of, (base, ours, theirs)))


def norm(values: np.ndarray) -> float:
    return math.sqrt(math.fsum((values.astype(np.float64) ** 2).tolist()))


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_changes_are_measured_as_numpy_would_on_doubles(kind: object) -> None:
    base, ours, theirs = versions(kind)
    found = measured(base, ours, theirs)
    o, a, b = (side.astype(np.float64) for side in (base, ours, theirs))
    x, y = a - o, b - o
    both = (x != 0) & (y != 0)
    assert (found.elements, found.ours, found.theirs) == (5000, (x != 0).sum(), (y != 0).sum())
    assert (found.both, found.agreeing) == (both.sum(), (both & (x * y > 0)).sum())
    assert 0 < found.agreeing < found.both < found.ours
    assert found.ours_relative == pytest.approx(norm(x) / norm(o), rel=1e-12)
    assert found.theirs_relative == pytest.approx(norm(y) / norm(o), rel=1e-12)
    product = math.fsum((x * y).tolist())
    assert found.cosine == pytest.approx(product / (norm(x) * norm(y)), rel=1e-12)
    assert found.shared == both.sum() / 5000
    assert found.sign_overlap == (both & (x * y > 0)).sum() / both.sum()


def test_the_numbers_do_not_depend_on_the_size_of_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    sides = versions("<f4", 100_000)
    whole = measured(*sides)
    apart = distances(blocks_of(sides[1]), [blocks_of(sides[2])])
    monkeypatch.setattr(module, "BLOCK", 777)
    assert measured(*sides) == whole
    assert distances(blocks_of(sides[1]), [blocks_of(sides[2])]) == apart


def test_a_side_that_is_as_the_base_need_not_be_read() -> None:
    base, ours, _ = versions("<f4")
    alone = overlap(blocks_of(base), blocks_of(ours), None)
    assert alone == measured(base, ours, base)
    assert (alone.theirs, alone.theirs_relative, alone.both) == (0, 0.0, 0)
    assert alone.cosine is None
    assert alone.sign_overlap is None
    swapped = overlap(blocks_of(base), None, blocks_of(ours))
    assert swapped.theirs_relative == alone.ours_relative


def test_elements_that_are_not_finite_are_changes_and_count_in_no_sum() -> None:
    base = np.array([1, 2, 3, 4, np.nan, -np.inf], "<f4")
    ours = np.array([1.5, np.nan, 3, 5, np.nan, -np.inf], "<f4")
    theirs = np.array([2, 3, np.inf, 5, np.nan, 0], "<f4")
    found = measured(base, ours, theirs)
    assert (found.ours, found.theirs, found.both, found.agreeing) == (3, 5, 3, 2)
    assert found.ours_relative == pytest.approx(math.sqrt((0.25 + 1) / (1 + 16)))
    assert found.theirs_relative == pytest.approx(math.sqrt((1 + 1) / (1 + 16)))


def test_a_zero_that_changes_its_sign_is_a_change_without_a_sign() -> None:
    found = measured(*(np.array(x, "<f4") for x in ([0.0, 1.0], [-0.0, 1.5], [0.5, 1.25])))
    assert (found.ours, found.both, found.agreeing) == (2, 2, 1)


def test_complex_numbers_count_as_pairs() -> None:
    random = np.random.default_rng(5)
    sides = [random.standard_normal((3, 8)).view("<c16") for _ in range(3)]
    assert measured(*sides) == measured(*(side.view("<f8") for side in sides))
    assert measured(*sides).elements == 24


def test_another_dtype_is_a_change_where_the_value_is_another() -> None:
    base = np.array([1.0, 1 / 3, 2.0, np.nan], "<f4")
    found = measured(base, base.astype(ml_dtypes.bfloat16), base)
    assert (found.ours, found.theirs) == (1, 0)


def test_what_grows_out_of_nothing_is_infinitely_far_and_what_overflows_is_unknown() -> None:
    zero, one = np.zeros(4), np.ones(4)
    assert measured(zero, one, zero).ours_relative == math.inf
    assert measured(zero, zero, zero).ours_relative == 0.0
    assert measured(one, np.full(4, 1e200), one).ours_relative is None


def test_distances_are_those_of_a_diff_from_each_version() -> None:
    base, ours, theirs = versions("<f4")
    result = ((ours.astype(np.float64) + theirs) / 2).astype("<f4")
    found = distances(blocks_of(result), [blocks_of(side) for side in (base, ours, theirs)])
    for apart, side in zip(found, (base, ours, theirs), strict=True):
        step = result.astype(np.float64) - side
        assert apart.relative == pytest.approx(norm(step) / norm(side), rel=1e-12)
    assert distances(blocks_of(ours), [blocks_of(ours)])[0].relative == 0.0


def test_several_tensors_add_up_to_one_vector() -> None:
    first, second = versions("<f8", seed=1), versions("<f8", seed=2)
    joined = [np.concatenate(pair) for pair in zip(first, second, strict=True)]
    found = sum_of([measured(*first), measured(*second)], Overlap())
    whole = measured(*joined)
    assert found.both == whole.both
    assert found.cosine == pytest.approx(whole.cosine, rel=1e-12)
    assert found.ours_relative == pytest.approx(whole.ours_relative, rel=1e-12)
    assert sum_of([], Apart()) == Apart()
