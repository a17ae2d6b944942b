"""`ukperf images`: the kernels of guests that others build, and images on request."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ukperf import guests
from ukperf.cli import options as o
from ukperf.cli.cleaned import bytes_of
from ukperf.cli.kernels import added_lines, facts_of, kernel_table, pulled_lines
from ukperf.guests.recipes import Kernels
from ukperf.model import DEFAULT_PLATFORM, Platform

if TYPE_CHECKING:
    from collections.abc import Callable

    from ukperf.imaging.cache import Cache
    from ukperf.model import Program

app = typer.Typer(
    help="Get, list, check and remove guests' kernels; build images.\n\nThe kernels of guests that others build, like "
    "nanos, are in a store of ukperf's. An image is a guest with a program in it, ready to boot.\n\n"
    "Example: ukperf images pull nanos",
    no_args_is_help=True,
    rich_markup_mode=None,
)


def _or(names: list[str]) -> str:
    return " or ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


_OURS = guests.our_recipes()
_STORED = [recipe.name for recipe in _OURS if recipe.kernels is Kernels.STORED]
_PULLED = [recipe.name for recipe in _OURS if recipe.kernels in (Kernels.PULLED, Kernels.STORED)]
_BUILT = [recipe.name for recipe in _OURS if recipe.kernels is Kernels.BUILT]
_BOOTED = "; ".join(f"{r.name} only: the boot image, {r.boot_image}." for r in _OURS if r.boot_image)
_MIRRORS = ", ".join(f"UKPERF_{n.upper()}_MIRROR" if n == _STORED[0] else f"…{n.upper()}…" for n in _STORED)
_GUEST = Annotated[str, typer.Argument(help=f"{_or([*_STORED, *_BUILT])}.", metavar="GUEST")]
_OF_BUILD = Annotated[str, typer.Argument(help=f"{_or(_BUILT)}.", metavar="GUEST")]
_OF_PULL = Annotated[str | None, typer.Argument(help=f"{_or(_PULLED)}.", metavar="GUEST")]
_PROBE = Annotated[
    bool, typer.Option("--probe/--no-probe", help="Boot it once, for a second or so: does it have what ukperf needs?")
]
_JSON = Annotated[bool, typer.Option("--json", help="Print the same facts as JSON.")]
_VERSION = Annotated[str | None, typer.Option("--version", metavar="VERSION", help="Of the kernel.")]
_PLATFORM = Annotated[
    Platform, typer.Option("--platform", metavar="|".join(Platform), help="What the kernel was built for.")
]


@app.command("list")
def list_(as_json: _JSON = False) -> None:
    """Show the kernels that are here.

    With each: its version, how to take it, digest, size, and where it came from.

    Example: ukperf images list
    """
    from ukperf.cli.output import show_page
    from ukperf.imaging.kernelstore import KernelStore
    from ukperf.reports.jsonout import members
    from ukperf.reports.page import Line, PlainPage

    store = KernelStore()
    entries = store.entries()
    kernels = [{**members(facts_of(entry)), "default": store.default(entry)} for entry in entries]
    none = Line(f"There are no kernels here yet. Get them: {_pulls()}", wraps=False)
    shown = kernel_table(store, entries) if entries else none
    show_page(PlainPage((shown,), {"store": store.root, "kernels": kernels}), as_json)


def _pulls() -> str:
    return "; ".join(f"ukperf images pull {name}" for name in _STORED)


@app.command()
def pull(
    guest: _OF_PULL = None,
    *,
    missing: Annotated[
        bool,
        typer.Option(
            "--missing",
            help="The newest of every guest that takes part where it is there, and is not. A server that does not "
            "answer within seconds costs its guest only (exit status 2).",
        ),
    ] = False,
    version: _VERSION = None,
    mirror: Annotated[
        str | None,
        typer.Option(metavar="URL", help=f"Another server, laid out as the official one. Also by {_MIRRORS}."),
    ] = None,
    platform: _PLATFORM = DEFAULT_PLATFORM,
    sha256: Annotated[
        str | None,
        typer.Option(metavar="DIGEST", help="What nanos's archive, or Unikraft's manifest, must have."),
    ] = None,
    probe: _PROBE = True,
    as_json: _JSON = False,
) -> None:
    """Download the kernel of a guest.

    Of linux this distribution's cloud kernel, of nanos the official release, of unikraft the official image. The Linux
    kernel comes through apt, which checks it, into ukperf's cache; nothing is installed. A kernel of nanos or Unikraft
    is booted once; what it lacks is said.

    Example: ukperf images pull nanos
    """
    from functools import partial

    from ukperf.cli.output import show_page
    from ukperf.engine import kernelprobe
    from ukperf.errors import UkperfError
    from ukperf.reports.page import sentences

    if missing == (guest is not None):
        raise UkperfError("Name a guest, or say --missing for all that are not here.", hint=f"Like: {_pulls()}")
    if guest is None:
        if (version, mirror, sha256, platform) != (None, None, None, DEFAULT_PLATFORM):
            raise UkperfError("--missing takes the newest kernels, from where each guest's are.", hint="Name a guest.")
        _pull_missing(probe, as_json)
    elif guest in guests.GUESTS.names() and (only := guests.get(guest)).fetches:
        if (version, mirror, sha256) != (None, None, None):
            raise only.one_kernel()
        here = only.obtain()
        show_page(sentences({"guest": guest, "here": here}, here), as_json)
    else:
        stored = guests.of_store(guest)
        pulled = stored.pull(
            version=version,
            mirror=mirror,
            platform=platform.value,
            sha256=sha256,
            check=partial(kernelprobe.warn, say=o.sayer()) if probe else None,
        )
        page = sentences(facts_of(pulled.entry), *pulled_lines(pulled, stored.store))
        show_page(replace(page, more={"first_use": pulled.first_use}), as_json)


def _pull_missing(probe: bool, as_json: bool) -> None:
    """Prints nothing where nothing is missing. Exits with status 2 where a guest's kernel was not to be had."""
    from functools import partial

    from ukperf.cli.output import show_page
    from ukperf.engine import kernelprobe
    from ukperf.guests.missing import pull_missing
    from ukperf.imaging.kernelstore import KernelStore
    from ukperf.reports.jsonout import members
    from ukperf.reports.page import sentences

    say = o.sayer()
    asked = pull_missing(partial(kernelprobe.check_boots, say=say) if probe else None, say)
    for one in asked:
        if one.pull is None:
            say(f"No {one.guest} kernel was added: {one.reason}")
    kernels = [{**members(facts_of(one.pull.entry)), "first_use": one.pull.first_use} for one in asked if one.pull]
    refused = [{"guest": one.guest, "from": one.place, "reason": one.reason} for one in asked if one.pull is None]
    lines = [line for one in asked if one.pull for line in pulled_lines(one.pull, KernelStore())]
    if lines or as_json:
        show_page(sentences({"kernels": kernels, "refused": refused}, *lines), as_json)
    if refused:
        raise typer.Exit(2)


@app.command()
def add(
    guest: _GUEST,
    *,
    kernel: Annotated[Path, typer.Option(metavar="FILE", help="The kernel file.")],
    boot: Annotated[Path | None, typer.Option(metavar="FILE", help=_BOOTED)] = None,
    version: _VERSION = None,
    platform: _PLATFORM = DEFAULT_PLATFORM,
    replace: Annotated[
        bool, typer.Option("--replace", help="Remove the kernel that is here under this version, if it is another.")
    ] = False,
    probe: _PROBE = True,
    as_json: _JSON = False,
) -> None:
    """Add a kernel that you have.

    It is copied into ukperf's store, with its digest. It is booted once first. A kernel that does not boot, or lacks
    what ukperf's programs need, is refused.

    Example: ukperf images add unikraft --kernel ./kernel
    """
    from functools import partial

    from ukperf.cli.output import show_page
    from ukperf.engine import kernelprobe
    from ukperf.reports.page import sentences

    stored = guests.of_store(guest)
    check = partial(kernelprobe.check, say=o.sayer()) if probe else None
    entry = stored.add(kernel, boot, version=version, platform=platform.value, replacing=replace, check=check)
    show_page(sentences(facts_of(entry), *added_lines(entry, stored.store)), as_json)


@app.command("build-kernel")
def build_kernel(guest: _OF_BUILD, probe: _PROBE = True, as_json: _JSON = False) -> None:
    """Build a guest's kernel from source, into ukperf's store.

    This takes some minutes. The source comes through apt, which checks it (140 MB), and is unpacked in ukperf's cache,
    where 2.5 GB must be free meanwhile; nothing is installed. What was broken off goes on.

    Example: ukperf images build-kernel linux-lean
    """
    from functools import partial

    from ukperf.cli.output import show_page
    from ukperf.engine import kernelprobe
    from ukperf.reports.page import sentences
    from ukperf.reports.progress import status

    stored = guests.of_store(guest)
    with status(f"looking for the source of {guest}'s kernel") as update:
        check = partial(kernelprobe.check, say=o.sayer()) if probe else None
        built = stored.build_kernel(say=o.sayer(), progress=update, check=check)
    took = f"Built in {built.seconds / 60:.1f} minutes." if built.seconds else "It was here, from the same inputs."
    page = sentences(facts_of(built.entry), *added_lines(built.entry, stored.store), took)
    missed = [asdict(option) for option in built.missed]
    show_page(replace(page, more={"seconds": round(built.seconds, 1), "missed": missed}), as_json)


@app.command()
def verify(as_json: _JSON = False) -> None:
    """Read every kernel again, and compare its digest.

    Exit status 1 when one is not as it was added.

    Example: ukperf images verify
    """
    from ukperf.cli.output import show_page
    from ukperf.imaging.kernelstore import KernelStore
    from ukperf.reports.page import sentences

    checked = KernelStore().verify()
    said = {"kernels": [{"name": c.name, "ok": c.problem is None, "problem": c.problem} for c in checked]}
    lines = [f"{c.name}: {c.problem or 'ok'}" for c in checked] or ["There are no kernels here yet."]
    show_page(sentences(said, *lines), as_json)
    if any(c.problem for c in checked):
        raise typer.Exit(1)


@app.command()
def prune(
    guest: Annotated[str | None, typer.Argument(help="Only this guest's kernels.", metavar="[GUEST]")] = None,
    version: Annotated[
        str | None, typer.Option("--version", metavar="VERSION", help="Remove this version, whatever else is here.")
    ] = None,
    keep: Annotated[int, typer.Option(metavar="N", help="How many of each guest, the newest, stay.", min=0)] = 1,
    as_json: _JSON = False,
) -> None:
    """Remove old kernels, or one version.

    All but the newest of each guest, or with --version that one, with what they were trusted by.

    Example: ukperf images prune --keep 2
    """
    from ukperf.cli.output import show_page
    from ukperf.errors import UkperfError
    from ukperf.imaging.kernelstore import KernelStore
    from ukperf.reports.page import sentences

    store = KernelStore()
    if guest is not None:
        guests.of_store(guest)
    chosen = store.entries() if version is not None else store.older(keep)
    chosen = [e for e in chosen if guest in (None, e.guest) and version in (None, e.version)]
    if version is not None and not chosen:
        raise UkperfError(f"There is no kernel of version {version} here.", hint="See: ukperf images list")
    freed = store.remove(chosen)
    lines = [f"Removed {entry.guest} {entry.version} ({entry.platform})." for entry in chosen]
    said = {"removed": [facts_of(entry) for entry in chosen], "bytes": freed}
    show_page(sentences(said, *lines, f"{freed:,} bytes freed."), as_json)


@app.command()
def clean(
    connect: Annotated[
        str | None,
        typer.Option("--connect", "-c", metavar="URI", help="Another host instead, by its libvirt connection."),
    ] = None,
    max_size: Annotated[
        int | None,
        typer.Option(
            "--max-size",
            metavar="SIZE",
            parser=bytes_of,
            help="Remove what was not used for longest, until the rest takes at most this: 500M, 2G.",
        ),
    ] = None,
    as_json: _JSON = False,
) -> None:
    """Empty the cache.

    In it are images, programs, trees and the Linux kernel. What a running ukperf uses stays. All of it is made, or
    fetched, again when it is needed; runs and the kernel store are elsewhere. With --connect: remove from another host
    what ukperf uploaded there, and what broken-off boots left. Not while a run goes on there.

    Example: ukperf images clean --max-size 2G
    """
    from ukperf.cli.cleaned import show_cleaned, show_cleaned_host

    if connect is None:
        show_cleaned(max_size, as_json)
    else:
        show_cleaned_host(connect, max_size, as_json)


@app.command()
def build(
    guest: Annotated[str, typer.Argument(help="Any guest.", metavar="GUEST")],
    workload: Annotated[
        str, typer.Option(metavar="NAME", help="The workload whose program goes into the image.")
    ] = "boot",
    machine: Annotated[str, typer.Option(metavar="q35|microvm", help="Machine type.")] = "q35",
    scale: Annotated[
        float | None, typer.Option(metavar="FACTOR", help="sklearn only: the size of its synthetic data, 0.02.")
    ] = None,
    as_json: _JSON = False,
) -> None:
    """Build the image of a guest and a workload now.

    Where it is in the cache, it is only named. sklearn's image holds Python, scikit-learn and the data; runs on the
    same data share what is slow to build of it.

    Example: ukperf images build linux --workload boot
    """
    import time

    from ukperf.cli.output import show_page
    from ukperf.guests.base import BuildOptions
    from ukperf.imaging.cache import Cache
    from ukperf.model import MachineKind
    from ukperf.reports.page import sentences

    cache = Cache()
    chosen = guests.get(guest, cache)
    _choose("machine", machine, [MachineKind.Q35.value, MachineKind.MICROVM.value])
    make = _program_maker(workload, scale, cache)
    started = time.monotonic()
    image = guests.build(chosen, make(), BuildOptions(machine=MachineKind(machine)))
    took = time.monotonic() - started
    said = {
        "guest": image.guest,
        "workload": image.workload,
        "digest": image.digest,
        "program_digest": image.program_digest,
        "kernel_version": image.kernel_version,
        "kernel_digest": image.kernel_digest,
        "cmdline": image.cmdline,
        "files": {name: {"path": path, "bytes": path.stat().st_size} for name, path in image.files.items()},
        "seconds": round(took, 3),
    }
    kernel = f"kernel {image.kernel_version}, {took:.2g} s"
    lines = [f"  {name}: {path} ({path.stat().st_size:,} bytes)" for name, path in image.files.items()]
    made = f"Image {image.digest[:12]}: {image.guest} with {image.workload}, {kernel}."
    show_page(sentences(said, made, *lines), as_json)


def _c_workloads() -> list[str]:
    from ukperf.resources import data_root

    folders = (data_root() / "workloads").iterdir()
    return sorted(path.name for path in folders if (path / f"{path.name}.c").is_file())


def _program_maker(workload: str, scale: float | None, cache: Cache) -> Callable[[], Program]:
    """What builds the workload's program, its modules already imported. Raises UkperfError where there is none."""
    from ukperf.errors import UkperfError

    plain = _c_workloads()
    if workload in plain and scale is None:
        from ukperf.imaging.programs import c_program

        return lambda: c_program(workload, f"{workload}/{workload}.c", cache=cache)
    from ukperf import workloads

    ahead = workloads.built_ahead()
    if workload in plain:
        raise UkperfError(f"--scale is for {_or(list(ahead))}'s data, and {workload} has none.")
    _choose("workload", workload, [*plain, *ahead])
    return lambda: ahead[workload].ahead(scale, cache)


def _choose(what: str, given: str, known: list[str]) -> None:
    """Raises UkperfError, with the name that was perhaps meant, when `given` is not among `known`."""
    from ukperf.errors import UkperfError
    from ukperf.text import meant

    if given not in known:
        raise UkperfError(f"There is no {what} {given!r}.", hint=meant(given, known))
