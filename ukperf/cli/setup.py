"""`ukperf setup`: get what an installed ukperf lacks on this machine."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from ukperf.cli import options as o

if TYPE_CHECKING:
    from ukperf.doctor.preparing import Lacking


def command(
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Install without asking. For scripts.")] = False,
    offline: Annotated[bool, typer.Option("--offline", help="Ask nobody for anything: only look.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Say what would be done, and do nothing.")] = False,
    guest: Annotated[
        list[str] | None,
        typer.Option("--guest", "-g", metavar="GUEST", help="Whose kernel to get; may be given again. All otherwise."),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say only what is done.")] = False,
    json: o.Json = False,
) -> None:
    """Get what is missing here: packages and kernels.

    System packages, after asking; the Linux guest's kernel; those of nanos and Unikraft. Packages come by apt, through
    sudo where you are not root; no service is started. As root it also adds the user that libvirt's driver wants to
    exist. Where nobody can be asked and --yes is not said, it prints the line to type instead. Run it again at any
    time: it does only what is missing.

    Exit status: 0 if `ukperf boot-time` can run here, 2 if not.

    Example: ukperf setup --dry-run
    """
    from ukperf.doctor import preparing

    what = preparing.lacking(guest or ())
    if dry_run:
        _tell_plan(what, json)
        return
    if offline:
        preparing.refuse_offline(what)
    else:
        if what.of_the_system:
            _ask(what, yes)
            preparing.get_system(what)
        _get_kernels(what)
    if not quiet:
        _tell_outcome(json)


def _ask(what: Lacking, yes: bool) -> None:
    """Raises UkperfError, with the line to type, for who says no or cannot be asked."""
    from ukperf.doctor import preparing
    from ukperf.errors import UkperfError
    from ukperf.text import many

    if yes:
        return
    missing = ", ".join([*(need.what for need in what.needs), *(account.name for account in what.accounts)])
    hint = f"{preparing.line_for_root(what)}   (or: ukperf setup --yes)"
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UkperfError(f"Missing here: {missing}.", hint=hint)
    print(f"Missing here: {missing}.", file=sys.stderr)
    question = f"Install {many(len(what.packages), 'package')} ({' '.join(what.packages)})?"
    if not _agreed(question if what.needs else "Add them?"):
        raise UkperfError("Nothing was installed.", hint=hint)


def _agreed(question: str) -> bool:
    """^D is no answer, which is no; ^C ends ukperf as everywhere."""
    from ukperf import signals

    try:
        return typer.confirm(question, default=True, err=True)
    except typer.Abort:
        signals.check()
        print(file=sys.stderr)  # the cursor is behind the question still
        return False


def _get_kernels(what: Lacking) -> None:
    from functools import partial

    from ukperf.doctor import preparing
    from ukperf.engine import kernelprobe

    say = o.sayer()
    for one in preparing.get_kernels(what, partial(kernelprobe.check_boots, say=say), say):
        if one.pull is None:
            say(f"No {one.guest} kernel was added: {one.reason}")
        else:
            first = ", trusted on first use" if one.pull.first_use else ""
            say(f"{one.guest} {one.pull.entry.version} is here{first}")


def _tell_plan(what: Lacking, json: bool) -> None:
    from ukperf.cli.output import show_page
    from ukperf.reports.page import sentences

    steps = list(what.would())
    lines = [f"would {step}" for step in steps] or ["Nothing is missing."]
    show_page(sentences({"packages": what.packages, "would": steps}, *lines), json)


def _tell_outcome(json: bool) -> None:
    """What `ukperf doctor` finds missing, if anything, then its verdict and what to type next."""
    from ukperf.cli.output import show_page
    from ukperf.doctor.checks import State, diagnose
    from ukperf.doctor.page import verdict
    from ukperf.hosts import DEFAULT
    from ukperf.reports.page import sentences

    diagnosis = diagnose(DEFAULT)
    gone = [check for check in diagnosis.checks if check.state is State.MISSING]
    lines = [" ".join(filter(None, (f"{check.name}: {check.sentence}", check.advice))) for check in gone]
    facts = {"ok": diagnosis.ok, "accelerator": diagnosis.accelerator, "missing": lines}
    following = "Type next: ukperf boot-time" if diagnosis.ok else "Type next: ukperf doctor"
    show_page(sentences(facts, *lines, verdict(diagnosis), following), json)
    if not diagnosis.ok:
        sys.exit(2)
