"""renames: which tensors of a version stand in a later one under other names.

No weights are read. A tensor that is gone, and whose content stands there under one new name,
was renamed. What such pairs have in common (``model.`` -> ``module.``) tells of tensors that were
changed as well, where the shapes agree and no other name fits. A tensor of zeros or ones is
like any other of its size, and tells nothing by itself.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from git_nn.objects.names import escape
from git_nn.objects.oid import oid_of
from git_nn.objects.pointer import Entry, Pointer, Stored

WRAPPERS = ("module.", "_orig_mod.", "model.")  # that training puts before every name
SHOWN = 3  # patterns in a line

_WORDS = re.compile(r"[^./]+|[./]")
_LARGEST_CONSTANT = 1 << 24
_ONES = {
    "f64": "000000000000f03f", "f32": "0000803f", "f16": "003c", "bf16": "803f",
    "i64": "0100000000000000", "i32": "01000000", "i8": "01", "u8": "01", "bool": "01",
}  # fmt: skip

Names = dict[str, str]  # old name -> new name
Rule = tuple[tuple[str, ...], tuple[str, ...], bool]  # words -> words, at the start or anywhere


def renamed(old: Pointer, new: Pointer, held: Collection[str]) -> Names:
    """Old name -> new name of what was renamed; names in ``held`` are not looked at.

    Tensors that their container keeps in a form of its own are left out.
    """
    gone = _plain(old, set(new.by_name), held)
    fresh = _plain(new, set(old.by_name), held)
    if not gone or not fresh:
        return {}
    found = _by_content(old, gone, new, fresh)
    rules = {rule for pair in found.items() for rule in _rules(*pair)}
    left = {name: entry for name, entry in gone.items() if name not in found}
    used = set(found.values())
    free = {name: entry for name, entry in fresh.items() if name not in used}
    found |= _by_rules(left, free, rules)
    return found or _unwrapped(gone, fresh)


def _plain(side: Pointer, others: Collection[str], held: Collection[str]) -> dict[str, Entry]:
    return {
        name: entry
        for name, entry in side.by_name.items()
        if name not in others
        and name not in held
        and not (isinstance(entry, Stored) and entry.form)
    }


def content(side: Pointer, entry: Entry) -> Any:
    """What a tensor holds, whatever it is called; a view is another thing than a copy."""
    if isinstance(entry, Stored):
        return entry.oid, entry.dtype, entry.shape, entry.form
    return side.stored[entry.of].oid, entry.dtype, entry.shape, entry.offset, entry.strides


def is_constant(entry: Entry) -> bool:
    """Whether a tensor is all zeros or all ones, by its content id alone."""
    if not isinstance(entry, Stored) or entry.length > _LARGEST_CONSTANT:
        return False
    one = bytes.fromhex(_ONES.get(entry.dtype, "00"))
    return entry.oid in {oid_of(bytes(entry.length)), oid_of(one * (entry.length // len(one)))}


def _by_content(
    old: Pointer, gone: Mapping[str, Entry], new: Pointer, fresh: Mapping[str, Entry]
) -> Names:
    """Pairs of one content, where only one tensor on each side has it."""
    before, after = _held(old, gone), _held(new, fresh)
    return {
        names[0]: after[key][0]
        for key, names in before.items()
        if len(names) == len(after.get(key, ())) == 1 and not is_constant(gone[names[0]])
    }


def _held(side: Pointer, entries: Mapping[str, Entry]) -> dict[Any, list[str]]:
    found: dict[Any, list[str]] = defaultdict(list)
    for name, entry in entries.items():
        found[content(side, entry)].append(name)
    return found


# --- patterns -----------------------------------------------------------------------------


def _rules(old: str, new: str) -> Iterator[Rule]:
    """What may have been done to a name: its start replaced, or some words in it."""
    before, after = _WORDS.findall(old), _WORDS.findall(new)
    while before and after and before[-1] == after[-1]:
        before, after = before[:-1], after[:-1]
    yield tuple(before), tuple(after), True
    while before and after and before[0] == after[0]:
        before, after = before[1:], after[1:]
    if before:
        yield tuple(before), tuple(after), False


def _applied(rule: Rule, name: str) -> str | None:
    """The new name; None where the rule does not say which words are meant."""
    old, new, at_start = rule
    words = tuple(_WORDS.findall(name))
    if at_start:
        return "".join(new + words[len(old) :]) if words[: len(old)] == old else None
    places = [i for i in range(len(words)) if words[i : i + len(old)] == old]
    if len(places) != 1:
        return None
    (i,) = places
    return "".join(words[:i] + new + words[i + len(old) :])


def _by_rules(
    gone: Mapping[str, Entry], fresh: Mapping[str, Entry], rules: Iterable[Rule]
) -> Names:
    """Pairs of equal shape that the rules give, where they all give the same one."""
    rules = tuple(rules)
    found: Names = {}
    for name, entry in gone.items():
        names = {made for rule in rules if (made := _applied(rule, name)) is not None}
        fitting = [n for n in names if n in fresh and fresh[n].shape == entry.shape]
        if len(fitting) == 1:
            found[name] = fitting[0]
    claims = Counter(found.values())
    return {old: new for old, new in found.items() if claims[new] == 1}


def _unwrapped(gone: Mapping[str, Entry], fresh: Mapping[str, Entry]) -> Names:
    """Where every name got or lost one of the usual prefixes, all tensors may have changed."""
    for prefix in WRAPPERS:
        for names in (
            {name: prefix + name for name in gone},
            {name: name.removeprefix(prefix) for name in gone},
        ):
            if set(names.values()) == set(fresh) and all(
                gone[old].shape == fresh[new].shape for old, new in names.items()
            ):
                return names
    return {}


def start_rules(names: Names, every: Collection[str]) -> list[tuple[str, str]]:
    """(old start, new start) of all names that had the old start, for what others add to them."""
    found = set()
    for old, new in names.items():
        before, after, _ = next(_rules(old, new))
        found.add(("".join(before), "".join(after)))
    return [
        (old, new)
        for old, new in sorted(found, key=lambda rule: -len(rule[0]))
        if all(names.get(name) == new + name[len(old) :] for name in every if name.startswith(old))
    ]


def shown(names: Names) -> str:
    """``model.* -> module.*``, the most frequent patterns."""
    patterns: Counter[str] = Counter()
    for old, new in names.items():
        before, after, _ = next(_rules(old, new))
        rest = "" if len("".join(before)) == len(old) else "*"
        start, end = (_with_dot(words, old, rest) for words in (before, after))
        patterns[f"{start} -> {end}"] += 1
    most = [text for text, _ in patterns.most_common(SHOWN)]
    more = len(patterns) - len(most)
    return ", ".join(most) + (f" and {more} more" if more else "")


def _with_dot(words: tuple[str, ...], name: str, rest: str) -> str:
    """The start of a name with a star for what follows, after its separator."""
    start = "".join(words)
    dot = name[len(start)] if rest and name.startswith(start) and len(name) > len(start) else "."
    gap = dot if rest and start and start[-1] not in "./" else ""
    return escape(start + gap) + rest if start or rest else "*"
