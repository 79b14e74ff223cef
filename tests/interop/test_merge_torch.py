"""Merged torch files with other tensors than either side has, loaded by torch itself."""

from __future__ import annotations

import io
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from git_nn.clean import clean
from git_nn.combine import Merged, merge
from git_nn.container import Sides
from git_nn.formats.base import BytesSource
from git_nn.merge.rows import BY_ROWS
from git_nn.merge.rules import Choice, Rules
from git_nn.merge.tokens import Placement, union
from git_nn.model import open_pointer
from git_nn.reorder import reorder
from git_nn.store.memory import MemoryStore

pytestmark = [pytest.mark.interop, pytest.mark.filterwarnings("ignore")]

MEAN = Rules(Choice("mean", (("weight", 0.5),)))


def saved(value: Any) -> bytes:
    out = io.BytesIO()
    torch.save(value, out)
    return out.getvalue()


def merged(out: Path, base: Any, ours: Any, theirs: Any, rules: Rules = MEAN) -> tuple[Merged, Any]:
    """The merge, and what torch loads of it."""
    store = MemoryStore()
    pointers = [clean(BytesSource(saved(v)), store).pointer for v in (base, ours, theirs)]
    done = merge(Sides(*pointers), rules, store, out / "scratch")
    path = out / "merged.pt"
    open_pointer(done.pointer, store).write(path)
    return done, torch.load(path, weights_only=True)


def same(found: Any, expected: Any) -> bool:
    """Equal in structure, order, types and values."""
    if isinstance(expected, torch.Tensor):
        return (
            type(found) is type(expected)
            and found.dtype == expected.dtype
            and (torch.equal(found, expected))
        )
    if isinstance(expected, dict):
        pairs = zip(found.items(), expected.items(), strict=True)
        return type(found) is type(expected) and all(
            a == b and same(x, y) for (a, x), (b, y) in pairs
        )
    if isinstance(expected, list | tuple):
        return type(found) is type(expected) and all(map(same, found, expected))
    return type(found) is type(expected) and bool(found == expected)


class Net(torch.nn.Module):
    def __init__(self, *extra: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed = torch.nn.Embedding(5, 3)
        self.norm = torch.nn.BatchNorm1d(3)
        for name in extra:
            torch.manual_seed(len(name))
            self.add_module(name, torch.nn.Linear(3, 2))
        torch.manual_seed(1)
        self.head = torch.nn.Linear(3, 5, bias=False)


def test_layers_that_both_sides_added(tmp_path: Path) -> None:
    base, ours, theirs = Net().state_dict(), Net("one").state_dict(), Net("three").state_dict()
    theirs["head.weight"] = theirs["head.weight"] + 1
    done, found = merged(tmp_path, base, ours, theirs)
    assert done.is_clean
    expected = Net("one", "three").state_dict()
    expected["head.weight"] = theirs["head.weight"]
    assert same(found, expected)
    assert found._metadata == expected._metadata
    net = Net("one", "three")
    net.load_state_dict(found)
    assert torch.equal(net.three.bias, theirs["three.bias"])


def test_a_checkpoint_keeps_what_is_beside_its_tensors(tmp_path: Path) -> None:
    note = "long " * 2000

    def checkpoint(model: OrderedDict[str, torch.Tensor], epoch: int) -> dict[str, Any]:
        rates = [{"lr": 0.1, "betas": (0.9, 0.999), "params": [0, 1], "none": None}]
        return {
            "epoch": epoch, "big": 1 << 70, "negative": -3, "flag": True, "model": model,
            "best": float("inf"), "note": note, "groups": rates, "size": torch.Size([2, 3]),
            "dtype": torch.float16, "steps": [torch.tensor(3), torch.ones(2)],
            "device": torch.device("cpu"),
        }  # fmt: skip

    base, ours = Net().state_dict(), Net("one").state_dict()
    theirs = Net("three").state_dict()
    del theirs["norm.running_mean"]
    done, found = merged(tmp_path, checkpoint(base, 1), checkpoint(ours, 2), checkpoint(theirs, 3))
    assert done.is_clean
    expected = checkpoint(Net("one", "three").state_dict(), 2)
    del expected["model"]["norm.running_mean"]
    assert same(found, expected)


def test_tied_weights_and_parameters_of_new_lengths(tmp_path: Path) -> None:
    """Both are computed, the tie and what makes a parameter one stay."""

    def net(scale: float, *extra: str) -> dict[str, Any]:
        weight = torch.nn.Parameter(torch.arange(6.0).reshape(2, 3) * scale, requires_grad=False)
        more = {name: torch.full((2,), float(len(name))) for name in extra}
        return {
            "wte": weight,
            "lm_head": weight,
            "scale": torch.nn.Parameter(torch.ones(2)),
            **more,
        }

    done, found = merged(tmp_path, net(1), net(2, "a"), net(4, "bb"))
    assert done.is_clean
    assert same(
        found["wte"], torch.nn.Parameter(torch.arange(6.0).reshape(2, 3) * 3, requires_grad=False)
    )
    assert found["wte"].requires_grad is False
    assert found["scale"].requires_grad is True
    assert found["lm_head"].data_ptr() == found["wte"].data_ptr()
    assert found["a"].tolist() == [1.0, 1.0]
    assert found["bb"].tolist() == [2.0, 2.0]


@pytest.mark.parametrize(
    "dtype",
    [torch.float64, torch.bfloat16, torch.int8, torch.bool, torch.complex64, torch.uint16,
     torch.float8_e4m3fn],
)  # fmt: skip
def test_every_dtype(tmp_path: Path, dtype: torch.dtype) -> None:
    def tensors(**values: int) -> dict[str, torch.Tensor]:
        return {name: torch.full((3, 2), value).to(dtype) for name, value in values.items()}

    done, found = merged(tmp_path, tensors(w=0), tensors(w=0, a=1), tensors(w=1, b=1), Rules())
    assert done.is_clean
    assert same(found, tensors(w=1, a=1, b=1))


def test_slices_of_one_storage_and_what_no_tensor_fills(tmp_path: Path) -> None:
    def flat(start: int, **more: torch.Tensor) -> dict[str, torch.Tensor]:
        storage = torch.arange(start, start + 6.0)
        return {"a": storage[:2], "b": storage[2:], "t": torch.arange(6.0).reshape(2, 3).T,
                "part": torch.arange(9.0)[3:5], **more}  # fmt: skip

    done, found = merged(
        tmp_path, flat(0), flat(0, new=torch.ones(1)), flat(7, other=torch.zeros(2, 2)), Rules()
    )
    assert done.is_clean
    assert same(found, flat(7, new=torch.ones(1), other=torch.zeros(2, 2)))
    assert found["t"].stride() == (1, 3)


def test_what_is_more_than_plain_values_stays_a_conflict(tmp_path: Path) -> None:
    def pickled(*extra: str) -> Any:
        return {"w": torch.ones(2), "made": set(extra), **{name: torch.ones(3) for name in extra}}

    store = MemoryStore()
    pointers = [clean(BytesSource(saved(pickled(*e))), store).pointer for e in ((), ("a",), ("b",))]
    done = merge(Sides(*pointers), Rules(), store, tmp_path / "scratch")
    assert done.whole.startswith("the merged torch file cannot be written: it has ")
    assert done.pointer == pointers[1]


def test_the_file_can_be_mapped_into_memory(tmp_path: Path) -> None:
    merged(tmp_path, Net().state_dict(), Net("one").state_dict(), Net("three").state_dict())
    found = torch.load(tmp_path / "merged.pt", weights_only=True, mmap=True)
    assert all(tensor.data_ptr() % 64 == 0 for tensor in found.values())


def test_what_only_theirs_says_beside_its_tensors_is_theirs(tmp_path: Path) -> None:
    def checkpoint(epoch: int, **more: float) -> dict[str, Any]:
        return {
            "model": {n: torch.full((2,), v) for n, v in {"w": 1.0, **more}.items()},
            "epoch": epoch,
        }

    done, found = merged(
        tmp_path, checkpoint(1), checkpoint(1, a=2.0), checkpoint(5, b=3.0), Rules()
    )
    assert done.is_clean
    assert same(found, checkpoint(5, w=1.0, b=3.0, a=2.0))


def test_rows_of_tokens_that_both_sides_added(tmp_path: Path) -> None:
    """A small language model whose head is its embedding, with a bias for each token."""

    class Lm(torch.nn.Module):
        def __init__(self, tokens: int) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.embed_tokens = torch.nn.Embedding(6, 4)
            rows = torch.arange(6.0, tokens)[:, None].expand(-1, 4)
            weight = torch.cat([self.embed_tokens.weight.detach(), rows])
            self.embed_tokens = torch.nn.Embedding.from_pretrained(weight, freeze=False)
            self.lm_head = torch.nn.Linear(4, tokens)
            self.lm_head.weight = self.embed_tokens.weight
            self.lm_head.bias.data = weight[:, 0].clone()

    words = [f"w{i}" for i in range(6)]
    tokens = (words, [*words, "<a>"], [*words, "<b>", "<c>"])
    base, ours, theirs = ({word: i for i, word in enumerate(side)} for side in tokens)
    theirs_state = Lm(8).state_dict()
    theirs_state["embed_tokens.weight"][2] += 1  # and the head's, which is the same
    store = MemoryStore()
    sides = Sides(*(
        clean(BytesSource(saved(state)), store).pointer
        for state in (Lm(6).state_dict(), Lm(7).state_dict(), theirs_state)
    ))  # fmt: skip
    where = Placement("tokenizer.json", base, ours, theirs, union(base, ours, theirs))
    rows = reorder(sides, lambda: where, BY_ROWS, store, store)
    done = merge(replace(sides, rows=rows), Rules(ladder=BY_ROWS), store, tmp_path / "scratch")
    assert done.is_clean
    open_pointer(done.pointer, store).write(tmp_path / "merged.pt")
    found = torch.load(tmp_path / "merged.pt", weights_only=True)
    embedding = torch.cat([theirs_state["embed_tokens.weight"][:6], *(
        torch.full((1, 4), value) for value in (6.0, 6.0, 7.0))])  # fmt: skip
    assert torch.equal(found["embed_tokens.weight"], embedding)
    assert found["lm_head.weight"].data_ptr() == found["embed_tokens.weight"].data_ptr()
    assert found["lm_head.bias"][6:].tolist() == [6.0, 6.0, 7.0]
    Lm(9).load_state_dict(found)
