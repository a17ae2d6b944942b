"""What a host's CPUs lack: quotas of control groups of both versions, unequal cores, too few CPUs; seen and said."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.records import run_of
from ukperf.hosts import cgroup, noise
from ukperf.hosts.cgroup import Throttling
from ukperf.hosts.cores import Core, cores, cpu_list, governors, parse_list, sharing, unequal
from ukperf.hosts.noise import CpuTimes, Reading, cpu_concerns, noise_between
from ukperf.model import Machine, Outcome, Unit
from ukperf.stats.summary import summarize

V2 = "31 23 0:28 / /sys/fs/cgroup rw,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct\n"
SET = "33 31 0:30 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset\n"


def machine(root: Path, mounts: str, member: str, files: dict[str, str]) -> Path:
    """A root directory with these files, below what this process's /proc says."""
    written = {"proc/self/mountinfo": mounts, "proc/self/cgroup": member, **files}
    for name, text in written.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


GROUP = "sys/fs/cgroup/user.slice/job"
STAT2 = "usage_usec 5\nnr_periods 101\nnr_throttled 96\nthrottled_usec 4800000\n"
STAT1 = "nr_periods 101\nnr_throttled 96\nthrottled_time 4800000000\n"


def test_a_quota_of_version_2_is_found(tmp_path: Path) -> None:
    files = {f"{GROUP}/cpu.max": "50000 100000\n", f"{GROUP}/cpu.stat": STAT2}
    root = machine(tmp_path, SET + V2, "0::/user.slice/job\n", files)
    assert cgroup.quota(root) == 0.5
    assert cgroup.throttling(root) == {root / GROUP: Throttling(101, 96, 4.8)}


def test_a_quota_of_version_1_is_found(tmp_path: Path) -> None:
    folder = "sys/fs/cgroup/cpu,cpuacct/job"
    files = {f"{folder}/cpu.cfs_quota_us": "150000", f"{folder}/cpu.cfs_period_us": "100000"}
    files[f"{folder}/cpu.stat"] = STAT1
    root = machine(tmp_path, SET + V1, "4:cpuset:/other\n3:cpu,cpuacct:/job\n0::/\n", files)
    assert cgroup.quota(root) == 1.5
    assert cgroup.throttling(root) == {root / folder: Throttling(101, 96, 4.8)}


def test_the_tightest_quota_of_all_groups_above_counts(tmp_path: Path) -> None:
    files = {
        "sys/fs/cgroup/cpu.max": "max 100000\n",
        "sys/fs/cgroup/user.slice/cpu.max": "25000 100000\n",
        f"{GROUP}/cpu.max": "200000 100000\n",
    }
    assert cgroup.quota(machine(tmp_path, V2, "0::/user.slice/job\n", files)) == 0.25


def test_a_container_that_sees_its_own_group_as_the_root_finds_its_quota(tmp_path: Path) -> None:
    mounts = V2.replace(" / /sys", " /docker/abc /sys")
    files = {"sys/fs/cgroup/cpu.max": "50000 100000\n"}
    assert cgroup.quota(machine(tmp_path, mounts, "0::/docker/abc\n", files)) == 0.5
    assert cgroup.quota(machine(tmp_path, V2, "0::/../..\n", files)) == 0.5


@pytest.mark.parametrize("text", ["max 100000", "", "-1 100000", "many few", "0 0", "100000"])
def test_no_quota_and_what_cannot_be_understood_are_none(tmp_path: Path, text: str) -> None:
    root = machine(tmp_path, V2 + "short\n", "0::/user.slice/job\nnonsense\n", {f"{GROUP}/cpu.max": text})
    assert cgroup.quota(root) is None


def test_a_machine_without_control_groups_has_no_quota(tmp_path: Path) -> None:
    assert cgroup.quota(tmp_path) is None and cgroup.throttling(tmp_path) == {}


def test_a_process_that_is_moved_to_another_group_meanwhile_is_followed(tmp_path: Path) -> None:
    files = {f"{GROUP}/cpu.max": "50000 100000\n", "sys/fs/cgroup/other/cpu.max": "20000 100000\n"}
    root = machine(tmp_path, V2, "0::/user.slice/job\n", files)
    assert cgroup.quota(root) == 0.5
    (root / "proc/self/cgroup").write_text("0::/other\n")
    assert cgroup.quota(root) == 0.2


@pytest.mark.parametrize(
    ("text", "busy", "steal", "total"),
    [
        ("cpu  400 100 200 1000 300 10 20 70 55 5\ncpu0 1 1 1 1 1 1 1 1 1 1\n", 800, 70, 2100),
        ("cpu  400 100 200 1000\n", 700, 0, 1700),  # an old kernel's
        ("", 0, 0, 0),
    ],
)
def test_busy_and_stolen_time_are_of_all_cpus_and_guests_count_once(
    text: str, busy: int, steal: int, total: int
) -> None:
    ticks = os.sysconf("SC_CLK_TCK")
    seen = noise.cpu_times(text)
    assert (seen.busy, seen.steal, seen.total) == pytest.approx((busy / ticks, steal / ticks, total / ticks))


def test_the_record_tells_how_much_of_a_trial_a_quota_took() -> None:
    idle = CpuTimes(0, 0, 100)
    before = Reading(idle, {Path("/a"): Throttling(100, 50, 1.0)})
    after = Reading(CpuTimes(1, 0, 102), {Path("/a"): Throttling(110, 57, 1.75), Path("/b"): Throttling(4, 0, 0.0)})
    found = noise_between(before, after)
    assert (found["throttled"], found["throttled_s"]) == (0.7, 0.75)
    assert "throttled" not in noise_between(before, before)


def test_the_record_tells_that_virtual_cpus_had_to_share() -> None:
    still = Reading(CpuTimes(0, 0, 0), {})
    assert noise_between(still, still, Machine(vcpus=3, pin=(1, 2)))["vcpus_per_cpu"] == 1.5
    assert "vcpus_per_cpu" not in noise_between(still, still, Machine(vcpus=2, pin=(1, 2)))


def cpu_folder(devices: Path, cpu: int, **values: object) -> None:
    names = {"governor": "cpufreq/scaling_governor", "khz": "cpufreq/cpuinfo_max_freq", "capacity": "cpu_capacity"}
    names["siblings"] = "topology/thread_siblings_list"
    for name, value in values.items():
        path = devices / f"system/cpu/cpu{cpu}" / names[name]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{value}\n")


def test_every_cpu_that_may_be_used_is_looked_at(tmp_path: Path) -> None:
    for cpu, khz, governor in (
        (0, 5_000_000, "performance"),
        (1, 5_000_000, "performance"),
        (2, 3_800_000, "powersave"),
    ):
        cpu_folder(tmp_path, cpu, khz=khz, governor=governor, capacity=1024, siblings="0-1" if cpu < 2 else cpu)
    found = cores((2, 0, 1), tmp_path)
    assert [core.cpu for core in found] == [0, 1, 2]
    assert unequal(found) == "up to 5.00 GHz on 0-1, up to 3.80 GHz on 2"
    assert governors(found) == "performance on 0-1, powersave on 2"
    assert sharing(found) == ((0, 1),)
    assert (unequal(found[:2]), governors(found[:2]), sharing(found[1:])) == ("", "performance", ())


def test_cores_of_two_kinds_and_of_two_capacities_are_unequal(tmp_path: Path) -> None:
    (tmp_path / "cpu_core").mkdir()
    (tmp_path / "cpu_core" / "cpus").write_text("0\n")
    (tmp_path / "cpu_atom").mkdir()
    (tmp_path / "cpu_atom" / "cpus").write_text("1-3\n")
    assert unequal(cores(range(4), tmp_path)) == "core cores on 0, atom cores on 1-3"
    assert unequal([Core(0, capacity=1024), Core(4, capacity=512)]) == "capacity 1024 on 0, capacity 512 on 4"


def test_a_machine_that_says_nothing_about_its_cpus_has_equal_ones(tmp_path: Path) -> None:
    found = cores((0, 5), tmp_path)
    assert (unequal(found), governors(found), sharing(found)) == ("", "", ())


@pytest.mark.parametrize(("cpus", "text"), [((0, 1, 2, 8), "0-2,8"), ((3,), "3"), ((), ""), ((0, 2), "0,2")])
def test_lists_of_cpus_are_written_as_the_kernel_does(cpus: tuple[int, ...], text: str) -> None:
    assert cpu_list(cpus) == text
    assert parse_list(text) == cpus


def stage(monkeypatch: pytest.MonkeyPatch, usable: tuple[int, ...], found: list[Core], quota: float | None) -> None:
    monkeypatch.setattr(noise, "usable_cpus", lambda: usable)
    monkeypatch.setattr(noise, "cores", lambda cpus: tuple(core for core in found if core.cpu in cpus))
    monkeypatch.setattr(cgroup, "quota", lambda: quota)
    monkeypatch.setattr(cgroup, "throttling", lambda: {Path("/g"): Throttling(101, 96, 4.8)} if quota else {})


def test_two_virtual_cpus_where_one_may_be_used_or_both_are_pinned_to_one_are_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stage(monkeypatch, (0, 1, 2, 3), [Core(n) for n in range(4)], None)
    assert cpu_concerns(Machine(vcpus=2)) == []
    assert cpu_concerns(Machine(vcpus=2, pin=(1, 2))) == []
    assert cpu_concerns(Machine(vcpus=2, pin=(3,))) == ["2 virtual CPUs share CPU 3 of this host and run by turns"]
    stage(monkeypatch, (1,), [Core(1)], None)
    assert cpu_concerns(Machine(vcpus=2)) == ["2 virtual CPUs share CPU 1 of this host and run by turns"]


def test_two_virtual_cpus_on_the_threads_of_one_core_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    stage(monkeypatch, (0, 1, 2), [Core(n, siblings=(0, 1) if n < 2 else (2,)) for n in range(3)], None)
    assert cpu_concerns(Machine(vcpus=2, pin=(0, 1))) == [
        "2 virtual CPUs share a core: 0-1 are threads of one core each"
    ]
    assert cpu_concerns(Machine(vcpus=2)) == []


def test_a_quota_and_unequal_cores_are_said_of_every_run_and_by_doctor(monkeypatch: pytest.MonkeyPatch) -> None:
    stage(monkeypatch, (0, 1), [Core(0, capacity=1024), Core(1, capacity=512)], 0.5)
    said = " ".join(cpu_concerns(Machine()))
    assert "a quota leaves 0.50 CPUs" in said and "unequal (capacity 1024 on 0, capacity 512 on 1)" in said
    assert "unequal" not in " ".join(cpu_concerns(Machine(pin=(1,))))
    shown = {source.name: source for source in noise.noise_sources()}
    assert not shown["CPU quota"].quiet and "96 of 101 periods were throttled" in shown["CPU quota"].state
    assert not shown["cores"].quiet and "capacity 512 on 1" in shown["cores"].state
    assert shown["CPU set"].quiet


def test_doctor_says_that_one_cpu_is_for_guest_and_ukperf(monkeypatch: pytest.MonkeyPatch) -> None:
    stage(monkeypatch, (1,), [Core(1)], None)
    shown = {source.name: source for source in noise.noise_sources()}
    assert not shown["CPU set"].quiet and shown["CPU quota"].quiet and shown["cores"].quiet


def test_boots_that_a_quota_stopped_are_told_and_counts_of_instructions_do_not_care() -> None:
    quiet = run_of({"linux": 1.0}, 4)
    records = [replace(r, noise={"throttled": 0.95, "throttled_s": 0.5}) if r.trial.block else r for r in quiet]
    said = [w for w in summarize(records, "linux").warnings if "quota" in w]
    assert said == [
        "A CPU quota stopped 3 of 4 good boots, in 95 % of its periods (median) and for 1.50 CPU seconds in all: they "
        "took longer than their work does."
    ]
    for others in (
        [replace(r, unit=Unit.INSTRUCTIONS) for r in records],
        quiet,
        [replace(r, noise={"throttled": float("nan")}) for r in records],
    ):
        assert not [w for w in summarize(others, "linux").warnings if "quota" in w]
    lost = [replace(r, outcome=Outcome.LOST, phases={}) if r.noise.get("throttled") else r for r in records]
    assert not [w for w in summarize(lost, "linux").warnings if "quota" in w]


def test_stolen_time_and_shared_cpus_are_told() -> None:
    records = [replace(r, noise={"steal": 0.05, "vcpus_per_cpu": 2.0}) for r in run_of({"linux": 1.0}, 4)]
    said = " ".join(summarize(records, "linux").warnings)
    assert "Other virtual machines took 5.0 % of this host's CPU time" in said
    assert "Virtual CPUs shared the host's, 2 on each" in said


def test_a_kernel_that_did_not_come_to_rest_is_told_of_counts_too() -> None:
    records = run_of({"linux": 1.0, "nanos": 1.0}, 4)
    records = [
        replace(r, unit=Unit.INSTRUCTIONS, noise={"restless": 1.0} if r.trial.guest == "linux" else {}) for r in records
    ]
    (said,) = [w for w in summarize(records, "linux").warnings if "come to rest" in w]
    assert said.startswith("The kernel of linux had still not come to rest") and "4 of 8 good boots" in said
    assert not [w for w in summarize([replace(r, noise={}) for r in records], "linux").warnings if "come to rest" in w]


def test_noise_of_boots_shorter_than_its_clock_is_that_of_the_last_tenth_of_a_second(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And is read once in that time; what was done between two boots that are further apart is in neither."""
    now, readings = 0.0, 0

    def read() -> Reading:
        nonlocal readings
        readings += 1
        # busy all the time until 1 s, then idle, one CPU
        return Reading(CpuTimes(busy=min(now, 1.0), steal=0.0, total=now), {})

    monkeypatch.setattr(noise, "reading", read)
    short = noise.ShortNoise(clock=lambda: now)
    seen = []
    for _ in range(1000):  # boots of 2 ms
        short.starts()
        now += 0.002
        seen.append(short.ended()["busy"])
    assert seen[:450] == [1.0] * 450 and seen[-400:] == [0.0] * 400
    assert 15 <= readings <= 30
    now += 5.0
    before = readings
    short.starts()
    now += 2.0
    assert short.ended()["busy"] == 0.0 and readings == before + 2
