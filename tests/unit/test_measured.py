"""measured: what was computed once comes back exactly, and a broken cache is an empty one."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from git_nn.compare import Reading, compare
from git_nn.differences.numbers import measure
from git_nn.differences.result import Finding, Relation, Word
from git_nn.measured import MOST, Measured, key_id
from tests.unit.diff.versions import f32, version


@pytest.fixture
def cache(tmp_path: Path) -> Measured:
    (tmp_path / "nn").mkdir()
    return Measured(tmp_path / "nn" / "cache" / "numbers.sqlite")


def some(seed: int) -> Finding:
    rng = np.random.default_rng(seed)
    old, new = rng.standard_normal((2, 5, 7))
    related = Relation(Word.SCALED, value=0.5), Relation(Word.DUPLICATE, of="x")
    return Finding(measure(old, new, "f64"), related)


def test_numbers_come_back_exactly(cache: Measured) -> None:
    odd = np.array([math.nan, math.inf, 0.0]), np.array([1.0, -math.inf, 2.0])
    kept = {
        ("a", b"\x00" * 32): some(1),
        ("b", 2**60): Finding(measure(*odd, "f64")),
        ("c", ""): Finding(measure(np.zeros((0, 3)), np.zeros((0, 3)), "f64")),
        ("d", 7): Finding(measure(np.array([0], "i8"), np.array([2**62], "i8"), "i64")),
    }
    cache.remember({key_id(key): numbers for key, numbers in kept.items()})
    assert cache.recall([*kept, ("nothing",)]) == [*kept.values(), None]


def test_a_second_comparison_reads_nothing(cache: Measured) -> None:
    old, new = version({"a": f32(1, 2), "b": f32(3)}), version({"a": f32(1, 3), "b": f32(4)})
    first = compare(old, new, reading=Reading(cache))
    old.read.clear()
    new.read.clear()
    assert compare(old, new, reading=Reading(cache)) == first
    assert old.read == new.read == []
    assert compare(new, old, reading=Reading(cache)) != first  # the other way round is another


@pytest.mark.parametrize("broken", [b"", b"not a database" * 1000])
def test_a_broken_cache_is_an_empty_one(cache: Measured, broken: bytes) -> None:
    cache.remember({key_id(["x"]): some(1)})
    cache.path.write_bytes(broken)
    assert cache.recall([["x"]]) == [None]
    cache.remember({key_id(["x"]): some(2)})
    cache.remember({key_id(["x"]): some(2)})  # the first may only have taken the broken one away
    assert cache.recall([["x"]]) == [some(2)]


def test_a_row_that_is_nonsense_is_as_if_it_were_not_there(cache: Measured) -> None:
    cache.remember({key_id(["x"]): some(1)})
    with cache._opened() as rows:
        rows.execute("UPDATE numbers SET numbers = ?", (b"\xc1",))
        rows.commit()
    assert cache.recall([["x"]]) == [None]


def test_nothing_is_made_where_there_is_no_store(tmp_path: Path) -> None:
    cache = Measured(tmp_path / "nn" / "cache" / "numbers.sqlite")
    cache.remember({key_id(["x"]): some(1)})
    assert cache.recall([["x"]]) == [None]
    assert list(tmp_path.iterdir()) == []


def test_a_cache_that_has_grown_too_large_is_begun_anew(cache: Measured) -> None:
    cache.remember({key_id(["x"]): some(1)})
    with cache._opened() as rows:
        rows.execute("UPDATE numbers SET rowid = ?", (MOST + 1,))
        rows.commit()
    cache.remember({key_id(["y"]): some(2)})
    assert cache.recall([["x"], ["y"]]) == [None, some(2)]
