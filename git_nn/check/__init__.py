"""check: what should not be committed, found in the index and never in the work tree.

Attributes are read from the index, too: what counts is what would be committed. Of a
pointer only the tensors that no parent of the commit has are read, one at a time; of a raw
blob above ``content.WHOLE`` bytes only the first ``table.SNIFFED``. Where rules change,
pointers that stay as they are can lose theirs, so then the whole index is searched for such.
"""

from __future__ import annotations

from git_nn.check import stranded
from git_nn.check.content import Inspection, known_payloads, without_staged_rule
from git_nn.check.findings import Finding, Limits, Severity, has_errors
from git_nn.gitio import revisions
from git_nn.gitio.attributes import lookup
from git_nn.gitio.objects import open_reader
from git_nn.gitio.repository import Repository
from git_nn.gitio.revisions import Entry
from git_nn.store.local import LocalStore

__all__ = ["Finding", "Limits", "Severity", "everything", "has_errors", "staged"]


def staged(repo: Repository, store: LocalStore, limits: Limits) -> list[Finding]:
    """Findings in what the next commit brings: files of the index that no parent has so."""
    found = [revisions.resolve(repo, name) for name in ("HEAD", "MERGE_HEAD")]
    parents: list[str | None] = [rev for rev in found if rev is not None]
    changes = [revisions.changed(repo, parent, None) for parent in parents or [None]]
    everywhere = set.intersection(*({change.path for change in some} for some in changes))
    new = [c.new for c in changes[0] if c.new is not None and c.path in everywhere]
    old = [c.old for some in changes for c in some if c.old is not None]
    findings = _check(repo, store, new, old, limits)
    # in a merge one parent may bring the pointer and the other one the loss of its rule
    paths = {change.path for some in changes for change in some}
    if any(path.rpartition(b"/")[2] == b".gitattributes" for path in paths):
        findings += _without_rule(repo, findings)
    return findings


def everything(repo: Repository, store: LocalStore, limits: Limits) -> list[Finding]:
    """Findings in the whole index, every tensor read."""
    entries = [entry for entry in revisions.index(repo) if entry.stage == 0]
    findings = _check(repo, store, entries, [], limits)
    return findings + _without_rule(repo, findings)


def _check(
    repo: Repository, store: LocalStore, new: list[Entry], old: list[Entry], limits: Limits
) -> list[Finding]:
    files = [entry for entry in new if entry.mode.startswith("100")]
    if not files:
        return []
    filters = lookup(repo, [entry.path for entry in files], ["filter"], cached=True)
    with open_reader(repo) as reader:
        known = known_payloads(reader, [entry.oid for entry in old])
        inspection = Inspection(repo, store, reader, limits, known)
        return [
            finding
            for entry in files
            for finding in inspection.of(entry, filters[entry.path].get("filter", ""))
        ]


def _without_rule(repo: Repository, told: list[Finding]) -> list[Finding]:
    """Pointers that no rule in the index covers, but for those ``told`` of."""
    known = {finding.path for finding in told if finding.kind == "no-rule"}
    found = stranded.find(repo, cached=True)
    later = lookup(repo, found.paths, ["filter"])
    message = "is a pointer, but no rule passes it through git-nn: its next version would be raw"
    return [
        without_staged_rule(path)
        if later[path].get("filter") == "nn"
        else Finding("no-rule", path, message, found.fix())
        for path in found.paths
        if path not in known
    ]
