"""``-s`` and ``--set``, which choose how tensors that several branches changed are merged."""

from __future__ import annotations

from git_nn.errors import UsageError
from git_nn.merge.rules import Choice, parse


def typed(strategy: str | None, values: tuple[str, ...]) -> tuple[str, Choice | None] | None:
    """What they say, as the settings have it, and read; None where nothing was said."""
    if strategy is None:
        if values:
            raise UsageError(
                "--set is about a strategy", hint=f"add -s S: -s ties --set {values[0]}"
            )
        return None
    joint = "," if ":" in strategy else ":"
    text = joint.join([strategy, ",".join(values)]) if values else strategy
    return text, parse(text, "the strategy of -s")
