"""retry: doing again what failed for a reason that may pass.

Waits grow from FIRST to LAST seconds, each shortened by chance, so that many clients that were
refused at once do not come back at once; a remote that says how long to wait is believed, up to
PATIENCE.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from git_nn.errors import RemoteError

TRIES = 6
FIRST, LAST = 0.25, 8.0  # seconds
PATIENCE = 60.0  # seconds

Result = TypeVar("Result")


def persistently(work: Callable[[], Result]) -> Result:
    """What ``work`` gives, tried up to TRIES times while its RemoteError is transient."""
    for number in range(TRIES):
        try:
            return work()
        except RemoteError as error:
            if not error.transient or number == TRIES - 1 or error.retry_after > PATIENCE:
                raise
            pause(number, error.retry_after)
    raise AssertionError


def resumed(
    read: Callable[[int], Iterator[bytes]], start: int, stop: int, label: str
) -> Iterator[bytes]:
    """Bytes [start, stop), where ``read(at)`` gives those from ``at`` on and may break off.

    A break that brought bytes does not count as a failure; one after the other without any
    does. RemoteError where more bytes come than were asked for, or the source ends early.
    """
    failures = 0
    while start < stop:
        try:
            for piece in read(start):
                start += len(piece)
                if start > stop:
                    raise RemoteError(f"{label} sent more bytes than were asked for")
                failures = 0
                yield piece
            if start < stop:
                raise RemoteError(f"{label} has fewer bytes than were asked for")
        except RemoteError as error:
            failures += 1
            if not error.transient or failures == TRIES or error.retry_after > PATIENCE:
                raise
            pause(failures - 1, error.retry_after)


def pause(number: int, at_least: float = 0.0) -> None:
    """Wait before the try after the one of this number, counted from 0."""
    chance = random.uniform(0.5, 1.0)  # noqa: S311 - no secret
    time.sleep(max(min(FIRST * 2**number, LAST) * chance, at_least))
