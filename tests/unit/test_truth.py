"""The truth check: KVM is believed only for a figure that can be true, and a failure is not remembered for ever."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from ukperf.console import FrameDecoder, encode_frame
from ukperf.errors import HostError
from ukperf.hosts import domains, libvirt_host, truth
from ukperf.hosts.fake import FakeHost, bad_boot, good_boot
from ukperf.hosts.truth import check_kvm, truth_of
from ukperf.model import BootProtocol, Image, Launch, Observation, Outcome

FLOOR = Image("floor", "count", "0", "", BootProtocol.KERNEL, Path("/k"))
COUNT = Image("native", "count", "0", "", BootProtocol.EXEC, argv=("/c",))


def counted(*values: float, unit: str = "cycles") -> Observation:
    """A boot whose counting loop said these figures."""
    told = encode_frame("samples", 1, 85_000_000, 85_000_000, benchmark="count", unit=unit, loops=9, values=values)
    return good_boot(frames=told)


HERE = counted(1.0, 1.1, 0.9)


@pytest.mark.parametrize("guest", [(1.0,), (1.05, 90.0, 1.0), (1.9,), (0.6,)])
def test_native_speed_is_believed(guest: tuple[float, ...]) -> None:
    found = truth_of(lambda: counted(*guest), lambda: HERE)
    assert found.believed
    assert found.native_cycles == 1.0
    assert "native speed" in found.sentence


def test_a_host_that_emulates_is_named_with_its_slowdown() -> None:
    found = truth_of(lambda: counted(1_000.0), lambda: HERE)
    assert not found.believed
    assert found.slowdown == 1_000
    assert "1000 times as long" in found.sentence
    assert "nested KVM" in found.advice


@pytest.mark.parametrize(
    ("outcome", "says"),
    [
        (Outcome.HUNG, "within 5 s"),
        (Outcome.SILENT, "within 5 s"),
        (Outcome.CRASHED, "(as scripted)"),
        (Outcome.LOST, "(as scripted)"),
        (Outcome.LIED, "(as scripted)"),
        (Outcome.FLOODED, "(as scripted)"),
        (Outcome.FAILED, "(as scripted)"),
    ],
)
def test_a_kvm_that_does_not_boot_the_floor_guest_is_not_used(outcome: Outcome, says: str) -> None:
    found = truth_of(lambda: bad_boot(outcome), lambda: pytest.fail("no control is needed"))
    assert not found.believed
    assert says in found.sentence


@pytest.mark.parametrize("values", [(), (0.0,), (0, 0, 5), (1e-9,), (0.01, 0.01, 7.0)])
def test_figures_that_cannot_be_true_are_not_believed(values: tuple[float, ...]) -> None:
    found = truth_of(lambda: counted(*values), lambda: HERE)
    assert not found.believed
    assert found.sentence.endswith("is not used.")


def test_figures_that_are_no_numbers_never_reach_the_check() -> None:
    for value in ("NaN", "Infinity", "-1e999", '"1"'):
        frame = encode_frame("samples", 1, 1, 1, benchmark="count", values=[4.5]).replace(b"4.5", value.encode())
        assert FrameDecoder().feed(frame, 1) == []


def test_a_negative_figure_is_not_believed() -> None:
    assert not truth_of(lambda: counted(-1.0), lambda: HERE).believed


@pytest.mark.parametrize("control", [bad_boot(Outcome.LOST), counted(), counted(0.0)])
def test_a_control_that_fails_is_not_the_guests_fault(control: Observation) -> None:
    found = truth_of(lambda: counted(1.0), lambda: control)
    assert not found.believed
    assert "no figures here" in found.sentence
    assert "Try again" in found.advice


class Machine:
    """A machine with a /dev/kvm of the test's own."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.device, self.emulator = folder / "kvm", folder / "qemu-system-x86_64"
        self.device.touch()
        self.emulator.touch()
        monkeypatch.setenv("UKPERF_CACHE_DIR", str(folder / "cache"))
        monkeypatch.setattr(truth, "KVM_DEVICE", self.device)
        self.modules = folder / "modules"
        monkeypatch.setattr(truth, "MODULES", self.modules)
        monkeypatch.setattr(libvirt_host, "emulator_path", lambda: str(self.emulator))
        self.host = FakeHost(uri="qemu:///embed", ours=True)

    def check(self, guest: Callable[[], Observation], **options: bool) -> truth.Truth:
        self.host.script = lambda spec, number: guest()
        here = FakeHost(lambda spec, number: HERE)
        return check_kvm(self.host, here, FLOOR, COUNT, **options)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


def hung() -> Observation:
    return bad_boot(Outcome.HUNG)


def test_a_failure_is_remembered_since_each_costs_seconds(machine: Machine) -> None:
    first = machine.check(hung)
    assert machine.check(lambda: pytest.fail("it is remembered")) == first
    assert machine.host.booted == ["floor"]


@pytest.mark.parametrize("guest", [hung, lambda: counted(1_000.0)])
def test_a_device_of_pvm_is_named_and_asking_for_nested_kvm_is_not_advised(
    machine: Machine, guest: Callable[[], Observation]
) -> None:
    assert "nested KVM" in machine.check(guest).advice
    (machine.modules / "kvm_pvm").mkdir(parents=True)
    advice = machine.check(guest).advice  # what was remembered before the module was there does not count
    assert "module kvm_pvm" in advice and "nested KVM" not in advice
    (machine.modules / "kvm_intel").mkdir()
    assert "nested KVM" in machine.check(guest).advice


def test_a_pvm_that_runs_our_guest_at_native_speed_is_believed(machine: Machine) -> None:
    (machine.modules / "kvm_pvm").mkdir(parents=True)
    assert machine.check(lambda: counted(1.0)).believed


def test_a_success_is_checked_again_each_time(machine: Machine) -> None:
    assert machine.check(lambda: counted(1.0)).believed
    assert not machine.check(hung).believed


def test_a_failure_is_forgotten_when_qemu_changes(machine: Machine) -> None:
    machine.check(hung)
    machine.emulator.write_text("a newer one")
    assert machine.check(lambda: counted(1.0)).believed


def test_a_failure_is_forgotten_when_the_device_changes(machine: Machine) -> None:
    machine.check(hung)
    machine.device.chmod(0o600)
    assert machine.check(lambda: counted(1.0)).believed


def test_a_failure_is_forgotten_when_the_machine_reboots(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.check(hung)
    monkeypatch.setattr(domains, "boot_id", lambda: "another")
    assert machine.check(lambda: counted(1.0)).believed


def test_a_fresh_check_that_passes_takes_the_failure_back(machine: Machine) -> None:
    """`ukperf doctor` found KVM to be fine: the next run must not believe what was remembered before."""
    machine.check(hung)
    assert machine.check(lambda: counted(1.0), fresh=True).believed
    assert machine.check(lambda: counted(1.0)).believed


@pytest.mark.parametrize("memo", ["", "{}", "[]", '{"circumstances": 5}', "\0"])
def test_a_damaged_memory_is_no_memory(machine: Machine, memo: str) -> None:
    machine.check(hung)
    truth._memo().write_text(memo)
    assert machine.check(lambda: counted(1.0)).believed


def test_a_machine_that_was_too_busy_for_the_control_is_asked_again(machine: Machine) -> None:
    replies = itertools.chain([bad_boot(Outcome.HUNG)], itertools.repeat(HERE))
    here = FakeHost(lambda spec, number: next(replies))
    machine.host.script = lambda spec, number: counted(1.0)
    assert not check_kvm(machine.host, here, FLOOR, COUNT).believed
    assert check_kvm(machine.host, here, FLOOR, COUNT).believed


def test_without_a_device_nothing_is_booted(machine: Machine) -> None:
    machine.device.unlink()
    found = machine.check(lambda: pytest.fail("nothing may boot"))
    assert (found.believed, found.sentence) == (False, "There is no /dev/kvm here, so KVM is not used.")


def test_a_host_that_refuses_is_one_sentence(machine: Machine) -> None:
    def refused() -> Observation:
        raise HostError("QEMU did not open the guest's console.", hint="Look.")

    found = machine.check(refused)
    assert (found.sentence, found.advice) == ("KVM is not used: QEMU did not open the guest's console.", "Look.")


def test_a_remote_host_is_asked_each_time_and_needs_no_device_here(machine: Machine) -> None:
    machine.device.unlink()
    machine.host.uri, machine.host.ours = "qemu+ssh://there/system", False
    assert not machine.check(hung).believed
    assert machine.check(lambda: counted(1.0)).believed


def test_the_check_boots_by_itself_on_this_machine_and_by_libvirt_elsewhere(machine: Machine) -> None:
    launched: list[Launch] = []

    def note(uri: str) -> None:
        machine.host.uri, machine.host.ours = uri, "+" not in uri
        machine.host.script = lambda spec, number: launched.append(spec.launch) or counted(1.0)
        here = FakeHost(lambda spec, number: HERE)
        check_kvm(machine.host, here, FLOOR, COUNT)

    note("qemu:///embed")
    note("qemu:///system")
    note("qemu+ssh://there/system")
    assert launched == [Launch.DIRECT, Launch.LIBVIRT, Launch.LIBVIRT]
