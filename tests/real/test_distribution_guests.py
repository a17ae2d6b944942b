"""A whole distribution as a guest: it runs what linux runs, and a program's end is the machine's, however it ends.

Where it is not built these are skipped: building takes minutes and the network. `ukperf images pull debian` builds it.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from realrun import World, journal

from ukperf import guests
from ukperf.guests.base import BuildOptions
from ukperf.hosts.libvirt_host import LibvirtHost
from ukperf.imaging.programs import misbehave_program
from ukperf.model import Accelerator, BootSpec, Event, Launch, Machine, MachineKind, Outcome

NAME = "debian"
THERE = guests.get(NAME).availability(BuildOptions())
pytestmark = [
    pytest.mark.real,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(not THERE.ok, reason=f"{THERE.sentence} {THERE.hint}"),
]


def test_a_program_that_is_killed_is_not_started_again_and_the_machine_goes_off(host: LibvirtHost) -> None:
    options = BuildOptions(MachineKind.Q35, Accelerator.TCG)
    image = guests.get(NAME).build(misbehave_program("abort"), options)
    spec = BootSpec(image, Machine(MachineKind.Q35, 512), Accelerator.TCG, Launch.DIRECT, name="ukperf-killed")
    seen = host.boot(spec)
    assert (seen.outcome, seen.report.signal) == (Outcome.CRASHED, 6), (seen.reason, seen.console_tail)
    assert [frame.event for frame in seen.frames].count("main") == 1
    assert Event.STOPPED in seen.events and not seen.ended_by_host


def test_an_unmodified_program_says_the_same_in_linux_and_in_debian(uk: World) -> None:
    uk.patience_s = 1000
    chosen = ("-g", "linux", "-g", NAME, "--memory", "512", "--accel", "tcg", "--boots", "1")
    page = json.loads(uk.run("run", *chosen, "--json", "--", "uname", "-s", "-m"))
    records = {record["trial"]["guest"]: record for record in journal(Path(page["run"]))}
    assert {name: record["outcome"] for name, record in records.items()} == {"linux": "ok", NAME: "ok"}
    assert len({record["checks"]["output"] for record in records.values()}) == 1
    phases = {name: record["phases"] for name, record in records.items()}
    assert phases[NAME]["init"] > phases["linux"]["init"]  # systemd and all that it starts
