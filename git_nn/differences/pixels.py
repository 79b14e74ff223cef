"""pixels: a picture of plain pixels with text, as PNG bytes; nothing but zlib is needed.

Letters are 5x7 dots, drawn for this file; upper case shows as lower case, and a character
that is not there as an empty box. Equal pictures give equal bytes.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field

from git_nn.differences.palette import RGB

ADVANCE, HEIGHT = 6, 7  # dots of a character with the space after it, and its height
_LOWERED = "gpqy,"  # by a dot, below the line

# a character, and each of its seven rows as a digit to base 32
_FONT = (
    "a00e1fhf bgguhhhu c00ehghe d11fhhhf e00ehvge f698s888 g0fhhf1e hgguhhhh "
    "i40c444e j20622ic kggikoki lc44444e m00qllll n00uhhhh o00ehhhe p0uhhugg "
    "q0fhhf11 r00mpggg s00fge1u t88s8896 u00hhhhf v00hhha4 w00hllla x00ha4ah "
    "y0hhhf1e z00v248v 0ehjlphe 14c4444e 2eh1248v 3u11e11u 4iiiv222 5vgu11he "
    "6egguhhe 7v122444 8ehhehhe 9ehhf11e .00000cc ,0000cc8 :0cc0cc0 -000e000 "
    "_000000v /11248gg +044v440 !4444404 ?eh12404"
)
_GLYPHS = {word[0]: tuple(int(digit, 32) for digit in word[1:]) for word in _FONT.split(" ")}
_UNKNOWN = (31, 17, 17, 17, 17, 17, 31)


@dataclass
class Picture:
    """``width`` x ``height`` pixels, all of ``ground`` to begin with."""

    width: int
    height: int
    ground: RGB
    rows: list[bytearray] = field(init=False)

    def __post_init__(self) -> None:
        self.rows = [bytearray(bytes(self.ground) * self.width) for _ in range(self.height)]

    def box(self, left: int, top: int, width: int, height: int, colour: RGB) -> None:
        """A filled rectangle; what is outside of the picture is left out."""
        start, stop = max(left, 0), min(left + width, self.width)
        run = bytes(colour) * max(stop - start, 0)
        for row in self.rows[max(top, 0) : max(top + height, 0)]:
            row[3 * start : 3 * start + len(run)] = run

    def text(self, left: int, top: int, text: str, colour: RGB, dot: int = 2) -> None:
        """A line of text, its dots ``dot`` pixels wide and high."""
        for i, char in enumerate(text.lower()):
            line = top + dot * (char in _LOWERED)
            for y, bits in enumerate(() if char == " " else _GLYPHS.get(char, _UNKNOWN)):
                for x in range(5):
                    if bits >> (4 - x) & 1:
                        at = left + (i * ADVANCE + x) * dot
                        self.box(at, line + y * dot, dot, dot, colour)

    def png(self) -> bytes:
        head = struct.pack(">IIBBBBB", self.width, self.height, 8, 2, 0, 0, 0)
        body = zlib.compress(b"".join(b"\0" + row for row in self.rows), 9)
        chunks = (b"IHDR", head), (b"IDAT", body), (b"IEND", b"")
        return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*chunk) for chunk in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
