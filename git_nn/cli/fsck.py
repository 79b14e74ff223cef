"""``git nn fsck``: is every tensor that Git needs in the store, and whole?"""

from __future__ import annotations

import json
from typing import Any

import click

from git_nn.cli.amounts import count
from git_nn.cli.fsck_remote import checked, tell
from git_nn.drivers.open import open_repository, store_of
from git_nn.fsck import Finding, Report, check, repair


@click.command("fsck")
@click.option("--connectivity", is_flag=True, help="Only look whether all is there; read no pack.")
@click.option("--repair", "mend", is_flag=True, help="Mend what can be mended; loses nothing.")
@click.option(
    "--remote", is_flag=False, flag_value="", metavar="[NAME]",
    help="Check what a remote has for its refs, instead of what is here.",
)  # fmt: skip
@click.option("--full", is_flag=True, help="With --remote: download every pack and check it.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(
    *, connectivity: bool, mend: bool, remote: str | None, full: bool, as_json: bool
) -> int:
    """Check every pointer that Git can reach, and the packs that hold its tensors.

    Exit code: 0 all is well, 3 something is missing, 4 something is damaged, 6 a pointer that
    is checked out or staged is no valid one, 8 the remote fails. With --remote, --repair sends
    again what is here and missing or damaged there.
    """
    repo = open_repository()
    store = store_of(repo)
    if remote is not None:
        found = checked(repo, store, remote, full=full, mend=mend)
        return tell(found, mended=mend, as_json=as_json)
    report = check(repo, store, connectivity=connectivity and not mend)
    if mend:
        report = repair(repo, store, report)
    if as_json:
        click.echo(json.dumps(_as_json(report), indent=2))
    else:
        _tell(report, mended=mend)
    return report.exit_code


def _tell(report: Report, *, mended: bool) -> None:
    for line in report.repaired:
        click.echo(f"repaired: {line}")
    for finding in report.findings:
        click.echo(f"{finding.kind}: {finding.message}")
    if report.exit_code in (3, 4):
        click.echo(
            "git-nn: not all is well; "
            + (
                "run 'git nn pull', or restore the file" if mended else "run 'git nn fsck --repair'"
            ),
            err=True,
        )
    state = "ok" if report.exit_code == 0 else "checked"
    click.echo(
        f"{state}: {count(report.pointers, 'pointer')}, {count(report.objects, 'object')}, "
        f"{count(report.packs, 'pack')}"
    )


def _as_json(report: Report) -> dict[str, Any]:
    return {
        "version": 1,
        "exit_code": report.exit_code,
        "pointers": report.pointers,
        "objects": report.objects,
        "packs": report.packs,
        "repaired": list(report.repaired),
        "findings": [_finding(finding) for finding in report.findings],
    }


def _finding(finding: Finding) -> dict[str, str]:
    found = {
        "kind": finding.kind,
        "message": finding.message,
        "oid": finding.oid,
        "pack": finding.pack,
    }
    if finding.place is not None:
        place = finding.place
        found |= {"what": place.what, "path": place.path, "where": place.where}
    return found
