"""Files that h5py writes, of every kind, through git and back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import h5py
import numpy as np
import pytest

from git_nn.formats import table
from git_nn.formats.base import BytesSource
from git_nn.forms import decode_form
from git_nn.objects import pointer as pointers
from git_nn.objects.oid import oid_of
from tests.support.git import Repo

pytestmark = pytest.mark.interop


def noise(*shape: int, dtype: str = "<f4") -> np.ndarray:
    return (np.random.default_rng(len(shape)).standard_normal(shape) * 50).astype(dtype)


def plain(file: h5py.File) -> None:
    dtypes = ("<f2", "<f4", "<f8", ">f4", "|i1", "<i8", "|u1", "?", "<c8", "<c16")
    for i, dtype in enumerate(dtypes):
        file[f"all/{i}_{np.dtype(dtype).name}"] = noise(3, 5, dtype=dtype)
    file["scalar"] = np.float64(3.25)


def compressed(file: h5py.File) -> None:
    for name, options in OPTIONS.items():
        file.create_dataset(name, data=noise(30, 20), chunks=(8, 16), **options)


def strange(file: h5py.File) -> None:
    file["text"] = ["one", "two"]
    file["empty"] = h5py.Empty("f4")
    file["nothing"] = np.zeros((0, 3), "f4")
    file["record"] = np.zeros(3, [("x", "f4"), ("y", "i4")])
    file["soft"] = h5py.SoftLink("/tensor")
    file["out"] = h5py.ExternalLink("elsewhere.h5", "/x")
    file.create_dataset("unwritten", (4, 4), "f4")
    file.create_dataset("external", (4,), "f4", external=[("/etc/passwd", 0, 16)])
    file["tensor"] = noise(7)


OPTIONS: dict[str, dict[str, Any]] = {
    "chunked": {},
    "gzip": {"compression": "gzip"},
    "shuffled": {"compression": "gzip", "compression_opts": 9, "shuffle": True},
    "checked": {"compression": "gzip", "shuffle": True, "fletcher32": True},
    "lzf": {"compression": "lzf", "shuffle": True},
    "scaled": {"scaleoffset": 2},
}


@pytest.mark.parametrize("write", [plain, compressed, strange])
@pytest.mark.parametrize(
    "options",
    [{}, {"libver": "latest"}, {"userblock_size": 512}, {"track_order": True}],
    ids=["earliest", "latest", "user block", "ordered"],
)
def test_the_file_comes_back_byte_for_byte(
    repo: Repo, write: Callable[[h5py.File], None], options: dict[str, Any]
) -> None:
    path = repo.path / "m.h5"
    with h5py.File(path, "w", **options) as file:
        write(file)
    data = path.read_bytes()
    repo.commit()
    assert pointers.parse(repo.blob("HEAD:m.h5")).format == "hdf5"
    assert repo.status() == ""
    path.unlink()
    repo.git("checkout", "--", "m.h5")
    assert path.read_bytes() == data
    assert repo.status() == ""


def test_the_pointer_has_the_tensors_that_h5py_reads(repo: Repo) -> None:
    with h5py.File(repo.path / "m.h5", "w") as file:
        plain(file)
        expected = {f"all/{k}": oid_of(v[()].tobytes()) for k, v in file["all"].items()}
        expected["scalar"] = oid_of(np.float64(3.25).tobytes())
    repo.commit()
    pointer = pointers.parse(repo.blob("HEAD:m.h5"))
    assert {name: entry.oid for name, entry in pointer.stored.items()} == expected


def test_nothing_of_another_file_gets_into_the_repository(repo: Repo) -> None:
    (repo.path / "secret").write_bytes(b"S3CRET-TOKEN-0123")
    with h5py.File(repo.path / "m.h5", "w") as file:
        path = str(repo.path / "secret")
        file.create_dataset("external", (4,), "f4", external=[(path, 0, 16)])
        file["tensor"] = noise(7)
    repo.git("add", "m.h5")
    assert set(pointers.parse(repo.blob(":m.h5")).stored) == {"tensor"}


def test_compressed_chunks_decode_to_what_h5py_reads(repo: Repo) -> None:
    """Each payload in the pointer is the stored chunks, which the form says how to decode."""
    with h5py.File(repo.path / "m.h5", "w") as file:
        compressed(file)
    repo.commit()
    data = repo.read("m.h5")
    pointer = pointers.parse(repo.blob("HEAD:m.h5"))
    payloads = {p.name: p for p in table.detect(BytesSource(data)).payloads}
    with h5py.File(repo.path / "m.h5") as file:
        for name in OPTIONS:
            entry, extents = pointer.stored[name], payloads[name].extents
            stored = b"".join(data[e.offset : e.stop] for e in extents)
            assert oid_of(stored) == entry.oid
            found = decode_form(
                entry.form, entry.dtype, entry.shape, [e.length for e in extents], stored
            )
            undecoded = name in ("lzf", "scaled")
            assert found == (None if undecoded else file[name][()].tobytes()), name
