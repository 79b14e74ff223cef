"""Writes files as torch.save does, without torch: pickle opcodes and zip headers by hand.

Independent of git_nn, so that unit tests have torch files of any shape. The interop tests
hold the same code against files of the real library.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

_STORAGES = {
    "f32": "FloatStorage", "f64": "DoubleStorage", "f16": "HalfStorage", "bf16": "BFloat16Storage",
    "i64": "LongStorage", "i32": "IntStorage", "i8": "CharStorage", "u8": "ByteStorage",
    "bool": "BoolStorage", "c64": "ComplexFloatStorage",
}  # fmt: skip
SIZES = {
    "f32": 4, "f64": 8, "f16": 2, "bf16": 2, "i64": 8, "i32": 4, "i8": 1, "u8": 1, "bool": 1,
    "c64": 8,
}  # fmt: skip


@dataclass(frozen=True)
class G:
    """A global."""

    module: str
    name: str


@dataclass(frozen=True, eq=False)
class R:
    """A call of a global with arguments; then items, then a state."""

    function: Any
    args: tuple[Any, ...] = ()
    items: Mapping[Any, Any] = field(default_factory=dict)
    state: Any = None


@dataclass(frozen=True, eq=False)
class S:
    """A storage: a member of its own in the zip file."""

    key: str
    dtype: str
    data: bytes

    @property
    def id(self) -> tuple[Any, ...]:
        kind = G("torch", _STORAGES[self.dtype])
        return ("storage", kind, self.key, "cpu", len(self.data) // SIZES[self.dtype])


def ordered(items: Mapping[Any, Any], state: Any = None) -> R:
    return R(G("collections", "OrderedDict"), (), items, state)


def tensor(
    storage: Any, shape: tuple[int, ...], strides: tuple[int, ...] | None = None, offset: int = 0
) -> R:
    args = (storage, offset, shape, contiguous(shape) if strides is None else strides)
    return R(G("torch._utils", "_rebuild_tensor_v2"), (*args, False, ordered({})))


def contiguous(shape: tuple[int, ...]) -> tuple[int, ...]:
    strides = []
    step = 1
    for dim in reversed(shape):
        strides.append(step)
        step *= max(dim, 1)
    return tuple(reversed(strides))


def parameter(data: R) -> R:
    return R(G("torch._utils", "_rebuild_parameter"), (data, True, ordered({})))


def dumps(value: Any) -> bytes:
    """A protocol 2 pickle of plain values, G, R and S; an R that is there twice is memoised."""
    memo: dict[int, bytes] = {}
    return b"\x80\x02" + _emit(value, memo) + b"."


def _emit(value: Any, memo: dict[int, bytes]) -> bytes:  # noqa: C901, PLR0912
    match value:
        case None:
            return b"N"
        case bool():
            return b"\x88" if value else b"\x89"
        case int():
            size = value.bit_length() // 8 + 1
            return b"\x8a" + bytes([size]) + value.to_bytes(size, "little", signed=True)
        case float():
            return b"G" + struct.pack(">d", value)
        case str():
            raw = value.encode("utf-8", "surrogatepass")
            return b"X" + struct.pack("<I", len(raw)) + raw
        case bytes():
            return b"B" + struct.pack("<I", len(value)) + value
        case tuple():
            return b"(" + b"".join(_emit(item, memo) for item in value) + b"t"
        case list():
            return b"](" + b"".join(_emit(item, memo) for item in value) + b"e"
        case dict():
            return b"}" + _items(value, memo)
        case G(module, name):
            return f"c{module}\n{name}\n".encode()
        case S():
            return _emit(value.id, memo) + b"Q"
        case R():
            if id(value) in memo:
                return memo[id(value)]
            code = _emit(value.function, memo) + _emit(value.args, memo) + b"R"
            number = struct.pack("<I", len(memo))
            memo[id(value)] = b"j" + number
            code += b"r" + number + (_items(value.items, memo) if value.items else b"")
            return code + (_emit(value.state, memo) + b"b" if value.state is not None else b"")
    raise TypeError(value)


def _items(items: Mapping[Any, Any], memo: dict[int, bytes]) -> bytes:
    pairs = (_emit(key, memo) + _emit(value, memo) for key, value in items.items())
    return b"(" + b"".join(pairs) + b"u"


def storages(value: Any) -> dict[str, S]:
    """Every storage in ``value``, by key."""
    match value:
        case S():
            return {value.key: value}
        case R():
            parts: Iterable[Any] = (*value.args, *value.items.values(), value.state)
        case dict():
            parts = value.values()
        case list() | tuple():
            parts = value
        case _:
            parts = ()
    return {key: one for part in parts for key, one in storages(part).items()}


def save(value: Any, *, root: str = "archive", byteorder: str = "little") -> bytes:
    """What ``torch.save(value, ROOT.pt)`` writes."""
    members = {
        "data.pkl": dumps(value),
        ".format_version": b"1",
        ".storage_alignment": b"64",
        "byteorder": byteorder.encode(),
        **{f"data/{key}": one.data for key, one in storages(value).items()},
        "version": b"3\n",
    }
    members[".data/serialization_id"] = b"12345678901234567890" + _combined(members.values())
    return archive({f"{root}/{name}": data for name, data in members.items()})


def save_legacy(value: Any, *, keys: Mapping[str, str] | None = None) -> bytes:
    """What torch.save wrote before 1.6; ``keys`` are the addresses of the storages, in memory."""
    found = storages(value)
    renamed = {key: (keys or {}).get(key, f"9{key}") for key in found}
    info = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "long": 4}}
    pickles = [0x1950A86A20F9469CFC6C, 1001, info, _addressed(value, renamed, {})]
    out = b"".join(map(dumps, [*pickles, sorted(renamed.values())]))
    for key in sorted(found, key=lambda key: renamed[key]):
        data = found[key].data
        out += struct.pack("<q", len(data) // SIZES[found[key].dtype]) + data
    return out


@dataclass(frozen=True, eq=False)
class _Address(S):
    """A storage as files of before 1.6 name it."""

    @property
    def id(self) -> tuple[Any, ...]:
        return (*super().id, None)


def _addressed(value: Any, keys: Mapping[str, str], seen: dict[int, Any]) -> Any:
    """``value`` with other keys, which was there twice where it was."""
    if id(value) in seen:
        return seen[id(value)]

    def of(part: Any) -> Any:
        return _addressed(part, keys, seen)

    match value:
        case S() if type(value) is S:
            made: Any = _Address(keys[value.key], value.dtype, value.data)
        case R():
            items = {key: of(item) for key, item in value.items.items()}
            made = R(value.function, tuple(map(of, value.args)), items, of(value.state))
        case dict():
            made = {key: of(item) for key, item in value.items()}
        case list() | tuple():
            made = type(value)(map(of, value))
        case _:
            return value
    return seen.setdefault(id(value), made)


def _combined(contents: Iterable[bytes]) -> bytes:
    """The second half of a serialization id: the hash_combine of all CRC-32s so far."""
    seed = 0
    for content in contents:
        seed ^= (zlib.crc32(content) + 0x9E3779B9 + (seed << 6) + (seed >> 2)) % 2**64
        seed %= 2**64
    return b"%020d" % seed


def archive(members: Mapping[str, bytes]) -> bytes:
    """A zip as torch's writer makes it: stored, aligned to 64, descriptors, a zip64 end."""
    out, directory = bytearray(), bytearray()
    for text, data in members.items():
        name, crc, at = text.encode(), zlib.crc32(data), len(out)
        room = -(at + 30 + len(name) + 4) % 64
        extra = b"FB" + struct.pack("<H", room) + b"Z" * room
        head = struct.pack("<2H", 0x0808, 0)
        out += b"PK\x03\x04" + struct.pack("<H", 0) + head + bytes(4) + bytes(12)
        out += struct.pack("<2H", len(name), len(extra)) + name + extra + data
        out += b"PK\x07\x08" + struct.pack("<3I", crc, len(data), len(data))
        directory += b"PK\x01\x02" + struct.pack("<2H", 0, 0) + head + bytes(4)
        directory += struct.pack("<3I5H2I", crc, len(data), len(data), len(name), 0, 0, 0, 0, 0, at)
        directory += name
    start, end = len(out), len(out) + len(directory)
    count, size = len(members), len(directory)
    out += directory
    out += b"PK\x06\x06" + struct.pack("<Q2H2I4Q", 44, 0x031E, 45, 0, 0, count, count, size, start)
    out += b"PK\x06\x07" + struct.pack("<IQI", 0, end, 1)
    out += b"PK\x05\x06" + struct.pack("<4H2IH", 0, 0, count, count, size, start, 0)
    return bytes(out)
