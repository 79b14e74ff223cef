"""A change of a single bit is a change, and every file comes back byte for byte.

The first list is what the nearest peer loses silently (docs/decisions and the research
behind it): a tolerance in its change detection hides these from 'git add'.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable

import h5py
import numpy as np
import pytest

from tests.support.git import Repo
from tests.support.models import safetensors_file

Array = np.ndarray


def ulp(a: Array) -> Array:
    return np.nextafter(a, np.float32(np.inf))


def with_nan(a: Array, payload: int) -> Array:
    out = a.copy()
    out.view(np.uint32)[3] = 0x7FC00000 | payload
    return out


def _mask(rows: int) -> Array:
    mask = np.zeros((64, 64), np.float32)
    mask[:rows] = -np.inf
    return mask


BASE = np.random.default_rng(5).standard_normal(1000).astype(np.float32)
COUNTERS = 2.0 ** np.linspace(40, 50, 1000)
CHANGES: dict[str, tuple[Array, Array]] = {
    "rows doubled beside a NaN": (
        with_nan(BASE, 0), np.concatenate([with_nan(BASE, 0)[:500], BASE[500:] * 2])),
    "another NaN payload": (with_nan(BASE, 0), with_nan(BASE, 1)),
    "a signalling NaN": (with_nan(BASE, 0), with_nan(BASE, 0x80000000)),
    "-inf mask": (_mask(20), _mask(21)),
    "counters of 2^50": (COUNTERS, COUNTERS * 3 + 12345),
    "counter + 1": (np.array([2**50]), np.array([2**50 + 1])),
    "1 ulp": (BASE, ulp(BASE)),
    "1 ulp of one weight": (BASE, np.concatenate([BASE[:-1], ulp(BASE[-1:])])),
    "-0.0": (np.zeros(8, np.float32), -np.zeros(8, np.float32)),
    "0 to 1e-12": (np.zeros(8, np.float32), np.full(8, 1e-12, np.float32)),
    "one weight + 3e-7": (BASE, np.concatenate([BASE[:1] + np.float32(3e-7), BASE[1:]])),
    "a denormal": (np.zeros(8, np.float16), np.full(8, 6e-8, np.float16)),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_that_tolerances_lose_is_kept(repo: Repo, name: str) -> None:
    old, new = CHANGES[name]
    before, after = (
        safetensors_file({"frozen": BASE, "w": array}, {"step": "1"}) for array in (old, new)
    )
    assert before != after
    repo.write("m.safetensors", before)
    repo.commit("before")
    repo.write("m.safetensors", after)
    assert repo.status() == " M m.safetensors\n"
    repo.commit("after")
    repo.git("checkout", "-q", "HEAD~1")
    assert repo.read("m.safetensors") == before
    repo.git("checkout", "-q", "main")
    assert repo.read("m.safetensors") == after


def test_any_single_bit_anywhere_is_a_change(repo: Repo) -> None:
    data = safetensors_file({"w": BASE[:16]}, {"k": "v"})
    repo.write("m.safetensors", data)
    repo.commit("base")
    seen = {repo.git("rev-parse", ":m.safetensors").text}
    for at in range(0, len(data), 7):
        flipped = bytearray(data)
        flipped[at] ^= 1 << (at % 8)
        repo.write("m.safetensors", bytes(flipped))
        repo.git("add", "m.safetensors")
        seen.add(repo.git("rev-parse", ":m.safetensors").text)
        (repo.path / "m.safetensors").unlink()
        repo.git("checkout", "-q", "--", ".")
        assert repo.read("m.safetensors") == flipped
    assert len(seen) == 1 + len(range(0, len(data), 7))


def _h5(**options: object) -> bytes:
    file = io.BytesIO()
    with h5py.File(file, "w", libver=options.pop("libver", None)) as h5:
        h5.create_dataset("dense/kernel", data=BASE.reshape(50, 20), **options)
        h5.create_dataset("dense/bias", data=BASE[:20])
        h5.attrs["model_config"] = json.dumps({"class_name": "Sequential"})
    return file.getvalue()


def _zip(compression: int) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        archive.writestr("a.npy", BASE.tobytes())
        archive.writestr("b/data.pkl", pickle.dumps({"a": 1}))
    return file.getvalue()


def _npz() -> bytes:
    file = io.BytesIO()
    np.savez(file, a=BASE, b=COUNTERS)
    return file.getvalue()


GOOD = safetensors_file({"w": BASE})
FILES: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "one byte": lambda: b"\0",
    "a newline": lambda: b"\n",
    "text with CRLF": lambda: b"one\r\ntwo\r\n",
    "random": lambda: os.urandom(300_000),
    "zeros": lambda: bytes(1_000_000),
    "safetensors": lambda: GOOD,
    "safetensors without tensors": lambda: safetensors_file({}),
    "safetensors, truncated": lambda: GOOD[:-5],
    "safetensors, truncated in the header": lambda: GOOD[:30],
    "safetensors, bytes after the end": lambda: GOOD + b"extra",
    "safetensors, lying header length": lambda: struct.pack("<Q", 2**63) + GOOD[8:],
    "safetensors, header longer than the file": lambda: struct.pack("<Q", 10**6) + GOOD[8:],
    "safetensors, wrong lengths": lambda: GOOD.replace(b"4000", b"4004"),
    "hdf5": _h5,
    "hdf5, chunked and compressed": lambda: _h5(chunks=(7, 7), compression="gzip", shuffle=True),
    "hdf5, checksummed": lambda: _h5(chunks=(50, 20), fletcher32=True),
    "hdf5, latest": lambda: _h5(libver="latest"),
    "hdf5, truncated": lambda: _h5()[:-500],
    "hdf5, damaged": lambda: _h5()[:600] + b"\xff" * 64 + _h5()[664:],
    "hdf5, only the signature": lambda: b"\x89HDF\r\n\x1a\n",
    "zip, stored": lambda: _zip(zipfile.ZIP_STORED),
    "zip, deflated": lambda: _zip(zipfile.ZIP_DEFLATED),
    "zip, truncated": lambda: _zip(zipfile.ZIP_STORED)[:-30],
    "npz": _npz,
    "pickle": lambda: pickle.dumps({"w": BASE, "step": 3}),
    "pickle that calls code": lambda: b"cos\nsystem\n(S'touch executed'\ntR.",
    "almost a pointer": lambda: b"git-nn pointe",
    "png": lambda: b"\x89PNG\r\n\x1a\n" + os.urandom(5000),
}


@pytest.mark.parametrize("name", FILES)
def test_every_file_comes_back_whatever_it_is(repo: Repo, name: str) -> None:
    data = FILES[name]()
    repo.write("model.bin", data)
    repo.commit("add")
    assert repo.status() == ""
    (repo.path / "model.bin").unlink()
    repo.git("checkout", "-q", "--", ".")
    assert repo.read("model.bin") == data
    assert repo.status() == ""
    assert not (repo.path / "executed").exists()
    if data:
        assert repo.blob("HEAD:model.bin").startswith(b"git-nn pointer 1\n")


@pytest.mark.parametrize(
    "size", [65_535, 65_536, 4 * 2**20 - 1, 4 * 2**20, 4 * 2**20 + 1, 40_000_001]
)
def test_sizes_around_every_limit(repo: Repo, size: int) -> None:
    data = np.random.default_rng(size).bytes(size)
    repo.write("model.bin", data)
    repo.commit("add")
    (repo.path / "model.bin").unlink()
    repo.git("checkout", "-q", "--", ".")
    assert repo.read("model.bin") == data
    assert repo.status() == ""


def test_saving_the_same_tensors_again_stores_no_tensor_again(repo: Repo) -> None:
    repo.write("m.safetensors", safetensors_file({"w": np.repeat(BASE, 300)}, {"epoch": "1"}))
    repo.commit("one")
    size = sum(p.stat().st_size for p in (repo.path / ".git/nn/packs").rglob("*.nnp"))
    repo.write("m.safetensors", safetensors_file({"w": np.repeat(BASE, 300)}, {"epoch": "2"}))
    repo.commit("two")
    grown = sum(p.stat().st_size for p in (repo.path / ".git/nn/packs").rglob("*.nnp")) - size
    assert 0 < grown < 1000
