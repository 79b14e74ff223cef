"""The versions of a model that its history names, and what each commit did to the tensors.

A version is known by its blob: a pointer, or weights that were committed as they are, which
count as the pointer that they would have. Equal blobs are read once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import translate
from functools import lru_cache
from re import Pattern
from re import compile as compiled

from git_nn.differences.stanzas import Moves, compare_texts, tensors
from git_nn.errors import GitNNError, UsageError
from git_nn.formats.base import BytesSource
from git_nn.gitio.follow import Past, Step, steps
from git_nn.gitio.objects import Reader
from git_nn.model import Model, open_pointer, open_source
from git_nn.objects import pointer as pointers
from git_nn.store.base import Store

_TEXTS = 16  # in memory: a walk comes back to a version soon or never
_MODELS = 4


@dataclass(frozen=True, slots=True)
class Changed:
    """What one commit did, against its first parent; ``own`` is what it has from no parent.

    ``problem`` says why a version cannot be read; then nothing else is known.
    """

    step: Step
    moves: Moves
    own: frozenset[str]
    problem: str = ""


class Versions:
    """Opens versions of models in one repository by their blobs."""

    def __init__(self, reader: Reader, store: Store) -> None:
        self._reader = reader
        self._store = store
        self.text = lru_cache(_TEXTS)(self._text)
        self.moves = lru_cache(_TEXTS)(self._moves)
        self.model = lru_cache(_MODELS)(self._model)

    def _text(self, blob: str) -> bytes | None:
        """The pointer's text; None for '', which is a version without the file."""
        if not blob:
            return None
        info = self._reader.info(blob)
        if info is not None and info[2] > pointers.MAX_SIZE:
            raise UsageError(f"weights as they are, {info[2]} bytes: too long to look into")
        data = None if info is None else self._reader.read(blob)
        if data is None:
            raise UsageError(f"Git has no object {blob}", hint="run 'git fsck'")
        if pointers.looks_like_pointer(data[:4096]):
            return data
        return pointers.render(open_source(BytesSource(data)).pointer)

    def _moves(self, old: str, new: str) -> Moves:
        return compare_texts(self.text(old), self.text(new))

    def _model(self, blob: str) -> Model:
        """A version to read tensors from."""
        data = self._reader.read(blob) or b""
        if pointers.looks_like_pointer(data[:4096]):
            return open_pointer(pointers.parse(data), self._store)
        return open_source(BytesSource(data))

    def names(self, blob: str) -> list[str]:
        return tensors(self.text(blob))

    def changed(self, step: Step) -> Changed:
        """What ``step`` did; a version that cannot be read is told of, never raised."""
        try:
            moves = self.moves(step.before, step.blob)
            others = (self.moves(place.blob, step.blob).kinds for place in step.parents[1:])
            own = frozenset(moves.kinds).intersection(*others)
        except GitNNError as error:
            return Changed(step, Moves({}), frozenset(), error.message)
        return Changed(step, moves, own)


@dataclass(frozen=True, slots=True)
class Chosen:
    """The tensors that somebody asks for; without patterns all are."""

    patterns: tuple[Pattern[str], ...] = ()

    def __contains__(self, name: object) -> bool:
        return not self.patterns or any(one.match(str(name)) for one in self.patterns)

    def among(self, moves: Moves) -> dict[str, str]:
        """The changed tensors that are asked for, by their new or their old name."""
        return {
            name: moves.was.get(name, "")
            for name in moves.kinds
            if name in self or (name in moves.was and moves.was[name] in self)
        }


def chosen(patterns: Iterable[str]) -> Chosen:
    """Shell patterns over whole names; one that names a module means all that is in it."""
    words = [one.rstrip("./") for one in patterns]
    return Chosen(tuple(compiled(f"{translate(one)}|{translate(one + '[./]*')}") for one in words))


def log(
    past: Past, versions: Versions, commit: str, path: bytes, want: Chosen
) -> Iterator[Changed]:
    """Each commit that changed the file or, with patterns, a tensor that is asked for.

    A merge that only took such a tensor from one of its parents is left out, as
    ``git log`` leaves out a merge that only took a file.
    """
    for step in steps(past, commit, path):
        found = versions.changed(step)
        if not want.patterns or found.problem or want.among(found.moves).keys() & found.own:
            yield found
