"""Looks up Git attributes by asking Git, which alone knows all their sources."""

from __future__ import annotations

from collections.abc import Sequence

from git_nn.gitio.repository import Repository


def lookup(
    repo: Repository, paths: Sequence[bytes], names: Sequence[str], *, cached: bool = False
) -> dict[bytes, dict[str, str]]:
    """The attributes ``names`` of each path, relative to the top of the work tree.

    A value is ``set``, ``unset`` or the text after ``=``; an attribute that is not
    specified is absent. ``cached`` reads .gitattributes from the index only.
    """
    found: dict[bytes, dict[str, str]] = {path: {} for path in paths}
    if not paths or not names:
        return found
    where = ("--cached",) if cached else ()
    stdin = b"".join(path + b"\0" for path in found)
    output = repo.git("check-attr", "--stdin", "-z", *where, *names, stdin=stdin)
    fields = output.split(b"\0")[:-1]
    for path, name, value in zip(fields[::3], fields[1::3], fields[2::3], strict=True):
        if value != b"unspecified":
            found[path][name.decode()] = value.decode("utf-8", "surrogateescape")
    return found
