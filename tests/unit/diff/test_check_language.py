"""check_language: what is understood, and how exactly the rest is refused."""

from __future__ import annotations

import pytest

from git_nn.differences.check_language import Check, Limit, Measure, Question, parse, parse_file
from git_nn.errors import UsageError


@pytest.mark.parametrize(
    ("text", "question", "patterns"),
    [
        ("embed* unchanged", Question.UNCHANGED, ("embed*",)),
        ("a b* unchanged", Question.UNCHANGED, ("a", "b*")),
        ("unchanged", Question.UNCHANGED, ()),
        ("head* changed", Question.CHANGED, ("head*",)),
        ("only head* changed", Question.ONLY, ("head*",)),
        ("only head* lora* changed", Question.ONLY, ("head*", "lora*")),
        ("no nan", Question.NO_NAN, ()),
        ("no NaN", Question.NO_NAN, ()),
        ("layers.* no inf", Question.NO_INF, ("layers.*",)),
        ("no added", Question.NO_ADDED, ()),
        ("no removed", Question.NO_REMOVED, ()),
        ("dtype unchanged", Question.DTYPE, ()),
        ("w shape unchanged", Question.SHAPE, ("w",)),
        ("'max' \"my layer\" unchanged", Question.UNCHANGED, ("max", "my layer")),
        ("only 'changed' changed", Question.ONLY, ("changed",)),
        ("  embed*   unchanged  ", Question.UNCHANGED, ("embed*",)),
    ],
)
def test_words(text: str, question: Question, patterns: tuple[str, ...]) -> None:
    assert parse(text) == Check(text, question, patterns)


@pytest.mark.parametrize(
    ("text", "measure", "limit"),
    [
        ("relL2 < 0.05", Measure.RELATIVE, Limit("<", 0.05)),
        ("relL2<5%", Measure.RELATIVE, Limit("<", 0.05)),
        ("relL2 <= 1e-2 abs 1e-6", Measure.RELATIVE, Limit("<=", 0.01, 1e-6)),
        ("relL2 > 1e-3", Measure.RELATIVE, Limit(">", 1e-3)),
        ("cosine > 0.99", Measure.COSINE, Limit(">", 0.99)),
        ("cosine >= -1 abs 0", Measure.COSINE, Limit(">=", -1, 0)),
        ("max < .5", Measure.MAX, Limit("<", 0.5)),
        ("mean < 1e-3", Measure.MEAN, Limit("<", 1e-3)),
        ("changed < 10%", Measure.CHANGED, Limit("<", 0.1)),
        ("changed < 10 % abs 1e-8", Measure.CHANGED, Limit("<", 0.1, 1e-8)),
    ],
)
def test_limits(text: str, measure: Measure, limit: Limit) -> None:
    assert parse(text) == Check(text, Question.LIMIT, (), measure, limit)
    named = parse(f"layers.*.mlp.* {text}")
    assert (named.patterns, named.measure, named.limit) == (("layers.*.mlp.*",), measure, limit)


def test_the_distance_is_about_the_whole_model() -> None:
    found = parse("distance < 10%")
    assert (found.question, found.limit) == (Question.DISTANCE, Limit("<", 0.1))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "expected a test ("),
        ("embed*", "shape, unchanged) at its end; for example: embed* unchanged"),
        ("embed* unchanged now", "expected nothing more after 'unchanged' at character 18"),
        ("relL2", "expected one of <, <=, >, >= at its end; for example: relL2 < 0.05"),
        ("relL2 = 3", "expected one of <, <=, >, >= at character 7, found '='"),
        ("relL2 << 3", "expected a number at character 8, found '<'"),
        ("relL2 < five", "expected a number at character 9, found 'five'"),
        ("relL2 <", "expected a number at its end"),
        ("relL2 < nan", "expected a number at character 9, found 'nan'"),
        ("relL2 < -nan", "expected a number at character 9, found '-nan'"),
        ("max < inf", "expected a number at character 7, found 'inf'"),
        ("max < 1e999", "expected a number at character 7, found '1e999'"),
        ("max < 1_0", "expected a number at character 7, found '1_0'"),
        ("relL2 < -1", "expected a number of 0 or more at character 9, found '-1'"),
        ("cosine > 2", "expected a number from -1 to 1 at character 10, found '2'"),
        ("cosine > 99%", "expected a number without % at character 10, found '99%'"),
        ("changed < 10", "expected a number from 0 to 1 (or per cent, with %) at character 11"),
        ("distance < 2", "expected a number from 0 to 1 (or per cent, with %) at character 12"),
        ("max < 3 abs 2", "expected nothing more: this limit is absolute already at character 9"),
        ("relL2 > 3 abs 2", "expected no 'abs' after '>', which asks for a change at character 11"),
        ("relL2 < 5% abs", "expected a number at its end; for example: relL2 < 0.05 abs 1e-6"),
        ("relL2 < 5% abs -1", "expected a number of 0 or more at character 16, found '-1'"),
        ("rell2 < 3", "one of relL2, cosine, max, mean, changed before '<' at character 7"),
        ("no foo", "expected nan, inf, added, removed after 'no' at character 4, found 'foo'"),
        ("dtype", "expected unchanged after 'dtype' at its end"),
        ("dtype changed", "expected unchanged after 'dtype' at character 7, found 'changed'"),
        ("x* no added", "expected 'no added' without a pattern: it is about the whole model"),
        ("x* distance < 1", "expected 'distance' without a pattern: it is about the whole model"),
        ("only changed", "expected a pattern after 'only' at character 6, found 'changed'"),
        ("only head*", "expected 'changed' at its end"),
        ("only head* changed now", "expected nothing more after 'changed' at character 20"),
        ('"abc unchanged', "expected a quote that is closed at character 1"),
        ("__import__('os') unchanged or 1", "expected nothing more after 'unchanged'"),
    ],
)  # fmt: skip
def test_what_is_not_understood_is_refused_with_its_place(text: str, said: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse(text)
    assert said in str(refused.value)
    assert f"the check {text!r} cannot be read" in refused.value.message
    example = refused.value.hint.removeprefix("for example: ")
    assert parse(example).text == example


def test_a_check_has_a_sane_length() -> None:
    with pytest.raises(UsageError, match="too long"):
        parse("a" * 2000 + " unchanged")


def test_a_file_has_a_check_on_each_line() -> None:
    text = "# frozen\nembed* unchanged\n\n  relL2 < 5%   # of the head\nlayer#1 unchanged\n"
    assert [check.text for check in parse_file(text, "model.checks")] == [
        "embed* unchanged",
        "relL2 < 5%",
        "layer#1 unchanged",
    ]
    with pytest.raises(UsageError) as refused:
        parse_file("no nan\nno nana\n", "model.checks")
    assert str(refused.value).startswith("model.checks:2: the check 'no nana' cannot be read")
