"""What ``diff.nn.command`` starts: Git's external diff driver (gitattributes(5)).

    python -m git_nn.drivers.diff PATH OLD-FILE OLD-HEX OLD-MODE NEW-FILE NEW-HEX NEW-MODE
                                  [OTHER-PATH RENAME-TEXT]
    python -m git_nn.drivers.diff PATH                        for an unmerged path

Git dies ("external diff died") when a driver fails, and with it the diff of all other
files. So whatever happens the exit status is 0, and what went wrong is in the text.

A side that Git knows by its blob is read from Git: a pointer is a few KB, whereas the
file that Git hands over may be the whole model.
"""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from git_nn.drivers.process import one_thread_per_product
from git_nn.drivers.terminal import quoted, write
from git_nn.errors import GitNNError

if TYPE_CHECKING:
    from git_nn.differences.result import ModelDiff
    from git_nn.gitio.objects import Reader
    from git_nn.gitio.repository import Repository
    from git_nn.model import Model
    from git_nn.store.base import Store

_ABBREVIATED = 9


@dataclass(frozen=True, slots=True)
class Side:
    """What Git says of one side; ``file`` is /dev/null and ``blob`` '.' where there is none."""

    file: str
    blob: str
    mode: str

    @property
    def is_absent(self) -> bool:
        return self.file == os.devnull or self.mode == "."

    @property
    def in_git(self) -> bool:
        return not self.is_absent and bool(self.blob.strip("0"))


@dataclass(frozen=True, slots=True)
class Request:
    """One file whose change is to be shown; ``metadata`` is Git's own text on a rename."""

    path: bytes
    old: Side
    new: Side
    other: bytes | None = None
    metadata: str = ""


def parse(argv: list[str]) -> Request:
    path, *rest = argv
    other = os.fsencode(rest[6]) if len(rest) > 6 else None
    metadata = rest[7] if len(rest) > 7 else ""
    return Request(os.fsencode(path), Side(*rest[:3]), Side(*rest[3:6]), other, metadata)


def main(argv: list[str]) -> int:
    one_thread_per_product()
    try:
        if len(argv) == 1:
            path = quoted(os.fsencode(argv[0]))
            write(f"* Unmerged path {path} (to settle it: git nn resolve)\n")
        elif len(argv) in {7, 9}:
            request = parse(argv)
            write(header(request) + report(request))
        else:
            write("git-nn: the diff driver is started by Git; to compare: git nn diff\n")
    except BrokenPipeError:  # the pager was closed
        sys.stderr.close()
    except Exception:  # noqa: BLE001 - Git dies when a driver does
        from git_nn.drivers.bug_log import report_bug

        report_bug()
    return 0


def header(request: Request) -> str:
    """The lines that Git prints above a change, so that the output reads as one diff."""
    old, new = request.old, request.new
    after = request.other or request.path
    lines = [f"diff --git {quoted(b'a/' + request.path)} {quoted(b'b/' + after)}"]
    if request.metadata:
        return f"{lines[0]}\n{request.metadata.rstrip(chr(10))}\n"
    if old.is_absent:
        lines.append(f"new file mode {new.mode}")
    elif new.is_absent:
        lines.append(f"deleted file mode {old.mode}")
    elif old.mode != new.mode:
        lines += (f"old mode {old.mode}", f"new mode {new.mode}")
    same_mode = f" {old.mode}" if old.mode == new.mode else ""
    lines.append(f"index {_short(old)}..{_short(new)}{same_mode}")
    return "".join(f"{line}\n" for line in lines)


def _short(side: Side) -> str:
    return "0" * _ABBREVIATED if side.is_absent else side.blob[:_ABBREVIATED]


def report(request: Request) -> str:
    """The comparison as text; where a side cannot be read, the reason."""
    from git_nn.differences.render import text
    from git_nn.drivers.caller import calling_command
    from git_nn.drivers.diff_view import style, view
    from git_nn.drivers.open import open_repository, store_of

    label = quoted(request.other or request.path)
    try:
        repo = open_repository()
        how = style(repo, calling_command().arguments)
        return text(_compare(request, repo, store_of(repo)), label, how, view(repo))
    except GitNNError as error:
        return f"{label}   cannot be compared: {error}\n"


def _compare(request: Request, repo: Repository, store: Store) -> ModelDiff:
    from git_nn.compare import compare
    from git_nn.drivers.side import reading
    from git_nn.gitio.objects import open_batch

    with open_batch(repo) as reader, ExitStack() as stack:
        old = _open(request.old, reader, store, stack)
        new = _open(request.new, reader, store, stack)
        return compare(old, new, reading=stack.enter_context(reading(repo)))


def _open(side: Side, reader: Reader, store: Store, stack: ExitStack) -> Model | None:
    from git_nn.drivers.side import of_pointer, opened_file, pointer_text

    if side.is_absent:
        return None
    text = pointer_text(reader, side.blob) if side.in_git else None
    if text is not None:
        return of_pointer(text, store)
    return stack.enter_context(opened_file(Path(side.file), store))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
