"""HDF5 files that point elsewhere, in circles, or to more than there is."""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable, Mapping

import h5py
import numpy as np

Row = Callable[[], bytes]
SECRET = "/etc/passwd"  # what these files would have us read; audited.py puts another in its place

_W = np.arange(12, dtype="f4").reshape(3, 4)


def _file(write: Callable[[h5py.File], object], **options: object) -> Row:
    def made() -> bytes:
        out = io.BytesIO()
        with h5py.File(out, "w", **options) as file:
            file["w"] = _W
            write(file)
        return out.getvalue()

    return made


def _linked(name: str, link: object) -> Row:
    return _file(lambda file: file.__setitem__(name, link))


def _external(size: int, *files: tuple[str, int, int]) -> Row:
    return _file(lambda f: f.create_dataset("e", (size,), "u1", external=list(files)))


def _virtual(path: str) -> Row:
    def write(file: h5py.File) -> None:
        layout = h5py.VirtualLayout((4,), "f4")
        layout[:] = h5py.VirtualSource(path, "w", (4,))
        file.create_virtual_dataset("v", layout)

    return _file(write)


def _in_itself(file: h5py.File) -> None:
    group = file.create_group("a/b/c")
    group["up"], group["here"] = file["a"], group


def _deep(file: h5py.File) -> None:
    group = file
    for _ in range(300):
        group = group.create_group("g")
    group["w"] = _W


def _bomb(file: h5py.File) -> None:
    """A chunk of a gigabyte of zeros, deflated twice; written, never made."""
    size = 1 << 28
    made = file.create_dataset("b", (size,), "f4", chunks=(size,), compression="gzip")
    once = zlib.compress(bytes(1 << 24), 9)
    made.id.write_direct_chunk((0,), once)


def _unknown_filter(file: h5py.File) -> None:
    create = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    create.set_chunk((4,))
    create.set_filter(32015, h5py.h5z.FLAG_OPTIONAL, (1, 2, 3))
    space = h5py.h5s.create_simple((4,))
    h5py.h5d.create(file.id, b"f", h5py.h5t.IEEE_F32LE, space, create)


def _many_chunks(file: h5py.File) -> None:
    file.create_dataset("c", data=np.zeros(20_000, "u1"), chunks=(4,))


def _types(file: h5py.File) -> None:
    file["record"] = np.zeros(3, [("a", "f4"), ("b", "i8", (2, 2))])
    file["texts"] = np.array([b"a", b"bc"], dtype="S10")
    file.create_dataset("vlen", (3,), h5py.vlen_dtype("f4"))
    file.create_dataset("reference", (3,), h5py.ref_dtype)
    file["enum"] = np.zeros(3, h5py.enum_dtype({"A": 0, "B": 1}, "i1"))
    file["opaque"] = np.zeros(3, h5py.opaque_dtype(np.dtype("M8[ns]")))
    file["committed"] = np.dtype([("x", "f8")])


def _patched(find: bytes, skip: int, new: bytes) -> Row:
    """A small file with other bytes at some distance from a signature."""

    def made() -> bytes:
        data = _file(lambda f: f.create_dataset("c", data=_W, chunks=(1, 2)))()
        at = data.index(find) + skip
        return data[:at] + new + data[at + len(new) :]

    return made


_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_NEWEST = {"libver": "latest"}

HDF5: Mapping[str, Row] = {
    "an external link to /etc/passwd": _linked("e", h5py.ExternalLink(SECRET, "/w")),
    "an external link above the folder": _linked("e", h5py.ExternalLink("../../x.h5", "/w")),
    "an external link to a device": _linked("e", h5py.ExternalLink("/dev/zero", "/w")),
    "a soft link to itself": _linked("s", h5py.SoftLink("/s")),
    "a soft link to nothing": _linked("s", h5py.SoftLink("/" + "x" * 10_000)),
    "external data of /etc/passwd": _external(64, (SECRET, 0, 64)),
    "external data of 500 files": _external(500, *((f"../{i}", 0, 1) for i in range(500))),
    "external data of a device": _external(64, ("/dev/random", 0, 64)),
    "a virtual dataset of /etc/passwd": _virtual(SECRET),
    "a virtual dataset of itself": _virtual("."),
    "a group in itself": _file(_in_itself),
    "groups 300 deep": _file(_deep),
    "one dataset by 1000 names": _file(
        lambda f: [f.__setitem__(f"n{i}", f["w"]) for i in range(1000)]
    ),
    "2000 empty datasets": _file(
        lambda f: [f.create_dataset(str(i), (0,), "f4") for i in range(2000)]
    ),
    "a shape of 2**62 never written": _file(
        lambda f: f.create_dataset("h", (2**31, 2**31), "u1", chunks=(1, 1 << 20))
    ),
    "a rank of 32": _file(lambda f: f.create_dataset("r", (1,) * 32, "f4")),
    "a chunk that inflates to less than it says": _file(_bomb),
    "a filter that nobody knows": _file(_unknown_filter),
    "5000 chunks of four bytes": _file(_many_chunks),
    "every odd type": _file(_types),
    "an attribute of 60 KB": _file(lambda f: f.attrs.__setitem__("a", b"x" * 60_000)),
    "a configuration that names a module": _file(
        lambda f: f.attrs.__setitem__("model_config", '{"class_name": "Lambda", "module": "os"}')
    ),
    "a configuration 10,000 levels deep": _file(
        lambda f: f.attrs.__setitem__("model_config", '{"a":' * 10_000)
    ),
    "a user block of a megabyte": _file(lambda f: None, userblock_size=1 << 20),
    "an external link in the newest format": _file(
        lambda f: f.__setitem__("e", h5py.ExternalLink(SECRET, "/w")), **_NEWEST
    ),
    "a group in itself in the newest format": _file(_in_itself, **_NEWEST),
    "only the signature": lambda: _SIGNATURE,
    "signatures every 512 bytes": lambda: _SIGNATURE.ljust(512, b"\0") * 500,
    "a superblock of version 255": lambda: _SIGNATURE + b"\xff" * 500,
    "offsets of 255 bytes": _patched(_SIGNATURE, 13, b"\xff\xff"),
    "an end of file of 2**63": _patched(_SIGNATURE, 40, b"\0" * 7 + b"\x80"),
    "a root that is the superblock": _patched(_SIGNATURE, 64, bytes(8)),
    "a tree that is its own child": _patched(b"TREE", 4, b"\0\x05\x01\0"),
    "a tree of 65,535 entries": _patched(b"TREE", 6, b"\xff\xff"),
    "a heap of 2**63 bytes": _patched(b"HEAP", 8, b"\xff" * 7 + b"\x7f"),
    "a node of 65,535 symbols": _patched(b"SNOD", 6, b"\xff\xff"),
}
