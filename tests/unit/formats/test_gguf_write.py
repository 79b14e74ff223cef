"""Merged GGUF files, read back with a reader of the tests' own and with gguf's."""

from __future__ import annotations

import struct
import tempfile
from pathlib import Path

import gguf as library
import pytest

from git_nn.combine import merge
from git_nn.errors import MergeError
from git_nn.formats import gguf
from git_nn.formats.base import Arrangement, BytesSource
from git_nn.merge.rules import Rules
from git_nn.model import open_pointer
from git_nn.store.memory import MemoryStore
from tests.support.gguf_file import Pairs, Spec, write
from tests.unit.merge.test_combine import sides_of

Q = bytes(range(18))


def floats(*values: float) -> bytes:
    return struct.pack(f"<{len(values)}f", *values)


BASE: dict[str, Spec] = {
    "a": ("f32", (3,), floats(1, 2, 3)),
    "b": ("q4_0", (1, 32), Q),
    "c": ("f32", (1, 2), floats(4, 5)),
}


def pairs(name: str, count: int, *tokens: str, score: float = 0.5) -> Pairs:
    return {
        "general.architecture": ("string", "llama"),
        "general.name": ("string", name),
        "llama.block_count": ("u32", count),
        "tokenizer.ggml.tokens": ("string", list(tokens)),
        "tokenizer.ggml.scores": ("f32", [score] * len(tokens)),
    }


def arranged(ours: bytes, theirs: bytes, plan: Arrangement) -> bytes:
    with tempfile.TemporaryFile() as out:
        gguf.arrange(BytesSource(ours), BytesSource(theirs), plan, out)
        out.seek(0)
        return out.read()


def specs(tensors: dict[str, Spec]) -> dict[str, tuple[str, tuple[int, ...]]]:
    return {name: (str(kind), shape) for name, (kind, shape, _) in tensors.items()}


@pytest.mark.parametrize("order", ["<", ">"])
def test_arranging_what_is_there_gives_the_file_with_holes(order: str) -> None:
    empty = {name: (kind, shape, bytes(len(data))) for name, (kind, shape, data) in BASE.items()}
    if order == ">":
        del empty["b"]
    data = write(empty, pairs("m", 2, "x", "y"), order=order)
    be = "be" if order == ">" else ""
    tensors = {n: (k + be if k == "f32" else k, s) for n, (k, s) in specs(empty).items()}
    assert arranged(data, data, Arrangement(tensors)) == data


def test_both_sides_give_tensors_and_key_values(tmp_path: Path) -> None:
    """Ours added a tensor and a name; theirs changed a tensor, the tokenizer and a count."""
    ours = {**BASE, "a": ("f32", (3,), floats(7, 8, 9)), "d": ("f32", (1,), floats(6))}
    theirs = {**BASE, "b": ("q4_0", (1, 32), Q[::-1]), "e": ("q4_0", (2, 32), Q + Q)}
    files = (
        write(BASE, pairs("m", 2, "x", "y")),
        write(ours, {**pairs("mine", 2, "x", "y"), "general.author": ("string", "me")}),
        write(theirs, pairs("m", 3, "x", "y", "z", score=0.25)),
    )
    store = MemoryStore()
    done = merge(sides_of(store, *files), Rules(), store, tmp_path)
    assert done.is_clean, done
    assert done.notes == ()
    out = tmp_path / "out.gguf"
    open_pointer(done.pointer, store).write(out)
    expected = {**ours, "b": theirs["b"], "e": theirs["e"]}
    head = {**pairs("mine", 3, "x", "y", "z", score=0.25), "general.author": ("string", "me")}
    assert out.read_bytes() == write(expected, head)
    read = library.GGUFReader(out)
    assert {t.name: bytes(t.data.tobytes()) for t in read.tensors} == {
        name: data for name, (_, _, data) in expected.items()
    }


def test_the_tokenizer_is_taken_from_one_side(tmp_path: Path) -> None:
    files = (
        write(BASE, pairs("m", 2, "x", "y")),
        write(BASE, pairs("m", 2, "x", "Y")),
        write(BASE, pairs("m", 2, "x", "y", score=0.75)),
    )
    store = MemoryStore()
    done = merge(sides_of(store, *files), Rules(), store, tmp_path)
    assert done.notes == ("both sides changed tokenizer beside the tensors; ours is kept",)
    open_pointer(done.pointer, store).write(tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == files[1]


def test_what_gguf_cannot_hold_is_a_merge_error() -> None:
    data = write(BASE, pairs("m", 2, "x"))
    with pytest.raises(MergeError):
        arranged(data, data, Arrangement({"w": ("u8", (3,))}))
    with pytest.raises(MergeError, match="different versions"):
        arranged(data, write(BASE, version=2), Arrangement(specs(BASE)))
    with pytest.raises(MergeError):
        arranged(data, data, Arrangement(specs(BASE), {"a": "c"}))
