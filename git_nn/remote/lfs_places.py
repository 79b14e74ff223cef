"""lfs_places: where objects are to be downloaded, asked for many at a time.

A server gives addresses that expire, so it is asked when one is needed, for that one and for the
next of those that will be read soon: one request for a hundred packs.
"""

from __future__ import annotations

import threading
from collections.abc import Collection

from git_nn.errors import RemoteError
from git_nn.remote.lfs_batch import GROUP, Action, Api, Item, granted


class Places:
    """Where the objects of one server are. Any thread may call."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._known: dict[Item, Action] = {}
        self._soon: dict[Item, None] = {}
        self._lock = threading.Lock()

    def expect(self, items: Collection[Item]) -> None:
        """These will be asked for soon, in this order."""
        with self._lock:
            self._soon |= dict.fromkeys(items)

    def find(self, item: Item) -> tuple[Action, bool]:
        """Where an object is, and whether the server was asked just now. RemoteError."""
        with self._lock:  # the others wait for what this one will be told
            self._soon.pop(item, None)
            known = self._known.get(item)
            if known is not None and known.is_fresh:
                return known, False
            soon = [one for one in self._soon if not self._is_known(one)]
            answers = self._api.answers("download", [item, *soon[: GROUP - 1]])
            for one, answer in answers.items():
                if not isinstance(answer, RemoteError):
                    self._known[one] = answer["download"]
            return granted(answers[item])["download"], True

    def forget(self, item: Item) -> None:
        """The place did not hold: ask again the next time."""
        with self._lock:
            self._known.pop(item, None)

    def _is_known(self, item: Item) -> bool:
        known = self._known.get(item)
        return known is not None and known.is_fresh
