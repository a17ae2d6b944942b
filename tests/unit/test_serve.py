"""serve: what a visit measures, what is refused, what is said of a run, and what is drawn."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hostile import HostileServer, Serve, says, silent, whole
from hypothesis import given
from hypothesis import strategies as st

from ukperf.errors import UkperfError
from ukperf.imaging.cache import Cache
from ukperf.imaging.programs import build_program
from ukperf.model import (
    Accelerator,
    BootProtocol,
    BootRecord,
    BootSpec,
    Door,
    Image,
    Launch,
    Limits,
    Machine,
    Network,
    Outcome,
    Plan,
    Request,
    Result,
    Sample,
    Trial,
    Unit,
    Visit,
)
from ukperf.reports.pictures import Chart
from ukperf.stats.summary import summarize
from ukperf.workloads import get
from ukperf.workloads.loads import BEYOND, Load, Loaded
from ukperf.workloads.serve import Serve as ServeWorkload
from ukperf.workloads.serve import ServeOptions
from ukperf.workloads.servenotes import generator_facts, notes
from ukperf.workloads.servepictures import pictures
from ukperf.workloads.serving import ANSWER, ANSWERS, DIFFER, FIRST, Service, Serving, samples_of, seed_of

IMAGE = Image("linux", "serve", "0" * 64, "1" * 64, BootProtocol.KERNEL)
ASKED = Service(within_s=20, seconds=0.4, warmup_s=0.2, rates=(100.0,), clients=2)


@pytest.fixture(scope="module")
def generator() -> Path:
    return build_program("serve/load.c", Cache())


@pytest.fixture
def ending() -> Iterator[int]:
    descriptor = os.eventfd(0)
    yield descriptor
    os.close(descriptor)


def keeps_alive(connection: socket.socket, _number: int) -> None:
    while connection.recv(65_536):
        connection.sendall(whole())


def visited(serve: Serve, asked: Service, generator: Path, ending: int, folder: Path | None = None) -> Visit:
    path = None if folder is None else folder / "console" / "00007-linux.log"
    with HostileServer(serve) as server:
        spec = BootSpec(
            IMAGE, Machine(), Accelerator.TCG, network=Network(8080, server.port), run_id="run", console_path=path
        )
        return Serving(asked, lambda: generator)(spec, Door("127.0.0.1", server.port, time.monotonic_ns(), ending))


# ---- a visit ----


def test_a_visit_measures_the_first_answer_and_each_load(generator: Path, ending: int, tmp_path: Path) -> None:
    visit = visited(keeps_alive, replace(ASKED, seconds=1.0, rates=(1500.0,)), generator, ending, tmp_path)
    assert visit.fault == ""
    assert visit.answered_ns is not None
    samples = {sample.benchmark: sample for sample in visit.readout.samples}
    assert samples[FIRST].unit is Unit.SECONDS
    assert samples[FIRST].values[0] > 0
    assert samples["throughput at 2 connections"].unit is Unit.PER_SECOND
    told = samples.get("p99 at 1500/s", samples.get("throughput at 1500/s"))  # the latter on a machine that is too slow
    assert told is not None
    assert told.metadata["requests"]
    assert visit.readout.checks[ANSWER].startswith("status 200, sha256 2cf24dba")
    assert visit.readout.checks[ANSWERS].endswith("-5")
    (name, content), *others = visit.readout.files.items()
    assert (name, others) == ("serve/00007-linux.json", [])
    loads = json.loads(content)["loads"]
    assert [(load["name"], load["warmup"]) for load in loads] == [
        ("1500/s", True),
        ("1500/s", False),
        ("2 connections", False),
    ]
    assert all(count > 0 for load in loads for _, count in load["histogram"])
    times = [row[0] for load in loads for row in load["over_time"]]
    assert times == sorted(times)


def test_arrivals_are_the_same_in_each_boot_of_a_run_and_others_in_another() -> None:
    assert seed_of("run", 1) == seed_of("run", 1)
    assert len({seed_of("run", 1), seed_of("run", 2), seed_of("other", 1)}) == 3
    assert seed_of("run", 1) < 2**63


def test_a_quantile_is_told_of_enough_requests_only(generator: Path, ending: int) -> None:
    samples = {s.benchmark for s in visited(keeps_alive, ASKED, generator, ending).readout.samples}
    assert "p99 at 100/s" not in samples  # of 40 requests
    assert not any(name.startswith("p99 ÷ p50 at 100/s") for name in samples)


@pytest.mark.parametrize(
    ("serve", "why"),
    [
        (silent, "port 8080: no whole answer within 0.5 s"),
        (says(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"), "port 8080: no whole answer within 0.5 s"),
        (says(whole(b"no", "500 No")), "status 500"),
    ],
    ids=["silent", "half", "500"],
)
def test_a_server_that_gives_no_answer_is_a_boot_that_failed(
    serve: Serve, why: str, generator: Path, ending: int
) -> None:
    visit = visited(serve, replace(ASKED, within_s=0.5), generator, ending)
    assert why in visit.fault
    assert visit.readout.samples == ()


def test_a_server_that_answers_once_and_then_fails_is_a_boot_that_failed(generator: Path, ending: int) -> None:
    def serve(connection: socket.socket, number: int) -> None:
        (says(whole()) if number == 0 else says(b"HTTP/1.1 2"))(connection, number)

    visit = visited(serve, replace(ASKED, warmup_s=0.0), generator, ending)
    assert visit.fault.startswith("not one answer at 100/s: of ")
    assert "closed before the answer was whole" in visit.fault


def test_a_server_that_fails_now_and_then_is_a_boot_that_failed(generator: Path, ending: int) -> None:
    def serve(connection: socket.socket, number: int) -> None:
        says(whole() if number % 5 else whole(b"no", "500 No"))(connection, number)

    visit = visited(serve, replace(ASKED, warmup_s=0.0, keep=False), generator, ending)
    assert "answered with a status of 4xx or 5xx" in visit.fault


def test_answers_that_differ_from_request_to_request_are_no_fault(generator: Path, ending: int) -> None:
    def serve(connection: socket.socket, number: int) -> None:
        says(whole(f"{number % 3}".encode()))(connection, number)

    visit = visited(serve, replace(ASKED, keep=False), generator, ending)
    assert visit.fault == ""
    assert visit.readout.checks[ANSWERS] == DIFFER
    assert not visited(serve, replace(ASKED, keep=False, compares=False), generator, ending).readout.checks


def test_a_guest_that_ends_under_load_is_told(generator: Path, ending: int) -> None:
    answered = 0

    def serve(connection: socket.socket, _number: int) -> None:
        nonlocal answered
        while connection.recv(65_536):
            connection.sendall(whole())
            answered += 1
            if answered == 20:
                os.eventfd_write(ending, 1)

    visit = visited(serve, replace(ASKED, seconds=30), generator, ending)
    assert visit.fault.startswith("its program ended under load; a server is to stay in the foreground")


def test_the_greatest_rate_within_a_bound_is_looked_for(generator: Path, ending: int) -> None:
    def serve(connection: socket.socket, _number: int) -> None:
        while connection.recv(65_536):
            time.sleep(0.002)
            connection.sendall(whole())

    asked = replace(ASKED, rates=(), warmup_s=0.0, bound_s=0.5)
    samples = {s.benchmark: s for s in visited(serve, asked, generator, ending).readout.samples}
    best = samples["rate with p99 ≤ 500 ms"]
    assert best.unit is Unit.PER_SECOND
    assert 0 < best.values[0] <= 1.2 * samples["throughput at 2 connections"].values[0]


@given(st.lists(st.tuples(st.integers(0, 10**9), st.integers(0, 10**9), st.sampled_from([0, 0, 0, 3])), max_size=60))
def test_quantiles_count_what_was_not_answered_as_slower_than_all(rows: list[tuple[int, int, int]]) -> None:
    import numpy as np

    from ukperf.workloads.loads import _RECORD, _SUMMARY

    records = np.zeros(len(rows), _RECORD)
    for i, (intended, took, fault) in enumerate(rows):
        records[i]["intended"] = records[i]["noticed"] = intended
        records[i]["ended"], records[i]["fault"], records[i]["status"] = intended + took, fault, 200
    summary = np.zeros(1, _SUMMARY)
    summary[0]["magic"], summary[0]["records"], summary[0]["took"] = b"ukload1", len(rows), 10**9
    loaded = Loaded(Load(1.0, rate=50), summary.tobytes() + records.tobytes())
    good = sorted(took for _, took, fault in rows if not fault)
    assert loaded.answered == len(good)
    median = loaded.quantile(0.5)
    if len(rows) * 0.5 < BEYOND:
        assert median is None
    else:
        place = -(-len(rows) // 2) - 1
        assert median == (pytest.approx(good[place] / 1e9) if place < len(good) else None)
    samples_of(loaded)
    loaded.histogram()
    loaded.over_time(0, 0.25)


# ---- what is refused ----


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"port": 0}, "--port 0 is not between 1 and 65,535"),
        ({"rates": ("x",)}, "--rate x is no number"),
        ({"rates": ("0",)}, "--rate 0 is no number"),
        ({"rates": ("nan",)}, "--rate nan is no number"),
        ({"rates": ("5", "5.0")}, "same --rate is given twice"),
        ({"rates": (), "connections": 0}, "There is no load"),
        ({"rates": ("1e6",), "duration": 100.0}, "more than 10,000,000 requests"),
        ({"connections": 5000}, "--connections 5000 is not between"),
        ({"duration": float("nan")}, "--duration nan is not between"),
        ({"arrivals": "sometimes"}, "There are no 'sometimes' arrivals"),
        ({"path": "index"}, "is no path"),
        ({"path": "/a b"}, "is no path"),
        ({"path": "/\r\nX: y"}, "is no path"),
        ({"words": ()}, "either a program, behind --, or a model"),
        ({"runtime": "onnxruntime"}, "either a program, behind --, or a model"),
        ({"model": "mlp"}, "are for --runtime"),
        ({"body": Path("/nowhere")}, "is no file"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(changes: dict[str, object], why: str) -> None:
    options = replace(ServeOptions(words=("server",), rates=("100",)), **changes)  # type: ignore[arg-type]
    with pytest.raises(UkperfError, match=why):
        ServeWorkload().visitor(options)


def test_icount_is_refused_before_anything_is_built() -> None:
    options = ServeOptions(words=("server",), rates=("100",))
    with pytest.raises(UkperfError, match="means nothing under icount") as caught:
        ServeWorkload().prepare(options, Request(accelerator=Accelerator.ICOUNT), None)  # type: ignore[arg-type]
    assert "--accel tcg" in str(caught.value.hint)


def test_a_visit_fits_into_the_time_of_its_boot() -> None:
    asked = Service(within_s=100, seconds=10, warmup_s=2, rates=(1.0, 2.0), clients=3, bound_s=0.01)
    assert asked.longest_s > 100 + 2 + 3 * 10


# ---- what is said and drawn ----


def record(guest: str, block: int, position: int, samples: list[Sample], checks: dict[str, str]) -> BootRecord:
    trial = Trial(2 * block + position, block, position, guest)
    return BootRecord(trial, Outcome.OK, "", "2026-01-01T00:00:00+00:00", {}, Unit.SECONDS, tuple(samples), checks)


def boots(late: bool = False, met: bool = True, answers: tuple[str, str] = ("a-5", "a-5")) -> list[BootRecord]:
    made = []
    for block in range(6):
        for position, (guest, factor) in enumerate((("linux", 1.0), ("nanos", 1.1))):
            about = {
                "requests": 1000,
                "late_p99_s": 0.002,
                "was_late": late,
                "generator_cpu": 0.12,
                "met": met,
                "faults": "",
            }
            p50 = 0.001 * factor * (1 + block / 100)
            samples = [Sample(FIRST, Unit.SECONDS, (1.0 * factor,))]
            if met:
                samples += [
                    Sample(f"{name} at 100/s", Unit.SECONDS, (p50 * more,), metadata=about)
                    for name, more in (("p50", 1), ("p99", 9), ("p99.9", 30))
                ]
            else:
                samples.append(Sample("throughput at 100/s", Unit.PER_SECOND, (60.0,), metadata=about))
            checks = {ANSWER: "status 200, sha256 x", ANSWERS: answers[position]}
            made.append(record(guest, block, position, samples, checks))
    return made


def result_of(records: list[BootRecord], folder: Path) -> Result:
    plan = Plan(
        "0123456789abcdef", "", "serve", {"linux": IMAGE, "nanos": replace(IMAGE, guest="nanos")}, "linux", Machine(),
        Accelerator.TCG, Launch.LIBVIRT, ("qemu:///embed",), 1, Limits(6), phases=False, network=Network(8080),
    )  # fmt: skip
    return Result(folder, plan, tuple(records), "6 blocks were done")


def test_the_generator_is_in_the_facts() -> None:
    assert generator_facts(boots()) == {
        "load": "generator took up to 12 % of a CPU, 2.000 ms late at most (p99 of a load)"
    }


def test_a_run_says_what_is_measured_and_by_what() -> None:
    told = "\n".join(notes(boots(), Service(rates=(100.0,), seconds=10), Accelerator.TCG))
    assert "from the machine's start to the last byte" in told
    assert "from when a request was meant to begin" in told
    assert "seconds of an emulator" in told
    assert "Same work: every answer of linux, nanos has the same body." in told
    assert "p99.9 at 100/s takes 10,000 requests of a boot: --duration 100." in told
    assert "generator was late" not in told
    assert "emulator" not in "\n".join(notes(boots(), Service(rates=(100.0,)), Accelerator.KVM))


def test_a_generator_that_was_late_is_marked() -> None:
    told = "\n".join(notes(boots(late=True), Service(rates=(100.0,)), Accelerator.KVM))
    assert "The generator was late in 6 boots of nanos at 100/s, by 2.000 ms (p99)" in told
    assert "--pin-load" in told


def test_a_rate_that_cannot_be_met_is_told() -> None:
    told = "\n".join(notes(boots(met=False), Service(rates=(100.0,)), Accelerator.KVM))
    assert "nanos did not keep up with 100/s in 6 boots: it answered 60 requests a second." in told


def test_other_answers_are_told_and_not_compared(tmp_path: Path) -> None:
    records = boots(answers=("a-5", "b-5"))
    told = "\n".join(notes(records, Service(rates=(100.0,)), Accelerator.KVM))
    assert "Answers are not the same in all guests" in told
    workload = get("serve")
    summary = summarize(workload.compared(records, Accelerator.TCG), "linux", 0.01)
    assert all(comparison.ratio is None for comparison in summary.comparisons)


def test_latency_is_drawn_by_boot_and_over_time(tmp_path: Path) -> None:
    folder = tmp_path / "serve"
    folder.mkdir()
    load = {"name": "100/s", "warmup": False, "bins_a_decade": 20, "histogram": [[60, 9]]}
    for index in range(12):
        rows = [[1.0 + i / 4, 25, 0.001 + i / 1e4, 0.01] for i in range(20)]
        guest = ("linux", "nanos")[index % 2]
        (folder / f"{index:05d}-{guest}.json").write_text(
            json.dumps({"format": 1, "loads": [{**load, "over_time": rows}]})
        )
    (folder / "00003-nanos.json").write_text("no JSON")
    (folder / "x.json").write_text("{}")
    result = result_of(boots(), tmp_path)
    drawn = pictures(result, summarize(result.records, "linux", 0.01))
    titles = [chart.title for chart in drawn if isinstance(chart, Chart)]
    assert titles == ["Latency at 100/s", "Latency since boot, warm-up among it"]
    for chart in drawn:
        assert isinstance(chart, Chart)
        assert [row.name for row in chart.rows] == ["linux", "nanos"]
        assert all(row.marks and row.said for row in chart.rows)


def test_without_what_was_kept_less_is_drawn(tmp_path: Path) -> None:
    result = result_of(boots(), tmp_path)
    assert len(pictures(result, summarize(result.records, "linux", 0.01))) == 1
