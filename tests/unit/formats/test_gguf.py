"""gguf: files written by hand from the specification, and by the gguf library."""

from __future__ import annotations

import random
import struct
import time
import zlib
from collections.abc import Mapping
from pathlib import Path

import gguf
import numpy as np
import pytest

from git_nn.formats import gguf as format_
from git_nn.formats import table
from git_nn.formats.base import BytesSource
from git_nn.objects.layout import Layout
from git_nn.objects.tensor import BLOCKS
from tests.contract.format_contract import FormatContract, Sample, Tensor, bounded_memory, survive
from tests.support.gguf_file import KINDS, Spec, info, pair, text, write

METADATA = {
    "general.architecture": ("string", "llama"),
    "general.name": ("string", "tiny é"),
    "general.file_type": ("u32", 15),
    "llama.rope.freq_base": ("f32", 10000.0),
    "some.flag": ("bool", True),
    "some.sizes": ("i32", [3, -1, 2]),
    "some.long": ("i64", -(2**40)),
    "nothing": ("string", []),
    "tokenizer.ggml.tokens": ("string", [f"▁word{i}" for i in range(300)] + [""]),
    "tokenizer.ggml.scores": ("f32", [-i / 3 for i in range(301)]),
}  # fmt: skip


def content(kind: str, shape: tuple[int, ...]) -> bytes:
    _, elements, size = KINDS[kind]
    return random.Random(kind).randbytes(int(np.prod(shape)) // elements * size)


def spec(kind: str, *shape: int) -> Spec:
    return kind, shape, content(kind, shape)


TENSORS = {
    "token_embd.weight": spec("q4_k", 3, 256), "blk.0.attn_q.weight": spec("q8_0", 5, 64),
    "blk.0.attn_norm.weight": spec("f32", 7), "blk.1.ffn_up.weight": spec("f16", 3, 5),
    "output.weight": spec("bf16", 2, 3, 5), "a.f64": spec("f64", 2), "a.i8": spec("i8", 3),
    "a.i16": spec("i16", 3), "a.i32": spec("i32", 3), "a.i64": spec("i64", 1),
    "é q8_k": spec("q8_k", 256), "scalar": spec("f32"), "empty": spec("f32", 0, 4),
}  # fmt: skip


def sample(tensors: Mapping[str, Spec], data: bytes) -> Sample:
    return Sample(data, {name: Tensor(str(k), s, raw) for name, (k, s, raw) in tensors.items()})


def layout_of(data: bytes) -> Layout:
    layout = table.detect(BytesSource(data))
    assert layout.format == "gguf", layout.notes
    return layout


class TestGguf(FormatContract):
    name = "gguf"

    def samples(self) -> dict[str, Sample]:
        aligned = {**METADATA, "general.alignment": ("u32", 128)}
        big = {
            "w": ("f32be", (2, 3), np.arange(6, dtype=">f4").tobytes()),
            "codes": ("i8", (3,), b"abc"),
            "half": ("u8", (8,), b"bf16 has"),
            "blocks": ("u8", (34,), content("q8_0", (32,))),
        }
        kinds = {"w": "f32", "codes": "i8", "half": "bf16", "blocks": "q8_0"}
        shapes = {"half": (4,), "blocks": (32,)}
        written = {n: (kinds[n], shapes.get(n, shape), raw) for n, (_, shape, raw) in big.items()}
        return {
            "version 3": sample(TENSORS, write(TENSORS, METADATA)),
            "version 2": sample(TENSORS, write(TENSORS, METADATA, version=2)),
            "another alignment": sample(TENSORS, write(TENSORS, aligned, alignment=128)),
            "no tensors": Sample(write({}, METADATA)),
            "no metadata": sample(TENSORS, write(TENSORS)),
            "big-endian": sample(big, write(written, METADATA, order=">")),
        }


def test_every_type_of_the_library_is_known_and_has_its_size() -> None:
    kinds = {int(kind): kind for kind in gguf.GGMLQuantizationType}
    assert {n: kind.name.lower() for n, kind in kinds.items()} == format_.TYPES
    sizes = {
        kind.name.lower(): size
        for kind, size in gguf.GGML_QUANT_SIZES.items()
        if kind.name.lower() in BLOCKS
    }
    # the library counts two f32 for the scale of q8_1 blocks; ggml-common.h has two f16
    assert sizes.pop("q8_1") == (32, 40)
    assert {name: size for name, size in BLOCKS.items() if name != "q8_1"} == sizes


def test_the_library_reads_the_same_from_the_files_of_these_tests(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    readable = {name: each for name, each in TENSORS.items() if each[1]}
    path.write_bytes(write(readable, METADATA))
    reader = gguf.GGUFReader(path)
    assert {t.name: t.data.tobytes() for t in reader.tensors} == {
        name: raw for name, (_, _, raw) in readable.items()
    }
    assert {t.name: tuple(t.shape.tolist()[::-1]) for t in reader.tensors} == {
        name: shape for name, (_, shape, _) in readable.items()
    }


def test_a_type_that_is_unknown_is_bytes_up_to_the_next_tensor() -> None:
    last = bytes(range(50))
    tensors = {"new": (99, (3, 5), b"x" * 40), "w": spec("f32", 2), "newer": (98, (2,), last)}
    found = {p.name: (p.dtype, p.shape) for p in layout_of(write(tensors)).payloads}
    assert found == {"new": ("u8", (64,)), "w": ("f32", (2,)), "newer": ("u8", (64,))}


def test_a_name_that_is_no_text_is_kept() -> None:
    data = write({"????": spec("f32", 2)}).replace(b"????", b"\xff\xfe\x00w")
    assert [p.name for p in layout_of(data).payloads] == [
        b"\xff\xfe\0w".decode("utf-8", "surrogateescape")
    ]


def test_structure_is_the_key_values() -> None:
    tokens = b"".join(text(word) for word in METADATA["tokenizer.ggml.tokens"][1])
    scores = struct.pack("<301f", *METADATA["tokenizer.ggml.scores"][1])
    found = table.structure("gguf", BytesSource(write(TENSORS, METADATA)))
    assert found == {
        "general.architecture": "llama", "general.name": "tiny é", "general.file_type": 15,
        "llama.rope.freq_base": 10000.0, "some.flag": True, "some.sizes": [3, -1, 2],
        "some.long": -(2**40), "nothing": [],
        "tokenizer.ggml.tokens": f"string, 301 items, crc32 {zlib.crc32(tokens):08x}",
        "tokenizer.ggml.scores": f"f32, 301 items, crc32 {zlib.crc32(scores):08x}",
    }  # fmt: skip
    big = table.structure("gguf", BytesSource(write({}, METADATA, order=">")))
    assert {k: v for k, v in big.items() if k[:9] != "tokenizer"} == {
        k: v for k, v in found.items() if k[:9] != "tokenizer"
    }


def test_structure_tells_what_is_too_long_and_what_json_has_not() -> None:
    long = "x" * 100_000
    pairs = {"nan": ("f32", float("nan")), "inf": ("f64", [float("-inf"), 1.0])}
    data = write({}, {**pairs, "template": ("string", long)})
    crc = zlib.crc32(text(long))
    assert table.structure("gguf", BytesSource(data)) == {
        "nan": "nan", "inf": ["-inf", 1.0], "template": f"string, 100008 bytes, crc32 {crc:08x}",
    }  # fmt: skip


def test_a_vocabulary_longer_than_one_read_is_passed() -> None:
    rng = random.Random(1)
    words = ["w" * rng.randrange(40) for _ in range(90_000)] + ["y" * 1_500_000, "z"]
    pairs = {"tokens": ("string", words), "general.name": ("string", "after")}
    data = write({"w": spec("f32", 2)}, pairs)
    assert len(data) > 2 * 2**20
    (payload,) = layout_of(data).payloads
    assert data[payload.extents[0].offset :][:8] == content("f32", (2,))
    assert table.structure("gguf", BytesSource(data))["general.name"] == "after"


def test_2000_tensors_and_a_vocabulary_are_read_in_time() -> None:
    many = {f"blk.{i}.weight": spec("f32", 4) for i in range(2000)}
    words = {"tokens": ("string", [f"▁{i}" for i in range(32_000)])}
    source = BytesSource(write(many, words))
    started = time.process_time()
    assert len(table.detect(source).payloads) == 2000
    assert time.process_time() - started < 0.3


# -- files that lie


def header(tensors: int = 0, pairs: int = 0, version: int = 3) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, pairs)


def one(kind: int = 0, shape: tuple[int, ...] = (2,), offset: int = 0, name: str = "w") -> bytes:
    return header(1) + info(name, kind, shape, offset) + bytes(64)


LIES = {
    "nothing": b"GGUF",
    "version 1": header(version=1) + bytes(100),
    "version 4": header(version=4) + bytes(100),
    "2**60 tensors": header(tensors=2**60) + bytes(1000),
    "300,000 tensors": header(tensors=300_000) + bytes(1000),
    "2**60 key-values": header(pairs=2**60) + bytes(1000),
    "as many key-values as bytes": header(pairs=1000) + bytes(1000),
    "a key of 2**62 bytes": header(pairs=1) + struct.pack("<Q", 2**62) + bytes(1000),
    "an array of 2**62": header(pairs=1) + text("k") + struct.pack("<IIQ", 9, 4, 2**62) + bytes(99),
    "2**60 strings": header(pairs=1) + text("k") + struct.pack("<IIQ", 9, 8, 2**60) + bytes(10**6),
    "a string of 2**63": header(pairs=1) + text("k") + struct.pack("<IQ", 8, 2**63) + bytes(99),
    "an array of arrays": header(pairs=1) + text("k") + struct.pack("<IIQ", 9, 9, 1) + bytes(99),
    "an unknown type of key-value": header(pairs=1) + text("k") + struct.pack("<I", 13) + bytes(99),
    "alignment 0": write({}, {"general.alignment": ("u32", 0)}) + bytes(64),
    "alignment 33": write({}, {"general.alignment": ("u32", 33)}) + bytes(64),
    "alignment in words": write({}, {"general.alignment": ("string", "32")}) + bytes(64),
    "an offset beyond the file": one(offset=2**50),
    "an offset of 2**64 - 1": one(offset=2**64 - 1),
    "an unknown type beyond the file": one(kind=77, offset=2**50),
    "a shape of 2**63": one(shape=(2**63,)),
    "a shape of 2**40 by 2**40": one(shape=(2**40, 2**40)),
    "a rank of 9": one(shape=(1,) * 9),
    "a rank of 2**32 - 1": header(1) + text("w") + b"\xff" * 4 + bytes(999),
    "half a block": one(kind=2, shape=(2, 16)),
    "two on one range": header(2) + info("a", 0, (2,), 0) + info("b", 0, (2,), 0) + bytes(99),
    "two of one name": header(2) + info("a", 0, (2,), 0) + info("a", 0, (2,), 32) + bytes(99),
}  # fmt: skip


@pytest.mark.parametrize("label", LIES)
def test_a_file_that_lies_is_opaque(label: str) -> None:
    with bounded_memory():
        started = time.process_time()
        assert survive(LIES[label], label).format == "opaque"
        table.structure("gguf", BytesSource(LIES[label]))
        assert time.process_time() - started < 2


def test_the_file_of_these_lies_is_fine_when_it_does_not_lie() -> None:
    assert [p.shape for p in layout_of(one()).payloads] == [(2,)]
    data = header(2, 1) + pair("k", "u32", 1) + info("a", 0, (2,), 0) + info("b", 0, (2,), 32)
    assert len(layout_of(data + bytes(99)).payloads) == 2
