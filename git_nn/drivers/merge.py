"""The merge driver: ``python -m git_nn.drivers.merge %O %A %B %L %P``.

Git hands over three files with the text of pointers, in the top folder of the work tree,
takes the result from %A, and takes exit status 0 as merged and 1 as a conflict.

1. It never prompts, and prints only on stderr.
2. %A is replaced whole or left as it is: whatever goes wrong is a conflict in which ours
   stays, never a broken file.
3. %L above 7 is the merge of two merge bases: no person will see it, so what is unsettled
   takes the value that both started from, silently.
4. 'git merge -X ours' is not told to drivers; what to do comes from the attribute
   nn-merge, the recipe file, the configuration and GIT_NN_MERGE; or, where a merge is made
   again or only tried (GIT_NN_REPLAY), from a plan, and then nothing is told or recorded.
5. What stands beside the model (merge.strategies, NEEDS) is looked up in the commits that the
   sides are from: GIT_NN_SIDES, else what GITHEAD_* and the heads name (gitio.whence).
"""

from __future__ import annotations

import os
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from git_nn.drivers.process import keep_freed_buffers, one_thread_per_product
from git_nn.errors import GitNNError, MergeError

if TYPE_CHECKING:
    from git_nn.assemble import Sides
    from git_nn.combine import Merged
    from git_nn.conflicts import Blobs
    from git_nn.gitio.repository import Repository
    from git_nn.merge.rules import Rules
    from git_nn.objects.pointer import Pointer
    from git_nn.resolve import Unsettled
    from git_nn.store.local import LocalStore

TOP_LEVEL = 7
_HEAD = "GITHEAD_"
MERGED, CONFLICT = 0, 1


def main(argv: list[str] | None = None) -> int:
    """Merge; the exit status is Git's."""
    arguments = sys.argv[1:] if argv is None else argv
    if len(arguments) != 5:
        _say("usage: python -m git_nn.drivers.merge %O %A %B %L %P")
        return CONFLICT
    *files, level, path = arguments
    try:
        return _merge([Path(name) for name in files], int(level), os.fsencode(path))
    except GitNNError as error:
        _say(f"{_shown(path)}: not merged, ours is kept: {error}")
    except OSError as error:
        _say(f"{_shown(path)}: not merged, ours is kept: {error.strerror or error}")
    except Exception:  # noqa: BLE001 - a bug of ours must be a conflict, never a broken file
        from git_nn.drivers.bug_log import report_bug

        report_bug()
        _say(f"{_shown(path)}: not merged, ours is kept")
    return CONFLICT


@dataclass(frozen=True, slots=True)
class _Asked:
    """What Git wants merged, and where."""

    repo: Repository
    store: LocalStore
    files: list[Path]
    path: bytes


def _merge(files: list[Path], level: int, path: bytes) -> int:
    from git_nn.drivers.open import open_repository, store_of

    repo = open_repository()
    asked = _Asked(repo, store_of(repo), files, path)
    plan = os.environ.get("GIT_NN_REPLAY")
    if plan:
        return _merge_by_plan(asked, Path(plan), is_virtual=level > TOP_LEVEL)
    if level > TOP_LEVEL:
        return _merge_bases(asked)
    sides = _matched(asked, _sides(asked))
    chosen, merged = _merged(asked, sides)
    # The records first: without them the settled tensors of a conflict would be computed again.
    file = _remember(asked, sides, chosen, merged)
    _replace(files[1], merged.pointer)
    _report(repo, path, merged)
    if file is not None:
        return MERGED if _as_before(asked, file) else CONFLICT
    return MERGED


def _merged(asked: _Asked, sides: Sides) -> tuple[Rules, Merged]:
    from git_nn.combine import rules_for
    from git_nn.drivers.progress import Meter, metered
    from git_nn.supply import Watch, merge_in

    keep_freed_buffers()
    chosen = rules_for(asked.repo, asked.path, os.environ.get("GIT_NN_MERGE"))
    meter = Meter("Merging weights")
    with metered("Fetching weights") as begin:
        merged = merge_in(asked.repo, asked.store, sides, chosen, Watch(meter.advance, begin))
    meter.clear()
    return chosen, merged


def _merge_bases(asked: _Asked) -> int:
    one_thread_per_product()
    from git_nn.combine import virtual

    sides = _sides(asked)
    _, merged = _merged(asked, sides)
    _replace(asked.files[1], virtual(sides, merged, asked.store))
    return MERGED


def _remember(asked: _Asked, sides: Sides, chosen: Rules, merged: Merged) -> Unsettled | None:
    """Write down how the result was made, and what is left to settle; None where nothing is."""
    from git_nn import conflicts, origins
    from git_nn.resolve import Version, record_of, unsettled_of

    repo, store, path = asked.repo, asked.store, asked.path
    origin = origins.of(repo, chosen, merged)
    if merged.is_clean and not origin.is_worth_telling:
        return None
    blobs = _blobs(repo, asked.files, sides)
    origins.save(repo, path, blobs, merged.pointer, origin)
    if merged.is_clean:
        return None
    file = replace(unsettled_of(Version(path, blobs, sides), merged), origin=origin)
    conflicts.save(repo, record_of(repo, store, file))
    return file


def _as_before(asked: _Asked, file: Unsettled) -> bool:
    """Settle what was settled before, or offer it; whether Git may take the file as merged."""
    from git_nn import by_hand, conflicts, origins, settled
    from git_nn.resolve import record_of

    repo = asked.repo
    by_hand.learn(repo)
    if not settled.is_automatic(repo):
        count = sum(map(len, settled.recall(repo, asked.store, file).values()))
        if count:
            _say(f"  {count} settled before; to do so again: git nn resolve --again", prefix="")
        return False
    done = settled.again(repo, asked.store, file)
    after = done.file
    for line in done.notes:
        _say(f"  {line}", prefix="")
    if after is file:
        return False
    origins.save(repo, file.path, file.version.blobs, after.result, after.origin)
    conflicts.save(repo, record_of(repo, asked.store, after))
    _replace(asked.files[1], after.result)
    if after.is_settled and settled.goes_on(repo):
        conflicts.drop(repo, record_of(repo, asked.store, after))
        return True
    if after.is_settled:
        _say("  to accept: git nn resolve --again; or 'git nn resolve --forget', and", prefix="")
        _say("  'git checkout -m' to start over", prefix="")
    return False


def _merge_by_plan(asked: _Asked, file: Path, *, is_virtual: bool) -> int:
    from git_nn.combine import virtual
    from git_nn.merge import trailers
    from git_nn.replay import merge_by, merge_by_rules

    plan = trailers.read(file.read_text("utf-8", "surrogateescape")) or trailers.Plan()
    sides = _sides(asked)
    if is_virtual:
        merged = merge_by_rules(asked.repo, asked.store, asked.path, sides, plan)
        _replace(asked.files[1], virtual(sides, merged, asked.store))
        return MERGED
    sides = _matched(asked, sides)
    merged = merge_by(asked.repo, asked.store, asked.path, sides, plan)
    _replace(asked.files[1], merged.pointer)
    return MERGED if merged.is_clean else CONFLICT


def _sides(asked: _Asked) -> Sides:
    from git_nn.assemble import Sides

    base, ours, theirs = (_version(file, asked.store) for file in asked.files)
    if ours is None or theirs is None:
        empty = "ours" if ours is None else "theirs"
        raise MergeError(
            f"{empty} is an empty file", hint="run 'git checkout --ours' or '--theirs' on it"
        )
    return Sides(base, ours, theirs)


def _matched(asked: _Asked, sides: Sides) -> Sides:
    """The versions with what stands beside them: statistics that are read if they are asked for,
    and rows in one order, where both sides added tokens. Merge bases stand in no commit alone."""
    from git_nn import statistics
    from git_nn.tokenizers import matched, of_blobs

    repo, store, files, likely = asked.repo, asked.store, asked.files, _likely()
    known = statistics.of_blobs(repo, store, asked.path, lambda: _names(repo, files[1:]), likely)
    sides = replace(sides, known=known)
    tokens = of_blobs(repo, asked.path, lambda: _blobs(repo, files, sides), _likely())
    return matched(repo, sides, tokens, store, store)


def _likely() -> dict[str, str]:
    """Commits that the sides may be from, with the names that a person gave them."""
    told = os.environ.get("GIT_NN_SIDES", "").split()
    heads = {
        key.removeprefix(_HEAD): name for key, name in os.environ.items() if key.startswith(_HEAD)
    }
    return {commit: commit[:12] for commit in told} | heads


def _version(file: Path, store: LocalStore) -> Pointer | None:
    """A version as a pointer; None where it is empty, as the base of a file added twice is.

    Git hands over weights instead where they were committed without the filter.
    """
    from git_nn.clean import clean
    from git_nn.formats.base import FileSource
    from git_nn.objects.pointer import looks_like_pointer, parse

    with file.open("rb") as content:
        source = FileSource.of(content.fileno())
        if not source.size:
            return None
        if looks_like_pointer(source.read(0, min(source.size, 4096))):
            return parse(content.read())
        pointer = clean(source, store).pointer
    if not pointer.entries:
        raise MergeError(
            "one side is neither a git-nn pointer nor a weight file",
            hint="run 'git checkout --ours' or '--theirs' on it",
        )
    return pointer


def _replace(file: Path, pointer: Pointer) -> None:
    from git_nn.objects.pointer import render

    fd, name = tempfile.mkstemp(dir=file.parent, prefix=".merge_nn_")
    try:
        with os.fdopen(fd, "wb") as out:
            out.write(render(pointer))
        Path(name).replace(file)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _blobs(repo: Repository, files: list[Path], sides: Sides) -> Blobs:
    """Git's names of the three versions, as they will stand in the index."""
    base, ours, theirs = _names(repo, files)
    return base if sides.base is not None else None, ours, theirs


def _names(repo: Repository, files: list[Path]) -> list[str]:
    paths = [str(file.absolute()) for file in files]
    return repo.git("hash-object", "--no-filters", "--", *paths).decode().split()


def _report(repo: Repository, path: bytes, merged: Merged) -> None:
    """One short block: what was merged, what conflicts, what to do next."""
    from git_nn.merge.report import lines, outcome

    name = _shown(os.fsdecode(path))
    shut = any(not conflict.placed for conflict in merged.conflicts)
    if merged.whole:
        _say(f"{name}: the file as a whole conflicts, ours is kept: {merged.whole}")
    else:
        kept = ", ours kept:" if shut else ":" if merged.conflicts else ""
        _say(f"{name}: {outcome(merged.decisions)}{kept}")
        for line in lines(merged.conflicts):
            _say(f"  {line}", prefix="")
    for note in merged.notes:
        _say(f"  {note}", prefix="")
    if merged.whole or shut:
        _advise(repo)


def _advise(repo: Repository) -> None:
    command = "git nn resolve --ours | --theirs | --base | --strategy mean [TENSOR-PATTERN ...]"
    _say(f"  to settle: {command}", prefix="")
    if any((repo.git_dir / name).exists() for name in ("rebase-merge", "rebase-apply")):
        _say("  (in a rebase, ours is what you rebase onto and theirs your commit)", prefix="")


def _shown(path: str) -> str:
    from git_nn.objects.names import escape

    return escape(os.fsencode(path).decode("utf-8", "surrogateescape"))


def _say(text: str, prefix: str = "git-nn: ") -> None:
    print(f"{prefix}{text}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
