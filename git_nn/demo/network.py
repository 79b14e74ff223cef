"""A two-layer perceptron that reads handwritten-looking digits, trained with numpy.

The digits are drawn from a 5x7 font, shifted, thickened and buried in noise, so that there
is something to learn; everything follows from a seed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Weights = dict[str, NDArray[np.float32]]
Array = NDArray[Any]

SIDE = 12
HIDDEN = 64
LAYERS = ("dense", "dense_1", "head")
_FONT = (
    "01110 10001 10011 10101 11001 10001 01110", "00100 01100 00100 00100 00100 00100 01110",
    "01110 10001 00001 00110 01000 10000 11111", "11110 00001 00001 01110 00001 00001 11110",
    "00010 00110 01010 10010 11111 00010 00010", "11111 10000 11110 00001 00001 10001 01110",
    "00110 01000 10000 11110 10001 10001 01110", "11111 00001 00010 00100 01000 01000 01000",
    "01110 10001 10001 01110 10001 10001 01110", "01110 10001 10001 01111 00001 00010 01100",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Digits:
    """``images`` f32 (n, SIDE * SIDE), ``labels`` i64 (n)."""

    images: Array
    labels: Array


def draw_digits(count: int, seed: int, noise: float = 0.2) -> Digits:
    rng = np.random.default_rng(seed)
    glyphs = [
        np.array([[int(c) for c in row] for row in glyph.split()], np.float32) for glyph in _FONT
    ]
    labels = rng.integers(0, 10, count)
    images = rng.normal(0, noise, (count, SIDE, SIDE)).astype(np.float32)
    for image, label in zip(images, labels, strict=True):
        top, left = rng.integers(1, SIDE - 8), rng.integers(2, SIDE - 6)
        image[top : top + 7, left : left + 5] += glyphs[label] * rng.uniform(0.8, 1.2)
    return Digits(images.reshape(count, -1), labels)


def new_weights(seed: int) -> Weights:
    rng = np.random.default_rng(seed)
    sizes = (SIDE * SIDE, HIDDEN, HIDDEN, 10)
    weights: Weights = {}
    for layer, fan_in, fan_out in zip(LAYERS, sizes, sizes[1:], strict=False):
        scale = np.sqrt(2 / fan_in)
        weights[f"{layer}/kernel"] = rng.normal(0, scale, (fan_in, fan_out)).astype(np.float32)
        weights[f"{layer}/bias"] = np.zeros(fan_out, np.float32)
    return weights


def train(
    weights: Weights, data: Digits, *, epochs: int, rate: float, only: tuple[str, ...] = LAYERS
) -> Weights:
    """Weights after stochastic gradient descent on cross-entropy; ``only`` names what moves."""
    weights = {name: value.copy() for name, value in weights.items()}
    for epoch in range(epochs):
        order = np.random.default_rng(epoch).permutation(len(data.labels))
        for batch in np.array_split(order, len(order) // 50):
            gradients = _gradients(weights, data.images[batch], data.labels[batch])
            for name, gradient in gradients.items():
                if name.split("/")[0] in only:
                    weights[name] -= np.float32(rate) * gradient
    return weights


def accuracy(weights: Weights, data: Digits) -> float:
    scores = _forward(weights, data.images)[-1]
    return float((scores.argmax(axis=1) == data.labels).mean())


def _forward(weights: Weights, images: Array) -> list[Array]:
    """The input of each layer, and at the end the scores."""
    values = [images]
    for layer in LAYERS:
        value = values[-1] @ weights[f"{layer}/kernel"] + weights[f"{layer}/bias"]
        values.append(value if layer == LAYERS[-1] else np.maximum(value, 0))
    return values


def _gradients(weights: Weights, images: Array, labels: Array) -> Weights:
    values = _forward(weights, images)
    scores = np.exp(values[-1] - values[-1].max(axis=1, keepdims=True))
    error = scores / scores.sum(axis=1, keepdims=True)
    error[np.arange(len(labels)), labels] -= 1
    error /= len(labels)
    gradients: Weights = {}
    for layer, value in zip(reversed(LAYERS), reversed(values[:-1]), strict=True):
        gradients[f"{layer}/kernel"] = value.T @ error
        gradients[f"{layer}/bias"] = error.sum(axis=0)
        error = (error @ weights[f"{layer}/kernel"].T) * (value > 0)
    return gradients
