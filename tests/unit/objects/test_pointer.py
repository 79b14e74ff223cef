"""The pointer has one valid encoding, and everything else is refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from git_nn.errors import ConflictMarkerError, PointerError, PointerVersionError
from git_nn.objects import pointer as pointers
from git_nn.objects.oid import Oid, oid_of
from git_nn.objects.pointer import Entry, Pointer, Stored, Window

GOLDEN = Path(__file__).parents[2] / "golden"

SAMPLE = Pointer(
    "safetensors",
    1,
    oid_of(b"skeleton"),
    172,
    (
        Stored("embed", "bf16", (10, 4), oid_of(b"1"), 80),
        Stored("layers.2.w", "f32", (), oid_of(b"2"), 4),
        Stored("layers.10.w", "f32", (64, 128), oid_of(b"3"), 8110, "h5[64x128;shuffle;deflate]"),
        Window("tied name", "bf16", (4, 10), "embed", 0, (1, 4)),
    ),
)
TEXT = pointers.render(SAMPLE)


def test_the_oid_is_blake3_of_the_raw_bytes() -> None:
    assert oid_of(b"ab", b"c").hex() == blake3(b"abc").hexdigest()


def test_rendering_and_parsing_are_inverse() -> None:
    assert pointers.parse(TEXT) == SAMPLE


def test_the_golden_pointer_is_the_one_in_the_specification() -> None:
    text = (GOLDEN / "sample.pointer").read_bytes()
    assert text == TEXT
    assert pointers.parse(text) == SAMPLE


def test_the_example_in_the_specification_is_valid() -> None:
    spec = (Path(__file__).parents[3] / "docs" / "spec.md").read_text("utf-8")
    example = spec.split("```")[1].lstrip("\n").encode()
    assert pointers.render(pointers.parse(example)) == example


@pytest.mark.parametrize(
    "change",
    [
        (b"git-nn pointer 1\n", b"git-nn pointer 1 \n"),
        (b"# weights", b"# Weights"),
        (b"layout safetensors 1", b"layout safetensors 01"),
        (b"layout safetensors 1", b"layout ../x 1"),
        (b"skeleton ", b"skeleton  "),
        (b" 172\n", b" -172\n"),
        (b"\n\ntensor embed", b"\ntensor embed"),
        (b"tensor embed", b"tensor %65mbed"),
        (b"  bf16 10x4", b" bf16 10x4"),
        (b"  bf16 10x4", b"  bf17 10x4"),
        (b"  bf16 10x4", b"  bf16 010x4"),
        (b"  bf16 10x4", b"  bf16 10X4"),
        (b"f32 scalar", b"f32 "),
        (b" 8110 h5", b" 8110  h5"),
        (b"of embed", b"of nobody"),
        (b"of embed", b"of tied name"),
        (b"view 0", b"view -1"),
        (b"layers.2.w", b"layers.20.w"),
        (b"layers.2.w", b"embed"),
        (oid_of(b"1").hex().encode(), oid_of(b"1").hex().upper().encode()),
        (oid_of(b"1").hex().encode(), oid_of(b"1").hex()[1:].encode()),
        (b"\n", b"\r\n"),
    ],
    ids=lambda change: change[1][:24].decode(),
)
def test_any_other_spelling_is_refused(change: tuple[bytes, bytes]) -> None:
    text = TEXT.replace(*change)
    assert text != TEXT
    with pytest.raises(PointerError):
        pointers.parse(text)


@given(st.integers(0, len(TEXT) - 1))
def test_a_truncation_is_refused_or_lacks_whole_tensors(end: int) -> None:
    """Without a count in the text a cut between stanzas is valid; the skeleton refuses it."""
    try:
        pointer = pointers.parse(TEXT[:end])
    except PointerError:
        return
    assert len(pointer.entries) < len(SAMPLE.entries)
    assert pointers.render(pointer) == TEXT[:end]


@given(st.integers(0, len(TEXT) - 1), st.integers(1, 255))
def test_a_flipped_byte_is_refused_or_is_another_pointer(at: int, flip: int) -> None:
    text = bytearray(TEXT)
    text[at] ^= flip
    try:
        pointer = pointers.parse(bytes(text))
    except PointerError:
        return
    assert pointer != SAMPLE
    assert pointers.render(pointer) == text


def test_an_unknown_version_says_upgrade() -> None:
    with pytest.raises(PointerVersionError, match="upgrade"):
        pointers.parse(TEXT.replace(b"pointer 1", b"pointer 2"))


@pytest.mark.parametrize(
    "marker", [b"<<<<<<< ours", b"=======", b">>>>>>> theirs", b"||||||| base"]
)
def test_conflict_markers_are_refused_as_such(marker: bytes) -> None:
    text = TEXT.replace(b"\n\ntensor layers.2.w", b"\n" + marker + b"\n\ntensor layers.2.w")
    with pytest.raises(ConflictMarkerError):
        pointers.parse(text)
    assert pointers.looks_like_pointer(text)


def test_markers_before_the_first_line_are_still_seen_as_a_pointer() -> None:
    assert pointers.looks_like_pointer(b"<<<<<<< HEAD\n" + TEXT)
    assert not pointers.looks_like_pointer(b"<<<<<<< HEAD\nweights")
    assert not pointers.looks_like_pointer(b"")


def test_it_does_not_look_like_a_git_lfs_pointer() -> None:
    """git-lfs takes text with these words, or 120 to 200 bytes that start so, for its own."""
    assert not any(word in TEXT[:1024] for word in (b"git-lfs", b"hawser", b"git-media"))
    assert not TEXT.startswith(b"version ")


names = st.binary(max_size=12).map(lambda raw: raw.decode("utf-8", "surrogateescape"))
oids = st.binary(min_size=32, max_size=32).map(Oid)
entries = st.dictionaries(
    names, st.tuples(oids, st.lists(st.integers(0, 99), max_size=4)), max_size=8
)


@given(entries, oids)
def test_every_pointer_survives_the_round_trip(
    table: dict[str, tuple[Oid, list[int]]], skeleton: Oid
) -> None:
    listed: list[Entry] = []
    for name, (oid, dims) in table.items():
        count = 1
        for dim in dims:
            count *= dim
        listed.append(Stored(name, "f16", tuple(dims), oid, 2 * count))
    pointer = Pointer("opaque", 1, skeleton, 5, pointers.sorted_entries(listed))
    assert pointers.parse(pointers.render(pointer)) == pointer
