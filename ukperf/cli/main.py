"""The `ukperf` program: one Typer application, one module a command.

The command modules import nothing but typer and the standard library at their top, so `ukperf --help` costs little
more than `import typer`; whatever is heavy is imported inside the command.
"""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import typer

import ukperf
from ukperf import signals
from ukperf.cli import COMMANDS, add_command, completion
from ukperf.cli.helping import WellHelped
from ukperf.errors import Interrupted, UkperfError
from ukperf.text import CleanStream, clean

_app = typer.Typer(
    name="ukperf",
    help="Is this unikernel really faster than Linux, on this machine, for this work, and how sure is that?\n\n"
    "Boots nanos, Unikraft and Linux guests through libvirt, runs the same program bytes in each, and answers with "
    "a ratio, an interval and a verdict. `ukperf setup` gets what is missing here, `ukperf doctor` says what this "
    "machine can do, and `ukperf COMMAND --help` has each command's options and an example.\n\n"
    "Example: ukperf boot-time",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _version(show: bool) -> None:
    if show:
        typer.echo(f"ukperf {ukperf.__version__}")
        raise typer.Exit


@_app.callback()
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
        one = {"connect": connect[-1]}
        ctx.default_map = {name: {"connect": connect} for name in COMMANDS} | {"doctor": one, "images": {"clean": one}}


@cache
def application() -> typer.Typer:
    """The program with all its commands; `app` of this module."""
    for name in COMMANDS:
        add_command(_app, name)
    from ukperf.cli.strangers import add_strangers  # `ukperf compare A B` needs no commands, and no registry

    add_strangers(_app)
    for app in (_app, *(group.typer_instance for group in _app.registered_groups)):
        for command in app.registered_commands if app is not None else ():
            command.cls = WellHelped
    return _app


def __getattr__(name: str) -> typer.Typer:
    if name == "app":
        return application()
    raise AttributeError(name)


def _work() -> object:
    """Do what was asked.

    `ukperf compare A B`, words alone, goes past Typer: what it imports to make words of words takes as long as all the
    rest of the comparison.
    """
    words = sys.argv[1:]
    if len(words) > 1 and words[0] == "compare" and not any(word.startswith("-") for word in words):
        from ukperf.cli.compare import command

        command(words[1:])
        return 0
    if words[:1] == ["compare"] and "--against" in words:
        words = _spread(words, "--against")
    if completion.in_bash():
        completion.answer(lambda: application()(prog_name="ukperf", standalone_mode=False))
        return 0
    return application()(words, prog_name="ukperf", standalone_mode=False)


def _spread(words: list[str], option: str) -> list[str]:
    """`--against A B` as `--against A --against B`: an option that takes all words behind it, up to the next option."""
    spread: list[str] = []
    taking = False
    for word in words:
        taking = word == option or (taking and not word.startswith("-"))
        if taking and word != option:
            spread.append(option)
        if word != option:
            spread.append(word)
    return spread


# Typer brings its own click or uses the installed one, by version: the base of its usage errors is what both have.
_UsageError: type[Exception] = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")


# Newer Typers convert arguments with a validator, and pass on what it says to programmers.
_VALIDATORS_WORDS = {
    "Value error, ": "",
    "Input should be a valid integer, unable to parse string as an integer": "a whole number is wanted",
    "Input should be greater than or equal to": "it must be at least",
    "Input should be less than or equal to": "it must be at most",
    "Input should be a valid number, unable to parse string as a number": "a number is wanted",
}


def run() -> None:
    """Entry point. Exit status: 0, 1 (a check that was asked for failed, and nothing else), 2 (a sentence says why),
    70 (a fault of ukperf), 129, 130, 143 (SIGHUP, ^C, SIGTERM), 141 (`| head`)."""
    _open_streams()
    streams = sys.stdout, sys.stderr
    for stream in streams:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without ± or µ gets a question mark, not a traceback
    _end_in_order()
    threading.excepthook = _thread_failed
    sys.stdout, sys.stderr = CleanStream(streams[0]), CleanStream(streams[1])
    try:
        status = _status()
    except BrokenPipeError:
        status = _end_as_sigpipe()
    except SystemExit as end:
        status = _exit_status(end)
    finally:
        sys.stdout, sys.stderr = streams
    if status in (2, 70) and sys.argv[1:2] == ["bisect"]:
        status = 128  # git bisect takes 1 to 127 for a bad commit, and ends at 128
    sys.exit(status)


def _open_streams() -> None:
    """Standard streams that were closed (`>&-`) lead nowhere: else the next file that is opened has their number, and
    gets what QEMU or a library writes there."""
    closed = [name for name in ("stdin", "stdout", "stderr") if getattr(sys, name) is None]
    for number in range(3 if closed else 0):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # it has the lowest number that is free
    for name in closed:
        nowhere = Path(os.devnull).open("r" if name == "stdin" else "w")  # noqa: SIM115 — the process's, to its end
        setattr(sys, name, nowhere)


def _exit_status(end: SystemExit) -> int:
    # click and rich make status 1 of a broken pipe, and that is `check`'s word for a regression
    if isinstance(end.__context__, BrokenPipeError):
        return _end_as_sigpipe()
    if end.code is None or isinstance(end.code, int):
        return end.code or 0
    _complain(str(end.code), None)  # a library's sys.exit("words")
    return 2


def _status() -> int:
    try:
        try:
            status = _work()
            signals.check()  # it was dropped, and the work is over: whoever sent it is to see that it came
        finally:
            sys.stdout.flush()  # what cannot be written is noticed here: at the interpreter's exit it is a traceback
    except BrokenPipeError:
        raise
    except KeyboardInterrupt:
        return _ended()
    except Exception as error:
        return _failed(error)
    return status if isinstance(status, int) else 0


def _failed(error: Exception) -> int:
    if signals.arrived() and not isinstance(error, Interrupted):  # on the way out: a terminal that is gone, say
        return _ended(getattr(error, "hint", None))
    if isinstance(error, UkperfError):
        _complain(error.message, error.hint)
        return error.exit_status
    if isinstance(error, _UsageError):
        return _misused(error)
    return _troubled(error) if isinstance(error, OSError) else _unforeseen(error)


def _troubled(error: OSError) -> int:
    """A full disk, a folder without permission: the machine's trouble, which a person can act on."""
    try:
        sys.stdout.flush()
    except OSError:
        _to_nowhere(1)
    _complain(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}.", None)
    return 2


def _unforeseen(error: BaseException) -> int:
    if type(error).__name__ == "Abort":  # click's word for ^C, or the end of input
        return _ended()
    if isinstance(error, MemoryError):
        _complain("There is not enough memory for this.", "What was measured is kept.")
        return 2
    from ukperf.cli import lastresort

    what, hint, status = lastresort.sentence(error)
    _complain(what, hint)
    return status


def _ended(hint: str | None = None) -> int:
    """What a signal ended, or ^C where Python's own handler is in place."""
    number = signals.arrived() or signal.SIGINT
    _complain(signals.sentence(number), hint)
    return signals.status_of(number)


def _thread_failed(arguments: threading.ExceptHookArgs) -> None:
    """A thread's last word goes to the same file; whoever waits for the thread notices that it is gone."""
    if arguments.exc_value is not None and not isinstance(arguments.exc_value, SystemExit):
        _unforeseen(arguments.exc_value)


def _end_in_order() -> None:
    """^C, SIGTERM and SIGHUP end the guest and the run as an exception does, instead of leaving a VMM behind."""
    signals.install()


def _end_as_sigpipe() -> int:
    """The reader of our pipe went away (`| head`): quietly, with the status of a program that SIGPIPE ended.

    The signal itself would not have waited until what was being measured is undone.
    """
    _to_nowhere(1, 2)
    return 128 + signal.SIGPIPE


def _to_nowhere(*streams: int) -> None:
    """Let the interpreter's last flush of what could not be written succeed."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for number in streams:
        os.dup2(nowhere, number)


def _misused(error: Any) -> int:
    """Two lines for what cannot be parsed. `ukperf` alone, or a group alone, shows its help."""
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
        return 2
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "ukperf"
    message = " ".join(error.format_message().split())
    for theirs, ours in _VALIDATORS_WORDS.items():
        message = message.replace(theirs, ours)
    _complain(message, f"Type: {path} --help")
    return 2


def _complain(message: str, hint: str | None) -> None:
    try:
        print(f"ukperf: {clean(message)}", file=sys.stderr)
        if hint:
            print(f"  hint: {clean(hint)}", file=sys.stderr)
        sys.stderr.flush()
    except BrokenPipeError:
        raise
    except OSError:  # a terminal that went away: the status still says it
        _to_nowhere(2)
