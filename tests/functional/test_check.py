"""check finds in the index what should not be committed, and names file, tensor and remedy."""

from __future__ import annotations

import json
import os
import pickle
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from git_nn.drivers import large_files
from tests.support import torch_file
from tests.support.git import Repo
from tests.support.models import normal, safetensors_file

GAMMA = normal(1, 768)


def model(*, bad: dict[int, float] | None = None, extra: int = 0) -> bytes:
    gamma = GAMMA.copy()
    for at, value in (bad or {}).items():
        gamma[at] = value
    return safetensors_file({"block_3/ln/gamma": gamma, "other": normal(extra, 8)})


def findings(repo: Repo, *options: str, code: int = 1) -> list[dict[str, Any]]:
    document = json.loads(repo.nn("check", "--json", *options, code=code).text)
    assert document["version"] == 1
    found: list[dict[str, Any]] = document["findings"]
    return found


def kinds(repo: Repo, *options: str, code: int = 1) -> list[tuple[str, str, str]]:
    return [(f["kind"], f["severity"], f["path"]) for f in findings(repo, *options, code=code)]


@pytest.fixture
def sound(repo: Repo) -> Repo:
    """A repository with a sound model in HEAD."""
    repo.write("m.safetensors", model())
    repo.commit()
    return repo


def test_a_sound_repository_has_no_findings(sound: Repo) -> None:
    assert sound.nn("check").text == ""
    assert findings(sound, "--all", code=0) == []


def test_nan_is_named_with_tensor_index_and_count(sound: Repo) -> None:
    sound.write("m.safetensors", model(bad={17: np.nan, 99: np.nan, 100: np.nan, 101: np.nan}))
    sound.git("add", "-A")
    (found,) = findings(sound)
    assert found["message"] == "block_3/ln/gamma[17] is NaN (4 of 768)"
    assert (found["tensor"], found["path"]) == ("block_3/ln/gamma", "m.safetensors")
    assert found["severity"] == "error"
    text = sound.nn("check", code=1).text
    assert text.startswith("git-nn: error: m.safetensors: block_3/ln/gamma[17] is NaN (4 of 768)\n")
    assert "git reset -- m.safetensors" in text


def test_infinity_is_a_warning(sound: Repo) -> None:
    sound.write("m.safetensors", model(bad={3: -np.inf}))
    sound.git("add", "-A")
    assert kinds(sound, code=0) == [("inf", "warning", "m.safetensors")]


def test_an_empty_model_is_a_warning_and_other_empty_files_are_not(sound: Repo) -> None:
    sound.write("m.safetensors", b"")
    sound.write("notes.txt", b"")
    sound.git("add", "-A")
    assert kinds(sound, code=0) == [("empty", "warning", "m.safetensors")]


def test_settings_change_what_is_an_error(sound: Repo) -> None:
    sound.write("m.safetensors", model(bad={3: -np.inf, 5: np.nan}))
    sound.git("add", "-A")
    sound.git("config", "nn.check.nan", "ignore")
    sound.git("config", "nn.check.inf", "error")
    assert kinds(sound) == [("inf", "error", "m.safetensors")]
    sound.git("config", "nn.check.inf", "loud")
    assert "nn.check.inf is 'loud'" in sound.nn("check", code=2).errors


def test_a_nan_that_the_parent_has_is_not_told_again(repo: Repo) -> None:
    repo.write("m.safetensors", model(bad={17: np.nan}))
    repo.commit()
    repo.write("m.safetensors", model(bad={17: np.nan}, extra=1))
    repo.git("mv", "m.safetensors", "n.safetensors")
    repo.write("n.safetensors", model(bad={17: np.nan}, extra=2))
    repo.git("add", "-A")
    assert findings(repo, code=0) == []
    assert kinds(repo, "--all") == [("nan", "error", "n.safetensors")]


def test_what_a_merge_brings_from_its_other_parent_is_not_told_again(sound: Repo) -> None:
    sound.git("checkout", "-q", "-b", "other")
    sound.write("m.safetensors", model(bad={17: np.nan}))
    sound.commit()
    sound.git("checkout", "-q", "main")
    sound.write("m.safetensors", model(extra=1))
    sound.commit()
    sound.git("merge", "-q", "--no-commit", "other")
    assert sound.git("diff", "--cached", "--name-only").text == "m.safetensors\n"
    assert findings(sound, code=0) == []


def test_the_index_counts_and_not_the_work_tree(sound: Repo) -> None:
    sound.write("m.safetensors", model(bad={17: np.nan}))
    assert findings(sound, code=0) == []
    sound.git("add", "-A")
    sound.write("m.safetensors", model())
    assert kinds(sound) == [("nan", "error", "m.safetensors")]


def test_attributes_are_read_from_the_index(sound: Repo) -> None:
    sound.git("config", "filter.nn.process", "")
    sound.git("config", "--unset", "filter.nn.process")
    sound.write(".gitattributes", b"")
    sound.write("m.safetensors", model(extra=1))
    sound.git("add", "m.safetensors")
    assert kinds(sound) == [("raw", "error", "m.safetensors")]


def test_raw_weights_of_a_tracked_file_are_found(sound: Repo) -> None:
    blob = sound.git("hash-object", "-w", "--no-filters", "--stdin", stdin=model(extra=1)).text
    sound.git("update-index", "--cacheinfo", f"100644,{blob.strip()},m.safetensors")
    (found,) = findings(sound)
    assert found["kind"] == "raw"
    assert found["fix"] == "git nn install && git add --renormalize -- m.safetensors"
    sound.git("add", "--renormalize", "--", "m.safetensors")
    assert findings(sound, code=0) == []


def test_pointers_that_lose_their_rule_are_found(sound: Repo) -> None:
    sound.write("sub/n.h5", b"opaque")
    sound.commit()
    sound.git("rm", "-q", ".gitattributes")
    expected = [("no-rule", "error", "m.safetensors"), ("no-rule", "error", "sub/n.h5")]
    assert kinds(sound) == expected
    assert kinds(sound, "--all") == expected
    fix = findings(sound)[0]["fix"]
    assert fix == "git nn track '*.safetensors' '*.h5' && git add .gitattributes"
    sound.run("sh", "-c", fix)
    assert findings(sound, code=0) == []
    sound.write(".gitattributes", b"*.h5 filter=nn\n")
    sound.git("add", ".gitattributes")
    assert kinds(sound) == expected[:1]
    sound.git("commit", "-q", "-m", "less")
    assert findings(sound, code=0) == []  # told once, and by doctor from now on
    assert kinds(sound, "--all") == expected[:1]


def test_the_rule_for_one_path_leaves_other_files_of_its_suffix_alone(sound: Repo) -> None:
    sound.write(".gitattributes", b"*.safetensors filter=nn\nn.safetensors -filter\n")
    sound.write("n.safetensors", b"git-nn pointer 1\na fixture of a test\n")
    sound.commit()
    sound.write(".gitattributes", b"n.safetensors -filter\n")
    sound.git("add", ".gitattributes")
    (found,) = findings(sound)
    assert found["fix"] == "git nn track /m.safetensors && git add .gitattributes"
    sound.run("sh", "-c", found["fix"])
    assert findings(sound, code=0) == []


def test_a_merge_that_brings_a_pointer_where_the_rule_went_is_found(sound: Repo) -> None:
    sound.git("checkout", "-q", "-b", "other")
    sound.write("n.h5", b"opaque")
    sound.commit()
    sound.git("checkout", "-q", "main")
    sound.write(".gitattributes", b"*.safetensors filter=nn\n")
    sound.commit()
    sound.git("merge", "-q", "--no-commit", "other")
    assert kinds(sound) == [("no-rule", "error", "n.h5")]


def test_a_token_without_a_row_is_a_warning(sound: Repo) -> None:
    """Of the tokenizer in the index; positions are no tokens, and rows beyond the ids padding."""
    tables = {"embed_tokens.weight": 3, "lm_head.weight": 4, "wpe.weight": 2}
    file = safetensors_file({name: normal(2, rows, 5) for name, rows in tables.items()})
    sound.write("lm/model.safetensors", file)
    sound.write("lm/vocab.txt", b"a\nb\n<c>\n<d>\n")
    sound.git("add", "lm")
    sound.write("lm/vocab.txt", b"a\n")
    (found,) = findings(sound, code=0)
    assert (found["kind"], found["severity"]) == ("rows", "warning")
    assert found["tensor"] == "embed_tokens.weight"
    assert found["message"] == "embed_tokens.weight has 3 rows, and vocab.txt ids up to 3"


def test_a_rule_that_is_not_staged_is_a_warning(sound: Repo) -> None:
    text = sound.read(".gitattributes")
    sound.git("rm", "-q", ".gitattributes")
    sound.write(".gitattributes", text)
    (found,) = findings(sound, code=0)
    assert (found["kind"], found["severity"]) == ("no-rule", "warning")
    assert found["fix"] == "git add .gitattributes"


def test_a_large_weight_file_that_is_not_tracked_is_found(repo: Repo) -> None:
    repo.write("big.onnx", bytes(3000))
    repo.write("big.txt", bytes(3000))
    repo.write("sniffed", safetensors_file({"a": normal(1, 750)}))
    repo.write("lfs.onnx", bytes(3000))
    repo.write(".gitattributes", repo.read(".gitattributes") + b"lfs.onnx filter=lfs\n")
    repo.git("add", "-A")
    assert findings(repo, code=0) == []
    expected = [("untracked", "error", "big.onnx"), ("untracked", "error", "sniffed")]
    assert kinds(repo, "--max-size", "2k") == expected
    repo.git("config", "nn.check.maxSize", "2k")
    assert kinds(repo) == expected
    assert findings(repo, "--max-size", "1m", code=0) == []
    assert "not a size" in repo.nn("check", "--max-size", "huge", code=2).errors
    assert "git nn track big.onnx" in findings(repo)[0]["fix"]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (b"<<<<<<< HEAD\ngit-nn pointer 1\n=======\n>>>>>>> x\n", "conflict-markers"),
        (b"git-nn pointer 1\n# cut off\n", "malformed"),
        (b"git-nn pointer 99\nwhatever\n", "pointer-version"),
    ],
)
def test_a_broken_pointer_is_found(sound: Repo, text: bytes, kind: str) -> None:
    blob = sound.git("hash-object", "-w", "--no-filters", "--stdin", stdin=text).text.strip()
    sound.git("update-index", "--cacheinfo", f"100644,{blob},m.safetensors")
    (found,) = findings(sound)
    assert (found["kind"], found["path"]) == (kind, "m.safetensors")
    assert found["fix"]


def test_a_pointer_without_its_tensor_is_found(sound: Repo, tmp_path: Path) -> None:
    text = sound.blob(":m.safetensors")
    gone = b"%064x" % 7
    line = next(line for line in text.splitlines() if line.startswith(b"  f32 768 "))
    changed = text.replace(line, b"  f32 768 " + gone)
    blob = sound.git("hash-object", "-w", "--no-filters", "--stdin", stdin=changed).text.strip()
    sound.git("update-index", "--cacheinfo", f"100644,{blob},m.safetensors")
    (found,) = findings(sound)
    assert found["message"] == "tensor block_3/ln/gamma is not in the store"
    assert found["kind"] == "missing"


class Evil:
    """Unpickling it would run a command."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch pwned",)


def torch_zip(value: object) -> bytes:
    from io import BytesIO

    file = BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(value, protocol=2))
        archive.writestr("archive/version", b"3\n")
    return file.getvalue()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("raw.pkl", pickle.dumps(Evil())),
        ("raw.pickle", pickle.dumps(Evil(), protocol=0)),
        ("no-ending", pickle.dumps(Evil())),
        ("no-ending-zip", torch_zip(Evil())),
        ("tracked.pt", torch_zip(Evil())),
        ("tracked.bin", pickle.dumps([bytes(200_000), Evil()])),
    ],
)
def test_a_pickle_that_calls_code_is_found_and_not_run(
    repo: Repo, name: str, content: bytes
) -> None:
    repo.write(name, content)
    repo.git("add", "-A")
    (found,) = findings(repo)
    assert (found["kind"], found["path"]) == ("pickle", name)
    assert f"calls {os.system.__module__}.system" in found["message"]
    assert not (repo.path / "pwned").exists()


def test_a_pickle_of_plain_data_is_no_finding(repo: Repo) -> None:
    repo.write("a.pkl", pickle.dumps({"w": [1.0, 2.0], "n": "x"}))
    repo.write("t.pt", torch_zip({"epoch": 3}))
    repo.git("add", "-A")
    assert findings(repo, code=0) == []


def test_the_pickle_of_a_real_torch_layout_is_searched(repo: Repo) -> None:
    weights = {"w": torch_file.tensor(torch_file.S("0", "f32", normal(1, 6).tobytes()), (2, 3))}
    repo.write("good.pt", torch_file.save(torch_file.ordered(weights)))
    evil = {**weights, "x": torch_file.R(torch_file.G("posix", "system"), ("touch pwned",))}
    repo.write("evil.pt", torch_file.save(torch_file.ordered(evil)))
    repo.git("add", "-A")
    for name in ("good.pt", "evil.pt"):
        assert b"layout torch 1\n" in repo.blob(f":{name}")
    (found,) = findings(repo)
    assert found["path"] == "evil.pt"
    assert "calls posix.system" in found["message"]


def test_a_first_commit_is_checked(repo: Repo) -> None:
    repo.write("m.safetensors", model(bad={0: np.nan}))
    repo.git("add", "-A")
    assert kinds(repo) == [("nan", "error", "m.safetensors")]


def test_paths_with_odd_bytes_are_shown_on_one_line(repo: Repo) -> None:
    repo.write("sp ace\n'\u00e4.safetensors", model(bad={0: np.nan}))
    repo.git("add", "-A")
    first = repo.nn("check", code=1).text.splitlines()[0]
    assert '"sp ace\\n' in first
    assert "NaN" in first


def test_a_link_is_no_weights(repo: Repo) -> None:
    (repo.path / "l.safetensors").symlink_to("git-nn pointer 1")
    repo.git("add", "-A")
    assert findings(repo, "--all", code=0) == []


# -- nn-check-large-files --------------------------------------------------------------------


def large(repo: Repo, *argv: str, code: int) -> str:
    return repo.run(sys.executable, "-m", large_files.__name__, *argv, code=code).text


def test_large_files_measures_what_is_staged(repo: Repo) -> None:
    repo.write("m.safetensors", safetensors_file({"a": normal(1, 300_000)}))
    repo.write("raw.dat", bytes(500 * 1024 + 1))
    repo.write("exact.dat", bytes(500 * 1024))
    repo.git("add", "-A")
    names = ("m.safetensors", "raw.dat", "exact.dat")
    assert large(repo, *names, code=1) == "raw.dat (501 KB) exceeds 500 KB.\n"
    assert large(repo, "--maxkb=501", *names, code=0) == ""
    assert large(repo, "m.safetensors", code=0) == ""
    assert large(repo, code=0) == ""


def test_large_files_looks_at_added_files_unless_all_are_enforced(repo: Repo) -> None:
    repo.write("old.dat", bytes(2048))
    repo.commit()
    repo.write("old.dat", bytes(4096))
    repo.git("add", "-A")
    assert large(repo, "--maxkb=1", "old.dat", code=0) == ""
    assert "old.dat (4 KB)" in large(repo, "--maxkb=1", "--enforce-all", "old.dat", code=1)


def test_large_files_in_a_folder_takes_paths_from_there(repo: Repo) -> None:
    repo.write("sub/x.dat", bytes(2048))
    repo.git("add", "-A")
    assert "sub/x.dat" in large(Repo(repo.path / "sub"), "--maxkb=1", "x.dat", code=1)
    link = repo.path.parent / "link"
    link.symlink_to(repo.path)
    name = str(link / "sub/x.dat")
    assert "sub/x.dat" in large(Repo(repo.path / "sub"), "--maxkb=1", name, code=1)
    large(repo, "../x.dat", code=2)
