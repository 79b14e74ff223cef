"""cleaner: what 'clean' answers Git, whatever the content.

    a pointer                          that pointer (a pointer in the work tree is a clean state)
    nothing, or the raw blob in Git    the content as it is
    our own textconv text, in blame    the content as it is
    anything else                      its pointer, when all of it is in the store

Content above nn.largeThreshold is not kept: the work-tree file is worked on while what Git sends is
compared with it (see mirror). Where Git only looks (status, diff) nothing is stored.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain

from git_nn import earlier
from git_nn.beside import Folder
from git_nn.clean import Cleaned, clean
from git_nn.drivers import mirror
from git_nn.drivers.caller import Command
from git_nn.drivers.content import IN_MEMORY, all_of, collected, passed_through
from git_nn.drivers.mirror import Mirror
from git_nn.drivers.process import keep_freed_buffers
from git_nn.errors import GitNNError
from git_nn.formats.base import BytesSource, Source
from git_nn.gitio import revisions
from git_nn.gitio.objects import Reader
from git_nn.gitio.repository import Repository
from git_nn.objects import pointer as pointers
from git_nn.objects.pointer import Pointer, looks_like_pointer
from git_nn.objects.skeleton import Blob
from git_nn.remembered import recall, remember
from git_nn.smudge import load_skeleton
from git_nn.store.base import Store
from git_nn.store.hashing import HashOnly
from git_nn.store.local import LocalStore

# Commands that compare content and write no blob, and start nothing that could.
_LOOKING = frozenset({"status", "diff"})
_TEXTCONV = re.compile(rb"format \S+\ncontainer [0-9a-f]{12}\n|no known format: ")
_WORTH_A_BASE = 64 * 1024  # bytes; below, looking for a similar file costs more than it saves

Pieces = Iterable[bytes | bytearray | memoryview]


@dataclass
class Cleaner:
    """For one git command in one repository."""

    repo: Repository
    store: LocalStore
    objects: Reader
    command: Command
    in_memory: int = IN_MEMORY
    cleaned: dict[bytes, Pointer] = field(default_factory=dict)

    def clean(self, path: bytes, content: Iterable[bytes]) -> Pieces:
        rest: Iterator[bytes | bytearray] = iter(content)
        start = _start_of(rest, self.in_memory)
        if len(start) <= self.in_memory:
            return self._clean(path, BytesSource(start))
        keep_freed_buffers()
        with mirror.opened(self.repo, path) as file:
            if file is None or not file.follow([start]):
                return self._clean_collected(path, chain([start], rest))
            answer = self._clean_mirrored(path, file, rest)
            return answer or self._clean_collected(path, chain(file.so_far(), rest))

    def _clean_collected(self, path: bytes, content: Iterable[bytes | bytearray]) -> Pieces:
        with collected(content, self.repo.nn_dir) as source:
            return self._clean(path, source)

    def _clean_mirrored(
        self, path: bytes, file: Mirror, rest: Iterable[bytes | bytearray]
    ) -> Pieces | None:
        """The answer for the work-tree file; None where it is not what Git sends."""
        with ThreadPoolExecutor(1, "git-nn-clean") as worker:
            answer = worker.submit(self._clean, path, file.source, file)
            if file.follow(rest) and file.is_whole():
                return answer.result()
        return None

    def _clean(self, path: bytes, source: Source, file: Mirror | None = None) -> Pieces:
        head = source.read(0, min(source.size, 4096))
        if looks_like_pointer(head):
            text = source.read(0, min(source.size, pointers.MAX_SIZE + 1))
            return [pointers.render(pointers.parse(text))]
        before = earlier.in_index(self.objects, path)
        if self._stays_as_it_is(path, source, head):
            return passed_through(source)
        cleaned = self._recalled(file, before) or self._stored(path, source, before)
        for note in cleaned.notes:
            print(f"git-nn: {os.fsdecode(path)}: {note}", file=sys.stderr)
        if file is not None and file.is_settled() and file.is_unchanged() and not cleaned.notes:
            remember(self.store.root, file.path, file.status, before, cleaned.pointer)
        self.cleaned[path] = cleaned.pointer
        return [pointers.render(cleaned.pointer)]

    def _stays_as_it_is(self, path: bytes, source: Source, head: bytes) -> bool:
        if not source.size:
            return True
        return self._is_text_for_blame(head) or self._is_raw_in_git(path, source)

    def _is_text_for_blame(self, head: bytes) -> bool:
        """Whether this is the output of our own textconv on its way through 'git blame'.

        For a work-tree file blame cleans what textconv made of it (Git 2.39,
        blame.c fake_working_tree_commit), then compares it with the text of commits.
        """
        return self.command.name in ("blame", "annotate") and bool(_TEXTCONV.match(head))

    def _is_raw_in_git(self, path: bytes, source: Source) -> bool:
        """Whether Git already holds exactly this content as a raw blob for ``path``.

        A file that was committed before it was tracked stays unmodified until somebody
        changes it or asks for 'git add --renormalize'; otherwise 'git status' would be
        dirty in every fresh clone (git-lfs #1939).
        """
        info = self.objects.info(f":{os.fsdecode(path)}")
        if info is None or info[1] != "blob" or info[2] != source.size:
            return False
        if "--renormalize" in self.command.arguments:
            return False
        return _blob_id(source, len(info[0])) == info[0]

    # -- what was cleaned before, and what is new ------------------------------------------

    @cached_property
    def _only_looking(self) -> bool:
        return self.command.name in _LOOKING

    @cached_property
    def _listed(self) -> Mapping[bytes, str]:
        return {entry.path: entry.oid for entry in revisions.index(self.repo)}

    def _recalled(self, file: Mirror | None, before: Pointer | None) -> Cleaned | None:
        if file is None or not file.is_settled():
            return None
        pointer = recall(self.store.root, file.path, file.status, before)
        if pointer is None or not (self._only_looking or self._has(pointer)):
            return None
        return Cleaned(pointer)

    def _has(self, pointer: Pointer) -> bool:
        """Whether the store has all of it, and keeps it for gc's grace time from now on."""
        try:
            skeleton = load_skeleton(pointer, self.store)
        except GitNNError:
            return False
        blobs = [run.oid for run in skeleton.runs if isinstance(run, Blob)]
        tensors = [entry.oid for entry in pointer.stored.values()]
        return self.store.rely([pointer.skeleton, *blobs, *tensors])

    def _stored(self, path: bytes, source: Source, before: Pointer | None) -> Cleaned:
        store: Store = HashOnly(self.store) if self._only_looking else self.store
        likely = None
        if before is None and source.size >= _WORTH_A_BASE and not self._only_looking:
            likely = earlier.likely(self.objects, path, self._listed, self.cleaned)
        return clean(source, store, before, likely, Folder(self.repo.top / os.fsdecode(path)))


def _start_of(content: Iterator[bytes | bytearray], enough: int) -> bytearray:
    """All of the content, or a little more than ``enough`` of it."""
    start = bytearray()
    for piece in content:
        start += piece
        if len(start) > enough:
            break
    return start


def _blob_id(source: Source, hex_length: int) -> str:
    """Git's own id of the content as a blob; SHA-1 or SHA-256 by the length of the ids."""
    hasher = hashlib.sha256() if hex_length == 64 else hashlib.sha1(usedforsecurity=False)
    hasher.update(b"blob %d\0" % source.size)
    for piece in all_of(source):
        hasher.update(piece)
    return hasher.hexdigest()
