"""Real tasks for merges: one ancestor, and two networks that went on from it on other data.

Each task is trained from a seed on one thread, so that a seed gives the same weights again
on the same machine and version of torch. Scores are of held-out data.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional

State = dict[str, Tensor]
Data = tuple[Tensor, Tensor]
TOP = Path(__file__).parent.parent


@dataclass(frozen=True, slots=True)
class Trained:
    """Three versions of a network; ``score`` gives the score on ours' part and on theirs'.

    ``measured`` has for each kind of statistics those of ours and of theirs, on their own data.
    """

    base: State
    ours: State
    theirs: State
    measured: dict[str, tuple[State, State]]
    score: Callable[[State], tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Task:
    """What is trained, and how the scores of ours and of theirs are to be read."""

    name: str
    unit: str
    digits: int
    train: Callable[[int, float], Trained]  # from a seed, with this part of the steps


def fit(net: nn.Module, draw: Callable[[], Data], steps: int, rate: float) -> State:
    """Train a copy of ``net`` with Adam on what ``draw`` gives; its weights."""
    net = copy.deepcopy(net).train()
    optimizer = torch.optim.Adam(net.parameters(), rate)
    for _ in range(steps):
        inputs, labels = draw()
        loss = functional.cross_entropy(net(inputs).flatten(0, -2), labels.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return {name: value.detach().clone() for name, value in net.state_dict().items()}


def batches(data: Data, size: int = 64) -> Callable[[], Data]:
    def draw() -> Data:
        picked = torch.randint(len(data[0]), (size,))
        return data[0][picked], data[1][picked]

    return draw


def _three(
    net: nn.Module, draws: Sequence[Callable[[], Data]], steps: Sequence[float], rate: float
) -> tuple[State, State, State, dict[str, tuple[State, State]]]:
    """Base, ours and theirs: what each is trained on, and for how many steps."""
    base = fit(net, draws[0], int(steps[0]), rate)
    net.load_state_dict(base)
    ours, theirs = (fit(net, draws[i], int(steps[i]), rate) for i in (1, 2))
    kinds = {"fisher": fisher, "gram": gram}
    measured = {
        kind: (of(net, ours, draws[1]), of(net, theirs, draws[2])) for kind, of in kinds.items()
    }
    return base, ours, theirs, measured


# --- statistics -----------------------------------------------------------------------------

SAMPLES = 256


def _examples(net: nn.Module, state: State, draw: Callable[[], Data]) -> Iterator[Tensor]:
    """Inputs of what ``state`` was trained on, one at a time; ``net`` has its weights."""
    net.load_state_dict(state)
    net.eval()
    count = 0
    while count < SAMPLES:
        for one in draw()[0][: SAMPLES - count]:
            yield one[None]
            count += 1


def fisher(net: nn.Module, state: State, draw: Callable[[], Data]) -> State:
    """The diagonal of the Fisher information, with labels that the network draws itself.

    What is trained by no gradient (BatchNorm's statistics) counts the same on both sides.
    """
    found = {n: torch.zeros_like(v) for n, v in net.named_parameters()}
    for inputs in _examples(net, state, draw):
        logits = net(inputs).flatten(0, -2)
        labels = torch.distributions.Categorical(logits=logits.detach()).sample()
        net.zero_grad()
        functional.cross_entropy(logits, labels, reduction="sum").backward()
        for name, value in net.named_parameters():
            if value.grad is not None:
                found[name] += value.grad**2 / SAMPLES
    return {n: found.get(n, torch.ones_like(v)) for n, v in state.items() if v.is_floating_point()}


@torch.no_grad()
def gram(net: nn.Module, state: State, draw: Callable[[], Data]) -> State:
    """X'X of the inputs of every linear layer."""
    found: State = {}
    hooks = []
    for name, layer in net.named_modules():
        if isinstance(layer, nn.Linear):

            def seen(_: nn.Module, inputs: tuple[Tensor], key: str = f"{name}.weight") -> None:
                x = inputs[0].flatten(0, -2)
                found[key] = found.get(key, torch.zeros(())) + x.T @ x

            hooks.append(layer.register_forward_pre_hook(seen))
    for inputs in _examples(net, state, draw):
        net(inputs)
    for hook in hooks:
        hook.remove()
    return found


def _accuracy(net: nn.Module, tests: tuple[Data, Data]) -> Callable[[State], tuple[float, float]]:
    @torch.no_grad()
    def score(state: State) -> tuple[float, float]:
        net.load_state_dict(state)
        net.eval()
        ours, theirs = ((net(x).argmax(-1) == y).float().mean().item() * 100 for x, y in tests)
        return ours, theirs

    return score


# --- digits ---------------------------------------------------------------------------------


def digits() -> tuple[Data, Data]:
    """Training and test images (n, 8, 8) of values from 0 to 1, in the data set's own order."""
    found = load_digits()
    images, labels = torch.tensor(found.images).float() / 16, torch.tensor(found.target)
    train = torch.arange(len(labels)) % 4 != 0
    return (images[train], labels[train]), (images[~train], labels[~train])


def perceptron() -> nn.Module:
    sizes = [64, 128, 64, 10]
    layers: list[nn.Module] = [nn.Flatten()]
    for narrow, wide in pairwise(sizes):
        layers += [nn.Linear(narrow, wide), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def convolutions() -> nn.Module:
    return nn.Sequential(
        nn.Unflatten(1, (1, 8)),
        nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU(),
        nn.MaxPool2d(2), nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(), nn.Flatten(),
        nn.Linear(512, 10),
    )  # fmt: skip


def _classes(seed: int, part: float) -> Trained:
    """The ancestor saw 150 images of all digits; ours goes on with 0 to 4, theirs with 5 to 9."""
    torch.manual_seed(seed)
    net, (train, test) = perceptron(), digits()

    def half(data: Data, low: bool) -> Data:
        inside = (data[1] < 5) == low
        return data[0][inside], data[1][inside]

    few = train[0][:150], train[1][:150]
    parts = tuple(map(batches, (few, half(train, True), half(train, False))))
    states = _three(net, parts, (300 * part, 60 * part, 60 * part), 1e-3)
    return Trained(*states, _accuracy(net, (half(test, True), half(test, False))))


def _views(seed: int, part: float) -> Trained:
    """The ancestor saw upright digits; ours goes on with mirrored ones, theirs with negatives."""
    torch.manual_seed(seed)
    net, (train, test) = convolutions(), digits()
    mirrored = ((train[0].flip(2), train[1]), (test[0].flip(2), test[1]))
    negative = ((1 - train[0], train[1]), (1 - test[0], test[1]))
    parts = tuple(map(batches, (train, mirrored[0], negative[0])))
    states = _three(net, parts, (300 * part, 100 * part, 120 * part), 1e-3)
    return Trained(*states, _accuracy(net, (mirrored[1], negative[1])))


# --- text -----------------------------------------------------------------------------------

CONTEXT, WIDTH, HEADS, LAYERS = 64, 64, 4, 2


class _Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            part.unflatten(-1, (HEADS, -1)).transpose(1, 2)
            for part in self.qkv(self.norm1(x)).chunk(3, -1)
        )
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).flatten(2))
        return x + self.down(functional.gelu(self.up(self.norm2(x))))


class Transformer(nn.Module):
    """Predicts the next byte of ASCII text."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.position = nn.Embedding(128, WIDTH), nn.Embedding(CONTEXT, WIDTH)
        self.blocks = nn.ModuleList(_Block() for _ in range(LAYERS))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 128)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x) + self.position.weight[: x.shape[1]]
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


def text(*patterns: str) -> tuple[Tensor, Tensor]:
    """Training and test characters of the repository's files; the last tenth is the test."""
    files = sorted(path for pattern in patterns for path in TOP.glob(pattern))
    joined = "\n".join(path.read_text("utf-8") for path in files)
    codes = torch.tensor([code for code in map(ord, joined) if code < 128])
    cut = len(codes) * 9 // 10
    return codes[:cut], codes[cut:]


def windows(codes: Tensor, size: int = 32) -> Callable[[], Data]:
    def draw() -> Data:
        starts = torch.randint(len(codes) - CONTEXT - 1, (size, 1))
        found = codes[starts + torch.arange(CONTEXT + 1)]
        return found[:, :-1], found[:, 1:]

    return draw


def _languages(seed: int, part: float) -> Trained:
    """The ancestor read both; ours goes on with English prose, theirs with Python."""
    torch.manual_seed(seed)
    net = Transformer()
    prose = text("docs/spec*.md", "docs/decisions/*.md")
    code = text("git_nn/codec/*.py", "git_nn/formats/*.py")
    both = (windows(prose[0], 16), windows(code[0], 16))

    def mixed() -> Data:
        (x, y), (u, v) = (draw() for draw in both)
        return torch.cat([x, u]), torch.cat([y, v])

    parts = (mixed, windows(prose[0]), windows(code[0]))
    states = _three(net, parts, (400 * part, 200 * part, 200 * part), 2e-3)

    @torch.no_grad()
    def score(state: State) -> tuple[float, float]:
        net.load_state_dict(state)
        net.eval()
        found = []
        for _, test in (prose, code):
            rows = test[: len(test) // (CONTEXT + 1) * (CONTEXT + 1)].view(-1, CONTEXT + 1)[:400]
            found.append(functional.cross_entropy(
                net(rows[:, :-1]).flatten(0, 1), rows[:, 1:].flatten()
            ).item())  # fmt: skip
        return found[0], found[1]

    return Trained(*states, score)


TASKS = {
    "classes": Task("digits 0–4 and 5–9", "accuracy, %", 1, _classes),
    "views": Task("mirrored and negative digits", "accuracy, %", 1, _views),
    "languages": Task("prose and Python", "loss, nats per character", 2, _languages),
}
