"""What `ukperf doctor` looks at: hosts that play scripts, folders that are full, guests that are not there."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from test_cli import Shell

from ukperf import guests
from ukperf.console import encode_frame
from ukperf.doctor import checks, clocks
from ukperf.doctor.checks import Check, Diagnosis, State, diagnose
from ukperf.errors import HostError, UkperfError
from ukperf.guests.base import Availability
from ukperf.guests.recipes import Role
from ukperf.hosts.fake import MS, FakeHost, bad_boot, good_boot
from ukperf.hosts.truth import COUNT_LOOPS, Truth
from ukperf.model import Accelerator, BootSpec, Machine, MachineKind, Observation, Outcome


@dataclass
class Far(FakeHost):
    """A machine elsewhere. kinds: the machine types that it has."""

    kinds: tuple[MachineKind, ...] = (MachineKind.Q35,)
    files: str = "uploaded by libvirt"

    def describe(self) -> str:
        return "libvirt 9.0.0, QEMU 7.2.0"

    def describe_files(self) -> str:
        if not self.files:
            raise HostError("There is no storage driver.", hint="Install it there.")
        return self.files

    def fit(self, machine: Machine, kinds: Any) -> Machine:
        both = [kind for kind in kinds if kind in self.kinds]
        if not both:
            raise HostError("This host has no machine type for it.")
        return replace(machine, kind=both[0])


def counted(cycles: float) -> Observation:
    """A boot whose loop took so many TSC cycles a turn."""
    told = encode_frame("samples", 1, 85 * MS, 85 * MS, benchmark="count", unit="cycles", loops=9, values=[cycles] * 3)
    return good_boot(frames=told)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[FakeHost], None]:
    """The host that every connection opens; images of it cost nothing to build."""
    monkeypatch.setenv("UKPERF_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("UKPERF_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setattr(checks, "noise_sources", lambda: [])

    def use(host: FakeHost) -> None:
        @contextmanager
        def open_host(uri: str) -> Iterator[FakeHost]:
            yield host

        monkeypatch.setattr(checks, "open_host", open_host)

    return use


def by_name(diagnosis: Diagnosis) -> Mapping[str, Check]:
    return {check.name: check for check in diagnosis.checks}


# -- the host ----------------------------------------------------------------------------------------------------------


def test_a_host_that_does_not_open_is_missing_with_its_reason_and_guests_are_looked_at_still(
    opened: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(uri: str) -> Any:
        raise HostError(f"{uri} does not answer.", hint="Start it.")

    monkeypatch.setattr(checks, "open_host", refused)
    diagnosis = diagnose("xen:///")
    said = by_name(diagnosis)
    assert not diagnosis.ok and diagnosis.accelerator is None
    assert said["connection"] == Check("connection", State.MISSING, "xen:/// does not answer.", "Start it.")
    assert {f"guest {name}" for name in guests.names()} <= said.keys()


def test_another_host_is_asked_how_files_get_there_and_what_boots_there(opened: Any) -> None:
    host = Far(lambda spec, number: counted(2.0), uri="qemu+ssh://there/system", accelerators=(Accelerator.TCG,))
    host.about = {"left_out": "peak memory"}
    opened(host)
    diagnosis = diagnose(host.uri)
    said = by_name(diagnosis)
    assert said["connection"].sentence == f"{host.uri} opens: libvirt 9.0.0, QEMU 7.2.0"
    assert said["files"] == Check("files", State.OK, "Images are uploaded by libvirt.")
    assert said["records"] == Check("records", State.OPTIONAL, "They leave out peak memory.")
    assert said["guest native"].sentence == f"It would run on this machine, not on {host.uri}."
    assert said["guest linux"].state is State.OPTIONAL or "boots as q35" in said["guest linux"].sentence
    assert diagnosis.noise == () and diagnosis.accelerator is Accelerator.TCG


def test_files_that_cannot_get_there_and_machines_that_are_not_there_are_said(opened: Any) -> None:
    opened(Far(lambda spec, number: counted(2.0), uri="qemu+ssh://there/system", kinds=(), files=""))
    said = by_name(diagnose("qemu+ssh://there/system"))
    assert said["files"] == Check("files", State.MISSING, "There is no storage driver.", "Install it there.")
    assert said["guest linux"] == Check("guest linux", State.OPTIONAL, "This host has no machine type for it.")


@pytest.mark.parametrize(
    ("seen", "state", "says"),
    [
        (counted(2.0), State.OK, "counts at 2.00 TSC cycles a loop."),
        (counted(2000.0), State.OPTIONAL, "counts at 2000.00 TSC cycles a loop, which no CPU takes."),
        (bad_boot(Outcome.HUNG, "it said nothing"), State.MISSING, "does not boot there: it said nothing."),
        (good_boot(), State.MISSING, "does not boot there: it gave no figures."),
    ],
)
def test_a_host_without_kvm_is_believed_by_what_its_probe_counts(
    opened: Any, seen: Observation, state: State, says: str
) -> None:
    opened(Far(lambda spec, number: seen, uri="xen+ssh://there/", accelerators=(Accelerator.XEN,)))
    truth = by_name(diagnose("xen+ssh://there/"))["truth"]
    assert truth.state is state and truth.sentence.endswith(says)
    assert truth.sentence.startswith(guests.in_role(Role.PROBE).name)


def test_programs_of_this_machine_need_no_accelerator(opened: Any) -> None:
    opened(FakeHost(uri="native", accelerators=(Accelerator.NATIVE,), ours=True))
    assert by_name(diagnose("native"))["truth"].sentence == "Programs of this machine need no accelerator."


@pytest.mark.parametrize(
    ("decided", "check"),
    [
        ((Accelerator.KVM, Truth(True, "At native speed.")), Check("KVM", State.OK, "At native speed.")),
        (
            (Accelerator.ICOUNT, Truth(False, "A crawl.", "Ask.")),
            Check("KVM", State.OPTIONAL, "A crawl.", "Ask."),
        ),
        (UkperfError("No compiler.", hint="Get one."), Check("truth", State.MISSING, "No compiler.", "Get one.")),
    ],
)
def test_kvm_is_what_the_truth_check_says(
    opened: Any, monkeypatch: pytest.MonkeyPatch, decided: Any, check: Check
) -> None:
    def decide(*words: object, **more: object) -> Any:
        if isinstance(decided, UkperfError):
            raise decided
        return decided

    monkeypatch.setattr(checks, "decide_accelerator", decide)
    opened(FakeHost(uri="qemu:///embed", ours=True))
    diagnosis = diagnose("qemu:///embed")
    assert check in diagnosis.checks
    assert diagnosis.accelerator is (None if isinstance(decided, UkperfError) else decided[0])


# -- clocks ------------------------------------------------------------------------------------------------------------


def told(ratio: float) -> Observation:
    """A boot whose clock runs at this ratio to the host's."""
    main = 80 * MS  # of a good boot
    spans = [200 * MS, 400 * MS, 600 * MS]
    ticks = [main + round((at - main) * ratio) for at in spans]
    frames = b"".join(encode_frame("phase", n, tick, tick) for n, tick in enumerate(ticks, 1))
    seen = good_boot(frames=frames)
    late = [replace(frame, at_ns=at) for frame, at in zip(seen.report.frames[1:4], spans, strict=True)]
    return replace(seen, report=replace(seen.report, frames=(seen.report.frames[0], *late, seen.report.frames[-1])))


def test_each_guests_clock_is_held_against_the_hosts_where_that_was_asked_for(
    opened: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = {"linux": (1.0, "right"), "nanos": (1.5, "fast")}

    def clock(guest: Any, options: Any, spec: BootSpec, host: Any) -> clocks.ClockCheck:
        ratio, words = said[guest.name]
        return clocks.ClockCheck(guest.name, ratio, words)

    class Known:
        """linux and nanos are there, and the rest is not."""

        def __init__(self, name: str) -> None:
            self.name = name
            real = guests.get(name).recipe
            self.recipe = SimpleNamespace(
                machines=real.machines, slow_s=real.slow_s, loads_programs=real.loads_programs, role=real.role
            )

        def availability(self, options: object) -> Availability:
            return Availability(self.name in said, "said", "get it")

    known = {name: Known(name) for name in guests.names()}
    monkeypatch.setattr(guests, "get", lambda name, cache=None: known[name])
    monkeypatch.setattr(checks, "check_clock", clock)
    monkeypatch.setattr(checks, "decide_accelerator", lambda *_, **__: (Accelerator.ICOUNT, None))
    opened(Far(uri="qemu:///embed", ours=True))
    clock_checks = [c for c in diagnose("qemu:///embed", guest_clocks=True).checks if c.name.startswith("clock")]
    assert clock_checks == [
        Check("clock linux", State.OK, "right"),
        Check(
            "clock nanos", State.OPTIONAL, "fast", "What this guest times itself is off by as much: results are marked."
        ),
    ]


@pytest.mark.parametrize(
    ("outcome", "says"),
    [
        (lambda spec, number: told(1.0), "1.0000 seconds of the guest's clock for each host second"),
        (lambda spec, number: told(1.25), "1.2500 seconds of the guest's clock for each host second"),
        (lambda spec, number: bad_boot(Outcome.CRASHED, "signal 9"), "not checked: crashed, signal 9"),
        (lambda spec, number: good_boot(1.0), "not checked: its frames came too close together"),
    ],
)
def test_a_clock_is_told_by_one_boot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, outcome: Any, says: str) -> None:
    monkeypatch.setenv("UKPERF_CACHE_DIR", str(tmp_path))
    floor = guests.in_role(Role.PROBE)
    image = replace(floor.build(checks.count_program(COUNT_LOOPS), checks.BuildOptions()), guest="floor")
    monkeypatch.setattr(clocks.guests, "build", lambda *_: image)
    spec = BootSpec(image, Machine(), Accelerator.TCG)
    check = clocks.check_clock(floor, checks.BuildOptions(), spec, FakeHost(outcome))
    assert check.sentence == says
    assert (check.lies, check.honest) == ("1.25" in says, "1.0000" in says)


# -- this machine ------------------------------------------------------------------------------------------------------


def test_a_disk_that_is_nearly_full_or_not_ours_is_said(opened: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    opened(FakeHost(uri="native", accelerators=(Accelerator.NATIVE,), ours=True))
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1 << 30))
    disk = by_name(diagnose("native"))["disk"]
    assert disk.state is State.OPTIONAL and disk.sentence.startswith("1.1 GB free at ")
    monkeypatch.setattr(checks.os, "access", lambda path, mode: False)
    disk = by_name(diagnose("native"))["disk"]
    assert disk.state is State.MISSING and disk.sentence.endswith("cannot be written.")


def test_a_large_cache_is_said_with_what_empties_it(opened: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    opened(FakeHost(uri="native", accelerators=(Accelerator.NATIVE,), ours=True))
    assert "empties it" not in by_name(diagnose("native"))["cache"].sentence
    monkeypatch.setattr(checks, "size_of", lambda folder: 3 << 30)
    assert by_name(diagnose("native"))["cache"].sentence.endswith("; `ukperf images clean` empties it")


@pytest.mark.parametrize("role", [Role.PROBE, None])
def test_a_guest_that_is_not_there_is_missing_only_where_nothing_is_known_without_it(
    opened: Any, monkeypatch: pytest.MonkeyPatch, role: Role | None
) -> None:
    opened(FakeHost(uri="native", accelerators=(Accelerator.NATIVE,), ours=True))
    monkeypatch.setattr(
        guests, "availability", lambda guest, options: Availability(False, "It is not here.", "Get it.")
    )
    said = by_name(diagnose("native"))
    for name in guests.names():
        missing = guests.get(name).recipe.role is Role.PROBE
        state = State.MISSING if missing else State.OPTIONAL
        assert said[f"guest {name}"] == Check(f"guest {name}", state, "It is not here.", "Get it.")


def test_a_guest_that_cannot_say_is_no_reason_to_say_nothing(opened: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(guest: object, options: object) -> Availability:
        raise UkperfError("The package of it failed.", hint="Tell its makers.")

    monkeypatch.setattr(guests, "availability", broken)
    opened(FakeHost(uri="native", accelerators=(Accelerator.NATIVE,), ours=True))
    here = by_name(diagnose("native"))["guest linux"]
    opened(Far(lambda spec, number: counted(2.0), uri="qemu+ssh://there/system", accelerators=(Accelerator.TCG,)))
    assert by_name(diagnose("qemu+ssh://there/system"))["guest linux"] == here
    assert here == Check("guest linux", State.OPTIONAL, "The package of it failed.", "Tell its makers.")


def test_the_command_ends_with_status_2_exactly_where_nothing_can_run(
    opened: Any, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened(FakeHost(uri="native", accelerators=(Accelerator.NATIVE,), ours=True))
    status, out, _ = shell("doctor", "--connect", "native", "--json")
    states = {check["state"] for check in json.loads(out)["checks"]}
    assert status == (2 if "missing" in states else 0)

    def refused(uri: str) -> Any:
        raise HostError("It does not answer.")

    monkeypatch.setattr(checks, "open_host", refused)
    assert shell("doctor")[0] == 2
