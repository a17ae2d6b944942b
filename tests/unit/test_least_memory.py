"""--min-memory over the fake host: what counts as enough, and how patient it is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ukperf.engine.bench import PlannedBoots
from ukperf.hosts.fake import FakeHost, bad_boot, good_boot
from ukperf.model import Accelerator, BootProtocol, BootSpec, Image, Launch, Limits, Machine, Observation, Outcome, Plan
from ukperf.workloads.memory import least_memory


def plan_of(*images: Image) -> Plan:
    return Plan(
        run_id="0123456789abcdef",
        created_at="2026-01-01T00:00:00+00:00",
        workload="boot",
        images={image.guest: image for image in images},
        baseline=images[0].guest,
        machine=Machine(memory_mib=128),
        accelerator=Accelerator.TCG,
        launch=Launch.LIBVIRT,
        hosts=("fake",),
        seed=1,
        limits=Limits(),
    )


def image(guest: str, protocol: BootProtocol = BootProtocol.KERNEL) -> Image:
    return Image(guest, "boot", "d", "p", protocol, Path("/k"))


def test_the_least_memory_is_found_next_to_a_size_that_is_not_enough() -> None:
    def script(spec: BootSpec, number: int) -> Observation:
        return good_boot() if spec.machine.memory_mib >= 37 else bad_boot(Outcome.SILENT)

    asked: list[tuple[str, int]] = []
    (found,) = least_memory(PlannedBoots(plan_of(image("g")), FakeHost(script)), lambda g, mib: asked.append((g, mib)))
    assert found.least_mib == 37
    assert ("g", 36) in asked
    assert found.boots == len(asked)


def test_a_size_that_works_only_twice_of_three_times_is_not_enough() -> None:
    seen: dict[int, int] = {}

    def script(spec: BootSpec, number: int) -> Observation:
        mib = spec.machine.memory_mib
        seen[mib] = seen.get(mib, 0) + 1
        return bad_boot(Outcome.CRASHED) if mib < 64 and seen[mib] == 3 else good_boot()

    (found,) = least_memory(PlannedBoots(plan_of(image("g")), FakeHost(script)), lambda *_: None)
    assert found.least_mib == 64


def test_a_guest_that_never_reaches_main_has_no_least_memory() -> None:
    host = FakeHost(lambda spec, number: bad_boot(Outcome.HUNG))
    (found,) = least_memory(PlannedBoots(plan_of(image("g")), host), lambda *_: None)
    assert found.least_mib is None and found.greatest_mib == 128


def test_processes_of_this_machine_are_left_out_and_hangs_are_waited_for_less_long_than_the_first_boot() -> None:
    timeouts: list[float] = []

    def script(spec: BootSpec, number: int) -> Observation:
        timeouts.append(spec.timeout_s)
        return good_boot(total_ms=1000) if spec.machine.memory_mib > 50 else bad_boot(Outcome.HUNG)

    plan = replace(plan_of(image("g"), image("native", BootProtocol.EXEC)), timeout_s=300.0)
    found = least_memory(PlannedBoots(plan, FakeHost(script)), lambda *_: None)
    assert [least.guest for least in found] == ["g"]
    assert timeouts[0] == 300.0 and max(timeouts[1:]) <= 8.0
