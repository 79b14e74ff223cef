"""Embeddings with fewer rows than the tokenizer beside the model has ids: a token without a row."""

from __future__ import annotations

from collections.abc import Iterator

from git_nn.beside import LARGEST
from git_nn.check.findings import Finding, Severity
from git_nn.gitio.objects import Reader
from git_nn.merge.rows import is_of_tokens
from git_nn.merge.tokens import FAMILIES, Ids, length, read
from git_nn.objects.names import escape
from git_nn.objects.pointer import Pointer


def too_few(reader: Reader, path: bytes, pointer: Pointer) -> Iterator[Finding]:
    """A finding for each tensor of tokens that is too short; the tokenizer is that of the index."""
    tensors = [e for e in pointer.stored.values() if len(e.shape) == 2 and is_of_tokens(e.name)]
    found = _vocabulary(reader, path) if tensors else None
    if found is None:
        return
    file, ids = found
    count = length(ids)
    for entry in tensors:
        if entry.shape[0] < count:
            message = (
                f"{escape(entry.name)} has {entry.shape[0]} rows, and {file} ids up to {count - 1}"
            )
            fix = f"commit the model and the {file} that belong together"
            yield Finding("rows", path, message, fix, Severity.WARNING, entry.name)


def _vocabulary(reader: Reader, path: bytes) -> tuple[str, Ids] | None:
    folder, slash, _ = path.decode("utf-8", "surrogateescape").rpartition("/")
    for names in FAMILIES:
        infos = {name: reader.info(f":{folder}{slash}{name}") for name in names}
        small = [n for n, i in infos.items() if i and i[1] == "blob" and i[2] <= LARGEST]
        if names[0] in small:
            ids = read({n: reader.read(f":{folder}{slash}{n}") or b"" for n in small})
            return None if ids is None else (names[0], ids)
    return None
