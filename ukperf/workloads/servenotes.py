"""What is said about a run of servers besides its table: the generator, rates that were too much, answers, tails."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ukperf.model import Accelerator, BootRecord, Sample, Unit
from ukperf.reports.units import with_unit
from ukperf.text import many
from ukperf.workloads.loads import BEYOND
from ukperf.workloads.serving import ANSWER, ANSWERS, DIFFER, FIRST, Service


def _loads(records: Sequence[BootRecord]) -> Iterator[tuple[str, str, Sample]]:
    """(guest, load, one of its samples) for each load of each boot."""
    for record in records:
        seen: set[str] = set()
        for sample in record.samples:
            load = sample.benchmark.partition(" at ")[2]
            if load and "requests" in sample.metadata and load not in seen:
                seen.add(load)
                yield record.trial.guest, load, sample


def _number(sample: Sample, name: str) -> float:
    value = sample.metadata.get(name, 0)
    return float(value) if isinstance(value, int | float) else 0.0


def generator_facts(records: Sequence[BootRecord]) -> dict[str, str]:
    """What the load generator took of the machine that it shares, and how late it was."""
    loads = [sample for _, _, sample in _loads(records)]
    if not loads:
        return {}
    cpu = max(_number(sample, "generator_cpu") for sample in loads)
    late = with_unit(max(_number(sample, "late_p99_s") for sample in loads), Unit.SECONDS)
    return {"load": f"generator took up to {100 * cpu:.0f} % of a CPU, {late} late at most (p99 of a load)"}


def notes(good: Sequence[BootRecord], asked: Service, accelerator: Accelerator) -> tuple[str, ...]:
    """Sentences, of the boots that were good."""
    where = f"; the generator has CPUs {','.join(map(str, asked.pin))} to itself" if asked.pin else ""
    how = "Poisson" if asked.poisson else "constant"
    told = [
        f"{FIRST}: from the machine's start to the last byte of the first whole answer that this machine got.",
        "Latency at a rate is counted from when a request was meant to begin, so a server that stands still is seen by "
        f"all who would have come meanwhile ({how} arrivals, the same in every boot of this run){where}.",
    ]
    if accelerator is Accelerator.TCG:
        told.append("These are seconds of an emulator: no guest's latency on real hardware.")
    return (*told, *_late(good), *_too_much(good), *_faults(good), *_too_few(asked), *_answers(good))


def _late(good: Sequence[BootRecord]) -> Iterator[str]:
    late: dict[str, list[float]] = {}
    for guest, load, sample in _loads(good):
        if sample.metadata.get("was_late") is True:
            late.setdefault(f"{guest} at {load}", []).append(_number(sample, "late_p99_s"))
    for name, seconds in late.items():
        by = with_unit(max(seconds), Unit.SECONDS)
        yield (
            f"The generator was late in {many(len(seconds), 'boot')} of {name}, by {by} (p99): "
            "that is part of the latency. A machine with less to do, or --pin-load with a CPU of its own, helps."
        )


def _too_much(good: Sequence[BootRecord]) -> Iterator[str]:
    boots: dict[tuple[str, str], list[float]] = {}
    for guest, load, sample in _loads(good):
        if sample.metadata.get("met") is False:
            boots.setdefault((guest, load), []).append(sample.values[0])
    for (guest, load), rates in boots.items():
        yield (
            f"{guest} did not keep up with {load} in {many(len(rates), 'boot')}: it answered {_range(rates)} "
            f"requests a second. Its latency there grows as long as the load lasts, so there is "
            "no figure of it."
        )


def _range(rates: Sequence[float]) -> str:
    least, most = f"{min(rates):,.0f}", f"{max(rates):,.0f}"
    return least if least == most else f"{least} to {most}"


def _faults(good: Sequence[BootRecord]) -> Iterator[str]:
    for guest, load, sample in _loads(good):
        if faults := sample.metadata.get("faults"):
            yield f"{guest} at {load}: {faults}."


def _too_few(asked: Service) -> Iterator[str]:
    for load in asked.loads:
        requests = load.rate * load.seconds
        for name, share in (("p99.9", 0.001), ("p99", 0.01)):
            if load.rate and requests * share < BEYOND:
                needed = BEYOND / share / load.rate
                yield f"{name} at {load.name} takes {BEYOND / share:,.0f} requests of a boot: --duration {needed:g}."
                break


def _answers(good: Sequence[BootRecord]) -> Iterator[str]:
    told: Mapping[str, set[str]] = {
        name: {record.checks[name] for record in good if name in record.checks} for name in (ANSWER, ANSWERS)
    }
    guests = ", ".join(sorted({record.trial.guest for record in good}))
    if len(told[ANSWER]) == 1 and len(told[ANSWERS]) == 1 and told[ANSWERS] != {DIFFER}:
        yield f"Same work: every answer of {guests} has the same body."
    elif told[ANSWERS] == {DIFFER} and len(told[ANSWER]) == 1:
        yield f"The first answers of {guests} have the same body; those under load differ from request to request."
    elif told[ANSWER]:
        yield "Answers are not the same in all guests, or not in all boots: --output may-differ compares them anyway."
