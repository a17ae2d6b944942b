"""The way to a guest's port: how it is asked for, and what happens where there is none."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from hostile import HostileServer, silent
from hypothesis import given
from hypothesis import strategies as st
from test_domain_xml import LINUX, LOCAL, NANOS, OWNER, arguments
from test_watch import Guest, guest  # noqa: F401 - a fixture

from ukperf.console import encode_frame
from ukperf.engine import plan as plans
from ukperf.engine.plan import spec_of
from ukperf.errors import HostError, UkperfError
from ukperf.guests.base import BuildOptions
from ukperf.guests.linux import init_conf
from ukperf.guests.nanos import root_tuple
from ukperf.guests.unikraft import Unikraft
from ukperf.hosts.base import HostDefaults
from ukperf.hosts.domainxml import domain_xml
from ukperf.hosts.network import ATTEMPTS, LOOPBACK, free_port, own_port, retried
from ukperf.hosts.visiting import Visiting
from ukperf.model import (
    Accelerator,
    BootProtocol,
    BootSpec,
    Door,
    Event,
    Image,
    Launch,
    Limits,
    Machine,
    MachineKind,
    Network,
    Observation,
    Outcome,
    Plan,
    Program,
    Visit,
)

SPEC = BootSpec(LINUX, Machine(), Accelerator.TCG, name="ukperf-01234567-linux", network=Network(8080))
PROGRAM = Program("run", "1" * 64, Path("/tree"), True, ("/bin/server",))


# ---- what is asked of QEMU and of the guests ----


@pytest.mark.parametrize("image", [LINUX, NANOS])
def test_a_guest_gets_one_card_that_reaches_nothing_and_one_port_of_loopback(image: Image) -> None:
    network = Network(8080, 40001)
    words = arguments(domain_xml(replace(SPEC, image=image, network=network), LOCAL, OWNER))
    netdev = words[words.index("-netdev") + 1]
    assert netdev == "user,id=way,restrict=on,hostfwd=tcp:127.0.0.1:40001-:8080"
    assert any(word.startswith("virtio-net-pci,netdev=way,mac=52:54:") and word.endswith("romfile=") for word in words)


def test_on_microvm_the_card_is_no_pci_device() -> None:
    spec = replace(SPEC, machine=Machine(MachineKind.MICROVM), network=Network(80, 40001))
    assert any(word.startswith("virtio-net-device,netdev=way") for word in arguments(domain_xml(spec, LOCAL, OWNER)))


def test_without_a_network_the_domain_is_as_it_always_was() -> None:
    xml = domain_xml(replace(SPEC, network=None), LOCAL, OWNER)
    assert "net" not in "".join(arguments(xml))
    assert ET.fromstring(xml).find("devices/interface") is None


def test_linux_and_nanos_set_the_address_of_qemus_network() -> None:
    assert b"net 10.0.2.15/24 10.0.2.2\n" in init_conf(PROGRAM, disk="/dev/vda", network=True)
    assert b"net" not in init_conf(PROGRAM, disk="/dev/vda")
    root = root_tuple(PROGRAM, BuildOptions(network=True), exit_port=True)
    assert root["en1"] == {"ipaddr": "10.0.2.15", "netmask": "255.255.255.0", "gateway": "10.0.2.2"}
    assert "en1" not in root_tuple(PROGRAM, BuildOptions(), exit_port=True)


def test_a_unikraft_kernel_without_lwip_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fakekernels import unikraft_kernel

    from ukperf.imaging.cache import Cache
    from ukperf.imaging.kernelstore import KernelStore

    kernel = tmp_path / "kernel"
    kernel.write_bytes(unikraft_kernel())
    unikraft = Unikraft(Cache(tmp_path / "cache"), KernelStore(tmp_path / "store"))
    with pytest.raises(UkperfError, match="has no network: there is no lwip in it") as caught:
        unikraft.check_network(BuildOptions(kernel=kernel, network=True))
    assert "images add unikraft" in str(caught.value.hint)
    other = tmp_path / "other"
    other.write_bytes(unikraft_kernel() + b"\0liblwip\0")
    unikraft.check_network(BuildOptions(kernel=other, network=True))
    with pytest.raises(UkperfError, match="microvm"):
        unikraft.check_network(BuildOptions(MachineKind.MICROVM, kernel=other, network=True))


def test_drivers_that_know_of_no_network_refuse_it() -> None:
    with pytest.raises(HostError, match="gives its guests no network"):
        HostDefaults().check_network()


# ---- the port ----


def test_a_boot_gets_a_port_that_is_free_and_another_one_where_somebody_took_it() -> None:
    ports: list[int] = []

    def boot(spec: BootSpec) -> Observation:
        assert spec.network is not None
        ports.append(spec.network.host_port)
        if len(ports) < ATTEMPTS:
            return Observation(Outcome.LOST, f"it said: Could not set up host forwarding rule 'tcp::{ports[-1]}'")
        return Observation(Outcome.OK)

    assert retried(SPEC, boot).outcome is Outcome.OK
    assert len(ports) == ATTEMPTS
    assert all(0 < port < 1 << 16 for port in ports)


def test_a_port_that_is_always_taken_is_said_in_a_sentence() -> None:
    lost = Observation(Outcome.LOST, "Could not set up host forwarding rule 'tcp:127.0.0.1:40001-:8080'")
    seen = retried(replace(SPEC, network=Network(8080, 40001)), lambda _spec: lost)
    assert seen.reason.startswith("port 40001 of 127.0.0.1 is in use")


def test_other_failures_are_not_tried_again() -> None:
    boots: list[BootSpec] = []

    def boot(spec: BootSpec) -> Observation:
        boots.append(spec)
        return Observation(Outcome.LOST, "no memory")

    assert retried(SPEC, boot).reason == "no memory"
    assert len(boots) == 1


def test_a_free_port_can_be_bound() -> None:
    with socket.socket() as one:
        one.bind((LOOPBACK, free_port()))


def test_a_program_of_this_machine_has_its_own_port_unless_somebody_listens_there() -> None:
    with (
        HostileServer(silent) as server,
        pytest.raises(HostError, match=f"Port {server.port} of this machine is in use"),
    ):
        own_port(Network(server.port))
    port = free_port()
    assert own_port(Network(port)) == Network(port, port)


# ---- the plan ----


@given(st.integers(1, 65535))
def test_the_plan_keeps_the_network(port: int) -> None:
    import tempfile

    plan = Plan(
        "0123456789abcdef",
        "2026-01-01T00:00:00",
        "serve",
        {"linux": LINUX},
        "linux",
        Machine(),
        Accelerator.TCG,
        Launch.LIBVIRT,
        ("qemu:///embed",),
        1,
        Limits(),
        network=Network(port),
    )
    with tempfile.TemporaryDirectory() as folder:
        plans.save(plan, Path(folder))
        again = plans.load(Path(folder))
    assert again.network == Network(port)
    assert spec_of(again, "linux").network == Network(port)


@pytest.mark.parametrize("network", [Network(0), Network(70000), Network(80, 80)])
def test_a_plan_with_an_impossible_port_is_damaged(network: Network, tmp_path: Path) -> None:
    plan = Plan(
        "0123456789abcdef", "", "serve", {"linux": LINUX}, "linux", Machine(), Accelerator.TCG, Launch.LIBVIRT,
        ("qemu:///embed",), 1, Limits(), network=network,
    )  # fmt: skip
    plans.save(plan, tmp_path)
    with pytest.raises(UkperfError, match="damaged"):
        plans.load(tmp_path)


# ---- the visit, while a console is watched ----

VISITED = BootSpec(
    Image("linux", "boot", "0" * 64, "1" * 64, BootProtocol.KERNEL),
    Machine(),
    Accelerator.TCG,
    timeout_s=20.0,
    network=Network(8080, 40001),
)
MAIN = encode_frame("main", 0, 100, 1_000, program="fake", v=1)


def until_told(_spec: BootSpec, door: Door) -> Visit:
    import select

    select.select([door.ending], [], [])
    return Visit(fault="nothing came of it")


def test_the_end_of_a_visit_is_the_guests(guest: Guest) -> None:  # noqa: F811
    doors: list[Door] = []

    def visit(_spec: BootSpec, door: Door) -> Visit:
        doors.append(door)
        return Visit(answered_ns=7)

    _, seen = guest.says(MAIN).watched(replace(VISITED, visitor=visit))
    assert (seen.outcome, seen.ended_by_host) == (Outcome.OK, True)
    assert seen.visit == Visit(answered_ns=7)
    assert (doors[0].address, doors[0].port, doors[0].started_ns) == (LOOPBACK, 40001, 1)
    assert Event.MAIN in seen.events


def test_a_visit_with_a_fault_is_a_boot_that_failed(guest: Guest) -> None:  # noqa: F811
    _, seen = guest.says(MAIN).watched(replace(VISITED, visitor=lambda _spec, _door: Visit(fault="half an answer")))
    assert (seen.outcome, seen.reason) == (Outcome.FAILED, "half an answer")


def test_a_guest_that_ends_ends_the_visit(guest: Guest) -> None:  # noqa: F811
    exit_frame = encode_frame("exit", 1, 300, 3_000, status=0)
    _, seen = guest.says(MAIN + exit_frame).stops().watched(replace(VISITED, visitor=until_told))
    assert (seen.outcome, seen.reason) == (Outcome.FAILED, "nothing came of it")


def test_a_guest_that_crashes_says_so_rather_than_its_visit(guest: Guest) -> None:  # noqa: F811
    _, seen = guest.says(MAIN).stops().watched(replace(VISITED, visitor=until_told))
    assert (seen.outcome, seen.reason) == (Outcome.CRASHED, "the guest ended after main without an exit frame")


def test_a_visit_that_takes_too_long_is_ended(guest: Guest) -> None:  # noqa: F811
    _, seen = guest.says(MAIN).watched(replace(VISITED, visitor=until_told, timeout_s=0.2))
    assert (seen.outcome, seen.reason) == (Outcome.HUNG, "nothing came of it")


def test_what_a_visitor_raises_is_raised(guest: Guest) -> None:  # noqa: F811
    def visit(_spec: BootSpec, _door: Door) -> Visit:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        guest.watched(replace(VISITED, visitor=visit))


def test_an_interrupt_ends_the_visit_and_leaves_no_thread() -> None:
    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt), Visiting(replace(VISITED, visitor=until_told), time.monotonic_ns()):
        raise KeyboardInterrupt
    assert threading.active_count() == before


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    yield
    assert not [thread for thread in threading.enumerate() if thread.name == "visit"]
