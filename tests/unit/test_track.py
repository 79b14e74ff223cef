"""Lines of .gitattributes are added and taken out without touching what is not ours."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from git_nn import track
from git_nn.errors import UsageError

OURS = b"filter=nn diff=nn merge=nn -text"


@example(b"\xef\xbb\xbf")  # a byte order mark
@given(st.binary(min_size=1).filter(lambda b: b"\0" not in b))
def test_a_quoted_pattern_is_one_word_and_unquotes_to_itself(pattern: bytes) -> None:
    assert [rule.pattern for rule in track.rules(track.add(b"", [pattern]))] in (
        [pattern],
        [],  # a comment or a macro; ``glob`` escapes those before they come here
    )
    assert track.unquote(track.quote(pattern)) == pattern
    assert b"\n" not in track.quote(pattern)


@given(
    st.binary().filter(lambda b: OURS not in b),
    st.lists(st.sampled_from([b"*.h5", b"a b.pt", b"/m\\*.h5", b"\\#x"]), min_size=1, unique=True),
)
def test_remove_after_add_gives_the_bytes_of_before(text: bytes, patterns: list[bytes]) -> None:
    tracked = track.add(text, patterns)
    assert all(track.is_tracked(tracked, pattern) for pattern in patterns)
    assert track.remove(tracked, patterns) == text


def test_adding_keeps_line_endings_and_a_missing_last_line_feed() -> None:
    assert track.add(b"a b\r\n", [b"*.h5"]) == b"a b\r\n*.h5 " + OURS + b"\r\n"
    assert track.add(b"# end", [b"*.h5"]) == b"# end\n*.h5 " + OURS
    assert track.add(b"", [b"*.h5"]) == b"*.h5 " + OURS + b"\n"


def test_order_and_comments_stay() -> None:
    text = b"# top\n\n*.png binary\n   # indented\n*.txt text\n"
    assert track.add(text, [b"*.h5"]).startswith(text)


def test_a_line_that_lacks_an_attribute_is_not_tracked() -> None:
    assert not track.is_tracked(b"*.h5 filter=nn\n", b"*.h5")
    assert track.is_tracked(b"*.h5 filter=nn\n*.h5 diff=nn merge=nn -text\n", b"*.h5")
    assert not track.is_tracked(b"*.h5 " + OURS + b"\n*.h5 -filter\n", b"*.h5")


def test_a_byte_order_mark_is_no_part_of_the_pattern() -> None:
    assert track.is_tracked(b"\xef\xbb\xbf*.h5 " + OURS + b"\n", b"*.h5")


def test_removing_keeps_the_attributes_of_others() -> None:
    text = b"*.h5 lockable filter=nn diff=nn eol=lf merge=nn -text\n*.pt " + OURS + b"\n"
    assert track.remove(text, [b"*.h5", b"*.pt"]) == b"*.h5 lockable eol=lf\n"


def test_removing_touches_no_rule_of_another_filter() -> None:
    text = b"*.h5 filter=lfs diff=lfs merge=lfs -text\n*.pt -text\n"
    assert track.remove(text, [b"*.h5", b"*.pt"]) == text


def test_comments_and_macros_are_no_rules() -> None:
    assert track.rules(b"# *.h5 filter=nn\n[attr]w filter=nn\n\n  \n") == []


@pytest.mark.parametrize(
    ("typed", "pattern"),
    [
        ("*.h5", b"*.h5"),
        ("./*.h5", b"*.h5"),
        ("#a", b"\\#a"),
        ("!a", b"\\!a"),
        ("a\\", b"a\\\\"),
        ("a\\\\", b"a\\\\"),
        ("-a", b"-a"),
        ("[attr]x", b"[ttra]x"),
        ("runs/", b"runs/**"),  # Git: a slash at the end matches no file
        ("/nowhere/runs/*.h5", b"/runs/*.h5"),
        ("/runs/*.h5", b"/runs/*.h5"),
    ],
)
def test_a_glob_means_the_same_at_the_beginning_of_a_line(typed: str, pattern: bytes) -> None:
    assert track.pattern_of(typed, Path("/nowhere")) == pattern


def test_a_path_that_exists_means_that_file(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "a[1]*.h5").touch()
    assert track.pattern_of("a[1]*.h5", tmp_path) == b"/a\\[1]\\*.h5"
    assert track.pattern_of(str(tmp_path / "a[1]*.h5"), tmp_path) == b"/a\\[1]\\*.h5"
    assert track.pattern_of("sub", tmp_path) == b"/sub/**"
    assert track.pattern_of(".", tmp_path) == b"**"


def test_a_path_outside_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "m.h5").touch()
    for typed in ("../m.h5", "../*.h5", "./../*.h5"):
        with pytest.raises(UsageError, match="is not in"):
            track.pattern_of(typed, tmp_path / "in")


@pytest.mark.parametrize("typed", ["", "  ", "\n"])
def test_an_empty_pattern_is_refused(typed: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="empty"):
        track.pattern_of(typed, tmp_path / "nowhere")
