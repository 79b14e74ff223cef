"""origins: how a merged pointer was made, remembered until a commit says so in its trailers.

A record is about one result of three versions of a path (docs/spec-trailers.md), so it is
right whatever else was merged, aborted or tried meanwhile, and need not be taken back.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from git_nn import __version__
from git_nn.combine import Merged
from git_nn.conflicts import Blobs
from git_nn.gitio import revisions
from git_nn.gitio.config import load
from git_nn.gitio.repository import Repository
from git_nn.merge import keys, rows, trailers
from git_nn.merge.decide import Decision
from git_nn.merge.rules import NONE, Rules
from git_nn.merge.trailers import Line, Plan
from git_nn.objects.oid import oid_of
from git_nn.objects.pointer import Pointer, render

VERSION = 1
KEPT = 1000
_RULING = (keys.SETTING, rows.SETTING, ".ladder")  # settings besides strategies

Step = tuple[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Rule:
    """What was chosen for the tensors that match (None: all), and whether it decides for one."""

    pattern: str | None
    choice: str
    decided: bool


@dataclass(frozen=True, slots=True)
class Origin:
    """How a pointer was made: by rules, then by steps that settled what they left open."""

    rules: tuple[Rule, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    open: tuple[str, ...] = ()
    steps: tuple[Step, ...] = ()
    whole: str = ""

    @property
    def is_worth_telling(self) -> bool:
        return bool(self.rules or self.open or self.steps or self.whole)

    def then(self, how: str, names: Collection[str]) -> Origin:
        """After tensors were settled; where the file as a whole was, there are no names."""
        if not names and not self.whole:
            return self
        return replace(self, steps=(*self.steps, (how, tuple(sorted(names)))))


NOTHING = Origin()


@dataclass(frozen=True, slots=True)
class Record:
    """The origin of the blob ``result`` of a path."""

    path: bytes
    blobs: Blobs
    result: str
    origin: Origin


def of(repo: Repository, chosen: Rules, merged: Merged) -> Origin:
    """What the rules did in a merge."""
    # Where a side is taken whole there are no decisions, and the default has said which.
    whole = not merged.decisions and bool(merged.notes) and chosen.default is not None
    # Of what is placed the result has what it will have; so a replay needs to be told nothing.
    conflicts = tuple(conflict.name for conflict in merged.conflicts if not conflict.placed)
    computed = any(_choice(decision) is not None for decision in merged.decisions)
    if not (merged.conflicts or computed or whole or merged.whole):
        return NOTHING
    # Of all tensors: what becomes of one may hang on the rule for another of its group.
    deciding = {chosen.deciding(decision.name) for decision in merged.decisions}
    found = [Rule(None, str(chosen.default or NONE), None in deciding or whole)]
    found += [
        Rule(pattern, str(choice or NONE), number in deciding)
        for number, (pattern, choice) in enumerate(chosen.patterns)
    ]
    return Origin(tuple(found), settings(repo), conflicts, whole=merged.whole)


def settings(repo: Repository) -> dict[str, str]:
    """The configuration, beside strategies, that rules what is merged and how."""
    found = load(repo).section("nn.merge")
    return {key: value for key, value in found.items() if key.endswith(_RULING)}


def _choice(decision: Decision) -> object:
    return getattr(decision, "by", None) or getattr(decision, "choice", None)


# --- records ----------------------------------------------------------------------------


def save(repo: Repository, path: bytes, blobs: Blobs, made: Pointer, origin: Origin) -> None:
    """Remember how ``made`` was made, if that is worth it.

    A disk that is full costs the trailers only.
    """
    if not origin.is_worth_telling:
        return
    record = Record(path, blobs, blob_of(repo, render(made)), origin)
    folder = _folder(repo)
    temporary = folder / f".{os.getpid()}-{os.urandom(4).hex()}"
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            temporary.write_bytes(_encode(record))
            temporary.replace(folder / _name(path, blobs, record.result))
        finally:
            temporary.unlink(missing_ok=True)
        _prune(folder)


def find(repo: Repository, path: bytes, blobs: Blobs, made: Pointer) -> Origin:
    """How ``made`` was made; an empty origin where nothing is known."""
    name = _name(path, blobs, blob_of(repo, render(made)))
    found = _read(_folder(repo) / name)
    return NOTHING if found is None else found.origin


def blob_of(repo: Repository, content: bytes) -> str:
    """Git's name of a blob with ``content``."""
    head = b"blob %d\0" % len(content)
    return hashlib.new(repo.object_format, head + content, usedforsecurity=False).hexdigest()


def _folder(repo: Repository) -> Path:
    return repo.nn_dir / "merged"


def _name(path: bytes, blobs: Blobs, result: str) -> str:
    names = "".join(f"\0{blob or ''}" for blob in (*blobs, result)).encode()
    return f"{oid_of(path, names).hex()[:32]}.json"


def _prune(folder: Path) -> None:
    files = list(folder.glob("*.json"))
    if len(files) > KEPT:
        for path in sorted(files, key=lambda path: path.stat().st_mtime_ns)[:-KEPT]:
            path.unlink(missing_ok=True)


def _encode(record: Record) -> bytes:
    base, ours, theirs = record.blobs
    origin = record.origin
    value = {
        "version": VERSION,
        "path": record.path.decode("utf-8", "surrogateescape"),
        "blobs": {"base": base, "ours": ours, "theirs": theirs, "result": record.result},
        "rules": [[rule.pattern, rule.choice, rule.decided] for rule in origin.rules],
        "settings": dict(origin.settings),
        "open": origin.open,
        "whole": origin.whole,
        "steps": origin.steps,
    }
    return json.dumps(value, indent=1).encode("ascii") + b"\n"


def _read(path: Path) -> Record | None:
    """A record; None where it is not there, damaged, or of another git-nn."""
    try:
        value = json.loads(path.read_bytes())
        if value["version"] != VERSION:
            return None
        names = value["blobs"]
        origin = Origin(
            tuple(Rule(*rule) for rule in value["rules"]),
            dict(value["settings"]),
            tuple(value["open"]),
            tuple((how, tuple(done)) for how, done in value["steps"]),
            value["whole"],
        )
        where = value["path"].encode("utf-8", "surrogateescape")
        blobs = (names["base"], names["ours"], names["theirs"])
        return Record(where, blobs, names["result"], origin)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


# --- trailers ---------------------------------------------------------------------------


def account(repo: Repository, ours: str, theirs: str, result: Mapping[bytes, str]) -> Plan | None:
    """How the models of a merge of two commits were made; None where there is nothing to tell.

    ``result`` has Git's name of the blob at each path of the merge.
    """
    known = [r for path in sorted(_folder(repo).glob("*.json"), key=_age) if (r := _read(path))]
    known = [record for record in known if record.path in result]
    if not known:
        return None
    mine, other = ({e.oid for e in revisions.tree(repo, rev)} for rev in (ours, theirs))
    here = [r for r in known if r.blobs[1] in mine and r.blobs[2] in other]
    bases = repo.git("merge-base", "--all", ours, theirs, check=False).split()
    latest = {record.path: record for record in here}
    latest |= {record.path: record for record in here if record.result == result[record.path]}
    accounts = {
        record.path.decode("utf-8", "surrogateescape"): _lines(
            record, result[record.path], whole_story=len(bases) > 1
        )
        for record in latest.values()
    }
    if not any(accounts.values()):
        return None
    held: dict[str, str] = {}
    for record in latest.values():
        held |= record.origin.settings
    return Plan(trailers.grouped(accounts), held, __version__)


def _age(path: Path) -> tuple[int, str]:
    return path.stat().st_mtime_ns, path.name


def _lines(record: Record, result: str, *, whole_story: bool) -> tuple[Line, ...]:
    if result != record.result:
        sides = zip(("base", "ours", "theirs"), record.blobs, strict=True)
        taken = [f"file={side}" for side, blob in sides if blob == result]
        return (Line("NN-Resolve", "", taken[0] if taken else trailers.HAND),)
    return (*_rules(record.origin, whole_story=whole_story), *_steps(record.origin))


def _rules(origin: Origin, *, whole_story: bool) -> Iterator[Line]:
    for rule in origin.rules:
        if (rule.decided or whole_story) and (rule.pattern is not None or rule.choice != NONE):
            yield Line("NN-Merge", "", rule.choice, () if rule.pattern is None else (rule.pattern,))


def _steps(origin: Origin) -> Iterator[Line]:
    """A line for each way of settling; the one for most tensors comes last and names none."""
    if origin.whole:
        yield from (Line("NN-Resolve", "", how) for how, _ in origin.steps)
        return
    settled: dict[str, list[str]] = {}
    for how, names in origin.steps:
        settled.setdefault(how, []).extend(names)
    left = set(origin.open) - {name for names in settled.values() for name in names}
    if left:  # what was committed as it stood in the file: ours
        settled.setdefault("ours", []).extend(left)
    ways = sorted(settled.items(), key=lambda way: (len(way[1]), way[0]))
    for number, (how, taken) in enumerate(ways, 1):
        others = set(origin.open) - set(taken)
        found = trailers.patterns(taken, others) if number < len(ways) else ()
        yield Line("NN-Resolve", "", how, found)
