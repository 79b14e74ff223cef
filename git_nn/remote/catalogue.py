"""catalogue: a ref on a Git remote whose commit's tree is a set of entries, changed by union.

What is fetched lies in a bare repository of its own in the clone's cache (docs/spec-remote.md, "In
the clone"), not under a ref of the clone: there 'git gc', 'git push --mirror' and the walk over all
pointers would meet it. It borrows the clone's configuration (helpers for credentials, proxies,
insteadOf, the ssh command) for the time of a command; nothing of that is written down.

1. ``entries`` costs one round trip where nothing is new: the ref's commit says which tree is known.
2. A change is a compare-and-swap, begun anew when another writer was faster. The same entries make
   the same commit, so an answer that got lost does no harm.
3. Objects on their way up lie in a temporary folder: no pack stays twice on this disk.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from git_nn.errors import GitError, RemoteError
from git_nn.gitio.objects import open_batch
from git_nn.gitio.repository import Repository
from git_nn.remote.address import redacted
from git_nn.remote.base import identity_of
from git_nn.remote.retry import TRIES, pause, persistently

CATALOG, PACKS = "refs/nn/catalog", "refs/nn/packs"  # all there are: see lfs_catalogue, in_git
RACES = 30  # tries to be the one that changes the ref
MAX_ENTRIES = 1 << 20
_MODE = b"100644"
_CHUNK = 1 << 20
_DAY = 86400.0
_UNDER_WAY = "tmp-"
NAME = "git-nn-catalogue"  # of the remote, for the time of one command
_NOT_OURS = (
    "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_WORK_TREE",
    "GIT_COMMON_DIR", "GIT_QUARANTINE_PATH", "GIT_SHALLOW_FILE", "GIT_GRAFT_FILE", "GIT_NAMESPACE",
    "GIT_NO_LAZY_FETCH", "GIT_REPLACE_REF_BASE",
)  # fmt: skip
_PASSING = re.compile(
    r"timed out|timeout|reset by peer|early EOF|hung up|unexpected disconnect|Temporary failure"
    r"|(?:HTTP|error:) (?:429|5\d\d)|cannot lock ref|\.lock'",
    re.IGNORECASE,
)
_RACE = re.compile(r"stale info|fetch first|non-fast-forward|cannot lock ref|failed to update ref"
                   r"|\.lock'|reference already exists", re.IGNORECASE)  # fmt: skip
_USER = re.compile(r"(?<=://)[^/\s'\"]*@")
_WHO = {
    f"GIT_{role}_{part}": value
    for role in ("AUTHOR", "COMMITTER")
    for part, value in (("NAME", "git-nn"), ("EMAIL", "git-nn@localhost"), ("DATE", "@0 +0000"))
}


def reaching(repo: Repository, url: str) -> Repository:
    """``repo`` with NAME as the remote at ``url``, which may hold a password."""
    return _with_config(repo, _remote(_absolute(repo, url), None))


def failure(label: str, error: GitError) -> RemoteError:
    """A failure of git with a remote, without any credential."""
    lines = [line.strip() for line in error.stderr.splitlines() if line.strip()]
    first = next((line for line in lines if line.startswith(("fatal:", "ERROR:"))), "")
    told = without_credentials(first or (lines[-1] if lines else f"exit status {error.status}"))
    passing = bool(_PASSING.search(error.stderr)) and "denied" not in error.stderr
    hint = "run 'git ls-remote' on that address to see whether Git can reach it"
    return RemoteError(f"{label}: {told[:300]}", hint=hint, transient=passing)


def without_credentials(message: str) -> str:
    """A message with addresses, for people to read."""
    return _USER.sub("", message)


@dataclass(frozen=True, slots=True)
class _Seen:
    """The tree of one commit: blobs by path. The commit of an absent ref is ''."""

    commit: str
    entries: Mapping[str, str]


class Catalogue:
    """The entries under ``ref`` of the Git remote at ``url``.

    Blobs of more than ``largest`` bytes are fetched when they are read, where the remote can do
    that (uploadpack.allowFilter); None fetches all at once. Any thread may call.
    """

    def __init__(self, repo: Repository, url: str, ref: str, *, largest: int | None = None) -> None:
        self.label = redacted(url)
        self.ref = ref
        folder = repo.nn_dir / "cache" / "remotes" / identity_of(self.label)
        self._side = _side(repo, folder / f"{ref.rpartition('/')[2]}.git")
        self._far = _with_config(self._side, _remote(_absolute(repo, url), largest))
        self._seen: _Seen | None = None
        self._lock = threading.Lock()

    # -- reading

    def entries(self) -> Mapping[str, str]:
        """The name of each entry's blob by its path, as the remote has them now."""
        with self._lock:
            return self._now().entries

    def known(self) -> Mapping[str, str]:
        """The entries as they were last seen; asks the remote the first time only."""
        with self._lock:
            return (self._seen or self._now()).entries

    def read(self, blobs: Collection[str], limit: int) -> Iterator[bytes | None]:
        """The content of these blobs, in this order; None for one above ``limit`` bytes."""
        with open_batch(self._far) as reader:
            for blob in blobs:
                try:
                    found = reader.info(blob)
                    yield reader.read(blob) if found and found[2] <= limit else None
                except GitError:  # it was to be fetched now
                    raise RemoteError(
                        f"{self.label}: an entry of {self.ref} cannot be fetched",
                        hint="run the same command again",
                    ) from None

    def stream(self, blob: str) -> Iterator[bytes]:
        """The content of one blob, as it comes."""
        with tempfile.TemporaryFile() as errors:
            child = self._far.start("cat-file", "blob", blob, stderr=errors)
            assert child.stdout is not None
            try:
                while piece := child.stdout.read(_CHUNK):
                    yield piece
                if child.wait():
                    errors.seek(0)
                    text = errors.read().decode("utf-8", "replace")
                    raise failure(self.label, GitError(("cat-file",), child.returncode, text))
            finally:
                child.kill()
                child.stdout.close()
                child.wait()

    def _now(self) -> _Seen:
        commit = persistently(self._asked)
        if self._seen is None or self._seen.commit != commit:
            self._seen = persistently(lambda: self._fetched(commit)) if commit else _Seen("", {})
        return self._seen

    def _asked(self) -> str:
        """The commit that the ref has at the remote; '' where there is none."""
        self._ensure()
        output = self._told(self._far, "ls-remote", "--quiet", NAME, self.ref)
        for line in output.decode("utf-8", "replace").splitlines():
            name, _, ref = line.partition("\t")
            if ref == self.ref:
                return name
        return ""

    def _fetched(self, commit: str) -> _Seen:
        """The entries of ``commit``, or of what the ref has become meanwhile."""
        if self._local() != commit:
            self._told(self._far, "-c", "push.followTags=false", "fetch", "--quiet", "--no-tags",
                       "--no-write-fetch-head", "--recurse-submodules=no", NAME,
                       f"+{self.ref}:{self.ref}")  # fmt: skip
            commit = self._local()
        return _Seen(commit, self._listed(commit))

    def _local(self) -> str:
        argv = ("rev-parse", "--verify", "--quiet", self.ref)
        return self._side.git(*argv, check=False).decode().strip()

    def _listed(self, commit: str) -> dict[str, str]:
        found: dict[str, str] = {}
        count = 0
        with self._side.pipe(("ls-tree", "-r", "-z", "--full-tree", commit)) as output:
            for line in _terminated(output):
                count += 1
                if count > MAX_ENTRIES:  # a small tree can hold itself, again and again
                    raise RemoteError(f"{self.label}: {self.ref} has too many entries")
                head, _, path = line.partition(b"\t")
                mode, _, blob = head.split(b" ")
                if mode == _MODE:
                    found[path.decode("utf-8", "surrogateescape")] = blob.decode()
        return found

    def _ensure(self) -> None:
        folder = self._side.git_dir
        if folder.exists():
            return
        folder.parent.mkdir(parents=True, exist_ok=True)
        env = {k: v for k, v in self._side.env.items() if k != "GIT_DIR"}
        with tempfile.TemporaryDirectory(prefix=_UNDER_WAY, dir=folder.parent) as new:
            argv = ("init", "--quiet", "--bare", "--template=",
                    f"--object-format={self._side.object_format}", "--", f"{new}/git")  # fmt: skip
            replace(self._side, env=env).git(*argv, cwd=folder.parent)
            with suppress(OSError):  # another process was faster
                Path(new, "git").rename(folder)

    # -- changing

    @contextmanager
    def desk(self) -> Iterator[Desk]:
        """Where new entries are made and published; what lies on it goes when the block ends."""
        self._ensure()
        around = self._side.git_dir.parent
        _sweep(around)
        with tempfile.TemporaryDirectory(prefix=_UNDER_WAY, dir=around) as folder:
            own = Path(folder) / "objects"
            own.mkdir()
            shelf = {
                "GIT_OBJECT_DIRECTORY": str(own),
                "GIT_ALTERNATE_OBJECT_DIRECTORIES": _quoted(self._side.git_dir / "objects"),
                "GIT_INDEX_FILE": str(Path(folder) / "index"),
            }
            yield Desk(self, self._side.with_env(**shelf), self._far.with_env(**shelf))

    def remove(self, paths: Collection[str]) -> None:
        """Take entries away."""
        gone = set(paths)
        with self.desk() as desk:
            desk.change(lambda old: {path: old[path] for path in old if path not in gone})

    def _told(self, repo: Repository, *argv: str) -> bytes:
        """What git prints; a failure is one of the remote, without any credential."""
        try:
            return repo.git(*argv)
        except GitError as error:
            raise failure(self.label, error) from None


@dataclass(frozen=True, slots=True)
class Desk:
    """Objects that are not published yet."""

    catalogue: Catalogue
    side: Repository
    far: Repository

    def blob(self, value: Path | bytes) -> str:
        """The name of a new blob with the bytes of a file or these."""
        if isinstance(value, bytes):
            return self.side.git("hash-object", "-w", "--stdin", stdin=value).decode().strip()
        with value.open("rb") as file, tempfile.TemporaryFile() as errors:
            child = self.side.start("hash-object", "-w", "--stdin", stdin=file, stderr=errors)
            name = child.communicate()[0].decode().strip()
            if child.returncode:
                errors.seek(0)
                text = errors.read().decode("utf-8", "replace")
                raise GitError(("hash-object",), child.returncode, text)
        return name

    def add(self, entries: Mapping[str, str]) -> None:
        """Publish these, all at once; they take the place of what stands under their paths."""
        self.change(lambda old: {**old, **entries})

    def change(self, work: Callable[[Mapping[str, str]], Mapping[str, str]]) -> None:
        """Make the entries what ``work`` makes of them, whoever else changes them meanwhile."""
        far = self.catalogue
        with far._lock:
            for number in range(RACES):
                seen = (far._seen if number == 0 else None) or far._now()
                wanted = work(seen.entries)
                if wanted == seen.entries:
                    return
                if self._swapped(seen, self._commit(wanted), number):
                    far._now()
                    return
                pause(min(number, 2))
        raise RemoteError(
            f"{far.label}: others changed {far.ref} each time before this push could",
            hint="run the same command again",
        )

    def _commit(self, entries: Mapping[str, str]) -> str:
        listed = b"".join(
            b"%s %s\t%s\0" % (_MODE, blob.encode(), path.encode("utf-8", "surrogateescape"))
            for path, blob in sorted(entries.items())
        )
        Path(self.side.env["GIT_INDEX_FILE"]).unlink(missing_ok=True)
        self.side.git("update-index", "-z", "--index-info", stdin=listed)
        tree = self.side.git("write-tree", "--missing-ok").decode().strip()
        ours = self.side.with_env(**_WHO)
        return ours.git("commit-tree", tree, stdin=b"packs of git-nn\n").decode().strip()

    def _swapped(self, seen: _Seen, commit: str, number: int) -> bool:
        """Whether the ref has become ``commit``; False where it is worth to begin anew."""
        far = self.catalogue
        try:
            self.far.git("push", "--no-verify", "--no-follow-tags",
                         "--recurse-submodules=no", f"--force-with-lease={far.ref}:{seen.commit}",
                         NAME, f"{commit}:{far.ref}")  # fmt: skip
        except GitError as error:
            now = persistently(far._asked)
            if now == commit:  # it arrived, and the answer did not
                return True
            passing = failure(far.label, error).transient or _RACE.search(error.stderr)
            if now != seen.commit or (passing and number < TRIES):
                return False
            raise self._refusal(error) from None
        return True

    def _refusal(self, error: GitError) -> RemoteError:
        far = self.catalogue
        refused = next((x for x in error.stderr.splitlines() if x.startswith(" ! ")), "")
        if not refused:
            return failure(far.label, error)
        why = without_credentials(refused[3:])[:300]
        return RemoteError(
            f"{far.label} does not let {far.ref} be changed: {why}",
            hint="ask for the right to push there, or name another remote with nn.url",
        )


def _sweep(folder: Path) -> None:
    """Take away what processes that were killed have left here."""
    for left in folder.glob(f"{_UNDER_WAY}*"):
        with suppress(OSError):
            if left.stat().st_mtime < time.time() - _DAY:
                shutil.rmtree(left, ignore_errors=True)


def _terminated(output: IO[bytes]) -> Iterator[bytes]:
    """Pieces that end with a NUL, without it."""
    rest = b""
    while piece := output.read(_CHUNK):
        *lines, rest = (rest + piece).split(b"\0")
        yield from lines


def _absolute(repo: Repository, url: str) -> str:
    """``url`` for a git that runs in another folder; what is no path stays as it is."""
    if "://" in url or re.match(r"[^/]*:", url):
        return url
    return str(repo.top / url)


def _side(repo: Repository, folder: Path) -> Repository:
    env = {name: value for name, value in repo.env.items() if name not in _NOT_OURS}
    env["GIT_DIR"] = str(folder)
    env["GIT_IMPLICIT_WORK_TREE"] = "0"
    bare = Repository(folder, folder, None, env, repo.object_format)
    return _with_config(bare, (
        ("include.path", str(repo.common_dir / "config")),
        ("core.bare", "true"),
        ("core.hooksPath", os.devnull),
        ("core.fsmonitor", "false"),
        ("core.sparseCheckout", "false"),
        ("core.splitIndex", "false"),
        ("core.logAllRefUpdates", "false"),
        ("core.compression", "0"),  # packs are compressed
        ("core.bigFileThreshold", "64k"),  # and no deltas of each other
        ("i18n.commitEncoding", "UTF-8"),
    ))  # fmt: skip


def _remote(url: str, largest: int | None) -> tuple[tuple[str, str], ...]:
    """A remote that stands in the environment only: an address may hold a password."""
    remote = ((f"remote.{NAME}.url", url),)
    if largest is None:
        return remote
    return (
        *remote,
        (f"remote.{NAME}.promisor", "true"),
        (f"remote.{NAME}.partialclonefilter", f"blob:limit={largest}"),
    )


def _with_config(repo: Repository, settings: Collection[tuple[str, str]]) -> Repository:
    count = int(repo.env.get("GIT_CONFIG_COUNT", "0") or 0)
    env = {}
    for number, (key, value) in enumerate(settings, count):
        env[f"GIT_CONFIG_KEY_{number}"] = key
        env[f"GIT_CONFIG_VALUE_{number}"] = value
    return repo.with_env(GIT_CONFIG_COUNT=str(count + len(settings)), **env)


def _quoted(path: Path) -> str:
    """For a list of folders in the environment."""
    text = str(path)
    if os.pathsep not in text and not text.startswith('"'):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
