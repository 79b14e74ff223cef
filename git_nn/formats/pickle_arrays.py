"""A machine for pickles that hold arrays: it knows where every bytes literal stands.

Bytes literals of any length are Spans. So is the text of protocols 0 to 2 that stands for
bytes, where it is the content of an array (one character for each byte, as Latin-1).

joblib interrupts its pickle after BUILD of a NumpyArrayWrapper: a byte that says how much
padding follows, the padding (neither in old versions), then the array; or another
pickle where the array holds objects. The machine reads on after that, and gives the array
to the wrapper as its one argument. Where a loader of joblib and one of pickle would
disagree on what comes next, ``interrupted`` tells the second story's beginning.
"""

from __future__ import annotations

from math import prod
from typing import Any

from git_nn.errors import LayoutError
from git_nn.formats.base import Source
from git_nn.formats.pickle_machine import Budget, Call, Dict, Global, Machine, Span
from git_nn.formats.pickle_numpy import WRAPPER, wrapper_shape
from git_nn.formats.pickle_opcodes import run

_RECONSTRUCTED = 5  # elements of the state of a numpy array; the last one is its bytes
_ENCODE = Global("_codecs", "encode")


class ArrayMachine(Machine):
    """``interrupted`` is whether bytes were skipped that are no opcodes to joblib.

    Without ``joblib`` they are opcodes like any other.
    """

    def __init__(
        self,
        source: Source,
        start: int = 0,
        stop: int | None = None,
        budget: Budget | None = None,
        *,
        joblib: bool = True,
    ) -> None:
        super().__init__(source, start, stop, budget)
        self.interrupted = False
        self._joblib = joblib
        self._texts: list[tuple[str, Span]] = []  # the last two short ones

    def literal(self, length: int, *, text: bool = False) -> bytes | Span:
        offset = self.end
        found = super().literal(length, text=text)
        return found if text or isinstance(found, Span) else Span(offset, length)

    def text(self, length: int) -> str | Span:
        offset = self.end
        data = super().literal(length, text=True)
        if isinstance(data, Span):
            return data
        # an array's text may read as anything when only the rest of the file is there
        return self._remember(data.decode("utf-8", "surrogateescape"), Span(offset, length, True))

    def old_text(self, length: int) -> str | Span:
        offset = self.end
        data = super().literal(length)
        if isinstance(data, Span):
            return data
        return self._remember(data.decode("latin-1"), Span(offset, length))

    def _remember(self, text: str, span: Span) -> str:
        self._texts = [*self._texts[-1:], (text, span)]
        return text

    def _placed(self, text: Any) -> Any:
        """Where a text stands, if it was just read; else itself."""
        return next((span for seen, span in reversed(self._texts) if seen is text), text)

    def call(self, function: Any, args: Any) -> None:
        if function == _ENCODE and isinstance(args, tuple) and len(args) == 2:
            args = (self._placed(args[0]), args[1])
        super().call(function, args)

    def build(self) -> None:
        super().build()
        target = self.top()
        if not isinstance(target, Call):
            return
        if isinstance(target.state, tuple) and len(target.state) == _RECONSTRUCTED:
            target.state = (*target.state[:-1], self._placed(target.state[-1]))
        elif self._joblib and target.function == WRAPPER and isinstance(target.state, Dict):
            self._read_array(target, target.state)

    def _read_array(self, wrapper: Call, state: Dict) -> None:
        """Give ``wrapper`` the array that follows it in the file."""
        self.interrupted = True
        dtype, shape, _ = wrapper_shape(state)
        if dtype is None or shape is None:
            raise LayoutError("the joblib file has an array of a dtype or shape that is not known")
        if self.end < self._frame:
            raise LayoutError("the joblib file has an array inside of a frame")
        if dtype.objects:
            inner = ArrayMachine(self._source, self.end, self._stop, self.budget, joblib=False)
            try:
                wrapper.args = (run(inner),)
            finally:
                self.globals += inner.globals
            self._jump(inner.end)
            return
        if any(k == "numpy_array_alignment_bytes" and v is not None for k, v in state.items):
            self.take(self.byte())
        wrapper.args = (self.skip(dtype.size * prod(shape)),)
