"""What the operating system refused, as one sentence and the next step."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from git_nn.errors import StoreError

UPGRADE = "upgrade git-nn"

_REASONS = {
    errno.ENOSPC: (
        "there is no space left for the store {root}",
        "free some space ('git nn gc' may help) and run the command again",
    ),
    errno.EDQUOT: (
        "the disk quota is used up for the store {root}",
        "free some space ('git nn gc' may help) and run the command again",
    ),
    errno.EFBIG: (
        "a file of the store {root} would be larger than this system allows",
        "raise the limit ('ulimit -f') and run the command again",
    ),
    errno.EROFS: (
        "the store {root} is on a read-only file system",
        "run the command where the repository can be written",
    ),
    errno.EACCES: ("no permission to use the store {root}", "look at 'ls -ld {root}'"),
    errno.EPERM: ("no permission to use the store {root}", "look at 'ls -ld {root}'"),
    errno.EIO: (
        "the disk under the store {root} reported an error",
        "check the disk, then run 'git nn fsck'",
    ),
    errno.EMFILE: ("too many open files for the store {root}", "raise the limit ('ulimit -n')"),
}


def explain(error: OSError, root: Path) -> StoreError:
    """The StoreError that says what ``error`` means for the store at ``root``."""
    reason = _REASONS.get(error.errno or 0)
    if reason is None:
        why = error.strerror or str(error)
        return StoreError(f"the store {root} cannot be used: {why}", hint="run 'git nn doctor'")
    message, hint = reason
    return StoreError(message.format(root=root), hint=hint.format(root=root))


@contextmanager
def reported(root: Path) -> Iterator[None]:
    """Turn an OSError of the block into a StoreError."""
    try:
        yield
    except OSError as error:
        raise explain(error, root) from error
