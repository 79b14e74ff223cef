"""Bad input gets one clear sentence that names the file and the next step; nothing is lost."""

from __future__ import annotations

import resource
import stat
import subprocess
import sys
from pathlib import Path

from tests.support.git import Repo
from tests.support.models import normal, safetensors_file

MODEL = safetensors_file({"a": normal(1, 300, 100), "b": normal(2, 70)})


def added(repo: Repo) -> bytes:
    repo.write("m.safetensors", MODEL)
    repo.commit("base")
    return repo.blob("HEAD:m.safetensors")


def refused(repo: Repo, *words: str) -> None:
    result = repo.git("add", "m.safetensors", code=128)
    for word in ("m.safetensors", *words):
        assert word in result.errors
    assert "Traceback" not in result.errors
    assert repo.git("rev-parse", ":m.safetensors").text == repo.git(
        "rev-parse", "HEAD:m.safetensors"
    ).text  # fmt: skip


def test_a_pointer_with_conflict_markers_is_refused(repo: Repo) -> None:
    text = added(repo)
    repo.write("m.safetensors", text.replace(b"\n\ntensor b", b"\n=======\n\ntensor b"))
    refused(repo, "conflict markers", "git nn resolve")


def test_a_pointer_of_another_version_is_refused(repo: Repo) -> None:
    text = added(repo)
    repo.write("m.safetensors", text.replace(b"pointer 1\n", b"pointer 2\n"))
    refused(repo, "newer", "upgrade")


def test_a_pointer_cut_short_is_refused(repo: Repo) -> None:
    text = added(repo)
    repo.write("m.safetensors", text[:-10])
    refused(repo, "not a valid git-nn pointer", "git checkout")


def test_a_pointer_in_the_work_tree_is_a_clean_state(repo: Repo) -> None:
    repo.write("m.safetensors", added(repo))
    assert repo.git("diff", "--name-only").text == ""
    repo.git("add", "m.safetensors")
    assert repo.status() == ""
    assert "1 file written" in repo.nn("pull").text
    assert repo.read("m.safetensors") == MODEL


def test_a_pointer_merged_into_nonsense_names_the_tensor(repo: Repo) -> None:
    text = added(repo)
    wrong = text.replace(b"  f32 70 ", b"  f32 71 ")
    blob = repo.git("hash-object", "-w", "--stdin", stdin=wrong).text.strip()
    result = repo.git("cat-file", "--filters", "--path=m.safetensors", blob, code=None)
    assert result.code != 0
    assert "tensor b does not fit" in result.errors


def test_when_content_is_missing_the_checkout_goes_on_and_the_pointer_stays(repo: Repo) -> None:
    text = added(repo)
    repo.write("other.h5", b"other")
    repo.commit("another file")
    for pack in (repo.path / ".git/nn/packs").rglob("*.*"):
        pack.chmod(0o600)
        pack.rename(repo.path.parent / pack.name)
    (repo.path / "m.safetensors").unlink()
    (repo.path / "other.h5").unlink()
    result = repo.git("checkout", "-q", "--", ".")
    assert "m.safetensors stays a pointer" in result.errors
    assert repo.read("m.safetensors") == text
    assert repo.status() == ""
    assert repo.nn("pull", code=3).errors.count("stays a pointer") == 2
    assert repo.nn("fsck", code=3)


def test_a_damaged_pack_never_gives_wrong_bytes(repo: Repo) -> None:
    text = added(repo)
    pack = max((repo.path / ".git/nn/packs").rglob("*.nnp"), key=lambda p: p.stat().st_size)
    data = bytearray(pack.read_bytes())
    data[len(data) // 2] ^= 1
    pack.chmod(0o600)
    pack.write_bytes(data)
    (repo.path / "m.safetensors").unlink()
    result = repo.git("checkout", "-q", "--", ".")
    assert "stays a pointer" in result.errors
    assert "damaged" in result.errors
    assert repo.read("m.safetensors") == text
    assert repo.nn("fsck", code=4)
    repo.write("m.safetensors", MODEL)
    repo.git("add", "m.safetensors")
    assert repo.status() == ""
    assert repo.nn("fsck", "--repair").code == 0
    (repo.path / "m.safetensors").unlink()
    repo.git("checkout", "-q", "--", ".")
    assert repo.read("m.safetensors") == MODEL


def _add_with_limit(repo: Repo, limit: int) -> subprocess.CompletedProcess[bytes]:
    """'git add' where no file may grow beyond ``limit``: what a full disk looks like."""

    def shrink() -> None:
        import signal

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    return subprocess.run(
        ["git", "add", "m.safetensors"], cwd=repo.path, capture_output=True, preexec_fn=shrink
    )


def test_a_full_disk_is_an_error_and_the_next_try_works(repo: Repo) -> None:
    added(repo)
    tuned = safetensors_file({"a": normal(3, 300, 100), "b": normal(2, 70)})
    repo.write("m.safetensors", tuned)
    failed = _add_with_limit(repo, 20_000)
    assert failed.returncode == 128
    assert b"m.safetensors" in failed.stderr
    assert b"Traceback" not in failed.stderr
    assert repo.nn("fsck").code == 0
    repo.commit("tuned")
    (repo.path / "m.safetensors").unlink()
    repo.git("checkout", "-q", "--", ".")
    assert repo.read("m.safetensors") == tuned


def test_a_store_that_cannot_be_written_is_an_error(repo: Repo) -> None:
    added(repo)
    store = repo.path / ".git/nn"
    moved = repo.path / ".git/nn.away"
    store.rename(moved)
    store.write_bytes(b"in the way")  # also as root, who may write anywhere
    repo.write("m.safetensors", safetensors_file({"a": normal(3, 300, 100)}))
    refused(repo, "git-nn: m.safetensors")
    store.unlink()
    moved.rename(store)
    repo.commit("works again")
    assert repo.nn("fsck").code == 0


def test_nothing_in_the_work_tree_is_imported(repo: Repo) -> None:
    """Git runs us at the top of the work tree; its files are not ours to trust."""
    for name in ("json.py", "zstandard.py", "numpy.py", "click.py", "git_nn/__init__.py"):
        repo.write(name, b"open('executed', 'w')\nraise SystemExit(3)\n")
    added(repo)
    (repo.path / "m.safetensors").unlink()
    repo.git("checkout", "-q", "--", ".")
    repo.git("log", "-p", "-1")
    repo.write("m.safetensors", safetensors_file({"a": normal(3, 300, 100)}))
    repo.git("diff")
    assert not (repo.path / "executed").exists()


def test_a_symlink_in_the_way_is_never_written_through(repo: Repo) -> None:
    """What was a folder when Git checked it may be a link when we write (CVE-2021-21300)."""
    from git_nn.materialise import Task, materialise

    text = added(repo)
    script = f"""
import os, sys
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from git_nn.drivers.open import open_repository, store_of
from git_nn.materialise import Task, materialise
repo = open_repository()
task = Task(b"folder/m.safetensors", Path(sys.argv[1]).read_bytes())
outcomes = materialise(repo, store_of(repo), [task])
sys.exit(outcomes[0].written is not None)
"""
    assert Task
    assert materialise
    outside = repo.path.parent / "outside"
    outside.mkdir()
    (outside / "m.safetensors").write_bytes(text)
    (repo.path / "folder").symlink_to(outside)
    repo.run(sys.executable, "-c", script, str(outside / "m.safetensors"))
    assert (outside / "m.safetensors").read_bytes() == text
    assert [path.name for path in outside.iterdir()] == ["m.safetensors"]


def test_read_only_permissions_of_a_file_do_not_stop_a_checkout(repo: Repo) -> None:
    added(repo)
    (repo.path / "m.safetensors").chmod(stat.S_IRUSR)
    repo.write("x.h5", b"x")
    repo.commit("other")
    repo.git("checkout", "-q", "HEAD~1")
    assert repo.read("m.safetensors") == MODEL
