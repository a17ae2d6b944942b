"""Guests on a real Xen host, reached through libvirt over TCP, with files uploaded and consoles streamed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from ukperf import guests
from ukperf.errors import UkperfError
from ukperf.guests.base import BuildOptions
from ukperf.guests.floor import Floor
from ukperf.guests.unikraft import Unikraft
from ukperf.hosts.libvirt_host import LibvirtHost, open_host
from ukperf.imaging.kernelstore import KernelStore
from ukperf.imaging.programs import boot_program, count_program, misbehave_program
from ukperf.model import Accelerator, BootSpec, Event, Machine, MachineKind, Observation, Outcome, Program
from xenhost.run import XenHost, content

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]
ORDER = (Event.START, Event.CREATED, Event.RESUMED, Event.FIRST_BYTE, Event.MAIN, Event.EXIT, Event.STOPPED)
# Seconds. Guests run under two emulators here; only a guest that is dead gets near it.
PATIENCE = 150.0


def boot(
    host: LibvirtHost,
    guest: str,
    program: Program,
    kind: MachineKind = MachineKind.Q35,
    *,
    name: str = "ukperf-test-0",
    timeout_s: float = PATIENCE,
    cmdline: str = "",
    console: Path | None = None,
) -> Observation:
    builder = guests.get(guest)
    machine = host.fit(Machine(kind, builder.recipe.memory_mib), builder.recipe.machines)
    image = builder.build(program, BuildOptions(machine.kind, Accelerator.XEN, cmdline=cmdline))
    spec = BootSpec(image, machine, Accelerator.XEN, timeout_s=timeout_s, name=name, console_path=console)
    return host.boot(spec)


def names(host: LibvirtHost) -> set[str]:
    return {domain.name() for domain in host._connection.listAllDomains(0)} - {"Domain-0"}


def in_order(events: Mapping[Event, int]) -> bool:
    return [events[event] for event in ORDER] == sorted(events[event] for event in ORDER)


@pytest.mark.parametrize(
    ("guest", "kind"),
    [("floor", MachineKind.XENPVH), ("linux", MachineKind.XENPV), ("linux", MachineKind.XENPVH)],
)
def test_a_guest_boots_says_main_and_exit_and_powers_off(host: LibvirtHost, guest: str, kind: MachineKind) -> None:
    seen = boot(host, guest, boot_program(), kind)
    assert seen.outcome is Outcome.OK, f"{seen.reason}\n{seen.console_tail}"
    assert seen.exit_status == 0
    assert seen.bad_frames == 0
    assert in_order(seen.events)
    assert not seen.ended_by_host
    assert names(host) == set()


def test_the_same_host_is_reached_by_ssh(xen: XenHost) -> None:
    if not xen.ssh_port:
        pytest.skip("not installed: ssh")
    with open_host(xen.ssh_uri) as host:
        seen = boot(host, "floor", boot_program())
        assert seen.outcome is Outcome.OK, f"{seen.reason}\n{seen.console_tail}"


def test_no_byte_of_a_console_is_lost_that_is_far_longer_than_its_ring(host: LibvirtHost, tmp_path: Path) -> None:
    console = tmp_path / "console"
    seen = boot(host, "floor", count_program(1000, 4000), console=console)
    assert seen.outcome is Outcome.OK, seen.reason
    assert seen.bad_frames == 0
    values = [value for frame in seen.frames if frame.event == "samples" for value in frame.fields["values"]]
    assert len(values) == 4000
    assert console.stat().st_size > 8 * 2048


@pytest.mark.parametrize(
    ("word", "outcome"), [("silent", Outcome.SILENT), ("hang", Outcome.HUNG), ("crash", Outcome.CRASHED)]
)
def test_a_guest_that_dies_or_hangs_is_told_from_one_that_stops_and_leaves_no_domain(
    host: LibvirtHost, word: str, outcome: Outcome
) -> None:
    seen = boot(host, "floor", boot_program(), timeout_s=8, cmdline=word)
    assert seen.outcome is outcome, seen.reason
    assert names(host) == set()


def test_what_a_guest_said_last_is_not_lost_though_xen_keeps_no_log_of_it(host: LibvirtHost) -> None:
    program = boot_program()
    assert [boot(host, "floor", program).outcome for _ in range(8)] == [Outcome.OK] * 8


def test_a_programs_exit_status_reaches_the_record(host: LibvirtHost) -> None:
    assert boot(host, "floor", boot_program(), cmdline="status=3").exit_status == 3
    seen = boot(host, "linux", misbehave_program("status=3"), MachineKind.XENPV)
    assert (seen.outcome, seen.exit_status) == (Outcome.FAILED, 3)


def test_what_the_host_cannot_tell_is_left_out_and_named(host: LibvirtHost) -> None:
    seen = boot(host, "floor", boot_program())
    assert (seen.vmm_peak_rss, dict(seen.noise)) == (None, {})
    facts = host.facts()
    assert re.match(r"4\.\d+", facts["xen"])
    assert facts["left_out"].split(", ") == [
        "the host's load and steal",
        "the VMM's peak memory",
        "pinning of the emulator",
        "a log of the console beside its stream",
    ]
    assert facts["cpu"] and facts["cpus"] == "1"


def test_nanos_boots_as_hvm_from_its_disk_and_does_not_change_it(host: LibvirtHost) -> None:
    there = guests.get("nanos").availability(BuildOptions(MachineKind.XENHVM, Accelerator.XEN))
    if not there.ok:
        pytest.skip(f"{there.sentence} {there.hint}")
    image = guests.get("nanos").build(boot_program(), BuildOptions(MachineKind.XENHVM, Accelerator.XEN))
    assert image.disk is not None
    seen = boot(host, "nanos", boot_program())
    assert seen.outcome is Outcome.OK, f"{seen.reason}\n{seen.console_tail}"
    assert in_order(seen.events)
    pool = host._files.pool
    assert not {volume.name() for volume in pool._pool.listAllVolumes(0) if volume.name().startswith("boot-")}
    assert content(pool, pool.put(image.disk)) == image.disk.read_bytes()


def test_a_kernel_for_xen_with_its_program_linked_in_boots_as_unikraft_and_says_so(
    host: LibvirtHost, tmp_path: Path
) -> None:
    store, kernel = KernelStore(tmp_path / "store"), tmp_path / "kernel"
    floor = guests.get("floor")
    assert isinstance(floor, Floor)
    # Nobody ships such a kernel; floor is one for Xen that has its program linked in, and says `main` as they must.
    kernel.write_bytes(floor.kernel().read_bytes() + b"Unikraft")
    unikraft = Unikraft(store=store)
    options = BuildOptions(MachineKind.XENPVH, Accelerator.XEN)
    assert "images add unikraft --platform xen" in str(unikraft.availability(options).hint)
    unikraft.add(kernel, version="1", platform="xen")
    image = unikraft.build(boot_program(), options)
    assert (image.program_digest, image.kernel_version) == ("", "1 with its program linked in")
    seen = host.boot(
        BootSpec(image, Machine(MachineKind.XENPVH, 64), Accelerator.XEN, timeout_s=PATIENCE, name="ukperf-test-u")
    )
    assert seen.outcome is Outcome.OK, seen.reason
    with pytest.raises(UkperfError, match="run the one program that is linked into them"):
        unikraft.build(count_program(), options)
