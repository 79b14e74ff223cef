"""The hostile corpus: every attack on a reader of weights that we know of, as a file.

Nothing here is a file on disk: each row builds its bytes when asked. A row's name says what
the attack is. ``FILES`` are whole files; in ``FOLDERS`` the attack stands in a file beside.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tests.hostile import containers, described, hdf5s, names, pickles, protobufs, zips

Row = Callable[[], bytes]

FILES: Mapping[str, Row] = {
    f"{family}: {name}": row
    for family, rows in (
        ("safetensors", containers.SAFETENSORS),
        ("npy", containers.NPY),
        ("gguf", containers.GGUF),
        ("flax", containers.FLAX),
        ("onnx", protobufs.ONNX),
        ("tflite", protobufs.TFLITE),
        ("coreml", protobufs.COREML),
        ("hdf5", hdf5s.HDF5),
        ("pickle", pickles.PICKLES),
        ("joblib", pickles.JOBLIB),
        ("torch of before 1.6", pickles.LEGACY),
        ("torch", pickles.TORCH),
        ("zip", zips.ZIPS),
        ("name", names.NAMES),
    )
    for name, row in rows.items()
}

# name -> name of the file, its content, the files beside it
FOLDERS: Mapping[str, Callable[[], tuple[str, bytes, dict[str, bytes]]]] = described.FOLDERS

# modules that these files name, and nobody else imports
FORBIDDEN = pickles.FORBIDDEN
