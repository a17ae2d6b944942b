"""The `native` guest beside hyperfine, over the same programs: what each measures, and what each costs a run.

    python benchmarks/hyperfine_cost.py [--rounds 10] [--program true …]

A round is four ways to measure a program, in an order that is drawn, each with few runs and with many:

* hyperfine: `hyperfine -N --runs K --export-json FILE PROGRAM`, as anybody would.
* hyperfine, packed: the same, of the program that ukperf runs: from its packed tree, with its libraries and the
  library that tells its start and end (LD_PRELOAD), since those take time which is the program's.
* ukperf: a campaign of `native` alone through the engine, with plan, journal and all.
* ukperf, no fsync: the same, with fsync doing nothing; what it costs that the journal outlives the system, too.

hyperfine times fork and exec until it has waited for the process; ukperf's `total` is from before the process is made
until its pidfd says that it ended. What a run costs besides is the wall time of the whole command less what was
measured, of many runs less that of few, by the runs between them: so the start is in neither. Processor time is that
of the command and the program together, got in the same way; it is little disturbed by what else the machine does, and
what one way has more of than another is its own work. Medians of the rounds, with quartiles; ratios to `hyperfine,
packed`, of medians, as geometric means over the rounds with 95 % intervals.

Needs hyperfine (Debian: apt-get install hyperfine). Exit status 1 where `ukperf` costs more than LIMIT × hyperfine.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from unittest.mock import patch

from ukperf import guests
from ukperf.engine.session import start
from ukperf.errors import UkperfError
from ukperf.guests.base import BuildOptions
from ukperf.imaging.pack import pack
from ukperf.model import Image, Limits, Phase, Program, Request
from ukperf.stats.paired import paired_effect
from ukperf.text import shell

LIMIT = 1.2
BUSY = "i=0; while [ $i -lt {turns} ]; do i=$((i+1)); done"
HYPERFINE, PACKED, OURS, NO_FSYNC = "hyperfine", "hyperfine, packed", "ukperf", "ukperf, no fsync"


@dataclass(frozen=True)
class Session:
    """One command that measured a program several times. Seconds: of the whole, of processors, and of each run."""

    wall: float
    processor: float
    measured: tuple[float, ...]

    @property
    def besides(self) -> float:
        return self.wall - sum(self.measured)


@dataclass(frozen=True)
class Case:
    """A program, how often it runs in a session of few and of many, and what it is packed as."""

    name: str
    words: tuple[str, ...]
    few: int
    many: int


@dataclass
class Rounds:
    """Seconds of one way to measure, round by round: median run, cost besides a run, processor time of both."""

    run: list[float] = field(default_factory=list)
    cost: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)

    @property
    def whole(self) -> list[float]:
        """What one more run takes, round by round."""
        return [run + cost for run, cost in zip(self.run, self.cost, strict=True)]

    def add(self, few: Session, many: Session) -> None:
        runs = len(many.measured) - len(few.measured)
        self.run.append(statistics.median(few.measured + many.measured))
        self.cost.append((many.besides - few.besides) / runs)
        self.processor.append((many.processor - few.processor) / runs)


def processor() -> float:
    """Seconds of this process and of the children that it has waited for."""
    return sum(os.times()[:4])


def hyperfine(words: Sequence[str], runs: int, folder: Path, env: dict[str, str]) -> Session:
    """One call of hyperfine without a shell; its own output goes nowhere."""
    result = folder / "hyperfine.json"
    command = ["hyperfine", "-N", "--style", "none", "--runs", str(runs), "--export-json", str(result), shell(*words)]
    began, busy = time.monotonic(), processor()
    subprocess.run(command, check=True, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wall, busy = time.monotonic() - began, processor() - busy
    return Session(wall, busy, tuple(json.loads(result.read_text())["results"][0]["times"]))


def campaign(program: Program, runs: int, folder: Path) -> Session:
    """One campaign of `native`. Raises UkperfError where a run failed."""
    request = Request(
        program,
        guests=("native",),
        baseline="native",
        limits=Limits(boots=runs),
        folder=folder,
        share_host=True,
    )
    began, busy = time.monotonic(), processor()
    result = start(request, say=lambda _sentence: None)
    wall, busy = time.monotonic() - began, processor() - busy
    if bad := [record.reason for record in result.records if Phase.TOTAL not in record.phases]:
        raise UkperfError(f"A run has no total, so there is nothing to compare: {bad[0]}")
    return Session(wall, busy, tuple(record.phases[Phase.TOTAL] for record in result.records))


def cases(chosen: Sequence[str]) -> list[Case]:
    """`true`, a sleep and a loop of dash's that takes a second here."""
    turns = 100_000
    began = time.monotonic()
    subprocess.run(["dash", "-c", BUSY.format(turns=turns)], check=True)
    turns = int(turns / (time.monotonic() - began))
    known = [
        Case("true", ("true",), 20, 220),
        Case("sleep 0.05", ("sleep", "0.05"), 5, 45),
        Case("1 s", ("dash", "-c", BUSY.format(turns=turns)), 1, 4),
    ]
    return [case for case in known if not chosen or case.name in chosen]


def native_image(program: Program) -> Image:
    return guests.get("native").build(program, BuildOptions())


def ways(case: Case, top: Path) -> dict[str, Callable[[int], Session]]:
    """Name → what measures the program so many times."""
    program = pack(case.words).program
    image = native_image(program)
    plain = dict(os.environ)
    packed = {"PATH": plain["PATH"], **dict(image.env)}
    folders = (top / f"run-{number}" for number in count())

    def without_fsync(runs: int) -> Session:
        with patch("os.fsync", lambda _descriptor: None):
            return campaign(program, runs, next(folders))

    return {
        HYPERFINE: lambda runs: hyperfine(case.words, runs, top, plain),
        PACKED: lambda runs: hyperfine(image.argv, runs, top, packed),
        OURS: lambda runs: campaign(program, runs, next(folders)),
        NO_FSYNC: without_fsync,
    }


def measure(case: Case, rounds: int, order: random.Random) -> dict[str, Rounds]:
    """Each way, so many rounds, interleaved."""
    with tempfile.TemporaryDirectory(prefix="ukperf-hyperfine-", dir=Path.cwd()) as name:
        todo = ways(case, Path(name))
        found = {way: Rounds() for way in todo}
        for way in todo:
            todo[way](1)  # page cache, compiled code
        for _ in range(rounds):
            for way in order.sample(list(todo), len(todo)):
                found[way].add(todo[way](case.few), todo[way](case.many))
    return found


def spread(values: Sequence[float], form: str) -> str:
    """Median and quartiles."""
    low, middle, high = statistics.quantiles(values, n=4) if len(values) > 1 else list(values) * 3
    return f"{middle:{form}} ({low:{form}} to {high:{form}})"


def ratio(over: Sequence[float], under: Sequence[float]) -> str:
    """Of paired rounds: the geometric mean of the ratios and its 95 % interval (paired t on logs)."""
    effect = paired_effect(over, under)
    interval = effect.interval(0.95)
    return f"{effect.ratio:.3f} " + ("–" if interval is None else "[{:.3f}, {:.3f}]".format(*interval))


def milliseconds(seconds: Sequence[float]) -> str:
    return spread([1e3 * value for value in seconds], ".3f")


def show(case: Case, found: dict[str, Rounds]) -> float:
    """Prints a table; returns how often hyperfine's cost a run of ours has."""
    print(f"\n{case.name}: {len(found[OURS].run)} rounds of {case.few} and {case.many} runs")
    heads = ("run, ms", "/ hyperfine, packed", "besides, ms", "processor, ms")
    print(f"{'':18}" + "".join(f"{head:>30}" for head in heads))
    for way, rounds in found.items():
        seconds = (milliseconds(values) for values in (rounds.cost, rounds.processor))
        columns = (milliseconds(rounds.run), ratio(rounds.run, found[PACKED].run), *seconds)
        print(f"{way:18}" + "".join(f"{column:>30}" for column in columns))
    whole = ratio(found[OURS].whole, found[PACKED].whole)
    print(f"a whole run with what it costs besides, ukperf / hyperfine, packed: {whole}")
    # Where hyperfine's cannot be told from nothing, a microsecond stands for it.
    return statistics.median(found[OURS].cost) / max(statistics.median(found[HYPERFINE].cost), 1e-6)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--program", action="append", default=[], choices=["true", "sleep 0.05", "1 s"])
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    if shutil.which("hyperfine") is None:
        print("There is no hyperfine here. Install it: apt-get install hyperfine", file=sys.stderr)
        return 2
    order = random.Random(options.seed)
    worst = 0.0
    try:
        for case in cases(options.program):
            worst = max(worst, show(case, measure(case, options.rounds, order)))
    except UkperfError as error:
        print(error, file=sys.stderr)
        return error.exit_status
    print(f"\na run costs at most {worst:.2f} × hyperfine's; wanted: {LIMIT}")
    return 0 if worst <= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
