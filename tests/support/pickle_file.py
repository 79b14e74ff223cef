"""Writes numpy arrays as pickles and joblib files have them, without joblib.

Independent of git_nn. The interop tests hold it against files of the real libraries.
"""

from __future__ import annotations

import io
import pickle
from typing import Any

import numpy as np

from tests.support.torch_file import G, R

ALIGNMENT = 16


def dtype(kind: str) -> R:
    """``kind`` as numpy writes it: ``<f4``, ``>f8``."""
    state = (3, kind[0], None, None, None, -1, -1, 0)
    return R(G("numpy", "dtype"), (kind[1:], False, True), state=state)


def array(values: np.ndarray, data: Any = None) -> R:
    """The calls that make an array; for tests.support.torch_file.dumps."""
    fortran = values.flags.f_contiguous and not values.flags.c_contiguous
    raw = values.T.tobytes() if fortran else values.tobytes()
    kind = values.dtype.str
    state = (1, values.shape, dtype(kind), fortran, raw if data is None else data)
    return R(
        G("numpy.core.multiarray", "_reconstruct"), (G("numpy", "ndarray"), (0,), b"b"), {}, state
    )


class _Pickler(pickle._Pickler):  # type: ignore[name-defined]
    """joblib's: an array is a wrapper, and its bytes follow at once."""

    def __init__(self, file: io.BytesIO, protocol: int, *, aligned: bool) -> None:
        super().__init__(file, protocol)
        self.file, self.aligned = file, aligned

    def save(self, obj: Any, save_persistent_id: bool = True) -> None:
        if type(obj) is not np.ndarray:
            super().save(obj, save_persistent_id)
            return
        self.write(b"cjoblib.numpy_pickle\nNumpyArrayWrapper\n)\x81")
        order = "F" if obj.flags.f_contiguous and not obj.flags.c_contiguous else "C"
        state = {
            "subclass": np.ndarray, "shape": obj.shape, "order": order, "dtype": obj.dtype,
            "allow_mmap": not obj.dtype.hasobject,
        }  # fmt: skip
        if self.aligned:
            state["numpy_array_alignment_bytes"] = ALIGNMENT
        super().save(state)
        self.write(b"b")
        if self.proto >= 4:
            self.framer.commit_frame(force=True)
        self._write_array(obj, order)

    def _write_array(self, values: np.ndarray, order: str) -> None:
        if values.dtype.hasobject:
            pickle.dump(values, self.file, protocol=2)
            return
        if self.aligned:
            padding = ALIGNMENT - (self.file.tell() + 1) % ALIGNMENT
            self.file.write(bytes([padding]) + b"\xff" * padding)
        self.file.write(values.T.tobytes() if order == "F" else values.tobytes())


def joblib_dumps(value: Any, protocol: int = 4, *, aligned: bool = True) -> bytes:
    """What ``joblib.dump(value, file)`` writes; not ``aligned`` as before joblib 1.1."""
    file = io.BytesIO()
    _Pickler(file, protocol, aligned=aligned).dump(value)
    return file.getvalue()
