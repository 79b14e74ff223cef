"""blame: the last commit that changed each tensor of one version.

A tensor is older than a commit when a parent has it with the same content, under whatever
name: then the question goes on to that parent, the first one of several.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import count

from git_nn.differences.changes import Kind
from git_nn.differences.stanzas import Moves
from git_nn.errors import GitNNError
from git_nn.gitio.follow import Past, Step
from git_nn.history.versions import Versions


@dataclass(frozen=True, slots=True)
class Blamed:
    """A tensor, the commit that gave it its content, and what the tensor was called there.

    ``kind`` is what happened to it against that commit's first parent.
    """

    name: str
    step: Step
    then: str
    kind: Kind


def blame(
    past: Past, versions: Versions, commit: str, path: bytes, names: Iterable[str]
) -> list[Blamed]:
    """The last change of each of ``names``, in that order.

    Raises GitNNError where the version at ``commit`` itself cannot be read; an older one that
    cannot be read is as if it had no tensors.
    """
    asked = list(names)
    found: dict[str, Blamed] = {}
    open_: dict[tuple[str, bytes], set[tuple[str, str]]] = {}  # by step: (name there, name)
    queue: list[tuple[int, int, Step]] = []
    counter = count()

    def ask(step: Step | None, wanted: set[tuple[str, str]]) -> None:
        if step is None or not wanted:
            return
        key = (step.commit.id, step.path)
        if key not in open_:
            heapq.heappush(queue, (-step.commit.committed, next(counter), step))
        open_.setdefault(key, set()).update(wanted)

    ask(past.last_change(commit, path), {(name, name) for name in asked})
    while queue:
        step = heapq.heappop(queue)[2]
        wanted = open_.pop((step.commit.id, step.path))
        for place in step.parents:
            moves = _moves(versions, place.blob, step.blob)
            older = {pair for pair in wanted if _is_older(moves, pair[0])}
            before = {(moves.was.get(then, then), name) for then, name in older}
            ask(past.last_change(place.commit, place.path), before)
            wanted -= older
        kinds = _moves(versions, step.before, step.blob).kinds
        for then, name in wanted:
            found[name] = Blamed(name, step, then, kinds.get(then, Kind.CHANGED))
    return [found[name] for name in asked if name in found]


def _moves(versions: Versions, old: str, new: str) -> Moves:
    try:
        return versions.moves(old, new)
    except GitNNError:
        return versions.moves("", new)


def _is_older(moves: Moves, name: str) -> bool:
    """Whether the older version has the content that ``name`` has in the newer one."""
    return moves.kinds.get(name, Kind.RENAMED) is Kind.RENAMED
