"""What migrate makes of .gitattributes, and which texts it takes for pointers of Git LFS."""

from __future__ import annotations

import pytest

from git_nn.migrate import attributes, lfs
from git_nn.remote.lfs_batch import Item

OURS = b"*.pt filter=nn diff=nn merge=nn -text\n"
LFS = b"*.pt filter=lfs diff=lfs merge=lfs -text\n"
OID = "4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393"


def test_rules_for_git_lfs_go_only_with_their_patterns() -> None:
    text = b"# pictures\n*.png filter=lfs diff=lfs merge=lfs -text\n" + LFS
    assert attributes.tracking(text, [b"*.pt"], {b"*.pt"}) == text.replace(LFS, OURS)
    assert attributes.tracking(text, [b"*.pt"], set()) == text + OURS


def test_what_else_stands_on_a_rule_for_git_lfs_stays() -> None:
    text = b"*.pt filter=lfs diff=lfs merge=lfs -text lockable\r\n"
    assert attributes.tracking(text, [], {b"*.pt"}) == b"*.pt lockable\r\n"


def test_rules_that_are_there_are_not_written_twice() -> None:
    assert attributes.tracking(OURS, [b"*.pt"], set()) == OURS


@pytest.mark.parametrize("text", [b"", b"*.md text\n", b"*.md text", b"# no end\r\n*.md text\r\n"])
def test_export_takes_out_what_import_put_in(text: bytes) -> None:
    assert attributes.plain(attributes.tracking(text, [b"*.pt", b"/a b.h5"], set())) == text


def test_git_lfs_takes_our_place_but_in_comments() -> None:
    comment = b"# *.pt filter=nn is said below\n"
    other = b"*.md filter=nnx -diff\n"
    assert attributes.to_lfs(comment + OURS + other) == comment + LFS + other


def test_a_file_that_leaves_us_is_said_to_have_no_filter_where_another_would_take_it() -> None:
    text = b"* filter=lfs\n" + OURS
    assert attributes.unfiltered(text) == b"* filter=lfs\n*.pt -filter !diff !merge -text\n"


@pytest.mark.parametrize(
    ("rule", "has_a_say"),
    [(b"*.pt text=auto", True), (b"* !filter", True), (b"*.md binary", True),
     (b"*.pt diff=x lockable", False), (b"# text", False)],
)  # fmt: skip
def test_rules_that_convert_files_are_told_from_others(rule: bytes, has_a_say: bool) -> None:
    assert attributes.converts(rule + b"\n") is has_a_say


@pytest.mark.parametrize(
    "text",
    [
        f"version https://git-lfs.github.com/spec/v1\noid sha256:{OID}\nsize 12345\n",
        f"version https://git-lfs.github.com/spec/v1\r\noid sha256:{OID}\r\nsize 12345",
        f"version http://git-media.io/v/2\noid sha256:{OID}\nsize 12345\n",
        f"version https://hawser.github.com/spec/v1\noid sha256:{OID}\nsize 12345\n",
    ],
)
def test_pointers_of_git_lfs_are_read_as_it_reads_them(text: str) -> None:
    assert lfs.parse(text.encode()) == Item(OID, 12345)


@pytest.mark.parametrize(
    "text",
    [
        f"oid sha256:{OID}\nsize 12345\n",
        "version https://git-lfs.github.com/spec/v1\noid sha256:../../../x\nsize 1\n",
        f"version https://git-lfs.github.com/spec/v1\next-0-a sha256:1\noid sha256:{OID}\nsize 1\n",
        f"version https://git-lfs.github.com/spec/v1\noid sha256:{OID}\nsize 12345\n" + " " * 1024,
    ],
)  # fmt: skip
def test_other_texts_are_no_pointers_of_git_lfs(text: str) -> None:
    assert lfs.parse(text.encode()) is None
