"""`ukperf profile`: where a guest's instructions go."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ukperf.cli.measuring import Shared, measuring
from ukperf.cli.programs import Cwd, Env, File, Package, Python
from ukperf.model import Accelerator

if TYPE_CHECKING:
    from ukperf.engine.profiles import Profiles
    from ukperf.reports.page import Page

Words = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[RUN | -- PROGRAM [ARG]…]",
        help="A profile's folder or bundle, to be shown again; or a program, as for `ukperf run`. Default: a boot.",
    ),
]
Of = Annotated[
    str | None,
    typer.Option(metavar="WORKLOAD", help="Profile a workload's boots, as it is by default: sklearn, syscall_cost …"),
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="With --of: an option of that workload, like only='getuid*'."),
]
Symbols = Annotated[
    list[str] | None, typer.Option(metavar="GUEST=FILE", help="An ELF file with the symbols of a guest's kernel.")
]
Window = Annotated[
    str, typer.Option(metavar="WINDOW", help="Only what was executed between two events, like 'main → exit'.")
]
Most = Annotated[int, typer.Option("--most", metavar="N", min=1, max=100_000, help="Functions shown of each guest.")]
Against = Annotated[
    str | None,
    typer.Option(metavar="GUEST|RUN", help="Show what each function adds to another guest, or to an earlier profile."),
]
FailOn = Annotated[
    list[str] | None,
    typer.Option(metavar="PATTERN:more", help="With --against: exit 1 if these functions execute more, 'acpi_*:more'."),
]
Initcalls = Annotated[
    bool, typer.Option("--initcalls", help="Show what each initcall of Linux kernels takes, which then print it.")
]
Stacks = Annotated[
    bool, typer.Option("--stacks", help="Follow call stacks, for flame graphs. Guests with one CPU; boots are slower.")
]
Format = Annotated[
    str | None, typer.Option("--format", metavar="FORMAT", help="Write html, folded, speedscope, pprof or callgrind.")
]
Output = Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE", help="Where --format writes to.")]


@measuring(after="append", accel=Accelerator.ICOUNT)
def command(
    shared: Shared,
    program: Words = None,
    of: Of = None,
    set: Set = None,
    window: Window = "",
    most: Most = 20,
    against: Against = None,
    fail_on: FailOn = None,
    format: Format = None,
    output: Output = None,
    symbols: Symbols = None,
    stacks: Stacks = False,
    initcalls: Initcalls = False,
    file: File = None,
    env: Env = None,
    cwd: Cwd = "/",
    python: Python = False,
    package: Package = None,
) -> None:
    """Count each guest's instructions, by function.

    Nothing is sampled: a plugin in QEMU counts how often each piece of code is executed, so that the sum is what the
    guest's own instruction counter says. Told apart are firmware, loader, kernel, modules, program and libraries, and
    the windows between any two events that programs report. Needs an emulated guest: --accel icount, which is the
    default and mostly repeats from boot to boot, or tcg. Linux guests get nothing random in their addresses meanwhile.

    Example: ukperf profile -g linux-lean -g nanos --baseline nanos --boots 2
    """
    from ukperf.cli.output import measured, refuse_if_none_good, save_suite
    from ukperf.engine.campaign import facts
    from ukperf.engine.folders import holds_run
    from ukperf.engine.profiles import profiles_of
    from ukperf.errors import UkperfError
    from ukperf.paths import absolute
    from ukperf.text import shell
    from ukperf.workloads.profile import ProfileOptions

    if (format is None) != (output is None):
        raise UkperfError("--format and --output go together.", hint="Write --format html --output FILE.")
    if fail_on and against is None:
        raise UkperfError("--fail-on needs something to compare with.", hint="Add --against GUEST, or a RUN.")
    if initcalls and (window or fail_on or format not in (None, "html")):
        raise UkperfError("--initcalls has no windows, gates and formats but html.", hint="Leave one of them out.")
    with ExitStack() as unpacked:
        other = _unpacked(against, unpacked) if against else against
        gates = tuple(fail_on or ())
        wanted = _Wanted(window, most, other, gates, format, output, shared.json, shared.brief, initcalls)
        words = tuple(program or ())
        run = _unpacked(words[0], unpacked) if len(words) == 1 else ""
        if run and holds_run(Path(run)):
            _show(profiles_of(absolute(Path(run)), shared.guest or (), symbols or ()), wanted, words[0])
            return
        options = ProfileOptions(
            of=of or "",
            set=tuple(set or ()),
            words=words,
            files=tuple(file or ()),
            env=tuple(env or ()),
            cwd=cwd,
            python=python,
            packages=tuple(package or ()),
            symbols=tuple(_whole(text) for text in symbols or ()),
            stacks=stacks,
            initcalls=initcalls,
        )
        workload, finished = measured("profile", options, shared.request(boots=2))
        save_suite(finished.result, facts(workload, finished))
        refuse_if_none_good(finished.result)
        folder = finished.result.folder
        _show(profiles_of(folder), wanted, str(folder))
    if not shared.json:
        typer.echo(f"Run: {shell(folder)}")


@dataclass(frozen=True)
class _Wanted:
    """How a profile is to be shown, as it was typed."""

    window: str
    most: int
    against: str | None
    fail_on: tuple[str, ...]
    format: str | None
    output: Path | None
    json: bool
    brief: bool
    initcalls: bool


def _whole(text: str) -> str:
    """GUEST=FILE with the file's whole path."""
    from ukperf.paths import absolute

    guest, equals, path = text.partition("=")
    return f"{guest}{equals}{absolute(Path(path)) if path else ''}"


def _unpacked(word: str, stack: ExitStack) -> str:
    """A run in a bundle as its folder, for as long as the stack lasts; any other word as it is."""
    from ukperf.runs.unpack import Unpacked, bundle_in

    bundled = bundle_in(Path(word))
    return word if bundled is None else str(stack.enter_context(Unpacked(bundled[0])).run(bundled[1]))


def _show(profiles: Profiles, wanted: _Wanted, run: str) -> None:
    """run: as it was typed."""
    from ukperf.cli.output import show_pages, write_bytes, write_html
    from ukperf.engine.profiles import against, calls_page, exported, page_of
    from ukperf.errors import UkperfError

    differences = None
    pages: dict[str, Page]
    if wanted.initcalls:
        pages = {"": calls_page(profiles, wanted.against, wanted.most)}
    elif wanted.against is None:
        pages = {"": page_of(profiles, wanted.window, wanted.most)}
    else:
        differences = against(profiles, wanted.against, wanted.window, wanted.most, wanted.fail_on)
        pages = differences.pages
    if wanted.output is None:
        show_pages(pages, wanted.json, {"run": run}, brief=wanted.brief)
    elif wanted.format == "html":
        write_html(wanted.output, list(pages.values()), "Profile")
    else:
        write_bytes(wanted.output, exported(profiles, wanted.format or "", wanted.window))
    if differences is not None and differences.failed:
        raise typer.Exit(1)
    if differences is not None and differences.untested:
        raise UkperfError("Not every gate could be tested.", hint="Profile with --boots 6 or more.")
