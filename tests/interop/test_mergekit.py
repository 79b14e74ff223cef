"""Each strategy that mergekit has, on the same tensors; where we differ on purpose, how.

mergekit is installed without what it needs to load language models (transformers, peft): its
functions on tensors never touch that, so empty modules stand in for it while it is imported.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from tests.unit.merge.test_strategies import merged, sides

pytestmark = pytest.mark.interop

Arrays = list[np.ndarray]
Peer = Callable[..., np.ndarray]


class _Empty(ModuleType):
    """A module in which every name is a class of its own."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__path__: list[str] = []

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


@contextmanager
def _without_language_models() -> Iterator[None]:
    missing = [n for n in ("transformers", "peft", "huggingface_hub") if find_spec(n) is None]
    sys.modules.update({name: _Empty(name) for name in missing})
    try:
        yield
    finally:
        for name in missing:
            del sys.modules[name]


@pytest.fixture(scope="module")
def peer() -> Peer:
    """mergekit's merge of arrays: method, arrays with the base first, parameters."""
    with _without_language_models(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from mergekit.merge_methods.api import merge_tensors

    def merge(method: str, arrays: Arrays, base: int | None = 0, **parameters: Any) -> np.ndarray:
        tensors = [torch.tensor(array) for array in arrays]
        made = merge_tensors(tensors, method, parameters=parameters, base_index=base)
        return made.numpy()

    return merge


TINY = 1e-300  # mergekit adds 1e-8 to every length
SAME = {
    # ours: mergekit's method, what it takes for the base, its parameters
    "mean": ("linear", None, {"weight": [0.5, 0.5]}),
    "mean:weight=0.3": ("linear", None, {"weight": [0.7, 0.3]}),
    "slerp:t=0.3": ("slerp", "ours", {"t": 0.3}),
    "nearswap:t=0.05": ("nearswap", "ours", {"t": 0.05}),
    "arcee-fusion": ("arcee_fusion", "ours", {}),
    "karcher": ("karcher", None, {"max_iter": 100, "tol": 1e-12}),
    "multislerp": ("multislerp", "base", {"weight": [0.5, 0.5], "eps": TINY}),
    "multislerp:weight=0.3": ("multislerp", "base", {"weight": [0.7, 0.3], "eps": TINY}),
    "task-arithmetic:lambda=0.7": ("task_arithmetic", "base", {"weight": 1.0, "lambda": 0.7}),
    "nuslerp:t=0.3": ("nuslerp", "base", {"weight": [0.7, 0.3]}),
    "model-stock": ("model_stock", "base", {}),
    "ties:density=0.3": ("ties", "base", {"weight": 1.0, "density": 0.3}),
    "ties:density=1,lambda=0.5": ("ties", "base", {"weight": 1.0, "lambda": 0.5}),
    "breadcrumbs:density=0.6,gamma=0.1": (
        "breadcrumbs", "base", {"weight": 1.0, "density": 0.6, "gamma": 0.1},
    ),
    "breadcrumbs": ("breadcrumbs", "base", {"weight": 1.0, "density": 0.9}),
    "breadcrumbs:density=1": ("breadcrumbs", "base", {"weight": 1.0}),
    "dare-linear:density=1": ("dare_linear", "base", {"weight": 1.0}),
    "della:density=1,epsilon=0": ("della", "base", {"weight": 1.0}),
    "sce": ("sce", "base", {}),
    "sce:select=0.3": ("sce", "base", {"select_topk": 0.3}),
    "passthrough:scale=1.5": ("passthrough", "alone", {"scale": 1.5}),
}  # fmt: skip


def theirs_of(peer: Peer, choice: str, arrays: Arrays) -> np.ndarray:
    method, role, parameters = SAME[choice]
    if role == "base":
        return peer(method, arrays, **parameters)
    if role == "alone":
        return peer(method, arrays[1:2], None, **parameters)
    return peer(method, arrays[1:], 0 if role == "ours" else None, **parameters)


@pytest.mark.parametrize("shape", [(40, 30), (300,), (99,), (7,), (6, 4, 3, 3)], ids=str)
@pytest.mark.parametrize("choice", SAME)
def test_the_result_is_mergekits_to_rounding(
    peer: Peer, choice: str, shape: tuple[int, ...]
) -> None:
    arrays = sides(shape)
    expected = theirs_of(peer, choice, arrays)
    assert merged(choice, *arrays) == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("kind", ["<f4", "<f2"])
@pytest.mark.parametrize("choice", SAME)
def test_stored_types_differ_by_their_own_rounding(peer: Peer, choice: str, kind: str) -> None:
    """mergekit computes in the stored type, we in double: both are near the exact result."""
    arrays = sides((40, 30), kind)
    exact = merged(choice, *(array.astype("<f8") for array in arrays))
    step = 6 * float(np.finfo(kind).eps) * float(np.abs(exact).max())
    assert np.abs(merged(choice, *arrays) - exact).max() <= step
    found = np.abs(theirs_of(peer, choice, arrays).astype("<f8") - exact)
    assert np.count_nonzero(found > step) <= found.size // 100  # an element at a threshold


# --- edges ----------------------------------------------------------------------------------

CURVED = {"slerp:t=0.3", "karcher", "multislerp", "multislerp:weight=0.3", "nuslerp:t=0.3"}
FLAT = sorted(SAME.keys() - CURVED)


@pytest.mark.parametrize("choice", FLAT)
def test_a_side_that_did_not_change(peer: Peer, choice: str) -> None:
    base, ours, _ = sides((40, 30))
    for arrays in ([base, ours, base], [base, base, ours], [base, base, base]):
        expected = theirs_of(peer, choice, arrays)
        assert merged(choice, *arrays) == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("choice", FLAT)
def test_a_tensor_of_zeros(peer: Peer, choice: str) -> None:
    _, ours, theirs = sides((40, 30))
    arrays = [np.zeros_like(ours), ours, theirs]
    expected = theirs_of(peer, choice, arrays)
    assert merged(choice, *arrays) == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("choice", sorted(SAME))
def test_a_nan_stays_at_its_place(peer: Peer, choice: str) -> None:
    """Where a formula has a sum over the tensor, mergekit's result is NaN all over."""
    base, ours, theirs = sides((40, 30))
    ours[3, 4] = np.nan
    found = merged(choice, base, ours, theirs)
    assert np.isnan(found[3, 4])
    assert np.count_nonzero(np.isnan(found)) == 1
    peers = theirs_of(peer, choice, [base, ours, theirs])
    assert np.isnan(peers[3, 4]) or choice.startswith(("ties", "breadcrumbs", "sce", "arcee"))


# --- where we differ, on purpose (docs/merge.md) --------------------------------------------


def test_dare_divides_by_the_probability_and_mergekit_by_what_is_left(peer: Peer) -> None:
    base, ours, _ = sides((100, 100))
    torch.manual_seed(0)
    change = ours - base
    found = merged("dare-linear:density=0.25", base, ours, base) - base
    peers = peer("dare_linear", [base, ours], weight=1.0, density=0.25) - base
    for result in (found, peers):
        assert 0.2 < np.count_nonzero(np.abs(result) > 1e-12) / change.size < 0.3
    kept = np.abs(found) > 1e-12
    assert found[kept] == pytest.approx(4 * change[kept], rel=1e-6)
    assert np.abs(peers).sum() == pytest.approx(np.abs(change).sum(), rel=1e-5)
    assert np.abs(found).sum() != pytest.approx(np.abs(change).sum(), rel=1e-5)


def test_dare_ties_takes_the_mean_of_those_who_agree_and_mergekit_the_sum(peer: Peer) -> None:
    base, ours, theirs = arrays = sides((40, 30))
    found = merged("dare-ties:density=1", *arrays) - base
    peers = peer("dare_ties", arrays, weight=1.0) - base
    agree = (ours - base) * (theirs - base) > 0
    assert agree.any()
    assert not agree.all()
    assert peers[agree] == pytest.approx(2 * found[agree], rel=1e-6)
    assert peers[~agree] == pytest.approx(found[~agree], rel=1e-6)


def test_model_stock_returns_to_the_base_where_mergekit_steps_behind_it(peer: Peer) -> None:
    base, ours, _ = sides((40, 30))
    arrays = [base, ours, base - 0.5 * (ours - base) + 0.01]
    assert merged("model-stock", *arrays).tobytes() == base.tobytes()
    peers = peer("model_stock", arrays)
    mean = (arrays[1] + arrays[2]) / 2
    assert float(((peers - base) * (mean - base)).sum()) < 0


def test_sce_weighs_small_changes_by_their_energy_too(peer: Peer) -> None:
    base, ours, theirs = sides((40, 30))
    small = [base, base + 1e-5 * (ours - base), base + 3e-5 * (theirs - base)]
    large = [base, ours, base + 3 * (theirs - base)]
    found = (merged("sce", *small) - base) * 1e5
    assert found == pytest.approx(merged("sce", *large) - base, rel=1e-4, abs=1e-9)
    peers = (peer("sce", small) - base) * 1e5
    assert np.abs(peers - found).max() > 0.01


def test_sce_selects_one_element_at_least(peer: Peer) -> None:
    arrays = sides((7,))
    assert np.count_nonzero(merged("sce:select=0.1", *arrays) != arrays[0]) == 1
    assert (peer("sce", arrays, select_topk=0.1) == arrays[0]).all()


@pytest.mark.parametrize("choice", ["slerp:t=0.3", "nuslerp:t=0.3"])
def test_what_has_no_angle_is_mixed_linearly(peer: Peer, choice: str) -> None:
    _, ours, _ = sides((40, 30))
    zero = np.zeros_like(ours)
    arrays = [zero, zero, ours]
    assert merged(choice, *arrays) == pytest.approx(0.3 * ours, rel=1e-12)
    quarter = np.sin(0.3 * np.pi / 2)  # as if it stood at a right angle
    assert theirs_of(peer, choice, arrays) == pytest.approx(quarter * ours, rel=1e-9)


def test_arcee_fusion_takes_exact_quartiles_where_mergekit_draws_a_sample(peer: Peer) -> None:
    arrays = sides((1001, 1000), "<f4")
    torch.manual_seed(0)
    first, second = (theirs_of(peer, "arcee-fusion", arrays) for _ in range(2))
    found = merged("arcee-fusion", *arrays)
    assert found.tobytes() == merged("arcee-fusion", *arrays).tobytes()
    assert 0 < np.count_nonzero(first != second) < first.size // 100
    assert np.count_nonzero(np.abs(found - first) > 1e-6) < first.size // 100
