"""Rows matched by token, held against a merge of dictionaries from token to row."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence

import pytest

from git_nn.merge import placed as placing
from git_nn.merge.placed import order, placed
from git_nn.merge.tokens import Placement, read, told, union

UNIT = 6
ZEROS = bytes(UNIT)

Words = dict[str, bytes]  # the row of each token, in the order of the ids


def ids(tokens: Sequence[str]) -> dict[str, int]:
    return {token: at for at, token in enumerate(tokens)}


def placement(*sides: Sequence[str]) -> Placement:
    base, ours, theirs = map(ids, sides)
    return Placement("tokenizer.json", base, ours, theirs, union(base, ours, theirs))


def matched(tables: Sequence[Sequence[bytes]], where: Placement) -> list[list[bytes]]:
    """The rows of each side after they were brought into the order of the result."""
    found = order(where, [len(table) for table in tables])
    data = [b"".join(table) for table in tables]
    reads = [lambda start, stop, each=each: each[start:stop] for each in data]
    made = [b"".join(map(bytes, placed(side, reads, UNIT, found))) for side in range(3)]
    return [[each[at : at + UNIT] for at in range(0, len(each), UNIT)] for each in made]


def by_word(base: Words, ours: Words, theirs: Words) -> list[list[bytes]]:
    """The same by dictionaries: base, ours and theirs of each token of the result."""
    rows: list[list[bytes]] = [[], [], []]
    for word in [*ours, *(word for word in theirs if word not in ours and word not in base)]:
        o, a, b = (side.get(word) for side in (base, ours, theirs))
        only = a if b is None else b
        assert only is not None
        rows[0].append(o if o is not None else ZEROS if a and b else only)
        rows[1].append(only if a is None else a)
        rows[2].append(only if b is None else b)
    return rows


def trained(chance: random.Random, words: Words, share: float) -> Words:
    return {
        word: chance.randbytes(UNIT) if chance.random() < share else row
        for word, row in words.items()
    }


def side(chance: random.Random, base: Words) -> Words:
    """A branch that trained some tokens, added some, and perhaps removed one or mixed them up."""
    made = trained(chance, base, chance.choice([0, 0.03, 0.2]))
    new = chance.sample("abcde", chance.randrange(6))
    made |= {word: chance.randbytes(UNIT) for word in new}
    if chance.random() < 0.3:
        made.pop(chance.choice(list(made)))
    order = list(made)
    if chance.random() < 0.3:
        chance.shuffle(order)
    return {word: made[word] for word in order}


@pytest.mark.parametrize("seed", range(60))
def test_rows_are_where_the_result_has_their_tokens(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(seed)
    monkeypatch.setattr(placing, "BLOCK", chance.choice([UNIT, 5 * UNIT, 1000]))
    base = {f"w{i}": chance.randbytes(UNIT) for i in range(chance.randrange(2, 40))}
    sides = (base, side(chance, base), side(chance, base))
    found = matched([list(words.values()) for words in sides], placement(*map(list, sides)))
    assert found == by_word(*sides)


def test_rows_without_a_token_are_matched_by_their_number() -> None:
    """A vocabulary that is padded to eight: both sides put a token of their own into row 3."""
    base = [bytes([i]) * UNIT for i in range(8)]
    a, b, c, p = (letter * UNIT for letter in (b"A", b"B", b"C", b"P"))
    ours = [*base[:3], a, *base[4:]]
    theirs = [*base[:3], b, c, *base[5:7], p]
    words = ["x", "y", "z"]
    found = matched([base, ours, theirs], placement(words, [*words, "a"], [*words, "b", "c"]))
    assert found == [
        [*base[:3], a, b, c, *base[6:]],
        [*base[:3], a, b, c, *base[6:]],
        [*base[:3], a, b, c, base[6], p],
    ]


def test_the_order_of_a_known_result_is_followed() -> None:
    """Ours' new token comes last there, and two ids are left out."""
    rows = [[bytes([side, i]) * 3 for i in range(3)] for side in range(3)]
    base, ours, theirs = {"x": 0, "y": 1}, {"x": 0, "y": 1, "a": 2}, {"x": 0, "y": 1, "b": 2}
    where = Placement("vocab.txt", base, ours, theirs, {"x": 0, "b": 2, "y": 3, "a": 5})
    found = matched([rows[0][:2], rows[1], rows[2]], where)
    (o, a, b), gap = rows, ZEROS
    assert found == [
        [o[0], gap, b[2], o[1], gap, a[2]],
        [a[0], gap, b[2], a[1], gap, a[2]],
        [b[0], gap, b[2], b[1], gap, a[2]],
    ]


# --- tokenizers -------------------------------------------------------------------------


def test_the_vocabularies_that_are_read() -> None:
    wanted = {"a": 0, "b": 1, "<x>": 2}
    added = [{"id": 2, "content": "<x>", "special": True}, {"id": 0, "content": "a"}]

    def tokenizer(vocabulary: object) -> dict[str, bytes]:
        found = {"version": "1.0", "model": {"vocab": vocabulary}, "added_tokens": added}
        return {"tokenizer.json": json.dumps(found).encode()}

    assert read(tokenizer({"a": 0, "b": 1})) == wanted
    assert read(tokenizer([["a", -1.5], ["b", -2.0]])) == wanted
    plain = {"vocab.json": b'{"b": 1, "a": 0}', "added_tokens.json": b'{"<x>": 2}'}
    assert read(plain) == wanted
    assert read({"vocab.txt": b"a\nb\n<x>\n"}) == wanted
    assert read({"vocab.txt": "a\r\nß\r\n".encode()}) == {"a": 0, "ß": 1}


@pytest.mark.parametrize(
    "files",
    [
        {"tokenizer.json": b"<<<<<<< HEAD\n{}"},
        {"tokenizer.json": b"[]"},
        {"tokenizer.json": b'{"model": {"vocab": {"a": 0, "b": 0}}}'},
        {"vocab.json": b'{"a": 0}', "added_tokens.json": b'{"a": 1}'},
        {"tokenizer.json": b'{"model": {"vocab": {"a": "0"}}}'},
        {"tokenizer.json": b'{"model": {"vocab": {"a": -1}}}'},
        {"tokenizer.json": b'{"model": {"vocab": {"a": true}}}'},
        {"tokenizer.json": b'{"model": null}'},
        {"tokenizer.json": b"[" * 100_000},
        {"vocab.txt": b"a\nb\na\n"},
        {"vocab.txt": b"\xff\n"},
        {"vocab.json": b"[1]"},
        {},
    ],
)
def test_what_is_no_vocabulary(files: dict[str, bytes]) -> None:
    assert read(files) is None


def test_the_message_names_the_tokens_and_their_ids() -> None:
    words = ["x", "y"]
    found = placement(words, [*words, "<a>"], [*words, "<b>", "<a>"])
    assert list(told(found)) == ['tokenizer.json: ours keep their ids; theirs\' "<b>" is 3 (was 2)']
    other = Placement("vocab.txt", found.base, found.ours, found.theirs, found.theirs, "not yet")
    assert list(told(other)) == [
        'vocab.txt: ours\' "<a>" is 3 (was 2); theirs\' "<b>" is 2',
        "not yet: settle it so, or in another way, then: git nn resolve --tokens",
    ]
