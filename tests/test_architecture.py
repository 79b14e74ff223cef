"""Holds docs/architecture.md by reading the code: layers, doors, start-up."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "git_nn"
FILES = sorted(PACKAGE.rglob("*.py"))

ROWS = {
    0: {"errors", "objects"},
    1: {"formats", "codec", "gitio", "arrays", "forms"},
    2: {"store", "differences", "merge"},
    3: {"remote"},
    4: {
        "clean", "smudge", "model", "compare", "combine", "weave", "conflicts", "materialise",
        "adopt", "worktree", "status", "reach", "gc", "fsck", "check", "track", "assemble",
        "container", "recast", "changed_files", "resolve", "settled", "by_hand", "stage", "du",
        "bases", "earlier", "remembered", "repack", "beside", "measured", "tensors", "bridges",
        "history", "preview", "align", "recipes", "origins", "replay", "soup", "mixing",
        "statistics", "supply", "reorder", "tokenizers", "placing",
        "transfer", "migrate",
    },
    5: {"drivers", "api", "demo"},
    6: {"cli", "__init__"},
}  # fmt: skip
ROW = {room: row for row, rooms in ROWS.items() for room in rooms}

SAME_ROW = {("objects", "errors")}

DOORS = {
    "msgpack": ("objects/encoding.py",),
    "h5py": ("formats/hdf5", "demo/keras_file.py", "cli/env.py"),
    "pygit2": ("gitio/objects.py", "cli/env.py"),
    "git": ("api.py",),
    "click": ("cli/",),
    "zstandard": ("codec/", "cli/env.py"),
    "gguf": ("arrays.py", "cli/env.py"),
    "obstore": ("remote/cloud.py",),
    "blake3": ("objects/oid.py", "store/"),
    "urllib3": ("remote/http.py",),
}


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports_of(path: Path) -> list[str]:
    """Every module that a file imports, wherever in it the import stands."""
    found = []
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


def test_every_room_has_a_row() -> None:
    rooms = {room_of(path) for path in FILES}
    assert rooms <= set(ROW), rooms - set(ROW)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_up_the_layer_table(path: Path) -> None:
    room = room_of(path)
    for name in imports_of(path):
        parts = name.split(".")
        if parts[0] != "git_nn" or len(parts) < 2 or parts[1] not in ROW or parts[1] == room:
            continue
        above = ROW[parts[1]] < ROW[room]
        assert above or ROW[room] == ROW[parts[1]] == 4 or (room, parts[1]) in SAME_ROW, name


def test_verbs_import_one_way() -> None:
    verbs = {room_of(path): path for path in FILES if ROW.get(room_of(path)) == 4}
    edges = {
        verb: {n.split(".")[1] for n in imports_of(path) if n.startswith("git_nn.")}
        & set(verbs) - {verb}
        for verb, path in verbs.items()
    }
    # "from git_nn import clean" names the package itself
    for verb, path in verbs.items():
        edges[verb] |= {
            n.split(".")[1]
            for n in imports_of(path)
            if n.startswith("git_nn.") and n.count(".") == 1
        } & set(verbs) - {verb}
    while edges:
        leaves = [verb for verb, used in edges.items() if not used & set(edges)]
        assert leaves, f"a cycle among {sorted(edges)}"
        for verb in leaves:
            del edges[verb]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_one_door_per_library(path: Path) -> None:
    where = path.relative_to(PACKAGE).as_posix()
    for name in imports_of(path):
        doors = DOORS.get(name.split(".")[0])
        assert doors is None or where.startswith(doors), f"{where} imports {name}"


BELOW_DRIVERS = [path for path in FILES if ROW.get(room_of(path), 9) < 5]


@pytest.mark.parametrize("path", BELOW_DRIVERS, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_nothing_below_drivers_prints_prompts_exits_or_reads_the_environment(path: Path) -> None:
    if path.name == "hdf5_worker.py":
        return  # a program of its own, started by formats/hdf5 as a child process
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in {"print", "input", "exit", "quit", "breakpoint"}, node.lineno
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            used = f"{node.value.id}.{node.attr}"
            assert used not in {"os.environ", "os.getenv", "sys.exit", "sys.stdin"}, node.lineno


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_modules_stay_readable(path: Path) -> None:
    tree = ast.parse(path.read_text("utf-8"))
    assert ast.get_docstring(tree), "a module opens by saying what it is"
    assert len(path.read_text("utf-8").splitlines()) <= 500
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno is not None
            assert node.end_lineno - node.lineno < 60, f"{node.name} is too long"


HEAVY = {"h5py", "pygit2", "git", "rich", "click", "ml_dtypes", "torch", "gguf", "urllib3"}


def test_cleaning_and_smudging_safetensors_loads_nothing_heavy(tmp_path: Path) -> None:
    script = """
import sys, json, struct
import git_nn.drivers.filter_process
from pathlib import Path
from git_nn.clean import clean
from git_nn import smudge
from git_nn.formats.base import BytesSource
from git_nn.store.local import open_store
header = json.dumps({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
data = struct.pack("<Q", len(header)) + header + bytes(8)
store = open_store(Path(sys.argv[1]))
pointer = clean(BytesSource(data), store).pointer
sink = smudge.MemorySink(bytearray(len(data)))
smudge.write_file(pointer, smudge.load_skeleton(pointer, store), store, sink)
assert sink.data == data and pointer.format == "safetensors"
print(*sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "nn")],
        cwd=PACKAGE.parent, capture_output=True, text=True, check=True,
    )  # fmt: skip
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert not loaded & HEAVY


def test_a_merge_of_different_tensors_loads_no_numpy_and_reads_nothing(tmp_path: Path) -> None:
    """Every merge waits for what is loaded; where no tensor is computed, that need not be much."""
    script = """
import sys
import git_nn.drivers.merge, git_nn.drivers.open, git_nn.drivers.progress
from pathlib import Path
from git_nn.assemble import Sides
from git_nn.combine import merge, rules_for
from git_nn.merge.report import lines, summary
from git_nn.merge.rules import Rules
from git_nn.objects.oid import oid_of
from git_nn.objects.pointer import Pointer, Stored
from git_nn.resolve import record_of, unsettled_of
from git_nn.store.local import open_store
def version(*values):
    oids = map(oid_of, values)
    tensors = tuple(Stored(f"{i}", "f32", (2, 3), oid, 24) for i, oid in enumerate(oids))
    return Pointer("safetensors", 1, oid_of(b"skeleton"), 8, tensors)
sides = Sides(version(b"a", b"b"), version(b"x", b"b"), version(b"a", b"y"))
merged = merge(sides, Rules(), open_store(Path(sys.argv[1])), Path(sys.argv[1]))
assert merged.pointer == version(b"x", b"y") and merged.is_clean
print(*sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "nn")],
        cwd=PACKAGE.parent, capture_output=True, text=True, check=True,
    )  # fmt: skip
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert not loaded & (HEAVY | {"numpy"})
