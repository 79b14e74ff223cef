"""Hostile files through the real Git, and what a terminal gets to see of their names."""

from __future__ import annotations

import unicodedata

import pytest

from tests.hostile.corpus import FILES
from tests.hostile.names import EVIL
from tests.hostile.zips import Member, zipped
from tests.support.git import Repo
from tests.support.models import normal, safetensors_file

# one of each kind of attack, and of each format
CHOSEN = (
    "safetensors: a header of 2**63 bytes", "safetensors: overlapping tensors",
    "npy: code for a header", "npy: 100,000 parentheses", "gguf: 2**60 tensors",
    "flax: lists 100,000 deep", "onnx: graphs 50,000 deep", "onnx: external data of /etc/passwd",
    "tflite: every field one vector of itself", "coreml: a count of 2**32 - 1",
    "hdf5: external data of /etc/passwd", "hdf5: a group in itself",
    "hdf5: a virtual dataset of /etc/passwd", "hdf5: an external link to /etc/passwd",
    "pickle: calls os.system by REDUCE", "pickle: a billion laughs", "pickle: a list in itself",
    "joblib: an array in another file", "torch of before 1.6: a storage of 2**62 elements",
    "torch: a pickle with calls posix.system", "zip: npz with a bomb of 256 MB",
    "zip: torch with the same name twice", "zip: keras with two entries of one local header",
    "zip: npz with an entry inside another", "name: a path that climbs in torch",
    "name: an option in safetensors", "name: ten megabytes in gguf",
)  # fmt: skip


def test_hostile_files_are_added_committed_and_checked_out(repo: Repo) -> None:
    files = {f"{i}.bin": FILES[name]() for i, name in enumerate(CHOSEN)}
    for name, data in files.items():
        repo.write(name, data)
    repo.commit("hostile")
    assert repo.status() == ""
    for name in files:
        (repo.path / name).unlink()
    repo.git("checkout", "--", ".")
    for name, data in files.items():
        assert repo.read(name) == data, CHOSEN[int(name.removesuffix(".bin"))]
    assert repo.status() == ""
    repo.nn("fsck")
    strange = {path.name for path in repo.path.iterdir()} - set(files) - {".git", ".gitattributes"}
    assert strange == set()


def is_safe(text: str) -> bool:
    """No character moves the cursor, colours, hides, or turns the direction of writing."""
    return all(char == "\n" or unicodedata.category(char)[0] not in "CZ" or char == " "
               for char in text)  # fmt: skip


def evil_model(seed: int) -> bytes:
    names = [name for name in EVIL.values() if len(name) < 1000]
    metadata = {"format": "\x1b[2J\u202epwn", "\x07": "\r\n"}
    return safetensors_file({name: normal(seed + i, 6) for i, name in enumerate(names)}, metadata)


COMMANDS = (
    ("nn", "ls", "m.safetensors"), ("nn", "ls", "--json", "m.safetensors"),
    ("nn", "diff", "HEAD~1"), ("nn", "log", "-p"),
    ("nn", "diff", "--stat", "HEAD~1"), ("nn", "show", "HEAD"), ("nn", "status"),
    ("diff", "HEAD~1"),
    ("log", "-p", "-1"), ("show", "HEAD"), ("nn", "du"), ("nn", "check"), ("nn", "fsck"),
)  # fmt: skip


@pytest.fixture
def evil(repo: Repo) -> Repo:
    repo.write("m.safetensors", evil_model(1))
    repo.commit("first")
    repo.write("m.safetensors", evil_model(2))
    repo.commit("second")
    return repo


def test_no_command_prints_what_would_act_on_a_terminal(evil: Repo) -> None:
    for name, *rest in COMMANDS:
        result = evil.nn(*rest, code=None) if name == "nn" else evil.git(name, *rest)
        for text in (result.text, result.errors):
            assert is_safe(text.replace("\t", " ")), (name, *rest, ascii(text))


def test_names_are_told_in_full_but_escaped(evil: Repo) -> None:
    text = evil.nn("ls", "m.safetensors").text
    assert "%1B[31m%1B[2J" in text
    assert "%E2%80%AE" in text
    assert "../../../../etc/passwd" in text


def test_warnings_about_a_file_quote_it_safely(repo: Repo) -> None:
    name = "../\x1b[31m\u202eevil"
    bad = safetensors_file({name: normal(1, 4)}).replace(b'"shape":[4]', b'"shape":[5]')
    for file, data in (("a.bin", bad), ("b.bin", zipped(Member(name.encode(), b"x")))):
        repo.write(file, data)
        result = repo.git("add", file)
        assert is_safe(result.errors + result.text), ascii(result.errors)


def test_the_check_for_safety_sees_what_is_not_safe() -> None:
    for text in ("\x1b[31m", "\x07", "a\rb", "\u202e", "\u200b", "\x9b31m", "\u2028"):
        assert not is_safe(text)
    assert is_safe("layers.0.weight  é 漢\n")
