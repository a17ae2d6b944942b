"""The order of events of a run, on a host without a VM and a clock without time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ukperf.console import encode_frame
from ukperf.engine.journal import JOURNAL, Journal, read_journal
from ukperf.engine.runner import Runner, Silent
from ukperf.engine.schedule import block_order
from ukperf.errors import HostError, UkperfError
from ukperf.hosts.fake import FakeHost, bad_boot, good_boot
from ukperf.model import (
    Accelerator,
    BootProtocol,
    BootRecord,
    BootSpec,
    Frame,
    Image,
    Launch,
    Limits,
    Machine,
    Observation,
    Outcome,
    Plan,
    Trial,
)

GUESTS = ("floor", "linux", "nanos")
Script = Callable[[BootSpec, int], Observation]
Where = tuple[int, str, int]  # block, guest, attempt


def plan_of(guests: Sequence[str] = GUESTS, hosts: Sequence[str] = ("fake",), **limits: object) -> Plan:
    images = {
        guest: Image(
            guest, "boot", "d", "p", BootProtocol.EXEC if guest == "native" else BootProtocol.KERNEL, argv=("/p",)
        )
        for guest in guests
    }
    return Plan(
        "0123456789abcdef",
        "2026-01-01T00:00:00+00:00",
        "boot",
        images,
        guests[0],
        Machine(),
        Accelerator.TCG,
        Launch.LIBVIRT,
        tuple(hosts),
        1,
        Limits(**limits),  # type: ignore[arg-type]
    )


class Watcher:
    """Notes what happens, in order, and how much of it the journal held at that moment."""

    def __init__(self, journal: Path) -> None:
        self.journal, self.events = journal, list[str]()
        self.given_up: list[tuple[str, str]] = []
        self.trial: Trial | None = None

    def _note(self, event: str) -> None:
        lines = self.journal.read_text().count("\n")
        self.events.append(f"{event} {lines}")

    def trial_starts(self, trial: Trial) -> None:
        self.trial = trial
        self._note(f"start {trial.guest}{'+' * trial.attempt}")

    def frame(self, trial: Trial, frame: Frame) -> None:
        self._note(f"{frame.event} {trial.guest}")

    def trial_ends(self, record: BootRecord) -> None:
        self._note(f"end {record.trial.guest} {record.outcome}")

    def gives_up(self, guest: str, why: str) -> None:
        self.given_up.append((guest, why))


class Bench:
    """A folder with a journal, in which runs are started, broken off and resumed."""

    def __init__(self, folder: Path, plan: Plan) -> None:
        self.folder, self.plan, self.host = folder, plan, FakeHost()
        self.watcher = Watcher(folder / JOURNAL)
        self.now = 0.0

    def run(self, script: Script | None = None, enough: Callable[[Sequence[BootRecord]], bool] | None = None) -> str:
        """Run, or go on, with what the journal holds; why it ended."""
        path = self.folder / JOURNAL
        records = list(read_journal(path).records) if path.exists() else []
        if script is not None:
            self.host.script = script
        hosts = dict.fromkeys(self.plan.hosts, self.host)
        with Journal(path) as journal:
            runner = Runner(
                self.plan,
                self.folder,
                hosts,
                lambda _: self.host,
                journal,
                enough or (lambda records: False),
                self.watcher,
                records,
                lambda: self.now,
            )
            return runner.run()

    @property
    def records(self) -> tuple[BootRecord, ...]:
        return read_journal(self.folder / JOURNAL).records

    @property
    def done(self) -> list[Where]:
        return [(r.trial.block, r.trial.guest, r.trial.attempt) for r in self.records]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path, plan_of(boots=2))


def expected(blocks: int, fails: Callable[[Where], bool] = lambda _: False) -> list[Where]:
    """What a run of plan_of() does, block by block: every guest once, then once more those that failed."""
    order: list[Where] = []
    for block in range(blocks):
        first = [(block, guest, 0) for guest in block_order(GUESTS, 1, block)]
        order += first + [(b, guest, 1) for b, guest, _ in first if fails((b, guest, 0))]
    return order


def failing(where: set[Where], bench: Bench) -> Script:
    """A script that fails at the given trials, in another way each time."""

    def script(spec: BootSpec, _: int) -> Observation:
        trial = bench.watcher.trial
        assert trial is not None
        if (trial.block, trial.guest, trial.attempt) not in where:
            return good_boot()
        return bad_boot(Outcome.HUNG, f"attempt {trial.attempt} of block {trial.block} hung")

    return script


def test_each_trial_is_in_the_journal_before_the_next_one_starts(tmp_path: Path) -> None:
    bench = Bench(tmp_path, plan_of(["floor", "linux"], boots=1))
    why = bench.run(lambda spec, n: bad_boot(Outcome.CRASHED) if n == 0 else good_boot())
    assert why == "1 block was done"
    first, second = block_order(("floor", "linux"), 1, 0)
    assert bench.watcher.events == [
        f"start {first} 0",
        f"end {first} crashed 1",
        f"start {second} 1",
        f"main {second} 1",
        f"exit {second} 1",
        f"end {second} ok 2",
        f"start {first}+ 2",
        f"main {first} 2",
        f"exit {first} 2",
        f"end {first} ok 3",
    ]
    assert [r.trial.index for r in bench.records] == [0, 1, 2]
    assert [r.trial.position for r in bench.records] == [0, 1, 0]


def test_a_failure_is_retried_once_at_the_end_of_its_block(bench: Bench) -> None:
    twice = {(0, "linux", 0), (0, "linux", 1), (1, "nanos", 0)}
    bench.run(failing(twice, bench))
    assert bench.done == expected(2, lambda where: where in twice)


def test_every_outcome_but_ok_is_retried(tmp_path: Path) -> None:
    for outcome in Outcome:
        bench = Bench(tmp_path / outcome, plan_of(["linux"], boots=1))
        bench.folder.mkdir()
        bench.run(lambda spec, n, outcome=outcome: good_boot() if outcome is Outcome.OK else bad_boot(outcome))
        assert len(bench.records) == (1 if outcome is Outcome.OK else 2)


def test_without_retries_a_failure_stays_one_and_the_next_block_begins(tmp_path: Path) -> None:
    plan = plan_of(boots=2)
    bench = Bench(tmp_path, replace(plan, limits=replace(plan.limits, retry=False)))
    bench.run(failing({(0, "linux", 0), (1, "nanos", 0)}, bench))
    assert bench.done == expected(2)
    assert [record.outcome for record in bench.records].count(Outcome.HUNG) == 2


def tried(bench: Bench, guest: str) -> list[tuple[int, int]]:
    return [(block, attempt) for block, name, attempt in bench.done if name == guest]


def test_a_guest_whose_boots_of_the_first_block_end_in_one_way_is_given_up_and_the_others_go_on(tmp_path: Path) -> None:
    bench = Bench(tmp_path, plan_of(boots=5))
    why = bench.run(lambda spec, n: bad_boot(Outcome.SILENT) if spec.image.guest == "nanos" else good_boot())
    assert tried(bench, "nanos") == [(0, 0), (0, 1)]
    assert len(tried(bench, "linux")) == len(tried(bench, "floor")) == 5
    assert bench.watcher.given_up == [("nanos", "2 boots, none of them good; the last one: silent, as scripted")]
    assert why == "5 blocks were done, without nanos, given up after failures alone"
    assert bench.run(lambda spec, n: pytest.fail("nothing is left to boot")) == why


def test_a_guest_that_fails_in_one_way_after_another_is_given_up_after_three_blocks(tmp_path: Path) -> None:
    bench = Bench(tmp_path, plan_of(boots=5))
    bench.run(lambda spec, n: bad_boot(Outcome.CRASHED, f"at {n}") if spec.image.guest == "nanos" else good_boot())
    assert tried(bench, "nanos") == [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1)]
    assert len(bench.watcher.given_up) == 1 and bench.watcher.given_up[0][1].startswith("6 boots")


def test_long_time_outs_are_waited_for_twice_and_not_six_times(tmp_path: Path) -> None:
    bench = Bench(tmp_path, plan_of(["linux", "nanos"], boots=20))

    def script(spec: BootSpec, _: int) -> Observation:
        bench.now += 3600 if spec.image.guest == "nanos" else 1
        return bad_boot(Outcome.HUNG, "no end in 3600 s") if spec.image.guest == "nanos" else good_boot()

    bench.run(script)
    assert bench.now == 2 * 3600 + 20


def test_a_guest_that_fails_on_one_host_is_tried_on_the_other(tmp_path: Path) -> None:
    bench = Bench(tmp_path, plan_of(["linux"], ["one", "two"], boots=4))
    bench.run(lambda spec, n: bad_boot(Outcome.LOST) if n < 2 else good_boot())
    assert tried(bench, "linux") == [(0, 0), (0, 1), (1, 0), (2, 0), (3, 0)]
    lost = Bench(tmp_path / "lost", plan_of(["linux"], ["one", "two"], boots=4))
    lost.folder.mkdir()
    lost.run(lambda spec, n: bad_boot(Outcome.LOST))
    assert tried(lost, "linux") == [(0, 0), (0, 1), (1, 0), (1, 1)]


def test_a_guest_that_booted_once_is_never_given_up(tmp_path: Path) -> None:
    bench = Bench(tmp_path, plan_of(["linux"], boots=6))
    bench.run(lambda spec, n: good_boot() if n == 1 else bad_boot(Outcome.HUNG))
    assert {block for block, _, _ in bench.done} == set(range(6))


def test_a_run_without_one_good_boot_ends(tmp_path: Path) -> None:
    bench = Bench(tmp_path, plan_of(boots=100))
    assert bench.run(lambda spec, n: bad_boot(Outcome.LOST)) == "no guest had one good boot in 1 block"
    assert len(bench.records) == 3 * 2
    assert bench.run(lambda spec, n: pytest.fail("nothing is left to boot")).startswith("no guest")


def test_no_block_is_begun_after_the_time_but_the_last_one_is_finished(tmp_path: Path) -> None:
    bench = Bench(tmp_path, plan_of(boots=50, max_time_s=10))

    def slow(spec: BootSpec, _: int) -> Observation:
        bench.now += 2
        return good_boot()

    assert bench.run(slow) == "the time was up (10 s)"
    assert bench.done == expected(2)  # 6 s, then 12 s
    bench.now = 1_000.0  # a break is no part of the run
    assert bench.run(lambda spec, n: pytest.fail("nothing is left to boot")) == "the time was up (10 s)"
    assert [r.elapsed_s for r in bench.records] == [2, 4, 6, 8, 10, 12]


def test_a_resumed_run_has_the_time_that_was_left(tmp_path: Path) -> None:
    bench = Bench(tmp_path, plan_of(boots=50, max_time_s=10))

    def broken(spec: BootSpec, number: int) -> Observation:
        bench.now += 2
        if number == 3:
            raise KeyboardInterrupt
        return good_boot()

    with pytest.raises(KeyboardInterrupt):
        bench.run(broken)
    bench.now += 500

    def slow(spec: BootSpec, _: int) -> Observation:
        bench.now += 2
        return good_boot()

    bench.run(slow)
    assert bench.done == expected(2)


def test_the_precision_is_looked_at_after_each_complete_block(tmp_path: Path) -> None:
    bench = Bench(tmp_path, plan_of(boots=None, precision=0.01))
    seen: list[int] = []

    def enough(records: Sequence[BootRecord]) -> bool:
        seen.append(len(records))
        return len(records) >= 9

    assert bench.run(enough=enough) == "the intervals were narrow enough"
    assert seen == [3, 6, 9]
    assert bench.done == expected(3)
    again = bench.run(lambda spec, n: pytest.fail("nothing is left to boot"), enough)
    assert again == "the intervals were narrow enough"


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_run_broken_off_anywhere_goes_on_as_if_it_had_not_been(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    spots = st.tuples(st.integers(0, 3), st.sampled_from(GUESTS), st.integers(0, 1))
    fails = data.draw(st.sets(spots, max_size=14))
    plan = plan_of(boots=4)
    whole = Bench(tmp_path_factory.mktemp("whole"), plan)
    why = whole.run(failing(fails, whole))
    lines = (whole.folder / JOURNAL).read_bytes().splitlines(keepends=True)
    kept = data.draw(st.integers(0, len(lines)))
    torn = data.draw(st.integers(0, len(lines[kept]) - 2)) if kept < len(lines) else 0
    broken = Bench(tmp_path_factory.mktemp("broken"), plan)
    rest = lines[kept][:torn] if kept < len(lines) else b""
    (broken.folder / JOURNAL).write_bytes(b"".join(lines[:kept]) + rest)
    assert broken.run(failing(fails, broken)) == why
    assert broken.done == whole.done
    assert [r.trial for r in broken.records] == [r.trial for r in whole.records]
    assert len(broken.host.booted) == len(lines) - kept


def test_a_trial_whose_line_was_damaged_is_done_again(bench: Bench) -> None:
    bench.run()
    path = bench.folder / JOURNAL
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[0], b"\0damaged\n", *lines[2:]]))
    bench.run()
    assert len(bench.host.booted) == 7
    assert sorted(bench.done) == sorted(expected(2))
    assert bench.records[-1].trial.index == 6


@pytest.mark.parametrize("error", [KeyboardInterrupt(), HostError("it went away"), OSError(28, "No space left")])
def test_what_was_measured_is_kept_when_a_host_raises(bench: Bench, error: BaseException) -> None:
    def raising(spec: BootSpec, number: int) -> Observation:
        if number == 4:
            raise error
        return good_boot()

    with pytest.raises(type(error)):
        bench.run(raising)
    assert bench.done == expected(2)[:4]
    bench.run(lambda spec, n: good_boot())
    assert bench.done == expected(2)


def test_blocks_go_round_the_hosts_and_programs_run_here(tmp_path: Path) -> None:
    plan = plan_of(["linux", "native"], ["one", "two"], boots=4)
    one, two, here = FakeHost(uri="one"), FakeHost(uri="two"), FakeHost(uri="native")
    with Journal(tmp_path / JOURNAL) as journal:
        Runner(plan, tmp_path, {"one": one, "two": two}, lambda _: here, journal, lambda records: False).run()
    assert (one.booted, two.booted, here.booted) == (["linux"] * 2, ["linux"] * 2, ["native"] * 4)
    assert [r.host for r in read_journal(tmp_path / JOURNAL).records] == ["one"] * 2 + ["two"] * 2 + ["one"] * 2 + [
        "two"
    ] * 2


def test_a_guest_gets_its_own_memory_a_bounded_console_and_a_log(tmp_path: Path) -> None:
    specs: list[BootSpec] = []
    plan = replace(plan_of(["linux"], boots=1), memory_mib={"linux": 512}, timeout_s=7.0)
    bench = Bench(tmp_path, plan)
    bench.run(lambda spec, n: specs.append(spec) or good_boot())
    (spec,) = specs
    assert spec.machine == Machine(memory_mib=512)
    assert spec.timeout_s == 7.0
    assert spec.console_path == tmp_path / "console" / "00000-linux.log"
    assert spec.name == "ukperf-01234567-linux"


def test_what_a_boot_told_is_in_its_record(tmp_path: Path) -> None:
    bench = Bench(tmp_path, plan_of(["linux"], boots=1))
    told = encode_frame("samples", 1, 90_000_000, 90_000_000, benchmark="b", unit="s", loops=2, values=[1, 2])
    bench.run(lambda spec, n: good_boot(frames=told))
    (record,) = bench.records
    assert record.samples[0].values == (1.0, 2.0)
    assert record.image_digest == "d"


def test_a_run_of_thousands_of_trials_costs_no_more_for_each_than_a_short_one(tmp_path: Path) -> None:
    """What is looked up for a trial does not grow with the journal: 9,000 records are asked in about a second."""
    plan = plan_of(boots=3_000)
    records: list[BootRecord] = []
    bench = Bench(tmp_path, plan_of(boots=1))
    bench.run()
    by_guest = {record.trial.guest: record for record in bench.records}
    for block in range(3_000):
        for place, guest in enumerate(block_order(GUESTS, 1, block)):
            trial = Trial(len(records), block, place, guest)
            records.append(replace(by_guest[guest], trial=trial))
    runner = Runner(plan, tmp_path, {}, lambda _: bench.host, None, lambda records: False, records=records)
    assert runner.ended() == "3000 blocks were done"


def test_nothing_more_is_booted_into_a_folder_that_is_gone(tmp_path: Path) -> None:
    """Its console file would make the folder anew."""
    (tmp_path / "run").mkdir()
    bench = Bench(tmp_path / "run", plan_of(["linux"], boots=3))

    class Remover(Silent):
        def trial_ends(self, record: BootRecord) -> None:
            (tmp_path / "run" / JOURNAL).unlink()

    bench.watcher = Remover()  # type: ignore[assignment]
    with pytest.raises(UkperfError, match="removed or replaced"):
        bench.run()
    assert bench.host.booted == ["linux"]
