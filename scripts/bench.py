#!/usr/bin/env python3
"""Measure git-nn beside git-lfs, DVC, plain Git and Xet's local store, in one run.

    scripts/bench.py [--workloads base,large,fp32,training] [--tools git-nn,git-lfs]
                     [--only touched,diff,checkout,merge,gc] [--rounds 5] [--megabytes 64]
                     [--folder FOLDER] [--xet-python PYTHON] [--json FILE]

Every round runs each step with every tool before the next step, the tools in another order
each round, on the same files, so that a busy machine slows all of them alike. What is
printed are medians, and medians of the ratios within a round. A tool that is not installed
is left out and said so. Every checkout and merge is compared byte for byte with what it has
to give; where it differs, the cell says WRONG. "pipe" is a filter that only reads what Git
sends: the floor of every filter. "git-nn-nosync" has core.fsync=none, as git-lfs never syncs;
"git-nn-add" adds by 'git nn add'.

--only chooses steps besides the adds, which everything else needs. gc runs in the first
round alone. The files of the workloads stay in --folder for the next time; all workloads at
their own sizes need about 35 GB of disk. Linux only: memory is read from /proc.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import bench_report
from bench_report import Result
from bench_tools import (
    TOOLS,
    Measure,
    Repository,
    StepFailedError,
    Tool,
    create,
    environment,
    installed_version,
    remove,
    run,
    stored,
    timed,
)
from bench_workloads import STEPS, WORKLOADS, Model, Version, Workload, digest, make

Models = dict[str, Model]


@dataclass(frozen=True, slots=True)
class Step:
    """One row of the table. ``needs`` is the tool's command without which it cannot be run."""

    row: str
    kind: str
    act: Callable[[Repository, Models], Measure]
    needs: str = ""
    once: bool = False

    def suits(self, tool: Tool) -> bool:
        if tool.storage_only:
            return self.kind == "add"
        return not self.needs or bool(getattr(tool, self.needs))


def steps_of(workload: Workload, kinds: frozenset[str]) -> list[Step]:
    """What is done with a workload, in this order."""
    line = [version.name for version in workload.line]
    first, last = line[0], line[-1]
    steps = [Step(v.row, "add", partial(add, v)) for v in workload.line]
    old, new = line[-3:-1] if len(line) > 2 else line
    steps += [
        Step("re-add touched, unchanged", "touched", re_add),
        Step("status of touched", "touched", partial(status, touched=True)),
        Step(f"diff {old}..{new}", "diff", partial(diff, old, new), "diff"),
        Step(f"checkout {first}", "checkout", partial(checkout, first)),
        Step("status after checkout", "checkout", status),
    ]
    if "merge" in kinds:
        ours, theirs = workload.branches
        steps += [Step(v.row, "add", partial(add, v)) for v in workload.branches]
        steps.append(Step("merge", "merge", partial(merge, ours.name, theirs.name), "merge"))
    steps += [
        Step("gc", "gc", gc, "gc", once=True),
        Step(f"checkout {first} after gc", "gc", partial(checkout, first), "gc", once=True),
        Step(f"checkout {last} after gc", "gc", partial(checkout, last), "gc", once=True),
    ]
    return [step for step in steps if step.kind in kinds]


def add(version: Version, repo: Repository, models: Models) -> Measure:
    """``git add`` of a version; the commit is not timed."""
    storage_only = repo.tool.storage_only
    if version.parent and not storage_only:
        at = f"-B on-{version.name} {version.parent}"
        run(repo, repo.tool.checkout.format(revision=at))
    shutil.copyfile(models[version.name].path, repo.file)
    _, measure = timed(repo, repo.tool.add)
    if storage_only:
        return Measure(stored=stored(repo))
    run(repo, f"git commit -q --allow-empty -m {version.name} && git tag {version.name}")
    return replace(measure, stored=stored(repo)) if repo.tool.stores else measure


def re_add(repo: Repository, _: Models) -> Measure:
    repo.file.touch()
    return timed(repo, repo.tool.add)[1]


def status(repo: Repository, _: Models, *, touched: bool = False) -> Measure:
    """After a checkout the entry is racy, so Git cleans the file again, however late it is."""
    if touched:
        repo.file.touch()
    return timed(repo, repo.tool.status)[1]


def diff(old: str, new: str, repo: Repository, _: Models) -> Measure:
    return timed(repo, repo.tool.diff.format(old=old, new=new))[1]


def checkout(revision: str, repo: Repository, models: Models) -> Measure:
    repo.file.unlink(missing_ok=True)
    repo.env["BENCH_CONTENT"] = str(models[revision].path)
    _, measure = timed(repo, repo.tool.checkout.format(revision=revision))
    return _judged(measure, repo, models[revision])


def merge(ours: str, theirs: str, repo: Repository, models: Models) -> Measure:
    """Merge a branch into another that changed other layers; what conflicts is given up."""
    run(repo, repo.tool.checkout.format(revision=f"on-{ours}"))
    command = repo.tool.merge.format(revision=f"on-{theirs}")
    code, measure = timed(repo, command, codes=(0, 1))
    if code:
        run(repo, "git merge --abort")
        return replace(measure, outcome="conflict")
    return _judged(measure, repo, models["merged"])


def _judged(measure: Measure, repo: Repository, model: Model) -> Measure:
    same = repo.file.exists() and digest(repo.file) == model.sha256
    return measure if same else replace(measure, outcome="WRONG")


def gc(repo: Repository, _: Models) -> Measure:
    return replace(timed(repo, repo.tool.gc)[1], stored=stored(repo))


def measure_workload(
    workload: Workload, models: Models, tools: list[Tool], options: argparse.Namespace
) -> Iterator[Result]:
    """Every measure of a workload, round by round."""
    kinds = workload.kinds & {"add", *options.only.split(",")}
    for number in range(options.rounds):
        turn = number % len(tools)
        repos = {
            tool.name: create(tool, options.folder / tool.name, options.xet_python)
            for tool in tools[turn:] + tools[:turn]
        }
        for step in steps_of(workload, kinds):
            if step.once and number:
                continue
            for name, repo in list(repos.items()):
                slow = (name, step.kind) in workload.slow and not options.slow
                if slow or not step.suits(repo.tool):
                    continue
                try:
                    measure = step.act(repo, models)
                except StepFailedError as error:
                    print(error, file=sys.stderr)
                    measure = Measure(outcome="FAILED")
                    remove(repos.pop(name))
                result = Result(workload.name, number, step.row, name, measure)
                print(f"round {number + 1}: {bench_report.line(result)}", file=sys.stderr)
                yield result
        for repo in repos.values():
            remove(repo)


def chosen_tools(names: str, xet_python: str) -> dict[Tool, str]:
    """The tools of these names that are installed, with their versions."""
    tools = {}
    for tool in choose("tool", names, {tool.name: tool for tool in TOOLS}):
        version = installed_version(tool, environment(Path(os.devnull), xet_python))
        if version:
            tools[tool] = version
        else:
            print(f"{tool.name} is not installed: left out", file=sys.stderr)
    return tools or sys.exit("none of the tools is installed")


def choose(what: str, names: str, known: dict[str, Any]) -> list[Any]:
    wanted = names.split(",")
    if unknown := set(wanted) - set(known):
        sys.exit(f"no {what} {', '.join(sorted(unknown))}; there are: {', '.join(known)}")
    return [value for name, value in known.items() if name in wanted]


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workloads", default=",".join(w.name for w in WORKLOADS))
    parser.add_argument("--tools", default=",".join(tool.name for tool in TOOLS))
    parser.add_argument("--only", default=",".join(STEPS))
    parser.add_argument("--slow", action="store_true", help="plain Git where it takes minutes")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--megabytes", type=int, help="size of each file, in place of its own")
    parser.add_argument("--folder", type=Path, help="keeps the models; on a real disk")
    parser.add_argument("--xet-python", default=sys.executable, help="a Python with hf_xet")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def main() -> None:
    options = parse()
    choose("step", options.only, dict.fromkeys(STEPS))
    tools = chosen_tools(options.tools, options.xet_python)
    workloads = choose("workload", options.workloads, {w.name: w for w in WORKLOADS})
    versions = {tool.name: version for tool, version in tools.items()}
    titles: dict[str, str] = {}
    results: list[Result] = []
    with tempfile.TemporaryDirectory() as temporary:
        options.folder = (options.folder or Path(temporary)).absolute()
        for workload in workloads:
            models = make(workload, options.megabytes or workload.megabytes, options.folder)
            size = models[workload.line[0].name].nbytes / 1e6
            titles[workload.name] = f"{workload.title}: {size:.0f} MB, medians of {options.rounds}"
            own = list(measure_workload(workload, models, list(tools), options))
            results += own
            print(bench_report.table(titles[workload.name], own), end="\n\n", flush=True)
            if options.json:
                bench_report.write_json(options.json, versions, titles, results)


if __name__ == "__main__":
    main()
