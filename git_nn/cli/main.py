"""``git nn``: the table of commands, each loaded when it is called, and the one error door."""

from __future__ import annotations

import sys
from importlib import import_module

import click

from git_nn import __version__
from git_nn.errors import BUG_EXIT_CODE, GitNNError

# command -> module in this folder; the module's ``command`` is the click command
COMMANDS = {
    "install": "install",
    "uninstall": "uninstall",
    "track": "track",
    "untrack": "untrack",
    "add": "add",
    "status": "status",
    "ls-files": "ls_files",
    "ls": "ls",
    "show": "show",
    "diff": "diff",
    "resolve": "resolve",
    "pull": "pull",
    "check": "check",
    "fsck": "fsck",
    "gc": "gc",
    "du": "du",
    "doctor": "doctor",
    "env": "env",
    "formats": "formats",
    "demo": "demo",
    "hook": "hook",
}


class LazyGroup(click.Group):
    """A group that imports a command's module only when that command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's own
        return list(COMMANDS)

    def get_command(
        self,
        ctx: click.Context,  # noqa: ARG002 - click's own
        name: str,
    ) -> click.Command | None:
        module = COMMANDS.get(name)
        if module is None:
            return None
        command: click.Command = import_module(f"git_nn.cli.{module}").command
        return command


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "-V", "--version", message="git-nn %(version)s")
def cli() -> None:
    """Version neural-network weights with plain Git.

    \b
    Once:   git nn install
    Once:   git nn track "*.h5" "*.safetensors"
    Then:   git add, commit, diff, log, merge, checkout ... as ever
    """


def main(argv: list[str] | None = None) -> None:
    """Run a command and exit with its documented code (see git_nn.errors)."""
    try:
        status = cli.main(argv, prog_name="git nn", standalone_mode=False)
    except GitNNError as error:
        click.echo(f"git-nn: {error}", err=True)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(141)
    except Exception:  # noqa: BLE001 - the one door for our own bugs
        from git_nn.drivers.bug_log import report_bug

        report_bug()
        sys.exit(BUG_EXIT_CODE)
    sys.exit(status if isinstance(status, int) else 0)


if __name__ == "__main__":
    main()
