"""Which tensors have rows of tokens, and merges of models in memory, against dictionaries."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from git_nn.combine import Merged, merge
from git_nn.container import Rows, Sides
from git_nn.merge.decide import Conflict
from git_nn.merge.rows import BY_ROWS, Ladder, Rung
from git_nn.merge.rules import Choice, Rules
from git_nn.merge.tokens import Placement, union
from git_nn.model import open_pointer
from git_nn.objects.pointer import Pointer, Window
from git_nn.placing import place
from git_nn.reorder import reorder
from git_nn.resolve import Version, unsettled_of
from git_nn.store.memory import MemoryStore
from tests.support.models import h5_file, normal, safetensors_file
from tests.support.torch_file import S, ordered, save, tensor
from tests.unit.merge.test_combine import sides_of

RULES = Rules(ladder=BY_ROWS)
BASE = [f"w{i}" for i in range(6)]
OURS, THEIRS = [*BASE, "<a>"], [*BASE, "<b>", "<c>"]
TABLE = normal(1, 6, 4)
NEW = {token: np.full((1, 4), at, dtype=np.float32) for at, token in enumerate("abc", 1)}


def placement(*, closed: bool = True) -> Placement:
    base, ours, theirs = ({t: i for i, t in enumerate(side)} for side in (BASE, OURS, THEIRS))
    why = "" if closed else "Git leaves tokenizer.json in conflict"
    return Placement("tokenizer.json", base, ours, theirs, union(base, ours, theirs), why)


def grown(table: np.ndarray, *tokens: str) -> np.ndarray:
    more = [NEW[token] if table.ndim > 1 else NEW[token][0, :1] for token in tokens]
    return np.concatenate([table, *more])


def reordered(store: MemoryStore, sides: Sides, found: Placement | None = None) -> Rows | None:
    return reorder(sides, lambda: found or placement(), BY_ROWS, store, store)


def files(**tensors: tuple[np.ndarray, np.ndarray, np.ndarray]) -> tuple[bytes, bytes, bytes]:
    base, ours, theirs = (
        safetensors_file({name.replace("__", "."): sides[at] for name, sides in tensors.items()})
        for at in range(3)
    )
    return base, ours, theirs


def three(table: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return table, grown(table, "a"), grown(table, "b", "c")


def padded(table: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same with rows to spare, which both sides trained."""
    sides = [table.copy() for _ in range(3)]
    sides[1][6], sides[2][6:8] = 1, [[2], [3]] if table.ndim > 1 else [2, 3]
    return sides[0], sides[1], sides[2]


@pytest.mark.parametrize(
    ("name", "sides", "expected"),
    [
        ("model__embed_tokens__weight", three(TABLE), True),
        ("any", three(TABLE), True),
        ("lm_head__bias", three(TABLE[:, 0]), True),
        ("any__bias", three(TABLE[:, 0]), True),
        ("transformer__wte__weight", padded(normal(2, 16, 4)), True),
        ("lm_head__bias", padded(normal(2, 16)), True),
        ("embeddings__word_embeddings__weight", padded(normal(2, 16, 4)), True),
        ("transformer__wpe__weight", padded(normal(2, 16, 4)), False),
        ("embed_positions__weight", padded(normal(2, 16, 4)), False),
        ("embeddings__position_embeddings__weight", padded(normal(2, 16, 4)), False),
        ("classifier__weight", padded(normal(2, 16, 4)), False),
        ("any", padded(normal(2, 16, 4)), False),
        ("any", tuple(map(np.int32, map(np.rint, three(TABLE)))), False),
        ("any", tuple(np.concatenate([side, TABLE[:1]]) for side in three(TABLE)), False),
        ("model__embed_tokens__weight", three(TABLE[:3]), False),
    ],
)
def test_which_tensors_have_rows_of_tokens(
    name: str, sides: tuple[np.ndarray, np.ndarray, np.ndarray], expected: bool
) -> None:
    store = MemoryStore()
    found = reordered(store, sides_of(store, *files(**{name: sides})))
    assert (found is not None) == expected
    if found is not None:
        assert found.names == {name.replace("__", ".")}


def test_a_tensor_with_as_many_rows_goes_along() -> None:
    """Of this one only ours added rows, as its embedding; theirs' is as the base."""
    store = MemoryStore()
    bias = normal(3, 6)
    sides = sides_of(store, *files(wte=three(TABLE), bias=three(bias), other=(bias, bias, bias)))
    found = reordered(store, sides)
    assert found is not None
    assert found.names == {"wte", "bias"}


def test_tokenizers_are_asked_for_only_where_rows_of_both_may_differ() -> None:
    store = MemoryStore()

    def never() -> Placement | None:
        raise AssertionError

    base, ours, theirs = three(TABLE)
    for sides in ((base, ours, base), (base, base, theirs), (base, ours, ours)):
        assert reorder(sides_of(store, *files(wte=sides)), never, BY_ROWS, store, store) is None
    dense = (TABLE, TABLE + 1, TABLE + 2)
    assert reorder(sides_of(store, *files(fc=dense)), never, BY_ROWS, store, store) is None
    both = sides_of(store, *files(wte=three(TABLE)))
    assert reorder(both, never, Ladder(Rung("tensor")), store, store) is None
    assert reorder(both, lambda: None, BY_ROWS, store, store) is None


def run(
    tmp_path: Path, contents: tuple[bytes, bytes, bytes], rules: Rules, *, closed: bool = True
) -> tuple[Merged, bytes, Sides, MemoryStore]:
    store = MemoryStore()
    sides = sides_of(store, *contents)
    rows = reordered(store, sides, placement(closed=closed))
    sides = Sides(sides.base, sides.ours, sides.theirs, rows=rows)
    merged = merge(sides, rules, store, tmp_path / "scratch")
    return merged, read(merged.pointer, store, tmp_path), sides, store


def read(pointer: Pointer, store: MemoryStore, tmp_path: Path) -> bytes:
    out = tmp_path / f"out-{len(list(tmp_path.iterdir()))}"
    open_pointer(pointer, store).write(out)
    return out.read_bytes()


def test_a_strategy_computes_with_matched_rows(tmp_path: Path) -> None:
    """Of a token that one side does not have the other's row stays, bit for bit."""
    base, ours, theirs = three(TABLE)
    contents = files(wte=(base, ours + 1, theirs - 1))
    merged, data, _, _ = run(
        tmp_path, contents, Rules(Choice("mean", (("weight", 0.5),)), ladder=BY_ROWS)
    )
    assert merged.is_clean
    mean = ((TABLE + 1).astype(np.float64) + (TABLE - 1)) / 2
    new = np.concatenate([NEW["a"] + 1, NEW["b"] - 1, NEW["c"] - 1])
    assert data == safetensors_file({"wte": np.concatenate([mean.astype(np.float32), new])})


def test_what_is_placed_stays_open_until_the_tokenizer_is_settled(tmp_path: Path) -> None:
    base, ours, theirs = three(TABLE)
    ours[0], theirs[1] = 5, 6
    contents = files(wte=(base, ours, theirs))
    merged, data, sides, store = run(tmp_path, contents, RULES, closed=False)
    expected = np.concatenate([ours[:1], theirs[1:2], TABLE[2:], *NEW.values()])
    assert data == safetensors_file({"wte": expected})
    assert [(type(d), d.placed) for d in merged.conflicts] == [(Conflict, True)]
    file = unsettled_of(Version(b"m", (None, None, None), sides), merged)
    rows = reordered(store, sides, placement())
    assert rows is not None
    settled = Sides(sides.base, sides.ours, sides.theirs, rows=rows)
    done = place(
        unsettled_of(Version(b"m", (None, None, None), settled), merged), (), store, tmp_path / "s"
    )
    assert done.file.is_settled
    assert read(done.file.result, store, tmp_path) == data
    assert not file.is_settled


@pytest.mark.parametrize("compressed", [False, True])
def test_numpy_files_get_the_rows_of_both(tmp_path: Path, compressed: bool) -> None:
    def file(table: np.ndarray) -> bytes:
        out = io.BytesIO()
        write = np.savez_compressed if compressed else np.savez
        write(out, wte=table, other=np.arange(3))
        return out.getvalue()

    base, ours, theirs = map(file, three(TABLE))
    merged, data, _, _ = run(tmp_path, (base, ours, theirs), RULES)
    assert merged.is_clean
    with np.load(io.BytesIO(data)) as found:
        assert np.array_equal(found["wte"], np.concatenate([TABLE, *NEW.values()]))
        assert found["other"].tolist() == [0, 1, 2]


def test_files_that_say_themselves_how_many_tokens_there_are_keep_their_rows() -> None:
    store = MemoryStore()
    sides = sides_of(store, *(h5_file({"wte": table}) for table in three(TABLE)))
    assert reordered(store, sides) is None


def test_tied_weights_go_along() -> None:
    """A torch file whose head is its embedding."""

    def file(table: np.ndarray) -> bytes:
        storage = S("0", "f32", table.tobytes())
        shape = table.shape
        return save(
            ordered({"lm_head.weight": tensor(storage, shape), "wte": tensor(storage, shape)})
        )

    store = MemoryStore()
    found = reordered(store, sides_of(store, *map(file, three(TABLE))))
    assert found is not None
    for version in (found.base, found.ours, found.theirs):
        assert [entry.shape for entry in version.entries] == [(9, 4), (9, 4)]
        assert any(isinstance(entry, Window) for entry in version.entries)
