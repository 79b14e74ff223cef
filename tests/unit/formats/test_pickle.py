"""Pickles are read, never run: the interpreter, its limits, and the list of what they call."""

from __future__ import annotations

import collections
import datetime as dt
import pickle
import random
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from git_nn.errors import LayoutError
from git_nn.formats.base import BytesSource
from git_nn.formats.pickle_machine import (
    BrokenPickleError,
    Call,
    Dict,
    Global,
    Machine,
    PersistentId,
    Set,
    Span,
)
from git_nn.formats.pickle_opcodes import run
from git_nn.formats.pickle_ops import UNREADABLE, globals_called, scan, unsafe_globals
from tests.contract.format_contract import bounded_memory

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


def load(data: bytes) -> Any:
    return run(Machine(BytesSource(data)))


def plain(node: Any) -> Any:
    """Nodes of plain data as the Python values that the pickle was made of."""
    match node:
        case Dict():
            return {plain(key): plain(value) for key, value in node.items}
        case Set():
            return {plain(element) for element in node.elements}
        case list():
            return [plain(element) for element in node]
        case tuple():
            return tuple(plain(element) for element in node)
    return node


PLAIN = {
    "constants": [None, True, False],
    "numbers": [0, 1, -1, 255, 256, 65535, 65536, 2**31 - 1, -(2**31), 2**63, -(2**100), 1.5, -0.0],
    "text": ["", "é", "\n'\"\\", "\ud800", "x" * 300, "\x00"],
    "tuples": ((), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)),
    3: {4.5: [[[]]], (1, "a"): {}},
}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_plain_values_are_read_as_pickle_wrote_them(protocol: int) -> None:
    assert plain(load(pickle.dumps(PLAIN, protocol))) == PLAIN


@pytest.mark.parametrize("protocol", range(3, 6))
def test_bytes_are_read_as_pickle_wrote_them(protocol: int) -> None:
    value = [b"", b"abc", bytes(range(256)) * 3]
    assert load(pickle.dumps(value, protocol)) == value


def test_sets_and_bytearrays_are_read() -> None:
    value = load(pickle.dumps([{1, 2}, frozenset({3}), bytearray(b"ab")], 5))
    assert plain(value) == [{1, 2}, {3}, b"ab"]


def test_values_of_python_2_are_read() -> None:
    assert load(b"(I01\nI00\nL5L\nS'a\\x41\\n\\\\'\nU\x01zF1.5\nt.") == (
        True, False, 5, "aA\n\\", "z", 1.5,
    )  # fmt: skip


def test_a_class_is_a_call_that_was_not_made() -> None:
    call = load(pickle.dumps(collections.OrderedDict(a=1), 2))
    assert isinstance(call, Call)
    assert call.function == Global("collections", "OrderedDict")
    assert call.items == [("a", 1)]


def test_state_items_and_elements_are_kept_on_the_call() -> None:
    call = load(
        b"\x80\x02cm\nC\n)\x81}q\x00X\x01\x00\x00\x00aK\x01sb(K\x01K\x02eK\x03a(K\x04K\x05u."
    )
    assert call.state.items == [("a", 1)]
    assert call.elements == [1, 2, 3]
    assert call.items == [(4, 5)]


@pytest.mark.parametrize("code", [b"(cm\nC\nK\x01o.", b"(K\x01im\nC\n."])
def test_old_ways_to_make_an_instance(code: bytes) -> None:
    call = load(code)
    assert (call.function, call.args) == (Global("m", "C"), (1,))


def test_persistent_ids_are_inert() -> None:
    found = load(b"(Pabc\nX\x01\x00\x00\x00kQt.")
    assert [node.id for node in found if isinstance(node, PersistentId)] == ["abc", "k"]


def test_a_long_literal_is_a_span_of_the_source() -> None:
    data = pickle.dumps([b"x" * 10_000, "é" * 5_000, 7], 4)
    blob, text, seven = load(data)
    assert isinstance(blob, Span)
    assert data[blob.offset : blob.offset + blob.length] == b"x" * 10_000
    assert isinstance(text, Span)
    assert text.text
    assert data[text.offset : text.offset + text.length].decode() == "é" * 5_000
    assert seven == 7


def test_a_cyclic_pickle_is_read() -> None:
    value: list[Any] = [1]
    value.append(value)
    found = load(pickle.dumps(value, 4))
    assert found[1] is found


def test_a_pickle_may_be_longer_than_a_window() -> None:
    value = [f"text number {i}" for i in range(60_000)]
    assert load(pickle.dumps(value, 4)) == value
    assert load(pickle.dumps(value, 0)) == value


REFUSED = {
    "extension 1": b"\x82\x01.",
    "extension 2": b"\x83\x01\x00.",
    "extension 4": b"\x84\x01\x00\x00\x00.",
    "out-of-band buffer": b"\x97.",
    "read-only buffer": b"\x98.",
    "BINBYTES8 of 2**62": b"\x8e" + struct.pack("<Q", 2**62) + b"x.",
    "BINUNICODE of 2**32": b"X\xff\xff\xff\xffx.",
    "LONG4 of 1 GB": b"\x8b\x00\x00\x00\x40" + bytes(100) + b".",
    "long number": b"\x8b\x00\x20\x00\x00" + bytes(0x2000) + b".",
    "5 million digits": b"I" + b"9" * 5_000_000 + b"\n.",
    "memo entry that is not there": b"g5\n.",
    "line without end": b"c" + b"m" * 300_000,
    "nothing on the stack": b".",
    "mark that is not there": b"t.",
    "no STOP": b"N",
    "empty": b"",
    "global whose name is a number": b"K\x01K\x02\x93.",
    "append to a number": b"K\x01K\x02a.",
    "items of a list": b"](K\x01K\x02u.",
    "items without values": b"}(K\x01u.",
    "unknown opcode": b"\xff.",
    "string without quotes": b"Sabc\n.",
    "not utf-8": b"X\x01\x00\x00\x00\xff.",
    "marks without end": b"(" * 3_000_000,
    "values without end": b"N0" * 2_400_000 + b"N.",
    "opcodes without end": b"\x95" + bytes(8) + b"N" + b"\x94" * 5_100_000 + b".",
    "literals without end": b"]" + (b"X\xff\x0f\x00\x00" + b"x" * 4095 + b"0") * 17_000 + b".",
}


@pytest.mark.parametrize("label", REFUSED)
def test_a_hostile_pickle_is_refused_soon_and_in_little_memory(label: str) -> None:
    started = time.process_time()
    with bounded_memory(), pytest.raises(LayoutError):
        load(REFUSED[label])
    assert time.process_time() - started < 5


def test_a_memo_of_a_gigabyte_costs_nothing() -> None:
    with bounded_memory():
        assert load(b"Nr\xff\xff\xff\x3f.") is None


def test_damaged_pickles_are_refused_or_read() -> None:
    rng = random.Random(7)
    good = pickle.dumps([PLAIN, collections.OrderedDict(a=np.arange(3)), {1}, b"x" * 5000], 4)
    for _ in range(3000):
        data = bytearray(good)
        for _ in range(rng.randrange(1, 6)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        try:
            load(bytes(data))
        except LayoutError:
            continue


def test_broken_means_that_python_stops_there_too() -> None:
    rng = random.Random(11)
    good = pickle.dumps([PLAIN, [1, "b", (2.5,)], b"abc"], 4)
    broken = 0
    for _ in range(2000):
        data = bytearray(good)
        data[rng.randrange(len(data))] = rng.randrange(256)
        try:
            load(bytes(data))
        except BrokenPickleError:
            broken += 1
            with pytest.raises(Exception):  # noqa: B017, PT011 - it raises many kinds
                pickle.loads(bytes(data))
        except LayoutError:
            continue
    assert broken > 100


# -- what a pickle would call

SYSTEM = b"cos\nsystem\n(S'echo hacked > /tmp/hacked'\ntR."


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("never",)


def test_globals_are_listed_in_order() -> None:
    assert globals_called(SYSTEM) == ["os system"]
    data = pickle.dumps([collections.OrderedDict(), dt.date(2020, 1, 1), Evil()], 4)
    assert globals_called(data) == [
        "collections OrderedDict", "datetime date", "builtins print",
    ]  # fmt: skip


def test_globals_before_a_damage_are_listed() -> None:
    assert globals_called(SYSTEM[:-1] + b"\xff") == ["os system"]


def test_a_pickle_that_only_its_loader_could_read_on_is_reported() -> None:
    found = globals_called(b"\x80\x04\x82\x01" + SYSTEM)
    assert found[0].startswith(UNREADABLE)
    assert unsafe_globals(found) == found


def test_data_needs_nothing_unsafe() -> None:
    value = [
        np.arange(6).reshape(2, 3), np.float32(1.5), np.dtype("f2"), {1}, frozenset({2}),
        collections.OrderedDict(a=1), collections.defaultdict(list), 1j, b"x", bytearray(b"y"),
        range(3), dt.datetime(2020, 1, 1, tzinfo=dt.UTC),
    ]  # fmt: skip
    for protocol in PROTOCOLS:
        assert unsafe_globals(globals_called(pickle.dumps(value, protocol))) == [], protocol


@pytest.mark.parametrize(
    "name",
    ["os system", "posix system", "builtins eval", "builtins getattr", "__builtin__ apply",
     "torch load", "torch.hub load", "torch.storage _load_from_bytes", "numpy load", "torch",
     "torch._utils _rebuild_tensor.__globals__", "collections OrderedDict.__init__", "",
     "torch.nn.modules.linear Linear", "__main__ Net", "functools partial", "numpy.testing rundocs",
     " os system", "torch FloatStorage.from_file"],
)  # fmt: skip
def test_code_is_unsafe(name: str) -> None:
    assert unsafe_globals([name, name]) == [name]


@pytest.mark.parametrize(
    "name",
    ["torch FloatStorage", "torch float32", "torch bfloat16", "torch float8_e4m3fn", "torch Size",
     "torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_qtensor", "builtins set",
     "__torch__.torch.nn.modules.linear Linear", "torch.storage UntypedStorage", "torch qint8"],
)  # fmt: skip
def test_tensors_are_safe(name: str) -> None:
    assert unsafe_globals([name]) == []


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (SYSTEM, ["os system"]),
        (pickle.dumps(Evil(), 4), ["builtins print"]),
        (pickle.dumps({"a": 1}, 2) + pickle.dumps(Evil(), 2), ["__builtin__ print"]),
        (pickle.dumps([1, 2]), []),
        (b"", []),
        (b"class A:\n    pass\n", []),
        (b"import os\nos.system('x')\n", []),
        (b"compress\nfoo\nbar\n", []),
        (b"\x80", []),
        (b"\x80\x04\x95", []),
        (b"\x80\x02 binary \xff\x00", []),
        (bytes(range(256)) * 10, []),
        (b"PK\x03\x04 no zip", []),
    ],
)
def test_scan_tells_pickles_from_other_files(data: bytes, expected: list[str]) -> None:
    assert scan(BytesSource(data)) == expected


GUARDED = """
import sys, pathlib
from git_nn.formats import pickle_ops, table, torch_zip
from git_nn.formats.base import BytesSource
sources = [BytesSource(pathlib.Path(name).read_bytes()) for name in sys.argv[1:]]
for source in sources:  # once, so that everything is imported
    table.detect(source), pickle_ops.scan(source), table.structure("torch", source)
seen = []
sys.addaudithook(lambda event, args: seen.append((event, args)))
for source in sources:
    table.detect(source), pickle_ops.scan(source), table.structure("torch", source)
allowed = ("builtins.id", "object.", "sys._getframe", "gc.", "code.__new__", "import")
bad = [event for event in seen if not event[0].startswith(allowed) or event[0] == "import"
       and event[1][0].split(".")[0] != "git_nn"]
assert not bad, bad
assert "nothing_like_this" not in sys.modules
"""


def test_nothing_is_executed_opened_or_imported(tmp_path: Path) -> None:
    """Python's audit events are the witness: no exec, open, import or subprocess is asked for."""
    import io
    import zipfile

    hostile = {
        "system": SYSTEM,
        "eval": pickle.dumps(Evil(), 4),
        "import": b"\x80\x04cnothing_like_this\nfoo\n)R.",
        "stack": b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R.",
    }
    for label, data in list(hostile.items()):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("archive/data.pkl", data)
        hostile[f"{label}.pt"] = file.getvalue()
    for label, data in hostile.items():
        (tmp_path / label).write_bytes(data)
    names = [str(tmp_path / label) for label in hostile]
    subprocess.run([sys.executable, "-c", GUARDED, *names], check=True, timeout=60)
