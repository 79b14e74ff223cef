"""``git nn``: the table of commands, each loaded when it is called, and the one error door."""

from __future__ import annotations

import sys
from importlib import import_module

import click

from git_nn import __version__
from git_nn.drivers.process import one_thread_per_product
from git_nn.errors import BUG_EXIT_CODE, GitNNError

# What each is for; NAME is in the module of that name here, whose ``command`` is click's.
COMMANDS = {
    "install": "set up Git's filter, diff and merge drivers, once per machine",
    "uninstall": "take out what install wrote",
    "track": "choose the files that Git passes through git-nn",
    "untrack": "take that choice back",
    "add": "git add, faster for large files",
    "status": "what changed, tensor by tensor, and what waits for you",
    "ls-files": "the models in the index",
    "ls": "the tensors of one file, in any version",
    "show": "the models of a commit, in short",
    "diff": "what changed in the models, with numbers",
    "distance": "how far two versions are apart, as one number",
    "log": "which commits changed a model, which tensors, and how far",
    "blame": "the last commit that changed each tensor",
    "merge": "git merge with a strategy for this one merge",
    "soup": "merge many branches with one strategy, in one step",
    "conflicts": "what a merge left open, and what could settle it",
    "resolve": "settle the tensors that a merge left in conflict",
    "align": "put the neurons of another training into the order of ours",
    "pull": "fetch weights and write them where pointers stand",
    "fetch": "bring weights here; no file changes",
    "push": "send weights; 'git push' does so by itself",
    "checkout": "write weights that are here where pointers stand",
    "remote": "where the weights of each remote are",
    "whereis": "which places have the weights of a model",
    "migrate": "rewrite history into pointers, and back",
    "check": "what should not be committed; the pre-commit hook runs it",
    "fsck": "is every tensor that Git needs there, and whole?",
    "prune": "free the space of old versions that a remote holds",
    "gc": "delete what nothing needs, store the rest smaller",
    "du": "where the bytes go",
    "doctor": "what is wrong with the set-up, and how to mend it",
    "env": "versions and settings for a bug report",
    "formats": "the formats that are read tensor by tensor",
    "demo": "the tour, in a temporary repository",
    "hook": "what the lines in .git/hooks call",
}
_PLAIN_GIT = frozenset({
    "cherry-pick", "clone", "commit", "init", "mv",
    "rebase", "reset", "restore", "revert", "rm", "stash", "switch", "tag", "worktree",
})  # fmt: skip


class LazyGroup(click.Group):
    """A group that imports a command's module only when that command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's own
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name in _PLAIN_GIT:
            ctx.fail(f"there is no 'git nn {name}': use plain 'git {name}'")
        if name not in COMMANDS:
            return None
        module = import_module(f"git_nn.cli.{name.replace('-', '_')}")
        command: click.Command = module.command
        return command

    def format_commands(
        self,
        ctx: click.Context,  # noqa: ARG002 - click's own
        formatter: click.HelpFormatter,
    ) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    invoke_without_command=True,
)
@click.version_option(__version__, "-V", "--version", message="git-nn %(version)s")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Version neural-network weights with plain Git.

    \b
    Once:   git nn install
    Once:   git nn track "*.h5" "*.safetensors"
    Then:   git add, commit, diff, log, merge, checkout ... as ever

    \b
    Exit codes of every command: 0 done, 2 wrong usage or settings, 3 a tensor is
    missing, 4 damaged, 5 the store fails, 6 a broken pointer, 7 a merge cannot be
    written, 8 a remote fails, 70 a bug in git-nn, 128 git failed; more in the help
    of each command.
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def main(argv: list[str] | None = None) -> None:
    """Run a command and exit with its documented code (see git_nn.errors)."""
    one_thread_per_product()
    try:
        status = cli.main(argv, prog_name="git nn", standalone_mode=False)
    except GitNNError as error:
        click.echo(f"git-nn: {error}", err=True)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        path = "git nn" if context is None else context.command_path
        # -h, since Git takes 'git nn --help' for itself and looks for a manual page
        click.echo(f"git-nn: {error.format_message().rstrip('.')}; see '{path} -h'", err=True)
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
