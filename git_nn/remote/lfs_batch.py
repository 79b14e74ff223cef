"""lfs_batch: the Batch API of Git LFS servers - where to send and get objects.

https://github.com/git-lfs/git-lfs/blob/main/docs/api/batch.md. What a server answers is checked
here: objects that were not asked for, addresses that are no http, headers that would smuggle in
a line. That a server has what it says it has is checked by who asked.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from secrets import token_hex
from typing import Any

from git_nn.errors import RemoteError
from git_nn.remote.http import (
    Client,
    Request,
    Response,
    Upload,
    check_address,
    host_of,
    is_passing,
    printable,
    retry_after,
)
from git_nn.remote.lfs_access import Access, Operation, deadline_of, denied, headers_of
from git_nn.remote.retry import persistently

GROUP = 100  # objects of one request, as in git-lfs
_TYPE = "application/vnd.git-lfs+json"
_ANSWER = 16 * 1024 * 1024  # bytes
_POINTER = re.compile(
    rb"version https://git-lfs\.github\.com/spec/v1\n"
    rb"oid sha256:([0-9a-f]{64})\nsize (0|[1-9][0-9]{0,17})\n\Z"
)
_ABSENT = {404, 410, 422}  # 422 where it has other bytes under that name
_MEANING = {
    403: ("does not let us do this", "ask for the rights there"),
    404: ("knows no such repository or object, or does not show it to us", "check lfs.url"),
    410: ("does not have it any more", "push again from a clone that has it"),
    413: ("refuses so large a body", "let it, and proxies before it, take bodies of 64 MiB"),
    422: ("does not accept the request", "update git-nn, or report this"),
    501: ("has no Batch API", "check lfs.url"),
    507: ("has no space left", "make room there"),
    509: ("has used up its bandwidth", "wait, or raise the limit there"),
}


@dataclass(frozen=True, slots=True)
class Item:
    """An object of a Git LFS server: its SHA-256 and its size in bytes."""

    oid: str
    size: int


@dataclass(frozen=True, slots=True)
class Action:
    """A request to make until ``deadline`` (monotonic).

    ``authenticated`` is whether the address itself says who we are.
    """

    href: str
    headers: Mapping[str, str] = field(repr=False)
    deadline: float
    authenticated: bool

    @property
    def is_fresh(self) -> bool:
        return time.monotonic() < self.deadline


Actions = Mapping[str, Action]  # by "upload", "verify", "download"; no upload where it has it
Answer = Actions | RemoteError  # of one object


class AbsentError(RemoteError):
    """The server has no such object, or says so of all objects of a request."""


def pointer_text(item: Item) -> bytes:
    """The canonical pointer of an object."""
    return (
        f"version https://git-lfs.github.com/spec/v1\noid sha256:{item.oid}\nsize {item.size}\n"
    ).encode()


def parse_pointer(text: bytes) -> Item | None:
    """The object of a canonical pointer; None for any other text."""
    match = _POINTER.match(text)
    return match and Item(match[1].decode(), int(match[2]))


class Api:
    """The requests to one server. Any thread may call; nothing is tried twice but a login."""

    def __init__(self, access: Access, client: Client) -> None:
        self._access = access
        self._client = client

    def batch(self, operation: Operation, items: Collection[Item]) -> dict[Item, Actions]:
        """What to do with each of these. RemoteError if the server refuses one of them."""
        groups = _groups(list(items), GROUP)
        answers = (self.answers(operation, group) for group in groups)
        return {item: granted(one) for group in answers for item, one in group.items()}

    def has(self, items: Collection[Item]) -> set[Item]:
        """Those of these that the server says it has.

        Some servers say where a download would be, of whatever it is; who does so of what nobody
        has is asked what it wants uploaded, which needs the right to do so.
        """
        nobody = Item(token_hex(32), 1)
        found = self._has("download", [nobody, *items])
        return found if nobody not in found else self._has("upload", list(items))

    def _has(self, operation: Operation, items: Sequence[Item]) -> set[Item]:
        found: set[Item] = set()
        for group in _groups(items, GROUP):
            with suppress(AbsentError):  # of all of the request
                for item, answer in self.answers(operation, group).items():
                    with suppress(AbsentError):
                        found |= {item} if "upload" not in granted(answer) else set()
        return found

    def answers(self, operation: Operation, items: Sequence[Item]) -> dict[Item, Answer]:
        """What to do with each of at most GROUP objects, or why the server refuses it."""
        question = {
            "operation": operation,
            "transfers": ["basic"],
            "hash_algo": "sha256",
            "objects": [{"oid": item.oid, "size": item.size} for item in items],
        }
        response = persistently(lambda: self._post(operation, question))
        if response is None:  # too many at once
            halves = _groups(items, (len(items) + 1) // 2)
            return {i: a for half in halves for i, a in self.answers(operation, half).items()}
        return _answers(response, items, operation, self._access.endpoint(operation).url)

    def _post(self, operation: Operation, question: Mapping[str, Any]) -> dict[str, Any] | None:
        body = json.dumps(question).encode()
        for _ in range(4):
            url = f"{self._access.endpoint(operation).url}/objects/batch"
            used = self._access.authorization(url, operation)
            headers = {"Accept": _TYPE, "Content-Type": _TYPE, **used}
            with self._client.send(Request("POST", url, headers, body)) as response:
                if response.status == 200:
                    self._access.accepted(operation)
                    return response.json(_ANSWER)
                if response.status == 413 and len(question["objects"]) > 1:
                    return None
                if response.status != 401:
                    raise refusal(response)
            self._access.refused(operation, used)
        raise denied(url)

    def act(
        self, action: Action, operation: Operation, method: str, headers: Mapping[str, str],
        body: bytes | Upload | None = None,
    ) -> Response:  # fmt: skip
        """Do what a server said; our name and password only where it is that very server."""
        own = {name.lower() for name in action.headers}
        ours: Mapping[str, str] = {}
        if not action.authenticated and "authorization" not in own:
            ours = self._access.authorization(action.href, operation)
        given = {k: v for k, v in headers.items() if k.lower() not in own}
        sent = {**ours, **given, **action.headers}
        return self._client.send(Request(method, action.href, sent, body))


def _groups(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    return (items[at : at + size] for at in range(0, len(items), size))


def granted(answer: Answer) -> Actions:
    """What to do with an object; the RemoteError where it was refused."""
    if isinstance(answer, RemoteError):
        raise answer
    return answer


def refusal(response: Response) -> RemoteError:
    """An answer that says no, in words."""
    status = response.status
    words, hint = _MEANING.get(status, (f"answers with HTTP {status}", ""))
    said = response.message()
    return _kind(status)(
        f"{response.host} {words}" + (f": {said}" if said else f" (HTTP {status})"),
        hint=hint,
        transient=is_passing(status),
        retry_after=retry_after(response.headers),
    )


def _answers(
    answer: Mapping[str, Any], items: Sequence[Item], operation: Operation, url: str
) -> dict[Item, Answer]:
    host = host_of(url)
    if answer.get("transfer", "basic") != "basic":
        raise RemoteError(f"{host} wants a way of transfer that was not offered")
    objects = answer.get("objects")
    if not isinstance(objects, list):
        raise RemoteError(f"{host} sent an answer that is no Batch answer")
    by_oid = {str(one.get("oid")): one for one in objects if isinstance(one, dict)}
    return {item: _answer(by_oid.get(item.oid), item, operation, host) for item in items}


def _answer(one: Mapping[str, Any] | None, item: Item, operation: Operation, host: str) -> Answer:
    if one is None or one.get("size", item.size) != item.size:
        return RemoteError(f"{host} does not answer for an object that it was asked for")
    if isinstance(one.get("error"), dict):
        return _object_error(one["error"], host)
    try:
        return _actions(one, host, operation)
    except RemoteError as error:
        return error


def _actions(one: Mapping[str, Any], host: str, operation: Operation) -> Actions:
    given = one.get("actions") or {}
    if not isinstance(given, dict):
        raise RemoteError(f"{host} sent an answer that is no Batch answer")
    wanted = ("upload", "verify") if operation == "upload" else ("download",)
    actions = {
        name: _action(given[name], host, bool(one.get("authenticated")))
        for name in wanted
        if name in given
    }
    if operation == "download" and not actions:
        raise RemoteError(f"{host} does not say where an object is")
    return actions


def _action(value: object, host: str, authenticated: bool) -> Action:
    if not isinstance(value, dict) or not isinstance(value.get("href"), str):
        raise RemoteError(f"{host} does not say where an object is")
    check_address(value["href"], f"{host} sends us to")
    headers = headers_of(value.get("header"), host)
    return Action(value["href"], headers, deadline_of(value), authenticated)


def _object_error(error: Mapping[str, Any], host: str) -> RemoteError:
    code = error.get("code")
    status = code if isinstance(code, int) else 0
    words, hint = _MEANING.get(status, (f"refuses an object with error {status}", ""))
    said = printable(str(error.get("message", "")))
    return _kind(status)(
        f"{host} {words}" + (f": {said}" if said else ""), hint=hint, transient=is_passing(status)
    )


def _kind(status: int) -> type[RemoteError]:
    return AbsentError if status in _ABSENT else RemoteError
