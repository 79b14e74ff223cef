"""Rows and elements of both sides in one tensor, held against a merge row by row."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from git_nn.clean import clean
from git_nn.combine import Merged, merge
from git_nn.errors import UsageError
from git_nn.formats.base import BytesSource
from git_nn.merge.report import lines, summary
from git_nn.merge.rows import ROW, WHOLE, Ladder, Rung, ladder, way
from git_nn.merge.rules import Choice, Rules
from git_nn.merge.woven import Survey, Version, Versions, survey, woven
from git_nn.model import open_pointer
from git_nn.objects.oid import Oid, oid_of
from git_nn.store.base import SEGMENT
from git_nn.store.memory import MemoryStore
from tests.support.models import h5_arrays, h5_file, normal, safetensors_arrays, safetensors_file
from tests.support.torch_file import S, ordered, save, tensor
from tests.unit.merge.test_combine import sides_of

EMBED = "model.embed_tokens.weight"
ELEMENTS = Rules(ladder=Ladder(Rung("element")))
MEAN = Rules(Choice("mean", (("weight", 0.5),)))

# --- the comparison, against one that goes row by row -------------------------------------


@dataclass
class Reads:
    """Which segments of which side were read."""

    seen: list[tuple[str, int]] = field(default_factory=list)

    def version(self, side: str, data: bytes, step: int, *, known: bool = True) -> Version:
        cut = [data[i : i + step] for i in range(0, len(data), step)]

        def read(index: int) -> bytes:
            self.seen.append((side, index))
            return cut[index]

        return Version(len(data), step, tuple(map(oid_of, cut)) if known else (), read)

    def versions(self, sides: list[bytes], unit: int, step: int, *, known: bool) -> Versions:
        names = ("base", "ours", "theirs")
        base, ours, theirs = (
            self.version(n, d, step, known=known) for n, d in zip(names, sides, strict=True)
        )
        return Versions(base, ours, theirs, unit)


Rows = list[bytes]


def by_row(base: Rows, ours: Rows, theirs: Rows) -> Rows | None:
    """The result of merging rows at one index, three ways; None where one is a conflict."""
    found: Rows = []
    for i in range(max(len(base), len(ours), len(theirs))):
        o, a, b = (side[i] if i < len(side) else b"" for side in (base, ours, theirs))
        if len({o, a, b}) == 3:
            return None
        found.append(b if a == o else a)
    return [row for row in found if row]


def scattered(chance: random.Random, rows: Rows, size: int) -> Rows:
    share = chance.choice([0, 0.05, 0.3])
    return [chance.randbytes(size) if chance.random() < share else row for row in rows]


@pytest.mark.parametrize("start", range(0, 400, 50))
def test_weaving_is_a_three_way_merge_of_each_row(start: int) -> None:
    found = [weave_by_chance(random.Random(seed)) for seed in range(start, start + 50)]
    assert {True, False} == set(found)


def weave_by_chance(chance: random.Random) -> bool:
    """Hold a random tensor against the merge by rows; whether it can be woven."""
    size, step = chance.choice([1, 2, 3, 4, 8, 12, 40, 56, 200]), chance.choice([8, 48, 64])
    base = [chance.randbytes(size) for _ in range(chance.randrange(1, 30))]
    ours, theirs = scattered(chance, base, size), scattered(chance, base, size)
    kind, count = chance.choice(["even", "ours", "theirs", "both"]), chance.randrange(1, 9)
    added = [chance.randbytes(size) for _ in range(count)]
    if kind in ("ours", "both"):
        ours = ours + added if chance.random() < 0.7 else ours[:-count] or ours
    if kind in ("theirs", "both"):
        theirs = (
            theirs + added if len(ours) > len(base) or kind == "theirs" else theirs[: len(ours)]
        )
    sides = [b"".join(rows) for rows in (base, ours, theirs)]
    expected = by_row(base, ours, theirs)
    versions = Reads().versions(sides, size, step, known=chance.random() < 0.7)
    seen = survey(versions)
    assert seen.allows("named") == (expected is not None)
    if expected is not None:
        assert b"".join(bytes(piece) for piece in woven(versions)) == b"".join(expected)
    if not seen.cut:
        shared = range(min(len(base), len(ours), len(theirs)))
        clashes = [i for i in shared if by_row([base[i]], [ours[i]], [theirs[i]]) is None]
        only = [
            [i for i in shared if s[i] != base[i] == t[i]]
            for s, t in ((ours, theirs), (theirs, ours))
        ]
        assert (seen.both, list(seen.first)) == (len(clashes), clashes[:5])
        assert (seen.ours, seen.theirs) == (len(only[0]), len(only[1]))
    return expected is not None


def test_segments_that_nobody_changed_are_not_read_to_compare() -> None:
    base = bytes(range(256)) * 4
    ours, theirs = bytearray(base), bytearray(base)
    ours[70] ^= 1  # segment 1
    theirs[900] ^= 1  # segment 14
    reads = Reads()
    seen = survey(reads.versions([base, bytes(ours), bytes(theirs)], 16, 64, known=True))
    assert (seen.ours, seen.theirs, seen.both, seen.total) == (1, 1, 0, 64)
    assert sorted(reads.seen) == [("base", 1), ("base", 14), ("ours", 1), ("theirs", 14)]


def test_a_densely_trained_tensor_is_given_up_after_its_first_segment() -> None:
    sides = [random.Random(seed).randbytes(64 * 100) for seed in range(3)]
    reads = Reads()
    seen = survey(reads.versions(sides, 16, 64, known=True))
    assert seen.cut
    assert not seen.allows("named")
    assert sorted(reads.seen) == [("base", 0), ("ours", 0), ("theirs", 0)]


def test_a_row_across_two_segments_is_one_row() -> None:
    """Ours changes its end and theirs its start: the row was changed by both."""
    base = bytes(192)
    ours, theirs = bytearray(base), bytearray(base)
    theirs[62], ours[66] = 1, 1
    seen = survey(Reads().versions([base, bytes(ours), bytes(theirs)], 12, 64, known=True))
    assert (seen.both, seen.first) == (1, (5,))


# --- which tensors ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "model.embed_tokens.weight", "transformer.wte.weight", "embeddings.word_embeddings.weight",
        "emb.weight", "embedding_1.weight", "token_embd.weight", "lm_head.weight", "head.weight",
        "classifier.weight", "params/Embed_0/embedding", "embedding/embedding/embeddings:0",
        "layers/embedding/vars/0", "model/tok_embeddings.weight",
    ],
)  # fmt: skip
def test_a_row_of_an_embedding_or_a_head_is_a_thing_of_its_own(name: str) -> None:
    found = way(name, "f32", [(10, 4)] * 3, ROW)
    assert found is not None
    assert found.ground == "named"


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("model.layers.0.mlp.up_proj.weight", (64, 16)),
        ("time_embedding.linear_1.weight", (64, 16)),
        ("dense/kernel", (64, 16)),
        ("layers/dense/vars/0", (64, 16)),
        ("model.layers.0.mlp.experts.3.w1.weight", (64, 16)),
        ("norm.weight", (64, 16)),
    ],
)
def test_rows_of_other_matrices_need_most_of_them_left_alone(
    name: str, shape: tuple[int, ...]
) -> None:
    found = way(name, "f32", [shape] * 3, ROW)
    assert found is not None
    assert found.ground == "sparse"


@pytest.mark.parametrize(
    ("name", "dtype", "shape"),
    [
        ("bias", "f32", (64,)),
        ("embed.bias", "f32", (64,)),
        ("step", "f32", ()),
        ("patch_embedding.weight", "f32", (64, 3, 16, 16)),
        ("conv2d/kernel", "f32", (3, 3, 8, 16)),
        ("attn.qkv.weight", "f32", (96, 32)),
        ("lstm.weight_ih_l0", "f32", (64, 16)),
        ("q_proj.lora_A.weight", "f32", (8, 64)),
        ("mlp.up_proj.scales", "f16", (32, 64)),
        ("experts.3.w1", "f32", (8, 4, 4)),
        ("embed.weight", "i8", (64, 16)),
        ("embed.weight", "f8_e4m3fn", (64, 16)),
        ("embed.weight", "q8_0", (64, 32)),
        ("embed.weight", "f32", (0, 4)),
        ("embed.weight", "f32", (4, 0)),
    ],
)
def test_other_tensors_are_never_taken_apart(name: str, dtype: str, shape: tuple[int, ...]) -> None:
    if name.startswith("experts"):
        name = "layer.3.w1"
    assert way(name, dtype, [shape] * 3, ROW) is None


def test_experts_in_one_tensor_are_rows() -> None:
    for name in ("model.layers.0.mlp.experts.down_proj", "mlp.experts.gate_up_proj.weight"):
        found = way(name, "bf16", [(8, 4, 6)] * 3, ROW)
        assert found is not None
        assert found.ground == "named"


def test_the_shape_may_change_in_the_number_of_rows_of_one_side_or_of_both_alike() -> None:
    name = "embed.weight"
    for shapes in ([(5, 2), (5, 2), (7, 2)], [(5, 2), (4, 2), (5, 2)], [(5, 2), (7, 2), (7, 2)]):
        assert way(name, "f32", shapes, ROW) is not None
    others: list[list[tuple[int, ...]]] = [
        [(5, 2), (6, 2), (7, 2)], [(5, 2), (5, 3), (5, 2)], [(5, 2), (5, 2), (10,)]
    ]  # fmt: skip
    for shapes in others:
        assert way(name, "f32", shapes, ROW) is None


def test_a_vector_may_grow_but_is_not_taken_apart() -> None:
    grown = way("lm_head.bias", "f32", [(5,), (5,), (7,)], ROW)
    assert grown is not None
    assert grown.ground == "resized"
    assert Survey(5, ours=4, added=2).allows("resized")
    assert not Survey(5, ours=2, theirs=1, added=2).allows("resized")
    assert not Survey(5, ours=2, theirs=1).allows("resized")


def test_a_dense_layer_of_which_half_was_trained_on_each_side_is_not_mixed() -> None:
    assert Survey(8, ours=2, theirs=2).allows("sparse")
    assert not Survey(8, ours=3, theirs=2).allows("sparse")
    assert not Survey(8, ours=2, theirs=2, alike=1).allows("sparse")
    assert Survey(8, ours=4, theirs=4).allows("named")


# --- the setting --------------------------------------------------------------------------


def test_the_ladder_is_set_for_all_tensors_and_for_patterns() -> None:
    found = ladder(
        {
            "nn.merge.ladder": "tensor",
            "nn.merge.strategy": "mean",
            "nn.merge.*.strategy": "ours",
            "nn.merge.*.codebook.ladder": "row",
            "nn.merge.vq.codebook.ladder": "element",
        }
    )
    assert found("a.weight") == Rung("tensor")
    assert found("x.codebook") == Rung("row", asked=True)
    assert found("vq.codebook") == Rung("element", asked=True)
    assert ladder({})("w") == Rung("row")


def test_a_rung_that_is_none_is_an_error_that_names_the_setting() -> None:
    for key in ("nn.merge.ladder", "nn.merge.*.weight.ladder"):
        with pytest.raises(UsageError, match=key.replace("*", r"\*").replace(".", r"\.")):
            ladder({key: "rows"})


def test_rows_of_a_tensor_that_a_person_names_are_merged() -> None:
    found = way("vq.codebook", "f32", [(9, 2)] * 3, Rung("row", asked=True))
    assert found is not None
    assert (found.unit, found.ground) == ("row", "named")
    assert way("vq.scale", "f32", [(9,)] * 3, Rung("row", asked=True)) is None


# --- merged files -------------------------------------------------------------------------


def run(tmp_path: Path, sides: list[bytes], rules: Rules = Rules()) -> tuple[Merged, bytes]:  # noqa: B008
    store = MemoryStore()
    merged = merge(sides_of(store, *sides), rules, store, tmp_path / "scratch")
    out = tmp_path / "out"
    out.unlink(missing_ok=True)
    open_pointer(merged.pointer, store).write(out)
    return merged, out.read_bytes()


def changed(array: np.ndarray, *rows: int) -> np.ndarray:
    made = array.copy()
    for row in rows:
        made[row] = made[row] * np.asarray(2, array.dtype) + np.asarray(row + 1, array.dtype)
    return made


def files(*tables: np.ndarray, name: str = EMBED) -> list[bytes]:
    return [safetensors_file({name: table, "other": normal(9, 3, 3)}) for table in tables]


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16, np.complex64])
def test_rows_of_both_sides_stand_in_the_result_bit_for_bit(tmp_path: Path, dtype: object) -> None:
    base = normal(1, 50, 7, dtype=dtype)
    base[4, 2] = np.nan
    base.view(np.uint8)[5, :1] = 0x80
    merged, data = run(tmp_path, files(base, changed(base, 3, 49), changed(base, 0, 4, 20)))
    assert merged.is_clean
    assert data == files(changed(base, 0, 3, 4, 20, 49))[0]
    assert summary(merged.decisions) == "1 tensor by rows"
    assert merged.notes == (f"tensor {EMBED}: 2 rows from ours, 3 from theirs",)


def test_rows_come_before_a_strategy_and_a_strategy_before_a_conflict(tmp_path: Path) -> None:
    base = normal(1, 6, 4)
    merged, data = run(tmp_path, files(base, changed(base, 1), changed(base, 2)), MEAN)
    assert data == files(changed(base, 1, 2))[0]
    sides = [base, changed(base, 1, 3), changed(changed(base, 2), 3) + 0]
    sides[2][3] += 1
    merged, data = run(tmp_path, files(*sides), MEAN)
    assert summary(merged.decisions) == "1 tensor by mean:weight=0.5"
    expected = ((sides[1].astype(np.float64) + sides[2]) / 2).astype(np.float32)
    assert data == files(expected)[0]


def test_rows_that_both_changed_are_told(tmp_path: Path) -> None:
    base = normal(1, 40, 4)
    theirs = changed(base, *range(0, 14, 2))
    theirs[[20, 21]] += 1
    merged, data = run(tmp_path, files(base, changed(base, 2, 20, 21, 30) + 0, theirs))
    assert data == files(changed(base, 2, 20, 21, 30))[0]
    (line,) = lines(merged.conflicts)
    assert line == f"{EMBED}  f32 40x4  changed on both sides; both changed 2 of 40 rows: 20, 21"


def test_rows_that_both_changed_alike_are_no_conflict(tmp_path: Path) -> None:
    base = normal(1, 9, 4)
    merged, data = run(tmp_path, files(base, changed(base, 1, 2), changed(base, 2, 3)))
    assert data == files(changed(base, 1, 2, 3))[0]
    assert merged.notes == (f"tensor {EMBED}: 1 row from ours, 1 from theirs, 1 from both",)


def test_different_halves_of_a_dense_layer_are_a_conflict_that_says_how_to_take_both(
    tmp_path: Path,
) -> None:
    base = normal(1, 10, 4)
    sides = [base, changed(base, *range(5)), changed(base, *range(5, 10))]
    merged, _ = run(tmp_path, files(*sides, name="fc1.weight"))
    (line,) = lines(merged.conflicts)
    assert "changed on both sides; different rows" in line
    assert line.endswith("; to take both: git config nn.merge.fc1.weight.ladder row")
    asked = Rules(ladder=ladder({"nn.merge.fc1.weight.ladder": "row"}))
    merged, data = run(tmp_path, files(*sides, name="fc1.weight"), asked)
    assert data == files(changed(base, *range(10)), name="fc1.weight")[0]


def test_the_tensor_rung_merges_whole_tensors_only(tmp_path: Path) -> None:
    base = normal(1, 10, 4)
    merged, _ = run(tmp_path, files(base, changed(base, 1), changed(base, 2)), Rules(ladder=WHOLE))
    assert [c.why for c in merged.conflicts] == ["changed on both sides"]


def test_of_many_woven_tensors_the_first_are_told(tmp_path: Path) -> None:
    base = {f"layers.{i}.w": normal(i, 6, 2) for i in range(14)}
    sides = [
        {name: changed(table, *rows) for name, table in base.items()} for rows in ([], [1], [2])
    ]
    merged, data = run(tmp_path, [safetensors_file(side) for side in sides])
    assert data == safetensors_file({name: changed(table, 1, 2) for name, table in base.items()})
    assert merged.notes[9:] == (
        "tensor layers.9.w: 1 row from ours, 1 from theirs",
        "... and 4 more by rows",
    )


def test_elements_of_both_sides_where_a_person_asks_for_them(tmp_path: Path) -> None:
    base = {"w": normal(1, 4, 5), "b": normal(2, 6)}
    ours = {name: array.copy() for name, array in base.items()}
    theirs = {name: array.copy() for name, array in base.items()}
    ours["w"][1, 2], theirs["w"][1, 3], ours["b"][0], theirs["b"][5] = 1, 2, 3, 4
    expected = {name: array.copy() for name, array in base.items()}
    expected["w"][1, 2:4], expected["b"][[0, 5]] = (1, 2), (3, 4)
    sides = [safetensors_file(side) for side in (base, ours, theirs)]
    merged, data = run(tmp_path, sides, ELEMENTS)
    assert data == safetensors_file(expected)
    assert summary(merged.decisions) == "2 tensors by elements"
    merged, _ = run(tmp_path, sides)
    assert [conflict.name for conflict in merged.conflicts] == ["b", "w"]


def test_elements_that_both_changed_are_told_by_their_indexes(tmp_path: Path) -> None:
    base, ours, theirs = (normal(1, 4, 5, 2) for _ in range(3))
    ours[1, 2, 1], theirs[1, 2, 1], ours[0], theirs[3] = 1, 2, 3, 4
    merged, _ = run(tmp_path, files(base, ours, theirs, name="w"), ELEMENTS)
    assert [c.why for c in merged.conflicts] == [
        "changed on both sides; both changed 1 of 40 elements: [1, 2, 1]"
    ]


def test_integers_are_not_merged_by_rows(tmp_path: Path) -> None:
    base = np.arange(40, dtype=np.int64).reshape(10, 4)
    for rules in (Rules(), ELEMENTS):
        merged, _ = run(tmp_path, files(base, changed(base, 1), changed(base, 2)), rules)
        assert [c.why for c in merged.conflicts] == ["changed on both sides"]


@pytest.mark.parametrize("grown", ["ours", "theirs"])
def test_a_grown_vocabulary_has_the_rows_that_the_other_side_changed(
    tmp_path: Path, grown: str
) -> None:
    base, new = normal(1, 12, 4), normal(2, 3, 4)
    longer, same = np.concatenate([changed(base, 7), new]), changed(base, 0, 11)
    sides = [longer, same] if grown == "ours" else [same, longer]
    merged, data = run(tmp_path, files(base, *sides))
    assert merged.is_clean
    assert data == files(np.concatenate([changed(base, 0, 7, 11), new]))[0]
    assert merged.notes[0].endswith(", 3 added")


def test_a_grown_tensor_composes_where_both_sides_changed_the_file(tmp_path: Path) -> None:
    base, new, more = normal(1, 12, 4), normal(2, 3, 4), normal(3, 2)
    sides = [
        {EMBED: base, "other": more},
        {EMBED: changed(base, 5), "other": more, "mine": more},
        {EMBED: np.concatenate([base, new]), "other": more},
    ]
    for order in (sides, [sides[0], sides[2], sides[1]]):
        merged, data = run(tmp_path, [safetensors_file(side) for side in order])
        assert merged.is_clean, merged.whole
        found = safetensors_arrays(data)
        assert found[EMBED].tobytes() == np.concatenate([changed(base, 5), new]).tobytes()
        assert found["mine"].tobytes() == found["other"].tobytes() == more.tobytes()


def test_a_bias_grows_with_its_embedding(tmp_path: Path) -> None:
    base, new = normal(1, 12), normal(2, 3)
    merged, data = run(tmp_path, files(base, base * 2, np.concatenate([base, new]), name="bias"))
    assert data == files(np.concatenate([base * 2, new]), name="bias")[0]
    other = np.concatenate([base, new])
    other[4] = 0
    merged, _ = run(tmp_path, files(base, changed(base, 2), other, name="bias"))
    (line,) = lines(merged.conflicts)
    assert line.endswith("; the side with another number of rows changed others, too")


def test_rows_taken_away_at_the_end_stay_away_unless_the_other_side_changed_them(
    tmp_path: Path,
) -> None:
    base = normal(1, 12, 4)
    merged, data = run(tmp_path, files(base, changed(base, 1), base[:10]))
    assert data == files(changed(base, 1)[:10])[0]
    merged, _ = run(tmp_path, files(base, changed(base, 11), base[:10]))
    assert [c.why for c in merged.conflicts] == [
        "another dtype or shape on each side; the rows that were added or removed at the end differ"
    ]


def test_rows_added_on_both_sides_are_a_conflict_unless_they_are_the_same(tmp_path: Path) -> None:
    base, new, other = normal(1, 12, 4), normal(2, 3, 4), normal(3, 3, 4)
    ours, theirs = np.concatenate([changed(base, 1), new]), np.concatenate([changed(base, 2), new])
    merged, data = run(tmp_path, files(base, ours, theirs))
    assert data == files(np.concatenate([changed(base, 1, 2), new]))[0]
    for added in (other, new[:2]):
        merged, _ = run(tmp_path, files(base, ours, np.concatenate([base, added])))
        (conflict,) = merged.conflicts
        assert conflict.why.startswith("rows added on both sides, and nothing says")


def tied(table: np.ndarray, other: np.ndarray) -> bytes:
    """A torch file whose head is the embedding's storage."""
    storage, more = S("0", "f32", table.tobytes()), S("1", "f32", other.tobytes())
    values = {
        "embed.weight": tensor(storage, table.shape),
        "lm_head.weight": tensor(storage, table.shape),
        "other": tensor(more, other.shape),
    }
    return save(ordered(values))


def test_a_tied_head_grows_with_its_embedding(tmp_path: Path) -> None:
    base, new, other = normal(1, 12, 4), normal(2, 3, 4), normal(9, 3)
    ours, theirs = changed(base, 3), np.concatenate([changed(base, 5), new])
    both = np.concatenate([changed(base, 3, 5), new])
    versions = [tied(base, other), tied(ours, other + 1), tied(theirs, other)]
    merged, data = run(tmp_path, versions)
    assert merged.is_clean, (merged.whole, merged.conflicts)
    assert data == tied(both, other + 1)
    merged, data = run(tmp_path, [versions[0], versions[2], versions[1]])
    assert data == tied(both, other + 1)


def test_a_tied_head_conflicts_where_its_embedding_does(tmp_path: Path) -> None:
    base, other = normal(1, 12, 4), normal(9, 3)
    theirs = np.concatenate([base * 3, normal(2, 3, 4)])
    merged, data = run(tmp_path, [tied(t, other) for t in (base, base * 2, theirs)])
    assert [conflict.name for conflict in merged.conflicts] == ["embed.weight", "lm_head.weight"]
    assert data == tied(base * 2, other)


@pytest.mark.parametrize("options", [{}, {"chunks": (5, 3), "compression": "gzip"}])
def test_rows_of_an_hdf5_dataset(tmp_path: Path, options: dict[str, Any]) -> None:
    base, name = normal(1, 12, 4), "embedding/embeddings"
    tables = [base, changed(base, 3), changed(base, 5)]
    merged, data = run(tmp_path, [h5_file({name: table}, **options) for table in tables])
    assert merged.is_clean, merged.whole
    assert h5_arrays(data)[name].tobytes() == changed(base, 3, 5).tobytes()


def test_segments_of_a_large_embedding_that_did_not_change_are_not_compared(tmp_path: Path) -> None:
    class Ranges(MemoryStore):
        def __init__(self) -> None:
            super().__init__()
            self.compared: list[tuple[Oid, int]] = []

        def read_range(self, oid: Oid, start: int, stop: int) -> bytes:
            self.compared.append((oid, start // SEGMENT))
            return super().read_range(oid, start, stop)

    store = Ranges()
    base = np.zeros((3 * SEGMENT // 4096, 1024), dtype=np.float32)
    last = len(base) - 1
    sides = sides_of(store, *files(base, changed(base, 1, last), changed(base, 2)))
    merged = merge(sides, Rules(), store, tmp_path)
    assert merged.notes == (f"tensor {EMBED}: 2 rows from ours, 1 from theirs",)
    wanted = files(changed(base, 1, 2, last))[0]
    assert merged.pointer == clean(BytesSource(wanted), MemoryStore()).pointer
    middle = [oid for oid, index in store.compared if index == 1]
    assert len(middle) == 1  # to write the result; to compare, none
