"""The sample that a preview tries strategies on."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest

from git_nn.differences.numbers import blocks_of
from git_nn.preview.sample import RUN, sample, taking

SHAPES = [(5000,), (100, 64), (7, 3, 31, 11), (40, 1500), (3, 50_000), (1, 200_001)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("most", [RUN, 4000, 20_000])
def test_a_sample_is_of_whole_runs_spread_over_the_tensor(
    shape: tuple[int, ...], most: int
) -> None:
    part = sample(shape, most)
    if prod(shape) <= most:
        assert part is None
        return
    assert part is not None
    starts = [*part.starts()]
    ends = [start + part.run for start in starts]
    assert most / 2 < prod(part.shape) == part.run * len(starts) <= most
    assert all(start >= end for start, end in zip(starts[1:], ends, strict=False))
    assert starts[0] >= 0
    assert ends[-1] <= prod(shape)
    gaps = np.diff(starts)
    assert np.ptp(gaps) <= part.run if len(gaps) else len(starts) == 1
    row = shape[-1]
    if part.shape[1:] == (row,):
        assert {start % row for start in starts} == {0}
    else:
        assert row > most // 8
    assert part.scale * prod(part.shape) == pytest.approx(prod(shape))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("block", [1, 100, 1023, 1024, 1 << 20])
def test_what_is_taken_is_the_same_whatever_the_blocks(shape: tuple[int, ...], block: int) -> None:
    if block == 1 and prod(shape) > 10_000:
        block = 3001
    values = np.arange(prod(shape))
    part = sample(shape, 2000)
    assert part is not None
    found: list[np.ndarray] = []
    read = taking(blocks_of(values), part, found)
    for _ in range(2):
        assert np.array_equal(np.concatenate([*read(block)]), values)
        expected = [values[start : start + part.run] for start in part.starts()]
        assert np.array_equal(np.concatenate(found), np.concatenate(expected))
