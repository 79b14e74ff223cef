"""Merged torch files, read with Python's own zipfile and pickle; interop reads them with torch."""

from __future__ import annotations

import io
import pickle
import pickletools
import zipfile
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from git_nn.errors import LayoutError, MergeError
from git_nn.formats import torch_zip
from git_nn.formats.base import BytesSource, Plan
from git_nn.formats.pickle_emit import emit
from git_nn.formats.pickle_machine import Dict, Machine
from git_nn.formats.pickle_opcodes import run
from git_nn.objects.layout import View
from tests.support.torch_file import G, R, S, archive, dumps, ordered, parameter, save, tensor


@dataclass(frozen=True)
class Found:
    """A tensor of a file: its bytes, shape and strides, and what stands around it."""

    data: bytes
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    kind: str


class Reader(pickle.Unpickler):
    def __init__(self, file: zipfile.ZipFile, root: str) -> None:
        super().__init__(io.BytesIO(file.read(f"{root}/data.pkl")))
        self._file, self._root = file, root

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda storage, offset, shape, strides, *_: Found(
                storage[0][4 * offset :], shape, strides, storage[1]
            )
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return lambda found, grad, _: Found(
                found.data, found.shape, found.strides, f"parameter {grad}"
            )
        return name

    def persistent_load(self, pid: Any) -> Any:
        word, kind, key, device, count = pid
        data = self._file.read(f"{self._root}/data/{key}")
        assert (word, device, count) == ("storage", "cpu", len(data) // 4)
        return data, kind


def read(data: bytes) -> Any:
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        assert file.testzip() is None
        for info in file.infolist():
            head = data[info.header_offset : info.header_offset + 30]
            start = info.header_offset + 30 + int.from_bytes(head[26:28], "little")
            assert (start + int.from_bytes(head[28:30], "little")) % 64 == 0
        return Reader(file, file.namelist()[0].split("/")[0]).load()


def f32(key: str, *values: int) -> R:
    return tensor(S(key, "f32", b"".join(v.to_bytes(4, "little") for v in values)), (len(values),))


def plain(*values: int) -> Found:
    data = b"".join(v.to_bytes(4, "little") for v in values)
    return Found(data, (len(values),), (1,), "FloatStorage")


def composed(tmp_path: Path, ours: bytes, theirs: bytes, plan: Plan) -> bytes:
    paths = [tmp_path / name for name in ("ours", "theirs", "out")]
    paths[0].write_bytes(ours)
    paths[1].write_bytes(theirs)
    torch_zip.compose(*paths[:2], plan, paths[2])
    made = paths[2].read_bytes()
    layout = torch_zip.layout(BytesSource(made))
    assert {p.name: (p.dtype, p.shape) for p in layout.payloads} == plan.tensors
    assert {v.name: v for v in layout.views} == plan.views
    return made


def plan(
    from_theirs: set[str], removed: set[str], replaced: dict[str, bytes], **sizes: int
) -> Plan:
    tensors = {name.replace("__", "."): ("f32", (size,)) for name, size in sizes.items()}
    return Plan(frozenset(from_theirs), frozenset(removed), replaced, tensors=tensors)


def test_tensors_are_added_removed_and_replaced_where_they_belong(tmp_path: Path) -> None:
    text = "x" * 5000
    model = {"a": f32("0", 1), "mine": f32("1", 2), "old": f32("2", 3), "z": f32("3", 4)}
    values = [f32("4", 5), None, (1.5, True, -1)]
    ours = {"epoch": 3, "model": ordered(model), "note": text, "list": values}
    other = {
        "a": f32("0", 1),
        "new": f32("7", 8, 9),
        "old": f32("2", 3),
        "z": parameter(f32("3", 6)),
    }
    theirs = {"model": ordered(other), "list": values[:1]}
    made = composed(
        tmp_path, save(ours), save(theirs),
        plan({"model.new", "model.z"}, {"model.old"}, {"model.mine": bytes(12)},
             model__a=1, model__mine=3, model__new=2, model__z=1, list__0=1),
    )  # fmt: skip
    found = read(made)
    z = Found(plain(6).data, (1,), (1,), "parameter True")
    assert list(found["model"].items()) == [
        ("a", plain(1)), ("mine", plain(0, 0, 0)), ("new", plain(8, 9)), ("z", z),
    ]  # fmt: skip
    del found["model"]
    assert found == {"epoch": 3, "note": text, "list": [plain(5), None, (1.5, True, -1)]}


def test_storages_that_nothing_changes_in_keep_their_names(tmp_path: Path) -> None:
    ours = save(ordered({"a": f32("0", 1), "b": f32("7", 2)}))
    theirs = save(ordered({"a": f32("0", 1), "c": f32("0", 3)}))
    made = composed(tmp_path, ours, theirs, plan({"c"}, set(), {}, a=1, b=1, c=1))
    with zipfile.ZipFile(io.BytesIO(made)) as file:
        names = [name.partition("/")[2] for name in file.namelist()]
    assert names[0] == "data.pkl"
    assert {name for name in names if name.startswith("data/")} == {"data/0", "data/7", "data/8"}


def test_views_go_with_a_payload_that_has_other_rows(tmp_path: Path) -> None:
    def tied(*values: int) -> bytes:
        weight = S("0", "f32", b"".join(v.to_bytes(4, "little") for v in values))
        shape = (len(values) // 2, 2)
        return save(ordered({"wte": tensor(weight, shape), "head": tensor(weight, shape)}))

    rows = b"".join(v.to_bytes(4, "little") for v in range(8))
    wanted = Plan(
        replaced={"head": rows}, tensors={"head": ("f32", (4, 2))},
        views={"wte": View("wte", "f32", (4, 2), "head", 0, (2, 1))},
    )  # fmt: skip
    found = read(composed(tmp_path, tied(*range(4)), tied(*range(6)), wanted))
    assert found == {name: Found(rows, (4, 2), (2, 1), "FloatStorage") for name in ("wte", "head")}


def test_what_modules_say_of_themselves_is_of_both(tmp_path: Path) -> None:
    def state(key: str, *modules: str) -> bytes:
        versions = ordered({name: {"version": 1} for name in ("", *modules)})
        return save(ordered({"w": f32("0", 1), key: f32("1", 2)}, {"_metadata": versions}))

    made = composed(
        tmp_path, state("a", "x", "end"), state("b", "x", "y", "end"),
        plan({"b"}, set(), {}, w=1, a=1, b=1),
    )  # fmt: skip
    assert list(read(made)._metadata) == ["", "x", "y", "end"]


def _script() -> bytes:
    return archive(
        {"m/data.pkl": dumps({"a": f32("0", 1)}), "m/data/0": bytes(4), "m/code/x.py": b""}
    )


def _shared(depth: int) -> bytes:
    """A list that has itself a level lower twice, and so on."""
    code = b"]q\x00" + b"".join(
        b"](h" + bytes([i]) + b"h" + bytes([i]) + b"eq" + bytes([i + 1]) for i in range(depth)
    )
    return archive({"m/data.pkl": b"\x80\x02}(X\x01\x00\x00\x00x" + code + b"u.", "m/data/0": b""})


def _hooks(depth: int) -> bytes:
    """A tensor whose hooks are such a tuple."""
    code = b"(t" + b"".join(
        b"q" + bytes([i]) + b"0h" + bytes([i]) + b"h" + bytes([i]) + b"\x86" for i in range(depth)
    )
    whole = dumps({"x": f32("0", 1)})
    before, found, after = whole.rpartition(dumps(ordered({}))[2:-1])
    assert found
    return archive({"m/data.pkl": before + code + after, "m/data/0": bytes([1, 0, 0, 0])})


def test_what_is_shared_many_times_is_written_once(tmp_path: Path) -> None:
    theirs = save({"x": f32("0", 1), "b": f32("1", 3)})
    for replaced in ({}, {"x": bytes(4)}):
        made = composed(tmp_path, _hooks(60), theirs, plan({"b"}, set(), replaced, x=1, b=1))
        assert len(made) < 6000
        assert read(made) == {"x": plain(0 if replaced else 1), "b": plain(3)}


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (save({"a": f32("0", 1), "x": R(G("mine", "Thing"))}), "it has an object of mine.Thing"),
        (save({"a": f32("0", 1), "x": b"raw" * 3000}), "it has a Span"),
        (save({"a": f32("0", 1)}, byteorder="big"), "it is big-endian"),
        (_script(), "'m/code/x.py' belongs to no state_dict"),
        (_shared(40), "a dict or a list stands in two places"),
        (save({"a": f32("0", 1), "x": (f32("1", 2),)}), "one in a tuple changed"),
        (save([f32("0", 1)]), "a tensor in a list was taken away"),
    ],
)
def test_what_is_more_than_plain_values_is_refused(tmp_path: Path, data: bytes, why: str) -> None:
    theirs = save({"a": f32("0", 1), "b": f32("1", 3)})
    replaced = {"a": bytes(4), "x.0": bytes(4)}
    wanted = plan({"b"}, set(), replaced, a=1, b=1, **{"x.0": 1} if "tuple" in why else {})
    with pytest.raises(MergeError, match=why):
        composed(tmp_path, data, theirs, wanted)


def test_a_pickle_is_written_as_python_reads_it() -> None:
    numbers = [0, 255, 256, -1, 2**31 - 1, 2**31, -(2**31) - 1, 2**70, -(2**70)]
    shared = ["twice"]
    nodes = Dict(
        [("n", numbers), (1, (None, True, False, 1.5, "ä\ud800")), ("s", [shared, shared])]
    )
    data = emit(nodes)
    found = pickle.loads(data)
    assert found == {"n": numbers, 1: (None, True, False, 1.5, "ä\ud800"), "s": [["twice"]] * 2}
    assert found["s"][0] is found["s"][1]
    assert max(op.proto for op, _, _ in pickletools.genops(data)) == 2
    again = run(Machine(BytesSource(data)))
    assert emit(again) == data


def test_a_pickle_of_what_reads_itself_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    assert pickle.loads(emit(loop))[0][0] is not None
    deep: list[Any] = []
    for _ in range(200):
        deep = [deep]
    with pytest.raises(LayoutError, match="nested too deeply"):
        emit(deep)
