"""Tensors in blocks (GGUF's quantised types): no arrays, and safe wherever arrays are met."""

from __future__ import annotations

import random
from pathlib import Path

import gguf
import numpy as np
import pytest

from git_nn.arrays import DECODED, dequantise
from git_nn.clean import clean
from git_nn.codec import best, table
from git_nn.combine import merge
from git_nn.compare import compare, compare_pointers
from git_nn.differences.changes import Kind
from git_nn.differences.numbers import Numbers
from git_nn.differences.render import text
from git_nn.differences.result import TensorDelta
from git_nn.errors import PointerError
from git_nn.formats.base import BytesSource
from git_nn.forms import decode_form
from git_nn.merge.decide import Conflict, covers
from git_nn.merge.rules import Choice, Rules
from git_nn.model import open_pointer, open_source
from git_nn.objects.pointer import Pointer, Stored, Window
from git_nn.objects.tensor import BLOCKS, nbytes, stored_width
from git_nn.store.memory import MemoryStore
from tests.support.gguf_file import Spec, write
from tests.support.models import safetensors_file

UNREADABLE = {"q8_1", "q8_k", "q1_0"}  # those that gguf.quants has no decoder for


def content(dtype: str, elements: int, seed: int = 0) -> bytes:
    return random.Random(f"{dtype} {seed}").randbytes(nbytes(dtype, (elements,)))


def q4_0(values: np.ndarray) -> bytes:
    """Values that are whole multiples of 1/8 from -1 to 7/8, as blocks with the scale 1/8."""
    codes = (values.reshape(-1, 2, 16) * 8 + 8).astype(np.uint8)
    scale = np.float16(0.125).tobytes()
    return b"".join(scale + (low | high << 4).tobytes() for low, high in codes)


def eighths(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-8, 8, shape).astype(np.float32) / 8


# -- decoding


def test_blocks_are_decoded_to_the_values_that_were_coded() -> None:
    values = eighths(3, 64)
    found = dequantise(q4_0(values), "q4_0", (3, 64))
    assert found is not None
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, values)


@pytest.mark.parametrize("dtype", sorted(BLOCKS.keys() - UNREADABLE))
def test_every_type_is_decoded_as_the_library_decodes_it(dtype: str) -> None:
    shape = (3, DECODED // 2 + BLOCKS[dtype][0])
    data = content(dtype, 3 * shape[1])
    found = dequantise(data, dtype, shape)
    assert found is not None
    assert found.shape == shape
    rows = np.frombuffer(data, np.uint8).reshape(3, -1)
    with np.errstate(all="ignore"):
        wanted = gguf.dequantize(rows, gguf.GGMLQuantizationType[dtype.upper()])
    assert found.tobytes() == wanted.astype("<f4").tobytes()


@pytest.mark.parametrize("dtype", sorted(UNREADABLE))
def test_a_type_without_a_decoder_cannot_be_decoded(dtype: str) -> None:
    assert dequantise(content(dtype, 512), dtype, (2, 256)) is None


def test_bytes_of_another_length_are_refused() -> None:
    with pytest.raises(ValueError, match="size"):
        dequantise(bytes(17), "q4_0", (32,))


def test_blocks_have_no_stored_form_that_is_decoded() -> None:
    data = content("q4_0", 64)
    for form in ("fortran", "deflate", "h5[2x32]"):
        assert decode_form(form, "q4_0", (2, 32), [len(data)], data) is None
    assert decode_form("", "q4_0", (2, 32), [len(data)], data) == data


# -- codec


@pytest.mark.parametrize("dtype", BLOCKS)
def test_blocks_are_coded_as_bytes_and_come_back(dtype: str) -> None:
    assert stored_width(dtype) == 1
    data = content(dtype, 256 * 400)
    base = bytearray(data)
    base[::1000] = bytes(len(base[::1000]))
    for old in (None, bytes(base)):
        for codec, body in (
            table.encode(data, dtype, old),
            best.encode(data, dtype, old, columns=256, first=0),
        ):
            assert len(body) <= len(data)
            used = old if table.needs_base(codec) else None
            assert bytes(table.decode(codec, body, len(data), used)) == data


# -- comparing


def model(**tensors: Spec) -> bytes:
    return write(tensors, {"general.name": ("string", "m")})


def delta(old: Spec, new: Spec) -> TensorDelta:
    """What a comparison says of one tensor, in files and in the store alike."""
    files = [model(w=old), model(w=new)]
    (found,) = compare(*(open_source(BytesSource(data)) for data in files)).tensors
    store = MemoryStore()
    diff = compare_pointers(*(clean(BytesSource(data), store).pointer for data in files), store)
    assert diff.tensors == (found,)
    assert "w" in text(diff, "m.gguf")
    return found


def numbers(found: TensorDelta) -> Numbers:
    assert found.numbers is not None
    return found.numbers


def test_changed_blocks_are_compared_by_their_values() -> None:
    old, new = eighths(2, 32, seed=1), eighths(2, 32, seed=1)
    new[1, 5] = old[1, 5] - 0.25 if old[1, 5] > 0 else old[1, 5] + 0.25
    found = delta(("q4_0", (2, 32), q4_0(old)), ("q4_0", (2, 32), q4_0(new)))
    assert found.kind is Kind.CHANGED
    assert (numbers(found).elements, numbers(found).changed) == (64, 1)
    assert (numbers(found).max_abs, numbers(found).max_at) == (0.25, (1, 5))
    assert numbers(found).relative == pytest.approx(0.25 / np.linalg.norm(old))


def test_a_tensor_that_was_quantised_is_compared_with_what_it_was() -> None:
    values = eighths(2, 32)
    coded: Spec = ("q4_0", (2, 32), q4_0(values))
    values[0, 3] += 1 / 64  # which the blocks do not hold
    plain: Spec = ("f16", (2, 32), values.astype("<f2").tobytes())
    for old, new in ((plain, coded), (coded, plain)):
        found = delta(old, new)
        assert found.kind is Kind.CAST
        assert (numbers(found).changed, numbers(found).max_abs) == (1, 1 / 64)


def test_blocks_of_another_type_shape_or_size() -> None:
    values = eighths(2, 64)
    coded: Spec = ("q4_0", (2, 64), q4_0(values))
    found = delta(coded, ("q4_0", (4, 32), q4_0(eighths(4, 32, seed=1))))
    assert (found.kind, numbers(found).elements) == (Kind.RESHAPED, 128)
    found = delta(coded, ("q4_0", (3, 64), q4_0(eighths(3, 64, seed=2))))
    assert (found.kind, numbers(found).elements) == (Kind.RESIZED, 128)
    found = delta(coded, ("q8_0", (2, 64), content("q8_0", 128)))
    assert (found.kind, numbers(found).elements) == (Kind.CAST, 128)


def test_other_blocks_of_the_same_values_are_a_change() -> None:
    """With a scale of 0 every code is 0, and a file with other bytes is not the same file."""
    old, new = (bytes(2) + bytes([code]) * 16 for code in (0x99, 0x88))
    found = delta(("q4_0", (32,), old), ("q4_0", (32,), new))
    assert (found.kind, numbers(found).changed) == (Kind.CHANGED, 0)


def test_a_type_without_a_decoder_is_told_as_changed() -> None:
    old, new = (("q8_k", (2, 256), content("q8_k", 512, seed)) for seed in (1, 2))
    found = delta(old, new)
    assert (found.kind, found.numbers) == (Kind.CHANGED, None)
    assert found.unread == "stored as q8_k, which git-nn does not decode"


# -- merging


def merged(tmp_path: Path, rules: Rules, *versions: bytes) -> tuple[tuple[Conflict, ...], bytes]:
    from git_nn.assemble import Sides

    store = MemoryStore()
    base, ours, theirs = (clean(BytesSource(data), store).pointer for data in versions)
    found = merge(Sides(base, ours, theirs), rules, store, tmp_path)
    open_pointer(found.pointer, store).write(tmp_path / "out")
    return found.conflicts, (tmp_path / "out").read_bytes()


def blocks(seed: int) -> Spec:
    return "q4_k", (2, 256), random.Random(seed).randbytes(288)


def test_different_tensors_in_blocks_merge(tmp_path: Path) -> None:
    conflicts, data = merged(
        tmp_path, Rules(), model(a=blocks(1), b=blocks(2)), model(a=blocks(3), b=blocks(2)),
        model(a=blocks(1), b=blocks(4)),
    )  # fmt: skip
    assert (conflicts, data) == ((), model(a=blocks(3), b=blocks(4)))


def test_blocks_are_never_averaged(tmp_path: Path) -> None:
    mean = Rules(Choice("mean", (("weight", 0.5),)))
    (conflict,), data = merged(
        tmp_path, mean, model(a=blocks(1)), model(a=blocks(3)), model(a=blocks(4))
    )
    assert conflict.why == "changed on both sides; q4_k values are never computed with"
    assert data == model(a=blocks(3))


def test_blocks_are_taken_whole_from_one_side(tmp_path: Path) -> None:
    versions = (model(a=blocks(1)), model(a=blocks(3)), model(a=blocks(4)))
    conflicts, data = merged(tmp_path, Rules(Choice("theirs")), *versions)
    assert (conflicts, data) == ((), versions[2])


# -- views


def viewing(data: bytes, *views: Window) -> tuple[Pointer, MemoryStore]:
    store = MemoryStore()
    whole = clean(BytesSource(data), store).pointer
    entries = (*whole.entries, *views)
    return Pointer(*whole.layout, whole.skeleton, whole.skeleton_size, entries), store


def test_a_view_of_blocks_is_read() -> None:
    values = eighths(4, 32)
    row = Window("row", "q4_0", (1, 32), "a", 64, (32, 1))
    opened = open_pointer(*viewing(model(a=("q4_0", (4, 32), q4_0(values))), row))
    assert opened.read("row") == q4_0(values)[36:54]
    np.testing.assert_array_equal(opened.array("row"), values[2:3])


def test_a_view_that_is_not_whole_blocks_is_not_covered() -> None:
    pointer, _ = viewing(model(a=("q4_0", (4, 32), bytes(72))))
    payload = pointer.by_name["a"]
    assert isinstance(payload, Stored)
    assert covers(payload, Window("row", "q4_0", (1, 32), "a", 64, (32, 1)))
    assert not covers(payload, Window("part", "q4_0", (16,), "a", 0, (1,)))
    assert not covers(payload, Window("beyond", "q4_0", (1, 32), "a", 128, (32, 1)))


@pytest.mark.parametrize("step", [1, 100, 10**12])
def test_a_view_that_leaves_its_payload_reads_no_other_memory(step: int) -> None:
    view = Window("v", "f32", (8,), "a", 0, (step,))
    opened = open_pointer(*viewing(safetensors_file({"a": np.ones(4, np.float32)}), view))
    with pytest.raises(PointerError, match="tensor v leaves"):
        opened.array("v")
