"""The `ukperf` program: one Typer application, one module a command.

The command modules import nothing but typer and the standard library at their top, so `ukperf --help` costs little
more than `import typer`; whatever is heavy is imported inside the command.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

import ukperf
from ukperf.cli import COMMANDS, add_command
from ukperf.errors import UkperfError

app = typer.Typer(
    name="ukperf",
    help="Is this unikernel really faster than Linux, on this machine, for this work, and how sure is that?\n\n"
    "Boots nanos, Unikraft and Linux guests through libvirt, runs the same program bytes in each, and answers with "
    "a ratio, an interval and a verdict. Start with `ukperf doctor`, then `ukperf boot-time`.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _version(show: bool) -> None:
    if show:
        typer.echo(f"ukperf {ukperf.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    ctx: typer.Context,
    *,
    connect: Annotated[
        list[str] | None,
        typer.Option(
            "--connect",
            "-c",
            metavar="URI",
            help="The command's libvirt connection, like xen+ssh://root@host/; twice: two hosts.",
        ),
    ] = None,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = (
        False
    ),
) -> None:
    """Holds the options of `ukperf` itself."""
    if connect:
        ctx.default_map = {name: {"connect": connect[-1] if name == "doctor" else connect} for name in COMMANDS}


for _name in COMMANDS:
    add_command(app, _name)


def run() -> None:
    """Entry point: exit status 0, 1 (`check` found a regression), 2 (a sentence says why), 130 (^C)."""
    try:
        app()
    except UkperfError as error:
        _complain(error)
        sys.exit(error.exit_status)
    except KeyboardInterrupt:
        print("ukperf: interrupted.", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        # The reader of our pipe went away (`| head`): not an error. Python would complain at exit otherwise.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


def _complain(error: UkperfError) -> None:
    print(f"ukperf: {error.message}", file=sys.stderr)
    if error.hint:
        print(f"  hint: {error.hint}", file=sys.stderr)
