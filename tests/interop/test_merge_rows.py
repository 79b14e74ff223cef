"""Embeddings that torch and Keras train on different tokens on two branches, merged by rows."""

from __future__ import annotations

import io
import os
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
import numpy as np
import pytest
import torch

from tests.support.branches import Branches

pytestmark = [
    pytest.mark.interop,
    pytest.mark.filterwarnings("ignore"),  # of the frameworks, which are not ours to fix
]

TOKENS, WIDTH = 60, 5


class Tagger(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = torch.nn.Embedding(TOKENS, WIDTH)
        self.hidden = torch.nn.Linear(WIDTH, 16)
        self.out = torch.nn.Linear(16, 3)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        values: torch.Tensor = self.out(torch.relu(self.hidden(self.embed(tokens))))
        return values


def trained(start: bytes, tokens: range, parts: list[str]) -> bytes:
    """``start`` trained with Adam, on these tokens and in these parts only."""
    torch.manual_seed(tokens.start)
    model = Tagger()
    model.load_state_dict(torch.load(io.BytesIO(start)))
    parameters = [p for name, p in model.named_parameters() if name.split(".")[0] in parts]
    optimizer = torch.optim.Adam(parameters, lr=0.01)
    inputs = torch.tensor(tokens)
    for _ in range(5):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(inputs), inputs % 3).backward()
        optimizer.step()
    return saved(model)


def saved(model: Tagger) -> bytes:
    out = io.BytesIO()
    torch.save(model.state_dict(), out)
    return out.getvalue()


def test_a_torch_embedding_has_the_tokens_of_both_trainings(tmp_path: Path) -> None:
    torch.manual_seed(7)
    base = saved(Tagger())
    ours, theirs = trained(base, range(30), ["embed"]), trained(base, range(30, 60), ["embed"])
    line = "*.pt filter=nn diff=nn merge=nn -text\n"
    made = Branches.create(tmp_path / "r", base, ours, theirs, name="m.pt", attributes=line)
    done = made.repo.git("merge", "--no-edit", "side")
    assert "embed.weight: 30 rows from ours, 30 from theirs" in done.errors
    found = torch.load(made.path / "m.pt")
    a, b = (torch.load(io.BytesIO(data))["embed.weight"] for data in (ours, theirs))
    assert torch.equal(found["embed.weight"], torch.cat([a[:30], b[30:]]))
    Tagger().load_state_dict(found)


def test_dense_layers_that_both_trained_are_not_mixed(tmp_path: Path) -> None:
    torch.manual_seed(8)
    base, parts = saved(Tagger()), ["embed", "hidden", "out"]
    ours, theirs = trained(base, range(30), parts), trained(base, range(30, 60), parts)
    line = "*.pt filter=nn diff=nn merge=nn -text\n"
    made = Branches.create(tmp_path / "r", base, ours, theirs, name="m.pt", attributes=line)
    done = made.repo.git("merge", "--no-edit", "side", code=1)
    assert "embed.weight: 30 rows from ours, 30 from theirs" in done.errors
    assert "4 tensors in conflict" in done.errors
    found, whole = torch.load(made.path / "m.pt"), torch.load(io.BytesIO(ours))
    for name in ("hidden.weight", "hidden.bias", "out.weight", "out.bias"):
        assert torch.equal(found[name], whole[name])


@pytest.mark.parametrize("name", ["m.keras", "m.weights.h5", "m.h5"])
def test_a_keras_embedding_has_the_rows_of_both(tmp_path: Path, name: str) -> None:
    keras.utils.set_random_seed(3)
    model = keras.Sequential(
        [keras.Input((4,)), keras.layers.Embedding(TOKENS, WIDTH), keras.layers.Dense(2)]
    )

    def file(*rows: int) -> bytes:
        embedding, *rest = start
        values = embedding.copy()
        for row in rows:
            values[row] += row + 1
        model.set_weights([values, *rest])
        path = tmp_path / name
        (model.save_weights if "weights" in name else model.save)(path)
        return path.read_bytes()

    start = model.get_weights()
    line = "*.keras filter=nn diff=nn merge=nn -text\n"
    versions = (file(), file(1, 40), file(7, 59))
    made = Branches.create(tmp_path / "r", *versions, name=name, attributes=line)
    made.repo.git("merge", "--no-edit", "side")
    expected = start[0].copy()
    for row in (1, 40, 7, 59):
        expected[row] += row + 1
    if "weights" in name:
        model.load_weights(made.path / name)
        found = model
    else:
        found = keras.saving.load_model(made.path / name)
    assert np.array_equal(found.get_weights()[0], expected)
    assert made.repo.status() == ""
