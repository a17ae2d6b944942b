"""The profiles of a run: its counts, named by the files of code that its guests executed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from ukperf import guests
from ukperf.errors import UkperfError
from ukperf.files import read_json, read_text, reason
from ukperf.guests.base import Code
from ukperf.hosts.counting import firmware_files
from ukperf.imaging.cache import Cache
from ukperf.model import (
    COUNTS,
    Accelerator,
    BootRecord,
    Image,
    Outcome,
    Plan,
    Portable,
    Program,
    Request,
    Unit,
    counts_file,
    flow_beside,
)
from ukperf.reports.page import Page
from ukperf.reports.units import with_unit
from ukperf.text import clean
from ukperf.workloads.base import Bench
from ukperf.workloads.kernelsymbols import kernel_symbols
from ukperf.workloads.syscall_probe import table_names

if TYPE_CHECKING:
    from ukperf.profile.counts import Counts
    from ukperf.profile.flows import Flow
    from ukperf.profile.model import Profile, Profiled
    from ukperf.profile.sources import Sources

Kept = TypeVar("Kept")

KALLSYMS = "kallsyms-{}.txt"  # of a setting, in a run's folder
KEPT = "profiles.json"  # in a bundle: the profiles themselves
NOW = "now"  # among the counts: of the boot that goes on
_FAILED = "No boot of it was good: this is what those executed that failed."
MOST = 20  # functions of each guest
KALLSYMS_MAX = 64 << 20  # bytes


# ---- before the boots ----


def linux_images(request: Request, bench: Bench) -> dict[str, Image]:
    """Name → image, of the settings of a request that boot a Linux kernel."""
    with bench.boots(request) as boots:
        return {name: image for name, image in boots.images.items() if _code(image).linux}


def kernel_lists(images: Mapping[str, Image], request: Request, bench: Bench) -> dict[str, str]:
    """What the Linux kernels of a request call their code: file of the run's folder → its text. Each kernel is asked
    once, in a boot; one that does not tell is profiled without names, and that is said."""
    texts = {}
    for name, image in images.items():
        tree = request.programs.get(name, request.program).is_tree
        try:
            text = kernel_symbols(name, image, request, bench, tree=tree, cache=Cache())
        except UkperfError as error:
            bench.say(f"The functions of {name}'s kernel have no names: {error.message}")
            continue
        if text:
            texts[KALLSYMS.format(plain(name))] = text
    return texts


def plain(name: str) -> str:
    """A setting's name for files: other file systems refuse colons."""
    return name.replace(":", "=")


# ---- after them ----


def profiled(
    folder: Path,
    plan: Plan,
    records: Sequence[BootRecord],
    programs: Mapping[str, Program],
    symbols: Mapping[str, Path],
) -> tuple[Profiled, ...]:
    """The profiles of all guests whose boots were counted, in the plan's order: of their good boots, and where there is
    none, of those that failed, which says where a guest hangs. programs: name → program; "": of all others; symbols:
    name → an ELF file with its kernel's. Raises UkperfError where none was counted."""
    from ukperf.profile.calls import calls_of
    from ukperf.profile.model import Profiled
    from ukperf.profile.named import name_counts

    names = table_names()

    def named(counts: Counts, flow: Flow | None, sources: Sources) -> Profile:
        profile = name_counts(counts, sources, counter_of(counts) if exact else None, flow)
        return profile if flow is None else replace(profile, calls=calls_of(flow, counts.windows, names))

    exact = plan.accelerator is Accelerator.ICOUNT
    sides: list[Profiled] = []
    for guest, image in plan.images.items():
        mine = [record for record in records if record.trial.guest == guest]
        good = [record for record in mine if record.outcome is Outcome.OK]
        kept = [(c, _read_flow(folder, record)) for record in good or mine if (c := _read(folder, record)) is not None]
        if kept:
            listed = _listed(folder / KALLSYMS.format(plain(guest)))
            sources = _sources(image, programs.get(guest, programs.get("")), listed, symbols.get(guest))
            boots = tuple(named(counts, flow, sources) for counts, flow in kept)
            notes = sources.notes if good else (_FAILED, *sources.notes)
            sides.append(Profiled(guest, boots, notes))
    if not sides:
        raise UkperfError(f"{folder} has no counts of a boot.", hint="Profile again: ukperf profile")
    return tuple(sides)


def broken_off(folder: Path) -> str:
    """A sentence about the boot that was counted when ukperf was killed, or is being counted now; "" where none was.
    Only the next boot, or none, takes its file away: it is of a fixed size."""
    from ukperf.profile.counts import read_counts

    try:
        counted = with_unit(float(read_counts(folder / COUNTS / NOW).total.sum()), Unit.INSTRUCTIONS)
    except FileNotFoundError:
        return ""
    except (OSError, ValueError):  # it is being written
        counted = "something"
    return f"A boot was begun and is in no figure here, {counted} of it counted. ukperf resume goes on with the run."


def kept_profiles(folder: Path) -> tuple[Profiled, ...]:
    """The profiles of a run that came in a bundle, whose code is on another machine; none of others."""
    from ukperf.profile.keeping import TEXT_MAX, kept

    path = folder / KEPT
    try:
        return kept(read_json(path, TEXT_MAX))
    except FileNotFoundError:
        return ()
    except (OSError, ValueError) as error:
        raise UkperfError(f"{path} cannot be read: {reason(error)}.") from error


def portable(sides: Sequence[Profiled], plan: Plan) -> Portable:
    """The profiles themselves, in place of what they are made of."""
    from ukperf.profile.keeping import kept_text

    lists = (KALLSYMS.format(plain(guest)) for guest in plan.images)
    return Portable({KEPT: kept_text(sides)}, (COUNTS, *lists))


def page(sides: Sequence[Profiled], *, facts: Mapping[str, str], window: str = "", most: int = MOST) -> Page:
    """Raises UkperfError for a window that not one guest has."""
    from ukperf.profile.page import ProfilePage

    check_window(sides, window)
    shown = tuple(side for side in sides if not window or window in side.windows)
    return ProfilePage(shown, window=window, most=most, facts=dict(facts))


def check_window(sides: Sequence[Profiled], window: str) -> None:
    """Raises UkperfError for a window that not one side has."""
    if window and not any(window in side.windows for side in sides):
        there = dict.fromkeys(name for side in sides for name in side.windows)
        raise UkperfError(
            f"There is no window {clean(window, 100)!r}.", hint=f"There are: {', '.join(map(repr, there))}."
        )


def counter_of(counts: Counts) -> dict[str, int]:
    """Window → how far the guest's own counter went in it, where frames at both ends tell. Of all together it is known
    as far as to the last frame; behind it nobody reads it."""
    from ukperf.profile.model import START, WHOLE

    pairs = zip(counts.windows, pairwise(counts.ticks), strict=False)
    known = {w or START: end - begin for i, (w, (begin, end)) in enumerate(pairs) if end > begin and (begin or i == 0)}
    if known and len(known) == len(counts.windows) - 1:
        known[WHOLE] = counts.ticks[-1] + int(counts.total[-1])
    return known


def _read(folder: Path, record: BootRecord) -> Counts | None:
    from ukperf.profile.counts import read_counts

    return _stored(counts_file(folder, record.trial.index), read_counts)


def _read_flow(folder: Path, record: BootRecord) -> Flow | None:
    """None of boots with several CPUs, and of runs of before."""
    from ukperf.profile.flows import read_flow

    return _stored(flow_beside(counts_file(folder, record.trial.index)), read_flow)


def _stored(path: Path, read: Callable[[Path], Kept]) -> Kept | None:
    try:
        return read(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UkperfError(f"{path} cannot be read: {reason(error)}.") from error
    except ValueError as error:
        raise UkperfError(f"{path} is damaged: {error}.") from error


def _code(image: Image) -> Code:
    """Nothing but the kernel is known of a guest that is not here any more."""
    try:
        return guests.get(image.guest).code(image)
    except UkperfError:
        return Code(image.kernel)


def _listed(path: Path) -> str:
    try:
        return read_text(path, KALLSYMS_MAX)
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise UkperfError(f"{path} cannot be read: {reason(error)}.") from error


def _sources(image: Image, program: Program | None, kallsyms: str, symbols: Path | None) -> Sources:
    from ukperf.profile.sources import sources_of

    code = _code(image)
    return sources_of(
        kernel=code.kernel,
        kallsyms=kallsyms,
        program=program,
        extra_files=code.programs,
        firmware=firmware_files(),
        loaders=code.loaders,
        symbols=symbols,
    )
