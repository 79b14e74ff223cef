"""Puts into the message of a merge commit how its models were merged (docs/spec-trailers.md).

Git runs the hook prepare-commit-msg before a person sees the message. Where the hook is not
installed, 'git nn merge' amends the commit that it has just made.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from git_nn import origins
from git_nn.gitio import revisions
from git_nn.gitio.repository import Repository
from git_nn.merge import trailers


def prepare(repo: Repository, file: Path) -> None:
    """The hook: add trailers to the message in ``file``, where a merge of two is committed."""
    try:
        heads = (repo.git_dir / "MERGE_HEAD").read_text("ascii").split()
    except FileNotFoundError:
        return
    if len(heads) != 1 or revisions.resolve(repo, "HEAD") is None:
        return
    before = file.read_bytes()
    if trailers.is_of_soup(_text(before)):
        return
    result = {entry.path: entry.oid for entry in revisions.index(repo) if not entry.stage}
    after = _described(repo, "HEAD", heads[0], result, before)
    if after != before:
        file.write_bytes(after)


def amend(repo: Repository, before: str | None) -> None:
    """Add trailers to HEAD, if it is a merge into ``before`` that says nothing yet."""
    _, *parents = repo.git("rev-list", "--parents", "-n1", "HEAD").decode().split()
    if len(parents) != 2 or parents[0] != before:
        return
    message = repo.git("log", "-1", "--format=%B", "HEAD").removesuffix(b"\n")
    if trailers.read(_text(message)) is not None:
        return
    result = {entry.path: entry.oid for entry in revisions.tree(repo, "HEAD")}
    described = _described(repo, parents[0], parents[1], result, message)
    if described != message:
        argv = ("commit", "--amend", "--only", "--no-verify", "--no-post-rewrite", "--quiet",
                "--cleanup=verbatim", "--file=-")  # fmt: skip
        repo.git(*argv, stdin=described)


def _described(
    repo: Repository, ours: str, theirs: str, result: Mapping[bytes, str], message: bytes
) -> bytes:
    """``message`` with the trailers that are true of the merge, and no others of ours."""
    plan = origins.account(repo, ours, theirs, result)
    bare = trailers.without(_text(message)).encode("utf-8", "surrogateescape")
    if plan is None:
        return bare
    *lines, version = trailers.write(plan)
    # Git knows where trailers go (after a last line that ends). It is given the last one, and
    # the others, which may be too long for a command line, are put before it.
    bare = bare.removesuffix(b"\n") + b"\n"
    argv = ("-c", "trailer.separators=:", "interpret-trailers", "--no-divider", "--where=end",
            "--if-exists=add", f"--trailer={version}")  # fmt: skip
    text = _text(repo.git(*argv, stdin=bare))
    head, _, rest = text.rpartition(version)
    return "".join([head, *(f"{line}\n" for line in lines), version, rest]).encode(
        "utf-8", "surrogateescape"
    )


def _text(message: bytes) -> str:
    return message.decode("utf-8", "surrogateescape")
