"""What ``git nn doctor`` looks at: the set-up, the attributes, the hooks and the store."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from git_nn import track
from git_nn.check import stranded
from git_nn.drivers import hook_files
from git_nn.drivers.hooks import pointers_on_disk
from git_nn.drivers.launcher import launcher
from git_nn.drivers.open import store_of
from git_nn.drivers.paths import word
from git_nn.drivers.setup_checks import Problem, check_configuration, check_git
from git_nn.drivers.terminal import quoted
from git_nn.errors import GitNNError
from git_nn.gitio.attributes import lookup
from git_nn.gitio.repository import Repository
from git_nn.track import Rule

_WANTED = {"filter": "nn", "diff": "nn", "merge": "nn", "text": "unset"}
_LARGE_FILES = re.compile(r"^(\s*)-\s+id:\s*['\"]?check-added-large-files\b", re.MULTILINE)
_SHOWN = 3

Found = list[tuple[bytes, Rule]]  # (path of a .gitattributes, a rule of ours in it)


def examine(repo: Repository, *, is_repository: bool = True) -> Iterator[Problem]:
    """Everything that is wrong; outside of a repository only what concerns the machine.

    Notes are last, since nobody needs to do what they say.
    """
    yield from sorted(_examine(repo, is_repository), key=lambda problem: problem.note)


def _examine(repo: Repository, is_repository: bool) -> Iterator[Problem]:
    yield from check_git(repo)
    yield from check_configuration(repo)
    if not is_repository:
        return
    yield from _store(repo)
    if repo.work_tree is None:
        return
    found = rules_of(repo)
    yield from _rules(found)
    yield from _shadowed(repo, found)
    yield from _files(repo, found)
    yield from _hooks(repo)
    if found:
        yield from _pre_commit(repo.work_tree, found)


def rules_of(repo: Repository) -> Found:
    found = []
    for path in track.attribute_files(repo):
        file = repo.top / os.fsdecode(path)
        if file.is_file() and not file.is_symlink():
            rules = track.rules(file.read_bytes())
            found += [(path, rule) for rule in rules if rule.is_ours]
    return found


def _store(repo: Repository) -> Iterator[Problem]:
    try:
        store_of(repo)
    except GitNNError as error:
        yield Problem(error.message, error.hint or "git nn fsck")
    folder = repo.nn_dir if repo.nn_dir.exists() else repo.common_dir
    if not os.access(folder, os.W_OK | os.X_OK):
        yield Problem(f"the store {repo.nn_dir} cannot be written", f"chmod u+rwx {folder}")


def _rules(found: Found) -> Iterator[Problem]:
    for path, rule in found:
        lacking = [word.decode() for word in track.ATTRIBUTES if word not in rule.attributes]
        if lacking:
            pattern = track.quote(rule.pattern).decode("utf-8", "replace")
            message = f"{quoted(path)}: the line for {pattern} lacks {' '.join(lacking)}"
            whole = b" ".join(track.ATTRIBUTES).decode()
            yield Problem(message, f"make the line: {pattern} {whole}")


def _shadowed(repo: Repository, found: Found) -> Iterator[Problem]:
    """Files that a line of ours matches, but whose attributes a later line changes."""
    for path, rule in found:
        names = [n for n, v in _WANTED.items() if _word(n, v) in rule.attributes]
        files = _matching(repo, path.rpartition(b"/")[0], rule.pattern)
        effective = lookup(repo, files, names)
        for name in names:
            lost = [file for file in files if effective[file].get(name) != _WANTED[name]]
            if lost:
                value = effective[lost[0]].get(name, "unspecified")
                pattern = track.quote(rule.pattern).decode("utf-8", "replace")
                yield Problem(
                    f"a line behind {pattern} in {quoted(path)}, or nearer to the files, makes "
                    f"{name} {value} for {_names(lost)}",
                    f"move the line for {pattern} to the end, or delete the other one",
                )


def _word(name: str, value: str) -> bytes:
    return b"-text" if name == "text" else f"{name}={value}".encode()


def _matching(repo: Repository, folder: bytes, pattern: bytes) -> list[bytes]:
    """Files of the index that a pattern of ``folder``'s .gitattributes matches.

    Patterns of attributes and of ignored files mean the same, so ls-files can tell; but its
    patterns are relative to the top.
    """
    if folder:
        deep = pattern if b"/" in pattern.rstrip(b"/") else b"**/" + pattern
        pattern = b"/" + track.escape(folder) + b"/" + deep.removeprefix(b"/")
    argv = ("ls-files", "-z", "--cached", "--ignored", f"--exclude={os.fsdecode(pattern)}")
    return sorted(set(repo.git(*argv).split(b"\0")[:-1]))


def _files(repo: Repository, found: Found) -> Iterator[Problem]:
    pointers = list(pointers_on_disk(repo))
    if pointers:
        yield Problem(f"pointers instead of weights: {_names(pointers)}", "git nn pull")
    lost = stranded.find(repo, cached=False)
    if lost.paths:
        top = word(repo, b".")
        fix = lost.fix("git" if top == "." else f"git -C {top}")
        yield Problem(f"pointers in Git without a rule: {_names(list(lost.paths))}", fix)
    raw = track.committed_raw(repo)
    if raw:
        message = f"tracked, but in Git as raw bytes: {_names(raw)}"
        rules = "".join(f" {word(repo, path)}" for path in dict(found))
        add = f"git add{rules} && " if rules else ""  # a new .gitattributes is not in Git yet
        yield Problem(message, f"{add}git add --renormalize :/ && git commit")


def _hooks(repo: Repository) -> Iterator[Problem]:
    for path in hook_files.present(repo):
        if not os.access(path, os.X_OK):
            yield Problem(f"the hook {path} is not executable", f"chmod +x {path}")
        if not hook_files.is_current(path, launcher()):
            yield Problem(f"the hook {path} starts another git-nn", "git nn install --hooks")


def _pre_commit(top: Path, found: Found) -> Iterator[Problem]:
    path = top / ".pre-commit-config.yaml"
    try:
        text = path.read_text("utf-8", "replace")
    except OSError:
        return
    match = _LARGE_FILES.search(text)
    if match is None:
        return
    entry = re.split(r"^\s*-\s", text[match.end() :], maxsplit=1, flags=re.MULTILINE)[0]
    if "exclude:" in entry:
        return
    yield Problem(
        f"{path.name}: check-added-large-files rejects every weight file but those of git-lfs",
        "use the hook nn-check-large-files in its place, or add below its id:\n"
        f"{match[1]}  exclude: '{_exclusion([rule for _, rule in found])}'",
    )


def _exclusion(rules: list[Rule]) -> str:
    """A regular expression for the paths that our patterns match, as pre-commit takes it."""
    suffixes = [
        rule.pattern[1:].decode()
        for rule in rules
        if re.fullmatch(rb"\*(\.[A-Za-z0-9_-]+)+", rule.pattern)
    ]
    if len(suffixes) < len(rules):
        from git_nn.formats import table

        suffixes += table.suffixes()
    return "(" + "|".join(re.escape(suffix) for suffix in dict.fromkeys(suffixes)) + ")$"


def _names(paths: list[bytes]) -> str:
    more = f" and {len(paths) - _SHOWN} more" if paths[_SHOWN:] else ""
    return ", ".join(quoted(path) for path in paths[:_SHOWN]) + more
