"""bases: which stored tensor a new one is most like. The one place for this policy.

A base is advice: the store codes against it only where that is smaller, so a wrong guess
costs time, and no guess costs space. It is never asked for where a name says it all:

1. the tensor of the same name, dtype, shape and form in the earlier version;
2. else, for a renamed one, the only tensor of that dtype and shape that has gone from the
   earlier version, or the one whose name ends most like it (a wrapper adds a prefix).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from git_nn.objects.layout import Payload
from git_nn.objects.oid import Oid
from git_nn.objects.pointer import Pointer, Stored

Kind = tuple[str, tuple[int, ...], str]


def bases(payloads: Iterable[Payload | Stored], earlier: Pointer | None) -> dict[str, Oid]:
    """The oid to code each tensor against, by name; those without one are left out."""
    if earlier is None:
        return {}
    old = earlier.stored
    found: dict[str, Oid] = {}
    renamed: list[Payload | Stored] = []
    for payload in payloads:
        entry = old.get(payload.name)
        if entry is not None and _kind(entry) == _kind(payload):
            found[payload.name] = entry.oid
        elif entry is None:
            renamed.append(payload)
    return found | _renamed(renamed, {name: e for name, e in old.items() if name not in found})


def _renamed(payloads: list[Payload | Stored], gone: Mapping[str, Stored]) -> dict[str, Oid]:
    by_kind: dict[Kind, list[Stored]] = defaultdict(list)
    for entry in gone.values():
        by_kind[_kind(entry)].append(entry)
    found = {}
    for payload in payloads:
        likely = by_kind[_kind(payload)]
        if len(likely) > 1:
            ends = [(_common_end(entry.name, payload.name), entry) for entry in likely]
            most = max(length for length, _ in ends)
            likely = [entry for length, entry in ends if length == most and most]
        if len(likely) == 1:
            found[payload.name] = likely[0].oid
    return found


def _kind(item: Payload | Stored) -> Kind:
    return item.dtype, tuple(item.shape), item.form


def _common_end(one: str, other: str) -> int:
    """How many of the last parts of two names are equal; parts are between dots and slashes."""
    pairs = zip(reversed(_parts(one)), reversed(_parts(other)), strict=False)
    length = 0
    for a, b in pairs:
        if a != b:
            break
        length += 1
    return length


def _parts(name: str) -> list[str]:
    return name.replace("/", ".").split(".")
