"""Names: what a person reads is what is there, and the order is natural."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from git_nn.objects import names

valid = st.binary(max_size=40).map(lambda raw: raw.decode("utf-8", "surrogateescape"))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("model.layers.0.q_proj.weight", "model.layers.0.q_proj.weight"),
        ("dense/kernel:0", "dense/kernel:0"),
        ("", "%-"),
        ("100%", "100%25"),
        ("a b", "a b"),
        (" a", "%20a"),
        ("a ", "a%20"),
        ("a\nb", "a%0Ab"),
        ("a\tb\r", "a%09b%0D"),
        ("über", "über"),
        ("\u202eevil", "%E2%80%AEevil"),  # right-to-left override
        ("zero\u200bwidth", "zero%E2%80%8Bwidth"),
        ("no\u00a0break", "no%C2%A0break"),
        ("line\u2028end", "line%E2%80%A8end"),
        ("\udcff", "%FF"),
        ("\U0001f600", "%F0%9F%98%80"),  # not in Unicode 3.2, so never printed as it is
    ],
)
def test_a_name_is_one_visible_line(name: str, text: str) -> None:
    assert names.escape(name) == text
    assert names.unescape(text) == name


@pytest.mark.parametrize("text", ["%2", "%zz", "%41", "a\x00", " a", "%e2", "a%", "%C3%A9"])
def test_another_spelling_of_a_name_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="canonical"):
        names.unescape(text)


@given(valid)
def test_every_name_survives_the_round_trip(name: str) -> None:
    assert names.is_canonical(name)
    text = names.escape(name)
    assert "\n" not in text
    assert text == text.strip()
    assert names.unescape(text) == name


@pytest.mark.parametrize("name", ["\ud800", "\udcc3\udca9", "x" * 4097, "é" * 2049])
def test_names_that_bytes_cannot_carry_are_not_canonical(name: str) -> None:
    assert not names.is_canonical(name)


def test_layers_are_in_natural_order() -> None:
    given_names = [
        "layers.10.w",
        "layers.2.w",
        "layers.1.w",
        "layers.02.w",
        "layers",
        "a",
        "10",
        "9",
    ]
    assert sorted(given_names, key=names.natural_key) == [
        "9", "10", "a", "layers", "layers.1.w", "layers.02.w", "layers.2.w", "layers.10.w",
    ]  # fmt: skip


def test_ten_thousand_digits_are_no_obstacle() -> None:
    small, large = "w" + "9" * 9_999, "w1" + "0" * 9_999
    assert names.natural_key(small) < names.natural_key(large)


@given(valid, valid)
def test_only_equal_names_have_equal_keys(left: str, right: str) -> None:
    assert (names.natural_key(left) == names.natural_key(right)) == (left == right)
