"""Sides of comparisons made of others: several runs as one side, figures divided by a control, a suite as one figure.

All give a Side whose series are compared like any other's (stats.between). `side_of` makes one of records.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from ukperf.errors import UkperfError
from ukperf.model import BootRecord, Outcome, Unit
from ukperf.stats.between import Side
from ukperf.stats.perboot import PHASES, Series, final_records
from ukperf.stats.provenance import DECISIVE, facts_over, shown
from ukperf.stats.within import series_of
from ukperf.text import many, meant


def side_of(
    records: Sequence[BootRecord], guest: str, label: str, run: str, benchmarks: Collection[str] | None = None
) -> Side:
    """One guest of a run on one host, with the facts of its own boots. benchmarks: those that are compared; None:
    all."""
    mine = [record for record in records if record.trial.guest == guest]
    finals = final_records(mine, guest).values()
    series = series_of(mine, guest)
    return Side(
        label=label,
        run=run,
        series={name: one for name, one in series.items() if benchmarks is None or name in benchmarks},
        context=facts_over(mine),
        answers={name: digest for record in finals for name, digest in record.checks.items()},
        lost=sum(record.outcome is not Outcome.OK for record in finals),
        tried=len(finals),
        guest=guest,
    )


def pooled(runs: Sequence[Side], label: str) -> Side:
    """Several runs of one guest as one side: the run is the unit, its value the geometric mean of its boots.

    What changes from run to run (builds, nights, machines' moods) is then in the interval, as it is not where two runs
    are compared. A benchmark that a run lacks is left out with the reason. Raises UkperfError where the runs are not of
    the same program, or did not give the same answers.
    """
    _refuse_unlike(runs)
    names = dict.fromkeys(name for run in runs for name in run.benchmarks)
    series: dict[str, Series] = {}
    left_out: dict[str, str] = {}
    for name in names:
        lacking = next((run for run in runs if not usable(run.series.get(name))), None)
        units = {run.series[name].unit for run in runs if name in run.series}
        if lacking is not None:
            left_out[name] = lacking.left_out.get(name, f"has no value that can be compared in {lacking.label}")
        elif len(units) > 1:
            left_out[name] = f"has {' and '.join(sorted(units))} as its units"
        else:
            means = tuple(geometric_mean(run.series[name].values) for run in runs)
            series[name] = Series(units.pop(), tuple(range(len(runs))), means)
    boots = [run.tried - run.lost for run in runs]
    spread = f"{min(boots)}" if min(boots) == max(boots) else f"{min(boots)} to {max(boots)}"
    first = runs[0]
    return Side(
        label=label,
        run="\n".join(sorted(run.run for run in runs)),
        series=series,
        context={key: value for key, value in first.context.items() if all(r.context.get(key) == value for r in runs)},
        answers={name: digest for run in runs for name, digest in run.answers.items()},
        lost=sum(run.lost for run in runs),
        tried=sum(run.tried for run in runs),
        left_out=left_out,
        notes=(f"{label} is {many(len(runs), 'run')} of {spread} boots, and the run is the unit", *_notes(runs)),
        guest=first.guest,
        runs=len(runs),
    )


def _refuse_unlike(runs: Sequence[Side]) -> None:
    first, *others = runs
    for other in others:
        for key in DECISIVE:
            was, now = first.context.get(key, ""), other.context.get(key, "")
            if was and now and was != now:
                raise UkperfError(
                    f"{first.label} and {other.label} are no runs of one side: the {key} differs, {shown(was)} and "
                    f"{shown(now)}."
                )
        for name in sorted(first.answers.keys() & other.answers.keys()):
            if first.answers[name] != other.answers[name]:
                raise UkperfError(f"{first.label} and {other.label} did not do the same work: {name} differs.")


def _notes(runs: Sequence[Side]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(note for run in runs for note in run.notes))


def relative_to(side: Side, control: str) -> Side:
    """Every benchmark divided, boot by boot, by one that should not change: what moves both is no longer seen.

    control: its name. It stays as it is, so that it is seen whether it changed. Raises UkperfError where the side has
    not got it, or no boot of it can be divided by.
    """
    divisor = side.series.get(control)
    if divisor is None:
        raise UkperfError(f"{side.label} has no benchmark {control!r}.", hint=meant(control, side.benchmarks))
    if not usable(divisor):
        raise UkperfError(f"{control} of {side.label} has no value that can be divided by.")
    by = divisor.by_block()
    series = {name: one if name == control else divided(one, by) for name, one in side.series.items()}
    return replace(side, series=series, control=control)


def divided(series: Series, by: Mapping[int, float]) -> Series:
    """The boots of a series divided by what `by` has for their blocks; those without such a number are left out."""
    kept = [place for place, block in enumerate(series.blocks) if block in by]

    def of(values: Sequence[float]) -> tuple[float, ...]:
        return tuple(values[place] / by[series.blocks[place]] for place in kept)

    odd = {new: series.odd[place] for new, place in enumerate(kept) if place in series.odd}
    blocks = tuple(series.blocks[place] for place in kept)
    return replace(series, blocks=blocks, values=of(series.values), warmth=(), starts=(), odd=odd, calls=())


def suites(pairs: Sequence[tuple[Side, Side]]) -> list[tuple[Side, Side]]:
    """The same pairs with one figure for each unit: the geometric mean of all benchmarks that both sides have.

    Phases of boots are parts of one another, and in no suite, nor is a control. Of each boot that has all of them, the
    mean of the logs is one number, so that what their figures have in common is not counted as if they were
    independent. Pairs without two benchmarks of one unit are left out.
    """
    compared = []
    for side, baseline in pairs:
        for unit in Unit:
            names = [name for name in baseline.series if _in_suite(name, unit, side, baseline)]
            if len(names) > 1:
                compared.append((_suite(side, names, unit), _suite(baseline, names, unit)))
    return [pair for pair in compared if all(series.values for one in pair for series in one.series.values())]


def _in_suite(name: str, unit: Unit, side: Side, baseline: Side) -> bool:
    both = side.series.get(name), baseline.series[name]
    return name not in (*PHASES, side.control) and all(
        one is not None and one.unit is unit and usable(one) for one in both
    )


def _suite(side: Side, names: Sequence[str], unit: Unit) -> Side:
    tables = [side.series[name].by_block() for name in names]
    blocks = [block for block in tables[0] if all(block in table for table in tables)]
    values = tuple(geometric_mean([table[block] for table in tables]) for block in blocks)
    name = f"geometric mean of {len(names)} benchmarks"
    return replace(side, series={name: Series(unit, tuple(blocks), values)}, left_out={}, notes=())


def usable(series: Series | None) -> bool:
    """Has it values, and a logarithm each?"""
    return (
        series is not None
        and bool(series.values)
        and not series.odd
        and all(0 < value < math.inf for value in series.values)
    )


def geometric_mean(values: Sequence[float]) -> float:
    """Of positive values, at least one."""
    return math.exp(math.fsum(map(math.log, values)) / len(values))
