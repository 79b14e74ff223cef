"""What the local store does beyond the contract: dedup, alternates, trash, hostile packs."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from git_nn.errors import DamagedObjectError, MissingObjectError, StoreError
from git_nn.objects.oid import Oid
from git_nn.store import frame, system
from git_nn.store.base import SEGMENT, read_bytes
from git_nn.store.frame import DATA, LIST, NO_BASE, Header, Part
from git_nn.store.local import LocalStore, open_store
from git_nn.store.staging import Staging
from tests.unit.store.support import (
    CALLS,
    Intercepted,
    id_of,
    leftovers,
    noise,
    nothing,
    only_pack,
    overwrite,
    pack_paths,
    put,
    rewrite,
    weights,
)


def plant(root: Path, *frames: tuple[Header, bytes]) -> None:
    """Publish frames as they are, however wrong."""
    staging = Staging(LocalStore(root).folders)
    for header, body in frames:
        staging.add(header, body)
    staging.publish()
    staging.drop()


def data_header(oid: Oid, clen: int, rawlen: int, codec: int = 0) -> Header:
    return Header(oid, DATA, codec, 0, 0, NO_BASE, clen, rawlen)


def list_frame(oid: Oid, *parts: Part) -> tuple[Header, bytes]:
    body = frame.render_list(parts)
    total = sum(part.length for part in parts)
    return Header(oid, LIST, 0, 0, 0, NO_BASE, len(body), total), body


def test_opening_a_store_that_is_not_there_makes_nothing(tmp_path: Path) -> None:
    store = open_store(tmp_path / "nn")
    assert store.size(id_of(b"x")) is None
    assert list(store.packs()) == []
    assert store.missing([id_of(b"x")]) == [id_of(b"x")]
    assert not (tmp_path / "nn").exists()


def test_an_empty_batch_makes_nothing(tmp_path: Path) -> None:
    with open_store(tmp_path / "nn").batch():
        pass
    assert not (tmp_path / "nn").exists()


def test_a_batch_with_nothing_new_writes_nothing_but_freshens_its_packs_once(
    tmp_path: Path,
) -> None:
    contents = [noise(1000, 1), noise(SEGMENT + 7, 2)]
    put(open_store(tmp_path), *contents)
    path = only_pack(tmp_path)
    os.utime(path, (1, 1))
    with Intercepted(nothing) as calls:
        put(open_store(tmp_path), *contents, contents[0])
    assert pack_paths(tmp_path) == [path]
    assert path.stat().st_mtime > 1_000_000_000
    assert calls.names.count("utime") == 1
    assert not {"write", "open_excl", "fsync", "fsync_dir", "rename"} & set(calls.names)


def test_a_small_batch_needs_few_syncs(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    put(store, b"first")
    with Intercepted(nothing) as calls:
        put(store, *(noise(100, seed) for seed in range(200)))
    assert calls.names.count("fsync") == 2
    assert calls.names.count("fsync_dir") == 3


def test_the_same_content_gives_the_same_packs(tmp_path: Path) -> None:
    contents = [weights(300_000, 1), b"small", noise(SEGMENT + 1), weights(100_000, 2)]
    names = []
    for folder in ("a", "b"):
        store = LocalStore(tmp_path / folder, pack_target=1_000_000)
        put(store, *contents, dtype="f32")
        names.append([path.name for path in pack_paths(tmp_path / folder)])
    assert names[0] == names[1]
    assert len(names[0]) > 2


def test_packs_stay_near_their_target(tmp_path: Path) -> None:
    store = LocalStore(tmp_path, pack_target=100_000)
    put(store, *(noise(30_000, seed) for seed in range(20)))
    sizes = [path.stat().st_size for path in pack_paths(tmp_path)]
    assert len(sizes) == 7
    assert max(sizes) < 100_000


def test_a_batch_cannot_be_seen_before_it_ends_and_leaves_no_temporary_files(
    tmp_path: Path,
) -> None:
    store, other = open_store(tmp_path), open_store(tmp_path)
    with store.batch() as batch:
        oid, _ = batch.put([b"abc"])
        assert other.size(oid) is None
        assert leftovers(tmp_path)
    assert read_bytes(other, oid) == b"abc"
    assert leftovers(tmp_path) == []


def test_a_batch_dropped_leaves_no_temporary_files(tmp_path: Path) -> None:
    with pytest.raises(KeyError), open_store(tmp_path).batch() as batch:  # noqa: PT012
        batch.put([noise(3 * SEGMENT)])
        raise KeyError
    assert leftovers(tmp_path) == []
    assert pack_paths(tmp_path) == []


def test_a_reader_sees_what_others_add_later(tmp_path: Path) -> None:
    reader = open_store(tmp_path)
    assert reader.size(id_of(b"late")) is None
    put(open_store(tmp_path), b"late")
    assert read_bytes(reader, id_of(b"late")) == b"late"


def test_a_reader_follows_a_pack_that_was_rewritten(tmp_path: Path) -> None:
    reader = open_store(tmp_path)
    (oid,) = put(open_store(tmp_path), noise(5000))
    put(open_store(tmp_path), noise(5000, 1))
    assert read_bytes(reader, oid) == noise(5000)
    other = open_store(tmp_path)
    with other.exclusive():
        old = [info.name for info in other.packs()]
        rewrite(other, {oid, id_of(noise(5000, 1))}, old)
        for name in old:
            other.retire(name)
        other.empty_trash(-10)
    assert read_bytes(reader, oid) == noise(5000)


def test_duplicates_in_several_packs_are_harmless(tmp_path: Path) -> None:
    content = weights(5000)
    (oid,) = put(open_store(tmp_path), content, dtype="f32")
    for extra in range(3):
        codec_raw = (data_header(oid, len(content), len(content)), content)
        other = noise(100 + extra, extra)
        plant(tmp_path, codec_raw, (data_header(id_of(other), len(other), len(other)), other))
    store = open_store(tmp_path)
    assert len(list(store.packs())) == 4
    assert read_bytes(store, oid) == content
    assert store.missing([oid]) == []
    for path in pack_paths(tmp_path)[:3]:
        path.unlink()
        assert read_bytes(store, oid) == content


def test_alternates_are_read_and_not_written(tmp_path: Path) -> None:
    lender = open_store(tmp_path / "lender")
    content = noise(SEGMENT + 10)
    (oid,) = put(lender, content, b"small")[:1]
    before = sorted((tmp_path / "lender").rglob("*"))
    store = open_store(tmp_path / "nn", alternates=[tmp_path / "lender", tmp_path / "gone"])
    assert read_bytes(store, oid) == content
    assert store.size(oid) == len(content)
    assert store.missing([oid]) == []
    put(store, content, b"small", b"own")
    assert [info.frames[0].rawlen for info in store.packs()] == [3]
    assert sorted((tmp_path / "lender").rglob("*")) == before


def test_an_alternate_that_cannot_be_freshened_is_not_relied_upon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (oid,) = put(open_store(tmp_path / "lender"), b"abc")
    real = system.utime

    def refuse(path: Path) -> None:
        if "lender" in path.parts:
            raise PermissionError(1, "not yours")
        real(path)

    monkeypatch.setattr(system, "utime", refuse)
    put(open_store(tmp_path / "nn", alternates=[tmp_path / "lender"]), b"abc")
    assert read_bytes(open_store(tmp_path / "nn"), oid) == b"abc"


@pytest.mark.parametrize("what", ["pack", "folder"])
def test_symbolic_links_in_packs_are_not_followed(tmp_path: Path, what: str) -> None:
    (oid,) = put(open_store(tmp_path / "real"), b"abc")
    path = only_pack(tmp_path / "real")
    target = tmp_path / "nn" / "packs"
    target.mkdir(parents=True)
    if what == "folder":
        (target / path.parent.name).symlink_to(path.parent)
    else:
        (target / path.parent.name).mkdir()
        (target / path.parent.name / path.name).symlink_to(path)
    for store in (
        open_store(tmp_path / "nn"),
        open_store(tmp_path / "x", alternates=[tmp_path / "nn"]),
    ):
        with pytest.raises(MissingObjectError):
            read_bytes(store, oid)


def test_foreign_names_in_the_store_are_ignored(tmp_path: Path) -> None:
    (oid,) = put(open_store(tmp_path), b"abc")
    folder = only_pack(tmp_path).parent
    for name in ("x.nnp", "A" * 64 + ".nnp", "0" * 63 + ".nnp", "README", "0" * 64):
        (folder / name).write_bytes(b"junk")
    (folder / ("1" * 64 + ".nnp")).mkdir()
    (tmp_path / "packs" / "file").write_bytes(b"junk")
    store = open_store(tmp_path)
    assert read_bytes(store, oid) == b"abc"
    assert len(list(store.packs())) == 1


def test_an_object_in_the_trash_is_found_and_moved_back(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    content = noise(2 * SEGMENT)
    (oid,) = put(store, content)
    path = only_pack(tmp_path)
    with store.exclusive():
        store.retire(path.stem)
    assert pack_paths(tmp_path) == []
    os.utime(next((tmp_path / "trash").rglob("*.nnp")), (1, 1))
    assert read_bytes(open_store(tmp_path), oid) == content
    assert pack_paths(tmp_path) == [path]
    assert path.with_suffix(".idx").exists()
    assert path.stat().st_mtime > 1_000_000_000


def test_the_trash_of_a_store_that_cannot_be_written_is_read_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(tmp_path / "nn")
    (oid,) = put(store, b"abc")
    with store.exclusive():
        store.retire(only_pack(tmp_path / "nn").stem)
    borrower = open_store(tmp_path / "x", alternates=[tmp_path / "nn"])
    assert read_bytes(borrower, oid) == b"abc"
    assert pack_paths(tmp_path / "nn") == []

    def refuse(*paths: Path) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(system, "rename", refuse)
    assert read_bytes(open_store(tmp_path / "nn"), oid) == b"abc"


def test_a_list_with_wrong_segments_never_gives_the_whole(tmp_path: Path) -> None:
    """A list lies about which segments make up an object; its checksum is right."""
    a, b = noise(SEGMENT, 1), noise(1000, 2)
    oids = put(open_store(tmp_path), a, b)
    wanted = id_of(b"something else")
    parts = [Part(oids[0], len(a)), Part(oids[1], len(b))]
    plant(tmp_path, list_frame(wanted, *parts))
    given = []
    with pytest.raises(DamagedObjectError):
        given.extend(len(piece) for piece in open_store(tmp_path).read(wanted))
    assert given == [SEGMENT]
    (found,) = (info for info in open_store(tmp_path).packs() if len(info.frames) == 1)
    assert [(d.oid, d.pack) for d in open_store(tmp_path).verify_pack(found.name)] == [
        (wanted, found.name)
    ]


def test_lists_of_lists_and_of_themselves_are_refused(tmp_path: Path) -> None:
    a, b = id_of(b"a"), id_of(b"b")
    plant(tmp_path, list_frame(a, Part(b, 5)), list_frame(b, Part(a, 5)))
    store = open_store(tmp_path)
    for oid in (a, b):
        assert store.size(oid) is None
        with pytest.raises(DamagedObjectError):
            read_bytes(store, oid)
    assert store.missing([a]) == []  # both frames are there; reading refuses them


def test_a_list_whose_segment_is_gone_is_missing(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    content = noise(SEGMENT + 100)
    (oid,) = put(store, content)
    with store.exclusive():
        (old,) = store.packs()
        segments = store.parts(oid)
        rewrite(store, {oid, segments[0]}, [old.name])
        store.retire(old.name)
        store.empty_trash(-10)
    assert store.size(oid) is None
    assert store.missing([segments[0], oid, segments[1]]) == [oid, segments[1]]
    with pytest.raises(MissingObjectError):
        read_bytes(store, oid)
    put(store, content)
    assert read_bytes(store, oid) == content


@pytest.mark.parametrize("codec", [0, 1, 2, 3, 4])
def test_a_frame_with_wrong_bytes_or_length_is_never_given(tmp_path: Path, codec: int) -> None:
    oid = id_of(b"right")
    plant(tmp_path, (data_header(oid, 5, 5 if codec == 0 else SEGMENT, codec), b"wrong"))
    with pytest.raises(DamagedObjectError):
        read_bytes(open_store(tmp_path), oid)


def test_a_delta_without_its_base_is_missing(tmp_path: Path) -> None:
    oid = id_of(b"abc")
    plant(tmp_path, (Header(oid, DATA, 0, 0, 1, id_of(b"base"), 3, 3), b"abc"))
    store = open_store(tmp_path)
    with pytest.raises(MissingObjectError, match=id_of(b"base").hex()[:12]):
        read_bytes(store, oid)
    assert store.size(oid) is None
    assert store.missing([oid]) == [oid]
    (info,) = store.packs()
    assert info.frames[0].base == id_of(b"base")


def test_a_base_that_the_codec_does_not_use_is_damage(tmp_path: Path) -> None:
    oid, base = id_of(b"abc"), id_of(b"abd")
    plant(tmp_path, (Header(oid, DATA, 0, 0, 1, base, 3, 3), b"abc"))
    plant(tmp_path, (Header(base, DATA, 0, 0, 0, NO_BASE, 3, 3), b"abd"))
    with pytest.raises(DamagedObjectError):
        read_bytes(open_store(tmp_path), oid)


def test_a_full_disk_is_one_clear_error_and_the_store_stays_as_it_was(tmp_path: Path) -> None:
    """A real limit of the kernel, on the size of a file, in a process of its own."""
    (oid,) = put(open_store(tmp_path), b"before")
    program = (
        "import resource, sys, random; from pathlib import Path\n"
        "from git_nn.errors import StoreError; from git_nn.store.local import open_store\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))\n"
        "store = open_store(Path(sys.argv[1]))\n"
        "try:\n"
        "    with store.batch() as batch: batch.put([random.Random(1).randbytes(9_000_000)])\n"
        "except StoreError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert "would be larger than this system allows; raise the limit" in done.stdout
    assert leftovers(tmp_path) == []
    assert [path.stem for path in pack_paths(tmp_path)] == [only_pack(tmp_path).stem]
    (again,) = put(open_store(tmp_path), noise(9_000_000))
    assert read_bytes(open_store(tmp_path), again) == noise(9_000_000)
    assert read_bytes(open_store(tmp_path), oid) == b"before"


@pytest.mark.parametrize(("code", "words"), [(30, "read-only file system"), (13, "no permission")])
def test_a_store_that_cannot_be_written_says_so_and_can_be_read(
    tmp_path: Path, code: int, words: str
) -> None:
    (oid,) = put(open_store(tmp_path), b"there")
    writes = {"open_excl", "write", "rename", "mkdir", "utime", "unlink", "open_lock", "link"}

    def refuse(number: int, name: str) -> None:
        if name in writes:
            raise OSError(code, os.strerror(code))

    with Intercepted(refuse):
        store = open_store(tmp_path)
        assert read_bytes(store, oid) == b"there"
        with pytest.raises(StoreError, match=words) as caught:
            put(store, b"new")
        assert str(tmp_path) in str(caught.value)
        assert caught.value.hint


def test_adding_what_is_there_works_on_a_read_only_file_system(tmp_path: Path) -> None:
    (oid,) = put(open_store(tmp_path), b"there")

    def refuse(number: int, name: str) -> None:
        if name in {"open_excl", "write", "rename", "mkdir", "utime", "open_lock"}:
            raise OSError(30, "Read-only file system")

    with Intercepted(refuse):
        assert put(open_store(tmp_path), b"there") == [oid]


def test_a_batch_that_has_failed_cannot_succeed(tmp_path: Path) -> None:
    def full(number: int, name: str) -> None:
        if name == "write":
            raise OSError(28, "No space left on device")

    store = open_store(tmp_path)
    with pytest.raises(StoreError, match="failed before"), store.batch() as batch:  # noqa: PT012
        with Intercepted(full), pytest.raises(StoreError, match="no space left"):
            batch.put([b"abc"])
        with pytest.raises(StoreError, match="failed before"):
            batch.put([b"def"])
    assert pack_paths(tmp_path) == []
    assert leftovers(tmp_path) == []


def test_a_store_made_of_junk_is_an_error_or_empty_but_no_crash(tmp_path: Path) -> None:
    (oid,) = put(open_store(tmp_path), b"abc")
    path = only_pack(tmp_path)
    for junk in (b"", b"x", b"\x89NNP", noise(5000), path.read_bytes()[:16]):
        overwrite(path, junk)
        for index in (None, b"", noise(2000)):
            path.with_suffix(".idx").unlink(missing_ok=True)
            if index is not None:
                path.with_suffix(".idx").write_bytes(index)
            with pytest.raises(MissingObjectError):
                read_bytes(open_store(tmp_path), oid)
            assert open_store(tmp_path).verify_pack(path.stem)


def test_every_system_call_of_the_store_goes_through_one_module() -> None:
    """Nothing else in the room calls os, open() or a method of Path that touches the disk."""
    harmless = {"uname", "getpid", "cpu_count", "O_RDONLY"}
    methods = {"open", "unlink", "mkdir", "rmdir", "rename", "replace", "stat", "lstat", "exists",
               "is_file", "is_dir", "iterdir", "glob", "read_bytes", "write_bytes"}  # fmt: skip
    for path in sorted(Path(system.__file__).parent.glob("*.py")):
        if path.name == "system.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                assert node.value.id != "os" or node.attr in harmless, (path.name, node.attr)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                owner = node.func.value
                is_system = isinstance(owner, ast.Name) and owner.id == "system"
                assert is_system or node.func.attr not in methods, (path.name, node.func.attr)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id != "open", path.name
    assert {"fsync", "fsync_dir", "rename", "open_excl", "try_lock"} <= set(CALLS)


def test_a_hundred_megabytes_go_through_in_bounded_memory(tmp_path: Path) -> None:
    # getrusage would count the process that started this one.
    program = (
        "import sys; from pathlib import Path\n"
        "from git_nn.store.local import open_store\n"
        "import numpy, zstandard\n"
        "piece = numpy.random.default_rng(0).standard_normal(1 << 18).astype('f4')\n"
        "store = open_store(Path(sys.argv[1]))\n"
        "def peak():\n"
        "    lines = Path('/proc/self/status').read_text().splitlines()\n"
        "    return int(next(line.split()[1] for line in lines if line.startswith('VmHWM')))\n"
        "before = peak()\n"
        "with store.batch() as batch:\n"
        "    oid, size = batch.put(((piece + i).tobytes() for i in range(160)), dtype='f32')\n"
        "assert sum(len(piece) for piece in store.read(oid)) == size == 160 << 20\n"
        "print(peak() - before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert 4 * 1024 < int(done.stdout) < 130 * 1024  # KiB
