"""What makes a merge the same everywhere: sums, ranks, draws, angles; and any size of block."""

from __future__ import annotations

import math
from collections.abc import Iterator
from decimal import Decimal, localcontext
from itertools import pairwise
from unittest.mock import patch

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from git_nn.merge import arithmetic
from git_nn.merge.strategies import ranks, sums, table
from git_nn.merge.strategies.angles import weights
from git_nn.merge.strategies.draws import kept
from git_nn.merge.strategies.elementary import exp, log
from git_nn.merge.strategies.ranks import NOTHING, Cut, among, cuts, share
from tests.unit.merge.test_strategies import COMPUTED, merged, sides

SHAPES = [(97,), (24, 17), (4, 3, 5, 2), (1, 40), (40, 1)]
WORDS = {"ties": "ties:density=0.3", "sce": "sce:select=0.4", "nearswap": "nearswap:t=0.1"}


def cut_at(places: list[int], values: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """``values`` in pieces, each with its start."""
    edges = [0, *sorted(p % (len(values) + 1) for p in places), len(values)]
    for start, end in pairwise(edges):
        yield start, values[start:end]


@settings(max_examples=60, deadline=None)
@given(
    name=some.sampled_from(COMPUTED),
    shape=some.sampled_from(SHAPES),
    kind=some.sampled_from(["<f4", "<f2", "<f8", "<c8"]),
    size=some.integers(1, 1000),
    seed=some.integers(0, 9),
)
def test_any_size_of_block_gives_the_same_bytes(
    name: str, shape: tuple[int, ...], kind: str, size: int, seed: int
) -> None:
    base, ours, theirs = sides(shape, kind, seed)
    with patch.object(sums, "LEAF", 8):  # so that small tensors have leaves across blocks
        whole = merged(WORDS.get(name, name), base, ours, theirs)
        assert merged(WORDS.get(name, name), base, ours, theirs, size).tobytes() == whole.tobytes()


@pytest.mark.parametrize("name", ["slerp", "ties", "sce", "dare-linear", "arcee-fusion"])
def test_a_tensor_of_several_leaves_and_blocks_is_the_same_in_any_blocks(name: str) -> None:
    versions = sides((50, 4001), "<f4")
    whole = merged(name, *versions)
    for size in (40_000, 131_072, 300_004):
        assert merged(name, *versions, size).tobytes() == whole.tobytes()


@pytest.mark.parametrize("name", COMPUTED)
def test_a_merge_is_the_same_twice(name: str) -> None:
    versions = sides((23, 19), "<f4")
    assert merged(name, *versions).tobytes() == merged(name, *versions).tobytes()
    assert table.by_name(name).paper or name in ("base", "passthrough")


# --- sums -------------------------------------------------------------------------------


@settings(deadline=None)
@given(some.lists(some.integers(0, 10**6), max_size=6), some.integers(0, 9), some.integers(1, 99))
def test_sums_do_not_depend_on_the_blocks(places: list[int], seed: int, count: int) -> None:
    random = np.random.default_rng(seed)
    values = random.standard_normal(count) * 10.0 ** random.integers(-9, 9, count)
    with patch.object(sums, "LEAF", 16):
        (once,) = sums.totals([(values,)], 1)
        (again,) = sums.totals(((piece,) for _, piece in cut_at(places, values)), 1)
    assert once == again
    assert once == pytest.approx(math.fsum(values), rel=1e-14, abs=1e-14 * np.abs(values).sum())


def test_leaves_are_added_exactly() -> None:
    values = np.zeros(3 * sums.LEAF)
    values[0], values[sums.LEAF], values[2 * sums.LEAF] = 1e300, 1.0, -1e300
    assert sums.totals([(values,)], 1) == (1.0,)
    assert sums.totals([], 2) == (0.0, 0.0)
    with np.errstate(over="ignore"):
        for count in (2, 2 * sums.LEAF):
            assert math.isnan(sums.totals([(np.full(count, 1.7e308),)], 1)[0])


def test_a_row_is_folded_to_its_sum() -> None:
    rows = np.arange(35.0).reshape(5, 7)
    assert [*sums.fold(rows)] == [*rows.sum(axis=1)]
    assert [*sums.fold(np.ones((3, 1)))] == [1.0] * 3


# --- ranks ------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(
    values=some.lists(
        some.sampled_from([0.0, 5e-324, 1.0, 1.0 + 2**-52, 1.5, 3.0, 1e300])
        | some.floats(0, 1e308, allow_nan=False),
        min_size=1,
        max_size=60,
    ),
    k=some.integers(0, 60),
    held=some.integers(1, 70),
    places=some.lists(some.integers(0, 60), max_size=4),
)
def test_a_cut_is_the_kth_largest_and_of_equal_ones_the_first(
    values: list[float], k: int, held: int, places: list[int]
) -> None:
    array = np.abs(np.array(values))
    k = min(k, len(array))
    pieces = [*cut_at(places, array)]
    found, every = cuts(
        lambda work, every=1: (work(start, (piece,)) for start, piece in pieces[::every]),
        len(array),
        [(0, k), (0, len(array))],
        held,
    )
    order = sorted(range(len(array)), key=lambda i: (-array[i], i))
    inside = np.concatenate([among(found, piece, start) for start, piece in pieces])
    assert [*np.flatnonzero(inside)] == sorted(order[:k])
    assert found == (Cut(array[order[k - 1]], order[k - 1]) if k else NOTHING)
    assert among(every, array, 0).all()


def test_a_large_tensor_is_cut_in_two_passes() -> None:
    array = np.abs(np.random.default_rng(1).standard_normal(50_000))
    passes = []

    def read(work: ranks.Work, every: int = 1) -> Iterator[object]:
        passes.append(1)
        for start in range(0, len(array), 999 * every):
            yield work(start, [array[start : start + 999]])

    (cut,) = cuts(read, len(array), [(0, 20_000)], held=5_000)
    assert cut.value == np.sort(array)[-20_000]
    assert len(passes) == 2
    assert ranks.HELD >= 1 << 20


@pytest.mark.parametrize("share_of_zeros", [0.0, 0.5, 0.97])
def test_a_sample_that_misleads_costs_passes_and_no_exactness(share_of_zeros: float) -> None:
    random = np.random.default_rng(3)
    array = np.abs(random.standard_normal(60_000))
    array[:999] *= 1e6  # the first block, which is sampled, is like no other
    array[random.random(60_000) < share_of_zeros] = 0.0

    def read(work: ranks.Work, every: int = 1) -> Iterator[object]:
        for start in range(0, 999 if every == 1 and not sampled else 60_000, 999):
            yield work(start, [array[start : start + 999]])
        sampled.append(1)

    sampled: list[int] = []
    for k in (1, 700, 12_000, 59_000, 60_000):
        sampled.clear()
        (cut,) = cuts(read, 60_000, [(0, k)], held=5_000)
        order = np.lexsort((np.arange(60_000), -array))
        assert cut == Cut(array[order[k - 1]], order[k - 1])
        assert len(sampled) <= 7


@settings(max_examples=60, deadline=None)
@given(
    kind=some.sampled_from([np.dtype("<f4"), np.dtype(ml_dtypes.bfloat16)]),
    steps=some.sampled_from([1, 3, 40, 5000]),
    density=some.sampled_from([0.003, 0.2, 0.5, 0.9, 1.0]),
    strange=some.integers(0, 40),
    seed=some.integers(0, 99),
)
def test_changes_that_singles_do_not_tell_apart_are_cut_as_doubles(
    kind: np.dtype, steps: int, density: float, strange: int, seed: int
) -> None:
    """Few values, so that many are equal; of exponents so far apart that no type holds their
    difference; and some whose difference is too large for a single."""
    random = np.random.default_rng(seed)
    base, ours = (
        np.ldexp(random.integers(-steps, steps + 1, 999), random.choice([-140, -30, 0, 40], 999))
        for _ in range(2)
    )
    places = random.integers(0, 999, strange)
    ours[places] = random.choice([3e38, -3e38, np.inf, np.nan, 2.0**-149], strange)
    base[places] = random.choice([3e38, -3e38, -np.inf], strange)
    base[random.integers(0, 999, strange)] = -0.0
    base, ours = base.astype(kind), ours.astype(kind)
    with np.errstate(all="ignore"):
        change = ours.astype(np.float64) - base.astype(np.float64)
        usable = np.isfinite(change)
        order = np.lexsort((np.arange(999), -np.where(usable, np.abs(change), 0.0)))
        kept = ~usable
        kept[order[: share(density, 999)]] = True
        expected = (base.astype(np.float64) + np.where(kept, change, 0.0)).astype(kind)
    with patch.object(ranks, "FEW", 10):
        found = merged(f"ties:density={density}", base, ours, base, 400)
        with patch.object(arithmetic, "FEW", -1.0):  # every element is computed
            whole = merged(f"ties:density={density}", base, ours, base, 400)
    assert np.array_equal(found, expected, equal_nan=True)
    assert found.tobytes() == whole.tobytes()


@pytest.mark.parametrize("name", ["ties", "sce", "slerp", "della"])
def test_a_tensor_that_is_not_kept_in_memory_gives_the_same_bytes(name: str) -> None:
    versions = sides((50, 4001), "<f4")
    whole = merged(WORDS.get(name, name), *versions)
    with patch.object(arithmetic, "HELD", 0):
        assert merged(WORDS.get(name, name), *versions).tobytes() == whole.tobytes()


def test_a_share_is_at_least_one_element() -> None:
    assert [share(0.1, size) for size in (0, 1, 5, 10, 99, 1000)] == [0, 1, 1, 1, 9, 100]
    assert share(0.0, 10) == 0
    assert share(1.0, 10) == 10


# --- draws ------------------------------------------------------------------------------


@settings(deadline=None)
@given(some.integers(0, 50), some.integers(0, 50), some.integers(0, 2**128 - 1))
def test_a_draw_is_the_word_of_the_stream_at_its_index(start: int, count: int, key: int) -> None:
    words = np.random.Philox(key=key).random_raw(100)[start : start + count]
    assert [*kept(key, start, count, 0.3)] == [
        int(word) >> 11 < 0.3 * 2**53 for word in words.tolist()
    ]
    assert kept(key, start, count, 1.0).all()
    assert not kept(key, start, count, 0.0).any()


def test_philox_is_the_published_one() -> None:
    """A vector of Random123's known answers (philox4x64-10, all ones)."""
    ones = 2**256 - 1
    generator = np.random.Philox(counter=ones - 1, key=2**128 - 1)
    assert [hex(word) for word in generator.random_raw(4).tolist()] == [
        "0x87b092c3013fe90b",
        "0x438c3c67be8d0224",
        "0x9cc7d7c69cd777b6",
        "0xa09caebf594f0ba0",
    ]


# --- elementary functions ---------------------------------------------------------------


@pytest.mark.parametrize("cos", [0.0, 0.3, -0.3, 0.9994, -0.9994, 0.5, 1 - 1e-15, -1 + 1e-15])
def test_half_way_both_weights_are_one_over_twice_the_cosine_of_half_the_angle(cos: float) -> None:
    with localcontext() as context:
        context.prec = 60
        expected = float(1 / (2 * (1 + Decimal(cos))).sqrt())
    assert weights(cos, 0.5, 0.0) == (expected, expected)


@pytest.mark.parametrize("t", [0.0, 0.1, 0.37, 0.9, 1.0])
@pytest.mark.parametrize("angle", [1e-3, 0.1, 1.0, 1.5, 2.0, 3.1])
def test_weights_are_those_of_the_angle(angle: float, t: float) -> None:
    found = weights(math.cos(angle), t, 0.0)
    expected = [math.sin((1 - t) * angle) / math.sin(angle), math.sin(t * angle) / math.sin(angle)]
    assert found == pytest.approx(expected, rel=1e-9)


def test_vectors_without_an_angle_are_mixed_linearly() -> None:
    assert weights(None, 0.25, 0.0) == (0.75, 0.25)
    assert weights(1.0, 0.25, 1e-8) == weights(-1.0, 0.25, 0.0) == (0.75, 0.25)


def test_exp_and_log_are_within_two_units_of_the_last_place() -> None:
    random = np.random.default_rng(2)
    x = np.concatenate([random.uniform(-680, 0, 2000), random.uniform(-2, 0, 2000), [0.0, -1e-300]])
    exact = np.array([float(Decimal(value).exp()) for value in x.tolist()])
    assert (np.abs(exp(x) - exact) <= 2 * np.spacing(exact)).all()
    y = np.concatenate([random.uniform(1e-9, 1e9, 2000), random.uniform(0.5, 2, 2000), [1.0]])
    exact = np.array([float(Decimal(value).ln()) for value in y.tolist()])
    assert (np.abs(log(y) - exact) <= 2 * np.abs(np.spacing(exact))).all()
    assert [*exp(np.array([-800.0, -1e300]))] == [0.0, 0.0]
