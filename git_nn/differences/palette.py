"""palette: the colours of a heat map, from dark violet over green to yellow.

The stops are those of viridis, which grows evenly in lightness: it reads the same in
grey and for people who do not tell red from green.
"""

from __future__ import annotations

RGB = tuple[int, int, int]

_STOPS: tuple[RGB, ...] = (
    (68, 1, 84), (71, 45, 123), (59, 82, 139), (44, 114, 142), (33, 145, 140),
    (40, 174, 128), (94, 201, 98), (173, 220, 48), (253, 231, 37),
)  # fmt: skip
_LEVELS = (0, 95, 135, 175, 215, 255)  # of the 6x6x6 cube that terminals with 256 colours have


def colour_at(at: float) -> RGB:
    """The colour at ``at``, from 0 to 1."""
    place = min(max(at, 0.0), 1.0) * (len(_STOPS) - 1)
    left = min(int(place), len(_STOPS) - 2)
    part = place - left
    one, other = _STOPS[left], _STOPS[left + 1]
    red, green, blue = (round(a + (b - a) * part) for a, b in zip(one, other, strict=True))
    return red, green, blue


def on_white(at: float) -> RGB:
    """The same colours the other way round: on a light ground what is dark stands out."""
    return colour_at(1 - at)


def xterm(colour: RGB) -> int:
    """The nearest of the 216 colours of the terminal's cube."""
    steps = [min(range(6), key=lambda i: abs(_LEVELS[i] - part)) for part in colour]
    return 16 + 36 * steps[0] + 6 * steps[1] + steps[2]


def css(colour: RGB) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)
