"""Files beside a file that describe it, and lie."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tests.support import onnx_file
from tests.support import tensorflow_file as tf

Folder = tuple[str, bytes, dict[str, bytes]]  # name, content, the files beside

SHARD = "m.data-00000-of-00001"
DATA = bytes(range(200))


def _index(*entries: bytes, header: bytes | None = None) -> Callable[[], Folder]:
    rows = {b"%d" % i: entry for i, entry in enumerate(entries)}
    table = tf.table({b"": tf.header(1) if header is None else header, **rows})
    return lambda: (SHARD, DATA, {"m.index": table})


def _external(*tensors: bytes) -> Callable[[], Folder]:
    model = onnx_file.model(onnx_file.graph(list(tensors)))
    return lambda: ("m.onnx.data", DATA, {"m.onnx": model})


def _tensor(offset: str, length: str, *shape: int, location: str = "m.onnx.data") -> bytes:
    places = {"location": location, "offset": offset, "length": length}
    return onnx_file.external("w" + offset, "f32", shape, **places)


FOLDERS: Mapping[str, Callable[[], Folder]] = {
    "tensorflow: a tensor beyond the shard": _index(tf.entry(1, (4,), 0, 190, 16)),
    "tensorflow: overlapping tensors": _index(
        tf.entry(1, (4,), 0, 0, 16), tf.entry(1, (4,), 0, 8, 16)
    ),
    "tensorflow: a negative offset": _index(tf.entry(1, (4,), 0, -16, 16)),
    "tensorflow: a shape of 2**80": _index(tf.entry(1, (2**40, 2**40), 0, 0, 16)),
    "tensorflow: a header that lies": _index(header=tf.header(2**31)),
    "tensorflow: an index of zeros": lambda: (SHARD, DATA, {"m.index": bytes(1_000_000)}),
    "tensorflow: an index that is a shard": lambda: (SHARD, DATA, {"m.index": DATA}),
    "tensorflow: 20,000 empty tensors": _index(*[tf.entry(1, (0,), 0, 0, 0)] * 20_000),
    "tensorflow: restarts of 2**32 - 1": lambda: (
        SHARD,
        DATA,
        {"m.index": tf.table({b"": tf.header(1)}).replace(b"\1\0\0\0", b"\xff" * 4)},
    ),
    "onnx: a tensor beyond the file": _external(_tensor("190", "16", 4)),
    "onnx: a negative offset": _external(_tensor("-16", "16", 4)),
    "onnx: an offset of 5000 digits": _external(_tensor("9" * 5000, "16", 4)),
    "onnx: overlapping tensors": _external(_tensor("0", "16", 4), _tensor("8", "16", 4)),
    "onnx: a model of zeros": lambda: ("m.onnx.data", DATA, {"m.onnx": bytes(100_000)}),
    "onnx: a place that climbs": _external(_tensor("0", "16", 4, location="../m.onnx.data")),
}
