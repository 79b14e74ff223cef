"""Which values a sweep tries, what it reads from a command, and which value is the best."""

from __future__ import annotations

from math import inf, isnan, nan

import pytest

from git_nn.errors import UsageError
from git_nn.merge.sweeping import Trial, best, metric, values


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("lambda=0:1:0.25", "0 0.25 0.5 0.75 1"),
        ("lambda=0:0.3:0.1", "0 0.1 0.2 0.3"),
        ("lambda=0:1:0.3", "0 0.3 0.6 0.9"),
        ("lambda=1:-1:-1", "1 0 -1"),
        ("lambda=2:2:1", "2"),
        ("lambda=.5,1e-3,10", "0.5 0.001 10"),
    ],
)
def test_values_are_decimal(text: str, expected: str) -> None:
    assert values(text) == ("lambda", tuple(expected.split()))


@pytest.mark.parametrize(
    "text",
    ["", "lambda", "=1", "lambda=", "a=x", "a=0:1", "a=0:1:0", "a=1:0:0.1", "a=0:inf:1",
     "a=0:1:nan", "a=0:1:1e-9", "a=0:1:1:1"],
)  # fmt: skip
def test_a_sweep_without_values_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--sweep"):
        values(text)


@pytest.mark.parametrize(
    ("output", "number"),
    [
        (b"accuracy 0.91\n", 0.91),
        (b"epoch 3\nloss=-1.5e-2", -0.015),
        (b"93%", 93.0),
        (b"+.5 layer2 v1.x", 0.5),
        (b"-inf", -inf),
        (b"9\nacc: 7 of the information", 7.0),
    ],
)
def test_the_metric_is_the_last_number(output: bytes, number: float) -> None:
    assert metric(output) == number


def test_no_number_is_no_metric_and_nan_is_one() -> None:
    assert metric(b"done, layer2\n") is None
    found = metric(b"1 loss NaN\n")
    assert found is not None
    assert isnan(found)


def test_the_best_is_the_first_of_equals_and_never_nan() -> None:
    trials = [Trial("0", nan), Trial("1", 2.0), Trial("2", 3.0), Trial("3", 3.0), Trial("4", 2.0)]
    assert best(trials, minimise=False) == trials[2]
    assert best(trials, minimise=True) == trials[1]
    assert best(trials[:1], minimise=True) is None
