"""terminal: how our text reaches a person: paths as Git shows them, colour as Git decides."""

from __future__ import annotations

import locale
import os
import shutil
import sys

from git_nn.gitio.repository import Repository

_NARROWEST = 40
_SIGNS = "Δ→▁█"

_C_ESCAPES = {
    7: "\\a", 8: "\\b", 9: "\\t", 10: "\\n", 11: "\\v", 12: "\\f", 13: "\\r", 34: '\\"', 92: "\\\\",
}  # fmt: skip


def quoted(path: bytes) -> str:
    """``path`` as one visible line, in Git's C style where it needs quotes."""
    try:
        text = path.decode("utf-8")
    except UnicodeDecodeError:
        text = ""
    if text and all(char.isprintable() and char not in '"\\' for char in text):
        return text
    visible = "".join(
        char if char.isprintable() and char not in '"\\' else _octal(char)
        for char in path.decode("utf-8", "surrogateescape")
    )
    return f'"{visible}"'


def _octal(char: str) -> str:
    raw = char.encode("utf-8", "surrogateescape")
    return "".join(_C_ESCAPES.get(byte, f"\\{byte:03o}") for byte in raw)


def wants_colour(repo: Repository | None, arguments: tuple[str, ...] = ()) -> bool:
    """Whether Git itself would colour what it prints here.

    ``arguments`` are those of the git command that called us, since Git does not pass
    ``--color`` on to a diff driver.
    """
    for word in reversed(arguments):
        if word in ("--no-color", "--color=never"):
            return False
        if word in ("--color", "--color=always"):
            return True
    tty = _for_a_person()
    if repo is None:
        return tty and "NO_COLOR" not in os.environ
    answer = repo.git("config", "--get-colorbool", "color.diff", str(tty).lower(), check=False)
    return answer.strip() == b"true"


def _for_a_person() -> bool:
    """Whether a terminal shows what is printed, perhaps through the pager that Git started."""
    return sys.stdout.isatty() or os.environ.get("GIT_PAGER_IN_USE", "") in ("1", "true")


def width() -> int | None:
    """The columns of the terminal; None where lines go elsewhere and must stay whole.

    Git tells its pager's width in COLUMNS.
    """
    return max(shutil.get_terminal_size().columns, _NARROWEST) if _for_a_person() else None


def shows_signs() -> bool:
    """Whether more than ASCII may be printed; a terminal is asked by way of its locale.

    What goes elsewhere is UTF-8. Python itself would take UTF-8 for the locale C (PEP 540).
    """
    if not _for_a_person():
        return True
    try:
        for encoding in (locale.getencoding(), sys.stdout.encoding):
            _SIGNS.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def write(text: str) -> None:
    """Print ``text`` whatever the locale; bytes that are no UTF-8 go out as they came in."""
    sys.stdout.buffer.write(text.encode("utf-8", "surrogateescape"))
    sys.stdout.buffer.flush()
