"""Puts stat data into Git's index, for files that we wrote or read ourselves.

Git takes a file as unchanged while its stat data agree with the index, and as changed
without a further look where the size differs. After ``refresh`` it need not clean a
large file again to learn that we wrote exactly the content of its entry. The format is
Documentation/gitformat-index (versions 2 to 4).

1. Only the stat fields of stage-0 entries change; all else stays byte for byte.
2. Stat data are written only for files that still are as the caller left them. Until
   the second of their mtime is over Git takes them as racy and cleans them once more;
   where that would cost more than waiting, the index is written when it is over.
3. Entries of files that somebody touched since get no stat data at all; that is Git's
   own sign for "compare the contents". So do all entries of an index that we do not
   understand, then by git itself. An index that stays locked is left alone.
"""

from __future__ import annotations

import hashlib
import os
import stat
import struct
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from git_nn.errors import GitError
from git_nn.gitio.repository import Repository
from git_nn.gitio.revisions import index

_HEADER = struct.Struct(">4sLL")
_STAT = struct.Struct(">10L")
_FIXED = _STAT.size
_EXTENDED, _STAGE = 0x4000, 0x3000
_INTENT_TO_ADD = 0x2000
_LOCK_PATIENCE = 1.0
_WAIT_LIMIT = 1.1
_CLEAN_SPEED = 400e6  # bytes per second, through Git's pipe
_WORD = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Written:
    """A file as its writer left it: ``stat`` after its last change, and its blob's content."""

    stat: os.stat_result
    blob: bytes


@dataclass(frozen=True, slots=True)
class _Place:
    """Where an entry stands in the index; usable: merged, and really added."""

    at: int
    path: bytes
    oid: bytes
    usable: bool


class _UnknownError(Exception):
    """The index is of a kind that we do not change."""


def refresh(
    repo: Repository, paths: Sequence[bytes], written: Mapping[bytes, Written] | None = None
) -> bool:
    """Tell the index that the files at ``paths`` are what their entries say.

    With ``written``, a file that changed since is one whose content Git has to compare,
    and an entry that names another blob by now is passed over. True where the index
    was changed.
    """
    if repo.work_tree is None:
        return False
    top = repo.work_tree
    before = {path: _lstat(top, path) for path in paths}
    for path, known in (written or {}).items():
        if path in before:
            before[path] = known.stat
    _wait_for_next_second(before)
    after = {path: _lstat(top, path) for path in paths}
    targets = {
        path: found if _same(found, before[path]) else None
        for path, found in after.items()
        if found is not None
    }
    blobs = {
        path: _blob_name(known.blob, repo.object_format) for path, known in (written or {}).items()
    }
    return bool(targets) and _rewrite(repo, targets, blobs)


def forget(repo: Repository, texts: Mapping[bytes, bytes]) -> bool:
    """Drop the stat data of entries whose blobs are ``texts``, before their files change.

    Whoever is killed between writing a file and ``refresh`` then leaves an entry whose
    content Git compares, not one that it takes for modified because the size differs.
    """
    blobs = {path: _blob_name(text, repo.object_format) for path, text in texts.items()}
    return bool(texts) and _rewrite(repo, dict.fromkeys(texts), blobs)


def unchanged(repo: Repository, paths: Sequence[bytes]) -> set[bytes]:
    """Those of ``paths`` whose files are what the index says, by their stat data alone.

    None that changed in the second in which the index was written, and none at all where
    we do not understand the index: a file that is not among them may be unchanged, too.
    """
    if repo.work_tree is None:
        return set()
    size = hashlib.new(repo.object_format, usedforsecurity=False).digest_size
    try:
        written = repo.index_file.stat().st_mtime_ns // 10**9
        data = bytearray(repo.index_file.read_bytes())
        places = {place.path: place for place in _entries(data, size) if place.usable}
    except (OSError, _UnknownError, struct.error, IndexError, ValueError):
        return set()
    found = set()
    for path in places.keys() & set(paths):
        file = _lstat(repo.work_tree, path)
        if file is None or not file.st_size or file.st_mtime_ns // 10**9 >= written:
            continue
        fields = _STAT.unpack_from(data, places[path].at)
        if fields == _stat_fields(file, fields[6]):
            found.add(path)
    return found


def _lstat(top: Path, path: bytes) -> os.stat_result | None:
    try:
        found = (top / os.fsdecode(path)).lstat()
    except OSError:
        return None
    return found if stat.S_ISREG(found.st_mode) else None


def _same(a: os.stat_result | None, b: os.stat_result | None) -> bool:
    if a is None or b is None:
        return False
    return (a.st_ino, a.st_dev, a.st_size, a.st_mtime_ns, a.st_ctime_ns) == (
        b.st_ino, b.st_dev, b.st_size, b.st_mtime_ns, b.st_ctime_ns,
    )  # fmt: skip


def _wait_for_next_second(stats: Mapping[bytes, os.stat_result | None]) -> None:
    """Let the second of the newest file pass, unless cleaning the files again costs less."""
    found = [one for one in stats.values() if one]
    newest = max((one.st_mtime_ns // 10**9 for one in found), default=0)
    patience = min(_WAIT_LIMIT, sum(one.st_size for one in found) / _CLEAN_SPEED)
    # File systems stamp with a clock that is up to 10 ms behind.
    ready = (newest + 1) * 10**9 + 15_000_000
    if ready - time.time_ns() > patience * 10**9:
        return
    deadline = time.monotonic() + _WAIT_LIMIT
    while (left := ready - time.time_ns()) > 0 and time.monotonic() < deadline:
        time.sleep(min(left / 10**9, 0.1))


def _rewrite(
    repo: Repository, targets: Mapping[bytes, os.stat_result | None], blobs: Mapping[bytes, bytes]
) -> bool:
    path = Path(os.path.realpath(repo.index_file))
    lock = path.with_name(path.name + ".lock")
    fd = _take(lock)
    if fd is None:
        return False
    try:
        with os.fdopen(fd, "wb") as file:
            data = bytearray(path.read_bytes())
            changed = _patch(data, targets, blobs, repo.object_format)
            if changed:
                file.write(data)
                file.flush()
                os.fchmod(file.fileno(), stat.S_IMODE(path.stat().st_mode))
                os.fsync(file.fileno())
        if changed:
            lock.replace(path)
        else:
            lock.unlink()
    except (_UnknownError, struct.error, IndexError, ValueError):
        lock.unlink()
        return _ask_git(repo, targets, blobs)
    except BaseException as error:
        # The rename is the last step that can fail: before it the lock is ours.
        lock.unlink(missing_ok=True)
        if isinstance(error, OSError):
            return False
        raise
    return changed


def _ask_git(
    repo: Repository, targets: Mapping[bytes, os.stat_result | None], blobs: Mapping[bytes, bytes]
) -> bool:
    """Have git drop the stat data of these entries: it compares contents at the next look."""
    try:
        lines = [
            f"{entry.mode} {entry.oid} 0\t".encode() + entry.path + b"\0"
            for entry in index(repo, list(targets))
            if entry.stage == 0
            and blobs.get(entry.path, bytes.fromhex(entry.oid)).hex() == entry.oid
        ]
        if lines:
            repo.git("update-index", "-z", "--index-info", stdin=b"".join(lines))
    except GitError:  # an index that git cannot read either, or that is locked again
        return False
    return bool(lines)


def _take(lock: Path) -> int | None:
    """Git's own lock: the file exists. None where another process keeps it."""
    deadline = time.monotonic() + _LOCK_PATIENCE
    while True:
        try:
            return os.open(lock, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        except FileExistsError:
            if time.monotonic() > deadline:
                return None
            time.sleep(0.02)
        except OSError:
            return None


def _patch(
    data: bytearray,
    targets: Mapping[bytes, os.stat_result | None],
    blobs: Mapping[bytes, bytes],
    object_format: str,
) -> bool:
    """Patch the index in place; whether any entry was changed."""
    size = hashlib.new(object_format, usedforsecurity=False).digest_size
    trailer = bytes(data[-size:])
    if trailer != _digest(data, size, object_format) and any(trailer):
        raise _UnknownError("damaged")
    patched = False
    for place in _entries(data, size):
        wanted = place.usable and place.path in targets
        if wanted and blobs.get(place.path, place.oid) == place.oid:
            _fill(data, place.at, targets[place.path])
            patched = True
    if any(trailer):  # all zero with index.skipHash
        data[-size:] = _digest(data, size, object_format)
    return patched


def _digest(data: bytearray, size: int, object_format: str) -> bytes:
    with memoryview(data) as view:
        return hashlib.new(object_format, view[:-size], usedforsecurity=False).digest()


def _blob_name(content: bytes, object_format: str) -> bytes:
    return hashlib.new(
        object_format, b"blob %d\0" % len(content) + content, usedforsecurity=False
    ).digest()


def _entries(data: bytearray, oid_size: int) -> list[_Place]:
    """Every entry, in order; _UnknownError where the index is of a special kind."""
    magic, version, count = _HEADER.unpack_from(data)
    if magic != b"DIRC" or version not in (2, 3, 4):
        raise _UnknownError("version")
    at, path = _HEADER.size, b""
    places = []
    for _ in range(count):
        flags_at = at + _FIXED + oid_size
        (flags,) = struct.unpack_from(">H", data, flags_at)
        name_at = flags_at + (4 if flags & _EXTENDED else 2)
        more = struct.unpack_from(">H", data, flags_at + 2)[0] if flags & _EXTENDED else 0
        path, after = _name(data, at, name_at, path if version == 4 else None)
        usable = not flags & _STAGE and not more & _INTENT_TO_ADD
        places.append(_Place(at, path, bytes(data[at + _FIXED : flags_at]), usable))
        at = after
    _check_extensions(data, at, len(data) - oid_size)
    return places


def _name(data: bytearray, start: int, at: int, previous: bytes | None) -> tuple[bytes, int]:
    """An entry's path and where the next entry starts; version 4 shares prefixes, unpadded."""
    if previous is None:
        end = data.index(b"\0", at)
        return bytes(data[at:end]), start + ((end - start + 8) & ~7)
    strip, at = _varint(data, at)
    if strip > len(previous):
        raise _UnknownError("damaged")
    end = data.index(b"\0", at)
    return previous[: len(previous) - strip] + bytes(data[at:end]), end + 1


def _varint(data: bytearray, at: int) -> tuple[int, int]:
    """Git's offset encoding: each continued group stands for one more than its bits."""
    byte = data[at]
    value = byte & 0x7F
    at += 1
    while byte & 0x80:
        byte = data[at]
        value = ((value + 1) << 7) | (byte & 0x7F)
        at += 1
    return value, at


def _check_extensions(data: bytearray, at: int, stop: int) -> None:
    """An extension whose name starts in lower case changes what entries mean."""
    while at < stop:
        signature, length = struct.unpack_from(">4sL", data, at)
        if not signature[:1].isupper() and signature != b"sdir":
            raise _UnknownError(signature.decode("latin-1"))
        at += 8 + length
    if at != stop:
        raise _UnknownError("damaged")


def _fill(data: bytearray, at: int, found: os.stat_result | None) -> None:
    mode = _STAT.unpack_from(data, at)[6]
    if found is None:
        _STAT.pack_into(data, at, 0, 0, 0, 0, 0, 0, mode, 0, 0, 0)
    else:
        _STAT.pack_into(data, at, *_stat_fields(found, mode))


def _stat_fields(found: os.stat_result, mode: int) -> tuple[int, ...]:
    """The fields as Git fills them (fill_stat_data in read-cache.c or statinfo.c)."""
    size = found.st_size & _WORD
    if found.st_size and not size:
        size = 0x80000000  # Git 2.43; before, such a file is cleaned again whatever stands here
    return (
        found.st_ctime_ns // 10**9 & _WORD, found.st_ctime_ns % 10**9,
        found.st_mtime_ns // 10**9 & _WORD, found.st_mtime_ns % 10**9,
        found.st_dev & _WORD, found.st_ino & _WORD, mode,
        found.st_uid & _WORD, found.st_gid & _WORD, size,
    )  # fmt: skip
