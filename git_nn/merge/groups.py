"""groups: tensors that mean something together only, known by their names.

A quantised weight is nothing without its scales and zero points, a running mean nothing without
its variance, one factor of a low-rank adapter nothing without the other. Where one side
changed one of them and the other side another one, each is settled by itself and the whole is
nonsense. So a group is taken from one side, combined whole, or a conflict whole.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from git_nn.merge.decide import Combine, Conflict, Decision, Take, Weave, settle
from git_nn.merge.rules import Choice
from git_nn.objects.pointer import Entry, Pointer

QUANTISED = "a quantised weight and its scales"
MOMENTS = "a running mean and its variance"
FACTORS = "the factors of a low-rank adapter"

_WEIGHTS = frozenset({"weight", "kernel"})
# Names that only tensors beside a quantised weight have: compressed-tensors, GPTQ, AWQ,
# bitsandbytes, fp8 checkpoints ...
_TELLING = frozenset({
    "weight_scale", "weight_scale_inv", "weight_scale_2", "weight_zero_point", "weight_packed",
    "weight_shape", "weight_g_idx", "weight_format", "qweight", "qzeros", "g_idx", "SCB",
})  # fmt: skip
# ... and those that tell it only in company: torch's own quantisation, MLX.
_PARTNERS = ({"scale", "zero_point"}, {"scales", "biases"}, {"scales", "qweight"})
_OTHERS = frozenset({"scale", "zero_point", "scales", "biases", "zeros", "input_scale"})
_STATE = re.compile(r"(absmax|quant_map|nested_absmax|nested_quant_map|quant_state)\b")
_ONNX = re.compile(r"(.+)_(quantized|scale|zero_point)\Z")
_ADAPTER = re.compile(r"\b(lora_(?:embedding_)?)(?:A|B|up|down)\b")
_MOMENTS = frozenset({"running_mean", "running_var", "moving_mean", "moving_variance"})


@dataclass(frozen=True, slots=True)
class Group:
    """Names of tensors that belong together, and what they are."""

    what: str
    members: tuple[str, ...]


def groups(names: Iterable[str]) -> list[Group]:
    """The groups among ``names``, each with two members at least."""
    found: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    for name in names:
        for what, stem, role in _roles(name):
            found[what, stem][role] = name
    return [
        Group(what, tuple(roles.values()))
        for (what, _), roles in found.items()
        if len(roles) > 1 and (what != QUANTISED or _is_quantised(roles.keys()))
    ]


def _roles(name: str) -> Iterator[tuple[str, str, str]]:
    """(what, stem, role) of each group that a tensor may belong to."""
    plain = name.partition(":")[0]  # Keras writes kernel:0
    cut = max(plain.rfind("."), plain.rfind("/")) + 1
    stem, leaf = plain[:cut], plain[cut:]
    if leaf in _MOMENTS or (leaf in {"mean", "var"} and "batch_stats" in stem):
        yield MOMENTS, stem, leaf
    if adapter := _ADAPTER.search(plain):
        yield FACTORS, _ADAPTER.sub(r"\1", plain), adapter[0]
    if leaf in _WEIGHTS or leaf in _TELLING or leaf in _OTHERS:
        yield QUANTISED, stem, leaf
    elif (state := re.search(r"weight\.", plain)) and _STATE.match(plain, state.end()):
        yield QUANTISED, plain[: state.start()], plain[state.end() :]
    if onnx := _ONNX.match(plain):
        yield QUANTISED, f"{onnx[1]}_", onnx[2]


def _is_quantised(roles: Iterable[str]) -> bool:
    held = set(roles)
    return (
        bool(held & _TELLING)
        or "quantized" in held
        or any(_STATE.match(role) for role in held)
        or any(partners <= held for partners in _PARTNERS)
    )


def together(
    decisions: Sequence[Decision],
    sides: tuple[Pointer | None, Pointer, Pointer],
    choose: Callable[[str], Choice | None],
) -> tuple[Decision, ...]:
    """The decisions, each group of one kind: where the sides were mixed, every tensor of it that
    either side changed is settled as if both had, and is a conflict where one of them is."""
    settled = {decision.name: decision for decision in decisions}
    for group in groups(settled):
        changed = [settled[name] for name in group.members if _kind(settled[name])]
        kinds = {_kind(decision) for decision in changed}
        if len(changed) < 2 or (len(kinds) == 1 and kinds != {"woven"}):
            continue
        conflicts = [_conflict(d, sides, group.what) for d in changed]
        again = [settle(conflict, choose(conflict.name)) for conflict in conflicts]
        if any(isinstance(decision, Conflict) for decision in again):
            again = [
                d if isinstance(d, Conflict) else c for d, c in zip(again, conflicts, strict=True)
            ]
        settled |= {decision.name: decision for decision in again}
    return tuple(settled.values())


def _kind(decision: Decision) -> str:
    """Where the result is from; empty where nothing was to decide."""
    match decision:
        case Take():
            return decision.source if decision.source in ("ours", "theirs") else ""
        case Combine():
            return "combined"
        case Weave():
            return "woven"
    return "conflict"


def _conflict(
    decision: Decision, sides: tuple[Pointer | None, Pointer, Pointer], what: str
) -> Conflict:
    if isinstance(decision, Conflict):
        return decision
    name = decision.name
    base, ours, theirs = (_entry(side, name) for side in sides)
    return Conflict(name, base, ours, theirs, f"of {what} the sides changed different ones")


def _entry(side: Pointer | None, name: str) -> Entry | None:
    return side.by_name.get(name) if side else None
