"""Orders of units: the assignment, what is matched, and what no one may reorder."""

from __future__ import annotations

from itertools import pairwise, permutations

import ml_dtypes
import numpy as np
import pytest

from git_nn.errors import UsageError
from git_nn.merge.assignment import assign
from git_nn.merge.matching import Matched, Place, Units, match
from git_nn.merge.units_file import read
from git_nn.merge.wiring import Wiring, infer

Tensors = dict[str, np.ndarray]


# --- the assignment problem -----------------------------------------------------------------


@pytest.mark.parametrize("n", range(1, 7))
@pytest.mark.parametrize("values", ["random", "with ties"])
def test_no_permutation_gains_more(n: int, values: str) -> None:
    rng = np.random.default_rng(n)
    for _ in range(30):
        gain = (
            rng.integers(-2, 3, (n, n)) * 1.0 if values == "with ties" else rng.normal(size=(n, n))
        )
        best = max(sum(gain[i, p[i]] for i in range(n)) for p in permutations(range(n)))
        found = assign(gain)
        assert sorted(found) == list(range(n))
        assert gain[range(n), found].sum() == pytest.approx(best, abs=1e-12)


@pytest.mark.parametrize("slack", [1.0, 1e-3, 1e9])
def test_a_large_assignment_reaches_its_bound(slack: float) -> None:
    """gain[i, j] <= u[i] + v[j] everywhere, and equal along one permutation: that one is best."""
    rng = np.random.default_rng(3)
    n = 300
    u, v = rng.normal(size=n), rng.normal(size=n)
    order = rng.permutation(n)
    gain = u[:, None] + v - slack * rng.random((n, n))
    gain[range(n), order] = u + v[order]
    assert (assign(gain) == order).all()


# --- matching -------------------------------------------------------------------------------


def perceptron(rng: np.random.Generator, sizes: tuple[int, ...] = (5, 12, 9, 3)) -> Tensors:
    found = {}
    for i, (narrow, wide) in enumerate(pairwise(sizes)):
        found[f"{2 * i}.weight"] = rng.normal(size=(wide, narrow)).astype(np.float32)
        found[f"{2 * i}.bias"] = rng.normal(size=wide).astype(np.float32)
    return found


def shuffled(tensors: Tensors, rng: np.random.Generator) -> Tensors:
    """The same function, with the hidden neurons of both layers in another order."""
    found = dict(tensors)
    for layer, reader in (("0", "2"), ("2", "4")):
        order = rng.permutation(len(found[f"{layer}.bias"]))
        found[f"{layer}.weight"] = found[f"{layer}.weight"][order]
        found[f"{layer}.bias"] = found[f"{layer}.bias"][order]
        found[f"{reader}.weight"] = found[f"{reader}.weight"][:, order]
    return found


def wiring(tensors: Tensors, heads: int | None = None) -> Wiring:
    return infer({name: array.shape for name, array in tensors.items()}, heads)


def matched(ours: Tensors, theirs: Tensors) -> Matched:
    return match(ours, theirs, wiring(theirs).units)


def same_bytes(one: Tensors, other: Tensors) -> bool:
    return all(one[name].tobytes() == other[name].tobytes() for name in one)


def test_an_exact_order_is_read_off_bit_for_bit() -> None:
    rng = np.random.default_rng(0)
    ours = perceptron(rng)
    ours["0.bias"][3] = -0.0
    ours["2.bias"].view(np.uint32)[1] = 0x7FC00123  # a NaN with a payload
    found = matched(ours, shuffled(ours, rng))
    assert [one.exact for one in found.found] == [True, True]
    assert same_bytes(found.tensors, ours)
    assert found.after == pytest.approx(1.0)


def test_noise_does_not_hide_the_order() -> None:
    rng = np.random.default_rng(1)
    ours = perceptron(rng)
    noisy = {
        name: array + rng.normal(size=array.shape).astype("f4") / 10 for name, array in ours.items()
    }
    found = matched(ours, shuffled(noisy, rng))
    assert [one.exact for one in found.found] == [False, False]
    assert same_bytes(found.tensors, noisy)
    assert found.before < 0.6
    assert found.after > 0.95


def test_networks_that_share_an_order_are_left_alone() -> None:
    rng = np.random.default_rng(2)
    ours = perceptron(rng)
    tuned = {name: array * np.float32(1.01) for name, array in ours.items()}
    found = matched(ours, tuned)
    assert [one.moved for one in found.found] == [0, 0]
    assert same_bytes(found.tensors, tuned)


@pytest.mark.parametrize("seed", range(5))
def test_matching_never_moves_away(seed: int) -> None:
    rng = np.random.default_rng(seed)
    ours, theirs = perceptron(rng), perceptron(rng)
    found = matched(ours, theirs)
    assert found.after > found.before
    assert found.after == pytest.approx(cosine(ours, found.tensors, found))


def cosine(ours: Tensors, theirs: Tensors, found: Matched) -> float:
    names = [name for name in ours if name != "4.bias"]  # the outputs' bias is no unit's
    a, b = (np.concatenate([side[name].ravel() for name in names]) for side in (ours, theirs))
    return float(a.astype(float) @ b / np.linalg.norm(a.astype(float)) / np.linalg.norm(b))


def test_infinite_and_missing_numbers_have_no_say() -> None:
    rng = np.random.default_rng(4)
    ours = perceptron(rng)
    theirs = shuffled({name: array * np.float32(1.5) for name, array in ours.items()}, rng)
    for name in ("0.weight", "2.weight"):
        theirs[name][0, 0] = np.inf
        theirs[name][1, 1] = np.nan
    found = matched(ours, theirs)
    assert np.isfinite([found.before, found.after]).all()
    assert found.after > 0.8


@pytest.mark.parametrize("dtype", ["f8", "f2", "c8", ml_dtypes.bfloat16])
def test_elements_of_any_dtype_keep_their_bits(dtype: str) -> None:
    rng = np.random.default_rng(5)
    ours = {name: array.astype(dtype) for name, array in perceptron(rng).items()}
    if dtype == "c8":
        ours = {
            name: array + 1j * rng.normal(size=array.shape).astype("f4")
            for name, array in ours.items()
        }
        ours = {name: array.astype("c8") for name, array in ours.items()}
    scaled = {name: (array * array.dtype.type(2)) for name, array in ours.items()}
    found = matched(ours, shuffled(scaled, rng))
    assert same_bytes(found.tensors, scaled)


def heads_of(
    rng: np.random.Generator, *, rotated: bool
) -> tuple[Tensors, Tensors, tuple[Units, ...]]:
    """A block of 3 heads of 4, and the same with its heads in another order, values within too."""
    ours = {name: rng.normal(size=(12, 8)) for name in "qkv"} | {"o": rng.normal(size=(8, 12))}
    theirs = {name: array * 1.25 for name, array in ours.items()}
    index = np.arange(12).reshape(3, 4, 1)
    inside = index.reshape(3, 1, 4) if rotated else index
    pair, mixed = (Place("q", 0, inside), Place("k", 0, inside)), (Place("v", 0, index),)
    units = Units("heads", 3, (pair, (*mixed, Place("o", 1, index))))
    order = rng.permutation(3)
    pairs = np.concatenate(
        [4 * h + (np.arange(4) if rotated else rng.permutation(4)) for h in order]
    )
    values = np.concatenate([4 * h + rng.permutation(4) for h in order])
    for name in "qk":
        theirs[name] = theirs[name][pairs]
    theirs["v"], theirs["o"] = theirs["v"][values], theirs["o"][:, values]
    return ours, theirs, (units,)


@pytest.mark.parametrize("rotated", [False, True])
def test_heads_move_with_all_that_is_theirs(rotated: bool) -> None:
    ours, theirs, units = heads_of(np.random.default_rng(6), rotated=rotated)
    found = match(ours, theirs, units)
    assert all((found.tensors[name] == ours[name] * 1.25).all() for name in ours)


# --- wiring ---------------------------------------------------------------------------------


def names_of(found: Wiring) -> dict[str, set[tuple[str, int]]]:
    return {
        one.name: {(place.tensor, place.axis) for some in one.places for place in some}
        for one in found.units
    }


def test_layers_are_ordered_by_number_and_not_by_letter() -> None:
    sizes = (4, 7, 7, 7, 7, 7, 7, 2)
    found = wiring(perceptron(np.random.default_rng(0), sizes))
    assert found.row == ("0", "2", "4", "6", "8", "10", "12")
    assert names_of(found)["8"] == {("8.weight", 0), ("8.bias", 0), ("10.weight", 1)}


def test_layers_whose_names_tell_no_order_are_ordered_by_their_sizes() -> None:
    shapes = {"hidden.weight": (6, 8), "input.weight": (8, 20), "output.weight": (3, 6)}
    assert infer(shapes).row == ("input", "hidden", "output")


def test_inputs_and_outputs_keep_their_order() -> None:
    found = names_of(wiring(perceptron(np.random.default_rng(0))))
    assert set(found) == {"0", "2"}
    assert ("0.weight", 1) not in set.union(*found.values())
    assert ("4.weight", 0) not in set.union(*found.values())


def test_a_tensor_of_unknown_part_keeps_what_has_its_size() -> None:
    shapes = {"0.weight": (8, 4), "2.weight": (6, 8), "4.weight": (3, 6), "mystery": (1, 8)}
    found = infer(shapes)
    assert set(names_of(found)) == {"2"}
    assert found.notes == ("0 keeps its order: the part of mystery is not known",)


def test_groups_of_channels_keep_their_order() -> None:
    shapes = {
        "0.weight": (8, 3, 3, 3), "1.weight": (8,), "1.bias": (8,),
        "3.weight": (6, 8, 3, 3), "4.weight": (6,), "4.bias": (6,),
        "4.running_mean": (6,), "4.running_var": (6,), "6.weight": (2, 6),
    }  # fmt: skip
    found = infer(shapes)
    assert set(names_of(found)) == {"3"}
    assert "GroupNorm" in found.notes[0]


def test_flattened_channels_take_their_pixels_along() -> None:
    (units,) = infer({"0.weight": (4, 1, 3, 3), "2.weight": (5, 36)}).units
    (places,) = units.places
    reader = next(place for place in places if place.tensor == "2.weight")
    assert reader.index[2].ravel().tolist() == list(range(18, 27))


@pytest.mark.parametrize(
    "shapes",
    [
        {"a.weight": (8, 4), "b.weight": (3, 7)},  # no row
        {"trunk.weight": (8, 4), "one.weight": (3, 8), "two.weight": (5, 8)},  # two outputs
        {"bias": (3,)},
    ],
)
def test_a_network_that_is_no_row_is_not_guessed(shapes: dict[str, tuple[int, ...]]) -> None:
    with pytest.raises(UsageError, match="how the layers follow"):
        infer(shapes)


def test_rows_that_a_block_splits_keep_its_stream() -> None:
    """A fused layer of unknown make: what its parts mean is not known, so nothing moves."""
    shapes = {"embed.weight": (9, 8), "head.weight": (9, 8), "blocks.0.fused.weight": (24, 8)}
    found = infer(shapes | {"blocks.0.last.weight": (8, 8)})
    assert found.units == ()
    assert found.notes


@pytest.mark.parametrize("heads", [3, 16])
def test_heads_that_do_not_fit_are_refused(heads: int) -> None:
    block = {f"blocks.0.{name}_proj.weight": (8, 8) for name in "qkvo"}
    with pytest.raises(UsageError, match="heads"):
        infer({"embed.weight": (9, 8), "head.weight": (9, 8), **block}, heads)


# --- units as a person writes them ----------------------------------------------------------

SHAPES = {"q": (12, 8), "k": (12, 8), "v": (12, 8), "o": (8, 12), "fused": (36, 8)}


def test_written_units_say_what_stands_where() -> None:
    text = """
        [hidden]
        places = ["q:1", "o:0"]
        [heads]
        count = 3
        places = [["fused:0[0:12]", "k:0"], ["fused:0[24:36]", "o:1"]]
    """
    hidden, heads = read(text, "units.toml", SHAPES)
    assert (hidden.count, heads.count) == (8, 3)
    assert [place.tensor for place in hidden.places[0]] == ["q", "o"]
    assert heads.places[1][0].index[1].ravel().tolist() == [28, 29, 30, 31]
    assert heads.places[0][0].index.shape == (3, 4, 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[a", "no TOML"),
        ("a = 3", "needs a list"),
        ("[a]\nplaces = []", "needs a list"),
        ("[a]\nplaces = [[]]", "empty"),
        ("[a]\nplaces = ['q:0']\nrun = 'x'", "nothing else"),
        ("[a]\nplaces = ['q']", "no place"),
        ("[a]\nplaces = [3]", "no place"),
        ("[a]\nplaces = ['z:0']", "no tensor"),
        ("[a]\nplaces = ['q:2']", "no axis"),
        ("[a]\nplaces = ['q:0[0:13]']", "beyond"),
        ("[a]\nplaces = ['q:0[3:3]']", "beyond"),
        ("[a]\ncount = 5\nplaces = ['q:0']", "no share"),
        ("[a]\ncount = 0\nplaces = ['q:0']", "count"),
        ("[a]\ncount = 2\nplaces = [['q:0', 'q:1']]", "different numbers"),
    ],
)
def test_written_units_that_make_no_sense_are_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read(text, "units.toml", SHAPES)
