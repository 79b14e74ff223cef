"""Files that torch wrote before 1.6, written by tests/support/torch_file.py."""

from __future__ import annotations

import io
import random
import struct
import tarfile
from collections.abc import Mapping

import pytest

from git_nn.formats import table, torch_legacy
from git_nn.formats.base import BytesSource
from git_nn.formats.pickle_ops import scan
from git_nn.objects.layout import Layout, View
from tests.contract.format_contract import FormatContract, Sample, survive
from tests.support.torch_file import SIZES, G, R, S, dumps, ordered, save, save_legacy, tensor
from tests.unit.formats.test_torch_zip import A, B, C, checkpoint, storage, window


def layout_of(data: bytes) -> Layout:
    return table.detect(BytesSource(data))


class TestTorchLegacy(FormatContract):
    name = "torch-legacy"

    def samples(self) -> Mapping[str, Sample]:
        value, tensors = checkpoint()
        tensors["storage:3"] = tensors.pop("storage:2")  # the fourth one that the pickle names
        every = {dtype: storage(str(i), 6, dtype) for i, dtype in enumerate(SIZES)}
        return {
            "checkpoint": Sample(save_legacy(value), tensors),
            "every dtype": Sample(
                save_legacy({dtype: tensor(store, (2, 3)) for dtype, store in every.items()}),
                {dtype: window(store, (2, 3)) for dtype, store in every.items()},
            ),
            "one tensor": Sample(save_legacy(tensor(A, (6,))), {"tensor": window(A, (6,))}),
            "no tensors": Sample(save_legacy({"epoch": 3}), {}),
        }

    def corrupt(self, rng: random.Random, data: bytes) -> bytes:
        """Half of the damages hit the pickles, the keys or a count."""
        if rng.random() < 0.5:
            return super().corrupt(rng, data)
        damaged = bytearray(data)
        starts = [i for i in range(len(data)) if data.startswith(b"\x80\x02", i)]
        at = min(rng.choice(starts) + rng.randrange(80), len(data) - 1)
        damaged[at] = rng.randrange(256)
        return bytes(damaged)


def test_names_and_views_are_those_of_the_zip_file() -> None:
    value = {"b": tensor(A, (3, 2), (1, 3)), "a": tensor(B, (4,)), "c": tensor(B, (2, 2))}
    old, new = layout_of(save_legacy(value)), layout_of(save(value))
    assert [p.name for p in new.payloads] == ["storage:0", "a"]
    assert [(p.name, p.dtype, p.shape) for p in old.payloads] == [
        (p.name, p.dtype, p.shape) for p in new.payloads
    ]
    assert old.views == new.views


def test_the_addresses_of_storages_change_no_name_and_no_payload() -> None:
    value = {"a": tensor(A, (6,)), "part": tensor(C, (2,), (1,), 3), "b": tensor(B, (4,))}
    found = []
    for keys in ({"0": "30", "1": "20", "2": "10"}, {"0": "1", "1": "3", "2": "2"}):
        data = save_legacy(value, keys=keys)
        layout = layout_of(data)
        (view,) = layout.views
        assert view == View("part", "f32", (2,), "storage:1", 3, (1,))
        found.append(
            {p.name: b"".join(data[e.offset : e.stop] for e in p.extents) for p in layout.payloads}
        )
    assert found[0] == found[1] == {"a": A.data, "b": B.data, "storage:1": C.data}


def test_a_storage_may_be_a_window_on_another() -> None:
    """Before 0.4 a storage could begin inside of another one."""
    part = _Window("0", 24, "7", 10, 6)
    data = save_legacy({"w": tensor(C, (24,)), "v": tensor(part, (2, 3))}, keys={"2": "0"})
    layout = layout_of(data)
    assert layout.views == (View("v", "f32", (2, 3), "w", 10, (3, 1)),)


class _Window(S):
    """A persistent id with view metadata, which brings no storage with it."""

    def __init__(self, key: str, count: int, name: str, offset: int, size: int) -> None:
        values = ("storage", G("torch", "FloatStorage"), key, "cpu", count, (name, offset, size))
        object.__setattr__(self, "value", values)
        object.__setattr__(self, "key", "2")
        object.__setattr__(self, "dtype", "f32")
        object.__setattr__(self, "data", C.data)

    @property
    def id(self) -> object:
        return self.value  # type: ignore[attr-defined]


def test_structure_is_the_plain_values() -> None:
    data = save_legacy({"epoch": 3, "w": tensor(A, (6,)), "lr": 0.5})
    assert table.structure("torch-legacy", BytesSource(data)) == {"epoch": 3, "lr": 0.5}


def test_bytes_after_the_last_storage_are_literal() -> None:
    data = save_legacy({"w": tensor(A, (6,))})
    layout = survive(data + b"more")
    assert [payload.name for payload in layout.payloads] == ["w"]


GOOD = save_legacy({"w": tensor(A, (6,))})
COUNT = len(GOOD) - len(A.data) - 8


def counted(count: int) -> bytes:
    return GOOD[:COUNT] + struct.pack("<q", count) + GOOD[COUNT + 8 :]


@pytest.mark.parametrize(
    "data",
    [
        counted(7),
        counted(-1),
        counted(2**62),
        counted(-(2**63)),
        GOOD[:COUNT],
        GOOD.replace(dumps(1001)[2:], dumps(1002)[2:], 1),
        GOOD.replace(dumps(["90"]), dumps(["91"])),
        GOOD.replace(dumps(["90"]), dumps({"90": 1})),
    ],
)
def test_a_file_that_lies_is_opaque(data: bytes) -> None:
    assert data != GOOD
    layout = survive(data)
    assert layout.format == "opaque"
    assert "torch-legacy" in layout.notes[0]


def test_the_tar_files_of_before_0_1_10_are_opaque_without_a_note() -> None:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("storages"), io.BytesIO())
    layout = survive(file.getvalue())
    assert (layout.format, layout.notes) == ("opaque", ())


def test_what_it_would_call_is_found_behind_the_magic_number() -> None:
    evil = R(G("os", "system"), ("echo hacked",))
    data = save_legacy(ordered({"w": tensor(A, (6,)), "evil": evil}))
    assert [payload.name for payload in layout_of(data).payloads] == ["w"]
    assert scan(BytesSource(data)) == ["os system"]
    assert scan(BytesSource(GOOD)) == []


def test_the_magic_number_is_torchs_whatever_the_protocol() -> None:
    assert torch_legacy.sniff(b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.")
    assert torch_legacy.sniff(b"\x80\x04\x95\x0d" + bytes(7) + b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.")
    assert not torch_legacy.sniff(b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x18.")
