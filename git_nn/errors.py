"""Every failure that a person can meet, and its exit code.

The message is one sentence that says what happened and to which file or tensor;
``hint`` is the one command to run next. Values are kept as attributes, so that
callers need not parse text. Anything that is not a GitNNError is our own bug.

    GitNNError                1   a check failed, a conflict is left, or two versions differ
    ├── UsageError            2   the command line or the configuration is wrong
    ├── MissingObjectError    3   a tensor or skeleton is not in the store
    ├── DamagedObjectError    4   stored bytes do not match their content id
    ├── StoreError            5   the store cannot be read or written (disk full, read-only)
    ├── PointerError          6   text that should be a pointer is not a valid one
    │   ├── PointerVersionError
    │   └── ConflictMarkerError
    ├── MergeError            7   a merge cannot give a file that its library would load
    ├── RemoteError           8   a remote cannot be reached, refuses, or gives wrong bytes
    └── GitError            128   git itself failed

A bug in git-nn exits with 70 (EX_SOFTWARE). LayoutError never leaves formats/: a
file that cannot be read as its format is stored as opaque bytes.
"""

from __future__ import annotations

BUG_EXIT_CODE = 70


class GitNNError(Exception):
    """A failure with a sentence for the person and, where there is one, the next command."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}" if self.hint else self.message


class UsageError(GitNNError):
    """The command line or the configuration is wrong."""

    exit_code = 2


class MissingObjectError(GitNNError):
    """An object is not in the store, nor in any store that it may read from."""

    exit_code = 3

    def __init__(
        self, oid_hex: str, *, what: str = "", why: str = "", hint: str = "run 'git nn fsck'"
    ) -> None:
        because = f", and cannot be had: {why}" if why else ""
        text = f"{what or 'an object'} is not in the store ({oid_hex[:12]}){because}"
        super().__init__(text, hint=hint)
        self.oid_hex = oid_hex
        self.what = what


class DamagedObjectError(GitNNError):
    """Stored bytes do not match their content id or checksum."""

    exit_code = 4

    def __init__(self, oid_hex: str, why: str, *, hint: str = "run 'git nn fsck --repair'") -> None:
        super().__init__(f"stored object {oid_hex[:12]} is damaged: {why}", hint=hint)
        self.oid_hex = oid_hex
        self.why = why


class StoreError(GitNNError):
    """The store cannot be read or written."""

    exit_code = 5


class PointerError(GitNNError):
    """Text that should be a pointer is not a valid one."""

    exit_code = 6


class PointerVersionError(PointerError):
    """A pointer of a version that this git-nn does not know."""


class ConflictMarkerError(PointerError):
    """A pointer with Git's conflict markers in it."""


class MergeError(GitNNError):
    """A merge cannot give a file that the format's own library would load."""

    exit_code = 7


class RemoteError(GitNNError):
    """A remote cannot be reached, refuses, or does not give what it should.

    ``transient`` is true where the same request may succeed in a moment; ``retry_after`` are the
    seconds that the remote asked to wait before.
    """

    exit_code = 8

    def __init__(
        self, message: str, *, hint: str = "", transient: bool = False, retry_after: float = 0.0
    ) -> None:
        super().__init__(message, hint=hint)
        self.transient = transient
        self.retry_after = retry_after


class GitError(GitNNError):
    """A git command failed."""

    exit_code = 128

    def __init__(self, argv: tuple[str, ...], status: int, stderr: str) -> None:
        last = stderr.strip().splitlines()[-1] if stderr.strip() else f"exit status {status}"
        super().__init__(f"'git {' '.join(argv)}' failed: {last}")
        self.argv = argv
        self.status = status
        self.stderr = stderr


class LayoutError(Exception):
    """A file does not keep the rules of a format; it is stored as opaque bytes instead."""
