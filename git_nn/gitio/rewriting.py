"""rewriting: the same history with other files in it, object by object.

Commits, trees and tags are read and written as Git has them, so everything that is not named
here stays byte for byte: messages, authors, dates, encodings, modes, links, submodules, names
that are no UTF-8, headers that we do not know.

1. A tree of which no file changes keeps its name, and so does a commit whose tree and
   parents keep theirs. What stands before the first change is not rewritten.
2. A commit or tag that changes loses its signatures, which would not hold any more.
3. Memory grows with the commits and folders of history, not with its files.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from git_nn.errors import GitNNError
from git_nn.gitio.new_pack import NewPack
from git_nn.gitio.objects import Reader

_SIGNED = (b"gpgsig", b"gpgsig-sha256", b"mergetag")
_SIGNATURE = re.compile(rb"^-----BEGIN (PGP|SSH) SIGNATURE-----\n|^-----BEGIN (SIGNED|PGP) MESSAGE"
                        rb"-----\n", re.MULTILINE)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Item:
    """An entry of a tree: ``mode`` as Git writes it (100644, 40000), and the object's name."""

    mode: str
    name: bytes
    oid: str

    @property
    def is_folder(self) -> bool:
        return self.mode in ("40000", "040000")  # some old programs wrote the zero

    @property
    def is_file(self) -> bool:
        return self.mode.startswith("100")


class Edit(Protocol):
    """What changes. ``folder`` is '' for the top, else ends in a slash."""

    def reaches(self, folder: bytes) -> bool:
        """Whether anything in or below ``folder`` may change."""
        ...

    def files(self, folder: bytes, items: Sequence[Item], *, carried: bool) -> list[Item]:
        """The folder's entries as they are to be; folders below it are done already.

        ``carried`` is, at the top, whether something below it or in an ancestor was changed.
        """
        ...


@dataclass(slots=True)
class Rewriter:
    """Rewrites commits and tags, parents before children; ``commits`` are those that changed."""

    reader: Reader
    pack: NewPack
    edit: Edit
    commits: dict[str, str] = field(default_factory=dict)
    unsigned: int = 0
    _trees: dict[tuple[bytes, str, bool], str] = field(default_factory=dict)

    def commit(self, oid: str) -> str:
        """The new name of a commit; its parents were given before, or stay."""
        data = _read(self.reader, oid, "commit")
        header, _, message = data.partition(b"\n\n")
        fields = list(_fields(header))
        parents = [value.decode() for name, value in fields if name == b"parent"]
        tree = next(value.decode() for name, value in fields if name == b"tree")
        carried = any(parent in self.commits for parent in parents)
        new = self._tree(b"", tree, carried=carried)
        if new == tree and not carried:
            return oid
        changed = {b"tree " + tree.encode(): b"tree " + new.encode()}
        for parent in parents:
            name = self.commits.get(parent, parent)
            changed[b"parent " + parent.encode()] = b"parent " + name.encode()
        self.unsigned += any(name in _SIGNED[:2] for name, _ in fields)
        self.commits[oid] = self.pack.add("commit", _changed(header, changed) + message)
        return self.commits[oid]

    def tag(self, oid: str) -> str:
        """The new name of what a ref names: a commit, or a tag of one, however deep."""
        if oid in self.commits:
            return self.commits[oid]
        info = self.reader.info(oid)
        if info is None or info[1] != "tag":
            return oid
        data = _read(self.reader, oid, "tag")
        header, _, message = data.partition(b"\n\n")
        target = next(value.decode() for name, value in _fields(header) if name == b"object")
        new = self.tag(target)
        if new == target:
            return oid
        signature = _SIGNATURE.search(message)
        self.unsigned += signature is not None
        changed = {b"object " + target.encode(): b"object " + new.encode()}
        text = message[: signature.start()] if signature else message
        return self.pack.add("tag", _changed(header, changed) + text)

    def _tree(self, folder: bytes, oid: str, *, carried: bool) -> str:
        key = (folder, oid, carried)
        if key not in self._trees:
            self._trees[key] = self._edited(folder, oid, carried=carried)
        return self._trees[key]

    def _edited(self, folder: bytes, oid: str, *, carried: bool) -> str:
        before = list(_items(_read(self.reader, oid, "tree"), len(oid) // 2))
        items = []
        for item in before:
            inner = folder + item.name + b"/"
            if item.is_folder and self.edit.reaches(inner):
                tree = self._tree(inner, item.oid, carried=False)
                items += [replace(item, oid=tree)] if tree else []
            else:
                items.append(item)
        new = self.edit.files(folder, items, carried=carried or items != before)
        if new == before:
            return oid
        if folder and not new:
            return ""  # Git has no empty folders
        return self.pack.add("tree", _rendered(new))


def _read(reader: Reader, oid: str, kind: str) -> bytes:
    data = reader.read(oid)
    if data is None:
        raise GitNNError(f"Git has not the {kind} {oid[:12]}", hint="run 'git fsck'")
    return data


def _fields(header: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(name, value) of each header; lines that go on an earlier one belong to its value."""
    for name, _, value in _split(header):
        yield name, value


def _split(header: bytes) -> Iterator[tuple[bytes, bytes, bytes]]:
    for line in re.split(rb"\n(?! )", header):
        yield line.partition(b" ")


def _changed(header: bytes, lines: Mapping[bytes, bytes]) -> bytes:
    """A header with other ``lines`` and without signatures, and the empty line after it."""
    kept = [name + space + value for name, space, value in _split(header) if name not in _SIGNED]
    return b"\n".join(lines.get(line, line) for line in kept) + b"\n\n"


def _items(data: bytes, size: int) -> Iterator[Item]:
    at = 0
    while at < len(data):
        space = data.index(b" ", at)
        end = data.index(b"\0", space)
        oid = data[end + 1 : end + 1 + size]
        yield Item(data[at:space].decode(), data[space + 1 : end], oid.hex())
        at = end + 1 + size


def _rendered(items: Sequence[Item]) -> bytes:
    """A tree in Git's order, in which a folder's name ends in a slash."""
    ordered = sorted(items, key=lambda i: i.name + b"/" if i.is_folder else i.name)
    return b"".join(i.mode.encode() + b" " + i.name + b"\0" + bytes.fromhex(i.oid) for i in ordered)
