"""gate: the checks of a comparison of several models, collected while they are open."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from git_nn.differences.check_faults import Fault
from git_nn.differences.check_language import Check
from git_nn.differences.checks import Outcome, Verdict, evaluate, verdict
from git_nn.differences.distance import Description, Distance, Span, Weights, of_file, total, whole
from git_nn.differences.result import ModelDiff
from git_nn.drivers.places import Beside, common
from git_nn.errors import GitNNError, UsageError
from git_nn.gitio.config import Config
from git_nn.model import Model

_WEIGHTS = "nn.distance."

Texts = tuple[Beside, Beside]  # of the files beside both versions


@dataclass(slots=True)
class Gate:
    """``see`` each model, then ask for the ``verdicts``."""

    checks: Sequence[Check]
    weights: Weights = field(default_factory=Weights)
    outcomes: list[tuple[str, list[Outcome]]] = field(default_factory=list)

    @property
    def wants_all(self) -> bool:
        return bool(self.checks)

    def see(
        self,
        path: str,
        diff: ModelDiff,
        models: tuple[Model | None, Model | None],
        texts: Callable[[], Texts],
    ) -> None:
        """Hold a model against every check; it must still be open."""

        def distance() -> Span:
            return total(measured(diff, *models, texts()), self.weights)

        if self.checks:
            found = [evaluate(check, diff, models[1], distance) for check in self.checks]
            self.outcomes.append((path, found))

    def refuse(self, path: str, message: str) -> None:
        """A model that cannot be compared passes no check."""
        self.outcomes.append((path, [Outcome(1, (Fault("", message),)) for _ in self.checks]))

    def verdicts(self) -> list[Verdict]:
        return [
            verdict(check, [(path, found[i]) for path, found in self.outcomes])
            for i, check in enumerate(self.checks)
        ]


def measured(diff: ModelDiff, old: Model | None, new: Model | None, texts: Texts) -> Distance:
    """The distance of two versions of a model that are open."""
    if old is None or new is None:
        return whole(diff)
    before, after = common(*texts)
    sides = ((old, before), (new, after))
    return of_file(diff, *(Description(_structure(model), beside) for model, beside in sides))


def _structure(model: Model) -> Mapping[str, Any] | None:
    try:
        return model.structure()
    except GitNNError:
        return None


def weights(config: Config | None, **asked: float | None) -> Weights:
    """What the command line asks for, else the settings ``nn.distance.*``; else the defaults."""
    values = {}
    for name, number in asked.items():
        setting = None if config is None else config.number(f"{_WEIGHTS}{name}")
        found = number if number is not None else setting
        if found is not None:
            values[name] = found
    try:
        return Weights(**values)
    except ValueError as error:
        raise UsageError(str(error), hint="see docs/distance.md") from error
