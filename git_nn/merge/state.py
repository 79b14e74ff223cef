"""state: tensors that hold how far training is, not what was learned.

Step counters and the state of random numbers never stand in the way of a merge, and nothing is
ever computed of them: where both sides changed one, it is ours, and that is told. What an
optimizer remembers (the moments of Adam) is ours where the weights are computed: it belongs to
no weights that either side had. A pattern of the person's own for such a tensor comes first.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import prod

from git_nn.merge.decide import Combine, Conflict, Decision, Take, Weave
from git_nn.merge.rules import Choice, Rules
from git_nn.merge.strategies import table
from git_nn.objects.pointer import Entry

COUNTER = "counters that both sides changed"
RANDOM = "states of random numbers that both sides changed"
OPTIMIZER = "optimizer state that both sides changed"

_COUNTERS = frozenset({
    "iter", "iteration", "iterations", "step", "steps", "global_step", "num_batches_tracked",
    "epoch", "epochs", "last_epoch", "_step_count", "num_steps", "count",
})  # fmt: skip
_RANDOM = frozenset({"seed_generator_state", "rng_state", "cuda_rng_state", "rng"})
_OPTIMIZER = re.compile(r"(?:\A|[./])(?:optim[a-z_]*|opt_states?)[./]")
_MOMENTS = re.compile(r"[./](?:(?:max_)?exp_avg(?:_sq)?|momentum_buffer|square_avg|grad_avg)\Z")


def settled(decisions: Sequence[Decision], chosen: Rules) -> tuple[Decision, ...]:
    """The decisions, ours taken for state that both sides have and changed."""
    return tuple(_settled(decision, chosen) for decision in decisions)


def _settled(decision: Decision, chosen: Rules) -> Decision:
    if isinstance(decision, Take) or decision.ours is None or decision.theirs is None:
        return decision
    if chosen.deciding(decision.name) is not None:
        return decision
    what = kind(decision.name, decision.ours)
    if not what or (what == OPTIMIZER and not _computes(decision, chosen.default)):
        return decision
    return Take(decision.name, "ours", decision.ours, why=what)


def _computes(decision: Combine | Weave | Conflict, default: Choice | None) -> bool:
    return isinstance(decision, Combine) or (
        default is not None and table.by_name(default.strategy).side is None
    )


def kind(name: str, entry: Entry) -> str:
    """What state a tensor is; empty for all others."""
    plain = name.partition(":")[0]
    leaf = re.split(r"[./]", plain)[-1]
    if leaf in _RANDOM:
        return RANDOM
    one = prod(entry.shape) == 1
    is_optimizer = bool(_OPTIMIZER.search(plain) or _MOMENTS.search(plain))
    if one and (leaf in _COUNTERS or (is_optimizer and entry.dtype[0] in "iu")):
        return COUNTER
    return OPTIMIZER if is_optimizer else ""
