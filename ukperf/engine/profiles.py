"""Profiles of runs that are over: shown, against each other, gated, in other tools' formats. Nothing is booted."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ukperf import workloads
from ukperf.engine import plan as plans
from ukperf.engine.facts import facts_of
from ukperf.engine.folders import holds_run
from ukperf.engine.journal import JOURNAL, read_journal
from ukperf.engine.provenance import with_facts
from ukperf.errors import UkperfError
from ukperf.model import Accelerator, Result
from ukperf.profile.difference import GateResult, gate_of, gated
from ukperf.profile.differencepage import DifferencePage
from ukperf.profile.exporting import EXPORTS
from ukperf.profile.initcallpage import InitcallPage, KernelCalls
from ukperf.profile.model import Profiled
from ukperf.reports.page import Page
from ukperf.text import clean, meant, shell
from ukperf.workloads import profiling
from ukperf.workloads.initcalls import told
from ukperf.workloads.profile import Profiling


@dataclass(frozen=True)
class Profiles:
    """A run's profiles. facts: what is known of its boots."""

    folder: Path
    baseline: str
    delta: float
    sides: tuple[Profiled, ...]
    facts: dict[str, str] = field(default_factory=dict)
    calls: tuple[KernelCalls, ...] = ()  # of guests whose consoles told their initcalls
    counted: bool = True  # in instructions, not in time
    symbols: tuple[str, ...] = ()  # that were named besides the run's own
    notes: tuple[str, ...] = ()

    def side(self, guest: str) -> Profiled | None:
        return next((side for side in self.sides if side.label == guest), None)


def profiles_of(folder: Path, only: Collection[str] = (), symbols: Sequence[str] = ()) -> Profiles:
    """The profiles of a run's folder; only: of these guests, if any are named; symbols: GUEST=FILE, besides those that
    the run was made with. Raises UkperfError where it has none."""
    plan = plans.load(folder)
    workload = workloads.of_run(plan.workload)
    if not isinstance(workload, Profiling):
        raise UkperfError(f"{folder} is no profile, but a run of {clean(plan.workload, 80)}.", hint="ukperf profile")
    records = with_facts(plan, read_journal(folder / JOURNAL).records) if (folder / JOURNAL).exists() else ()
    result = Result(folder, plan, tuple(records), "")
    sides = workload.profiled(result, result.records, workload.options_of(result), symbols)
    for guest in only:
        if guest not in (side.label for side in sides):
            raise UkperfError(
                f"{folder} has no profile of {clean(guest, 80)}.", hint=meant(guest, [side.label for side in sides])
            )
    facts = {**facts_of(plan, result.records, ""), **workload.facts(result.records, plan.accelerator)}
    # What others are divided by comes first.
    shown = sorted((s for s in sides if not only or s.label in only), key=lambda side: side.label != plan.baseline)
    calls = tuple(side for side in told(folder, plan, records) if not only or side.label in only)
    counted = plan.accelerator is Accelerator.ICOUNT
    notes = tuple(filter(None, [profiling.broken_off(folder)]))
    return Profiles(folder, plan.baseline, plan.delta, tuple(shown), facts, calls, counted, tuple(symbols), notes)


def page_of(profiles: Profiles, window: str, most: int) -> Page:
    """Raises UkperfError for a window that no boot has."""
    return replace(profiling.page(profiles.sides, window=window, most=most, facts=profiles.facts), notes=profiles.notes)


def calls_page(profiles: Profiles, other: str | None, most: int) -> InitcallPage:
    """Initcalls of all kernels; other: a guest of the run, or the folder of another run, that each is compared with.

    Raises UkperfError where no console told them.
    """
    if not profiles.calls:
        raise UkperfError(
            f"The consoles of {profiles.folder} tell no initcalls.", hint="Profile a Linux guest with --initcalls."
        )
    sides = list(profiles.calls)
    if other is not None:
        baseline = next((side for side in sides if side.label == other), None)
        if baseline is None:
            folder = Path(other).absolute()
            if not holds_run(folder):
                names = [side.label for side in sides]
                raise UkperfError(
                    f"--against {clean(other, 200)}: that is no guest of the run, and no run.", hint=meant(other, names)
                )
            theirs = profiles_of(folder).calls
            if not theirs:
                raise UkperfError(f"The consoles of {folder} tell no initcalls.")
            same = next((side for side in theirs if side.label == sides[0].label), theirs[0])
            baseline = replace(same, label=f"{same.label} in {folder.name}")
        sides = [baseline, *(side for side in sides if side is not baseline)]
    return InitcallPage(
        tuple(sides), compare=other is not None, counted=profiles.counted, most=most, facts=profiles.facts
    )


@dataclass(frozen=True)
class Against:
    """Differences, a page for each guest. gates: what all gates said."""

    pages: dict[str, Page]
    gates: tuple[GateResult, ...]

    @property
    def failed(self) -> bool:
        return any(result.failed for result in self.gates)

    @property
    def untested(self) -> bool:
        return any(result.failed is None for result in self.gates)


def against(profiles: Profiles, other: str, window: str, most: int, fail_on: Sequence[str]) -> Against:
    """Each guest against another one of the run, or against itself in another run: the folder `other`.

    Raises UkperfError where there is no such guest or run, no such window, or a gate fits nothing.
    """
    gates = [gate_of(text) for text in fail_on]
    pages: dict[str, Page] = {}
    results: list[GateResult] = []
    for side, baseline in _pairs(profiles, other):
        for one in (side, baseline):
            profiling.check_window([one], window)
        answers = gated(side, baseline, gates, profiles.delta, window) if gates else []
        pages[side.label] = DifferencePage(
            side, baseline, window=window, most=most, gates=answers, facts=profiles.facts
        )
        results += answers
    return Against(pages, tuple(results))


def _pairs(profiles: Profiles, other: str) -> list[tuple[Profiled, Profiled]]:
    inside = profiles.side(other)
    if inside is not None:
        pairs = [(side, inside) for side in profiles.sides if side is not inside]
        if not pairs:
            raise UkperfError(
                f"{clean(other, 80)} is the only guest of {profiles.folder}.", hint="Profile another too."
            )
        return pairs
    folder = Path(other).absolute()
    if not holds_run(folder):
        names = [side.label for side in profiles.sides]
        raise UkperfError(
            f"--against {clean(other, 200)}: that is no guest of the run, and no run.", hint=meant(other, names)
        )
    theirs = profiles_of(folder, symbols=profiles.symbols)
    same = [(side, there) for side in profiles.sides if (there := theirs.side(side.label)) is not None]
    if not same and len(profiles.sides) == len(theirs.sides) == 1:  # another kernel has another name
        same = [(profiles.sides[0], theirs.sides[0])]
    if not same:
        raise UkperfError(
            f"{folder} has a profile of none of these guests.", hint=f"See it: ukperf profile {shell(folder)}"
        )
    return [(side, replace(there, label=f"{there.label} in {folder.name}")) for side, there in same]


def exported(profiles: Profiles, form: str, window: str) -> bytes:
    """One guest's profile in another tool's format. Raises UkperfError for several guests, or another format."""
    if form not in EXPORTS:
        raise UkperfError(f"There is no format {clean(form, 40)!r}.", hint=f"There are: {', '.join(EXPORTS)}, html.")
    if len(profiles.sides) != 1:
        names = [side.label for side in profiles.sides]
        raise UkperfError(
            f"A file of {form} holds one guest, and there are {', '.join(names)}.", hint=f"Add -g {names[0]}"
        )
    profiling.check_window(profiles.sides, window)
    return EXPORTS[form](profiles.sides[0], window)
