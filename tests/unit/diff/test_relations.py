"""relations: a word is said only where it is true of every element."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from git_nn import arrays
from git_nn.compare import Reading, compare
from git_nn.differences.rank import effective_rank, low_rank
from git_nn.differences.result import TensorDelta, Word
from tests.unit.diff.versions import version


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def delta(old: np.ndarray, new: np.ndarray, dtype: str = "f32", **options: Any) -> TensorDelta:
    before, after = (arrays.cast(array, dtype) for array in (old, new))
    sides = (version({"w": (dtype, array)}) for array in (before, after))
    (only,) = compare(*sides, reading=Reading(**options)).tensors
    return only


def words(old: np.ndarray, new: np.ndarray, dtype: str = "f32", **options: Any) -> list[Any]:
    found = delta(old, new, dtype, **options).relations
    return [(relation.word, relation.value) for relation in found]


W = normal(1, 64, 48)


def test_a_fine_tune_has_no_relation() -> None:
    assert words(W, W + normal(2, 64, 48) * np.float32(1e-3)) == []
    assert words(W, normal(3, 64, 48)) == []


@pytest.mark.parametrize("dtype", ["f32", "bf16", "f16", "f64"])
@pytest.mark.parametrize("factor", [0.5, 0.9, -1, 3, 0.123456])
def test_scaled_by_a_constant(dtype: str, factor: float) -> None:
    old = arrays.cast(normal(4, 300, 200), dtype)  # more than a block
    new = arrays.cast(old.astype(np.float64) * factor, dtype)
    ((word, value),) = words(old, new, dtype)
    assert word is Word.SCALED
    assert value == pytest.approx(factor, rel=1e-3)
    if factor != 0.123456:
        assert value == factor


def test_scaled_but_for_one_element_is_not_scaled() -> None:
    new = W * np.float32(0.5)
    new[-1, -1] *= np.float32(1.001)
    assert words(W, new) == []


def test_values_rounded_again_moved_by_one_representable_value_at_most() -> None:
    old = arrays.cast(W, "bf16")
    new = old.copy().view(np.uint16)
    new[::3] += 1
    assert words(old, new.view(old.dtype), "bf16") == [(Word.REROUNDED, None)]
    new[0] += 1
    assert words(old, new.view(old.dtype), "bf16") == []


def test_transposed() -> None:
    assert words(W, np.ascontiguousarray(W.T)) == [(Word.TRANSPOSED, None)]
    square = W[:48]
    assert words(square, np.ascontiguousarray(square.T)) == [(Word.TRANSPOSED, None)]
    almost = np.ascontiguousarray(square.T)
    almost[[3, 4], [7, 8]] = almost[[4, 3], [8, 7]]
    assert words(square, almost) == []


def test_rows_in_another_order() -> None:
    order = np.random.default_rng(5).permutation(64)
    assert words(W, W[order]) == [(Word.PERMUTED, None)]
    columns = W[:, np.random.default_rng(6).permutation(48)]
    assert words(W, columns) == []
    twice = W.copy()
    twice[1] = twice[0]  # not the same rows, though none is new
    assert words(W, twice) == []


def test_rows_put_in_anywhere_and_taken_out() -> None:
    grown = np.insert(W, [0, 10, 10, 64], normal(7, 4, 48), axis=0)
    assert words(W, grown) == [(Word.ROWS, 4)]
    assert words(grown, W) == [(Word.ROWS, -4)]
    moved = grown.copy()
    moved[[5, 6]] = moved[[6, 5]]
    assert words(W, moved) == []


@pytest.mark.parametrize("dtype", ["f32", "bf16"])
@pytest.mark.parametrize("rank", [1, 4, 8])
def test_a_merged_lora_is_named_with_its_rank_when_asked(dtype: str, rank: int) -> None:
    big = normal(8, 256, 192)
    step = normal(9, 256, rank) @ normal(10, rank, 192) * np.float32(0.05)
    assert words(big, big + step, dtype) == []
    found = dict(words(big, big + step, dtype, ranks=True))
    assert found[Word.LOW_RANK] == rank


def test_a_full_fine_tune_is_of_no_low_rank() -> None:
    big = normal(8, 256, 192)
    found = dict(words(big, big + normal(11, 256, 192) * np.float32(1e-3), ranks=True))
    assert list(found) == [Word.EFFECTIVE_RANK]


def test_the_effective_rank_is_that_of_the_definition() -> None:
    for shape in ((40, 60), (60, 40), (50, 50)):
        step = np.random.default_rng(12).standard_normal(shape) * 1e-3
        values = np.linalg.svd(step, compute_uv=False)
        share = values / values.sum()
        want = np.exp(-(share * np.log(share)).sum())
        assert effective_rank(step) == pytest.approx(want, rel=1e-6)
    assert effective_rank(np.diag([3.0, 3.0, 3.0, 0.0])) == pytest.approx(3.0)


def test_ranks_of_odd_matrices() -> None:
    assert low_rank(np.zeros((64, 64))) is None
    assert effective_rank(np.zeros((4, 4))) is None
    assert low_rank(np.ones((3, 100))) is None  # too small for a rank to be low
    assert low_rank(np.ones((64, 64)) * 1e-300) == 1
    assert low_rank(np.eye(64)) is None


def test_no_word_for_what_is_not_finite_or_empty() -> None:
    odd = W.copy()
    odd[0, 0] = np.nan
    assert words(odd, odd * np.float32(2)) == []
    assert words(W[:, :0], W[:10, :0]) == []
    assert words(odd, odd[::-1]) == [(Word.PERMUTED, None)]  # bits are bits


def test_single_numbers_are_not_called_scaled() -> None:
    assert words(W[0, :3], W[0, :3] * np.float32(2)) == []
    assert words(W[0, :8], W[0, :8] * np.float32(2)) == [(Word.SCALED, 2)]


def test_a_value_that_became_nan_is_not_called_rounding() -> None:
    broken = W.copy()
    broken[3, 4] = np.nan
    assert words(W, broken) == []
