"""`ukperf boot-time` and `doctor` as a person runs them: real guests, under emulation, in both launch modes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from realrun import World, journal, wait_for

pytestmark = pytest.mark.real

FLOOR = ("-g", "floor", "--baseline", "floor")
LAUNCHES = ("libvirt", "direct")
SLOW = "UKPERF_SLOW_TESTS" in os.environ
# Exact where this was written; the issue asks for 1e-3. A UUID that libvirt draws moved linux by 6e-4.
REPEATS = 1e-4


@contextmanager
def busy_cpu() -> Iterator[None]:
    """One process that takes all the time that it gets, until it has had four seconds of a CPU."""
    loop = "import time\nwhile time.process_time() < 4: pass"
    with subprocess.Popen([sys.executable, "-c", loop]) as burner:
        try:
            yield
        finally:
            burner.kill()


def pyperf(*words: str | Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "pyperf", *map(str, words)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# ---- phases ----


@pytest.mark.parametrize(("launch", "machine"), [("libvirt", "q35"), ("direct", "microvm")])
def test_each_phase_is_named_measured_and_part_of_the_total(uk: World, launch: str, machine: str) -> None:
    run = uk.path("run")
    how = ("--accel", "tcg", "--launch", launch, "--machine", machine)
    answer = uk.json("boot-time", "-g", "linux", "-g", "floor", "-g", "native", "--boots", "1", *how, "--run", run)
    assert answer["phases"] == {
        "vmm": {"start": "start", "end": "resumed"},
        "kernel": {"start": "resumed", "end": "first-byte"},
        "init": {"start": "first-byte", "end": "main"},
        "stop": {"start": "clock-checked", "end": "stopped"},
        "total": {"start": "start", "end": "stopped"},
    }
    records = journal(run)
    assert [record["outcome"] for record in records] == ["ok"] * 3
    assert {record["trial"]["guest"] for record in records} == {"linux", "floor", "native"}
    for record in records:
        phases, events = record["phases"], record["events"]
        order = [events[name] for name in ("start", "created", "resumed", "first-byte", "main", "exit", "stopped")]
        assert order == sorted(order) and order[0] == 0
        checking = events.get("clock-checked", events["main"]) - events["main"]
        assert phases["total"] == pytest.approx((events["stopped"] - checking) / 1e9)
        if record["trial"]["guest"] != "floor":  # which has no clock
            # by the guest's clock: when the host read it is the host's load
            assert record["clock_frames"][-1][0] > 40e6
        parts = sum(seconds for phase, seconds in phases.items() if phase != "total")
        assert parts == pytest.approx(phases["total"]), "the phases leave something out"
        expected = {"linux": {"vmm", "kernel", "init", "stop", "total"}, "floor": {"vmm", "kernel", "total"}}
        assert set(phases) >= expected.get(record["trial"]["guest"], {"kernel", "total"})
        assert record["unit"] == "s" and record["exit_status"] == 0
        if record["trial"]["guest"] != "native":
            assert (record["host_calls_ns"] > 0) == (launch == "libvirt")
        if record["trial"]["guest"] == "linux":  # floor may be gone before anybody could look
            assert record["vmm_peak_rss"] > 32 << 20
    compared = {(c["benchmark"], c["guest"], c["baseline"]) for c in answer["comparisons"]}
    assert {("total", "floor", "linux"), ("total", "native", "linux")} <= compared
    tails = "".join(path.read_text(errors="replace") for path in (run / "console").iterdir())
    assert tails.count('"event":"main"') == 3


def test_pyperf_reads_the_suite_of_a_run(uk: World) -> None:
    run, suite = uk.path("run"), uk.path("run") / "suite.json"
    out = uk.run("boot-time", *FLOOR, "-g", "native", "--accel", "tcg", "--boots", "3", "--run", run)
    assert "÷ floor" in out
    shown = pyperf("show", suite)
    assert "floor/total" in shown and "native/total" in shown
    stats = pyperf("stats", suite)
    assert "floor/total" in stats and "Total number of values: 3" in stats
    assert "ms" in pyperf("hist", suite)
    metadata = pyperf("metadata", suite)
    assert "ukperf_accelerator: tcg" in metadata and "ukperf_seed" in metadata
    assert "floor/total" in pyperf("compare_to", suite, suite, "--table", "-v")


# ---- icount ----


def test_instruction_counts_repeat_beside_a_busy_cpu_and_whoever_launches(uk: World) -> None:
    counts: dict[str, list[dict[str, int]]] = {"linux": [], "floor": []}
    how = ("--accel", "icount", "-g", "linux", "-g", "floor")
    with busy_cpu():
        answer = uk.json("boot-time", *how, "--boots", "1", "--run", uk.path("libvirt"))
    uk.run("boot-time", *how, "--boots", "1", "--launch", "direct", "--run", uk.path("direct"))
    for record in journal(uk.path("libvirt")) + journal(uk.path("direct")):
        assert (record["outcome"], record["unit"]) == ("ok", "instructions")
        ticks = record["ticks"]
        assert record["phases"]["total"] == ticks["exit"] - ticks.get("clock-checked", ticks["main"]) + ticks["main"]
        counts[record["trial"]["guest"]].append(record["ticks"])
    for guest, ticks in counts.items():
        assert len(ticks) == 2
        for event in ("main", "exit"):
            values = [tick[event] for tick in ticks]
            assert max(values) / min(values) - 1 <= REPEATS, (guest, event, values)
    assert "vmm" not in answer["benchmarks"], "no guest instruction has run before the guest"
    assert {g["unit"] for g in answer["guests"]} == {"instructions"}


def test_instruction_counts_are_the_same_on_microvm_whoever_launches(uk: World) -> None:
    guests, counts = ["floor", *(["linux"] if SLOW else [])], []
    for launch in LAUNCHES:
        run = uk.path(launch)
        how = ("--accel", "icount", "--machine", "microvm", "--launch", launch, "--boots", "1", "--baseline", "floor")
        uk.run("boot-time", *how, *[word for guest in guests for word in ("-g", guest)], "--run", run)
        counts.append({r["trial"]["guest"]: r["ticks"]["exit"] for r in journal(run)})
    for guest in guests:
        assert counts[0][guest] == pytest.approx(counts[1][guest], rel=REPEATS)
        assert counts[0][guest] > 1000


# ---- how it ends ----


def test_it_stops_as_soon_as_intervals_are_narrow_enough(uk: World) -> None:
    run = uk.path("run")
    answer = uk.json(
        *("boot-time", *FLOOR, "-g", "native", "--accel", "tcg", "--launch", "direct"),
        *("--precision", "99", "--boots", "300", "--run", run),
    )
    assert "narrow enough" in answer["facts"]["ended"]
    assert 6 <= answer["blocks"] < 300


def test_it_begins_no_block_after_its_time(uk: World) -> None:
    answer = uk.json("boot-time", *FLOOR, "--accel", "tcg", "--boots", "100000", "--max-time", "1")
    assert "time was up" in answer["facts"]["ended"]
    assert 1 <= answer["blocks"] < 100_000
    assert answer["failures"] == {"floor": {}}, "a late word about one boot was taken for the next one's"


def test_a_second_ukperf_is_refused_while_one_measures(uk: World) -> None:
    hanging = ("boot-time", *FLOOR, "--append", "floor=hang", "--accel", "tcg")
    first = uk.start(*hanging, "--run", uk.path("first"))
    wait_for(uk.vmms, "guest", first)
    refused = uk.run("boot-time", *FLOOR, "--accel", "tcg", status=2)
    assert "Another ukperf is measuring on this machine." in refused and "--share-host" in refused
    refused = uk.run("resume", uk.path("first"), "--share-host", status=2)
    assert "Another ukperf is writing to" in refused
    first.send_signal(signal.SIGINT)
    first.communicate(timeout=60)


# ---- the machine ----


@pytest.mark.parametrize("launch", LAUNCHES)
def test_guests_get_the_cpus_that_were_asked_for(uk: World, launch: str) -> None:
    cpu = str(min(os.sched_getaffinity(0)))
    how = ("--accel", "tcg", "--vcpus", "2", "--pin", cpu, "--launch", launch, "--append", "floor=hang")
    process = uk.start("boot-time", *FLOOR, *how)
    (vmm,) = wait_for(uk.vmms, "guest", process)

    def running() -> bool:
        """Both vCPU threads are there, and each thread of QEMU may run on that CPU alone."""
        names, allowed = [], set()
        for task in Path(f"/proc/{vmm}/task").iterdir():
            names.append((task / "comm").read_text().strip())
            status = (task / "status").read_text()
            allowed.add(next(line.split()[1] for line in status.splitlines() if line.startswith("Cpus_allowed_list")))
        return sum(name.startswith("CPU ") for name in names) == 2 and allowed == {cpu}

    wait_for(running, "pinned pair of vCPUs", process)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130


def test_doctor_believes_kvm_exactly_where_it_runs_the_floor_guest_at_speed(uk: World) -> None:
    found = uk.json("doctor")
    assert found["ok"]
    honest = kvm_cycles_a_loop()
    if honest is not None and honest < 4:  # two instructions a loop
        assert found["truth"]["believed"] and found["accelerator"] == "kvm"
        assert 0 < found["truth"]["slowdown"] < 2
    elif honest is None or honest > 40:
        assert not found["truth"]["believed"] and found["accelerator"] == "icount"
        assert "KVM" in found["truth"]["sentence"] or "kvm" in found["truth"]["sentence"]
    text = uk.run("doctor")
    assert found["truth"]["sentence"].split(",")[0].split("(")[0].strip() in " ".join(text.split())


def kvm_cycles_a_loop() -> float | None:
    """Asked without any of ukperf's own hosts: a bare QEMU, and the guest's words. None: it does not boot."""
    from frames import frames

    from ukperf import guests
    from ukperf.guests.base import BuildOptions
    from ukperf.imaging.programs import count_program

    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return None
    image = guests.get("floor").build(count_program(), BuildOptions())
    words = ["-nodefaults", "-display", "none", "-serial", "stdio", "-no-reboot", "-accel", "kvm", "-cpu", "host"]
    command = ["qemu-system-x86_64", "-machine", "q35", *words, "-kernel", str(image.kernel), "-append", image.cmdline]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=10)
    except subprocess.TimeoutExpired:
        return None
    values = [value for frame in frames(done.stdout) if frame["event"] == "samples" for value in frame["values"]]
    return min(values) if values else None


# ---- bad input ----


@pytest.mark.parametrize("launch", LAUNCHES)
def test_a_kernel_that_is_no_kernel_is_a_sentence(uk: World, launch: str) -> None:
    fake = uk.path("fake")
    fake.write_bytes(b"this is no kernel\n" * 1000)
    how = ("--accel", "tcg", "--boots", "2", "--launch", launch, "--timeout", "5")
    said = uk.run("boot-time", "-g", "floor", "--baseline", "floor", "--kernel", f"floor={fake}", *how, status=2)
    assert "Not one boot was good" in said


def test_a_run_of_another_guest_goes_on_when_one_never_boots(uk: World) -> None:
    """Both attempts of its first block end alike, and it is given up; the other guest's figures are all there."""
    run = uk.path("run")
    how = ("--accel", "tcg", "--launch", "direct", "--boots", "5", "--append", "floor=crash", "--run", run)
    said = uk.run("boot-time", "-g", "floor", "-g", "native", "--baseline", "native", *how, status=2)
    assert "Nothing could be compared" in said and "every boot of floor failed" in said
    answer = json.loads(uk.run("compare", run, "--json"))
    assert answer["failures"]["floor"] == {"crashed": 2}
    crashed = [record for record in journal(run) if record["trial"]["guest"] == "floor"]
    assert [(r["trial"]["block"], r["trial"]["attempt"]) for r in crashed] == [(0, 0), (0, 1)]
    assert all("main" in record["console_tail"] and record["phases"] == {} for record in crashed)
    assert sum(r["outcome"] == "ok" for r in journal(run)) == 5
