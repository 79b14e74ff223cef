"""distance: the definitions of docs/distance.md, and what holds for every two versions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from git_nn.compare import compare
from git_nn.differences.distance import (
    Description,
    Distance,
    Span,
    Weights,
    combined,
    of_file,
    total,
    whole,
)
from tests.unit.diff.versions import Version, f32, version

NAN = float("nan")
A = np.arange(1, 13, dtype=np.float64).reshape(3, 4)


def plain(array: Any) -> tuple[str, np.ndarray]:
    return "f64", np.asarray(array, np.float64)


Texts = dict[str, str]


def distance(old: Version, new: Version, beside: tuple[Texts, Texts] | None = None) -> Distance:
    before, after = beside or ({}, {})
    return of_file(
        compare(old, new), Description(old.described, before), Description(new.described, after)
    )


def exact(value: float) -> Span:
    return Span(pytest.approx(value, abs=1e-9), pytest.approx(value, abs=1e-9))


def step(a: Any, b: Any) -> float:
    """‖b - a‖ / (‖a‖ + ‖b‖), in plain Python."""
    a, b = np.ravel(a).tolist(), np.ravel(b).tolist()
    apart = math.sqrt(math.fsum((y - x) ** 2 for x, y in zip(a, b, strict=True)))
    return apart / (math.sqrt(math.fsum(x * x for x in a)) + math.sqrt(math.fsum(y * y for y in b)))


def test_a_version_is_at_no_distance_from_itself() -> None:
    one = version({"a": plain(A), "n": plain([NAN])}, described={"metadata": {"x": "1"}})
    found = distance(one, one)
    assert (found.structure, found.parameters, found.metadata) == (Span(0, 0),) * 3
    assert total(found, Weights()) == Span(0, 0)


def test_parameters_are_weighted_by_elements() -> None:
    old = version({"a": plain(A), "b": plain([3, 4]), "same": plain([1, 1, 1])})
    new = version({"a": plain(A + 1), "b": plain([4, 3]), "same": plain([1, 1, 1])})
    found = distance(old, new)
    assert found.elements == 17
    assert found.parameters == exact((12 * step(A, A + 1) + 2 * step([3, 4], [4, 3])) / 17)
    assert found.structure == exact(0)
    assert total(found, Weights()) == exact(0.6 * found.parameters.low)
    assert total(found, Weights(1, 1, 2)) == exact(found.parameters.low / 4)


def test_elements_that_only_one_version_has_count_as_one() -> None:
    old = version({"a": plain(A), "gone": plain([1, 2])})
    new = version({"a": plain(np.vstack([A * 2, A[:1]])), "come": plain([5])})
    found = distance(old, new)
    assert found.elements == 12 + 4 + 2 + 1
    assert found.parameters == exact((12 * step(A, A * 2) + 4 + 2 + 1) / 19)
    assert found.structure == exact(1)


def test_extremes_of_one_tensor() -> None:
    def moved(a: Any, b: Any) -> float:
        return distance(version({"w": plain(a)}), version({"w": plain(b)})).parameters.low

    assert moved([0, 0], [1, 2]) == 1
    assert moved([1, 2], [0, 0]) == 1
    assert moved([1, 2], [-1, -2]) == 1
    assert moved([0.0], [-0.0]) == 0
    assert moved([1, 0], [0, 1]) == pytest.approx(math.sqrt(2) / 2)
    assert moved([1, NAN], [1, 2]) == 1
    assert moved([1, NAN], [2, NAN]) == 1
    assert moved([1e200, 1], [2e200, 1]) == pytest.approx(1 / 3)
    assert moved([1e-200], [3e-200]) == pytest.approx(1 / 2)


def test_structure_is_the_share_of_names_that_differ() -> None:
    old = version({"same": plain([1]), "cast": plain([2]), "gone": plain([3]), "wide": plain([4])})
    new = version(
        {"same": plain([1]), "cast": f32(2), "come": plain([5, 5]), "wide": plain([4, 4])}
    )
    assert distance(old, new).structure == exact(3 / 5)
    renamed = version({"x": plain([1]), "cast": plain([2]), "gone": plain([3]), "wide": plain([4])})
    assert distance(old, renamed).structure == exact(0)


def dense(name: str, units: int) -> dict[str, Any]:
    return {"class_name": "Dense", "config": {"name": name, "units": units}}


def keras(*layers: dict[str, Any], **rest: Any) -> dict[str, Any]:
    model = {"class_name": "Sequential", "config": {"name": "net", "layers": list(layers)}}
    return {"model_config": model, **rest}


def test_layers_count_with_the_tensors_and_all_other_keys_as_metadata() -> None:
    before = keras(dense("a", 1), dense("b", 2), lr=0.1, epochs=3)
    after = keras(dense("a", 1), dense("b", 3), dense("c", 4), lr=0.2)
    old = version({"w": plain([1])}, described=before)
    new = version({"w": plain([1])}, described=after, skeleton="other")
    found = distance(old, new)
    assert found.structure == exact(2 / 4)  # b, c of w, a, b, c
    assert found.metadata == exact(2 / 4)  # lr, epochs of them, class and name of the model
    assert found.parameters == exact(0)


def test_files_beside_the_model_are_metadata() -> None:
    one = version({"w": plain([1])}, described={"metadata": {"format": "pt"}})
    before = {"params.json:lr": "1", "params.json:n": "2"}
    after = {"params.json:lr": "3", "params.json:m": "2"}
    found = distance(one, one, (before, after))
    assert found.metadata == exact(3 / 4)
    assert found.structure == found.parameters == exact(0)


def test_what_is_not_here_is_a_range() -> None:
    old = version({"a": plain(A), "b": plain([1, 2, 3, 4])})
    new = version({"a": plain(A + 1), "b": plain([2, 3, 4, 5])}, skeleton="other")
    new.missing.add("b")
    found = distance(old, new)
    known = 12 * step(A, A + 1)
    assert found.parameters.low == pytest.approx(known / 16, abs=1e-9)
    assert found.parameters.high == pytest.approx((known + 4) / 16, abs=1e-9)
    assert found.unread == 1
    unknown = of_file(compare(old, new), Description(None), Description(None))
    assert unknown.metadata == Span(0, 1)
    assert unknown.structure == exact(0)
    layered = compare(old, version({"a": plain(A)}, container="hdf5", skeleton="x"))
    assert of_file(layered, Description(None), Description(None)).structure == Span(0, 1)
    opaque = version({}, container="opaque"), version({}, container="opaque", skeleton="x")
    assert distance(*opaque).parameters == Span(0, 1)
    assert distance(opaque[0], opaque[0]).parameters == Span(0, 0)


def test_several_files_are_weighted_by_their_elements() -> None:
    small = version({"w": plain([1])}), version({"w": plain([3])})
    large = version({"w": plain(A)})
    found = [distance(*small), distance(large, large)]
    assert combined(found).parameters == exact((0.5 * 1 + 0 * 12) / 13)
    gone = whole(compare(large, None))
    assert total(combined([gone, *found]), Weights()) == exact((12 + 0.6 * 0.5) / 25)


@pytest.mark.parametrize("weights", [(-1, 1, 1), (0, 0, 0), (NAN, 1, 1), (math.inf, 1, 1)])
def test_weights_that_make_no_sense(weights: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="weights"):
        Weights(*weights)


VALUES = st.floats(-1e6, 1e6, width=32) | st.sampled_from([0.0, -0.0, NAN, math.inf, 1e300])
ARRAYS = st.lists(VALUES, min_size=0, max_size=5).map(plain)
DESCRIBED = st.dictionaries(st.sampled_from("xyz"), st.sampled_from("12"), max_size=3)
VERSIONS = st.builds(
    lambda tensors, said: version(tensors, described={"metadata": said}, skeleton=repr(said)),
    st.dictionaries(st.sampled_from(["a", "b", "c", "d"]), ARRAYS, max_size=4),
    DESCRIBED,
)


@settings(max_examples=150, deadline=None)
@given(VERSIONS, VERSIONS)
def test_it_is_symmetric_and_between_nothing_and_one(old: Version, new: Version) -> None:
    there, back = distance(old, new), distance(new, old)
    for part in ("structure", "parameters", "metadata"):
        one, other = getattr(there, part), getattr(back, part)
        assert 0 <= one.low <= one.high <= 1
        assert (one.low, one.high) == pytest.approx((other.low, other.high), abs=2e-9)
    assert there.elements == back.elements
    assert 0 <= total(there, Weights()).low <= 1


VECTORS = st.lists(st.floats(-100, 100), min_size=3, max_size=3).map(np.array)


def parameters(a: np.ndarray, b: np.ndarray) -> float:
    return distance(version({"w": plain(a)}), version({"w": plain(b)})).parameters.low


@settings(max_examples=150, deadline=None)
@given(VECTORS, VECTORS, st.floats(0, 10), st.floats(0, 10))
def test_it_grows_on_every_straight_way(
    start: np.ndarray, way: np.ndarray, one: float, other: float
) -> None:
    near, far = sorted((one, other))
    assert parameters(start, start + near * way) <= parameters(start, start + far * way) + 2e-9


@settings(max_examples=150, deadline=None)
@given(VECTORS, VECTORS, VECTORS, st.floats(0.001, 1000))
def test_it_obeys_the_triangle_inequality_and_knows_no_scale(
    a: np.ndarray, b: np.ndarray, c: np.ndarray, scale: float
) -> None:
    assert parameters(a, c) <= parameters(a, b) + parameters(b, c) + 3e-9
    assert parameters(scale * a, scale * b) == pytest.approx(parameters(a, b), abs=1e-6)


PAIRS = st.dictionaries(
    st.sampled_from([1.5, 2.5, 3.5]), st.lists(st.tuples(VALUES, VALUES), max_size=4), min_size=1
)


@settings(max_examples=100, deadline=None)
@given(PAIRS, st.booleans())
def test_a_tensor_that_goes_makes_it_larger(
    pairs: dict[float, list[tuple[float, float]]], more: bool
) -> None:
    """Each tensor begins with its name, so that none is taken for another one renamed."""
    old = {str(mark): plain([mark, *(a for a, _ in values)]) for mark, values in pairs.items()}
    new = {str(mark): plain([mark, *(b for _, b in values)]) for mark, values in pairs.items()}
    if more:
        new["more"] = plain([7])
    less = dict(list(new.items())[1:])
    before, after = (distance(version(old), version(each)) for each in (new, less))
    assert after.parameters.low >= before.parameters.low - 2e-9
    assert after.structure.low > before.structure.low
    assert total(after, Weights()).low > total(before, Weights()).low
