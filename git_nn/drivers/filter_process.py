"""The program behind ``filter.nn``: Git's long-running filter protocol, version 2.

    filter_process              the protocol on stdin and stdout (filter.nn.process)
    filter_process clean PATH   one file, stdin to stdout (filter.nn.clean)
    filter_process smudge PATH  one file, stdin to stdout (filter.nn.smudge)

This module speaks the protocol; what is answered is decided in filter_session. A
failure is one sentence on stderr and ``status=error``, upon which Git itself fails.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from git_nn.drivers.filter_session import Answer, Request, Session
from git_nn.drivers.process import one_thread_per_product
from git_nn.errors import BUG_EXIT_CODE, GitNNError, UsageError
from git_nn.gitio import pktline

_CAPABILITIES = (b"clean", b"smudge", b"delay")


def main(argv: list[str]) -> int:
    one_thread_per_product()
    stdin, stdout = sys.stdin.buffer, sys.stdout.buffer
    try:
        session = Session.open()
        if argv[1:]:
            return _one_file(session, argv[1], os.fsencode(argv[2]), stdin, stdout)
        serve(session, stdin, stdout)
    except GitNNError as error:
        print(f"git-nn: {error}", file=sys.stderr)
        return error.exit_code
    except (pktline.ProtocolError, EOFError) as error:
        print(f"git-nn: the filter is started by Git, not by hand ({error})", file=sys.stderr)
        return UsageError.exit_code
    except (BrokenPipeError, KeyboardInterrupt):
        return 1
    except Exception:  # noqa: BLE001 - the one door for our own bugs
        from git_nn.drivers.bug_log import report_bug

        report_bug()
        return BUG_EXIT_CODE
    return 0


def serve(session: Session, stdin: BinaryIO, stdout: BinaryIO) -> None:
    """Answer Git until it closes its end, then write what has waited for that."""
    _handshake(stdin, stdout)
    while (request := _read_request(stdin)) is not None:
        if request.command == b"list_available_blobs":
            pktline.write_lines(stdout, (b"pathname=" + path for path in session.available()))
            pktline.write_lines(stdout, [b"status=success"])
            continue
        _answer(session, request, pktline.read_content(stdin), stdout)
    session.finish()


def _handshake(stdin: BinaryIO, stdout: BinaryIO) -> None:
    greeting = pktline.read_lines(stdin)
    if greeting[:1] != [b"git-filter-client"] or b"version=2" not in greeting:
        raise pktline.ProtocolError(f"unexpected greeting {greeting!r}")
    pktline.write_lines(stdout, [b"git-filter-server", b"version=2"])
    offered = pktline.read_lines(stdin)
    known = [name for name in _CAPABILITIES if b"capability=" + name in offered]
    pktline.write_lines(stdout, (b"capability=" + name for name in known))


def _read_request(stdin: BinaryIO) -> Request | None:
    try:
        lines = pktline.read_lines(stdin)
    except EOFError:
        return None
    values = dict(line.split(b"=", 1) for line in lines if b"=" in line)
    return Request(
        values.get(b"command", b""),
        values.get(b"pathname", b""),
        can_delay=values.get(b"can-delay") == b"1",
        blob=values.get(b"blob", b"").decode(),
        treeish=values.get(b"treeish", b"").decode(),
    )


def _answer(session: Session, request: Request, content: Iterator[bytes], stdout: BinaryIO) -> None:
    """Read the content to its end whatever happens, or Git and we wait for each other."""
    try:
        answer = _decide(session, request, content)
    finally:
        for _ in content:
            pass
    if answer is None:
        pktline.write_lines(stdout, [b"status=error"])
    elif answer.delayed:
        pktline.write_lines(stdout, [b"status=delayed"])
    else:
        pktline.write_lines(stdout, [b"status=success"])
        pktline.write_content(stdout, answer.pieces)
        pktline.write_lines(stdout, [])


def _decide(session: Session, request: Request, content: Iterable[bytes]) -> Answer | None:
    try:
        if request.command == b"clean":
            return session.clean(request, content)
        if request.command == b"smudge":
            return session.smudge(request, content)
    except GitNNError as error:
        print(f"git-nn: {os.fsdecode(request.path)}: {error}", file=sys.stderr)
    except OSError as error:
        print(f"git-nn: {os.fsdecode(request.path)}: {error}", file=sys.stderr)
    except Exception:  # noqa: BLE001 - a bug fails this file, not the whole command
        from git_nn.drivers.bug_log import report_bug

        report_bug()
    return None


def _one_file(
    session: Session, command: str, path: bytes, stdin: BinaryIO, stdout: BinaryIO
) -> int:
    content = iter(lambda: stdin.read(1 << 20), b"")
    request = Request(command.encode(), path)
    answer = _decide(session, request, content)
    if answer is None:
        return 1
    stdout.writelines(answer.pieces)
    stdout.flush()
    session.finish()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
