"""Runs on disk as data: `ukperf.load(run)` for notebooks, and sides for comparisons.

A run is the folder of a campaign; a pyperf file stands in for one wherever runs are compared.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ukperf.errors import UkperfError
from ukperf.model import BootRecord, Outcome, Unit
from ukperf.runs.pyperffile import file_label, read_pyperf
from ukperf.runs.unpack import SUFFIX, Unpacked, bundle_in, holds
from ukperf.stats.between import Side
from ukperf.stats.perboot import Series, collect, final_records, merged, sample_name, without_phases
from ukperf.stats.provenance import facts_over
from ukperf.stats.sides import side_of
from ukperf.text import meant, shell

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ukperf.model import Plan
    from ukperf.stats.summary import RunSummary


@dataclass(frozen=True)
class LoadedRun:
    """A run as records and arrays.

    records: every boot in the order of execution, failed ones and retries included. facts: what the numbers are.
    context: guest → what must be alike to be compared with it. Times are in seconds; under icount everything is in
    guest instructions: `unit(guest, benchmark)` says which. damaged: lines of the journal that could not be read.
    left_out: guest → benchmark → why it has no value here. plain: a file that names no guest; its guest is called as
    the file is. unpacked: a bundle that the run is in; inside: its name there, where it was named.
    """

    path: Path
    records: tuple[BootRecord, ...]
    baseline: str
    delta: float
    facts: Mapping[str, str] = field(default_factory=dict)
    context: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    plan: Plan | None = None
    damaged: tuple[int, ...] = ()
    left_out: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    plain: bool = False
    unpacked: Unpacked | None = None
    inside: str = ""

    @property
    def label(self) -> str:
        return run_label(self.path)

    @property
    def folder(self) -> Path:
        """Where the files of a run are."""
        return self.path if self.unpacked is None else self.unpacked.run(self.inside)

    @property
    def guests(self) -> tuple[str, ...]:
        """The guests in the run, the baseline first."""
        names = sorted({record.trial.guest for record in self.records})
        return tuple(sorted(names, key=lambda name: (name != self.baseline, name)))

    def benchmarks(self, guest: str) -> tuple[str, ...]:
        """Names of the guest's benchmarks: phases (`total` …), samples, quantiles of samples (`latency/p99`)."""
        return tuple(collect(self.records, self._known(guest)))

    def unit(self, guest: str, benchmark: str) -> Unit:
        """The unit of `boots` and `iterations`. Raises UkperfError for a guest or benchmark that is not there."""
        return self._series(guest, benchmark).unit

    def boots(self, guest: str, benchmark: str) -> NDArray[np.float64]:
        """One number a boot, shape (good boots,), in the order of the blocks: what inference is made from.

        A phase's duration, a sample's mean over its steady iterations, or a quantile of its calls.
        Raises UkperfError for a guest or benchmark that is not there.
        """
        import numpy as np

        return np.asarray(self._series(guest, benchmark).values, dtype=np.float64)

    def blocks(self, guest: str, benchmark: str) -> NDArray[np.int64]:
        """The block of each of `boots`, same shape: pairs guests with each other."""
        import numpy as np

        return np.asarray(self._series(guest, benchmark).blocks, dtype=np.int64)

    def iterations(self, guest: str, benchmark: str) -> list[NDArray[np.float64]]:
        """Every value of a sample, one array of shape (iterations,) for each good boot, warm-ups left out."""
        import numpy as np

        self._known(guest)
        arrays = []
        for _, record in sorted(final_records(self.records, guest).items()):
            if record.outcome is Outcome.OK:
                arrays += [
                    np.asarray(sample.values, dtype=np.float64)
                    for sample in merged(record.samples)
                    if sample_name(sample.benchmark) == benchmark
                ]
        return arrays

    def baseline_or(self, wanted: str | None) -> str:
        """The guest that the others are divided by: the one that is wanted, else the run's own.

        Raises UkperfError if the run has no guest of that name.
        """
        if wanted is None or not self.records:
            return wanted or self.baseline
        if wanted not in self.guests:
            raise UkperfError(f"{self.label} has no guest {wanted!r}.", hint=meant(wanted, self.guests, "It has"))
        return wanted

    def summary(self, baseline: str | None = None, delta: float | None = None) -> RunSummary:
        """Estimates, comparisons and verdicts, as the table shows them.

        Raises as `stats.summary.summarize` and `baseline_or`, and for a run without boots.
        """
        from ukperf.stats.summary import summarize

        if not self.records:
            raise self.without_boots()
        whole = summarize(self.records, self.baseline_or(baseline), self.delta if delta is None else delta)
        return replace(whole, warnings=(*whole.warnings, *self.omissions()))

    def summaries(self, baseline: str | None = None, delta: float | None = None) -> dict[str, RunSummary]:
        """Host → summary, for runs on more than one host. Raises as `summary`."""
        from ukperf.stats.summary import by_host, summarize

        if not self.records:
            raise self.without_boots()
        used = self.delta if delta is None else delta
        return {
            host: replace(summary, warnings=(*summary.warnings, *self.omissions()))
            for host, part in by_host(self.records).items()
            for summary in [summarize(part, self.baseline_or(baseline), used)]
        }

    def omissions(self) -> list[str]:
        """Sentences about what the file or folder holds and the records do not."""
        named = [f"{name} {why}." for table in self.left_out.values() for name, why in table.items()]
        return [*named, *(f"{note}." for note in self._notes())]

    def _notes(self) -> tuple[str, ...]:
        torn = len(self.damaged)
        lines = "line" if torn == 1 else "lines"
        return (*self.notes, *([f"{torn} {lines} of the journal of {self.label} could not be read"] if torn else []))

    def absent(self, guest: str, label: str) -> Side:
        """A guest that the run has not, as a side without a value: so it is named wherever it is missed."""
        return Side(label=label, run=str(self.path.resolve()), series={}, notes=self._notes(), guest=guest)

    def side(self, guest: str, label: str) -> Side:
        """One guest as a side of a comparison. Raises UkperfError for a guest that is not there."""
        self._known(guest)
        mine = [record for record in self.records if record.trial.guest == guest]
        if len({record.host for record in mine}) > 1:
            raise UkperfError(
                f"{self.path} has boots from more than one host, and they are never pooled.",
                hint=f"Compare its guests, host by host: ukperf compare {shell(self.path)}",
            )
        return replace(
            side_of(mine, guest, label, str(self.path.resolve())),
            context=self.context.get(guest, {}),
            left_out=self.left_out.get(guest, {}),
            notes=self._notes(),
            guest="" if self.plain else guest,
        )

    def without_boots(self) -> UkperfError:
        """What is said of a run that was broken off before its first boot."""
        if self.unpacked is not None:
            hint = "It was broken off before its first boot, and a bundle is only read: ask who made it for another."
        else:
            hint = f"Go on with it: ukperf resume {shell(self.path)}"
        return UkperfError(f"{self.path} has no boots.", hint=hint)

    def _known(self, guest: str) -> str:
        if not self.records:
            raise self.without_boots()
        if guest not in self.guests:
            if self.plain:
                raise UkperfError(
                    f"{self.path} names no guests, so it has no guest {guest!r}.",
                    hint=f"Give the file alone: {self.path}",
                )
            raise UkperfError(f"{self.path} has no guest {guest!r}.", hint=f"It has: {', '.join(self.guests)}.")
        return guest

    def _series(self, guest: str, benchmark: str) -> Series:
        table = collect(self.records, self._known(guest))
        if benchmark not in table:
            raise UkperfError(f"{guest} has no benchmark {benchmark!r}.", hint=meant(benchmark, table, "It has"))
        return table[benchmark]


def run_label(path: Path) -> str:
    """A run's short name: its folder's, or its file's without the suffix."""
    return path.name if path.is_dir() else file_label(path.with_name(path.name.removesuffix(SUFFIX) or path.name))


def load(path: str | Path) -> LoadedRun:
    """Open a run's folder, a run in a bundle (FILE, or FILE/RUN where it holds several), or a file of pyperf or
    hyperfine (its processes are the boots).

    In a file that names no guest, the guest is called as the file is: `telco` in telco.json.

    Raises UkperfError for what is neither, is damaged, or is too large.
    """
    where = Path(path)
    if where.is_dir():
        return _folder(where)
    if (bundled := bundle_in(where)) is not None:
        unpacked = Unpacked(bundled[0])
        return replace(_folder(unpacked.run(bundled[1])), path=where, unpacked=unpacked, inside=bundled[1])
    if not where.exists():
        run, guest = _split(str(path))
        if guest is None:
            raise UkperfError(f"{where} does not exist.", hint="Give the folder of a run, or a file of pyperf.")
        load(run)._known(guest)
        raise UkperfError(
            f"{where} is one guest of a run, and a whole run is wanted.",
            hint=f"Give {run} alone; where one guest can be chosen, --guest {guest} does.",
        )
    file = read_pyperf(where)
    records = [record for guest in file.guests.values() for record in guest]
    baseline = _baseline(tuple(file.guests))
    context = {guest: facts_over(boots) or file.context for guest, boots in file.guests.items()}
    return LoadedRun(
        where,
        tuple(records),
        baseline,
        0.01,
        file.context,
        context,
        left_out=file.left_out,
        notes=file.notes,
        plain=file.plain,
    )


def _baseline(names: Sequence[str]) -> str:
    """Of a file that says none: what it would be in a run, else the first."""
    if len(names) > 1:
        from ukperf import guests

        if (usual := guests.baseline()) in names:
            return usual
    return names[0]


def _folder(folder: Path) -> LoadedRun:
    from ukperf.engine.facts import facts_of
    from ukperf.engine.journal import JOURNAL, read_journal
    from ukperf.engine.plan import load as load_plan
    from ukperf.engine.provenance import with_facts

    plan = load_plan(folder)
    contents = read_journal(folder / JOURNAL)
    records = with_facts(plan, contents.records)
    if not plan.phases:
        records = tuple(without_phases(record) for record in records)
    facts = facts_of(plan, records)
    context = {guest: facts_over(r for r in records if r.trial.guest == guest) for guest in plan.images}
    return LoadedRun(folder, records, plan.baseline, plan.delta, facts, context, plan, contents.damaged)


def sides(words: Sequence[str], opened_by: Callable[[Path], LoadedRun] = load) -> list[tuple[Side, Side]]:
    """What `ukperf compare RUN RUN…` means: the pairs (side, its baseline). The first word is the baseline.

    A word is a run's folder or a pyperf file, or RUN:GUEST for one guest of it. Without guests, each guest of a further
    run is compared with the same guest of the first; a guest that only one of them has stands against a side without a
    value, so that it is named. With a guest in any word, every word must come down to one guest. opened_by: opens
    a run, with the records that are to be compared.
    Raises UkperfError for words that are no runs, for runs without a boot, and for runs that have no guest in common.
    """
    parts = [_split(word) for word in words]
    labels = _labels([path for path, _ in parts])
    alone = any(guest is not None for _, guest in parts)
    chosen: list[tuple[LoadedRun, str | None, str]] = []
    single: list[Side] = []
    opened: dict[Path, LoadedRun] = {}
    for (path, guest), label in zip(parts, labels, strict=True):
        run = opened.get(path) or opened_by(path)
        if not run.records:
            raise run.without_boots()
        alone = alone or run.plain
        chosen.append((run, guest, label))
        if alone:  # sides are small: a large file is let go before the next one is read
            single += [_single(*one) for one in chosen]
            chosen.clear()
        if sum(path == other for other, _ in parts) > 1:
            opened[path] = run
        del run
    if alone:
        return [(other, single[0]) for other in single[1:]]
    first, _, first_label = chosen[0]
    pairs = []
    for run, _, label in chosen[1:]:
        if not set(first.guests) & set(run.guests):
            raise UkperfError(
                f"{first.label} and {run.label} have no guest in common.",
                hint=f"Name one of each, like {words[0]}:{first.guests[0]} {words[1]}:{run.guests[0]}.",
            )
        pairs += [
            (_side(run, guest, f"{label}:{guest}"), _side(first, guest, f"{first_label}:{guest}"))
            for guest in dict.fromkeys([*first.guests, *run.guests])
        ]
    return pairs


def sides_of_runs(
    old: Sequence[str], new: Sequence[str], opened_by: Callable[[Path], LoadedRun] = load
) -> list[tuple[Side, Side]]:
    """What `ukperf compare OLD… --against NEW…` means: each guest that all runs have, a side of runs against another.

    Words are those of `sides`; with a guest in any word, or with a file that names none, every word must come down to
    one guest. Raises UkperfError as `sides` and `pooled`, and for a run that stands on both sides.
    """
    words = [*old, *new]
    parts = [_split(word) for word in words]
    both = {path.resolve() for path, _ in parts[: len(old)]} & {path.resolve() for path, _ in parts[len(old) :]}
    if len(parts) != len({(path.resolve(), guest) for path, guest in parts}) or (both and not any(g for _, g in parts)):
        raise UkperfError("A run is named twice, so it would count twice.", hint="Name each run once.")
    labels = _labels([path for path, _ in parts])
    runs = [opened_by(path) for path, _ in parts]
    chosen = [(run, guest, label) for run, (_, guest), label in zip(runs, parts, labels, strict=True)]
    cut = len(old)
    if any(guest is not None for _, guest in parts) or any(run.plain for run in runs):
        single = [_single(*one) for one in chosen]
        return [(_pool(single[cut:]), _pool(single[:cut]))]
    common = [guest for guest in runs[0].guests if all(guest in run.guests for run in runs)]
    if not common:
        raise UkperfError("The runs have no guest in common.", hint=f"Name one of each, like {words[0]}:GUEST.")

    def side(guest: str, part: Sequence[tuple[LoadedRun, str | None, str]]) -> Side:
        return _pool([run.side(guest, f"{label}:{guest}") for run, _, label in part])

    return [(side(guest, chosen[cut:]), side(guest, chosen[:cut])) for guest in common]


def _pool(runs: Sequence[Side]) -> Side:
    """One run stays what it is."""
    from ukperf.stats.sides import pooled

    if len(runs) == 1:
        return runs[0]
    first, _, guest = runs[0].label.rpartition(":") if runs[0].guest else (runs[0].label, "", "")
    return pooled(runs, f"{first} + {len(runs) - 1}{f':{guest}' if guest else ''}")


def _side(run: LoadedRun, guest: str, label: str) -> Side:
    return run.side(guest, label) if guest in run.guests else run.absent(guest, label)


def _split(word: str) -> tuple[Path, str | None]:
    """RUN or RUN:GUEST. A word that is neither is a path as it stands, so that what is missing is named whole."""
    if is_there(Path(word)):
        return Path(word), None
    parts = word.split(":")  # both a path and a guest (nanos:0.1.55) may have colons: the longest path that is there
    for cut in range(len(parts) - 1, 0, -1):
        path = ":".join(parts[:cut])
        if path and is_there(Path(path)):
            return Path(path), ":".join(parts[cut:])
    return Path(word), None


def is_there(path: Path) -> bool:
    """Is there a folder or a file, or a run of that name in a bundle?"""
    return path.exists() or holds(path)


def _labels(paths: Sequence[Path]) -> list[str]:
    """Short names where they tell the runs apart, else the paths as they were given."""
    short = {path: run_label(path) for path in paths}
    return [short[path] if list(short.values()).count(short[path]) == 1 else str(path) for path in paths]


def _single(run: LoadedRun, guest: str | None, label: str) -> Side:
    if guest is None and len(run.guests) == 1:
        guest = run.guests[0]
    if guest is None:
        raise UkperfError(
            f"{run.path} has {len(run.guests)} guests, and one is wanted.", hint=f"Write {run.path}:{run.guests[0]}."
        )
    return run.side(guest, label if run.plain else f"{label}:{guest}")
