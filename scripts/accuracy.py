"""What real merges give: two fine-tunes of one ancestor, merged by git with every strategy.

    .venv-interop/bin/python scripts/accuracy.py [--tasks classes,views,languages] [--seeds 3]
        [--steps 1.0] [--merges mean ties:density=0.5 ...] [--json]

Networks are trained from seeds (accuracy_tasks), base, ours and theirs are committed as
safetensors in a temporary repository, and each merge is GIT_NN_MERGE=... git merge. The table
in docs/merge.md is what this prints: scores on held-out data, the mean over the seeds.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import torch
from accuracy_tasks import TASKS, State, Task, Trained
from safetensors.torch import load_file, save_file

from git_nn.merge.strategies import table

FILE, MEASURED = "model.safetensors", "measured-"
VARIANTS = (
    "mean:weight=0.3", "task-arithmetic:lambda=0.3", "task-arithmetic:lambda=0.5",
    "task-arithmetic:lambda=0.7", "ties:lambda=0.5", "ties:density=0.5", "ties:density=1",
    "breadcrumbs:lambda=0.5", "dare-linear:lambda=0.5", "dare-linear:density=0.9,lambda=0.5",
    "dare-ties:lambda=0.5", "dare-ties:density=0.9", "della:lambda=0.5",
    "della:density=0.9,epsilon=0.05", "sce:select=0.2", "iso-c:lambda=0.5", "tsv:lambda=0.5",
)  # fmt: skip
Scores = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Row:
    """The scores of one version on ours' part and on theirs'; tensors left in conflict."""

    scores: Scores
    open: int = 0


@dataclass(frozen=True, slots=True)
class Repository:
    """A work tree with the branches ours and theirs of one ancestor."""

    path: Path

    def git(self, *argv: str, code: Sequence[int] = (0,), **variables: str) -> str:
        """Run git here without this machine's settings; what it said."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
        folder = str(Path(sys.executable).parent)
        kept.update(
            PATH=f"{folder}{os.pathsep}{kept.get('PATH', os.defpath)}",
            HOME=str(self.path.parent), GIT_CONFIG_NOSYSTEM="1", GIT_AUTHOR_NAME="A",
            GIT_AUTHOR_EMAIL="a@example.com", GIT_COMMITTER_NAME="A",
            GIT_COMMITTER_EMAIL="a@example.com", **variables,
        )  # fmt: skip
        done = subprocess.run(
            ["git", *argv], cwd=self.path, env=kept, capture_output=True, check=False
        )
        said = (done.stdout + done.stderr).decode("utf-8", "replace")
        if done.returncode not in code:
            raise SystemExit(f"git {' '.join(argv)} ended with {done.returncode}:\n{said}")
        return said

    def fill(self, trained: Trained) -> None:
        self.path.mkdir()
        self.git("init", "-q", "-b", "base", ".")
        self.git("nn", "install", "--local")
        self.git("nn", "track", "*.safetensors")
        self._commit("base", {FILE: trained.base})
        for branch, state in (("theirs", trained.theirs), ("ours", trained.ours)):
            self.git("switch", "-q", "-c", branch, "base")
            self._commit(branch, {FILE: state})
        for side, branch in enumerate(("ours", "theirs")):
            self.git("switch", "-q", "-c", MEASURED + branch, branch)
            files = {f"model.{kind}.safetensors": of[side] for kind, of in trained.measured.items()}
            self._commit("statistics", files)

    def _commit(self, message: str, files: Mapping[str, State]) -> None:
        for file, state in files.items():
            save_file({name: value.contiguous() for name, value in state.items()}, self.path / file)
        self.git("add", "-A")
        self.git("commit", "-q", "-m", message)

    def merge(self, choice: str) -> tuple[State, int]:
        """The merged weights, and how many tensors were in conflict, where ours is kept."""
        strategy = table.by_name(choice.partition(":")[0])
        start = MEASURED if strategy.needs else ""
        self.git("switch", "-q", "--detach", f"{start}ours")
        said = self.git("merge", "--no-edit", f"{start}theirs", code=(0, 1), GIT_NN_MERGE=choice)
        found = re.search(r"(\d+) tensors? in conflict", said)
        if found is None and "CONFLICT" in said:
            raise SystemExit(f"{choice}: the file as a whole is a conflict:\n{said}")
        state = load_file(self.path / FILE)
        self.git("reset", "-q", "--hard")
        return state, int(found[1]) if found else 0


def rows(trained: Trained, merges: Sequence[str], folder: Path) -> Iterator[tuple[str, Row]]:
    """The scores of the three versions and of every merge that settles something."""
    for name in ("base", "ours", "theirs"):
        yield name, Row(trained.score(getattr(trained, name)))
    repo = Repository(folder)
    repo.fill(trained)
    for choice in merges:
        state, conflicts = repo.merge(choice)
        if conflicts < len(state):
            yield choice, Row(trained.score(state), conflicts)


def measure(task: Task, merges: Sequence[str], seeds: int, steps: float) -> dict[str, Row]:
    """The mean of each row over the seeds."""
    found: dict[str, list[Row]] = {}
    for seed in range(seeds):
        trained = task.train(seed, steps)
        with tempfile.TemporaryDirectory(prefix="git-nn-accuracy-") as folder:
            for name, row in rows(trained, merges, Path(folder) / "repo"):
                found.setdefault(name, []).append(row)
        print(f"{task.name}: seed {seed} of {seeds}", file=sys.stderr)
    return {
        name: Row(
            (mean(row.scores[0] for row in one), mean(row.scores[1] for row in one)),
            max(row.open for row in one),
        )
        for name, one in found.items()
    }


def as_markdown(tasks: Sequence[Task], found: Sequence[Mapping[str, Row]]) -> str:
    """A row for each version, a column for each task: both parts (ours' part / theirs')."""
    lines = [
        "| | " + " | ".join(f"{task.name}: {task.unit}" for task in tasks) + " |",
        "|---" * (len(tasks) + 1) + "|",
    ]
    for name in dict.fromkeys(name for one in found for name in one):
        cells = [_cell(one.get(name), task.digits) for task, one in zip(tasks, found, strict=True)]
        lines.append(f"| `{name}` | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(row: Row | None, digits: int) -> str:
    if row is None:
        return "–"
    ours, theirs = row.scores
    star = "\\*" if row.open else ""
    return f"{mean(row.scores):.{digits}f}{star} ({ours:.{digits}f} / {theirs:.{digits}f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=float, default=1.0, help="part of the training steps")
    parser.add_argument("--merges", nargs="*", help="what GIT_NN_MERGE is set to, one after other")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    computing = [name for name in table.NAMES if name not in {"ours", "theirs", "base"}]
    order = {name: place for place, name in enumerate(computing)}
    both = sorted((*computing, *VARIANTS), key=lambda choice: order[choice.partition(":")[0]])
    merges = asked.merges or both
    tasks = [TASKS[name] for name in asked.tasks.split(",")]
    found = [measure(task, merges, asked.seeds, asked.steps) for task in tasks]
    if asked.json:
        names = asked.tasks.split(",")
        plain = [{name: row.scores for name, row in one.items()} for one in found]
        print(json.dumps(dict(zip(names, plain, strict=True)), indent=2))
    else:
        print(as_markdown(tasks, found))


if __name__ == "__main__":
    main()
