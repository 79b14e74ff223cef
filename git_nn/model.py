"""model: one version of a weight file, opened to read single tensors.

The version is in the store (a pointer) or a plain file (a source). Opening reads no
payload; each tensor is read when it is asked for.
"""

from __future__ import annotations

import os
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from git_nn import clean, smudge
from git_nn.errors import MissingObjectError, PointerError
from git_nn.formats import table
from git_nn.formats.base import Beside, FileSource, Key, Source, pieces
from git_nn.objects.layout import Extent, Layout
from git_nn.objects.names import escape
from git_nn.objects.pointer import Pointer, Window
from git_nn.objects.skeleton import Blob, Literal, Skeleton
from git_nn.objects.tensor import BLOCKS, dtype_bits, nbytes
from git_nn.smudge import FileSink
from git_nn.store.base import Buffer, Store, read_bytes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from git_nn.differences.numbers import Blocks


class Model(ABC):
    """A version of a weight file. Tensors are known by their names in the pointer."""

    pointer: Pointer

    @abstractmethod
    def payload(self, name: str) -> bytes:
        """The payload of a stored tensor, as the file has it."""

    @abstractmethod
    def payload_pieces(self, name: str) -> Iterator[Buffer]:
        """The payload of a stored tensor in pieces of a few megabytes at most."""

    @abstractmethod
    def payload_range(self, name: str, start: int, stop: int) -> bytes:
        """Bytes [start, stop) of a payload; no more than the segments around them are read."""

    @abstractmethod
    def part_lengths(self, name: str) -> list[int]:
        """Lengths of the parts in which the file keeps a payload, in payload order."""

    @abstractmethod
    def structure(self) -> dict[str, Any]:
        """What the file says about the model, as JSON values; {} where it says nothing."""

    @abstractmethod
    def write(self, path: Path) -> None:
        """Write the whole file to ``path``, which must not exist."""

    def names(self) -> list[str]:
        return [entry.name for entry in self.pointer.entries]

    def read(self, name: str) -> bytes | None:
        """The tensor as packed C-order bytes; None where its stored form cannot be decoded."""
        entry = self.pointer.by_name[name]
        if isinstance(entry, Window):
            return self._gather(entry)
        data = self.payload(name)
        if not entry.form:
            return data
        from git_nn.forms import decode_form

        return decode_form(entry.form, entry.dtype, entry.shape, self.part_lengths(name), data)

    def array(self, name: str) -> NDArray[Any] | None:
        """The tensor as a numpy array of its shape; None where it cannot be decoded.

        Block types (those of GGUF) are decoded to single precision.
        """
        from git_nn.arrays import as_array, dequantise

        entry = self.pointer.by_name[name]
        data = self.read(name)
        if data is None:
            return None
        decode = dequantise if entry.dtype in BLOCKS else as_array
        return decode(data, entry.dtype, entry.shape)

    def rows(self, name: str, start: int, stop: int) -> NDArray[Any] | None:
        """The part [start, stop) of a tensor along its first dimension, which it must have;
        None where ``array`` is None. Reads no more than it has to."""
        from git_nn.arrays import as_array

        entry = self.pointer.by_name[name]
        if isinstance(entry, Window) or entry.form or not _is_plain(entry.dtype):
            whole = self.array(name)
            return None if whole is None else whole[start:stop]
        shape = (stop - start, *entry.shape[1:])
        row = nbytes(entry.dtype, entry.shape[1:])
        return as_array(self.payload_range(name, start * row, stop * row), entry.dtype, shape)

    def blocks(self, name: str) -> Blocks | None:
        """The tensor in flat arrays, read as they are asked for; None where ``array`` is None."""
        entry = self.pointer.by_name[name]
        if isinstance(entry, Window) or entry.form or not _is_plain(entry.dtype):
            whole = self.array(name)
            if whole is None:
                return None
            from git_nn.differences.numbers import blocks_of

            return blocks_of(whole)
        return partial(_arrays, partial(self.payload_pieces, name), entry.dtype)

    def _gather(self, entry: Window) -> bytes:
        import numpy as np
        from numpy.lib.stride_tricks import as_strided

        data = self.payload(entry.of)
        elements, size = BLOCKS.get(entry.dtype) or (8, dtype_bits(entry.dtype))
        if entry.dtype in BLOCKS or size % 8 or 0 in entry.shape:  # viewed as a whole only
            start = entry.offset * size // elements
            return data[start : start + nbytes(entry.dtype, entry.shape)]
        size //= 8
        flat = np.frombuffer(data[: len(data) // size * size], dtype=f"V{size}")
        steps = zip(entry.shape, entry.strides, strict=True)
        if entry.offset + sum((dim - 1) * step for dim, step in steps) >= len(flat):
            raise PointerError(  # a pointer may be written by hand, and numpy would not look
                f"tensor {escape(entry.name)} leaves the tensor that it is a view of",
                hint="restore the file with 'git checkout'",
            )
        strides = [step * size for step in entry.strides]
        return as_strided(flat[entry.offset :], entry.shape, strides, writeable=False).tobytes()


@dataclass(frozen=True)
class StoredModel(Model):
    """A version whose content is in the store."""

    pointer: Pointer
    store: Store

    @cached_property
    def skeleton(self) -> Skeleton:
        return smudge.load_skeleton(self.pointer, self.store)

    def payload(self, name: str) -> bytes:
        try:
            return read_bytes(self.store, self.pointer.stored[name].oid)
        except MissingObjectError as error:
            raise MissingObjectError(error.oid_hex, what=f"tensor {escape(name)}") from error

    def payload_pieces(self, name: str) -> Iterator[Buffer]:
        try:
            yield from self.store.read(self.pointer.stored[name].oid)
        except MissingObjectError as error:
            raise MissingObjectError(error.oid_hex, what=f"tensor {escape(name)}") from error

    def payload_range(self, name: str, start: int, stop: int) -> bytes:
        try:
            return self.store.read_range(self.pointer.stored[name].oid, start, stop)
        except MissingObjectError as error:
            raise MissingObjectError(error.oid_hex, what=f"tensor {escape(name)}") from error

    def part_lengths(self, name: str) -> list[int]:
        return [part.length for part in self.skeleton.parts(name)]

    def structure(self) -> dict[str, Any]:
        """Read from a hollow file."""
        if not table.has_structure(self.pointer.format):
            return {}
        with self.hollow() as source:
            return table.structure(self.pointer.format, source)

    def keys(self) -> dict[Key, str] | None:
        """The data beside the tensors by key; None where the format has no keys."""
        with self.hollow() as source:
            return table.keys(self.pointer.format, source)

    @contextmanager
    def hollow(self) -> Iterator[FileSource]:
        """The file with zeros for payloads."""
        with tempfile.TemporaryFile() as file:
            file.truncate(self.skeleton.size)
            position = 0
            for run in self.skeleton.runs:
                if isinstance(run, Literal):
                    os.pwrite(file.fileno(), run.data, position)
                elif isinstance(run, Blob):
                    os.pwrite(file.fileno(), read_bytes(self.store, run.oid), position)
                position += run.length
            yield FileSource.of(file.fileno())

    def write(self, path: Path) -> None:
        with path.open("xb+") as file:
            smudge.write_file(self.pointer, self.skeleton, self.store, FileSink(file.fileno()))


@dataclass(frozen=True)
class FileModel(Model):
    """A version that is a plain file; nothing of it is stored."""

    pointer: Pointer
    source: Source
    layout: Layout

    @cached_property
    def _extents(self) -> dict[str, tuple[Extent, ...]]:
        return {payload.name: payload.extents for payload in self.layout.payloads}

    def payload(self, name: str) -> bytes:
        extents = self._extents[name]
        return b"".join(self.source.read(extent.offset, extent.length) for extent in extents)

    def payload_pieces(self, name: str) -> Iterator[Buffer]:
        for extent in self._extents[name]:
            yield from pieces(self.source, extent.offset, extent.length)

    def payload_range(self, name: str, start: int, stop: int) -> bytes:
        found = []
        offset = 0
        for extent in self._extents[name]:
            low, high = max(start - offset, 0), min(stop - offset, extent.length)
            if low < high:
                found.append(self.source.read(extent.offset + low, high - low))
            offset += extent.length
        return b"".join(found)

    def part_lengths(self, name: str) -> list[int]:
        return [extent.length for extent in self._extents[name] if extent.length]

    def structure(self) -> dict[str, Any]:
        return table.structure(self.pointer.format, self.source)

    def write(self, path: Path) -> None:
        with path.open("xb") as file:
            for piece in pieces(self.source, 0, self.source.size):
                file.write(piece)


def _is_plain(dtype: str) -> bool:
    """Whether each element is some whole bytes."""
    return dtype not in BLOCKS and dtype_bits(dtype) >= 8


def _arrays(read: Callable[[], Iterator[Buffer]], dtype: str, count: int) -> Iterator[NDArray[Any]]:
    """Arrays of ``count`` elements, the last shorter, from pieces that end anywhere."""
    import numpy as np

    from git_nn.arrays import numpy_dtype

    kind = numpy_dtype(dtype)
    size = count * kind.itemsize
    rest = b""
    for piece in read():
        view = memoryview(piece).cast("B")
        if rest:
            missing = size - len(rest)
            rest += bytes(view[:missing])
            view = view[missing:]
            if len(rest) < size:
                continue
            yield np.frombuffer(rest, kind)
        whole = len(view) // size * size
        for start in range(0, whole, size):
            yield np.frombuffer(view[start : start + size], kind)
        rest = bytes(view[whole:])
    if rest:
        yield np.frombuffer(rest, kind)


def open_pointer(pointer: Pointer, store: Store) -> StoredModel:
    return StoredModel(pointer, store)


def open_source(source: Source, beside: Beside | None = None) -> FileModel:
    """Open a plain file: its content is hashed and nothing is stored."""
    layout = table.detect(source, beside)
    return FileModel(clean.point(layout, source), source, layout)
