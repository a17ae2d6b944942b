"""The initcalls of a run's Linux guests, and the stamped lines of others, where their consoles tell them: what
`ukperf profile --initcalls` booted does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ukperf.files import read_bytes
from ukperf.model import BootRecord, Outcome, Plan
from ukperf.profile.consolemarks import Initcall, calls_or_lines
from ukperf.profile.initcallpage import KernelCalls

TELLING = "initcall_debug loglevel=8"  # what a kernel's command line must say
CONSOLE_MAX = 64 << 20  # bytes of one boot's


def told(folder: Path, plan: Plan, records: Sequence[BootRecord]) -> tuple[KernelCalls, ...]:
    """What each guest's good boots said, in the plan's order; of guests whose every boot said something."""
    sides = []
    for guest in plan.images:
        boots = [
            _of_boot(folder, record)
            for record in records
            if record.trial.guest == guest and record.outcome is Outcome.OK
        ]
        if boots and all(boots):
            sides.append(KernelCalls(guest, tuple(boots)))
    return tuple(sides)


def _of_boot(folder: Path, record: BootRecord) -> tuple[Initcall, ...]:
    """Nothing where the console is not there any more."""
    name = f"{record.trial.index:05d}-{record.trial.guest.replace(':', '=')}.log"
    try:
        text = read_bytes(folder / "console" / Path(name).name, CONSOLE_MAX)
    except OSError:
        return ()
    return calls_or_lines(text.decode("utf-8", "replace"))
