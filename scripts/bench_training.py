"""Ten consecutive checkpoints of a real training run, with optimizer state, from a seed.

A residual network learns to predict the next letter of a made-up language (words of
syllables, in an order that has a grammar) from the sixteen letters before it. Adam, warm-up
and cosine decay as people use them; a checkpoint holds the weights and Adam's two moments,
all fp32, as trainers save them.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
from bench_safetensors import write_safetensors
from numpy.typing import NDArray

Array = NDArray[np.float32]
Weights = dict[str, Array]

CHECKPOINTS = tuple(f"c{n:02}" for n in range(1, 11))
STEPS_BETWEEN = 100
CONTEXT, EMBEDDING, LETTERS, BLOCKS = 16, 64, 27, 2
BATCH, RATE, WARM_UP, BETAS = 128, 1e-3, 100, (0.9, 0.999)


def draw_text(rng: np.random.Generator, words: int = 100_000) -> NDArray[np.int64]:
    """Letters 0..26 (0 is the space) of words that follow each other by a seeded grammar."""
    vocabulary = [rng.integers(1, LETTERS, rng.integers(2, 8)).tolist() for _ in range(1000)]
    followers = rng.integers(0, len(vocabulary), (len(vocabulary), 8))
    choices = np.minimum(rng.geometric(0.4, words) - 1, 7)
    word, letters = 0, []
    for choice in choices:
        word = followers[word, choice]
        letters += [*vocabulary[word], 0]
    return np.array(letters)


def new_weights(rng: np.random.Generator, hidden: int) -> Weights:
    def matrix(rows: int, columns: int) -> Array:
        return (rng.standard_normal((rows, columns)) / math.sqrt(rows)).astype(np.float32)

    weights = {
        "embedding.weight": rng.standard_normal((LETTERS, EMBEDDING)).astype(np.float32),
        "input.weight": matrix(CONTEXT * EMBEDDING, hidden),
        "input.bias": np.zeros(hidden, np.float32),
    }
    for block in range(BLOCKS):
        weights[f"blocks.{block}.weight"] = matrix(hidden, hidden)
        weights[f"blocks.{block}.bias"] = np.zeros(hidden, np.float32)
    return weights | {"head.weight": matrix(hidden, LETTERS)}


def gradients(
    w: Weights, context: NDArray[np.int64], target: NDArray[np.int64]
) -> tuple[float, Weights]:
    """Cross-entropy of a batch, and its gradient by every weight."""
    embedded = w["embedding.weight"][context].reshape(len(context), -1)
    value = embedded @ w["input.weight"] + w["input.bias"]
    values, gates = [value], []
    for block in range(BLOCKS):
        sums = value @ w[f"blocks.{block}.weight"] + w[f"blocks.{block}.bias"]
        gates.append((sums, 1 / (1 + np.exp(-sums))))
        value = value + sums * gates[-1][1]
        values.append(value)
    scores = value @ w["head.weight"]
    chances = np.exp(scores - scores.max(axis=1, keepdims=True))
    chances /= chances.sum(axis=1, keepdims=True)
    rows = np.arange(len(target))
    loss = -float(np.log(chances[rows, target]).mean())

    chances[rows, target] -= 1
    error = chances / np.float32(len(target))
    found = {"head.weight": value.T @ error}
    error = error @ w["head.weight"].T
    for block in reversed(range(BLOCKS)):
        sums, gate = gates[block]
        inner = error * gate * (1 + sums * (1 - gate))
        found[f"blocks.{block}.weight"] = values[block].T @ inner
        found[f"blocks.{block}.bias"] = inner.sum(axis=0)
        error = error + inner @ w[f"blocks.{block}.weight"].T
    found["input.weight"], found["input.bias"] = embedded.T @ error, error.sum(axis=0)
    by_letter = (error @ w["input.weight"].T).reshape(-1, EMBEDDING)
    found["embedding.weight"] = np.zeros_like(w["embedding.weight"])
    np.add.at(found["embedding.weight"], context.reshape(-1), by_letter)
    return loss, found


def write_checkpoints(folder: Path, megabytes: int) -> None:
    """c01.safetensors ... c10.safetensors of about that many megabytes each."""
    rng = np.random.default_rng(7)
    text = draw_text(rng)
    linear = CONTEXT * EMBEDDING + LETTERS
    roots = math.sqrt(linear**2 + 4 * BLOCKS * megabytes * 1e6 / 12) - linear
    weights = new_weights(rng, max(32, round(roots / (2 * BLOCKS) / 16) * 16))
    first = {name: np.zeros_like(array) for name, array in weights.items()}
    second = {name: np.zeros_like(array) for name, array in weights.items()}
    steps = STEPS_BETWEEN * len(CHECKPOINTS)
    for step in range(1, steps + 1):
        at = rng.integers(CONTEXT, len(text), BATCH)
        loss, found = gradients(weights, text[at[:, None] - np.arange(CONTEXT, 0, -1)], text[at])
        rate = RATE * min(1, step / WARM_UP) * (1 + math.cos(math.pi * step / steps)) / 2
        rate *= math.sqrt(1 - BETAS[1] ** step) / (1 - BETAS[0] ** step)
        for name, gradient in found.items():
            first[name] += np.float32(1 - BETAS[0]) * (gradient - first[name])
            second[name] += np.float32(1 - BETAS[1]) * (gradient * gradient - second[name])
            weights[name] -= np.float32(rate) * first[name] / (np.sqrt(second[name]) + 1e-8)
        if step == 1 or step % STEPS_BETWEEN == 0:
            print(f"training, step {step} of {steps}: loss {loss:.3f}", file=sys.stderr)
        if step % STEPS_BETWEEN == 0:
            tensors = {f"model.{name}": array for name, array in weights.items()}
            tensors |= {f"optimizer.{name}.exp_avg": array for name, array in first.items()}
            tensors |= {f"optimizer.{name}.exp_avg_sq": array for name, array in second.items()}
            path = folder / f"{CHECKPOINTS[step // STEPS_BETWEEN - 1]}.safetensors"
            write_safetensors(path, tensors)
