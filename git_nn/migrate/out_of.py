"""out_of: 'git nn migrate export' - every pointer back to the file that it stands for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from git_nn.gitio.objects import Reader, open_reader
from git_nn.gitio.repository import Repository
from git_nn.gitio.rewriting import Rewriter
from git_nn.migrate import attributes, lfs, swap
from git_nn.migrate.into import Begin, new_pack
from git_nn.migrate.outward import Form, Outward, check_present, folders_of, pointers_of
from git_nn.migrate.rewrite import Rewritten, exact, rewrite, take
from git_nn.migrate.survey import history, lfs_rules
from git_nn.store.local import LocalStore


@dataclass(frozen=True, slots=True)
class Exported:
    """How many pointers became files, of how many bytes."""

    blobs: int
    size: int
    rewritten: Rewritten


def _rules(
    repo: Repository,
    reader: Reader,
    files: dict[bytes, list[str]],
    form: Form,
    found: Mapping[str, bytes],
) -> Callable[[bytes], bytes]:
    """How .gitattributes changes. A rule for Git LFS that ours overrides must not come back."""
    if form == "lfs":
        return attributes.to_lfs
    exported = {path for path, versions in files.items() if not found.keys().isdisjoint(versions)}
    claimed = lfs_rules(repo, reader, files).values()
    return attributes.unfiltered if any(exported & one for one in claimed) else attributes.plain


def export(
    repo: Repository, store: LocalStore, refs: Mapping[str, str], form: Form, begin: Begin
) -> Exported:
    """Rewrite ``refs`` without pointers; nothing moves where this raises.

    UsageError where the repository is not ready for it, MissingObjectError where weights are
    not here.
    """
    swap.check_ready(repo, list(refs))
    if form == "lfs":
        swap.check_filter(repo, "lfs")
    inner = exact(repo)
    sizes: list[int] = []
    with store.shared(), store.scratch() as scratch, open_reader(inner) as reader:
        files = history(inner, list(refs.values()))
        found = pointers_of(reader, files)
        check_present(repo, reader, store, found)
        rules = _rules(inner, reader, files, form, found)
        advance = begin(0)

        def told(_path: bytes, _blob: str, size: int) -> None:
            sizes.append(size)
            advance(size)

        with new_pack(inner, scratch) as pack:
            folders = folders_of(files, found.keys())
            edit = Outward(reader, pack, store, form, rules, found.keys(), folders, scratch,
                           lfs.objects_folder(repo), told)  # fmt: skip
            rewriter = Rewriter(reader, pack, edit)
            done = rewrite(inner, rewriter, refs)
            take(repo, rewriter, done, "git nn migrate export")
    return Exported(len(sizes), sum(sizes), done)
