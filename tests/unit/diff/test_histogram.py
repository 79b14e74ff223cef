"""histogram: bins of values and octaves of steps, against counts made one by one."""

from __future__ import annotations

import math

import numpy as np
import pytest

from git_nn.compare import compare
from git_nn.differences import histogram
from git_nn.differences.histogram import BINS, Histogram, of_model
from tests.unit.diff.versions import f32, version


def measured(old: np.ndarray, new: np.ndarray, dtype: str) -> Histogram:
    pair = version({"a": (dtype, old)}), version({"a": (dtype, new)})
    return of_model(*pair, compare(*pair).tensors)["a"]


def test_bins_and_octaves_are_those_of_a_count_by_hand() -> None:
    rng = np.random.default_rng(8)
    old = rng.normal(0, 1, 70_000)
    new = old + rng.normal(0, 1, 70_000) * 2.0 ** rng.integers(-9, 3, 70_000)
    new[:500] = old[:500]
    found = measured(old, new, "f64")
    low, high = float(min(old.min(), new.min())), float(max(old.max(), new.max()))
    assert (found.low, found.high) == (low, high)
    for counts, values in ((found.before, old), (found.after, new)):
        expected, _ = np.histogram(values, BINS, (low, high))
        assert sum(counts) == len(values)
        assert np.abs(np.array(counts) - expected).max() <= 1  # a value on an edge
    assert found.still == 500
    by_hand: dict[int, int] = {}
    for step in np.abs(new - old)[500:]:
        octave = math.floor(math.log2(step))
        by_hand[octave] = by_hand.get(octave, 0) + 1
    first = found.top - len(found.steps) + 1
    assert found.top == max(by_hand)
    lowest = sum(n for octave, n in by_hand.items() if octave <= first)
    assert found.steps == (lowest, *(by_hand.get(k, 0) for k in range(first + 1, found.top + 1)))


@pytest.mark.parametrize("exponent", [-1074, -1022, -1, 0, 1, 1023])
def test_octaves_of_every_size(exponent: int) -> None:
    step = math.ldexp(1.0, exponent)
    found = measured(np.array([0.0, 1.0]), np.array([step, 1.0]), "f64")
    assert (found.top, found.steps, found.still) == (exponent, (1,), 1)


def test_what_is_not_finite_is_left_out() -> None:
    old = np.array([1, np.nan, np.inf, 2, 3], dtype=np.float32)
    new = np.array([2, 1, 1, np.nan, 3], dtype=np.float32)
    found = measured(old, new, "f32")
    assert (sum(found.before), sum(found.after), found.still, found.steps) == (3, 4, 1, (1,))


def test_one_value_everywhere_is_one_bin() -> None:
    found = of_model(
        *(pair := (version({"a": ("f32", np.zeros(4, np.float32))}),
                   version({"a": ("f32", -np.zeros(4, np.float32))}))),
        compare(*pair).tensors,
    )["a"]  # fmt: skip
    assert (sum(found.before), max(found.before), found.steps, found.still) == (4, 4, (), 4)


def test_types() -> None:
    assert measured(np.array([1 + 1j]), np.array([1 + 4j]), "c128").top == 1  # 3 is above 2
    assert measured(np.array([True, False]), np.array([True, True]), "bool").steps == (1,)
    assert measured(np.array([-(2**62)]), np.array([2**62]), "i64").top == 63


def test_only_a_bounded_number_of_tensors_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    old = version({f"t{i}": f32(1, 2, 3) for i in range(30)} | {"big": f32(*range(100))})
    new = version({f"t{i}": f32(1, 2, 4) for i in range(30)} | {"big": f32(*range(1, 101))})
    monkeypatch.setattr(histogram, "ELEMENTS", 50)
    deltas = compare(old, new).tensors
    old.read.clear()
    found = of_model(old, new, deltas)
    assert len(found) == 16  # 48 elements
    assert len(old.read) == 16
    assert "big" not in found


def test_a_tensor_that_is_not_here_is_left_out() -> None:
    old, new = version({"a": f32(1), "b": f32(1)}), version({"a": f32(2), "b": f32(2)})
    deltas = compare(old, new).tensors
    old.missing.add("a")
    assert set(of_model(old, new, deltas)) == {"b"}
