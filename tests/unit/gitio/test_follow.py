"""Raw commit objects, as Git and others have written them."""

from __future__ import annotations

import pytest

from git_nn.gitio.follow import parse_commit

TREE, ONE, TWO = "a" * 40, "b" * 40, "c" * 40
HEAD = f"tree {TREE}\nparent {ONE}\nparent {TWO}\n".encode()
WHO = b"author A U Thor <a@x.org> 1700000000 +0130\ncommitter C <c@x> 1700000005 -0200\n"


def test_a_merge_with_a_signature_whose_lines_look_like_headers() -> None:
    signature = b"gpgsig -----BEGIN\n parent dddd\n author X <x> 1 +0000\n -----END\n"
    found = parse_commit("e" * 40, HEAD + WHO + signature + b"\nOne\nline\n\nparent body\n")
    assert (found.tree, found.parents) == (TREE, (ONE, TWO))
    assert (found.author, found.email, found.time, found.zone) == (
        "A U Thor", "a@x.org", 1700000000, "+0130",
    )  # fmt: skip
    assert (found.committed, found.subject) == (1700000005, "One line")


def test_where_a_shallow_clone_ends_there_are_no_parents() -> None:
    assert parse_commit("e" * 40, HEAD + WHO + b"\nx\n", whole=False).parents == ()


@pytest.mark.parametrize(
    ("header", "raw", "subject"),
    [
        (b"encoding ISO-8859-1\n", b"Gr\xfc\xdfe", "Grüße"),
        (b"", "Grüße".encode(), "Grüße"),
        (b"", b"Gr\xfc\xdfe", "Gr��e"),
        (b"encoding nonsense\n", b"plain", "plain"),
        (b"", b"\x1b[31mred\x07", "�[31mred�"),
        (b"", b"", ""),
    ],
)
def test_subjects_are_one_visible_line(header: bytes, raw: bytes, subject: str) -> None:
    assert parse_commit("e" * 40, HEAD + WHO + header + b"\n" + raw).subject == subject


@pytest.mark.parametrize("who", [b"author <> 5 +0000\n", b"author broken\n", b""])
def test_a_commit_without_a_proper_author_is_still_read(who: bytes) -> None:
    found = parse_commit("e" * 40, HEAD + who + b"\nsubject\n")
    assert (found.author, found.subject) == ("", "subject")
