"""What ``diff.nn.textconv`` starts: a version of a model as text, one line per tensor.

    python -m git_nn.drivers.textconv FILE

Git shows it in ``log -p``, ``show`` and ``blame``, and keeps it in refs/notes/textconv/nn.
So the text depends on the content alone, a line depends on its own tensor alone, and
nothing here reads a tensor. FILE is the last argument: what stands before it is ignored,
so that whoever changes the text can change the configured command with it, and Git drops
what it kept under the old one.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from git_nn.drivers.process import one_thread_per_product
from git_nn.drivers.terminal import quoted, write
from git_nn.errors import GitNNError, MissingObjectError, PointerError, UsageError
from git_nn.objects.names import escape
from git_nn.objects.pointer import Entry, Stored, Window
from git_nn.objects.tensor import contiguous_strides, format_shape

if TYPE_CHECKING:
    from git_nn.model import Model
    from git_nn.store.base import Store

_OID = 12


def main(argv: list[str]) -> int:
    """Print the text of the file; 0 even for content that cannot be read as a model."""
    one_thread_per_product()
    if not argv:
        write("usage: python -m git_nn.drivers.textconv FILE\n")
        return 2
    path = Path(argv[-1])
    try:
        write(text_of(path))
    except BrokenPipeError:
        sys.stderr.close()
    except PointerError as error:
        write(f"not a valid pointer: {error.message}\n")
        sys.stdout.buffer.write(path.read_bytes())
    except GitNNError as error:
        print(
            f"git-nn: {quoted(str(path).encode('utf-8', 'surrogateescape'))}: {error}",
            file=sys.stderr,
        )
        return error.exit_code
    return 0


def text_of(path: Path) -> str:
    """The text of a file that is weights or a pointer."""
    from git_nn.drivers.side import opened_file

    with opened_file(path, _store()) as model:
        return "".join(f"{line}\n" for line in lines(model))


def lines(model: Model) -> list[str]:
    """The format, what the file says about the model, and a line for each tensor."""
    pointer = model.pointer
    if pointer.format == "opaque":
        return [f"no known format: {_size(model)}, content {pointer.skeleton.hex()[:_OID]}"]
    return [
        f"format {pointer.format}",
        f"container {pointer.skeleton.hex()[:_OID]}",
        *_structure(model),
        *(_line(entry) for entry in pointer.entries),
    ]


def _line(entry: Entry) -> str:
    spec = f"{escape(entry.name)} {entry.dtype} {format_shape(entry.shape)}"
    match entry:
        case Stored():
            return f"{spec} {entry.oid.hex()[:_OID]}"
        case Window():
            whole = not entry.offset and entry.strides == contiguous_strides(entry.shape)
            steps = "" if whole else f" from {entry.offset} by {format_shape(entry.strides)}"
            return f"{spec} view of {escape(entry.of)}{steps}"


def _structure(model: Model) -> list[str]:
    from git_nn.differences.structure import describe

    try:
        return describe(model.structure())
    except MissingObjectError:
        return ["structure is not here; to get it: git nn pull"]
    except GitNNError as error:
        return [f"structure cannot be read: {error.message}"]


def _size(model: Model) -> str:
    from git_nn.model import FileModel, StoredModel

    if isinstance(model, FileModel):
        return f"{model.source.size} bytes"
    try:
        return f"{model.skeleton.size} bytes" if isinstance(model, StoredModel) else ""
    except GitNNError:
        return "not here"


def _store() -> Store | None:
    from git_nn.drivers.open import open_repository, store_of

    try:
        return store_of(open_repository())
    except UsageError:  # outside of a repository a file can still be shown
        return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
