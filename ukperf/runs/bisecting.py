"""One step of a bisection: a build is measured by a command until it is told whose side it is on.

`git bisect run` asks by exit status: 0 good, 1 bad, 125 cannot be told. What is wrong with a call must be none of them.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from ukperf.errors import UkperfError
from ukperf.model import Unit
from ukperf.runs.history import HistoryAsked, decisive
from ukperf.runs.loaded import LoadedRun
from ukperf.stats.between import Side
from ukperf.stats.bisecting import LEAST, Leaning, Weighed, apart, weigh
from ukperf.stats.provenance import shown, word
from ukperf.stats.sides import divided, usable
from ukperf.text import many, meant, shell

RUN, BOOTS = "@run", "@boots"
PATIENCE_S = 60.0  # for a command that is ended to clean up

Opener = Callable[[str | Path], LoadedRun]
Runner = Callable[[Sequence[str]], int]  # words → exit status


@dataclass(frozen=True)
class BisectAsked:
    """good, bad: runs of the two ends. error: of wrong answers of this step; most: boots of the build."""

    good: tuple[str, ...]
    bad: tuple[str, ...]
    command: tuple[str, ...]
    guest: str = ""
    benchmark: str = "total"
    control: str = ""
    error: float = 0.005
    most: int = 64


@dataclass(frozen=True)
class Answered:
    """weighed: None where the command failed, with its status. boots: of this build."""

    weighed: Weighed | None
    boots: int
    status: int = 0


def step(asked: BisectAsked, opened: Opener, run: Runner) -> Answered:
    """Measure until it is told, or with the most boots. Raises UkperfError for a call that cannot be answered."""
    if not any(RUN in text for text in asked.command):
        raise UkperfError(
            f"The command has no {RUN}, so its run would not be seen.",
            hint=f"Like: -- ukperf run --accel icount -g linux --boots {BOOTS} --run {RUN} -- ./program",
        )
    good, bad = (_Values.of(words, asked, opened) for words in (asked.good, asked.bad))
    _refuse_unlike(good, bad)
    if not apart(good.values, bad.values, good.counted):
        raise UkperfError(
            f"Good and bad runs do not differ in {asked.benchmark} of {good.guest}, and nothing is to be found.",
            hint="Six boots a side are needed, or two that repeat exactly (icount).",
        )
    seen: list[float] = []
    with tempfile.TemporaryDirectory(prefix="ukperf-bisect-") as folder:
        while True:
            boots = min(max(LEAST, len(seen)), asked.most - len(seen))
            target = Path(folder) / f"run-{len(seen)}"
            status = run([_filled(text, target, boots) for text in asked.command])
            if status:
                return Answered(None, len(seen), status)
            more = _Values.of((str(target),), replace(asked, guest=good.guest), opened)
            _refuse_unlike(good, more)
            seen += more.values
            weighed = None if len(seen) < LEAST else weigh(good.values, bad.values, seen, asked.error, good.counted)
            if weighed is not None and (
                weighed.leaning is not Leaning.OPEN or weighed.exact or len(seen) >= asked.most
            ):
                return Answered(weighed, len(seen))


def run_command(words: Sequence[str]) -> int:
    """The exit status of a command, whose output goes to standard error: ours is one answer. Whatever ends us ends it,
    and waits until it has cleaned up.

    Raises UkperfError if it cannot be started.
    """
    try:
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=2)
    except OSError as error:
        raise UkperfError(f"{shell(words[0])} cannot be started: {error.strerror}.") from error
    try:
        return process.wait()
    except BaseException:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE_S)
        process.kill()
        process.wait()
        raise


def _filled(text: str, target: Path, boots: int) -> str:
    return text.replace(RUN, str(target)).replace(BOOTS, str(boots))


@dataclass(frozen=True)
class _Values:
    """One number a boot, of what; context: what must be alike."""

    guest: str
    label: str
    values: list[float]
    context: dict[str, str]
    counted: bool  # instructions, which nearly repeat

    @classmethod
    def of(cls, words: Sequence[str], asked: BisectAsked, opened: Opener) -> _Values:
        values: list[float] = []
        guest, counted = asked.guest, True
        context: dict[str, str] = {}
        for text in words:
            run = opened(text)
            if not run.records:
                raise run.without_boots()
            guest = guest or _only(run, asked.control)
            side = run.side(guest, guest)
            values += _boots(run, side, asked)
            unit = side.series[asked.benchmark].unit
            counted = counted and unit is Unit.INSTRUCTIONS and not asked.control
            known = decisive(side.context, {}, HistoryAsked(any_program=True))
            for name, value in known.items():
                if context.setdefault(name, value) != value:
                    raise _unlike(name, value, context[name])
        return cls(guest, words[0], values, context, counted)


def _only(run: LoadedRun, control: str) -> str:
    guests = [guest for guest in run.guests if guest != control]
    if len(guests) != 1:
        raise UkperfError(f"{run.label} has {many(len(guests), 'guest')}, and one is wanted.", hint="Name it: --guest.")
    return guests[0]


def _boots(run: LoadedRun, side: Side, asked: BisectAsked) -> Sequence[float]:
    series = side.series.get(asked.benchmark)
    if series is None:
        raise UkperfError(
            f"{run.label} has no benchmark {asked.benchmark!r}.", hint=meant(asked.benchmark, side.benchmarks)
        )
    if asked.control:
        by = run.side(asked.control, asked.control).series.get(asked.benchmark)
        series = divided(series, by.by_block() if by is not None and usable(by) else {})
    if not usable(series):
        raise UkperfError(f"{asked.benchmark} of {run.label} has no value that can be compared.")
    return series.values


def _refuse_unlike(good: _Values, other: _Values) -> None:
    for name in good.context.keys() & other.context.keys():
        if good.context[name] != other.context[name]:
            raise _unlike(name, other.context[name], good.context[name])


def _unlike(name: str, value: str, usual: str) -> UkperfError:
    return UkperfError(f"These runs are not comparable: the {word(name)} differs, {shown(value)} and {shown(usual)}.")
