"""report: a merge in words, the same in the driver's message and in 'git nn resolve'."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence

from git_nn.merge.decide import Combine, Conflict, Decision, Take, Weave
from git_nn.objects.names import escape
from git_nn.objects.tensor import format_shape

SHOWN = 10

_FROM = {"ours": "from ours", "theirs": "from theirs", "both": "the same on both sides"}


def summary(decisions: Iterable[Decision]) -> str:
    """``3 tensors from ours, 2 from theirs, 1 by mean:weight=0.5``; unchanged ones do not count."""
    counts = Counter(filter(None, map(_kind, decisions)))
    order = sorted(counts, key=lambda kind: (kind not in _FROM.values(), kind))
    parts = [f"{counts[kind]} {kind}" for kind in order]
    if not parts:
        return "no tensor changed"
    first, _, rest = parts[0].partition(" ")
    parts[0] = f"{first} {plural(int(first))} {rest}"
    return ", ".join(parts)


def outcome(decisions: Sequence[Decision]) -> str:
    """``3 tensors from ours; 2 tensors in conflict``: what was merged, then what was not."""
    count = sum(isinstance(decision, Conflict) for decision in decisions)
    if not count:
        return summary(decisions)
    merged = f"{summary(decisions)}; " if any(map(_kind, decisions)) else ""
    return f"{merged}{count} {plural(count)} in conflict"


def _kind(decision: Decision) -> str:
    match decision:
        case Combine():
            return f"by {decision.choice}"
        case Weave():
            return f"by {decision.way.unit}s"
        case Conflict():
            return ""
    return f"by {decision.by}" if decision.by else _FROM.get(decision.source, "")


def told(decisions: Iterable[Decision]) -> Iterator[str]:
    """A line for each reason for which a side was taken though both had changed something."""
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for decision in decisions:
        if isinstance(decision, Take) and decision.why:
            found[decision.why, decision.source].append(escape(decision.name))
    for (why, source), names in found.items():
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        yield f"{why}: {source} is taken ({names[0]}{more})"


def plural(count: int) -> str:
    return "tensor" if count == 1 else "tensors"


def lines(conflicts: Sequence[Conflict], shown: int = SHOWN) -> Iterator[str]:
    """A line for each conflict: name, dtype and shape, why; the rest is counted."""
    for conflict in conflicts[:shown]:
        entry = conflict.ours or conflict.theirs
        spec = f"{entry.dtype} {format_shape(entry.shape)}" if entry else "?"
        yield f"{escape(conflict.name)}  {spec}  {conflict.why}"
    if len(conflicts) > shown:
        yield f"... and {len(conflicts) - shown} more"
