"""What `ukperf selftest` calls: the simulation with a progress line, and real boots for A/A runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ukperf.model import Accelerator, BootRecord

if TYPE_CHECKING:
    from ukperf.stats.selftest import SelfTest


def with_progress(trials: int, seed: int, full: bool) -> SelfTest:
    """The simulation; a line on a terminal's standard error says how far it is."""
    import sys

    from ukperf.stats.selftest import run_selftest

    def step(done: int, total: int) -> None:
        if sys.stderr.isatty():
            print(f"\rselftest: {done} of {total}" + ("\n" if done == total else ""), end="", file=sys.stderr)

    return run_selftest(trials, seed, full, step)


def real_boots(
    guest: str | None, run: Path | None, boots: int, seed: int, accel: Accelerator, share_host: bool
) -> Sequence[BootRecord]:
    """The records of a run, or of a fresh campaign of one guest on this machine."""
    if run is not None:
        from ukperf.runs.loaded import load

        return load(run).records
    from ukperf.cli.options import sayer
    from ukperf.engine.session import start
    from ukperf.imaging.programs import boot_program
    from ukperf.model import Limits, Request

    assert guest is not None
    request = Request(
        program=boot_program(),
        guests=(guest,),
        baseline=guest,
        seed=seed,
        limits=Limits(boots),
        accelerator=accel,
        share_host=share_host,
        command=("ukperf", "selftest", "--aa", guest),
    )
    result = start(request, say=sayer())
    return result.records
