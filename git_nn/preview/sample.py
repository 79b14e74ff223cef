"""sample: a part of a tensor that stands for all of it.

It is made of runs, evenly spaced, of whole rows of the last axis where these are short. So it
depends on the shape only: it is the same for every version, and the same each time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from git_nn.objects.tensor import Shape

if TYPE_CHECKING:
    from git_nn.arrays import Array
    from git_nn.merge.overlap import Blocks

RUN = 1 << 10  # elements of a run, or the multiple of a row that is next below
_RUNS = 8  # a row that is longer than this part of the sample is no run


@dataclass(frozen=True, slots=True)
class Sample:
    """``count`` runs of ``run`` elements, of ``size`` elements of a tensor; as a tensor they have
    this ``shape``."""

    size: int
    run: int
    count: int
    shape: Shape

    @property
    def scale(self) -> float:
        """How many elements one of the sample stands for."""
        return self.size / (self.run * self.count)

    def starts(self) -> Iterator[int]:
        """Where the runs are: each in the middle of an equal part of the tensor."""
        there = self.size // self.run
        return ((2 * i + 1) * there // (2 * self.count) * self.run for i in range(self.count))


def sample(shape: Shape, most: int) -> Sample | None:
    """A sample of about ``most`` elements, RUN or more; None where the tensor has no more."""
    size = prod(shape)
    if size <= most:
        return None
    row = shape[-1]
    if row > most // _RUNS:
        count = most // RUN
        return Sample(size, RUN, count, (count * RUN,))
    run = row * max(RUN // row, 1)
    count = most // run
    return Sample(size, run, count, (count * run // row, row))


def taking(read: Blocks, part: Sample, found: list[Array]) -> Blocks:
    """The same blocks; as they are read, what is of the sample gets into ``found``, in order."""

    def blocks(count: int) -> Iterator[Array]:
        found.clear()
        starts, end = part.starts(), 0
        start = next(starts, None)
        for block in read(count):
            at, end = end, end + len(block)
            while start is not None and start < end:
                found.append(block[max(start - at, 0) : start + part.run - at].copy())
                if start + part.run > end:
                    break
                start = next(starts, None)
            yield block

    return blocks
