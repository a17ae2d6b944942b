"""The line that says where a run stands, at several moments."""

from __future__ import annotations

from dataclasses import replace

import pytest
from records import boot, failed

from ukperf.model import BootRecord, Frame, Limits, Trial
from ukperf.reports.progress import Progress, progress

GUESTS = ("linux", "nanos")


class Run:
    """A run whose time the test makes."""

    def __init__(self, boots: int | None = 4, max_time_s: float | None = None) -> None:
        self.now = 100.0
        limits = Limits(boots, None if boots else 0.01, max_time_s)
        self.progress = Progress(limits, lambda: self.now)

    @property
    def line(self) -> str:
        return self.progress.text().plain

    def trial(self, block: int, guest: str, seconds: float, attempt: int = 0, good: bool = True) -> None:
        self.begin(block, guest, attempt)
        self.now += seconds
        record: BootRecord = replace(boot(guest, block), trial=Trial(0, block, GUESTS.index(guest), guest, attempt))
        self.progress.trial_ends(record if good else failed(record))

    def begin(self, block: int, guest: str, attempt: int = 0) -> None:
        self.progress.trial_starts(Trial(0, block, GUESTS.index(guest), guest, attempt))

    def frame(self, event: str, **fields: object) -> None:
        self.progress.frame(Trial(0, 0, 0, "linux"), Frame(event, fields, 0))


def test_before_the_first_boot_images_are_built() -> None:
    assert Run().line == "building and checking"


def test_the_line_follows_the_guest() -> None:
    run = Run()
    run.begin(0, "linux")
    assert run.line == "block 1/4  linux: boot, 0 s"
    run.now += 3
    run.frame("main")
    assert run.line == "block 1/4  linux: run, 3 s"
    run.frame("phase", name="fit")
    assert run.line == "block 1/4  linux: fit, 3 s"
    run.frame("phase", name=7)
    run.frame("samples", name="never mind")
    assert run.line == "block 1/4  linux: fit, 3 s"
    run.frame("exit")
    assert run.line == "block 1/4  linux: stop, 3 s"


def test_a_guest_cannot_make_the_line_long() -> None:
    run = Run()
    run.begin(0, "linux")
    run.frame("phase", name="x" * 400)
    assert len(run.line) < 80


def test_failures_are_counted_and_a_retry_is_called_one() -> None:
    run = Run()
    run.trial(0, "linux", 10, good=False)
    run.begin(0, "linux", attempt=1)
    assert run.line == "block 1/4  linux, again: boot, 0 s  1 failed"


def test_the_time_left_is_estimated_from_the_second_block_on() -> None:
    run = Run()
    run.trial(0, "linux", 10)
    run.begin(0, "nanos")
    assert "left" not in run.line
    run.trial(0, "nanos", 20)
    run.begin(1, "linux")
    assert run.line == "block 2/4  linux: boot, 0 s  90 s left".replace("90 s", "2 min")
    run.trial(1, "linux", 10)
    run.begin(1, "nanos")
    assert run.line.endswith("75 s left")


def test_a_resumed_run_is_measured_from_where_it_goes_on() -> None:
    run = Run(boots=20)
    run.begin(17, "linux")
    assert run.line == "block 18/20  linux: boot, 0 s"
    run.trial(17, "linux", 10)
    run.trial(17, "nanos", 20)
    run.begin(18, "linux")
    assert run.line.endswith("60 s left")


@pytest.mark.parametrize(("boots", "shown"), [(None, "block 1  linux: boot, 0 s  100 s left"), (4, "100 s left")])
def test_the_time_that_was_allowed_is_an_end_too(boots: int | None, shown: str) -> None:
    run = Run(boots, max_time_s=130.0)
    run.now += 30
    run.begin(0, "linux")
    assert run.line.endswith(shown.replace("100 s", "2 min"))
    run.now += 500
    assert run.line.endswith("0 s left")


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0, "0 s"), (89, "89 s"), (600, "10 min"), (5_300, "88 min"), (7_200, "2.0 h")]
)
def test_long_times_are_short_to_read(seconds: float, shown: str) -> None:
    run = Run(None, max_time_s=seconds or 1e-9)
    run.begin(0, "linux")
    assert run.line.endswith(f"  {shown} left")


def test_in_a_pipe_nothing_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with progress(Limits()) as observer:
        observer.trial_starts(Trial(0, 0, 0, "linux"))
    assert capsys.readouterr() == ("", "")


def test_a_guest_that_is_given_up_is_said_in_a_pipe_too_and_takes_no_more_time(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with progress(Limits(4)) as observer:
        observer.gives_up("nanos", "2 boots, none of them good; the last one: hung, no end in 120 s")
    assert capsys.readouterr().err == (
        "ukperf: nanos is given up: 2 boots, none of them good; the last one: hung, no end in 120 s.\n"
    )
    run = Run(boots=3)
    run.trial(0, "linux", 10)
    run.trial(0, "nanos", 100, good=False)
    run.progress.gives_up("nanos", "it hung")
    run.begin(1, "linux")
    assert "20 s left" in run.line


def test_over_machines_blocks_are_counted_as_they_come_and_the_time_left_is_that_of_all_machines() -> None:
    run = Run(120)
    run.progress.over_machines(0, 0)
    assert run.line == "0 of 120 blocks, waiting for workers"
    run.progress.over_machines(20, 12)  # gone on with: the first are not of this session
    run.trial(99, "linux", 0.0, good=False)
    assert run.line == "20 of 120 blocks on 12 machines  1 failed"
    run.now += 50
    run.progress.over_machines(70, 12)
    assert run.line == "70 of 120 blocks on 12 machines  1 failed  50 s left"
    without = Run(None, 100.0)
    without.now += 40
    without.progress.over_machines(7, 1)
    assert without.line == "7 blocks on 1 machine  widest interval not known yet, wanted ± 1 %  60 s left"


def test_a_run_over_machines_that_is_to_be_precise_says_how_precise_it_is() -> None:
    run = Run(None)
    run.progress = Progress(Limits(None, 0.01), lambda: run.now)
    run.progress.over_machines(3, 2, None)
    assert run.line == "3 blocks on 2 machines  widest interval not known yet, wanted ± 1 %"
    run.progress.over_machines(9, 2, 0.0234)
    assert run.line == "9 blocks on 2 machines  widest interval ± 2.34 %, wanted ± 1 %"
