"""Both branches added tokens: their rows are matched by the tokenizer, through the real git."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from tests.support.branches import ATTRIBUTES
from tests.support.git import Repo
from tests.support.models import normal, safetensors_file

MODEL = "lm/model.safetensors"
WORDS = [f"w{i}" for i in range(12)]
A, B, C = (np.full(4, at, dtype=np.float32) for at in (1, 2, 3))

Words = Mapping[str, np.ndarray]  # the row of each token, in the order of the ids
START: Words = dict(zip(WORDS, normal(1, len(WORDS), 4), strict=True))
OURS: Words = {**START, "w5": A + 10, "<a>": A}
THEIRS: Words = {**START, "w3": B + 20, "<b>": B, "<c>": C}
UNION: Words = {**OURS, "w3": B + 20, "<b>": B, "<c>": C}


def model(words: Words) -> bytes:
    """A model with an embedding, a head of twice as much and a bias for each token."""
    table = np.stack(list(words.values()))
    more = {"lm_head.weight": table * 2, "lm_head.bias": table[:, 0].copy(), "norm": normal(2, 4)}
    return safetensors_file({"embed_tokens.weight": table} | more)


def hugging_face(words: Sequence[str]) -> tuple[str, str]:
    added = [{"id": at, "content": word} for at, word in enumerate(words) if word[0] == "<"]
    vocabulary = {word: at for at, word in enumerate(words) if word[0] != "<"}
    found = {"version": "1.0", "added_tokens": added, "model": {"vocab": vocabulary}}
    return "tokenizer.json", json.dumps(found, indent=2) + "\n"


def lines(words: Sequence[str]) -> tuple[str, str]:
    return "vocab.txt", "".join(f"{word}\n" for word in words)


Tokenizer = Callable[[Sequence[str]], tuple[str, str]]


def put(repo: Repo, words: Words, message: str, tokenizer: Tokenizer = hugging_face) -> None:
    name, text = tokenizer(list(words))
    repo.write(MODEL, model(words))
    repo.write(f"lm/{name}", text.encode())
    repo.git("add", "-A")
    repo.git("commit", "-q", "-m", message)


def branches(
    folder: Path, ours: Words = OURS, theirs: Words = THEIRS, tokenizer: Tokenizer = hugging_face
) -> Repo:
    """On main, with a branch side, whose last commit changes something else."""
    repo = Repo.create(folder, patterns=())
    repo.write(".gitattributes", f"{ATTRIBUTES}vocab.txt merge=union\n".encode())
    put(repo, START, "start", tokenizer)
    repo.git("switch", "-q", "-c", "side")
    put(repo, theirs, "theirs", tokenizer)
    repo.write("notes", b"more\n")
    repo.git("add", "-A")
    repo.git("commit", "-q", "-m", "notes")
    repo.git("switch", "-q", "main")
    put(repo, ours, "ours", tokenizer)
    return repo


@dataclass(frozen=True)
class Stock:
    """The branches with a tokenizer in JSON, and with one that Git can merge, to be copied."""

    json: Path
    text: Path

    def copy(self, kind: str, folder: Path) -> Repo:
        shutil.copytree(self.json if kind == "json" else self.text, folder)
        return Repo(folder)


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Stock:
    folder = tmp_path_factory.mktemp("tokens")
    text = branches(folder / "text", theirs={**THEIRS, "w5": A + 12}, tokenizer=lines)
    return Stock(branches(folder / "json").path, text.path)


def settle(repo: Repo, words: Sequence[str], tokenizer: Tokenizer = hugging_face) -> None:
    name, text = tokenizer(words)
    repo.write(f"lm/{name}", text.encode())
    repo.git("add", f"lm/{name}")


def content(repo: Repo) -> bytes:
    return (repo.path / MODEL).read_bytes()


def test_a_tokenizer_that_git_merges_is_followed_at_once(tmp_path: Path) -> None:
    repo = branches(tmp_path / "r", tokenizer=lines)
    done = repo.git("merge", "--no-edit", "side")
    assert (
        'vocab.txt: ours keep their ids; theirs\' "<b>" is 13 (was 12), "<c>" is 14 (was 13)'
        in (done.errors)
    )
    assert "tensor embed_tokens.weight: 1 row from ours, 1 from theirs" in done.errors
    assert (repo.path / "lm/vocab.txt").read_text() == lines(list(UNION))[1]
    assert content(repo) == model(UNION)
    assert repo.status() == ""


def test_a_tokenizer_in_conflict_is_settled_first(tmp_path: Path, stock: Stock) -> None:
    repo = stock.copy("json", tmp_path / "r")
    done = repo.git("merge", "--no-edit", "side", code=1)
    assert '"<b>" is 13 (was 12)' in done.errors
    assert "Git leaves tokenizer.json in conflict" in done.errors
    assert content(repo) == model(UNION)  # a proposal: it stays open
    assert f"UU {MODEL}" in repo.status()
    for way in ("--tokens", "--ours"):
        refused = repo.nn("resolve", way, code=2)
        assert "tokenizer.json cannot be read as a tokenizer" in refused.errors
    settle(repo, list(UNION))
    repo.nn("resolve", "--tokens")
    assert content(repo) == model(UNION)
    repo.git("commit", "-q", "--no-edit")
    assert repo.status() == ""


@pytest.mark.parametrize("order", [[*WORDS[::-1], "<c>", "<a>", "<b>"], list(THEIRS)])
def test_rows_follow_the_tokenizer_that_a_person_settled(
    tmp_path: Path, stock: Stock, order: list[str]
) -> None:
    repo = stock.copy("json", tmp_path / "r")
    repo.git("merge", "--no-edit", "side", code=1)
    settle(repo, order)
    repo.nn("resolve", "--tokens")
    assert content(repo) == model({word: UNION[word] for word in order})
    repo.git("commit", "-q", "--no-edit")
    assert repo.status() == ""


def test_a_token_of_nobody_has_no_row(tmp_path: Path, stock: Stock) -> None:
    repo = stock.copy("json", tmp_path / "r")
    repo.git("merge", "--no-edit", "side", code=1)
    settle(repo, [*UNION, "<new>"])
    refused = repo.nn("resolve", "--tokens", code=2)
    assert 'tokenizer.json has "<new>", and no side has a row of it' in refused.errors
    assert f"UU {MODEL}" in repo.status()


def test_a_row_that_both_changed_is_settled_among_matched_rows(
    tmp_path: Path, stock: Stock
) -> None:
    repo = stock.copy("text", tmp_path / "r")
    repo.nn("install", "--local", "--hooks")
    done = repo.git("merge", "--no-edit", "side", code=1)
    assert 'both changed 1 of 15 rows: 5 "w5"' in done.errors
    assert content(repo) == model({**UNION, "w3": START["w3"]})  # ours, and theirs' new tokens
    repo.nn("resolve", "--strategy", "mean")
    mean = {**UNION, "w5": A + 11, "w3": (START["w3"] + THEIRS["w3"]) / 2}
    assert content(repo) == model(mean)
    repo.git("commit", "-q", "--no-edit")
    assert repo.status() == ""
    assert "NN-Resolve: lm/model.safetensors mean" in repo.git("log", "-1", "--format=%B").text
    assert "the same" in repo.nn("merge", "--replay", "HEAD").text


def test_a_token_that_both_added_and_trained_apart(tmp_path: Path, stock: Stock) -> None:
    repo = stock.copy("json", tmp_path / "r")
    repo.git("switch", "-q", "-c", "other", "side~2")
    put(repo, {**THEIRS, "<a>": A + 1}, "other")
    repo.git("switch", "-q", "main")
    repo.git("merge", "--no-edit", "other", code=1)
    settle(repo, list(UNION))
    assert 'both changed 1 of 15 rows: 12 "<a>"' in repo.nn("resolve", "--tokens", code=1).text


def test_a_rebase_and_a_cherry_pick_match_rows(tmp_path: Path, stock: Stock) -> None:
    repo = stock.copy("json", tmp_path / "r")
    repo.git("switch", "-q", "-c", "picked")
    repo.git("cherry-pick", "side~1", code=1)
    settle(repo, list(UNION))
    repo.nn("resolve", "--tokens")
    repo.git("cherry-pick", "--continue")
    assert (content(repo), repo.status()) == (model(UNION), "")
    repo.git("switch", "-q", "side")
    repo.git("rebase", "main", code=1)
    settle(repo, list(UNION))
    repo.nn("resolve", "--tokens")
    repo.git("rebase", "--continue")
    assert (content(repo), repo.status()) == (model(UNION), "")
    assert repo.git("log", "-1", "--format=%s").text == "notes\n"
    repo.git("revert", "--no-edit", "main", code=1)  # ours goes, and its token
    order = [word for word in UNION if word != "<a>"]
    settle(repo, order)
    repo.nn("resolve", "--tokens")
    assert content(repo) == model(THEIRS)


def test_without_tokenizers_rows_that_both_added_conflict(tmp_path: Path) -> None:
    repo = branches(tmp_path / "r", tokenizer=lambda words: ("notes.md", f"{len(words)}\n"))
    done = repo.git("merge", "--no-edit", "side", code=1)
    assert "rows added on both sides, and nothing says which" in done.errors
    assert content(repo) == model(OURS)
