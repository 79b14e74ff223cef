"""What a format is: a module that *proposes* how a file splits into tensors.

A format module has these names; the table in formats/table.py lists the modules.

    NAME: str                  the word after ``layout`` in a pointer
    VERSION: int               goes up with every change of what ``layout`` says
    SUFFIXES: tuple[str, ...]  what 'git nn track --auto' looks for; never used to decide
    ABOUT: str                 a few words for 'git nn formats': whose files these are
    def sniff(head: bytes) -> bool
        Whether content that starts with ``head`` (up to 64 KiB) may be this format.
    def layout(source: Source) -> Layout
        May raise anything, return nonsense, or crash its worker: then the file is
        stored as opaque. Reads only through ``source``; executes and imports nothing
        that the file names; opens no other file.

A described format is one whose files do not say what is in them: another file beside
them does. In place of ``sniff`` and ``layout`` it has

    def descriptions(name: str) -> tuple[str, ...]
        The names of the files that may describe a file called ``name``, best first.
    def layout(source: Source, name: str, description: Source) -> Layout

and either kind may have

    def structure(source: Source) -> dict[str, Any]
        What the file itself says about the model (configuration, metadata), as plain
        JSON values. Payload bytes of ``source`` may all read as zero.
    FLEETING: frozenset[str]
        Keys of ``structure``, on its first two levels, that every save changes.
    def keys(source: Source) -> dict[Key, str]
        The data beside the tensors that a merge may take key by key, each value as some
        text that is equal where the values are. Payload bytes may all read as zero.
    def compose(ours: Path, theirs: Path, plan: Plan, out: Path) -> None
        Write a file that is ``ours`` changed by ``plan`` where tensors were added,
        removed or resized. Raises MergeError where the format cannot do that. The caller
        parses the result and compares every tensor.
    RESIZES: bool
        Whether a written file may have tensors of a shape that neither side has, with nothing else
        in it that would then be wrong (as Keras' configuration, GGUF's tokenizer).
    ONE_CONTAINER: bool
        Whether ``compose`` takes what is no tensor from its first file alone; then the files
        are swapped where it has to be theirs'.
    def arrange(ours: Source, theirs: Source, plan: Arrangement, out: BinaryIO) -> None
        The same without payloads, which leaves them all where they are: write everything
        but the payloads of such a file, and holes for these. Only for formats in which nothing
        else follows from the payloads; they need no ``compose``. MergeError as there.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from git_nn.errors import LayoutError
from git_nn.objects.layout import View

PIECE = 4 * 1024 * 1024


class Source(Protocol):
    """The content of one file, read at random without keeping it in memory."""

    @property
    def size(self) -> int: ...

    def read(self, offset: int, length: int) -> bytes:
        """Exactly ``length`` bytes at ``offset``; LayoutError where the file is shorter."""
        ...


@dataclass(frozen=True, slots=True)
class BytesSource:
    """Content that is in memory."""

    data: bytes | bytearray

    @property
    def size(self) -> int:
        return len(self.data)

    def read(self, offset: int, length: int) -> bytes:
        if offset < 0 or length < 0 or offset + length > len(self.data):
            raise LayoutError("read beyond the end of the file")
        return bytes(memoryview(self.data)[offset : offset + length])


@dataclass(frozen=True, slots=True)
class FileSource:
    """Content of an open file; ``size`` is fixed when the source is made."""

    fd: int
    size: int

    @classmethod
    def of(cls, fd: int) -> FileSource:
        return cls(fd, os.fstat(fd).st_size)

    def read(self, offset: int, length: int) -> bytes:
        if offset < 0 or length < 0 or offset + length > self.size:
            raise LayoutError("read beyond the end of the file")
        data = os.pread(self.fd, length, offset)
        if len(data) != length:
            data += self._rest(offset + len(data), length - len(data))
        return data

    def _rest(self, offset: int, length: int) -> bytes:
        """pread returns at most 2 GiB on Linux, and less on some file systems."""
        pieces = []
        while length:
            piece = os.pread(self.fd, length, offset)
            if not piece:
                raise LayoutError("the file became shorter while it was read")
            pieces.append(piece)
            offset += len(piece)
            length -= len(piece)
        return b"".join(pieces)


@dataclass(frozen=True, slots=True)
class Window:
    """``size`` bytes of another source from ``start``: a file inside a file."""

    whole: Source
    start: int
    size: int

    def read(self, offset: int, length: int) -> bytes:
        if offset < 0 or length < 0 or offset + length > self.size:
            raise LayoutError("read beyond the end of the file")
        return self.whole.read(self.start + offset, length)


class Beside(Protocol):
    """The folder of the file, for described formats. A hint: what comes of it is checked."""

    @property
    def name(self) -> str:
        """The file's own name, without the folder."""
        ...

    def read(self, name: str) -> Source | None:
        """The small file of that name in the same folder; None where there is none."""
        ...


def pieces(source: Source, offset: int, length: int) -> Iterator[bytes]:
    """[offset, offset + length) of ``source`` in pieces of at most PIECE bytes."""
    for start in range(offset, offset + length, PIECE):
        yield source.read(start, min(PIECE, offset + length - start))


Key = tuple[str, str]  # where in the file, and the name there


@dataclass(frozen=True, slots=True)
class Plan:
    """How a composed file differs from ours: see ``compose`` above.

    ``keys`` have theirs' value, or are not there as in theirs. ``tensors`` are (dtype, shape) by
    name of all payloads that it has, whatever they are from, and ``views`` all views.
    """

    from_theirs: frozenset[str] = frozenset()
    removed: frozenset[str] = frozenset()
    replaced: Mapping[str, bytes] = field(default_factory=dict)
    keys: frozenset[Key] = frozenset()
    tensors: Mapping[str, tuple[str, tuple[int, ...]]] = field(default_factory=dict)
    views: Mapping[str, View] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Arrangement:
    """The tensors of an arranged file: see ``arrange`` above.

    ``tensors`` are (dtype, shape) by name; those in ``aliases`` are another one's payload whole.
    ``keys`` have theirs' value, or are not there as in theirs.
    """

    tensors: Mapping[str, tuple[str, tuple[int, ...]]]
    aliases: Mapping[str, str] = field(default_factory=dict)
    keys: frozenset[Key] = frozenset()
