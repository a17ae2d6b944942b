"""What a run of any program keeps of it in its folder, and the sentences below its table: how it was timed, patterns
that matched nothing, outputs that differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest

from ukperf.decode import decode_stored
from ukperf.files import read_bytes, read_json
from ukperf.imaging.pack import Timing
from ukperf.imaging.packpython import PyperfWorker
from ukperf.model import Outcome, Result
from ukperf.text import clean, many

OUTPUT = "output"  # the check, and the folder of outputs in the run's folder
SHOWN = 64 << 10  # bytes of an output that are kept for people
STATE = "run.json"
FORMAT = 1


@dataclass(frozen=True)
class Known:
    """What a run's folder keeps of the program. timing: variant, or "" for all others → who tells its start and end;
    programs: variant → its own; worker: by which a pyperf script runs."""

    timing: Mapping[str, str]
    left_out: tuple[str, ...] = ()
    memory_mib: Mapping[str, int] = field(default_factory=dict)  # guests that get more, for the program's files
    programs: Mapping[str, str] = field(default_factory=dict)
    worker: PyperfWorker | None = None


def known_of(result: Result) -> Known:
    """Of a run's folder; nothing where that is damaged."""
    try:
        return decode_stored(Known, read_json(result.folder / STATE), FORMAT)
    except (OSError, ValueError):
        return Known({})


_TOLD = {
    Timing.PRELOAD: "run: from before the program's first constructor to after its last exit handler",
    Timing.STARTER: "run: from the program's first instruction to its end as the guest tells it, since it is static",
    Timing.WORKER: "run: from the start of pyperf's worker, its interpreter loaded, to the script's end",
    Timing.GUEST: "run: from start to end as the guest tells it",
}


def timing_notes(result: Result) -> list[str]:
    """Who told when the program began and ended, and which guests have more memory for it."""
    known = known_of(result)
    try:
        ways = [Timing(way) for way in known.timing.values()]
    except ValueError:
        return []
    notes = [f"{_TOLD[way]}." for way in dict.fromkeys(ways)]
    for guest, mib in known.memory_mib.items():
        if guest in result.plan.guests and result.plan.machine_of(guest).memory_mib == mib:
            notes.append(f"{guest} has {mib} MiB, since the program's files are in its memory.")
    if len(set(ways)) > 1:
        notes.append("These are timed in different ways, so that small differences of run are not the programs' own.")
    return notes


def pattern_notes(result: Result, names: Sequence[str]) -> list[str]:
    """Names of patterns that matched nothing: they have no figure, and no record says why."""
    notes = []
    for name in names:
        for guest in result.plan.guests:
            good = [r for r in result.records if r.trial.guest == guest and r.outcome is Outcome.OK]
            without = sum(all(sample.benchmark != name for sample in record.samples) for record in good)
            if without:
                notes.append(f"{name} matched nothing in {without} of {many(len(good), 'boot')} of {guest}.")
    return notes


def output_notes(result: Result) -> list[str]:
    """Where guests wrote different things: the first lines that differ."""
    baseline = result.plan.baseline
    written: dict[str, dict[str, None]] = {}
    for record in result.records:
        if record.outcome is Outcome.OK and OUTPUT in record.checks:
            written.setdefault(record.trial.guest, {})[record.checks[OUTPUT]] = None
    notes = []
    for guest, digests in written.items():
        if len(digests) > 1:
            notes.append(f"{guest} does not write the same in every boot: {_difference(result, *list(digests)[:2])}")
        elif guest != baseline and baseline in written and set(written[baseline]) != set(digests):
            notes.append(
                f"{guest} does not write what {baseline} does: "
                f"{_difference(result, next(iter(written[baseline])), next(iter(digests)))}"
            )
    if notes:
        notes.append("--ignore REGEX leaves out lines that may differ, --output may-differ all.")
    return notes


def _difference(result: Result, one: str, other: str) -> str:
    """The first line that differs of two outputs, each shortened."""
    try:
        texts = [
            read_bytes(result.folder / OUTPUT / digest[:16], SHOWN).decode("utf-8", "replace").splitlines()
            for digest in (one, other)
        ]
    except (OSError, ValueError):
        return "what they wrote is not kept any more."
    differing = ((left, right) for left, right in zip_longest(*texts) if left != right)
    pair = next(differing, None)
    if pair is None:
        return f"in bytes behind the first {SHOWN >> 10} KiB, or at an end of a line."
    shown = [repr(clean(text, 80)) if text is not None else "no line more" for text in pair]
    return f"first {shown[0]}, then {shown[1]}."
