"""Runs over many machines: who does which block, what becomes of it, and what a worker may say. No Dask here."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from records import boot, failed
from test_runner import plan_of

import ukperf
from ukperf.cluster import Reply, Worker, address_of, local_workers, open_cluster
from ukperf.engine import atworker
from ukperf.engine.errand import About, Done, Question, Told, answer_of, packed, plan_text, question_of, to_bytes
from ukperf.engine.fleetrun import on_another
from ukperf.engine.journal import JOURNAL, Journal, read_journal
from ukperf.engine.runner import Silent
from ukperf.engine.spread import Spread
from ukperf.errors import HostError, UkperfError
from ukperf.hosts.fake import FakeHost, bad_boot, good_boot
from ukperf.hosts.truth import Truth
from ukperf.model import Accelerator, Outcome, Plan
from ukperf.stats.machines import summarize_machines

GUESTS = ("floor", "linux")
Act = Callable[[str, Question], Told | bytes | None]


class FakeCluster:
    """Workers that answer at once, one question a turn. act: what a worker does; None: it dies of it."""

    def __init__(self, workers: Mapping[str, int], act: Act) -> None:
        self.there = dict(workers)
        self.act = act
        self.asked: list[tuple[str, Question]] = []
        self.others: set[str] = set()  # workers that another run has given work
        self._waiting: list[tuple[int, str, bytes]] = []
        self._ticket = 0

    def workers(self) -> Mapping[str, Worker]:
        return {address: Worker(address, slots) for address, slots in self.there.items()}

    def submit(self, worker: str, question: bytes, *, alone: bool = True) -> int:
        self._ticket += 1
        self._waiting.append((self._ticket, worker, question))
        return self._ticket

    def serves_others(self, worker: str) -> bool:
        return worker in self.others

    def replies(self, timeout_s: float) -> list[Reply]:
        waiting, self._waiting = self._waiting, []
        return [self._reply(*item) for item in waiting]

    def _reply(self, ticket: int, worker: str, data: bytes) -> Reply:
        question = question_of(data)
        self.asked.append((worker, question))
        told = self.act(worker, question) if worker in self.there else None
        if told is None:
            self.there.pop(worker, None)
            return Reply(ticket, worker, None, "it is gone")
        return Reply(ticket, worker, told if isinstance(told, bytes) else to_bytes(told))


def about(worker: str, **more: object) -> About:
    known = About(ukperf.__version__, f"node-{worker}", "", Accelerator.TCG)
    return replace(known, **more)  # type: ignore[arg-type]


def done(question: Question) -> Told:
    records = tuple(boot(guest, question.block, index=i) for i, guest in enumerate(question.guests))
    files = {f"console/{i:05d}-{guest}.log": packed(guest.encode()) for i, guest in enumerate(question.guests)}
    return Told(done=Done(question.block, records, files))


def good(worker: str, question: Question) -> Told:
    if question.do == "end":
        return Told()
    return Told(about=about(worker)) if question.do == "about" else done(question)


def run(
    folder: Path, cluster: FakeCluster, plan: Plan | None = None, said: list[str] | None = None, **more: object
) -> str:
    with Journal(folder / JOURNAL) as journal:
        before = list(read_journal(folder / JOURNAL).records)
        say = (said if said is not None else []).append
        spread = Spread(plan or plan_of(GUESTS, boots=8), folder, cluster, journal, say, records=before, **more)  # type: ignore[arg-type]
        return spread.run()


def blocks(folder: Path) -> dict[int, list[str]]:
    """Block → its guests, as the journal has them; each record's index is its place."""
    records = read_journal(folder / JOURNAL).records
    assert [record.trial.index for record in records] == list(range(len(records)))
    had: dict[int, list[str]] = {}
    for record in records:
        had.setdefault(record.trial.block, []).append(record.trial.guest)
    return {block: sorted(guests) for block, guests in sorted(had.items())}


ONCE = {block: list(GUESTS) for block in range(8)}


def test_every_block_is_done_once_and_each_machine_has_its_share(tmp_path: Path) -> None:
    cluster = FakeCluster({"a": 1, "b": 1}, good)
    assert run(tmp_path, cluster) == "8 blocks were done"
    assert blocks(tmp_path) == ONCE
    hosts = [record.host for record in read_journal(tmp_path / JOURNAL).records]
    assert hosts.count("node-a") == hosts.count("node-b") == 8
    consoles = sorted(path.name for path in (tmp_path / "console").iterdir())
    assert len(consoles) == 16 and consoles[0].startswith("00000-")


def test_who_watches_is_told_where_the_run_stands(tmp_path: Path) -> None:
    class Watch(Silent):
        def __init__(self) -> None:
            self.told: list[tuple[int, int]] = []

        def over_machines(self, blocks: int, machines: int, precision: float | None = None) -> None:
            self.told.append((blocks, machines))

    watch = Watch()
    run(tmp_path, FakeCluster({"a": 1, "b": 1}, good), observer=watch)
    assert watch.told[0] == (0, 0) and watch.told[-1] == (8, 2) and watch.told == sorted(watch.told)


def test_one_block_at_a_time_is_at_each_worker_and_orders_go_on_machine_by_machine(tmp_path: Path) -> None:
    cluster = FakeCluster({"a": 1, "b": 1}, good)
    run(tmp_path, cluster)
    for worker in "ab":
        mine = [question for name, question in cluster.asked if name == worker and question.do == "block"]
        assert [question.order for question in mine] == [0, 1, 2, 3]
        assert len({question.seed for question in mine}) == 1
    assert len({q.seed for _, q in cluster.asked if q.do == "block"}) == 2


def test_the_block_of_a_worker_that_dies_is_done_by_another(tmp_path: Path) -> None:
    def act(worker: str, question: Question) -> Told | None:
        return None if worker == "b" and question.block == 3 else good(worker, question)

    said: list[str] = []
    run(tmp_path, FakeCluster({"a": 1, "b": 1}, act), said=said)
    assert blocks(tmp_path) == ONCE and any("is gone" in sentence for sentence in said)


def test_an_asker_that_was_killed_goes_on_and_takes_what_workers_finished(tmp_path: Path) -> None:
    class Killed(BaseException):
        pass

    taken = 0

    def dies(worker: str, question: Question) -> Told | None:
        nonlocal taken
        taken += question.do == "block"
        if taken == 5:
            raise Killed
        return good(worker, question)

    with pytest.raises(Killed):
        run(tmp_path, FakeCluster({"a": 1, "b": 1}, dies))
    left = set(ONCE) - blocks(tmp_path).keys()
    kept = min(left)

    def keeps(worker: str, question: Question) -> Told | None:
        if question.do == "about":
            return Told(about=about(worker, kept=(0, kept) if worker == "b" else ()))
        if question.do == "end":
            return Told()
        assert question.block not in (0, *(set(ONCE) - left))
        assert question.block != kept or (question.do == "kept" and worker == "b")
        return done(question)

    cluster = FakeCluster({"a": 1, "b": 1}, keeps)
    run(tmp_path, cluster)
    assert blocks(tmp_path) == ONCE
    assert any(0 in question.forget for name, question in cluster.asked if name == "b")


def test_a_kept_block_that_is_gone_is_done_anew(tmp_path: Path) -> None:
    def act(worker: str, question: Question) -> Told:
        if question.do == "kept":
            return Told(refusal="Block 2 is not kept there.")
        return Told(about=about(worker, kept=(2,))) if question.do == "about" else good(worker, question)

    run(tmp_path, FakeCluster({"a": 1}, act))
    assert blocks(tmp_path) == ONCE


def test_a_block_that_was_cut_off_in_the_journal_is_completed(tmp_path: Path) -> None:
    with Journal(tmp_path / JOURNAL) as journal:
        journal.append(replace(boot("floor", 0), host="node-a"))
    cluster = FakeCluster({"a": 1}, good)
    run(tmp_path, cluster)
    assert blocks(tmp_path) == ONCE
    assert next(q.guests for _, q in cluster.asked if q.do == "block" and q.block == 0) == ("linux",)


@pytest.mark.parametrize(
    ("odd", "why"),
    [
        ({"ukperf": "0.0.1"}, "it has ukperf 0.0.1"),
        ({"accelerator": Accelerator.KVM}, "it runs guests by kvm"),
        ({"facts": {"qemu": "99"}}, "it has qemu 99, and the plan is for none"),
    ],
)
def test_a_worker_of_another_kind_is_refused_with_a_sentence(odd: dict[str, object], why: str, tmp_path: Path) -> None:
    def act(worker: str, question: Question) -> Told:
        if worker == "odd" and question.do == "about":
            return Told(about=about(worker, **odd))
        return good(worker, question)

    said: list[str] = []
    cluster = FakeCluster({"a": 1, "odd": 1}, act)
    run(tmp_path, cluster, said=said)
    assert blocks(tmp_path) == ONCE and any(why in sentence for sentence in said)
    assert not [q for name, q in cluster.asked if name == "odd" and q.do == "block"]


@pytest.mark.parametrize("odd", [{"ukperf": "0.0.1"}, {"accelerator": Accelerator.KVM}, {"facts": {"qemu": "99"}}])
def test_workers_of_another_kind_take_part_where_the_plan_has_strata(odd: dict[str, object], tmp_path: Path) -> None:
    def act(worker: str, question: Question) -> Told:
        if worker == "odd" and question.do == "about":
            return Told(about=about(worker, **odd))
        return good(worker, question)

    said: list[str] = []
    cluster = FakeCluster({"a": 1, "odd": 1}, act)
    run(tmp_path, cluster, replace(plan_of(GUESTS, boots=8), strata=True), said)
    assert blocks(tmp_path) == ONCE and not said
    assert [q for name, q in cluster.asked if name == "odd" and q.do == "block"]


def test_a_worker_that_comes_late_takes_part_from_then_on(tmp_path: Path) -> None:
    def act(worker: str, question: Question) -> Told:
        if question.do == "block" and question.block == 1:
            cluster.there["late"] = 1
        return good(worker, question)

    cluster = FakeCluster({"a": 1}, act)
    assert run(tmp_path, cluster) == "8 blocks were done"
    assert blocks(tmp_path) == ONCE
    assert [q.order for name, q in cluster.asked if name == "late" and q.do == "block"][:2] == [0, 1]


@pytest.mark.parametrize("clock", ["1970-01-01T00:00:00+00:00", "2099-12-31T23:59:59+00:00", "no time at all"])
def test_another_clock_of_a_worker_changes_neither_the_order_nor_the_times_of_a_run(clock: str, tmp_path: Path) -> None:
    def act(worker: str, question: Question) -> Told:
        told = good(worker, question)
        if worker == "odd" and told.done is not None:
            records = (replace(record, started_at=clock, elapsed_s=1e9) for record in told.done.records)
            return Told(done=replace(told.done, records=tuple(records)))
        return told

    times = iter(range(10_000))
    run(tmp_path, FakeCluster({"a": 1, "odd": 1}, act), clock=lambda: float(next(times)))
    assert blocks(tmp_path) == ONCE
    elapsed = [record.elapsed_s for record in read_journal(tmp_path / JOURNAL).records]
    assert elapsed == sorted(elapsed) and elapsed[-1] < 10_000
    assert summarize_machines(read_journal(tmp_path / JOURNAL).records, "floor", 0.01)


def test_what_a_worker_says_of_itself_is_bounded_and_harmless(tmp_path: Path) -> None:
    lies = {
        "long": about("long", facts={"cpu": "x" * (1 << 17)}),
        "loud": about("loud", ukperf="\x1b[31m9\n9" * 50),
        "many": about("many", lacks=("ab" * 32,) * 5000),
    }

    def act(worker: str, question: Question) -> Told | bytes:
        if question.do == "about" and worker == "named":
            return to_bytes(Told(about=about("x"))).replace(b"node-x", b"../../etc")
        return Told(about=lies[worker]) if question.do == "about" and worker in lies else good(worker, question)

    said: list[str] = []
    run(tmp_path, FakeCluster({**dict.fromkeys(lies, 1), "named": 1, "a": 1}, act), said=said)
    assert blocks(tmp_path) == ONCE and len(said) == 4
    assert all(len(sentence) < 300 and sentence.isprintable() for sentence in said), said
    assert {record.host for record in read_journal(tmp_path / JOURNAL).records} == {"node-a"}


class Slow(FakeCluster):
    """The blocks of worker `slow` are never answered."""

    def submit(self, worker: str, question: bytes, *, alone: bool = True) -> int:
        ticket = super().submit(worker, question, alone=alone)
        if worker == "slow" and question_of(question).do == "block":
            self._waiting.pop()
        return ticket


@pytest.mark.parametrize("others", [(), ("slow",)])
def test_a_block_waits_longer_where_its_worker_does_work_of_another_run_yet_not_for_ever(
    others: tuple[str, ...], tmp_path: Path
) -> None:
    now = [0.0]

    def clock() -> float:
        now[0] += 20.0
        return now[0]

    said: list[str] = []
    cluster = Slow({"a": 1, "slow": 1}, good)
    cluster.others |= set(others)
    plan = replace(plan_of(GUESTS, boots=8), timeout_s=10.0)
    run(tmp_path, cluster, plan, said, clock=clock)
    assert blocks(tmp_path) == ONCE
    assert sum("does work of another run, and this one waits for its turn" in s for s in said) == len(others)
    assert any("slow on node-slow takes no part: it does not answer any more" in s for s in said)
    assert (now[0] > 3600) == bool(others) and now[0] > 160


def test_a_worker_that_is_gone_may_come_back_though_all_who_are_left_are_unfit(tmp_path: Path) -> None:
    class Restarted(FakeCluster):
        looks = 0

        def workers(self) -> Mapping[str, Worker]:
            self.looks += "a" not in self.there
            if self.looks == 4:  # its machine starts it again
                self.there["b"] = 1
            return super().workers()

    def act(worker: str, question: Question) -> Told | None:
        return None if worker == "a" and question.block == 3 else good(worker, question)

    cluster = Restarted({"a": 1, "bare": 0}, act)
    assert run(tmp_path, cluster) == "8 blocks were done"
    assert blocks(tmp_path) == ONCE and {name for name, q in cluster.asked if q.do == "block"} == {"a", "b"}


def test_where_nobody_can_take_part_the_run_ends_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="without --resources ukperf=1"):
        run(tmp_path, FakeCluster({"a": 0}, good))


def test_two_workers_on_one_machine_are_one_unless_nothing_is_timed(tmp_path: Path) -> None:
    def act(worker: str, question: Question) -> Told:
        here = about("x", kernel="abc", accelerator=accelerator)
        return Told(about=here) if question.do == "about" else good(worker, question)

    said: list[str] = []
    accelerator = Accelerator.TCG
    cluster = FakeCluster({"a": 1, "b": 1}, act)
    run(tmp_path, cluster, said=said)
    assert any("would disturb each other" in sentence for sentence in said)
    accelerator = Accelerator.ICOUNT
    (tmp_path / JOURNAL).unlink()
    cluster = FakeCluster({"a": 1, "b": 1}, act)
    run(tmp_path, cluster, replace(plan_of(GUESTS, boots=8), accelerator=accelerator))
    assert {name for name, q in cluster.asked if q.do == "block"} == {"a", "b"}
    assert {record.host for record in read_journal(tmp_path / JOURNAL).records} == {"node-x"}


LIES: list[Callable[[Question], Told | bytes]] = [
    lambda q: b"\x80\x04K\x01.",  # a pickle
    lambda q: b"[" * 100_000,
    lambda q: Told(),
    lambda q: Told(done=Done(q.block + 1, ())),
    lambda q: Told(done=Done(q.block, (boot("linux", q.block),))),  # floor is missing
    lambda q: Told(done=Done(q.block, tuple(boot(g, q.block) for g in (*q.guests, *q.guests)))),  # good boots twice
    lambda q: replace(done(q), done=replace(done(q).done, files={"../plan.json": ""})),  # type: ignore[type-var]
    lambda q: replace(done(q), done=replace(done(q).done, files={"plan.json": ""})),  # type: ignore[type-var]
    lambda q: replace(done(q), done=replace(done(q).done, files={"x": "no base64"})),  # type: ignore[type-var]
]


@pytest.mark.parametrize("lie", LIES)
def test_a_worker_that_lies_is_left_out_and_nothing_of_it_is_kept(
    lie: Callable[[Question], Told | bytes], tmp_path: Path
) -> None:
    def act(worker: str, question: Question) -> Told | bytes:
        return lie(question) if worker == "liar" and question.do == "block" else good(worker, question)

    said: list[str] = []
    run(tmp_path, FakeCluster({"liar": 1, "a": 1}, act), said=said)
    assert blocks(tmp_path) == ONCE and sum("liar" in sentence for sentence in said) == 1
    assert {record.host for record in read_journal(tmp_path / JOURNAL).records} == {"node-a"}
    assert not (tmp_path.parent / "plan.json").exists() and not (tmp_path / "plan.json").exists()


@given(
    data=st.binary(max_size=200) | st.recursive(st.none() | st.text(), st.lists).map(lambda x: json.dumps(x).encode())
)
def test_whatever_comes_is_an_answer_or_a_sentence(data: bytes) -> None:
    for read in (answer_of, question_of):
        with pytest.raises(UkperfError):
            read(data)


def test_a_guest_that_never_boots_is_given_up_and_the_others_go_on(tmp_path: Path) -> None:
    def act(worker: str, question: Question) -> Told:
        told = good(worker, question)
        if told.done is None:
            return told
        records = []
        for record in told.done.records:
            bad = record.trial.guest == "linux"
            records.append(failed(record) if bad else record)
            if bad:
                records.append(failed(replace(record, trial=replace(record.trial, attempt=1))))
        return Told(done=replace(told.done, records=tuple(records), files={}))

    why = run(tmp_path, FakeCluster({"a": 1}, act))
    assert why == "8 blocks were done, without linux, given up after failures alone"
    had = blocks(tmp_path)
    assert had[0] == ["floor", "linux", "linux"] and had[7] == ["floor"]


@pytest.fixture
def at_worker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHost]:
    """The worker's side, in this process, with a host that plays scripts."""
    monkeypatch.setenv("UKPERF_CACHE_DIR", str(tmp_path / "cache"))
    host = FakeHost(lambda spec, n: good_boot() if spec.image.guest != "bad" else bad_boot(Outcome.HUNG))
    monkeypatch.setattr(atworker, "_host", lambda plan: host)
    monkeypatch.setattr(atworker._Open, "own", "fedcba9876543210")
    monkeypatch.setattr(atworker._Open, "accelerator", None)
    yield host


def without_files() -> Plan:
    plan = plan_of(GUESTS, boots=8)
    return replace(plan, images={guest: replace(image, argv=()) for guest, image in plan.images.items()})


def ask(question: Question) -> Told:
    return answer_of(atworker.answer(to_bytes(question)))


def test_a_worker_boots_a_block_keeps_it_and_forgets_it_when_it_is_told_to(at_worker: FakeHost) -> None:
    text = plan_text(without_files())
    first = ask(Question("about", text)).about
    assert first is not None and first.kept == () and first.accelerator is Accelerator.TCG
    question = Question("block", text, 3, 0, GUESTS, seed=7)
    told = ask(question).done
    assert told is not None and {r.trial.guest for r in told.records} == set(GUESTS)
    assert {r.trial.block for r in told.records} == {3} and len(at_worker.booted) == 2
    again = ask(question)  # its answer was lost on the way: nothing is booted twice
    assert again.done == told and len(at_worker.booted) == 2
    kept = ask(Question("about", text)).about
    assert kept is not None and kept.kept == (3,)
    assert ask(Question("kept", text, 3)).done == told
    after = ask(Question("about", text, forget=(3,))).about
    assert after is not None and after.kept == ()
    assert "not kept" in ask(Question("kept", text, 3)).refusal
    closed: list[bool] = []
    atworker._Open.stack.callback(closed.append, True)
    assert ask(Question("end", text)) == Told() and closed == [True]


@pytest.mark.parametrize("has", [(Accelerator.TCG,), (Accelerator.KVM, Accelerator.ICOUNT, Accelerator.TCG)])
def test_a_worker_without_true_kvm_emulates_in_a_stratum_of_its_own_or_is_refused(
    has: tuple[Accelerator, ...], at_worker: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_worker.accelerators = has
    lies = Truth(False, "KVM is emulated here.", "Use --accel tcg.")
    monkeypatch.setattr("ukperf.engine.setting.truth_about", lambda host, fresh=False: lies)
    plan = replace(without_files(), accelerator=Accelerator.KVM)
    assert ask(Question("about", plan_text(plan))).refusal
    told = ask(Question("about", plan_text(replace(plan, strata=True)))).about
    assert told is not None and told.accelerator is Accelerator.TCG
    done = ask(Question("block", plan_text(replace(plan, strata=True)), 0, 0, GUESTS)).done
    assert done is not None and {record.facts["accelerator"] for record in done.records} == {"tcg"}


def test_a_worker_answers_faults_with_sentences(at_worker: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    text = plan_text(without_files())
    assert (
        "/p, which floor boots from, is not there"
        in ask(Question("about", plan_text(plan_of(GUESTS, boots=1)))).refusal
    )
    assert "plan is none" in ask(Question("about", "{}")).refusal
    assert "does not know" in ask(Question("dance", text)).refusal
    assert "guests that its plan has not" in ask(Question("block", text, guests=("other",))).refusal
    assert "no message" in answer_of(atworker.answer(b"nonsense")).refusal
    at_worker.script = lambda spec, n: (_ for _ in ()).throw(HostError("The host is gone."))
    assert ask(Question("block", text, 0, 0, GUESTS)).refusal == "The host is gone."
    at_worker.script = lambda spec, n: (_ for _ in ()).throw(ValueError("odd"))
    assert ask(Question("block", text, 0, 0, GUESTS)).refusal == "ukperf failed there: ValueError: odd"


def test_what_is_no_scheduler_is_refused_before_dask_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "odd.json").write_text("[]")
    (tmp_path / "gone.json").write_text('{"address": "file:///etc"}')
    for where, why in (
        (str(tmp_path / "none"), "cannot be read"),
        (str(tmp_path / "odd.json"), "names no address"),
        ("local:0", "no number of workers"),
        ("local:x", "no number of workers"),
        (str(tmp_path / "gone.json"), "names no address"),
        ("tcp://", "no address of a scheduler. Write for example tcp://HOST:8786, with the port"),
        ("tcp://host", "no address of a scheduler"),
        ("tcp://host:0", "no address of a scheduler"),
        ("tcp://host:99999", "no address of a scheduler"),
        ("tcp:/host:8786", "no address of a scheduler"),
        ("http://host:8787", "That is a dashboard's"),
        ("host:8786", "has no tcp:// or tls:// before it. Write tcp://host:8786"),
    ):
        with pytest.raises(UkperfError, match=why), open_cluster(where, atworker.answer):
            raise AssertionError("it opened")
    for where in ("tcp://10.0.0.1:8786", "tls://[::1]:8786", "wss://host:443/path"):
        assert address_of(where) == where
    (tmp_path / "good.json").write_text('{"address": "tcp://10.0.0.1:8786"}')
    assert address_of(str(tmp_path / "good.json")) == "tcp://10.0.0.1:8786" and not address_of("local:2")
    assert local_workers("local:2") == 2 and local_workers("tcp://h:1") is None


def test_a_run_goes_on_with_another_fleet_if_it_had_one() -> None:
    plan = replace(plan_of(GUESTS, boots=8), scheduler="tcp://old:8786")
    assert on_another(plan, "") == plan and on_another(plan, "tcp://new:8786").scheduler == "tcp://new:8786"
    for mine, where, why in (
        (plan, "tcp://new", "no address of a scheduler"),
        (replace(plan, scheduler=""), "tcp://new:8786", "has no fleet"),
    ):
        with pytest.raises(UkperfError, match=why):
            on_another(mine, where)
