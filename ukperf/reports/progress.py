"""Progress of a run on a terminal, one line on standard error; silent in a pipe.

The estimate of the time left comes from the trials so far of the guests that are still to come.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import mean

from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from ukperf.model import BootRecord, Frame, Limits, Outcome, Trial
from ukperf.reports.terminal import stderr_console
from ukperf.text import many


class Progress:
    """An observer of a run; text() is the line at this moment. say: where sentences for people go."""

    def __init__(
        self,
        limits: Limits,
        clock: Callable[[], float] = time.monotonic,
        say: Callable[[str], None] = lambda sentence: None,
    ) -> None:
        self._limits, self._clock, self._say = limits, clock, say
        self._started = clock()
        self._first_block: int | None = None  # of this session: a resumed run begins in the middle
        self._durations: dict[str, list[float]] = defaultdict(list)
        self._failed = 0
        self._trial: Trial | None = None
        self._trial_started = self._started
        self._doing = ""
        self._spread: tuple[int, int] | None = None  # over machines: blocks that are done, machines
        self._precision: float | None = None  # of the interval over machines that is widest
        self._first_spread: tuple[int, float] | None = None  # blocks, and when, as the run was begun or gone on with

    def over_machines(self, blocks: int, machines: int, precision: float | None = None) -> None:
        """Blocks come whole from other machines; trials are told of as they come."""
        self._spread, self._precision = (blocks, machines), precision
        if machines and self._first_spread is None:
            self._first_spread = blocks, self._clock()

    def trial_starts(self, trial: Trial) -> None:
        self._trial, self._trial_started, self._doing = trial, self._clock(), "boot"
        if self._first_block is None:
            self._first_block = trial.block

    def frame(self, trial: Trial, frame: Frame) -> None:
        name = frame.fields.get("name")
        if frame.event == "phase" and isinstance(name, str):
            self._doing = name[:40]
        elif frame.event in ("main", "exit"):
            self._doing = {"main": "run", "exit": "stop"}[frame.event]

    def trial_ends(self, record: BootRecord) -> None:
        self._durations[record.trial.guest].append(self._clock() - self._trial_started)
        self._failed += record.outcome is not Outcome.OK

    def gives_up(self, guest: str, why: str) -> None:
        self._durations.pop(guest, None)
        self._say(f"{guest} is given up: {why}.")

    def text(self) -> Text:
        if self._spread is not None:
            return self._spread_text(*self._spread)
        if self._trial is None:
            return Text("building and checking")
        trial = self._trial
        blocks = f"/{self._limits.boots}" if self._limits.boots else ""
        again = ", again" if trial.attempt else ""
        line = f"block {trial.block + 1}{blocks}  {trial.guest}{again}: {self._doing}, "
        line += f"{self._clock() - self._trial_started:.0f} s"
        if self._failed:
            line += f"  {self._failed} failed"
        left = self._seconds_left(trial)
        return Text(line + (f"  {_about(left)} left" if left is not None else ""))

    def _spread_text(self, blocks: int, machines: int) -> Text:
        most, now = self._limits.boots, self._clock()
        line = f"{blocks:,} of {many(most, 'block')}" if most else many(blocks, "block")
        line += f" on {many(machines, 'machine')}" if machines else ", waiting for workers"
        if (wanted := self._limits.precision) is not None:
            now_is = "not known yet" if self._precision is None else f"± {100 * self._precision:.3g} %"
            line += f"  widest interval {now_is}, wanted ± {100 * wanted:g} %"
        if self._failed:
            line += f"  {self._failed:,} failed"
        ends = [] if self._limits.max_time_s is None else [max(0.0, self._limits.max_time_s - (now - self._started))]
        first = self._first_spread
        if most and first is not None and blocks > first[0]:
            ends.append((now - first[1]) / (blocks - first[0]) * max(0, most - blocks))
        return Text(line + (f"  {_about(min(ends))} left" if ends else ""))

    def _seconds_left(self, trial: Trial) -> float | None:
        """Blocks still to come at the mean duration of each guest's trials; None until every guest has run once."""
        ends = []
        if self._limits.boots and self._first_block is not None and trial.block > self._first_block:
            block = sum(mean(durations) for durations in self._durations.values())
            done = trial.block + trial.position / max(len(self._durations), trial.position + 1)
            ends.append(block * max(0.0, self._limits.boots - done))
        if self._limits.max_time_s is not None:
            ends.append(max(0.0, self._limits.max_time_s - (self._clock() - self._started)))
        return min(ends) if ends else None


class _Line:
    """Asked for its text at each refresh."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._spinner = Spinner("dots")

    def __rich__(self) -> Spinner:
        self._spinner.update(text=self._progress.text())
        return self._spinner


@contextmanager
def progress(limits: Limits) -> Iterator[Progress]:
    """An observer that shows where a run stands, if standard error is a terminal."""
    console = stderr_console()
    observer = Progress(limits, say=lambda sentence: console.print(Text(f"ukperf: {sentence}"), soft_wrap=True))
    if not console.is_terminal:
        yield observer
        return
    with Live(_Line(observer), console=console, refresh_per_second=4, transient=True):
        yield observer


def _about(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


@contextmanager
def status(text: str) -> Iterator[Callable[[str], None]]:
    """One line that says what is going on, if standard error is a terminal; yields the function that changes it."""
    console = stderr_console()
    if not console.is_terminal:
        yield lambda _text: None
        return
    with console.status(Text(text)) as shown:
        yield lambda said: shown.update(Text(said))
