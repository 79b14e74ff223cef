"""git nn align on real networks: what it reorders computes what it computed before."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional

pytestmark = pytest.mark.interop


def aligned(
    folder: Path, ours: nn.Module, theirs: nn.Module, *options: str
) -> tuple[nn.Module, str]:
    """``theirs`` with what git nn align made of it, and what it said."""
    for name, net in (("a", ours), ("b", theirs)):
        torch.save(net.state_dict(), folder / f"{name}.pt")
        save_file(net.state_dict(), folder / f"{name}.safetensors")
    done = subprocess.run(
        [sys.executable, "-m", "git_nn.cli.main", "align", "a.safetensors", "b.safetensors",
         "-o", "c.safetensors", *options],
        cwd=folder, capture_output=True, timeout=120, check=True,
    )  # fmt: skip
    theirs.load_state_dict(load_file(folder / "c.safetensors"))
    return theirs, done.stdout.decode()


def moved(said: str) -> dict[str, int]:
    """How many units of each kind were moved."""
    rows = re.findall(r"^  (.+?)  +(\d+) of \d+ moved", said, re.MULTILINE)
    return {name: int(count) for name, count in rows}


class Residual(nn.Module):
    def __init__(self, narrow: int, wide: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(narrow, wide, 3, 1, 1), nn.BatchNorm2d(wide)
        self.conv2, self.bn2 = nn.Conv2d(wide, wide, 3, 1, 1), nn.BatchNorm2d(wide)
        projected = nn.Sequential(nn.Conv2d(narrow, wide, 1), nn.BatchNorm2d(wide))
        self.downsample = projected if narrow != wide else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    """As torchvision names its own."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 8, 3, 1, 1), nn.BatchNorm2d(8)
        self.layer1 = nn.Sequential(Residual(8, 8), Residual(8, 8))
        self.layer2 = nn.Sequential(Residual(8, 16), Residual(16, 16))
        self.fc = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer2(self.layer1(torch.relu(self.bn1(self.conv1(x)))))
        return self.fc(x.mean((2, 3)))


class PreActivated(Residual):
    """The same names, with the norms before the convolutions."""

    def __init__(self, narrow: int, wide: int) -> None:
        super().__init__(narrow, wide)
        self.bn1 = nn.BatchNorm2d(narrow)
        self.downsample = nn.Conv2d(narrow, wide, 1) if narrow != wide else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv2(torch.relu(self.bn2(self.conv1(torch.relu(self.bn1(x))))))
        return y + (x if self.downsample is None else self.downsample(x))


class PreActivatedNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, 1, 1)
        self.layer1 = nn.Sequential(PreActivated(8, 8), PreActivated(8, 16))
        self.fc = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.layer1(self.conv1(x)).mean((2, 3)))


def vgg() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 1, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 8, 3, 1, 1, groups=8), nn.Conv2d(8, 8, 1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(32, 12), nn.ReLU(), nn.Linear(12, 5),
    )  # fmt: skip


class Encoder(nn.Module):
    """torch's own attention, with learned positions."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.position = nn.Embedding(20, 16), nn.Embedding(6, 16)
        layer = nn.TransformerEncoderLayer(16, 4, 32, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.fc = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.encoder(self.embed(x) + self.position.weight))


class LlamaBlock(nn.Module):
    """Rotated, grouped queries, and a gated MLP; 4 heads share 2 keys."""

    def __init__(self) -> None:
        super().__init__()
        self.self_attn, self.mlp = nn.Module(), nn.Module()
        for name, size in (("q_proj", 16), ("k_proj", 8), ("v_proj", 8), ("o_proj", 16)):
            setattr(self.self_attn, name, nn.Linear(16, size, bias=False))
        for name in ("gate_proj", "up_proj"):
            setattr(self.mlp, name, nn.Linear(16, 24, bias=False))
        self.mlp.down_proj = nn.Linear(24, 16, bias=False)
        self.input_layernorm, self.post_attention_layernorm = nn.RMSNorm(16), nn.RMSNorm(16)

    def forward(self, x: Tensor) -> Tensor:
        part, mlp, y = self.self_attn, self.mlp, self.input_layernorm(x)
        layers = (part.q_proj, part.k_proj, part.v_proj)
        q, k, v = (layer(y).unflatten(-1, (-1, 4)).transpose(1, 2) for layer in layers)
        k, v = (one.repeat_interleave(2, 1) for one in (_rotated(k), v))
        mixed = functional.scaled_dot_product_attention(_rotated(q), k, v, is_causal=True)
        x = x + part.o_proj(mixed.transpose(1, 2).flatten(2))
        y = self.post_attention_layernorm(x)
        return x + mlp.down_proj(functional.silu(mlp.gate_proj(y)) * mlp.up_proj(y))


def _rotated(x: Tensor) -> Tensor:
    angle = torch.arange(x.shape[2])[:, None] * torch.tensor([1.0, 0.3])
    left, right = x.chunk(2, -1)
    cos, sin = angle.cos(), angle.sin()
    return torch.cat([left * cos - right * sin, right * cos + left * sin], -1)


class Llama(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.model = nn.Module()
        self.model.embed_tokens, self.model.norm = nn.Embedding(20, 16), nn.RMSNorm(16)
        self.model.layers = nn.ModuleList([LlamaBlock(), LlamaBlock()])
        self.lm_head = nn.Linear(16, 20, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.model.embed_tokens(x)
        for layer in self.model.layers:
            x = layer(x)
        return self.lm_head(self.model.norm(x))


IMAGES, WORDS = (5, 3, 8, 8), (3, 6)
NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], tuple[str, ...], int]] = {
    # what is built, the shape of its input, options, how many kinds of units it has
    "vgg": (vgg, IMAGES, (), 3),
    "resnet": (ResNet, IMAGES, (), 6),
    "pre-activated resnet": (PreActivatedNet, IMAGES, (), 2),
    "encoder": (Encoder, WORDS, ("--heads=4",), 5),
    "encoder of unknown heads": (Encoder, WORDS, (), 3),
    "llama": (Llama, WORDS, ("--heads=4",), 5),
}


def untrained(build: Callable[[], nn.Module], seed: int) -> nn.Module:
    """A network in which no two units are alike, norms and statistics included."""
    torch.manual_seed(seed)
    net = build().eval()
    with torch.no_grad():
        for value in (*net.parameters(), *net.buffers()):
            if value.ndim == 1:
                value.uniform_(0.5, 1.5)
    return net


@pytest.mark.parametrize("name", NETWORKS)
def test_the_outputs_stay(name: str, tmp_path: Path) -> None:
    build, shape, options, kinds = NETWORKS[name]
    torch.manual_seed(0)
    inputs = torch.randint(0, 20, shape) if shape is WORDS else torch.randn(shape)
    theirs = untrained(build, 2)
    with torch.no_grad():
        before = theirs(inputs)
        theirs, said = aligned(tmp_path, untrained(build, 1), theirs, *options)
        after = theirs(inputs)
    assert torch.allclose(before, after, atol=1e-5), (before - after).abs().max()
    assert len(moved(said)) == kinds
    assert all(moved(said).values())


# --- real trainings -------------------------------------------------------------------------


def _perceptron() -> nn.Module:
    return nn.Sequential(
        nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10)
    )


def trained(seed: int, inputs: Tensor, labels: Tensor) -> nn.Module:
    torch.manual_seed(seed)
    net = _perceptron()
    optimizer = torch.optim.Adam(net.parameters(), 1e-3, weight_decay=1e-4)
    for _ in range(200):
        picked = torch.randint(len(labels), (64,))
        optimizer.zero_grad()
        functional.cross_entropy(net(inputs[picked]), labels[picked]).backward()
        optimizer.step()
    return net


def barrier(ours: nn.Module, theirs: nn.Module, inputs: Tensor, labels: Tensor) -> float:
    """How far the loss rises above the line between both ends, on the way from one to the other."""
    a, b, between = ours.state_dict(), theirs.state_dict(), _perceptron()
    losses = []
    for step in range(11):
        t = step / 10
        between.load_state_dict({name: (1 - t) * a[name] + t * b[name] for name in a})
        with torch.no_grad():
            losses.append(functional.cross_entropy(between(inputs), labels).item())
    return max(x - (1 - i / 10) * losses[0] - i / 10 * losses[-1] for i, x in enumerate(losses))


def test_the_barrier_between_two_trainings_falls(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    found = load_digits()
    inputs, labels = torch.tensor(found.data).float() / 16, torch.tensor(found.target)
    ours, theirs = (trained(seed, inputs[:1200], labels[:1200]) for seed in (1, 2))
    test = inputs[1200:], labels[1200:]
    before = barrier(ours, theirs, *test)
    theirs, _ = aligned(tmp_path, ours, theirs)
    after = barrier(ours, theirs, *test)
    assert before > 0.3, "the two are not far apart, so there is nothing to see"
    assert after < before / 2
