"""Runs for a history: found in folders and bundles, put in order, and those that are not comparable kept apart.

What a run may differ in is what a history is about: the kernel, the command line, the image. Everything else that
decides a figure must be the same, guest by guest: what is run, its program and answers, the accelerator, the machine,
QEMU; where time is measured also the CPU and the host. Runs that differ there make a history of their own.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from ukperf.engine.plan import PLAN
from ukperf.errors import UkperfError
from ukperf.hosts.base import VMM_FACTS
from ukperf.model import Accelerator
from ukperf.runs.loaded import LoadedRun, run_label
from ukperf.runs.unpack import SUFFIX, Unpacked, bundle_in
from ukperf.stats.between import Side, fits
from ukperf.stats.changes import MOST_RUNS
from ukperf.stats.history import HistoryRun, Stratum
from ukperf.stats.provenance import shown, word
from ukperf.text import clean, many, meant

MOST_ENTRIES = 20_000  # of folders that are looked through
DEEPEST = 3  # folders below one that is named
LONGEST_LABEL = 60
_ALWAYS = ("workload", "options", "program", "accelerator", "machine", *(f for f in VMM_FACTS if f != "libvirt"))
_OF_TIME = ("cpu", "hostname", "launch")  # instructions do not depend on them

Opener = Callable[[str | Path], LoadedRun]


class NamedBy(StrEnum):
    """What runs are called."""

    RUN = "run"  # as their folders or files are
    TIME = "time"
    KERNEL = "kernel"


class RunOrder(StrEnum):
    TIME = "time"  # when they were measured
    GIVEN = "given"  # as they were named; in a folder by name


@dataclass(frozen=True)
class HistoryAsked:
    """guests, benchmarks: these alone (benchmarks whole or by * and ?), empty: all. labels: folder or file → how it is
    called. any_program: the program is what is built, and may differ."""

    guests: tuple[str, ...] = ()
    benchmarks: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    axis: NamedBy = NamedBy.RUN
    order: RunOrder = RunOrder.TIME
    any_program: bool = False


@dataclass(frozen=True)
class Gathered:
    """strata: the largest first; left_out: sentences about runs that are in none."""

    strata: tuple[Stratum, ...]
    left_out: tuple[str, ...]


@dataclass(frozen=True)
class _Seen:
    """A run as it is kept: its figures, and what they hang on. known: (guest, fact) → value."""

    run: HistoryRun
    sides: Mapping[str, Side]
    known: Mapping[tuple[str, str], str]


@dataclass
class _There:
    """Names that were met, so that those which fit none can be refused."""

    guests: dict[str, None] = field(default_factory=dict)
    benchmarks: dict[str, None] = field(default_factory=dict)


def gather(words: Sequence[str], opened: Opener, asked: HistoryAsked) -> Gathered:
    """The runs that words name: runs, files of pyperf, bundles with all their runs, folders with runs in them.

    Raises UkperfError for a word that is none of these, fewer than two runs, more than MOST_RUNS, and names that fit
    nothing. What is found in a folder and cannot be read is left out with a sentence.
    """
    by_place: dict[str, tuple[str, bool]] = {}
    for path, named in _runs(words):
        by_place.setdefault(os.path.realpath(path), (path, named))
    paths = list(by_place.values())
    if len(paths) > MOST_RUNS:
        raise UkperfError(f"These are {len(paths):,} runs, and a history has at most {MOST_RUNS}.")
    seen: list[_Seen] = []
    left_out: list[str] = []
    there = _There()
    known: dict[tuple[str, str], str] = {}
    for path, named in paths:
        try:
            run = opened(path)
            one = _copy_of(run, path, known) or _seen(run, path, asked, there)
        except UkperfError as error:
            if named:
                raise
            left_out.append(f"{path} is left out: {error.message}")
            continue
        if isinstance(one, str):
            left_out.append(f"{path} is left out: {one}.")
        else:
            seen.append(one)
    _refuse_unknown(asked, there, paths)
    if len(seen) < 2:
        said = f" {left_out[0]}" if left_out else ""
        raise UkperfError(f"A history needs two runs or more, and there {_count(len(seen))}.{said}")
    if asked.order is RunOrder.TIME:
        seen.sort(key=lambda one: one.run.when)
    return _strata(seen, asked, left_out)


def _copy_of(run: LoadedRun, path: str, known: dict[tuple[str, str], str]) -> str:
    """What is said of a run that is here already: its bundle beside it, or a copy. known: what was met, is added to."""
    if run.plan is None:
        return ""
    first = known.setdefault((run.plan.run_id, run.plan.created_at), path)
    return "" if first == path else f"it is the same run as {first}"


def _count(runs: int) -> str:
    return "is one" if runs == 1 else "are none"


def _refuse_unknown(asked: HistoryAsked, there: _There, paths: Sequence[tuple[str, bool]]) -> None:
    for guest in asked.guests:
        if there.guests and guest not in there.guests:
            raise UkperfError(f"No run has a guest {guest!r}.", hint=meant(guest, there.guests))
    for pattern in asked.benchmarks:
        if there.benchmarks and not any(fits(name, pattern) for name in there.benchmarks):
            raise UkperfError(f"There is no benchmark {pattern!r}.", hint=meant(pattern, there.benchmarks))
    known = [name for path, _ in paths for name in (path, run_label(Path(path)))]
    for name in asked.labels:
        if name not in known:
            raise UkperfError(f"--label names a run that is not among these: {name}.", hint=meant(name, known))


# ---- finding ----


def _runs(words: Sequence[str]) -> Iterator[tuple[str, bool]]:
    """Each run's path, and whether it was named itself."""
    budget = [MOST_ENTRIES]
    for text in words:
        path = Path(text)
        if path.is_dir() and not (path / PLAN).is_file():
            inside = list(_below(path, DEEPEST, budget))
            if not inside:
                raise UkperfError(f"{path} is no run, and no run is in it.", hint="Give runs, or a folder of runs.")
            yield from ((one, False) for one in inside)
            continue
        bundled = bundle_in(path)
        if bundled is not None and not bundled[1]:
            yield from ((one, True) for one in _of_bundle(path))
        else:
            yield text, True


def _below(folder: Path, deep: int, budget: list[int]) -> Iterator[str]:
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise UkperfError(f"{folder} cannot be read: {error.strerror}.") from error
    budget[0] -= len(entries)
    if budget[0] < 0:
        raise UkperfError(
            f"{folder} and what is beside it have more than {MOST_ENTRIES:,} entries.", hint="Name the runs themselves."
        )
    for path in entries:
        if path.is_symlink() or path.name.startswith("."):
            continue
        if path.is_dir():
            if (path / PLAN).is_file():
                yield str(path)
            elif deep > 1:
                yield from _below(path, deep - 1, budget)
        elif path.name.endswith(SUFFIX) and bundle_in(path) is not None:
            try:
                yield from _of_bundle(path)
            except UkperfError:
                yield str(path)  # why is said where it is read


def _of_bundle(path: Path) -> list[str]:
    with Unpacked(path) as unpacked:
        runs = unpacked.index.runs
    return [str(path)] if len(runs) == 1 else [f"{path}/{run}" for run in runs]


# ---- reading ----


def _seen(run: LoadedRun, path: str, asked: HistoryAsked, there: _There) -> _Seen | str:
    """A run, or why it has none to show. there: every name that is met is added."""
    if not run.records:
        return "it has no boots"
    if len({record.host for record in run.records}) > 1:
        return "its boots are from more than one host, and they are never pooled"
    sides: dict[str, Side] = {}
    for guest in run.guests:
        there.guests[guest] = None
        if not asked.guests or guest in asked.guests:
            whole = run.side(guest, guest)
            there.benchmarks |= dict.fromkeys(whole.benchmarks)
            side = _narrowed(whole, asked.benchmarks)
            if side.tried > side.lost and side.series:
                sides[guest] = side
    if not sides:
        return "it has no good boot of what is asked for"
    options = _options(run)
    when = run.plan.created_at if run.plan is not None else min(record.started_at for record in run.records)
    label = asked.labels.get(path) or asked.labels.get(run.label) or run.label
    known = {
        (guest, name): value
        for guest, side in sides.items()
        for name, value in decisive({**side.context, "options": options}, side.answers, asked).items()
    }
    history_run = HistoryRun(
        clean(label, LONGEST_LABEL),
        path,
        clean(when, 40),
        {guest: clean(kernel, LONGEST_LABEL) for guest, side in sides.items() if (kernel := _kernel(side))},
        {guest: version for guest, side in sides.items() if (version := _version(side))},
        min(side.tried - side.lost for side in sides.values()),
    )
    return _Seen(history_run, sides, known)


def _narrowed(side: Side, patterns: Sequence[str]) -> Side:
    if not patterns:
        return side
    wanted = {name: one for name, one in side.series.items() if any(fits(name, pattern) for pattern in patterns)}
    return replace(side, series=wanted, left_out={})


def _kernel(side: Side) -> str:
    return side.context.get("kernel", "") or side.context.get("kernel_sha256", "")[:12]


def _version(side: Side) -> str:
    return side.context.get("kernel_sha256", "") or side.context.get("kernel", "")


def _options(run: LoadedRun) -> str:
    """The workload's options, of paths their last part: the same program may lie elsewhere on another night."""
    if run.plan is None:
        return ""

    def short(value: Any) -> Any:
        if isinstance(value, str):
            return Path(value).name if "/" in value and "\n" not in value else value
        if isinstance(value, Mapping):
            return {str(key): short(item) for key, item in value.items()}
        return [short(item) for item in value] if isinstance(value, Sequence) else value

    return json.dumps(short(run.plan.parameters), sort_keys=True, default=str)


def decisive(context: Mapping[str, str], answers: Mapping[str, str], asked: HistoryAsked) -> dict[str, str]:
    """What must be the same in all runs of a history."""
    counted = context.get("accelerator") == Accelerator.ICOUNT
    names = _ALWAYS if counted else (*_ALWAYS, *_OF_TIME)
    kept = {name: context[name] for name in names if context.get(name)}
    if asked.any_program:
        kept.pop("program", None)
    return {**kept, **{f"answer {name}": digest for name, digest in answers.items()}}


# ---- what belongs together ----


def _strata(seen: Sequence[_Seen], asked: HistoryAsked, left_out: list[str]) -> Gathered:
    groups: list[tuple[dict[tuple[str, str], str], list[_Seen]]] = []
    for one in seen:
        for known, members in groups:
            if all(known.get(key, value) == value for key, value in one.known.items()):
                known.update(one.known)
                members.append(one)
                break
        else:
            groups.append((dict(one.known), [one]))
    groups.sort(key=lambda group: -len(group[1]))
    first = groups[0][0]
    strata = []
    for known, members in groups:
        apart = _apart(known, first)
        if len(members) < 2:
            left_out += [f"{one.run.path} is left out: {'; '.join(apart)}." for one in members]
        else:
            strata.append(_stratum(known, members, apart, asked))
    if not strata:
        raise UkperfError(f"No two of these {many(len(seen), 'run')} are comparable: {'; '.join(apart)}.")
    return Gathered(tuple(strata), tuple(left_out))


def _apart(known: Mapping[tuple[str, str], str], first: Mapping[tuple[str, str], str]) -> tuple[str, ...]:
    """In what a group differs from the first, each difference once."""
    differing: dict[tuple[str, str, str], list[str]] = {}
    for (guest, name), value in known.items():
        if first.get((guest, name), value) != value:
            differing.setdefault((name, value, first[guest, name]), []).append(guest)
    said = []
    for (name, value, usual), guests in differing.items():
        everywhere = len(guests) == len({guest for guest, _ in known})
        of = "" if everywhere else f" of {' and '.join(guests[:3])}"
        said.append(f"the {word(name)}{of} differs, {shown(value)} against {shown(usual)}")
    return tuple(said)


def _stratum(
    known: Mapping[tuple[str, str], str], members: Sequence[_Seen], apart: tuple[str, ...], asked: HistoryAsked
) -> Stratum:
    guests = dict.fromkeys(guest for one in members for guest in one.sides)
    sides = {guest: [one.sides.get(guest) for one in members] for guest in guests}
    facts: dict[str, str] = {}
    for name in (*_ALWAYS, *_OF_TIME):
        values = dict.fromkeys(value for (_, fact), value in known.items() if fact == name)
        if values and name != "options":
            facts[name] = " and ".join(shown(value) for value in values)
    return Stratum(_labelled([one.run for one in members], asked.axis), sides, facts, apart)


def _labelled(runs: Sequence[HistoryRun], axis: NamedBy) -> tuple[HistoryRun, ...]:
    """With the names that are asked for, each once: of two that are alike the later one gets a number."""
    changing = [guest for guest in runs[0].versions if len({run.versions.get(guest) for run in runs}) > 1]

    def name(run: HistoryRun) -> str:
        own = run.label != clean(run_label(Path(run.path)), LONGEST_LABEL)  # --label goes first
        if axis is NamedBy.RUN or own:
            return run.label
        if axis is NamedBy.TIME:
            return run.when[:16].replace("T", " ")
        kernels = [run.kernels[guest] for guest in changing if guest in run.kernels]
        return clean(", ".join(dict.fromkeys(kernels)) or run.label, LONGEST_LABEL)

    named: list[HistoryRun] = []
    taken: dict[str, int] = {}
    for run in runs:
        label = name(run)
        taken[label] = taken.get(label, 0) + 1
        named.append(replace(run, label=label if taken[label] == 1 else f"{label} ({taken[label]})"))
    return tuple(named)


def refuse_changed_controls(strata: Sequence[Stratum], controls: Sequence[str]) -> None:
    """Raises UkperfError for a control that is no guest of a history, or whose kernel is not the same in all its runs:
    it would put its own changes into everybody's."""
    for stratum in strata:
        for name in controls:
            if name not in stratum.sides:
                raise UkperfError(f"--control {name!r} is no guest here.", hint=meant(name, stratum.sides))
            kernels = {run.versions[name] for run in stratum.runs if name in run.versions}
            if len(kernels) > 1:
                raise UkperfError(
                    f"--control {name}: its kernel is not the same in all runs, so it is no control.",
                    hint="Take a guest whose kernel stays, like native or floor.",
                )
        if stratum.sides.keys() <= set(controls):
            raise UkperfError("Every guest is a control, and nothing is left to divide.")
