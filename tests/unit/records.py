"""Made-up boots for the tests of statistics and reports. Never a result: each record is built from a seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ukperf.engine.journal import JOURNAL, Journal
from ukperf.engine.plan import save
from ukperf.model import (
    Accelerator,
    BootProtocol,
    BootRecord,
    Image,
    Launch,
    Limits,
    Machine,
    Outcome,
    Phase,
    Plan,
    Sample,
    Trial,
    Unit,
)

SHARES = {Phase.VMM: 0.1, Phase.KERNEL: 0.6, Phase.INIT: 0.2, Phase.STOP: 0.1}


def boot(guest: str, block: int, total: float = 1.0, *, index: int = 0, unit: Unit = Unit.SECONDS) -> BootRecord:
    phases = {phase: total * share for phase, share in SHARES.items()} | {Phase.TOTAL: total}
    return BootRecord(
        Trial(index, block, 0, guest),
        Outcome.OK,
        "",
        f"2026-01-01T00:{block % 60:02d}:{index % 60:02d}.000000+00:00",
        phases,
        unit,
        events={"stopped": int(total * 1e9)},
        image_digest="ab" * 32,
        noise={"load1": 0.25},
    )


def failed(record: BootRecord, outcome: Outcome = Outcome.HUNG, reason: str = "no end in 120 s") -> BootRecord:
    return replace(record, outcome=outcome, reason=reason, phases={}, samples=(), console_tail="panic: <&> \x1b[31m")


def run_of(
    guests: Mapping[str, float],
    blocks: int = 20,
    *,
    sigma: float = 0.02,
    seed: int = 1,
    unit: Unit = Unit.SECONDS,
    samples: Sequence[str] = (),
    drift: float = 0.0,
) -> list[BootRecord]:
    """Randomized blocks; each guest's median is guests[name], boots scatter log-normally by sigma."""
    random = np.random.default_rng(seed)
    records: list[BootRecord] = []
    for block in range(blocks):
        for position, guest in enumerate(random.permutation(list(guests))):
            scale = 1 + drift * block / blocks
            total = guests[str(guest)] * scale * float(np.exp(random.normal(0, sigma))) if sigma else guests[str(guest)]
            made = boot(str(guest), block, total, index=len(records), unit=unit)
            taken = tuple(
                Sample(
                    name, unit, tuple(total * float(np.exp(random.normal(0, sigma))) for _ in range(5)), 10, (total,)
                )
                for name in samples
            )
            records.append(replace(made, trial=replace(made.trial, position=position), samples=taken))
    return records


def save_run(folder: Path, records: Sequence[BootRecord], *, delta: float = 0.01, digest: str = "ab" * 32) -> Path:
    """A run's folder, as a campaign leaves it: plan, journal, consoles of failed boots."""
    guests = sorted({record.trial.guest for record in records})
    image = {guest: Image(guest, "boot", "cd" * 32, digest, BootProtocol.KERNEL) for guest in guests}
    plan = Plan(
        run_id="0123456789abcdef",
        created_at="2026-01-01T00:00:00+00:00",
        workload="boot",
        images=image,
        baseline="linux",
        machine=Machine(),
        accelerator=Accelerator.TCG,
        launch=Launch.LIBVIRT,
        hosts=("qemu:///embed",),
        seed=1,
        limits=Limits(boots=20),
        delta=delta,
        command=("ukperf", "boot-time", "--guest", "nanos"),
        facts={"cpu": "a CPU", "qemu": "7.2.0", "libvirt": "9.0.0"},
    )
    folder.mkdir(parents=True)
    save(plan, folder)
    with Journal(folder / JOURNAL) as journal:
        for record in records:
            journal.append(record)
    return folder
