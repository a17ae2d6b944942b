"""Under what each boot ran is in its record, goes on into suites, and is named where it differs or changed."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from records import run_of, save_run
from test_session import Stage, stage  # noqa: F401  # a fixture

from ukperf.engine.facts import facts_of
from ukperf.engine.journal import JOURNAL, read_journal
from ukperf.engine.plan import PLAN
from ukperf.engine.plan import load as load_plan
from ukperf.engine.provenance import trial_facts
from ukperf.engine.session import resume
from ukperf.errors import UkperfError
from ukperf.files import file_identity
from ukperf.hosts.fake import good_boot
from ukperf.model import BootRecord, Machine, Observation, Outcome, Unit
from ukperf.reports.pyperf_suite import write_suite
from ukperf.runs.loaded import load, sides
from ukperf.runs.pyperfcontext import Context
from ukperf.stats.between import compare_pairs
from ukperf.stats.provenance import changes, differences, facts_over, since
from ukperf.stats.summary import summarize

FACTS = {
    "program": "ab" * 32,
    "accelerator": "kvm",
    "machine": "q35, 1 vCPU, 256 MiB",
    "kernel": "6.1.0",
    "kernel_sha256": "cd" * 32,
    "command_line": "quiet console=ttyS0",
    "image": "ef" * 32,
    "qemu": "7.2.22",
    "cpu": "a CPU",
    "governor": "performance",
    "ukperf": "0.1.0",
}


def ran_under(records: Sequence[BootRecord], **facts: str) -> list[BootRecord]:
    return [replace(record, facts={**FACTS, **facts}) for record in records]


def warnings_of(baseline: Path, side: Path, guest: str = "linux") -> set[str]:
    found = compare_pairs(sides([f"{baseline}:{guest}", f"{side}:{guest}"]), 0.01)
    return {w for c in found for w in c.warnings}


@pytest.mark.parametrize(
    ("fact", "other", "said"),
    [
        ("kernel", "6.12.0", "the kernel of linux differs: 6.1.0 against 6.12.0"),
        ("kernel_sha256", "99" * 32, "the kernel's sha256 of linux differs: cdcdcdcdcdcd against 999999999999"),
        (
            "command_line",
            "quiet initcall_debug",
            "the kernel command line of linux differs: console=ttyS0 against initcall_debug",
        ),
        ("image", "98" * 32, "the image of linux differs: efefefefefef against 989898989898"),
        ("qemu", "10.0.2", "the QEMU version differs: 7.2.22 against 10.0.2"),
        ("cpu", "another CPU", "the CPU differs: a CPU against another CPU"),
        ("ukperf", "0.2.0", "the ukperf version differs: 0.1.0 against 0.2.0"),
        ("governor", "powersave", "the governor differs: performance against powersave"),
    ],
)
@pytest.mark.parametrize("kind", ["run", "suite"])
def test_what_differs_between_two_runs_is_named_of_their_suites_too(
    tmp_path: Path, fact: str, other: str, said: str, kind: str
) -> None:
    paths = []
    for name, facts in (("a", {}), ("b", {fact: other})):
        records = ran_under(run_of({"linux": 1.0, "nanos": 0.5}, 8), **facts)
        path = save_run(tmp_path / name, records)
        if kind == "suite":
            path = tmp_path / f"{name}.json"
            write_suite(path, records, {})
        paths.append(path)
    assert said in warnings_of(paths[1], paths[0]) or said in warnings_of(paths[0], paths[1])
    # another guest has a kernel, a command line and an image of its own, and nobody is told
    across = compare_pairs(sides([f"{paths[0]}:linux", f"{paths[1]}:nanos"]), 0.01)
    named = any(said.split(":", maxsplit=1)[0] in w for c in across for w in c.warnings)
    assert named is (fact not in ("kernel", "kernel_sha256", "command_line", "image"))


@pytest.mark.parametrize("decisive", ["program", "accelerator"])
def test_what_two_runs_are_refused_for_two_suites_are_refused_for(tmp_path: Path, decisive: str) -> None:
    other = {"program": "77" * 32, "accelerator": "tcg"}[decisive]
    for name, facts in (("a", {}), ("b", {decisive: other})):
        records = ran_under(run_of({"linux": 1.0}, 8), **facts)
        save_run(tmp_path / name, records)
        write_suite(tmp_path / f"{name}.json", records, {"accelerator": "kvm"})
    for a, b in (("a", "b"), ("a.json", "b.json"), ("a", "b.json"), ("a.json", "b")):
        found = compare_pairs(sides([str(tmp_path / a), str(tmp_path / b)]), 0.01)
        assert {c.ratio for c in found} == {None}
        assert all(c.warnings[0].startswith(f"the {decisive} differs: ") for c in found)


@settings(max_examples=15)  # each writes two files
@given(
    facts=st.dictionaries(
        st.from_regex(r"[a-z][a-z0-9]{0,8}(_[a-z0-9]{1,8})?", fullmatch=True),
        st.from_regex(r"[!-~]([ -~]{0,60}[!-~])?", fullmatch=True).map(lambda text: " ".join(text.split())),
        max_size=6,
    ),
    moved=st.booleans(),
)
def test_a_run_and_its_suite_have_the_same_context(
    facts: dict[str, str], moved: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("run")
    records = ran_under(run_of({"linux": 1.0, "nanos": 0.5}, 3), **facts)
    if moved:
        records = [replace(r, facts={**r.facts, "qemu": "9"}) if r.trial.block else r for r in records]
    run = save_run(folder / "run", records)
    write_suite(folder / "suite.json", records, facts_of(load_plan(run), records))
    for guest in ("linux", "nanos"):
        sides_ = [load(path).side(guest, guest) for path in (run, folder / "suite.json")]
        assert sides_[0].context == sides_[1].context == facts_over(r for r in records if r.trial.guest == guest)
    for found in compare_pairs(sides([str(run), str(folder / "suite.json")]), 0.01):
        assert found.ratio == pytest.approx(1) and not any("differs" in w for w in found.warnings)


def test_a_suite_of_two_hosts_is_never_pooled(tmp_path: Path) -> None:
    records = [replace(r, host=f"qemu+ssh://host{r.trial.block % 2}/system") for r in run_of({"linux": 1.0}, 12)]
    write_suite(tmp_path / "suite.json", records, {})
    with pytest.raises(UkperfError, match="more than one host"):
        load(tmp_path / "suite.json").side("linux", "linux")


def test_a_suite_of_before_is_compared_with_a_run_of_now(tmp_path: Path) -> None:
    """Its accelerator was stored as it is printed, which made it another one than the run's."""
    records = [replace(r, facts={}) for r in run_of({"linux": 3e6}, 8, unit=Unit.INSTRUCTIONS)]
    suite = tmp_path / "suite.json"
    write_suite(suite, records, {"accelerator": "icount (guest instructions = virtual nanoseconds)"})
    run = save_run(tmp_path / "run", ran_under(records, accelerator="icount"))
    assert all(c.ratio == pytest.approx(1) for c in compare_pairs(sides([str(run), str(suite)]), 0.01))


def test_facts_that_changed_during_a_run_are_said_with_their_blocks() -> None:
    records = [
        replace(r, facts={**FACTS, "qemu": "7.2.22" if r.trial.block < 5 else "8.0.0"})
        for r in run_of({"linux": 1.0, "nanos": 0.5}, 8)
    ]
    said = "The QEMU version changed during the run: 7.2.22 in blocks 1 to 5, 8.0.0 in blocks 6 to 8."
    assert changes(records) == [said]
    assert said in summarize(records, "linux").warnings
    one = [replace(r, facts={**r.facts, "kernel": "2"}) if r.trial.guest == "nanos" else r for r in ran_under(records)]
    assert changes(one) == []  # guests' kernels differ from each other as a matter of course
    late = [replace(r, facts={**r.facts, "kernel": "2", "image": "3"}) if r.trial.block == 7 else r for r in one]
    # nanos had that kernel all along: of it the image alone changed
    assert changes(late) == [
        "The kernel of linux changed during the run: 6.1.0 in blocks 1 to 7, 2 in block 8.",
        "The image of nanos changed during the run: efefefefefef in blocks 1 to 7, 3 in block 8.",
    ]


def test_the_line_under_the_table_is_what_the_boots_ran_under_whatever_the_plan_says_by_now(tmp_path: Path) -> None:
    records = ran_under(run_of({"linux": 1.0}, 8), accelerator="icount", pinned="2,3")
    run = save_run(tmp_path / "run", records)
    text = (run / PLAN).read_text().replace("7.2.0", "6.6.6").replace('"memory_mib": 256', '"memory_mib": 4096')
    (run / PLAN).write_text(text)
    facts = load(run).facts
    assert (facts["qemu"], facts["machine"]) == ("7.2.22", "q35, 1 vCPU, 256 MiB")
    assert facts["accelerator"].startswith("icount") and facts["linux kernel"] == "6.1.0" and facts["pinned"] == "2,3"


def test_an_old_journal_has_its_plans_facts(tmp_path: Path) -> None:
    run = save_run(tmp_path / "run", run_of({"linux": 1.0}, 8))
    context = load(run).side("linux", "linux").context
    assert (context["qemu"], context["accelerator"], context["program"]) == ("7.2.0", "tcg", "ab" * 32)


def test_each_record_says_what_was_booted_and_how_the_machine_was_set(stage: Stage) -> None:  # noqa: F811
    stage.host.about = {"qemu": "7.2.22", "cpu": "a CPU"}
    stage.host.settings = {"governor": "powersave"}
    result = stage.start()
    for record in read_journal(result.folder / JOURNAL).records:
        facts = record.facts
        assert facts == trial_facts(result.plan, record.trial.guest, stage.host.about, stage.host.settings)
        assert (facts["qemu"], facts["governor"], facts["accelerator"]) == ("7.2.22", "powersave", "tcg")
        assert facts["program"] == "ab" * 32 and facts["image"] == "cd" * 32


def broken_off(stage: Stage) -> Path:  # noqa: F811
    """A run of two blocks that was broken off after its first boot."""
    folder = stage.start().folder
    lines = (folder / JOURNAL).read_text().splitlines(keepends=True)
    (folder / JOURNAL).write_text(lines[0])
    return folder


def test_resume_says_what_is_not_as_it_was_and_the_records_keep_both(stage: Stage) -> None:  # noqa: F811
    stage.host.about = {"qemu": "7.2.22", "libvirt": "9.0.0"}
    stage.host.settings = {"governor": "performance"}
    folder = broken_off(stage)
    stage.host.about = {"qemu": "8.0.0", "libvirt": "9.0.0"}
    stage.host.settings = {"governor": "powersave"}
    said: list[str] = []
    records = resume(folder, say=said.append).records
    assert said == [
        "Since the run's last boot, the QEMU version was 7.2.22 and is 8.0.0.",
        "Since the run's last boot, the governor was performance and is powersave.",
    ]
    assert [r.facts["qemu"] for r in records] == ["7.2.22", "8.0.0", "8.0.0", "8.0.0"]
    assert any("QEMU version" in w and "changed during the run" in w for w in summarize(records, "linux").warnings)


def test_resume_says_nothing_where_nothing_changed(stage: Stage) -> None:  # noqa: F811
    said: list[str] = []
    resume(broken_off(stage), say=said.append)
    assert said == []


def test_a_run_stops_with_a_sentence_when_qemu_was_replaced(stage: Stage) -> None:  # noqa: F811
    def replaced_after(spec: object, number: int) -> Observation:
        if number == 2:
            stage.host.replaced = "/usr/bin/qemu was replaced while the run went on: boots are not alike."
        return good_boot()

    stage.host.script = replaced_after
    with pytest.raises(UkperfError, match="was replaced while the run went on") as caught:
        stage.start()
    assert "ukperf resume" in (caught.value.hint or "")
    records = read_journal(stage.folder / "run" / JOURNAL).records
    assert [r.outcome for r in records] == [Outcome.OK, Outcome.OK, Outcome.LOST]  # of the third nobody knows which
    stage.host.replaced = ""
    assert [r.outcome for r in resume(stage.folder / "run").records].count(Outcome.OK) == 4


def test_another_file_in_its_place_is_another_file(tmp_path: Path) -> None:
    path = tmp_path / "qemu"
    path.write_bytes(b"one")
    first = file_identity(str(path))
    assert file_identity(str(path)) == first and "3 bytes of" in str(first)
    other = tmp_path / "new"
    other.write_bytes(b"two")
    os.utime(other, ns=(first.changed_ns, first.changed_ns))
    other.rename(path)  # as a package manager does it; same size, same time
    assert file_identity(str(path)) != first
    path.unlink()
    assert file_identity(str(path)) != first


def pyperf_file(path: Path, **metadata: object) -> Path:
    runs = [{"values": [0.1 + i / 1000], "metadata": {"cpu_freq": f"0={2400 + i} MHz"}} for i in range(8)]
    data = {"version": "1.0", "metadata": metadata, "benchmarks": [{"metadata": {"name": "b"}, "runs": runs}]}
    path.write_text(json.dumps(data))
    return path


@pytest.mark.parametrize(
    ("key", "one", "other", "said"),
    [
        (
            "cpu_config",
            "0-3=driver:intel_pstate, intel_pstate:no turbo, governor:performance",
            "0-3=driver:intel_pstate, intel_pstate:no turbo, governor:powersave",
            "the governor differs: performance against powersave",
        ),
        ("cpu_config", "0=intel_pstate:turbo", "0=intel_pstate:no turbo", "the turbo differs: on against off"),
        (
            "aslr",
            "Full randomization",
            "No randomization",
            "the ASLR differs: Full randomization against No randomization",
        ),
        ("cpu_affinity", "2-3", "0-3", "the CPU affinity differs: 2-3 against 0-3"),
        ("platform", "Linux-6.1", "Linux-6.12", "the platform differs: Linux-6.1 against Linux-6.12"),
        ("python_compiler", "GCC 12", "Clang 17", "the compiler differs: GCC 12 against Clang 17"),
    ],
)
def test_what_pyperf_knows_of_two_machines_is_named_where_it_differs(
    tmp_path: Path, key: str, one: str, other: str, said: str
) -> None:
    first = pyperf_file(tmp_path / "a.json", **{key: one})
    second = pyperf_file(tmp_path / "b.json", **{key: other})
    (found,) = compare_pairs(sides([str(second), str(first)]), 0.01)
    assert said in found.warnings
    (same,) = compare_pairs(sides([str(first), str(first)]), 0.01)
    assert not any("differs" in w for w in same.warnings)


@pytest.mark.parametrize(("mhz", "named"), [(2450, False), (1200, True)])
def test_frequencies_count_from_a_tenth_on(tmp_path: Path, mhz: int, named: bool) -> None:
    first = pyperf_file(tmp_path / "a.json")
    second = pyperf_file(tmp_path / "b.json")
    second.write_text(second.read_text().replace("0=24", f"0={mhz // 100}"))
    (found,) = compare_pairs(sides([str(first), str(second)]), 0.01)
    assert any("the CPU frequency differs: " in w for w in found.warnings) is named


def test_metadata_of_any_kind_are_text_in_the_context() -> None:
    context = Context()
    context.add({"cpu_model_name": None, "cpu_freq": [1], "cpu_config": "\x1b[31mgovernor:x", "aslr": "a" * 10_000})
    facts = context.facts()
    assert all("\x1b" not in text and len(text) <= 400 for text in facts.values())


@given(
    left=st.dictionaries(st.sampled_from(sorted(FACTS)), st.text(max_size=200)),
    right=st.dictionaries(st.sampled_from(sorted(FACTS)), st.text(max_size=200)),
)
def test_differences_are_only_of_what_both_know(left: Mapping[str, str], right: Mapping[str, str]) -> None:
    assert differences(left, left, "linux") == [] == since(left, left)
    assert len(differences(left, right, "linux")) <= sum(left[name] != right[name] for name in left.keys() & right)


def test_a_run_beside_its_own_suite_is_called_a_copy_and_not_two_runs(tmp_path: Path) -> None:
    records = ran_under(run_of({"linux": 1.0}, 8))
    run = save_run(tmp_path / "run", records)
    write_suite(tmp_path / "suite.json", records, {})
    assert "both sides hold the same values: a run and itself, or its copy" in warnings_of(run, tmp_path / "suite.json")


def test_two_virtual_cpus_are_vcpus(stage: Stage) -> None:  # noqa: F811
    result = stage.start(machine=Machine(vcpus=2))
    assert result.records[0].facts["machine"] == "q35, 2 vCPUs, 256 MiB" == facts_of(result.plan)["machine"]


def test_an_old_journal_of_two_hosts_has_each_hosts_own_facts() -> None:
    from test_two_hosts import HERE, THERE
    from test_two_hosts import PLAN as two_hosts

    from ukperf.engine.provenance import with_facts

    made = [replace(r, host=HERE if r.trial.block % 2 else THERE) for r in run_of({"linux": 1.0}, 4)]
    found = {record.host: record.facts["qemu"] for record in with_facts(two_hosts, made)}
    assert found == {HERE: "7.2.0", THERE: "9.0.0"}
