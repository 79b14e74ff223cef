"""resolve: settle what a merge left open, and hand the finished file back to Git.

The three versions are read from the index, so it works in a merge, rebase, cherry-pick,
revert and stash pop alike, and also where no driver ran and Git merged the pointers as
text. What was settled before is in the conflict record.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path

from git_nn import conflicts, origins, smudge, tokenizers
from git_nn.assemble import Sides, assemble
from git_nn.clean import clean
from git_nn.combine import Merged, carry_out, in_company, named, rules_for
from git_nn.conflicts import Blobs, Record, Spec
from git_nn.errors import PointerError, StoreError, UsageError
from git_nn.formats.base import BytesSource
from git_nn.gitio import index
from git_nn.gitio.attributes import lookup
from git_nn.gitio.objects import Reader, open_batch
from git_nn.gitio.repository import Repository
from git_nn.gitio.revisions import Entry as IndexEntry
from git_nn.materialise import open_parent
from git_nn.merge.decide import Conflict, Decision, Side, Take, settle
from git_nn.merge.report import told
from git_nn.merge.rules import Choice, Rules, mean_for
from git_nn.merge.trailers import HAND
from git_nn.model import open_pointer
from git_nn.objects import pointer as pointers
from git_nn.objects.names import escape
from git_nn.objects.oid import Oid
from git_nn.objects.pointer import Pointer, Stored, looks_like_pointer, render
from git_nn.objects.tensor import nbytes
from git_nn.origins import NOTHING, Origin
from git_nn.smudge import FileSink
from git_nn.statistics import is_statistics, of_blobs
from git_nn.store.base import Store
from git_nn.store.local import LocalStore
from git_nn.supply import merge_in


@dataclass(frozen=True, slots=True)
class Version:
    """An unmerged path: its three versions, as Git names them and as pointers."""

    path: bytes
    blobs: Blobs
    sides: Sides
    mode: str = ""


@dataclass(frozen=True, slots=True)
class Unsettled:
    """A model that is unmerged in the index, as far as it is merged, and how it was."""

    version: Version
    result: Pointer
    open: tuple[Conflict, ...]
    whole: str = ""
    origin: Origin = NOTHING

    @property
    def path(self) -> bytes:
        return self.version.path

    @property
    def sides(self) -> Sides:
        return self.version.sides

    @property
    def is_settled(self) -> bool:
        return not self.open and not self.whole


@dataclass(frozen=True, slots=True)
class Unmergeable:
    """An unmerged path that has no tensors to settle, and what to do with it.

    ``ways`` are (to what end, the command but for the path).
    """

    path: bytes
    why: str
    ways: tuple[tuple[str, str], ...] = ()


def shown(path: bytes) -> str:
    return escape(path.decode("utf-8", "surrogateescape"))


# --- what is open -----------------------------------------------------------------------


def unsettled(
    repo: Repository, store: LocalStore, override: str | None, paths: Sequence[bytes] = ()
) -> list[Unsettled | Unmergeable]:
    """The unmerged models, all or those at ``paths``; UsageError where one is not unmerged.

    ``override`` is the value of GIT_NN_MERGE, for files that no driver has merged.
    """
    records = {record.path: record for record in conflicts.current(repo)}
    unmerged = conflicts.unmerged(repo)
    strays = [path for path in paths if path not in unmerged]
    if strays:
        raise UsageError(f"{shown(strays[0])} is not in conflict", hint="run 'git nn status'")
    wanted = list(paths or unmerged)
    filters = lookup(repo, wanted, ["filter"])
    found: list[Unsettled | Unmergeable] = []
    with open_batch(repo) as reader:
        for path in wanted:
            stages = unmerged[path]
            model = filters[path].get("filter") == "nn"
            if model or any(_is_pointer(reader, entry) for entry in stages.values()):
                opened = _versions(repo, reader, store, path, stages)
                if isinstance(opened, Version):
                    found.append(_open(repo, store, opened, records.get(path), override))
                else:
                    found.append(opened)
            elif paths:
                found.append(Unmergeable(path, "it is not a model; settle it as any other file"))
    return found


def _is_pointer(reader: Reader, entry: IndexEntry) -> bool:
    info = reader.info(entry.oid)
    if info is None or info[1] != "blob" or info[2] > pointers.MAX_SIZE:
        return False
    return looks_like_pointer((reader.read(entry.oid) or b"")[:4096])


def _versions(
    repo: Repository, reader: Reader, store: LocalStore, path: bytes, stages: dict[int, IndexEntry]
) -> Version | Unmergeable:
    if 2 not in stages or 3 not in stages:
        return _removal(path, stages)
    try:
        base, ours, theirs = (_version(reader, store, stages.get(i)) for i in (1, 2, 3))
    except PointerError as error:
        return Unmergeable(path, f"one of its versions is no valid pointer ({error.message})")
    if ours is None or theirs is None:
        name = "ours" if ours is None else "theirs"
        how = "run 'git checkout --ours' or '--theirs' on it, then 'git add'"
        return Unmergeable(path, f"{name} is empty or no regular file; {how}")
    blobs, mode = conflicts.blobs(stages), _merged_mode(stages)
    known = of_blobs(repo, store, path, lambda: [stages[2].oid, stages[3].oid], {})
    tokens = tokenizers.of_blobs(repo, path, lambda: blobs, {})
    now = partial(tokenizers.confirmed, repo, path, tokens)
    sides = tokenizers.matched(repo, Sides(base, ours, theirs, known), now, store, store)
    return Version(path, blobs, sides, mode)


def _open(
    repo: Repository,
    store: LocalStore,
    version: Version,
    record: Record | None,
    override: str | None,
) -> Unsettled:
    """The state that the record remembers, else that of merging again."""
    if record is None:
        chosen = _rules(repo, version.path, override)
        merged = merge_in(repo, store, version.sides, chosen)
        return replace(unsettled_of(version, merged), origin=origins.of(repo, chosen, merged))
    result = pointers.parse(record.result)
    sides = named(version.sides)
    still = tuple(_conflict(sides, tensor) for tensor in record.tensors)
    origin = origins.find(repo, version.path, version.blobs, result)
    return Unsettled(version, result, still, record.whole, origin)


def unsettled_of(version: Version, merged: Merged) -> Unsettled:
    return Unsettled(version, merged.pointer, merged.conflicts, merged.whole)


def _rules(repo: Repository, path: bytes, override: str | None) -> Rules:
    """The path's rules; none where they make no sense, which the driver has told of."""
    try:
        return rules_for(repo, path, override)
    except UsageError:
        return Rules()


def _conflict(sides: Sides, tensor: conflicts.Tensor) -> Conflict:
    name = tensor.name
    base = sides.base.by_name.get(name) if sides.base else None
    ours, theirs = sides.ours.by_name.get(name), sides.theirs.by_name.get(name)
    return Conflict(name, base, ours, theirs, tensor.why)


def _removal(path: bytes, stages: dict[int, IndexEntry]) -> Unmergeable:
    if not stages.keys() & {2, 3}:
        drop = (("to drop this name", "git rm --cached"),)
        return Unmergeable(path, "it was renamed on both sides", drop)
    removed = "ours" if 2 not in stages else "theirs"
    why = f"it was removed by {removed} and changed by the other side"
    return Unmergeable(path, why, (("to keep it", "git add"), ("to remove it", "git rm")))


def _version(reader: Reader, store: Store, entry: IndexEntry | None) -> Pointer | None:
    """The pointer of a version; None where there is none, it is empty, or no file."""
    content = None
    if entry is not None and entry.mode.startswith("100"):
        content = reader.read(entry.oid)
    if not content:
        return None
    if looks_like_pointer(content[:4096]):
        return pointers.parse(content)
    return clean(BytesSource(content), store).pointer


def _merged_mode(stages: dict[int, IndexEntry]) -> str:
    """The mode by the rule of three versions, as Git merges it."""
    ours, theirs = stages[2].mode, stages[3].mode
    return theirs if 1 in stages and stages[1].mode == ours else ours


# --- settling ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Settled:
    """A file after some of its tensors were settled, and what is worth telling."""

    file: Unsettled
    decisions: tuple[Decision, ...]
    notes: tuple[str, ...] = ()

    @property
    def refused(self) -> frozenset[str]:
        """Tensors that were asked for and that the strategy cannot give."""
        return frozenset(d.name for d in self.decisions if isinstance(d, Conflict))


def settle_tensors(
    file: Unsettled,
    how: Side | Choice | Spec,
    patterns: Sequence[str],
    store: Store,
    scratch: Path,
) -> Settled:
    """Settle the open tensors that match ``patterns`` (all when none); nothing is written.

    A Spec is a content that the store has. Raises UsageError where ``how`` makes no sense for
    the file, MergeError where no file can hold the result. Tensors that a strategy cannot give
    stay open, with the reason.
    """
    if how == "base" and file.sides.base is None:
        raise UsageError(
            f"{shown(file.path)} was added on both sides, so it has no base",
            hint="use --ours, --theirs or --strategy mean",
        )
    if file.whole:
        return _settle_whole(file, how, patterns)
    if isinstance(how, Choice) and is_statistics(file.path):
        how = mean_for(how) or how
    chosen = matching(file, patterns)
    decided: Sequence[Decision] = [_decide(conflict, how) for conflict in chosen]
    if isinstance(how, Choice):
        rules = Rules(how, tuple((pattern, how) for pattern in patterns))
        decided = in_company(decided, file.sides, rules)
    made = carry_out(decided, named(file.sides), store)
    left = {d.name: d for d in made.decisions if isinstance(d, Conflict)}
    done = [d for d in made.decisions if d.name not in left]
    wanted = dict(file.result.by_name)
    for decision in done:
        wanted.pop(decision.name, None)
        if decision.name in made.wanted:
            wanted[decision.name] = made.wanted[decision.name]
    result, notes = assemble(file.sides, wanted, store, scratch, file.result)
    names = {decision.name for decision in done}
    still = tuple(left.get(c.name, c) for c in file.open if c.name not in names)
    after = replace(file, result=result, open=still, origin=file.origin.then(_word(how), names))
    return Settled(after, made.decisions, (*made.notes, *told(made.decisions), *notes))


def matching(file: Unsettled, patterns: Sequence[str]) -> list[Conflict]:
    """The open tensors that match one of ``patterns``; all when there are none."""
    return [c for c in file.open if not patterns or _matches(c.name, patterns)]


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) or name == pattern for pattern in patterns)


def _word(how: Side | Choice | Spec) -> str:
    """As in trailers: what somebody edited nobody can make again."""
    return HAND if isinstance(how, Spec) else str(how)


def tensor_of(name: str, content: Spec) -> Stored:
    """The tensor with that content; ValueError where it is none."""
    dtype, shape = content.dtype, content.shape
    return Stored(name, dtype, shape, Oid(bytes.fromhex(content.oid)), nbytes(dtype, shape))


def _decide(conflict: Conflict, how: Side | Choice | Spec) -> Decision:
    if isinstance(how, Choice):
        return settle(conflict, how)
    if isinstance(how, Spec):
        return Take(conflict.name, "both", tensor_of(conflict.name, how))
    entries = {"base": conflict.base, "ours": conflict.ours, "theirs": conflict.theirs}
    source = "unchanged" if how == "base" else how
    return Take(conflict.name, source, entries[how])


def _settle_whole(file: Unsettled, how: Side | Choice | Spec, patterns: Sequence[str]) -> Settled:
    if isinstance(how, Choice) and how.strategy in ("ours", "theirs"):
        how = "ours" if how.strategy == "ours" else "theirs"
    if patterns or isinstance(how, Choice | Spec):
        raise UsageError(
            f"{shown(file.path)} conflicts as a whole: {file.whole}",
            hint="settle it with --ours, --theirs or --base and no tensor names",
        )
    taken = file.sides.of(how)
    assert taken is not None
    after = replace(file, result=taken, open=(), whole="", origin=file.origin.then(how, ()))
    return Settled(after, (), (f"{how} is taken whole",))


# --- handing back -----------------------------------------------------------------------


def finish(repo: Repository, store: Store, file: Unsettled) -> None:
    """Write the file into the work tree; stage it where nothing is open, else remember.

    The file comes first: an index that names content which is not there yet would show a
    change that nobody made.
    """
    text = render(file.result)
    written = _write(repo, store, file, text)
    record = record_of(repo, store, file)
    origins.save(repo, file.path, file.version.blobs, file.result, file.origin)
    if not file.is_settled:
        conflicts.save(repo, record)
        return
    oid = repo.git("hash-object", "-w", "--stdin", stdin=text).strip()
    null = b"0" * len(oid)
    # The entry of mode 0 removes the three versions, the other one is stage 0.
    lines = b"0 %s\t%s\0%s %s 0\t%s\0" % (
        null,
        file.path,
        file.version.mode.encode(),
        oid,
        file.path,
    )
    repo.git("update-index", "-z", "--index-info", stdin=lines)
    conflicts.drop(repo, record)
    index.refresh(repo, [file.path], {file.path: written})


def record_of(repo: Repository, store: Store, file: Unsettled) -> Record:
    sides = (file.sides.base, file.sides.ours, file.sides.theirs)
    names = named(file.sides)
    return Record(
        file.path,
        str(repo.git_dir),
        file.version.blobs,
        render(file.result),
        tuple(conflicts.tensor(c, (names.base, names.ours, names.theirs)) for c in file.open),
        file.whole,
        conflicts.oids_of((*sides, file.result), store),
    )


def _write(repo: Repository, store: Store, file: Unsettled, text: bytes) -> index.Written:
    """Replace the work-tree file, complete, by rename."""
    if repo.work_tree is None:
        raise UsageError("there is no work tree here", hint="run it in a work tree")
    model = open_pointer(file.result, store)
    name = file.path.rpartition(b"/")[2]
    temporary = b".nn-%d-%s" % (os.getpid(), os.urandom(6).hex().encode())
    try:
        with open_parent(repo.work_tree, file.path) as folder:
            try:
                flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
                mode = 0o777 if file.version.mode == "100755" else 0o666
                with os.fdopen(os.open(temporary, flags, mode, dir_fd=folder), "r+b") as out:
                    smudge.write_file(model.pointer, model.skeleton, store, FileSink(out.fileno()))
                os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
                found = os.stat(name, dir_fd=folder, follow_symlinks=False)
            finally:
                with suppress(FileNotFoundError):
                    os.unlink(temporary, dir_fd=folder)
    except OSError as error:
        raise StoreError(f"cannot write {shown(file.path)}: {error.strerror}") from error
    assert stat.S_ISREG(found.st_mode)
    return index.Written(found, text)
