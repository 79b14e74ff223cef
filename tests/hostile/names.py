"""Names of tensors that would act on a terminal, a path or a pointer, in every kind of file."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping

import h5py
import numpy as np

from tests.hostile.zips import Member, zipped
from tests.support import flax_file, gguf_file, onnx_file
from tests.support.models import safetensors_file
from tests.support.torch_file import S, dumps, save, save_legacy, tensor

Row = Callable[[], bytes]
WEIGHTS = np.arange(6, dtype="f4")

EVIL: Mapping[str, str] = {
    "colours and a cleared screen": "\x1b[31m\x1b[2J\x1b]0;title\x07w",
    "control characters": "".join(map(chr, range(1, 32))) + "\x7f\x80\x9b31m",
    "a newline and a stanza": "w\n\ntensor evil\n  f32 6 " + "0" * 64,
    "a carriage return over the line": "w\rsafe",
    "marks of direction": "w\u202e\u2066gnp.exe\u2069\u200f",
    "spaces that nobody sees": "\u00a0\u200b\ufeff\u3000w\u2028\u2029",
    "a path that climbs": "../../../../etc/passwd",
    "an absolute path": "/etc/passwd",
    "an option": "--upload-pack=touch git_nn_was_here",
    "a shell command": "$(echo > git_nn_was_here);`id`|&",
    "markers of a conflict": "<<<<<<< HEAD\n=======\n>>>>>>> w",
    "percent signs that look escaped": "%0A%1B%%s%n%-",
    "nothing": "",
    "one space": " ",
    "4096 bytes": "n" * 4096,
    "4097 bytes": "n" * 4097,
    "a hundred thousand digits": "9" * 100_000,
    "ten megabytes": "n" * 10_000_000,
    "combining marks": "w" + "\u0301" * 500,
    "characters beyond the basic plane": "\U0001f4a9\U000e0041\U0010ffff",
}


def _hdf5(name: str) -> bytes:
    out = io.BytesIO()
    with h5py.File(out, "w") as file:
        file[name.replace("\0", "?").strip("/. ")[:2000] or "w"] = WEIGHTS
    return out.getvalue()


def _npz(name: str) -> bytes:
    out = io.BytesIO()
    np.save(out, WEIGHTS)
    return zipped(Member(name.encode()[:60_000] + b".npy", out.getvalue(), flags=0x800))


def _torch(save_as: Callable[[object], bytes]) -> Callable[[str], bytes]:
    return lambda name: save_as({name: tensor(S("0", "f32", WEIGHTS.tobytes()), (6,))})


CARRIERS: Mapping[str, Callable[[str], bytes]] = {
    "safetensors": lambda name: safetensors_file({name: WEIGHTS}),
    "flax": lambda name: flax_file.to_bytes({name: WEIGHTS}),
    "gguf": lambda name: gguf_file.write({name: ("f32", (6,), WEIGHTS.tobytes())}),
    "onnx": lambda name: onnx_file.model(
        onnx_file.graph(
            [onnx_file.tensor(name, "f32", (6,), WEIGHTS.tobytes())],
        )
    ),
    "hdf5": _hdf5,
    "npz": _npz,
    "torch": _torch(save),
    "torch of before 1.6": _torch(save_legacy),
    "pickle": lambda name: dumps({name: WEIGHTS.tobytes() * 100}),
}

NAMES: Mapping[str, Row] = {
    f"{label} in {kind}": (lambda carrier=carrier, name=name: carrier(name))
    for kind, carrier in CARRIERS.items()
    for label, name in EVIL.items()
}
