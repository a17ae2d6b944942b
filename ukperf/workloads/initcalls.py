"""The initcalls of a run's Linux guests, where their consoles tell them: a kernel that was booted with
`--append 'linux=initcall_debug loglevel=8'` does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ukperf.files import read_bytes
from ukperf.model import Accelerator, BootRecord, Outcome, Plan, Unit
from ukperf.profile.consolemarks import Initcall, initcalls
from ukperf.profile.initcallpage import InitcallPage, KernelCalls

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


def initcall_page(
    folder: Path, plan: Plan, records: Sequence[BootRecord], facts: Mapping[str, str]
) -> InitcallPage | None:
    """None where no console tells any."""
    sides = told(folder, plan, records)
    counted = plan.accelerator is Accelerator.ICOUNT or any(r.unit is Unit.INSTRUCTIONS for r in records)
    return InitcallPage(sides, counted=counted, facts=dict(facts)) if sides else None


def _of_boot(folder: Path, record: BootRecord) -> tuple[Initcall, ...]:
    """Nothing where the console is not there any more."""
    name = f"{record.trial.index:05d}-{record.trial.guest.replace(':', '=')}.log"
    try:
        text = read_bytes(folder / "console" / Path(name).name, CONSOLE_MAX)
    except OSError:
        return ()
    return initcalls(text.decode("utf-8", "replace"))
