"""replay: merge two commits by a plan, aside from the work tree, the index and all branches.

``git merge-tree`` merges the trees, and calls the merge driver with the plan in REPLAY and the
commits in SIDES. So
renames, merge bases that have to be merged first, and files that are no models go as ever.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from git_nn import soup
from git_nn.assemble import Sides
from git_nn.combine import Merged, ruled
from git_nn.earlier import pointer_at
from git_nn.errors import GitError, UsageError
from git_nn.gitio import revisions
from git_nn.gitio.objects import Reader, open_batch
from git_nn.gitio.repository import Repository
from git_nn.merge import trailers
from git_nn.merge.decide import Side
from git_nn.merge.rules import Choice, Rules, parse
from git_nn.merge.trailers import Line, Plan
from git_nn.objects.names import natural_key
from git_nn.resolve import Version, settle_tensors, unsettled_of
from git_nn.store.local import LocalStore
from git_nn.supply import merge_in

REPLAY, SIDES = "GIT_NN_REPLAY", "GIT_NN_SIDES"


# --- what the driver does ---------------------------------------------------------------


def merge_by(repo: Repository, store: LocalStore, path: bytes, sides: Sides, plan: Plan) -> Merged:
    """The merge of one model as ``plan`` has it; not clean where the plan leaves it open."""
    steps = plan.steps(_text(path))
    for line in steps:
        if line.how in trailers.WHOLE:
            return Merged(sides.of(_side(trailers.WHOLE[line.how])) or sides.ours)
    merged = merge_by_rules(repo, store, path, sides, plan)
    file = unsettled_of(Version(path, (None, None, None), sides), merged)
    for line in steps:
        if line.how != trailers.HAND and not file.is_settled:
            file = settle_tensors(file, how_of(line), line.tensors, store, repo.nn_dir / "tmp").file
    return replace(merged, pointer=file.result, decisions=file.open, whole=file.whole)


def merge_by_rules(
    repo: Repository, store: LocalStore, path: bytes, sides: Sides, plan: Plan
) -> Merged:
    """The merge as it was before anything was settled."""
    return merge_in(repo, store, sides, _rules(plan, path))


def _rules(plan: Plan, path: bytes) -> Rules:
    return ruled(plan.rules(_text(path)), plan.settings)


def how_of(line: Line) -> Side | Choice:
    """What a step settles with: a side, or a strategy."""
    if line.how in ("ours", "theirs", "base"):
        return _side(line.how)
    choice = parse(line.how, f"the trailer {line.key}")
    if choice is None:
        raise UsageError(f"the trailer '{line.key}: {line}' settles nothing")
    return choice


def _text(path: bytes) -> str:
    return path.decode("utf-8", "surrogateescape")


def _side(word: str) -> Side:
    return "base" if word == "base" else "ours" if word == "ours" else "theirs"


# --- whole trees ------------------------------------------------------------------------


def merged_tree(repo: Repository, ours: str, theirs: str, plan: Plan) -> str:
    """The tree of the merge of two commits by ``plan``; models in conflict have ours there."""
    with _written(plan) as file:
        commits = [revisions.resolve(repo, f"{rev}^{{commit}}") or rev for rev in (ours, theirs)]
        there = repo.with_env(**{REPLAY: str(file), SIDES: " ".join(commits)})
        argv = ("merge-tree", "--write-tree", "--allow-unrelated-histories", "--no-messages",
                "--name-only", ours, theirs)  # fmt: skip
        output = there.git(*argv, check=False)  # it fails also where files are in conflict
        if not output:
            try:
                there.git(*argv)
            except GitError as error:
                raise _explained(error) from error
    return output.split(b"\n", 1)[0].decode()


@contextmanager
def _written(plan: Plan) -> Iterator[Path]:
    with tempfile.NamedTemporaryFile("wb", suffix=".plan") as file:
        text = "\n".join(trailers.write(plan)) + "\n"
        file.write(text.encode("utf-8", "surrogateescape"))
        file.flush()
        yield Path(file.name)


def _explained(error: GitError) -> GitError | UsageError:
    if "usage: git merge-tree" in error.stderr:
        return UsageError("this needs 'git merge-tree --write-tree'", hint="use Git 2.38 or newer")
    return error


@dataclass(frozen=True, slots=True)
class Difference:
    """A model that the plan does not give; ``tensors`` are the names of those that differ."""

    path: bytes
    tensors: tuple[str, ...] = ()
    why: str = ""


@dataclass(frozen=True, slots=True)
class Replayed:
    """The models that several sides changed: those that came out the same, and the others."""

    same: tuple[bytes, ...]
    differences: tuple[Difference, ...]
    plan: Plan


def replay(repo: Repository, store: LocalStore, commit: str) -> Replayed:
    """Make the models of a merge commit again; UsageError where it does not say how."""
    parents = repo.git("rev-list", "--parents", "-n1", commit, "--").decode().split()[1:]
    if len(parents) < 2:
        raise UsageError(f"{commit[:12]} is no merge", hint="run 'git log --merges'")
    message = repo.git("log", "-1", "--format=%B", commit, "--").decode("utf-8", "surrogateescape")
    plan = trailers.read(message)
    if plan is None:
        raise UsageError(
            f"the message of {commit[:12]} does not say how models were merged",
            hint="merge with 'git nn merge', or run 'git nn install --hooks' once",
        )
    tree = _tree(repo, store, parents, plan)
    changes = revisions.changed(repo, tree, commit)
    with open_batch(repo) as reader:
        found = [_difference(reader, change, plan) for change in changes]
        differing = {change.path for change in changes}
        same = [
            path for path in merged_models(repo, reader, commit, parents) if path not in differing
        ]
    return Replayed(tuple(same), tuple(d for d in found if d is not None), plan)


def _tree(repo: Repository, store: LocalStore, parents: Sequence[str], plan: Plan) -> str:
    """The tree of the merge of ``parents``: at once, or of two as git merges them."""
    if plan.sides:
        pot = soup.pot_again(repo, parents, plan.sides)
        return soup.cook(repo, store, pot, partial(_rules, plan)).tree
    if len(parents) != 2:
        hint = "Git merges several branches at once as text, without strategies"
        raise UsageError("it is a merge of more than two, and no soup", hint=hint)
    ours, theirs = parents
    return merged_tree(repo, ours, theirs, plan)


def merged_models(
    repo: Repository, reader: Reader, tree: str, parents: Sequence[str]
) -> Iterator[bytes]:
    """The models of a merged tree that are no parent's."""
    sides = [{e.path: e.oid for e in revisions.tree(repo, rev)} for rev in parents]
    for entry in revisions.tree(repo, tree):
        old = [side.get(entry.path) for side in sides]
        if entry.oid not in old and pointer_at(reader, entry.oid) is not None:
            yield entry.path


def _difference(reader: Reader, change: revisions.Change, plan: Plan) -> Difference | None:
    """How a model that was made again differs from that in the commit; None for other files."""
    made = pointer_at(reader, change.old.oid) if change.old else None
    there = pointer_at(reader, change.new.oid) if change.new else None
    if made is None and there is None:
        return None
    if plan.is_by_hand(_text(change.path)):
        return Difference(change.path, why="settled by hand, which cannot be done again")
    if made is None or there is None:
        return Difference(change.path, why="not a model on both sides")
    names = {e.name for e in made.entries if there.by_name.get(e.name) != e}
    names |= there.by_name.keys() - made.by_name.keys()
    why = "" if names else "the container differs"
    return Difference(change.path, tuple(sorted(names, key=natural_key)), why)
