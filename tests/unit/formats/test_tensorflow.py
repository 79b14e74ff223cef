"""TensorFlow checkpoints: shards and indexes written by hand, and indexes that lie."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Mapping

import numpy as np
import pytest

from git_nn.formats import table, tensorflow
from git_nn.formats.base import BytesSource
from git_nn.formats.leveldb_table import entries
from git_nn.objects.layout import Layout, check
from tests.contract.format_contract import reassemble
from tests.support import tensorflow_file as tf
from tests.support.models import normal

ONE = "model.ckpt-100.data-00000-of-00001"
ODD = "evil\x1b[31m\n../\u202e é%"
GRAPH = tf.Strings(b"\x05\xde\xad\xbe\xefgraph")


class Folder:
    """See formats.base.Beside; ``asked`` are the names that were looked for."""

    def __init__(self, name: str, files: Mapping[str, bytes]) -> None:
        self.name = name
        self.files = files
        self.asked: list[str] = []

    def read(self, name: str) -> BytesSource | None:
        self.asked.append(name)
        return BytesSource(self.files[name]) if name in self.files else None


def detect(data: bytes, index: bytes, name: str = ONE) -> Layout:
    prefix = name.partition(".data-")[0]
    layout = table.detect(BytesSource(data), Folder(name, {f"{prefix}.index": index}))
    check(layout)
    assert layout.size == len(data)
    assert reassemble(layout, data) == data
    return layout


def arrays(layout: Layout, data: bytes) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    return {
        p.name: (p.dtype, p.shape, b"".join(data[e.offset : e.stop] for e in p.extents))
        for p in layout.payloads
    }


KERNEL, BIAS, STEP = normal(1, 4, 5), normal(2, 5), np.array(7, "i8")
WEIGHTS: dict[str, tf.Value] = {
    "dense/kernel": KERNEL, "dense/bias": BIAS, "dense/bias/Adam": BIAS * 2, "global_step": STEP,
    "empty": BIAS[:0], ODD: BIAS * 3, "_CHECKPOINTABLE_OBJECT_GRAPH": GRAPH,
    **{f"layer_{i}/w": normal(i, 3) for i in range(30)},
}  # fmt: skip


def expected(weights: Mapping[str, tf.Value], dtype: str = "f32") -> dict[str, object]:
    return {
        name: ("i64" if a.dtype.kind == "i" else dtype, a.shape, a.tobytes())
        for name, a in weights.items()
        if isinstance(a, np.ndarray)
    }


def test_every_number_of_the_index_is_a_tensor_and_strings_stay_literal() -> None:
    (data,), index = tf.checkpoint([WEIGHTS])
    layout = detect(data, index)
    assert (layout.format, layout.notes) == ("tensorflow", ())
    assert arrays(layout, data) == expected(WEIGHTS)
    covered = sum(payload.length for payload in layout.payloads)
    assert covered == len(data) - len(GRAPH.data)


def test_each_dtype_has_its_name() -> None:
    every = {dtype.name: np.arange(4).astype(dtype) for dtype in tf.NUMBERS}
    (data,), index = tf.checkpoint([every])
    found = arrays(detect(data, index), data)
    for name, (dtype, _, content) in found.items():
        plain = name.replace("float8_", "f8_").replace("complex", "c").replace("bfloat", "bf")
        plain = plain.replace("uint", "u").replace("int", "i").replace("float", "f")
        assert (dtype, content) == (plain, every[name].tobytes())
    assert len(found) == len(every)


def test_each_shard_has_the_tensors_that_stand_in_it() -> None:
    parts = [{"a": KERNEL, "c": STEP}, {}, {"b": BIAS, "d": KERNEL}]
    files, index = tf.checkpoint(parts, gap=bytes(3))
    for i in (0, 2):
        layout = detect(files[i], index, f"variables.data-{i:05}-of-00003")
        assert arrays(layout, files[i]) == expected(parts[i])
    assert detect(files[1], index, "variables.data-00001-of-00003").format == "opaque"


def test_big_endian_tensors_are_told_as_such() -> None:
    weights = {"w": KERNEL.astype(">f4"), "u": np.arange(3, dtype="u1")}
    (data,), index = tf.checkpoint([weights], big_endian=True)
    assert arrays(detect(data, index), data) == {
        "w": ("f32be", (4, 5), weights["w"].tobytes()), "u": ("u8", (3,), b"\0\1\2"),
    }  # fmt: skip


# keys that TensorFlow 2.21 wrote for variables of a fixed_size_partitioner
SLICES = {
    b"\x00a/w\x00\x01\x01\x02\x80\x83\x80\x85": "a/w[0:3,0:5]",
    b"\x00a/w\x00\x01\x01\x02\x85\x82\x80\x85": "a/w[5:7,0:5]",
    b"\x00z\x00\x01\x01\x02\xc0\xc8\xc0d\x80\x82": "z[200:300,0:2]",
    b"\x00z\x00\x01\x01\x02\x80\x7f\x80\x82": "z[:,0:2]",
    b"\x00a\x00\xffb\xff\x00\x00\x01\x01\x00": "a\x00b\udcff[]",
}


@pytest.mark.parametrize("key", SLICES)
def test_the_slices_of_a_tensor_are_tensors(key: bytes) -> None:
    rows = {
        b"": tf.header(1), key: tf.entry(1, (5,), 0, 0, 20),
        b"a/w": tf.entry(1, (7, 5), 0, 0, 0, slices=3),
    }  # fmt: skip
    layout = detect(BIAS.tobytes(), tf.table(rows))
    assert arrays(layout, BIAS.tobytes()) == {SLICES[key]: ("f32", (5,), BIAS.tobytes())}


@pytest.mark.parametrize("key", [b"\0", b"\0abc", b"\0a\0\1\1\2\x80", b"\0a\0\1\1\1\xff\xff\xff"])
def test_a_key_that_is_no_slice_is_a_name_as_it_stands(key: bytes) -> None:
    rows = {b"": tf.header(1), key: tf.entry(1, (5,), 0, 0, 20)}
    layout = detect(BIAS.tobytes(), tf.table(rows))
    assert [payload.name for payload in layout.payloads] == [key.decode("utf-8", "surrogateescape")]


def test_only_the_index_of_the_same_name_is_looked_for() -> None:
    (data,), index = tf.checkpoint([{"w": BIAS}])
    folder = Folder("variables.data-00000-of-00001", {"variables.index": index})
    assert table.detect(BytesSource(data), folder).format == "tensorflow"
    assert folder.asked == ["variables.index"]
    assert tensorflow.descriptions("model.bin") == ()
    assert tensorflow.descriptions("x.data-0-of-1") == ()


def test_the_values_of_a_shard_do_not_matter_to_its_layout() -> None:
    (data,), index = tf.checkpoint([WEIGHTS])
    assert detect(bytes(len(data)), index) == detect(data, index)


GOOD = {b"": tf.header(1), b"w": tf.entry(1, (5,), 0, 0, 20)}
DATA = BIAS.tobytes() + KERNEL.tobytes()


def with_entry(*entry: object, **rows: bytes) -> bytes:
    more = {key.encode(): value for key, value in rows.items()}
    return tf.table({**GOOD, b"x": tf.entry(*entry), **more})  # type: ignore[arg-type]


def repeated_block() -> bytes:
    """An index block whose entries all name one data block."""
    data = tf.block(sorted(GOOD.items()), 1)
    handles = [(b"%06d" % i, tf.varint(0) + tf.varint(len(data))) for i in range(50_000)]
    index = tf.block(handles, 1)
    footer = bytes(2) + tf.varint(len(data) + 5) + tf.varint(len(index))
    return data + bytes(5) + index + bytes(5) + footer.ljust(40, b"\0") + tf.table({})[-8:]


def long_keys() -> bytes:
    """Entries of three bytes whose keys have thousands, shared with the one before."""
    first = b"\0" + tf.varint(15_000) + b"\0" + b"k" * 15_000
    rows, at = [first], 1
    for i in range(16_000):
        at += 1
        rows.append(tf.varint(15_000 - 5) + tf.varint(5) + b"\0" + b"%05d" % i)
    data = b"".join(rows) + bytes(4) + b"\1\0\0\0"
    handles = tf.block([(b"z", tf.varint(0) + tf.varint(len(data)))], 1)
    footer = bytes(2) + tf.varint(len(data) + 5) + tf.varint(len(handles))
    return data + bytes(5) + handles + bytes(5) + footer.ljust(40, b"\0") + tf.table({})[-8:]


WRONG = {
    "no index at all": b"what?",
    "an empty file": b"",
    "only the magic number": tf.table({})[-8:],
    "a table of nothing": tf.table({}),
    "no header": tf.table({b"w": GOOD[b"w"]}),
    "a compressed table": tf.table(GOOD, compression=1),
    "another number of shards": tf.table({**GOOD, b"": tf.header(2)}),
    "a byte order of 7": tf.table({**GOOD, b"": tf.header(1) + tf.number(2, 7)}),
    "a header of rubbish": tf.table({**GOOD, b"": b"\xff" * 20}),
    "no tensor of this shard": tf.table({b"": tf.header(1), b"w": tf.entry(1, (5,), 3, 0, 20)}),
    "only strings": tf.table({b"": tf.header(1), b"s": tf.entry(7, (), 0, 0, 20)}),
    "a tensor beyond the file": with_entry(1, (5,), 0, 96, 20),
    "an offset of 2**63": with_entry(1, (5,), 0, 2**63, 20),
    "a negative offset": with_entry(1, (5,), 0, -4, 20),
    "a size that is not the shape's": with_entry(1, (5,), 0, 20, 24),
    "a shape of 2**80": with_entry(1, (2**40, 2**40), 0, 20, 20),
    "a negative shape": with_entry(1, (-5,), 0, 20, 20),
    "two negative dimensions": with_entry(1, (-1, -5), 0, 20, 20),
    "a rank of 100": with_entry(1, (1,) * 100, 0, 20, 4),
    "overlapping tensors": with_entry(1, (5,), 0, 16, 20),
    "two names for one tensor": with_entry(1, (5,), 0, 0, 20),
    "an entry of rubbish": tf.table({**GOOD, b"x": b"\xff" * 40}),
    "one data block named many times": repeated_block(),
    "keys that add up to a gigabyte": long_keys(),
}  # fmt: skip


@pytest.mark.parametrize("label", WRONG)
def test_a_wrong_index_leaves_the_shard_opaque_and_the_note_says_why(label: str) -> None:
    started = time.process_time()
    layout = detect(DATA, WRONG[label])
    assert time.process_time() - started < 3
    assert layout.format == "opaque"
    (note,) = layout.notes
    assert note.startswith("looks like tensorflow, but ")


def test_the_tables_of_these_tests_are_right_but_for_what_they_say() -> None:
    layout = detect(DATA, with_entry(1, (4, 5), 0, 20, 80))
    assert arrays(layout, DATA) == expected({"w": BIAS, "x": KERNEL})


def test_the_index_of_an_older_save_that_does_not_fit_leaves_the_shard_opaque() -> None:
    _, old = tf.checkpoint([{"w": KERNEL, "grown": normal(1, 50)}])
    (data,), _ = tf.checkpoint([{"w": KERNEL}])
    assert detect(data, old).format == "opaque"


def damaged(index: bytes, count: int) -> Iterator[bytes]:
    rng = random.Random(5)
    for _ in range(count):
        changed = bytearray(index)
        for _ in range(rng.choice((1, 1, 2, 5))):
            at = rng.randrange(len(changed))
            match rng.randrange(4):
                case 0:
                    changed[at] ^= 1 << rng.randrange(8)
                case 1:
                    changed[at : at + 4] = rng.choice((b"\xff" * 4, bytes(4), b"\x80" * 4))
                case 2:
                    del changed[at : at + rng.randrange(9)]
                case 3:
                    changed[at:at] = rng.randbytes(rng.randrange(9))
        yield bytes(changed)


def test_a_damaged_index_never_costs_a_byte() -> None:
    (data,), index = tf.checkpoint([{"w": KERNEL, "b": BIAS, "step": STEP, "graph": GRAPH}])
    formats = {detect(data, changed).format for changed in damaged(index, 2000)}
    assert formats == {"opaque", "tensorflow"}
    for length in range(len(index)):
        assert detect(data, index[:length]).format == "opaque"


def test_a_table_gives_back_its_rows_in_order() -> None:
    rows = {f"{i:x}".encode(): bytes([i % 256]) * (i % 7) for i in range(1000)}
    for per_block, interval in ((1, 1), (16, 4), (2000, 16), (7, 100)):
        data = tf.table(rows, per_block=per_block, interval=interval)
        found = [(key, data[start:stop]) for key, start, stop in entries(BytesSource(data))]
        assert found == sorted(rows.items())


def test_two_thousand_tensors_are_read_at_once() -> None:
    weights = {f"model/layer_{i}/kernel": KERNEL for i in range(2000)}
    (data,), index = tf.checkpoint([weights])
    folder = Folder(ONE, {"model.ckpt-100.index": index})
    started = time.process_time()
    assert len(table.detect(BytesSource(data), folder).payloads) == 2000
    assert time.process_time() - started < 1  # of which 0.3 s is the aim on an idle machine
