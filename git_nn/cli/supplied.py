"""What settles conflicts in the terminal, with the weights that it takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from git_nn import supply
from git_nn.assemble import Sides
from git_nn.drivers.progress import metered
from git_nn.gitio.repository import Repository
from git_nn.store.local import LocalStore

Result = TypeVar("Result")


def supplied(
    repo: Repository, store: LocalStore, sides: Sides, work: Callable[[], Result]
) -> Result:
    """Do ``work`` with three versions; what it misses is fetched, and that is seen."""
    with metered("Fetching weights") as begin:
        return supply.supplied(repo, store, supply.needs(sides), work, begin)
