"""Zip files that lie, as PyTorch, numpy and Keras would have them."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from tests.support.models import h5_file
from tests.support.torch_file import S, dumps, tensor

Row = Callable[[], bytes]
_MAX = 0xFFFFFFFF


@dataclass(frozen=True)
class Member:
    """A member; what is not None is said in place of the truth, locally or in the directory."""

    name: bytes
    data: bytes
    method: int = 0
    flags: int = 0
    size: int | None = None
    packed: int | None = None
    offset: int | None = None
    local_name: bytes | None = None
    extra: bytes = b""
    local_extra: bytes = b""


def zipped(
    *members: Member,
    count: int | None = None,
    start: int | None = None,
    length: int | None = None,
    comment: bytes = b"",
    before_end: bytes = b"",
) -> bytes:
    """A zip file; ``count``, ``start`` and ``length`` are what its end says of the directory."""
    body, directory = b"", b""
    for m in members:
        crc = zlib.crc32(m.data) if m.method == 0 else 0
        size = len(m.data) if m.size is None else m.size
        packed = len(m.data) if m.packed is None else m.packed
        local = m.name if m.local_name is None else m.local_name
        fixed = struct.pack("<HHHHHIII", 20, m.flags, m.method, 0, 33, crc, packed, size)
        at = len(body) if m.offset is None else m.offset
        body += b"PK\x03\x04" + fixed + struct.pack("<HH", len(local), len(m.local_extra))
        body += local + m.local_extra + m.data
        directory += b"PK\x01\x02" + struct.pack("<H", 20) + fixed
        directory += struct.pack("<HHHHHII", len(m.name), len(m.extra), 0, 0, 0, 0, at)
        directory += m.name + m.extra
    said = len(members) if count is None else count
    end = struct.pack(
        "<HHHHIIH", 0, 0, said, said, len(directory) if length is None else length,
        len(body) if start is None else start, len(comment),
    )  # fmt: skip
    return body + directory + before_end + b"PK\x05\x06" + end + comment


def _npy(shape: str = "(6,)", data: bytes = bytes(24)) -> bytes:
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text) + 1) + text + b"\n" + data


def _torch() -> list[Member]:
    storage = S("0", "f32", bytes(range(24)))
    pickle = dumps({"w": tensor(storage, (6,))})
    return [Member(b"a/data.pkl", pickle), Member(b"a/data/0", storage.data)]


def _npz() -> list[Member]:
    return [Member(b"w.npy", _npy()), Member(b"b.npy", _npy())]


def _keras() -> list[Member]:
    weights = h5_file({"layers/dense/vars/0": np.zeros((3, 4), "f4")})
    config = b'{"class_name": "Sequential", "config": {"layers": []}}'
    return [
        Member(b"metadata.json", b'{"keras_version": "3.0.0"}'), Member(b"config.json", config),
        Member(b"model.weights.h5", weights),
    ]  # fmt: skip


CARRIERS: Mapping[str, Callable[[], list[Member]]] = {
    "torch": _torch, "npz": _npz, "keras": _keras,
}  # fmt: skip


def _with_last(members: list[Member], **said: object) -> bytes:
    return zipped(*members[:-1], replace(members[-1], **said))  # type: ignore[arg-type]


def _zip64(*numbers: int) -> bytes:
    return struct.pack(f"<HH{len(numbers)}Q", 1, 8 * len(numbers), *numbers)


def _end64(entries: int, length: int, start: int, at: int) -> bytes:
    record = b"PK\x06\x06" + struct.pack(
        "<QHHIIQQQQ", 44, 45, 45, 0, 0, entries, entries, length, start
    )
    return record + b"PK\x06\x07" + struct.pack("<IQI", 0, at, 1)


@cache
def bomb(size: int) -> bytes:
    """A deflate stream of so many zeros, 1000 times smaller."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = bytes(1 << 20)
    return b"".join(packer.compress(block) for _ in range(size >> 20)) + packer.flush()


def _bomb(members: list[Member], size: int = 1 << 28) -> bytes:
    return _with_last(members, data=bomb(size), method=8, size=size)


def _quoted(members: list[Member]) -> bytes:
    """Fifield's bomb: members that overlap, each over all the later ones."""
    last = members[-1]
    whole = zipped(last)
    lie = replace(last, data=b"", size=len(last.data), packed=len(last.data), offset=0)
    rows = [replace(lie, name=b"n%d" % i) for i in range(2000)]
    return zipped(*members[:-1], last, *rows) + whole


def _no_directory(members: list[Member]) -> bytes:
    whole = zipped(*members)
    return whole[: whole.index(b"PK\x01\x02")]


def _twice_ended(members: list[Member]) -> bytes:
    inner = zipped(*members)
    return zipped(*members[:-1], comment=inner[:60_000])


_ATTACKS: Mapping[str, Callable[[list[Member]], bytes]] = {
    "a size beyond the file": lambda m: _with_last(m, size=2**31, packed=2**31),
    "a size of 2**32 - 1 without zip64": lambda m: _with_last(m, size=_MAX, packed=_MAX),
    "a size into the directory": lambda m: _with_last(
        m, size=len(m[-1].data) + 40, packed=len(m[-1].data) + 40
    ),
    "two sizes that differ": lambda m: _with_last(m, size=1),
    "a zip64 size of 2**63": lambda m: _with_last(
        m, size=_MAX, packed=_MAX, extra=_zip64(2**63, 2**63), local_extra=_zip64(2**63, 2**63)
    ),
    "a zip64 field cut short": lambda m: _with_last(m, size=_MAX, extra=b"\1\0\x08\0abc"),
    "an extra field that leaves itself": lambda m: _with_last(m, extra=b"\1\0\xff\xff"),
    "the same name twice": lambda m: zipped(*m, m[-1]),
    "names that differ in case and slashes": lambda m: zipped(
        *m, replace(m[-1], name=m[-1].name.upper()), replace(m[-1], name=b"./" + m[-1].name)
    ),
    "two entries of one local header": lambda m: zipped(
        *m, replace(m[-1], name=m[-1].name + b"2", offset=0)
    ),
    "an entry inside another": lambda m: _with_last(m, offset=35),
    "an offset of 2**32 - 2": lambda m: _with_last(m, offset=_MAX - 1),
    "an offset at the directory": lambda m: _with_last(m, offset=zipped(*m).index(b"PK\x01\x02")),
    "another name in the local header": lambda m: _with_last(m, local_name=b"x" * len(m[-1].name)),
    "a name that climbs": lambda m: zipped(*m, Member(b"../../etc/passwd", b"root")),
    "an absolute name": lambda m: zipped(*m, Member(b"/etc/passwd", b"root")),
    "a name of a drive": lambda m: zipped(*m, Member(b"C:\\Windows\\win.ini", b"root")),
    "a name with a zero": lambda m: zipped(*m, Member(b"a\0.npy", _npy())),
    "a name of 60,000 bytes": lambda m: zipped(*m, Member(b"n" * 60_000 + b".npy", _npy())),
    "a name that is no text": lambda m: zipped(*m, Member(b"\xff\xfe.npy", _npy(), flags=0x800)),
    "an encrypted member": lambda m: _with_last(m, flags=1),
    "patched data": lambda m: _with_last(m, flags=0x20),
    "an unknown method": lambda m: _with_last(m, method=99),
    "a bomb of 256 MB": _bomb,
    "a bomb that says it is small": lambda m: _with_last(m, data=bomb(1 << 26), method=8, size=100),
    "a stream without an end": lambda m: _with_last(m, data=bomb(1 << 20)[:-9], method=8, size=100),
    "a deflated member that is none": lambda m: _with_last(m, method=8),
    "members that all overlap": _quoted,
    "a count of 65,534": lambda m: zipped(*m, count=65_534),
    "a count of nothing": lambda m: zipped(*m, count=0),
    "a directory of 4 GB": lambda m: zipped(*m, length=_MAX - 1),
    "a directory before the file": lambda m: zipped(*m, start=_MAX - 1),
    "a directory at the start": lambda m: zipped(*m, start=0),
    "zip64 with a count of 2**60": lambda m: zipped(
        *m, count=0xFFFF, before_end=_end64(2**60, 2**60, 0, len(zipped(*m)) - 22)
    ),
    "zip64 whose locator points at itself": lambda m: zipped(
        *m, count=0xFFFF, start=_MAX, before_end=_end64(2, 99, 0, len(zipped(*m)) + 34)
    ),
    "zip64 that points beyond the file": lambda m: zipped(
        *m, count=0xFFFF, start=_MAX, before_end=_end64(2, 99, 0, 2**63)
    ),
    "no directory": _no_directory,
    "a comment that is another zip": _twice_ended,
    "a comment longer than the file": lambda m: zipped(*m)[:-2] + b"\xff\xff",
    "a second zip behind the first": lambda m: zipped(*m) + zipped(*m),
    "6000 empty members": lambda m: zipped(
        *m, *(replace(m[-1], name=b"%05d.npy" % i, data=b"") for i in range(6000))
    ),
}  # fmt: skip

_OWN: Mapping[str, Row] = {
    "an npz with a shape of 2**80": lambda: zipped(Member(b"w.npy", _npy(f"({2**80},)"))),
    "an npz with code for a shape": lambda: zipped(
        Member(b"w.npy", _npy("__import__('os').system('echo > git_nn_was_here')"))
    ),
    "an npz with a header of deflated zeros": lambda: zipped(
        Member(b"w.npy", bomb(1 << 26), method=8, size=1 << 26)
    ),
    "a keras file with a bomb for its configuration": lambda: zipped(
        Member(b"metadata.json", b"{}"), *_keras()[2:],
        Member(b"config.json", bomb(1 << 28), method=8, size=1 << 28),
    ),
    "a keras file with JSON 100,000 deep": lambda: zipped(
        _keras()[0], Member(b"config.json", b'{"config":' * 100_000), _keras()[2]
    ),
    "a keras file with a Lambda layer": lambda: zipped(
        _keras()[0],
        Member(b"config.json", b'{"class_name": "Lambda", "config": {"function": {"class_name": '
               b'"__lambda__", "config": {"code": "4wEAAAA="}}}, "module": "os"}'),
        _keras()[2],
    ),
    "a keras file whose weights are a zip": lambda: zipped(
        *_keras()[:2], Member(b"model.weights.h5", zipped(*_keras()))
    ),
    "a zip in a zip in a zip": lambda: _nested(60),
    "an empty zip": zipped,
    "only an end, 10,000 times": lambda: zipped() * 10_000,
}  # fmt: skip


def _nested(levels: int) -> bytes:
    data = _npy()
    for _ in range(levels):
        data = zipped(Member(b"w.npy", data), Member(b"a/data.pkl", data[:100]))
    return data


ZIPS: Mapping[str, Row] = {
    **{
        f"{kind} with {name}": (lambda members=members, attack=attack: attack(members()))
        for kind, members in CARRIERS.items()
        for name, attack in _ATTACKS.items()
    },
    **_OWN,
}
