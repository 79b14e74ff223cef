from __future__ import annotations

import pytest

from git_nn.errors import UsageError
from git_nn.gitio.config import Config, parse


def of(**items: str) -> Config:
    return Config({f"nn.{name}": (value,) for name, value in items.items()})


def test_the_last_value_counts_and_all_are_kept() -> None:
    config = parse(b"nn.a\n1\0nn.a\n2\0nn.b\nx\ny\0")
    assert config.get("nn.a") == "2"
    assert config.get_all("nn.a") == ["1", "2"]
    assert config.get("nn.b") == "x\ny"
    assert config.get("nn.c") is None
    assert config.get_all("nn.c") == []


def test_sections_and_names_know_no_case_but_subsections_do() -> None:
    config = parse(b"remote.Big.Fetch.url\nhere\0")
    assert config.get("REMOTE.Big.Fetch.URL") == "here"
    assert config.get("remote.big.fetch.url") is None


def test_a_key_without_a_value_is_true_and_an_empty_value_is_false() -> None:
    config = parse(b"nn.bare\0nn.empty\n\0")
    assert config.boolean("nn.bare", False) is True
    assert config.boolean("nn.empty", True) is False
    assert config.get("nn.bare") == ""


@pytest.mark.parametrize(
    ("text", "expected"),
    [("true", True), ("YES", True), ("on", True), ("1", True), ("-1", True), ("0x10", True),
     ("false", False), ("No", False), ("off", False), ("0", False), ("00", False)],
)  # fmt: skip
def test_booleans_are_read_as_git_reads_them(text: str, expected: bool) -> None:
    assert of(key=text).boolean("nn.key", not expected) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("7", 7), ("2k", 2048), ("3M", 3 * 2**20), ("1g", 2**30), ("-1", -1), (" 4", 4), ("0x10", 16)],
)
def test_integers_have_units(text: str, expected: int) -> None:
    assert of(key=text).integer("nn.key", 0) == expected


@pytest.mark.parametrize("text", ["", "big", "1t", "1.5", "k"])
def test_a_wrong_integer_names_the_key(text: str) -> None:
    with pytest.raises(UsageError, match=r"nn\.key"):
        of(key=text).integer("nn.key", 0)


@pytest.mark.parametrize(
    ("text", "expected"), [("0", 0), ("0.5", 0.5), ("1e-3", 0.001), (".5", 0.5), (" 2 ", 2)]
)
def test_numbers(text: str, expected: float) -> None:
    assert of(key=text).number("nn.key") == expected
    assert of().number("nn.key") is None


@pytest.mark.parametrize("text", ["", "nan", "inf", "-1", "1k", "1e999", "1_0", "one"])
def test_a_wrong_number_names_the_key(text: str) -> None:
    with pytest.raises(UsageError, match=r"nn\.key"):
        of(key=text).number("nn.key")


def test_a_wrong_boolean_names_the_key() -> None:
    with pytest.raises(UsageError, match=r"nn\.key"):
        of(key="maybe").boolean("nn.key", False)


def test_defaults_hold_where_nothing_is_set() -> None:
    assert of().integer("nn.key", 9) == 9
    assert of().boolean("nn.key", True) is True


def test_a_section_is_every_key_below_a_prefix() -> None:
    config = parse(b"nn.merge.a\n1\0nn.merge.b\n2\0nn.merged\n3\0other.merge.a\n4\0")
    assert config.section("NN.merge") == {"nn.merge.a": "1", "nn.merge.b": "2"}
