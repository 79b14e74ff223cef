"""What git nn align gives: the loss on the way between two trainings, before and after.

    .venv-interop/bin/python scripts/barrier.py [--seeds 3] [--networks perceptron,...]

Both start from their own random weights and see the same data. The barrier is how far the
held-out loss rises above the line between both ends, at the worst of 11 steps (Git Re-Basin,
arXiv 2209.04836, section 2). The table in docs/merge.md is what this prints.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import torch
from accuracy_tasks import (
    CONTEXT,
    HEADS,
    Data,
    State,
    Transformer,
    batches,
    convolutions,
    digits,
    fit,
    text,
    windows,
)
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional

STEPS = 11


@dataclass(frozen=True, slots=True)
class Network:
    """What is built, what it learns from, what it is measured on; options of git nn align."""

    build: Callable[[], nn.Module]
    data: Callable[[], tuple[Callable[[], Data], Data]]
    steps: int
    options: tuple[str, ...] = ()
    renormalise: bool = False


def _images() -> tuple[Callable[[], Data], Data]:
    train, test = digits()
    return batches(train), test


def _prose() -> tuple[Callable[[], Data], Data]:
    train, test = text("docs/spec*.md", "docs/decisions/*.md")
    rows = test[: len(test) // (CONTEXT + 1) * (CONTEXT + 1)].view(-1, CONTEXT + 1)[:100]
    return windows(train), (rows[:, :-1], rows[:, 1:])


def _wide(width: int) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        return nn.Sequential(
            nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(),
            nn.Linear(width, 10),
        )  # fmt: skip

    return build


NETWORKS = {
    "MLP, 2 x 64": Network(_wide(64), _images, 400),
    "MLP, 2 x 512": Network(_wide(512), _images, 400),
    "3 convolutions, BatchNorm": Network(convolutions, _images, 400),
    "the same, its statistics taken anew": Network(convolutions, _images, 400, (), True),
    "Transformer, 2 blocks of 4 heads": Network(Transformer, _prose, 400, (f"--heads={HEADS}",)),
}


def aligned(ours: State, theirs: State, options: tuple[str, ...]) -> State:
    with tempfile.TemporaryDirectory(prefix="git-nn-barrier-") as folder:
        for name, state in (("a", ours), ("b", theirs)):
            save_file(state, Path(folder) / f"{name}.safetensors")
        argv = ("align", "a.safetensors", "b.safetensors", "-o", "c.safetensors", *options)
        subprocess.run(
            [sys.executable, "-m", "git_nn.cli.main", *argv],
            cwd=folder, check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        return load_file(Path(folder) / "c.safetensors")


@torch.no_grad()
def barrier(network: Network, ours: State, theirs: State, draw: Callable[[], Data]) -> float:
    """The rise of the loss above the line between both ends."""
    net, (_, (inputs, labels)) = network.build(), network.data()
    losses = []
    for step in range(STEPS):
        t = step / (STEPS - 1)
        net.load_state_dict(
            {name: ((1 - t) * ours[name] + t * theirs[name]).to(ours[name].dtype) for name in ours}
        )
        if network.renormalise:
            net.train()
            for _ in range(60):
                net(draw()[0])
        net.eval()
        found = functional.cross_entropy(net(inputs).flatten(0, -2), labels.flatten())
        losses.append(found.item())
    line = [losses[0] + (losses[-1] - losses[0]) * i / (STEPS - 1) for i in range(STEPS)]
    return max(loss - straight for loss, straight in zip(losses, line, strict=True))


def measure(network: Network, seed: int) -> tuple[float, float]:
    """The barrier before and after."""
    draw, _ = network.data()
    states = []
    for start in (2 * seed, 2 * seed + 1):
        torch.manual_seed(start)
        states.append(fit(network.build(), draw, network.steps, 1e-3))
    ours, theirs = states
    after = aligned(ours, theirs, network.options)
    return barrier(network, ours, theirs, draw), barrier(network, ours, after, draw)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--networks", nargs="*", default=list(NETWORKS))
    asked = parser.parse_args()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    print("| network | loss barrier | after `git nn align` |\n|---|---|---|")
    for name in asked.networks:
        pairs = [measure(NETWORKS[name], seed) for seed in range(asked.seeds)]
        before, after = (mean(pair[i] for pair in pairs) for i in (0, 1))
        print(f"| {name} | {before:.2f} | {after:.2f} |", flush=True)


if __name__ == "__main__":
    main()
