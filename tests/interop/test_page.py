"""The page of git nn diff --html in a real Chromium: it is drawn, and asks for nothing."""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
import threading
import zlib
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from git_nn.compare import compare
from git_nn.differences.histogram import of_model
from git_nn.differences.html import page
from git_nn.differences.report import Item
from tests.unit.diff.pairs import transformer

pytestmark = pytest.mark.interop

_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--hide-scrollbars", "--disable-features=NetworkTimeServiceQuerying",
)  # fmt: skip


@dataclass
class Site:
    """A server for one page that notes what is asked of it, whatever the host's name."""

    content: str
    asked: list[str] = field(default_factory=list)

    def serve(self) -> ThreadingHTTPServer:
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.asked.append(f"{self.headers['Host'].partition(':')[0]}{self.path}")
                self.send_response(200)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.end_headers()
                self.wfile.write(site.content.encode())

            def log_message(self, *_: object) -> None:
                pass

        return ThreadingHTTPServer(("127.0.0.1", 0), Handler)


@dataclass(frozen=True)
class Browser:
    program: str
    folder: Path

    def open(self, content: str, *flags: str, size: tuple[int, int]) -> tuple[str, list[str]]:
        """Open a page; what was printed, and what was asked of any server."""
        site = Site(content)
        server = site.serve()
        threading.Thread(target=server.serve_forever, daemon=True).start()
        port = server.server_address[1]
        done = subprocess.run(
            [
                self.program, *_FLAGS, *flags, f"--user-data-dir={self.folder / 'profile'}",
                f"--host-resolver-rules=MAP * 127.0.0.1:{port}",
                f"--window-size={size[0]},{size[1]}", f"http://page.test:{port}/",
            ],
            capture_output=True, timeout=120,
        )  # fmt: skip
        server.shutdown()
        server.server_close()
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode(), site.asked

    def screenshot(
        self, content: str, *flags: str, size: tuple[int, int]
    ) -> tuple[np.ndarray, list[str]]:
        """The picture of a page, and what was asked of any server."""
        picture = self.folder / "page.png"
        _, asked = self.open(content, *flags, f"--screenshot={picture}", size=size)
        return pixels(picture.read_bytes()), asked


@pytest.fixture
def browser(tmp_path: Path) -> Browser:
    program = shutil.which("chromium")
    assert program, "Chromium is part of the interop environment (scripts/environment interop)"
    return Browser(program, tmp_path)


@pytest.fixture(scope="module")
def content() -> str:
    old, new = transformer()
    diff = compare(old, new)
    return page([Item("m.safetensors", diff, "", of_model(old, new, diff.tensors))], "a → b")


def pixels(png: bytes) -> np.ndarray:
    """Height x width x channels of a PNG with 8 bits a channel (PNG specification, 9)."""
    width, height, depth, kind, *_, interlace = struct.unpack(">IIBBBBB", png[16:29])
    assert (depth, interlace) == (8, 0)
    channels = {2: 3, 6: 4}[kind]
    data, at = b"", 8
    while at < len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        if png[at + 4 : at + 8] == b"IDAT":
            data += png[at + 8 : at + 8 + length]
        at += 12 + length
    lines = np.frombuffer(zlib.decompress(data), np.uint8).reshape(height, -1)
    found = np.zeros((height, width * channels), np.uint8)
    above = np.zeros(width * channels, np.uint8)
    for y, line in enumerate(lines):
        above = found[y] = unfiltered(int(line[0]), line[1:], above, channels)
    return found.reshape(height, width, channels)[:, :, :3]


def unfiltered(method: int, line: np.ndarray, above: np.ndarray, step: int) -> np.ndarray:
    if method == 0:
        return line
    if method == 2:
        return line + above
    if method == 1:
        sums = np.cumsum(line.reshape(-1, step), axis=0, dtype=np.uint8)
        return sums.reshape(-1)
    out = bytearray(line.tobytes())
    for i, over in enumerate(above.tolist()):
        left = out[i - step] if i >= step else 0
        if method == 3:
            guess = (left + over) // 2
        else:
            corner = int(above[i - step]) if i >= step else 0
            near = left + over - corner
            sizes = [abs(near - left), abs(near - over), abs(near - corner)]
            guess = (left, over, corner)[sizes.index(min(sizes))]
        out[i] = (out[i] + guess) & 255
    return np.frombuffer(bytes(out), np.uint8)


def colours(picture: np.ndarray) -> dict[tuple[int, ...], int]:
    found, counts = np.unique(picture.reshape(-1, 3), axis=0, return_counts=True)
    return {tuple(map(int, c)): int(n) for c, n in zip(found, counts, strict=True)}


def drawn(picture: np.ndarray, colour: str) -> int:
    """How many pixels have exactly the colour ``rrggbb``."""
    return colours(picture).get(tuple(bytes.fromhex(colour)), 0)


def test_the_page_is_drawn_light_and_dark_and_asks_for_nothing(
    browser: Browser, content: str
) -> None:
    light, asked = browser.screenshot(content, size=(1280, 1600))
    assert light.shape == (1600, 1280, 3)
    assert asked == ["page.test/"]
    dark, asked = browser.screenshot(
        content, "--blink-settings=preferredColorScheme=0", size=(1280, 1600)
    )
    assert asked == ["page.test/"]
    # the cards, the line of q_proj and the bars of the tables, in the colours of the style
    for picture, found in (
        (light, ("ffffff", "0072b2", "0969da")),
        (dark, ("151b23", "58a6ff", "4493f8")),
    ):
        counts = [drawn(picture, colour) for colour in found]
        assert counts[0] > picture.shape[0] * picture.shape[1] // 4, counts
        assert min(counts) > 300, counts
    assert light.mean() > 200
    assert dark.mean() < 60


def without_policy(content: str) -> str:
    start = content.index("<meta http-equiv")
    return content[:start] + content[content.index(">", start) + 1 :]


@pytest.mark.parametrize("width", [500, 800, 1280])
def test_the_page_is_never_wider_than_the_window(
    browser: Browser, content: str, width: int
) -> None:
    probe = "<script>document.title = `${document.documentElement.scrollWidth} of ${innerWidth}`"
    probed = without_policy(content).replace("</body>", f"{probe}</script></body>")
    printed, _ = browser.open(probed, "--dump-dom", size=(width, 900))
    assert f"<title>{width} of {width}</title>" in printed


def test_a_click_sorts_a_table(browser: Browser, content: str) -> None:
    assert re.findall('<tr>.*?row">(.*?)</th>', content)[0] == "lm_head.weight"
    click = "<script>document.querySelector('th[title^=\\'how many\\']').click()</script></body>"
    probed = without_policy(content).replace("</body>", click)
    printed, _ = browser.open(probed, "--dump-dom", size=(800, 900))
    first = re.findall('<tr>.*?row">(.*?)</th>', printed)[:5]
    assert first[0] == "model.layers.[0-11].self_attn.q_proj.weight"
    assert first[4] == "model.layers.[8-11].self_attn.o_proj.weight"  # 12, 12, 12, 11, 4


def test_a_page_that_asks_for_something_is_noticed_and_the_policy_would_stop_it(
    browser: Browser, content: str
) -> None:
    bad = (
        '<img src="/image.png"><img src="http://elsewhere.test/x.png"><script src="/x.js"></script>'
    )
    kept = content.replace("<main>", f"<main>{bad}", 1)
    _, asked = browser.screenshot(kept, size=(800, 600))
    assert asked == ["page.test/"]
    _, asked = browser.screenshot(without_policy(kept), size=(800, 600))
    assert {"page.test/image.png", "elsewhere.test/x.png", "page.test/x.js"} <= set(asked)
