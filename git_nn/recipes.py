"""recipes: where the recipe file of a repository is read from (``merge.recipe``, docs/merge.md).

As for .gitattributes, the file in the work tree counts, also before it is committed; where
it is not there (sparse checkout) that of the index, and without a work tree that of HEAD.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from git_nn.errors import UsageError
from git_nn.gitio.repository import Repository
from git_nn.merge import recipe
from git_nn.merge.recipe import Recipe


def load(repo: Repository) -> Recipe:
    """The recipe that counts now, empty where there is none; UsageError where it is wrong."""
    data = None if repo.work_tree is None else _in_work_tree(repo.work_tree)
    if data is None:
        start = "HEAD:" if repo.work_tree is None else ":"
        data = repo.git("cat-file", "blob", start + recipe.FILE, check=False)
    if not data:
        return Recipe()
    if len(data) > recipe.MAX_SIZE:
        raise UsageError(f"{recipe.FILE} is larger than 1 MiB", hint="use patterns in its rules")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"{recipe.FILE} is no UTF-8 text: {error.reason}") from error
    return recipe.read(text)


def _in_work_tree(folder: Path) -> bytes | None:
    """The file's content; None where there is none. A link is never followed, as by Git."""
    try:
        fd = os.open(
            folder / recipe.FILE, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        )
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UsageError(f"{recipe.FILE} cannot be read: {error.strerror}") from error
    with os.fdopen(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise UsageError(f"{recipe.FILE} is not a regular file")
        return file.read(recipe.MAX_SIZE + 1)
