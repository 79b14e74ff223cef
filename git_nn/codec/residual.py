"""The difference of two versions, word by word, as small unsigned numbers and back.

The map makes floats of either sign one ascending row of integers, so that a small step of
a weight is a small integer, also across zero; zigzag folds the sign of the step into its
lowest bit (docs/spec-codecs.md, section 4).
"""

from __future__ import annotations

import numpy as np

from git_nn.codec import kernels, scratch
from git_nn.codec.scratch import Array


def residuals(new: Array, base: Array, out: Array, *, floats: bool) -> None:
    """The residual of each word of ``new``; all three are unsigned words of one width."""
    top = 8 * new.dtype.itemsize - 1
    signed = new.dtype.str.replace("u", "i")
    for at in kernels.blocks(len(new), new.dtype.itemsize):
        step = out[at].view(signed)
        other = scratch.array("other", len(step), signed)
        if floats:
            _map(new[at].view(signed), step)
            _map(base[at].view(signed), other)
            np.subtract(step, other, out=step)
        else:
            np.subtract(new[at].view(signed), base[at].view(signed), out=step)
        np.right_shift(step, top, out=other)
        np.add(step, step, out=step)
        np.bitwise_xor(step, other, out=step)


def restore(residual: Array, base: Array, out: Array, *, floats: bool) -> None:
    """The inverse: the words whose residuals against ``base`` are ``residual``."""
    signed = base.dtype.str.replace("u", "i")
    for at in kernels.blocks(len(base), base.dtype.itemsize):
        word = out[at]
        other = scratch.array("other", len(word), word.dtype.str)
        np.bitwise_and(residual[at], 1, out=other)
        np.right_shift(residual[at], 1, out=word)
        np.subtract(0, other, out=other)
        np.bitwise_xor(word, other, out=word)
        if floats:
            _map(base[at].view(signed), other.view(signed))
            np.add(word, other, out=word)
            mapped = scratch.array("mapped", len(word), signed)
            np.copyto(mapped, word.view(signed))
            _map(mapped, word.view(signed))
        else:
            np.add(word, base[at], out=word)


def _map(words: Array, out: Array) -> None:
    """m of the specification, its own inverse; ``out`` is other memory than ``words``."""
    np.right_shift(words, 8 * words.dtype.itemsize - 1, out=out)
    unsigned = out.view(out.dtype.str.replace("i", "u"))
    np.right_shift(unsigned, 1, out=unsigned)
    np.bitwise_xor(out, words, out=out)
