"""The checks of one file of the index."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

from git_nn import smudge
from git_nn.adopt import lacks
from git_nn.check.findings import Finding, Limits, Severity, word
from git_nn.check.rows import too_few
from git_nn.check.source import StoredSource
from git_nn.errors import (
    ConflictMarkerError,
    DamagedObjectError,
    GitNNError,
    MissingObjectError,
    PointerError,
    PointerVersionError,
)
from git_nn.formats import pickle_ops, table
from git_nn.formats.base import BytesSource
from git_nn.gitio.attributes import lookup
from git_nn.gitio.objects import Reader
from git_nn.gitio.repository import Repository
from git_nn.gitio.revisions import Entry
from git_nn.model import open_pointer
from git_nn.objects import pointer as pointers
from git_nn.objects.names import escape
from git_nn.objects.oid import Oid
from git_nn.objects.pointer import Pointer, Stored, looks_like_pointer
from git_nn.objects.skeleton import Skeleton
from git_nn.store.local import LocalStore

if TYPE_CHECKING:
    from numpy.typing import NDArray

WHOLE = 64 * 1024 * 1024
# endings of files that are loaded by unpickling them, and of others that hold weights
PICKLES = (".pkl", ".pickle", ".p", ".joblib", ".pt", ".pth", ".bin", ".ckpt")
_OTHERS = (".keras", ".npz", ".npy", ".onnx", ".gguf", ".tflite", ".msgpack")
_KINDS: dict[type[GitNNError], str] = {
    ConflictMarkerError: "conflict-markers",
    PointerVersionError: "pointer-version",
    PointerError: "malformed",
    MissingObjectError: "missing",
    DamagedObjectError: "damaged",
}

Known = frozenset[tuple[Oid, str, str]]


def known_payloads(reader: Reader, blobs: Iterable[str]) -> Known:
    """(oid, dtype, form) of every payload of these pointers: they were checked before."""
    known: set[tuple[Oid, str, str]] = set()
    for blob in blobs:
        info = reader.info(blob)
        small = info is not None and info[1] == "blob" and info[2] <= pointers.MAX_SIZE
        text = (reader.read(blob) or b"") if small else b""
        try:
            found = pointers.parse(text).stored if looks_like_pointer(text[:4096]) else {}
        except PointerError:
            continue
        known.update((stored.oid, stored.dtype, stored.form) for stored in found.values())
    return frozenset(known)


@dataclass(frozen=True, slots=True)
class Inspection:
    """What is needed to check a file; ``known`` are the payloads of the commit's parents."""

    repo: Repository
    store: LocalStore
    reader: Reader
    limits: Limits
    known: Known

    def of(self, entry: Entry, driver: str) -> Iterator[Finding]:
        """The findings in an entry of the index, whose attribute filter is ``driver``."""
        info = self.reader.info(entry.oid)
        if info is None:
            return
        size = info[2]
        if not size:
            if driver == "nn":
                yield _empty(entry.path)
            return
        content = (self.reader.read(entry.oid) or b"") if size <= WHOLE else None
        head = (self._head(entry.oid) if content is None else content)[: table.SNIFFED]
        if not looks_like_pointer(head[:4096]):
            yield from self._raw(entry.path, driver, size, head)
            if _may_be_pickle(entry.path, head):
                yield from self._raw_pickle(entry.path, content)
        elif driver == "nn" or self._is_tracked_later(entry.path):
            if driver != "nn":
                yield without_staged_rule(entry.path)
            yield from self._pointer(entry.path, content or head)

    def _is_tracked_later(self, path: bytes) -> bool:
        """Whether the work tree has a rule for the path that is not staged."""
        return lookup(self.repo, [path], ["filter"])[path].get("filter") == "nn"

    def _head(self, oid: str) -> bytes:
        child = self.repo.start("cat-file", "blob", oid)
        assert child.stdout is not None
        try:
            return child.stdout.read(table.SNIFFED)
        finally:
            child.kill()
            child.stdout.close()
            child.wait()

    # -- raw bytes -----------------------------------------------------------------------

    def _raw(self, path: bytes, driver: str, size: int, head: bytes) -> Iterator[Finding]:
        add = f"git add --renormalize -- {word(path)}"
        if driver == "nn":
            message = "is tracked, but Git has its raw bytes: it was added without the filter"
            yield Finding("raw", path, message, f"git nn install && {add}")
        elif size > self.limits.max_size and not driver and _is_weights(path, head):
            message = f"holds {size / 1024**2:.1f} MB of weights and is not tracked"
            yield Finding("untracked", path, message, f"git nn track {word(path)} && {add}")

    def _raw_pickle(self, path: bytes, content: bytes | None) -> Iterator[Finding]:
        if content is not None:
            yield from self._pickle(path, pickle_ops.scan(BytesSource(content)))
        elif self.limits.pickle is not None:
            message = f"is above {WHOLE // 1024**2} MB and was not searched for code"
            fix = f"git nn track {word(path)} && git add --renormalize -- {word(path)}"
            yield Finding("unsearched", path, message, fix, Severity.WARNING)

    def _pickle(self, path: bytes, unsafe: list[str]) -> Iterator[Finding]:
        if not unsafe or self.limits.pickle is None:
            return
        names = [name.replace(" ", ".", 1) for name in unsafe if not name.startswith("(")]
        if names:
            more = f" and {len(names) - 5} more" if names[5:] else ""
            message = f"is a pickle that calls {', '.join(names[:5])}{more} when it is loaded"
        else:
            message = f"is a pickle that could not be searched for code: {unsafe[0]}"
        fix = f"git reset -- {word(path)} (and save the weights as safetensors)"
        yield Finding("pickle", path, message, fix, self.limits.pickle)

    # -- pointers ------------------------------------------------------------------------

    def _pointer(self, path: bytes, text: bytes) -> Iterator[Finding]:
        try:
            pointer = pointers.parse(text)
            yield from too_few(self.reader, path, pointer)
            if gone := lacks(self.store, pointer):
                yield _missing(path, pointer, gone)
                return
            skeleton = smudge.load_skeleton(pointer, self.store)
            yield from self._content(path, pointer, skeleton)
        except GitNNError as error:
            yield _failure(path, error)

    def _content(self, path: bytes, pointer: Pointer, skeleton: Skeleton) -> Iterator[Finding]:
        model = open_pointer(pointer, self.store)
        for stored in pointer.stored.values():
            if self._is_wanted(stored):
                array = model.array(stored.name)
                if array is not None:
                    yield from self._numbers(path, stored, array)
        if self.limits.pickle is not None:
            source = StoredSource.of(pointer, skeleton, self.store)
            yield from self._pickle(path, pickle_ops.scan(source))

    def _is_wanted(self, stored: Stored) -> bool:
        if self.limits.nan is None and self.limits.inf is None:
            return False
        is_float = stored.dtype.startswith(("f", "bf", "c"))
        return is_float and (stored.oid, stored.dtype, stored.form) not in self.known

    def _numbers(self, path: bytes, stored: Stored, array: NDArray[Any]) -> Iterator[Finding]:
        from git_nn.check.numbers import special

        kinds = (("NaN", self.limits.nan), ("Inf", self.limits.inf))
        for (kind, severity), seen in zip(kinds, special(array), strict=True):
            if seen.count and severity is not None:
                place = f"[{','.join(map(str, seen.first))}]" if seen.first else ""
                many = f"({seen.count} of {prod(stored.shape)})"
                message = f"{escape(stored.name)}{place} is {kind} {many}"
                fix = (
                    f"git reset -- {word(path)}, "
                    f"or to allow it: git config nn.check.{kind.lower()} ignore"
                )
                yield Finding(kind.lower(), path, message, fix, severity, stored.name)


def _empty(path: bytes) -> Finding:
    """What a save leaves that was cut off at once."""
    fix = f"git reset -- {word(path)} (and save the weights again)"
    return Finding("empty", path, "is tracked as weights and is empty", fix, Severity.WARNING)


def without_staged_rule(path: bytes) -> Finding:
    """A pointer whose rule stands in the work tree only."""
    message = "is a pointer, but no .gitattributes that is staged has a rule for it"
    return Finding("no-rule", path, message, "git add .gitattributes", Severity.WARNING)


def _missing(path: bytes, pointer: Pointer, gone: list[Oid]) -> Finding:
    names = [stored.name for stored in pointer.stored.values() if stored.oid in set(gone)]
    first = f"tensor {escape(names[0])}" if names else "its skeleton"
    more = f" and {len(names) - 1} more" if names[1:] else ""
    message = f"{first}{more} is not in the store"
    fix = f"git nn pull, or write the file anew and: git add -- {word(path)}"
    return Finding("missing", path, message, fix, tensor=names[0] if names else "")


def _failure(path: bytes, error: GitNNError) -> Finding:
    kind = next((_KINDS[t] for t in type(error).__mro__ if t in _KINDS), "unreadable")
    fix = error.hint.removeprefix("run ") or f"git reset -- {word(path)}"
    return Finding(kind, path, error.message, fix)


def _is_weights(path: bytes, head: bytes) -> bool:
    if os.fsdecode(path).lower().endswith((*table.suffixes(), *PICKLES, *_OTHERS)):
        return True
    return any(table.by_name(name).sniff(head) for name in table.FORMATS)


def _may_be_pickle(path: bytes, head: bytes) -> bool:
    """By name or by first bytes: text that is a pickle of protocol 0 is not looked for."""
    if os.fsdecode(path).lower().endswith(PICKLES) or head.startswith(b"\x80"):
        return True
    return head.startswith(b"PK\x03\x04") and b".pkl" in head
