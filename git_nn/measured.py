"""measured: numbers that were once computed, by the contents that they are about.

A cache in ``<store>/cache/numbers.sqlite``; it may be removed at any time, and whatever is wrong
with it is as if it were empty. Contents are named by their ids, so nothing in it can
become stale; VERSION is part of every key and goes up when a definition changes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from git_nn.objects.encoding import pack, unpack
from git_nn.objects.oid import oid_of

if TYPE_CHECKING:
    import sqlite3

    from git_nn.differences.result import Finding

VERSION = 2
FILE = "cache/numbers.sqlite"
MOST = 1_000_000  # rows; some hundred MB. A cache that has grown beyond is begun anew

Key = Sequence[Any]  # what the numbers are about, as plain values


@dataclass(frozen=True, slots=True)
class Measured:
    """The cache of one store; ``path`` need not exist."""

    path: Path

    def recall(self, keys: Sequence[Key]) -> list[Finding | None]:
        """What is known of each key."""
        found: list[Finding | None] = [None] * len(keys)
        if not keys or not self.path.exists():
            return found
        with suppress(Exception), self._opened() as rows:
            for i, key in enumerate(keys):
                row = rows.execute("SELECT numbers FROM numbers WHERE key = ?", (key_id(key),))
                record = row.fetchone()
                if record is not None:
                    found[i] = _finding(unpack(record[0]))
        return found

    def remember(self, findings: Mapping[bytes, Finding]) -> None:
        """Keep findings by what ``key_id`` gives; a cache that cannot be written is no error."""
        if not findings:
            return
        with suppress(Exception), self._opened() as rows:
            (count,) = rows.execute("SELECT max(rowid) FROM numbers").fetchone()
            if (count or 0) > MOST:
                rows.execute("DELETE FROM numbers")
            rows.executemany(
                "INSERT OR IGNORE INTO numbers(key, numbers) VALUES (?, ?)",
                [(key, pack(_plain(astuple(one)))) for key, one in findings.items()],
            )
            rows.commit()

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        import sqlite3

        self.path.parent.mkdir(exist_ok=True)  # nothing is made where there is no store
        try:
            with closing(sqlite3.connect(self.path, timeout=1)) as rows:
                rows.execute("PRAGMA synchronous=OFF")
                rows.execute("CREATE TABLE IF NOT EXISTS numbers(key BLOB UNIQUE, numbers BLOB)")
                yield rows
        except sqlite3.DatabaseError as error:
            if not isinstance(error, sqlite3.OperationalError):  # damaged, not merely locked
                self.path.unlink(missing_ok=True)
            raise


def key_id(key: Key) -> bytes:
    return bytes(oid_of(pack([VERSION, *key])))


def _plain(value: Any) -> Any:
    """Tuples as lists, which is how they come back."""
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _finding(record: list[Any]) -> Finding:
    from git_nn.differences.numbers import Numbers
    from git_nn.differences.result import Finding, Relation, Word
    from git_nn.differences.summary import Summary

    values, relations, alone = record
    related = tuple(Relation(Word(word), of, value) for word, of, value in relations)
    summary = None if alone is None else Summary(*alone)
    if values is None:
        return Finding(None, related, summary)
    plain = [tuple(value) if isinstance(value, list) else value for value in values]
    named: dict[str, Any] = dict(zip([f.name for f in fields(Numbers)], plain, strict=True))
    sides = {"before": Summary(*named["before"]), "after": Summary(*named["after"])}
    return Finding(Numbers(**{**named, **sides}), related, summary)
