"""Every file of the hostile corpus is kept, soon, in little memory, and nothing of it is run.

A file costs at most SECONDS of CPU here and half a gigabyte; it may be opaque or not. That
nothing runs is proved in audited.py, a process of its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from git_nn import smudge
from git_nn.clean import clean
from git_nn.formats import table
from git_nn.formats.base import BytesSource
from git_nn.formats.pickle_ops import scan
from git_nn.objects import pointer as pointers
from git_nn.objects.layout import Layout, check
from git_nn.store.local import open_store
from tests.contract.format_contract import SECONDS, bounded_memory, reassemble, survive
from tests.hostile.corpus import FILES, FOLDERS

ROOT = Path(__file__).parents[2]


class Folder:
    """See formats.base.Beside."""

    def __init__(self, name: str, files: dict[str, bytes]) -> None:
        self.name = name
        self.files = files

    def read(self, name: str) -> BytesSource | None:
        return BytesSource(self.files[name]) if name in self.files else None


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return open_store(tmp_path_factory.mktemp("store") / "nn")


def through_the_pipeline(data: bytes, store: Any, beside: Folder | None = None) -> None:
    """clean, and smudge from the text of the pointer."""
    text = pointers.render(clean(BytesSource(data), store, beside=beside).pointer)
    pointer = pointers.parse(text)
    frame = smudge.load_skeleton(pointer, store)
    sink = smudge.MemorySink(bytearray(frame.size))
    smudge.write_file(pointer, frame, store, sink)
    assert sink.data == data


def assert_is_shown_safely(layout: Layout, data: bytes) -> None:
    """Notes are one printable line; what the file says of its model is plain JSON, soon."""
    assert all(note.isprintable() and len(note) < 400 for note in layout.notes)
    started = time.process_time()
    json.dumps(table.structure(layout.format, BytesSource(data)), allow_nan=False)
    assert time.process_time() - started < SECONDS
    started = time.process_time()
    scan(BytesSource(data))
    assert time.process_time() - started < SECONDS


@pytest.mark.parametrize("name", FILES)
def test_a_hostile_file_is_survived_and_comes_back(name: str, store: Any) -> None:
    data = FILES[name]()
    with bounded_memory():
        layout = survive(data, name)
        assert_is_shown_safely(layout, data)
        through_the_pipeline(data, store)


@pytest.mark.parametrize("name", FOLDERS)
def test_a_file_beside_that_lies_costs_nothing(name: str, store: Any) -> None:
    file, data, files = FOLDERS[name]()
    folder = Folder(file, files)
    started = time.process_time()
    layout = table.detect(BytesSource(data), folder)
    assert time.process_time() - started < SECONDS
    check(layout)
    assert reassemble(layout, data) == data
    through_the_pipeline(data, store, folder)


def test_the_corpus_is_large_and_each_file_another() -> None:
    assert len(FILES) + len(FOLDERS) > 600
    assert (
        len({row() for name, row in FILES.items() if "bomb" not in name}) > 0.97 * len(FILES) - 15
    )


def audited(tmp_path: Path, *arguments: str) -> list[str]:
    """What audited.py saw, run in ``tmp_path``."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests/hostile/audited.py"), *arguments],
        cwd=tmp_path, capture_output=True, text=True, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    seen: list[str] = json.loads(done.stdout.splitlines()[-1])
    return seen


def test_nothing_of_a_hostile_file_is_run_imported_or_opened(tmp_path: Path) -> None:
    assert audited(tmp_path, "corpus") == []
    assert [path.name for path in tmp_path.iterdir()] == ["git_nn_hostile_marker.py"]


def test_the_audit_sees_what_a_careless_reader_does(tmp_path: Path) -> None:
    """The same watch over pickle.load and h5py itself."""
    seen = audited(tmp_path, "careless")
    for event in ("os.system", "import git_nn_hostile_marker", "open /tmp/", "subprocess",
                  "socket", "compile", "watched file was opened"):  # fmt: skip
        assert any(event in line for line in seen), (event, seen)
    assert (tmp_path / "git_nn_was_here").exists()
