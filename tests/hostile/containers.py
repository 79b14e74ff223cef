"""safetensors, npy, GGUF and Flax files whose counts, sizes, nesting or headers attack."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping
from typing import Any

import msgpack

from tests.support import flax_file, gguf_file

Row = Callable[[], bytes]


def _safetensors(header: Any, data: bytes = bytes(64), length: int | None = None) -> Row:
    def made() -> bytes:
        text = header if isinstance(header, bytes) else json.dumps(header).encode()
        return struct.pack("<Q", len(text) if length is None else length) + text + data

    return made


def _entry(shape: Any = (4,), offsets: Any = (0, 16), dtype: Any = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


_W = b'"w":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}'

SAFETENSORS: Mapping[str, Row] = {
    "a header of 2**63 bytes": _safetensors(b"{}", length=2**63),
    "a header of 2**64 - 1 bytes": _safetensors(b"{}", length=2**64 - 1),
    "a header longer than the file": _safetensors(b"{}", length=1000),
    "a header of 100 MB of spaces": _safetensors(b"{" + b" " * 99_999_998 + b"}"),
    "a header of 30 MB of lists": _safetensors(b'{"a":' + b"[" * 30_000_000),
    "a header of 17 MB of numbers": _safetensors(b'{"a":[' + b"1," * 8_500_000 + b"1]}"),
    "overlapping tensors": _safetensors({"a": _entry(), "b": _entry((4,), (8, 24))}),
    "a tensor in another": _safetensors({"a": _entry(), "b": _entry((1,), (4, 8))}),
    "one range for a thousand names": _safetensors({str(i): _entry() for i in range(1000)}),
    "one range for two dtypes": _safetensors({"a": _entry(), "b": _entry((16,), (0, 16), "U8")}),
    "a name twice": _safetensors(b"{" + _W + b"," + _W + b"}"),
    "a shape of 2**80": _safetensors({"w": _entry((2**80,))}),
    "a shape of 2**40 by 2**40 by 0": _safetensors({"w": _entry((2**40, 2**40, 0), (0, 0))}),
    "sizes that overflow to 16": _safetensors({"w": _entry((2**62, 4, 4))}),
    "a rank of 100,000": _safetensors({"w": _entry((1,) * 100_000, (0, 4))}),
    "negative offsets": _safetensors({"w": _entry((4,), (-16, 0))}),
    "offsets in the wrong order": _safetensors({"w": _entry((4,), (16, 0))}),
    "offsets of floats": _safetensors({"w": _entry((4,), (0.0, 16.0))}),
    "offsets of bools": _safetensors({"w": _entry((1,), (False, True), "U8")}),
    "offsets of text": _safetensors({"w": _entry((4,), ("0", "16"))}),
    "offsets that are a dict": _safetensors({"w": _entry((4,), {"0": 16, "1": 2})}),
    "three offsets": _safetensors({"w": _entry((4,), (0, 8, 16))}),
    "offsets of 2**64": _safetensors({"w": _entry((4,), (2**64, 2**64 + 16))}),
    "offsets of 5000 digits": _safetensors(b'{"w":' + b"9" * 5000 + b"}"),
    "an offset of infinity": _safetensors(_W.join((b"{", b"}")).replace(b"16]", b"1e999]")),
    "an offset that is no number": _safetensors(_W.join((b"{", b"}")).replace(b"16]", b"NaN]")),
    "negative dimensions": _safetensors({"w": _entry((-2, -2))}),
    "a shape of bools": _safetensors({"w": _entry((True, 4))}),
    "a shape of lists": _safetensors({"w": _entry(([4],))}),
    "a dtype that is a list": _safetensors({"w": _entry(dtype=["F32"])}),
    "a dtype that names a module": _safetensors({"w": _entry(dtype="os.system")}),
    "JSON 100,000 deep": _safetensors(b'{"a":' * 100_000),
    "JSON with brackets 1,000,000 deep": _safetensors(b'{"a":' + b"[" * 1_000_000),
    "surrogates for names": _safetensors(b"{" + _W.replace(b'"w"', b'"\\ud800"') + b"}"),
    "UTF-16": _safetensors(json.dumps({"w": _entry()}).encode("utf-16")),
    "metadata 1 MB long": _safetensors({"__metadata__": {"a": "b" * 1_000_000}, "w": _entry()}),
    "metadata that are numbers": _safetensors({"__metadata__": {"a": 1}, "w": _entry()}),
    "a tensor called __metadata__": _safetensors({"__metadata__": _entry()}),
    "12,000 tensors of no bytes": _safetensors(
        {str(i): _entry((0,), (0, 0)) for i in range(12_000)}
    ),
}  # fmt: skip


def _npy(text: bytes, version: bytes = b"\1\0", length: int | None = None) -> Row:
    size = "<H" if version == b"\1\0" else "<I"

    def made() -> bytes:
        said = struct.pack(size, len(text) if length is None else length)
        return b"\x93NUMPY" + version + said + text + bytes(64)

    return made


def _header(shape: str = "(4,)", descr: str = "'<f4'", order: str = "False") -> bytes:
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n".encode()


_CODE = "__import__('os').system('echo > git_nn_was_here')"

NPY: Mapping[str, Row] = {
    "code for a header": _npy(_CODE.encode()),
    "code for a shape": _npy(_header(_CODE)),
    "code for a dtype": _npy(_header(descr=_CODE)),
    "a list comprehension": _npy(_header("tuple(0 for _ in range(10**9))")),
    "a power tower": _npy(_header("(9**9**9,)")),
    "a product of texts": _npy(_header("('a'*10**10,)")),
    "30,000 parentheses": _npy(b"(" * 30_000),
    "100,000 parentheses": _npy(b"(" * 100_000, b"\2\0"),
    "100,000 brackets in a shape": _npy(_header("(" + "[" * 100_000), b"\2\0"),
    "100,000 minus signs": _npy(_header("(" + "-" * 100_000 + "4,)"), b"\2\0"),
    "a header of 4 GB": _npy(_header(), b"\2\0", 2**32 - 1),
    "a header of a megabyte": _npy(_header() + b" " * 1_000_000, b"\3\0"),
    "a header longer than the file": _npy(_header(), length=60_000),
    "no header": _npy(b""),
    "version 9": _npy(_header(), b"\x09\0"),
    "a shape of 2**80": _npy(_header(f"({2**80},)")),
    "a shape of 5000 digits": _npy(_header("(" + "9" * 5000 + ",)")),
    "sizes that overflow to 16": _npy(_header(f"({2**62}, 4, 4)")),
    "a negative shape": _npy(_header("(-4,)")),
    "a shape of bools": _npy(_header("(True, 4)")),
    "a shape of floats": _npy(_header("(4.0,)")),
    "a rank of 20,000": _npy(_header("(" + "1," * 20_000 + ")")),
    "objects": _npy(_header(descr="'|O'")),
    "a record of 3000 fields": _npy(_header(descr=str([(f"f{i}", "<f4") for i in range(3000)]))),
    "a record in a record, 2000 deep": _npy(_header(descr="[('a', " * 2000)),
    "an element of 2**31 bytes": _npy(_header(descr="'|V2147483647'")),
    "a dtype of 50,000 characters": _npy(_header(descr="'<f" + "4" * 50_000 + "'")),
    "keys twice": _npy(b"{'shape': (4,), " + _header()[1:]),
    "another key": _npy(b"{'extra': 1, " + _header()[1:]),
    "text that is no ASCII": _npy(_header().replace(b"f4", b"\xff4")),
    "a zero in the header": _npy(_header().replace(b" ", b"\0")),
}  # fmt: skip


def _gguf(tensors: int, pairs: int, *rest: bytes, version: int = 3) -> Row:
    head = b"GGUF" + struct.pack("<IQQ", version, tensors, pairs)
    return lambda: head + b"".join(rest) + bytes(200)


def _array(kind: int, count: int, content: bytes = b"", key: str = "a") -> bytes:
    return gguf_file.text(key) + struct.pack("<IIQ", 9, kind, count) + content


_info = gguf_file.info
_align = gguf_file.pair

GGUF: Mapping[str, Row] = {
    "2**60 tensors": _gguf(2**60, 0),
    "2**60 pairs": _gguf(0, 2**60),
    "a million tensors in 200 bytes": _gguf(1_000_000, 0),
    "an array of 2**62": _gguf(0, 1, _array(0, 2**62)),
    "an array of texts of 2**62": _gguf(0, 1, _array(8, 2**62)),
    "a text of 2**63": _gguf(0, 1, struct.pack("<Q", 2**63)),
    "arrays 50,000 deep": _gguf(0, 1, gguf_file.text("a") + struct.pack("<I", 9),
                                struct.pack("<IQ", 9, 1) * 50_000),
    "100,000 empty texts": _gguf(0, 1, _array(8, 100_000, bytes(800_000))),
    "an unknown kind of value": _gguf(0, 1, gguf_file.text("a") + struct.pack("<I", 99)),
    "a key twice": _gguf(0, 2, _align("a", "u32", 1), _align("a", "u32", 2)),
    "an alignment of 0": _gguf(0, 1, _align("general.alignment", "u32", 0)),
    "an alignment of 3": _gguf(0, 1, _align("general.alignment", "u32", 3)),
    "an alignment of 2**31": _gguf(1, 1, _align("general.alignment", "u32", 2**31),
                                   _info("w", 0, (4,), 0)),
    "an alignment that is a text": _gguf(0, 1, _align("general.alignment", "string", "32")),
    "a rank of 2**32 - 1": _gguf(1, 0, gguf_file.text("w") + b"\xff" * 4),
    "dimensions that overflow to 16": _gguf(1, 0, _info("w", 0, (2**62, 4, 4), 0)),
    "a dimension of 2**64 - 1": _gguf(1, 0, _info("w", 0, (2**64 - 1,), 0)),
    "an offset of 2**64 - 16": _gguf(1, 0, _info("w", 0, (4,), 2**64 - 16)),
    "an odd offset": _gguf(1, 0, _info("w", 0, (4,), 3)),
    "an unknown type": _gguf(1, 0, _info("w", 77, (4,), 0)),
    "overlapping tensors": _gguf(2, 0, _info("a", 0, (16,), 0), _info("b", 0, (16,), 32)),
    "one range for two names": _gguf(2, 0, _info("a", 0, (4,), 0), _info("b", 0, (4,), 0)),
    "a name twice": _gguf(2, 0, _info("a", 0, (4,), 0), _info("a", 0, (4,), 32)),
    "20,000 tensors of no bytes": _gguf(
        20_000, 0, *(_info(str(i), 0, (0,), 0) for i in range(20_000))
    ),
    "blocks that are not whole": _gguf(1, 0, _info("w", 2, (33,), 0)),
    "version 2**32 - 1": _gguf(0, 0, version=2**32 - 1),
    "version 1": _gguf(1, 1, version=1),
}  # fmt: skip


def _ext(content: bytes, kind: int = 1) -> bytes:
    return b"\xc9" + struct.pack(">Ib", len(content), kind) + content


_GOOD = flax_file.to_bytes({"w": flax_file.ndarray((4,), "float32", bytes(16))})


def _flax(value: bytes) -> Row:
    """A good array, and then this."""
    return lambda: b"\x82" + _GOOD[1:] + b"\xa1x" + value


def _leaf(*parts: Any) -> Row:
    return lambda: flax_file.to_bytes({"w": flax_file.ndarray(*parts)})


def _long_names() -> bytes:
    leaf = flax_file.to_bytes(flax_file.ndarray((0,), "float32", b""))
    return b"\x81" + msgpack.packb("n" * 4000) + b"\xdd" + struct.pack(">I", 40_000) + leaf * 40_000


FLAX: Mapping[str, Row] = {
    "a map of 2**32 - 1": lambda: b"\xdf\xff\xff\xff\xff" + _GOOD[1:],
    "an array of 2**32 - 1": _flax(b"\xdd\xff\xff\xff\xff"),
    "a text of 4 GB": _flax(b"\xdb\xff\xff\xff\xff"),
    "bytes of 4 GB": _flax(b"\xc6\xff\xff\xff\xff"),
    "an extension of 4 GB": _flax(b"\xc9\xff\xff\xff\xff\x01\x93"),
    "lists 100,000 deep": _flax(b"\x91" * 100_000 + b"\xc0"),
    "maps 100,000 deep": _flax(b"\x81\xa1a" * 100_000 + b"\xc0"),
    "extensions in extensions": _flax(_ext(b"\x93" + _ext(b"\x93" * 100) * 3)),
    "a million nothings": _flax(b"\xdd" + struct.pack(">I", 1_000_000) + b"\xc0" * 1_000_000),
    "a million empty lists": _flax(b"\xdd" + struct.pack(">I", 1_000_000) + b"\x90" * 1_000_000),
    "a shape of 2**32 - 1 dimensions": _flax(_ext(b"\x93\xdd\xff\xff\xff\xff")),
    "a shape of 2**64 - 1": _leaf((2**64 - 1,), "float32", b""),
    "sizes that overflow to 16": _leaf((2**62, 4, 4), "float32", bytes(16)),
    "a negative shape": _leaf((-4,), "float32", bytes(16)),
    "a shape of bools": _leaf((True, 4), "float32", bytes(16)),
    "a dtype of objects": _leaf((1,), "object", bytes(8)),
    "a dtype that names a module": _leaf((4,), "os.system", bytes(16)),
    "names that add up to a gigabyte": _long_names,
    "a chunked array with itself for a shape": lambda: flax_file.to_bytes(
        {"w": {"__msgpack_chunked_array__": True, "shape": {"0": 2**63}, "chunks": {"0": 5}}}
    ),
    "150 chunked arrays in one another": _flax(
        b"\x82\xb9__msgpack_chunked_array__\xc3\xa1a" * 150 + b"\xc0"
    ),
    "a name twice": lambda: b"\x82" + _GOOD[1:] + _GOOD[1:],
    "two maps": lambda: _GOOD + _GOOD,
}  # fmt: skip
