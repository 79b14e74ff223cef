"""What the filter answers: clean, smudge, and what is written after Git has finished.

A smudge is answered in one of four ways (design, section 7):
    whole file   always right; Git keeps it in memory
    pointer      a diff asks (Git smudges both sides before it calls a diff driver, and
                 ours works from pointers), or the content cannot be had now
    later        a large file under a command where nothing runs before Git ends: the
                 answer is the pointer, and ``finish`` writes the file
    delayed      the content has to be fetched: Git asks again when it is here
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property

from git_nn import smudge
from git_nn.drivers import hook_files
from git_nn.drivers.background import start_if_due
from git_nn.drivers.caller import Command, calling_command
from git_nn.drivers.cleaner import Cleaner
from git_nn.drivers.content import IN_MEMORY, collected, passed_through, written
from git_nn.drivers.open import open_repository, store_of
from git_nn.drivers.progress import Meter, metered
from git_nn.errors import (
    ConflictMarkerError,
    DamagedObjectError,
    GitNNError,
    MissingObjectError,
    PointerError,
)
from git_nn.gitio.config import Config, load
from git_nn.gitio.objects import Reader, open_batch
from git_nn.gitio.repository import Repository
from git_nn.materialise import Task, materialise
from git_nn.objects import pointer as pointers
from git_nn.objects.names import escape
from git_nn.objects.oid import Oid
from git_nn.objects.pointer import Pointer, looks_like_pointer
from git_nn.objects.skeleton import Skeleton
from git_nn.store.local import LocalStore

_DIFFS = frozenset({"diff", "log", "show", "whatchanged", "blame", "annotate", "reflog"})
_FULL_UNDER = ("difftool", "mergetool", "archive", "cat-file", "format-patch")
# commands under which nothing runs between the last smudge and the end of Git, but for the hook
_DEFER_UNDER = {
    "checkout": "post-checkout", "switch": "post-checkout", "restore": "", "reset": "",
    "clone": "post-checkout", "merge": "post-merge", "pull": "post-merge", "stash": "",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Request:
    """One request of Git; ``path`` is relative to the top of the work tree."""

    command: bytes
    path: bytes
    can_delay: bool = False
    blob: str = ""
    treeish: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    pieces: Iterable[bytes | bytearray | memoryview] = ()
    delayed: bool = False


@dataclass
class Session:
    """The state of one filter process: one repository, one git command."""

    repo: Repository
    store: LocalStore
    delayed: dict[bytes, bytes] = field(default_factory=dict)
    later: list[Task] = field(default_factory=list)
    without: list[tuple[bytes, GitNNError]] = field(default_factory=list)
    ending: ExitStack = field(default_factory=ExitStack)
    keeping: bool = False
    told: set[str] = field(default_factory=set)

    @classmethod
    def open(cls) -> Session:
        repo = open_repository()
        return cls(repo, store_of(repo))

    @cached_property
    def config(self) -> Config:
        return load(self.repo)

    @cached_property
    def command(self) -> Command:
        return calling_command()

    @cached_property
    def objects(self) -> Reader:
        return open_batch(self.repo)

    @cached_property
    def cleaner(self) -> Cleaner:
        limit = min(self.config.integer("nn.largethreshold", IN_MEMORY), IN_MEMORY)
        return Cleaner(self.repo, self.store, self.objects, self.command, limit)

    def clean(self, request: Request, content: Iterable[bytes]) -> Answer:
        self._keep_store()
        return Answer(self.cleaner.clean(request.path, content))

    def _keep_store(self) -> None:
        """No gc until Git has ended: what we answer now is in its index only then."""
        if not self.keeping:
            self.keeping = True
            self.ending.enter_context(self.store.shared())

    # -- smudge --------------------------------------------------------------------------

    def smudge(self, request: Request, content: Iterable[bytes]) -> Answer:
        text = self.delayed.pop(request.path, None)
        if text is not None:
            return self._smudge_pointer(request, text, asked_again=True)
        with collected(content, self.repo.nn_dir) as source:
            if not looks_like_pointer(source.read(0, min(source.size, 4096))):
                return Answer(passed_through(source))
            text = source.read(0, min(source.size, pointers.MAX_SIZE + 1))
        return self._smudge_pointer(request, text, asked_again=False)

    def _smudge_pointer(self, request: Request, text: bytes, *, asked_again: bool) -> Answer:
        if self._wants_pointer(request):
            return Answer([text])
        waits = request.can_delay or asked_again
        try:
            pointer = pointers.parse(text)
            self._need(pointer)
            skeleton = smudge.load_skeleton(pointer, self.store)
            if waits and self._may_wait(skeleton):
                self.later.append(Task(request.path, text))
                return Answer([text])
            return Answer(written(pointer, skeleton, self.store, self.repo.nn_dir))
        except ConflictMarkerError:
            return Answer([text])  # Git merged the text by itself; clean will refuse it
        except (MissingObjectError, DamagedObjectError, PointerError) as error:
            if request.can_delay and not isinstance(error, PointerError):
                self.delayed[request.path] = text
                return Answer(delayed=True)
            if waits:  # never a failed checkout: the pointer is a clean state
                self.without.append((request.path, error))
                return Answer([text])
            return self._adopted(pointers.parse(text))

    def _need(self, pointer: Pointer) -> None:
        missing = self.store.missing(
            [pointer.skeleton, *(entry.oid for entry in pointer.stored.values())]
        )
        if missing:
            raise MissingObjectError(
                missing[0].hex(),
                what=_what(pointer, missing[0]),
                hint="run 'git nn pull' when the weights can be had",
            )

    def _adopted(self, pointer: Pointer) -> Answer:
        """The whole file, where somebody keeps the answer: never the pointer in its place."""
        self._obtain([pointer])
        self._need(pointer)
        skeleton = smudge.load_skeleton(pointer, self.store)
        return Answer(written(pointer, skeleton, self.store, self.repo.nn_dir))

    def _wants_pointer(self, request: Request) -> bool:
        if os.environ.get("GIT_NN_SMUDGE") == "full":
            return False
        if os.environ.get("GIT_NN_SKIP_SMUDGE", "0") not in ("", "0"):
            return True
        if request.can_delay or request.treeish:
            return False
        return (
            self.command.name in _DIFFS
            and not self.command.is_within(*_FULL_UNDER)
            and not self._has_other_diff_driver(request.path)
        )

    def _has_other_diff_driver(self, path: bytes) -> bool:
        """Another driver than ours would be handed the pointer as if it were the weights."""
        from git_nn.gitio.attributes import lookup

        if "GIT_EXTERNAL_DIFF" in os.environ:
            return True
        return lookup(self.repo, [path], ["diff"]).get(path, {}).get("diff") != "nn"

    def _may_wait(self, skeleton: Skeleton) -> bool:
        hook = _DEFER_UNDER.get(self.command.name)
        if hook is None or self.repo.work_tree is None:
            return False
        if skeleton.size < self.config.integer("nn.largethreshold", IN_MEMORY):
            return False
        return not hook or not has_foreign_hook(self.repo, hook)

    # -- delayed paths and the end ---------------------------------------------------------

    def available(self) -> list[bytes]:
        """Every delayed path: what can be had has been fetched when this returns."""
        if self.delayed:
            self._obtain(map(pointers.parse, self.delayed.values()))
        return list(self.delayed)

    def _obtain(self, wanted: Iterable[Pointer]) -> None:
        """Fetch what is missing; a remote that fails is told of once."""
        from git_nn.transfer.obtain import obtain

        with metered("Fetching weights") as begin:
            failures = obtain(self.repo, self.store, wanted, begin)
        for failure in map(str, failures):
            if failure not in self.told:
                self.told.add(failure)
                print(f"git-nn: {failure}", file=sys.stderr)

    def finish(self) -> None:
        """Write the files that waited, and say which could not be had."""
        if self.later:
            meter = Meter("Writing weights")
            for outcome in materialise(self.repo, self.store, self.later, meter.advance):
                if outcome.error is not None:
                    self.without.append((outcome.task.path, outcome.error))
            meter.finish()
        self.ending.close()
        self._ensure_hook()
        if self.keeping:
            start_if_due(self.repo, self.store, self.config)
        for path, error in self.without:
            print(f"git-nn: {os.fsdecode(path)} stays a pointer: {error}", file=sys.stderr)

    def _ensure_hook(self) -> None:
        """See to it that a push from here sends weights; say once where that is not for us."""
        if not self.config.boolean("nn.hooks", True):
            return
        from git_nn.drivers.launcher import launcher

        try:
            done = hook_files.ensure(self.repo, launcher)
        except (GitNNError, OSError):  # 'git nn doctor' tells of it
            return
        if done is not None and done.state is hook_files.State.BY_HAND and self.keeping:
            print(
                f"git-nn: {done.path} is not ours to edit, since {done.why}; for 'git push' to "
                f"send weights add this line to it: {done.line}",
                file=sys.stderr,
            )


def has_foreign_hook(repo: Repository, name: str) -> bool:
    """Whether a hook of somebody else runs before Git ends, and might read the weights."""
    path = hook_files.folder(repo) / name
    try:
        text = path.read_text("utf-8", "replace")
    except OSError:
        text = ""
    if os.access(path, os.X_OK) and _without_our_block(text).strip():
        return True
    events = repo.git("config", "--get-regexp", r"^hook\..*\.event$", check=False)
    return name.encode() in events  # Git 2.54 runs hooks that are in the configuration


def _without_our_block(text: str) -> str:
    before, _, rest = text.partition("# >>> git-nn >>>")
    after = rest.partition("# <<< git-nn <<<")[2]
    lines = (before + after).splitlines()
    return "\n".join(line for line in lines if not line.lstrip().startswith("#"))


def _what(pointer: Pointer, oid: Oid) -> str:
    names = [entry.name for entry in pointer.stored.values() if entry.oid == oid]
    return f"tensor {escape(names[0])}" if names else "the skeleton"
