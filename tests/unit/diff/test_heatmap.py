"""Heat maps: what a cell shows, that lines fit, and that the pictures are pictures."""

from __future__ import annotations

import math
import re
import struct
import zlib
from xml.etree import ElementTree as ET

import pytest

from git_nn.differences.heatmap import Canvas, Cell, Column, Map, Mark, document, of_rows, text
from git_nn.differences.layers import layer_of
from git_nn.differences.palette import colour_at, css, on_white, xterm
from git_nn.differences.png import png
from git_nn.differences.svg import svg

SAME, NEW = Cell(Mark.SAME), Cell(Mark.NEW)


def columns(count: int) -> list[Column]:
    return [Column(f"{i:07x}", f"2026-01-{i % 28 + 1:02}", f"commit <{i}>") for i in range(count)]


def moved(drift: float) -> Cell:
    return Cell(Mark.MOVED, drift)


def small() -> Map:
    rows = {
        "layers.0": [NEW, moved(1e-3), SAME, moved(1.0)],
        "layers.1": [NEW, SAME, Cell(Mark.UNKNOWN), Cell(Mark.NOT_FINITE)],
        "head": [Cell(Mark.ABSENT), NEW, moved(math.inf), moved(3e-2)],
    }
    return of_rows("model.h5", columns(4), rows.items())


def body(found: Map, width: int, *, colour: bool = False, rows: int | None = 60) -> list[str]:
    return text(found, Canvas(width, colour=colour, rows=rows)).splitlines()


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("model.layers.17.mlp.up_proj.weight", "model.layers.17"),
        ("block_3/ln/gamma", "block_3"),
        ("model.norm.weight", "model.norm"),
        ("layers/dense/vars/0", "layers/dense"),
        ("layers/dense_1/vars/0", "layers/dense_1"),
        ("fc1", "fc1"),
        ("weight", "weight"),
        ("a.w1", "a"),
        ("", ""),
    ],
)
def test_the_layer_of_a_tensor(name: str, layer: str) -> None:
    assert layer_of(name) == layer


def test_each_cell_says_what_happened_at_its_place() -> None:
    lines = body(small(), 60)
    assert lines[0] == "model.h5"
    assert lines[1:4] == [
        "layers.0  ++++....    @@@@",
        "layers.1  ++++    ????!!!!",
        "head          ++++@@@@oooo",  # 1.5 of 3 decades: the fifth of nine shades
    ]
    assert lines[4] == "          0000000  0000003"
    assert lines[6] == "rel Δ 0.001 .:-=ox%#@ 1  + new  ? changed  ! NaN or Inf"


def test_without_a_drift_no_scale_is_shown() -> None:
    assert body(of_rows("t", columns(1), [("a", [NEW])]), 60)[-1] == "+ new"


def test_the_scale_is_logarithmic_and_spans_four_decades_at_most() -> None:
    drifts = [10.0**-i for i in range(9)]
    found = of_rows("t", columns(9), [("a", [moved(d) for d in drifts])])
    low, high = found.span()
    assert high == 1.0
    assert low == pytest.approx(1e-4)
    row = body(found, 60)[1].split("  ")[1]
    assert list(row[::4]) == sorted(row[::4], key=".:-=ox%#@".index, reverse=True)
    assert row[::4].endswith(".....")


@pytest.mark.parametrize("width", [60, 61, 100, 137, 200])
@pytest.mark.parametrize("count", [0, 1, 2, 30, 77, 1000])
def test_every_line_fits_and_every_commit_is_in_some_column(width: int, count: int) -> None:
    name = "model.decoder.a_very_long_module_name.of_many_parts.layers.17"
    quiet = [SAME] * count
    for loud in {0, count // 2, count - 1} if count else {0}:
        cells = list(quiet)
        if count:
            cells[loud] = Cell(Mark.NOT_FINITE)
        lines = body(of_rows("t" * 300, columns(count), [(name, cells)]), width)
        assert max(map(len, lines)) <= width
        assert ("!" in lines[1]) == bool(count)


def test_colour_is_background_so_that_no_special_character_is_needed() -> None:
    line = body(small(), 60, colour=True)[1]
    assert "\x1b[48;5;" in line
    assert re.sub(r"\x1b\[[0-9;]*m", "", line).isascii()


def test_of_many_layers_those_that_moved_most_are_shown_in_their_order() -> None:
    rows = [(f"layers.{i}", [moved(1e-3 * (1 + i * 7 % 100))]) for i in range(100)]
    lines = body(of_rows("t", columns(1), rows), 80, rows=10)
    shown = [int(line.split()[0].removeprefix("layers.")) for line in lines[1:11]]
    assert shown == sorted(sorted(range(100), key=lambda i: -(i * 7 % 100))[:10])
    assert "... and 90 layers that moved less (--all)" in lines


def test_the_json_form_has_numbers_and_words() -> None:
    cells = {row["layer"]: row["cells"] for row in document(small())}
    assert cells["layers.0"] == ["new", 0.001, "same", 1.0]
    assert cells["head"] == ["absent", "new", "inf", 0.03]


def test_the_palette_grows_in_lightness_and_is_turned_round_on_white() -> None:
    def lightness(at: float) -> float:
        red, green, blue = colour_at(at)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    steps = [lightness(i / 50) for i in range(51)]
    assert steps == sorted(steps)
    assert on_white(0.25) == colour_at(0.75)
    assert (xterm((0, 0, 0)), xterm((255, 255, 255)), xterm((95, 135, 215))) == (16, 231, 68)
    assert css((255, 0, 16)) == "#ff0010"


def test_the_svg_is_well_formed_and_names_every_cell() -> None:
    picture = svg(small())
    assert picture == svg(small())
    root = ET.fromstring(picture)
    titles = [one.text or "" for one in root.iter("{http://www.w3.org/2000/svg}title")]
    assert len(titles) == 3 * 4 - 1  # all but the absent one
    assert "layers.0\n0000003 2026-01-04 commit <3>\nrel Δ 1.00e+00" in titles
    assert any(title.endswith("not finite") for title in titles)
    assert "prefers-color-scheme: dark" in picture
    assert "http" not in picture.replace("http://www.w3.org/2000/svg", "")


def pixels(data: bytes) -> tuple[int, int, list[bytes]]:
    """Width, height and rows of an RGB picture without filters; checks every chunk's CRC."""
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    at, chunks = 8, {}
    while at < len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        body = data[at + 8 : at + 8 + length]
        (crc,) = struct.unpack_from(">I", data, at + 8 + length)
        assert crc == zlib.crc32(kind + body)
        chunks[kind] = body
        at += 12 + length
    width, height, depth, colours, *_ = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    assert (depth, colours) == (8, 2)
    raw = zlib.decompress(chunks[b"IDAT"])
    rows = [raw[i : i + 1 + 3 * width] for i in range(0, len(raw), 1 + 3 * width)]
    assert all(row[0] == 0 and len(row) == 1 + 3 * width for row in rows)
    return width, height, [row[1:] for row in rows]


def test_the_png_shows_the_colours_of_the_cells() -> None:
    picture = png(small())
    assert picture == png(small())
    _width, height, rows = pixels(picture)
    assert len(rows) == height
    flat = b"".join(rows)
    counts = {
        colour: sum(flat[i : i + 3] == bytes(colour) for i in range(0, len(flat), 3))
        for colour in (on_white(0.0), on_white(1.0), (214, 39, 40))
    }
    cell = 27 * 20
    assert counts[on_white(0.0)] >= cell  # the smallest drift
    assert counts[on_white(1.0)] >= 2 * cell  # the largest, and the one from all zeros
    assert cell // 2 < counts[214, 39, 40] <= cell  # not finite, with a sign in it


def test_a_map_of_thousands_of_commits_is_a_picture_of_bounded_width() -> None:
    found = of_rows("t", columns(5000), [("a", [moved(1e-3)] * 5000)])
    assert pixels(png(found))[0] < 2000
    assert len(svg(found)) < 500_000


def test_a_map_of_nothing_is_still_a_picture() -> None:
    empty = of_rows("t", [], [])
    assert text(empty, Canvas()).startswith("t\n")
    pixels(png(empty))
    ET.fromstring(svg(empty))
