"""The order of events of a fleet, without a VM: who is made, looked at and ended, and when; whatever goes wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from test_runner import plan_of

from ukperf import signals
from ukperf.engine.journal import JOURNAL, Journal, read_journal
from ukperf.engine.plan import load, save
from ukperf.engine.runner import Runner
from ukperf.errors import HostError, UkperfError
from ukperf.hosts.base import OnFrame
from ukperf.hosts.fake import FakeHost, bad_boot
from ukperf.hosts.fleet import FleetMember, make_fleet
from ukperf.model import BootSpec, Event, Fleet, FleetMemory, Observation, Outcome
from ukperf.workloads.density import Density, DensityOptions

MIB = 1 << 20
MS = 1_000_000
Log = list[str]


@dataclass
class Stage:
    """A fake machine. Guest k takes `each` MiB alone and 10 MiB are shared; its pid is 100 + k."""

    log: Log = field(default_factory=list)
    each: int = 30
    fails: Mapping[int, Observation] = field(default_factory=dict)
    full: int = 1 << 30  # guests for which there is room
    interrupts: int = 0  # ^C comes while this guest is made
    dead: set[int] = field(default_factory=set)  # VMMs that nobody can look at
    untold: bool = False  # memory cannot be told apart
    alive: list[int] = field(default_factory=list)

    @contextmanager
    def launching(self, spec: BootSpec) -> Iterator[FleetMember]:
        number = int(spec.name.rpartition("-")[2])
        self.log.append(f"make {number}")
        if number == self.interrupts:
            raise signals.Ended(2)
        self.alive.append(number)
        events = {Event.START: 0, Event.CREATED: number * MS, Event.MAIN: 10 * number * MS}
        try:
            yield FleetMember(100 + number, events, self.fails.get(number))
        finally:
            self.alive.remove(number)
            self.log.append(f"end {number}")

    def refuses(self, taken: Sequence[int]) -> str:
        return "there is no room" if len(taken) >= self.full else ""

    def taken(self, pid: int) -> int | None:
        return None if pid - 100 in self.dead else self.each * MIB + 10 * MIB // len(self.alive)

    def memory(self, pid: int) -> FleetMemory | None:
        own = self.taken(pid)
        if own is None or self.untold:
            return None
        if pid == 101:
            self.log.append(f"look at {len(self.alive)}")
        return FleetMemory(1, own // 2, 0, own - own // 2)

    def habits(self, pids: Sequence[int]) -> Mapping[str, str]:
        assert len(pids) == len(self.alive), "asked when they are gone"
        return {"KSM": "off"}

    def fleet(self, *sizes: int, budget: int | None = None) -> Observation:
        plan = replace(plan_of(("floor",)), fleet=Fleet(sizes, 1000, budget))
        spec = BootSpec(
            plan.images["floor"], plan.machine, plan.accelerator, name="g", console_path=Path("/x/00000-g.log")
        )
        assert plan.fleet is not None
        return make_fleet(spec, plan.fleet, self.launching, self)


def test_guests_are_made_one_by_one_looked_at_with_each_size_and_ended_the_last_first() -> None:
    stage = Stage()
    seen = stage.fleet(1, 2, 4)
    made = ["make 1", "look at 1", "make 2", "look at 2", "make 3", "make 4", "look at 4"]
    assert stage.log == [*made, "end 4", "end 3", "end 2", "end 1"]
    assert seen.outcome is Outcome.OK and seen.fleet is not None
    assert [point.guests for point in seen.fleet.points] == [1, 2, 4]
    assert [point.total for point in seen.fleet.points] == [40 * MIB, 70 * MIB, 130 * MIB]
    assert seen.fleet.created_ns == (MS, 2 * MS, 3 * MS, 4 * MS)
    assert seen.fleet.ready_ns == (10 * MS, 20 * MS, 30 * MS, 40 * MS)
    assert seen.fleet.host == {"KSM": "off"} and seen.fleet.stopped == "" and seen.fleet.fits is None


def test_every_guest_has_a_name_and_a_console_of_its_own(tmp_path: Path) -> None:
    specs: list[BootSpec] = []

    @dataclass
    class Watching(Stage):
        @contextmanager
        def launching(self, spec: BootSpec) -> Iterator[FleetMember]:
            specs.append(spec)
            with super().launching(spec) as member:
                yield member

    Watching().fleet(1, 3)
    assert [spec.name for spec in specs] == ["g-1", "g-2", "g-3"]
    assert [spec.console_path and spec.console_path.name for spec in specs] == [
        "00000-g-001.log",
        "00000-g-002.log",
        "00000-g-003.log",
    ]
    assert all(spec.fleet is None for spec in specs)


def test_a_guest_that_does_not_get_ready_is_what_the_fleet_comes_to_and_those_before_it_end() -> None:
    stage = Stage(fails={3: bad_boot(Outcome.HUNG, "its program did not start within 5 s")})
    seen = stage.fleet(1, 2, 4, 8)
    assert (seen.outcome, seen.reason) == (Outcome.HUNG, "guest 3 of 8: its program did not start within 5 s")
    assert stage.alive == [] and stage.log[-3:] == ["end 3", "end 2", "end 1"] and "make 4" not in stage.log


def test_a_fleet_for_which_room_runs_out_is_looked_at_as_far_as_it_came() -> None:
    stage = Stage(full=3)
    seen = stage.fleet(1, 2, 4, 8)
    assert seen.outcome is Outcome.OK and seen.fleet is not None
    assert [point.guests for point in seen.fleet.points] == [1, 2, 3]
    assert seen.fleet.stopped == "after 3 guests: there is no room"
    assert "make 4" not in stage.log and stage.alive == []


def test_without_room_for_the_first_guest_nothing_is_made() -> None:
    stage = Stage(full=0)
    seen = stage.fleet(1, 2)
    assert stage.log == []
    assert (seen.outcome, seen.reason) == (
        Outcome.LOST,
        "not one guest was made, before the first guest: there is no room",
    )


@pytest.mark.parametrize("number", [1, 2, 5])
def test_ctrl_c_in_the_middle_ends_all_guests(number: int) -> None:
    stage = Stage(interrupts=number)
    with pytest.raises(KeyboardInterrupt):
        stage.fleet(1, 2, 4, 8)
    assert stage.alive == [] and len([line for line in stage.log if line.startswith("end")]) == number - 1


def test_a_guest_that_died_while_it_was_suspended_is_told() -> None:
    stage = Stage(dead={2})
    seen = stage.fleet(1, 2)
    assert seen.outcome is Outcome.CRASHED
    assert seen.reason.startswith("guest 2 of 2: the VMM of a suspended guest is gone")
    assert stage.alive == []


def test_memory_that_cannot_be_told_apart_is_no_figure() -> None:
    stage = Stage(untold=True)
    seen = stage.fleet(1, 2)
    assert seen.outcome is Outcome.LOST and "cannot be told apart" in seen.reason


@pytest.mark.parametrize(("budget", "fits"), [(39, 0), (40, 1), (69, 1), (70, 2), (129, 3), (130, None), (1000, None)])
def test_how_many_guests_fit_into_a_budget_is_seen_to_the_guest(budget: int, fits: int | None) -> None:
    seen = Stage().fleet(1, 4, budget=budget)
    assert seen.fleet is not None and seen.fleet.fits == fits


# ---- fleets as trials of a run ----


@dataclass
class FleetHost(FakeHost):
    stages: list[Stage] = field(default_factory=list)
    full: int = 1 << 30

    def check_fleet(self) -> None:
        """It can."""

    def boot_fleet(self, spec: BootSpec, on_frame: OnFrame | None = None) -> Observation:
        self.booted.append(spec.image.guest)
        stage = Stage(each=30 if spec.image.guest == "floor" else 60, full=self.full)
        self.stages.append(stage)
        assert spec.fleet is not None
        return make_fleet(spec, spec.fleet, stage.launching, stage)


def run(tmp_path: Path, host: FleetHost, boots: int = 2) -> Runner:
    plan = replace(plan_of(("floor", "linux"), boots=boots), fleet=Fleet((1, 2, 4), 1000))
    reader = Density().reader(DensityOptions())
    path = tmp_path / JOURNAL
    records = list(read_journal(path).records) if path.exists() else []
    with Journal(path) as journal:
        runner = Runner(plan, tmp_path, {"fake": host}, lambda _: host, journal, lambda _: False, records=records)
        runner.read = reader
        runner.run()
    return runner


def test_a_trial_of_a_run_is_a_fleet_and_its_record_has_the_figures(tmp_path: Path) -> None:
    host = FleetHost()
    runner = run(tmp_path, host)
    assert sorted(host.booted) == ["floor", "floor", "linux", "linux"]
    stored = read_journal(tmp_path / JOURNAL)
    assert stored.damaged == () and len(stored.records) == 4
    slopes = {record.trial.guest: record.samples[0].values[0] for record in stored.records}
    assert slopes == {"floor": pytest.approx(30 * MIB), "linux": pytest.approx(60 * MIB)}
    assert [r.samples for r in stored.records] == [r.samples for r in runner.records]


def test_a_run_of_fleets_that_was_broken_off_goes_on_where_it_was(tmp_path: Path) -> None:
    run(tmp_path, FleetHost(), boots=1)
    second = FleetHost()
    run(tmp_path, second, boots=3)
    assert sorted(second.booted) == ["floor", "floor", "linux", "linux"]


def test_a_fleet_that_came_to_one_size_alone_is_no_good_trial(tmp_path: Path) -> None:
    runner = run(tmp_path, FleetHost(full=1), boots=1)
    assert {record.outcome for record in runner.records} == {Outcome.FAILED}
    assert "a slope needs 2 numbers of guests: after 1 guest: there is no room" in runner.records[0].reason


def test_a_host_whose_guests_are_no_processes_of_ours_refuses_in_a_sentence() -> None:
    with pytest.raises(HostError, match="The memory of many guests at once cannot be told on fake"):
        FakeHost().check_fleet()


@pytest.mark.parametrize(
    "fleet", [Fleet((), 5), Fleet((2, 1), 5), Fleet((0, 1), 5), Fleet((1, 5000), 5), Fleet((1, 2), 0)]
)
def test_a_stored_plan_with_an_impossible_fleet_is_damaged(tmp_path: Path, fleet: Fleet) -> None:
    save(replace(plan_of(("floor",)), fleet=fleet), tmp_path)
    with pytest.raises(UkperfError, match="damaged"):
        load(tmp_path)


def test_a_plan_with_a_fleet_is_stored_and_read(tmp_path: Path) -> None:
    plan = replace(plan_of(("floor",)), fleet=Fleet((1, 2, 4), 900, 300))
    save(plan, tmp_path)
    assert load(tmp_path).fleet == plan.fleet
