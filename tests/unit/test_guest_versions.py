"""GUEST:VERSION chooses among a guest's kernels in the store, wherever a guest's name goes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from fakekernels import boot_img, elf, nanos_kernel, unikraft_kernel
from records import run_of, save_run
from test_compare import cli
from test_exports import exportable
from test_runner import plan_of

from ukperf import guests
from ukperf.cli.completion import joined
from ukperf.cli.options import sayer
from ukperf.engine.journal import JOURNAL, Journal, read_journal
from ukperf.engine.plan import PLAN, domain_name, load, plain_name, save
from ukperf.engine.runner import Runner
from ukperf.engine.setting import _say_same_kernels, checked
from ukperf.errors import UkperfError
from ukperf.guests.base import BuildOptions
from ukperf.hosts.fake import FakeHost, good_boot
from ukperf.imaging.cache import Cache
from ukperf.imaging.kernelstore import KernelStore
from ukperf.model import CallTable, Image, MachineKind, Program, Request, kind_of
from ukperf.reports.exports import export
from ukperf.runs.loaded import sides
from ukperf.workloads.costclaims import claims
from ukperf.workloads.syscall_probe import cached_table

REBUILT = nanos_kernel(b"rebuilt")


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> KernelStore:
    monkeypatch.setenv("UKPERF_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("UKPERF_CACHE_DIR", str(tmp_path / "cache"))
    store = KernelStore()
    store.add("nanos", "0.1.55", {"kernel": nanos_kernel(), "boot": boot_img()})
    store.add("nanos", "git-b9c3671d9b95", {"kernel": REBUILT, "boot": boot_img()})
    store.add("unikraft", "0.17", {"kernel": unikraft_kernel()})
    return store


def program(folder: Path) -> Program:
    data = bytearray(elf(62, b"code"))
    data[16:18] = (3).to_bytes(2, "little")
    (folder / "prog").write_bytes(data)
    return Program("boot", "d" * 64, folder / "prog", False, ("/prog",))


def build(name: str, folder: Path) -> Image:
    return guests.get(name).build(program(folder), BuildOptions())


def test_a_version_chooses_its_kernel_and_is_part_of_the_images_name(tmp_path: Path) -> None:
    old, new, default = (build(name, tmp_path) for name in ("nanos:0.1.55", "nanos:git-b9c3671d9b95", "nanos"))
    assert [(i.guest, i.kernel_version) for i in (old, new, default)] == [
        ("nanos:0.1.55", "0.1.55"),
        ("nanos:git-b9c3671d9b95", "git-b9c3671d9b95"),
        ("nanos", "git-b9c3671d9b95"),
    ]
    assert old.kernel_digest != new.kernel_digest
    assert replace(new, guest="nanos") == default  # one image in the cache for both names


@pytest.mark.parametrize(
    ("name", "sentence", "hint"),
    [
        ("nanos:0.1.56", "There is no nanos kernel 0.1.56 here.", "Did you mean nanos:0.1.55?"),
        ("nanos:zzz", "There is no nanos kernel zzz here.", "There are: nanos:0.1.55, nanos:git-b9c3671d9b95."),
        ("nanos:", "There is no guest 'nanos:'.", "Write nanos, or nanos:VERSION."),
        ("nanoss:0.1.55", "There is no guest 'nanoss:0.1.55'.", "Did you mean nanos?"),
        ("linux:6.1", "The guest linux has no versions", "Write linux; --kernel linux=FILE names its kernel."),
        ("floor:1", "The guest floor has no versions", "Write floor."),
        ("nanos:../../x", "'../../x' is no version", "Letters, digits"),
        ("nanos:a b", "'a b' is no version", "Letters, digits"),
    ],
)
def test_a_version_that_is_not_there_is_one_sentence_before_anything_starts(
    tmp_path: Path, name: str, sentence: str, hint: str
) -> None:
    with pytest.raises(UkperfError) as caught:
        checked(Request(program(tmp_path), (name,), baseline=name))
    assert caught.value.message.startswith(sentence)
    assert str(caught.value.hint).startswith(hint)


def test_without_any_kernel_the_hint_is_how_to_get_that_version(store: KernelStore) -> None:
    store.remove(store.entries())
    there = guests.get("nanos:0.1.55").availability(BuildOptions())
    assert (there.ok, there.hint) == (False, "Get it: ukperf images pull nanos --version 0.1.55")


def test_a_version_and_a_file_for_the_same_guest_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UkperfError, match=r"nanos:0\.1\.55 is a kernel of the store"):
        checked(Request(program(tmp_path), ("nanos:0.1.55",), kernels={"nanos:0.1.55": tmp_path / "k"}))


def test_a_version_for_another_platform_is_not_taken() -> None:
    there = guests.get("unikraft:0.17").availability(BuildOptions(machine=MachineKind.XENPVH))
    assert (there.ok, there.sentence) == (False, "There is no unikraft:0.17 kernel for xen here.")


def test_which_kernel_is_used_is_said_where_there_are_several() -> None:
    said = "nanos boots git-b9c3671d9b95, the newest of 2 kernels here; the others: -g nanos:0.1.55."
    assert guests.get("nanos").choice(BuildOptions()) == said
    assert guests.get("nanos").availability(BuildOptions()).sentence == said.removesuffix(".")
    assert guests.get("nanos:0.1.55").choice(BuildOptions()) == ""
    assert guests.get("nanos").choice(BuildOptions(kernel=Path("k"))) == ""
    assert guests.get("unikraft").choice(BuildOptions()) == ""


def test_two_names_of_one_kernel_are_told_apart_from_two_kernels(tmp_path: Path) -> None:
    said: list[str] = []
    names = ("nanos", "nanos:0.1.55", "nanos:git-b9c3671d9b95")
    _say_same_kernels({name: build(name, tmp_path) for name in names}, said.append)
    assert said == ["nanos and nanos:git-b9c3671d9b95 are the same kernel: what differs between them is chance."]


def test_a_decision_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    say = sayer()
    for sentence in ("One.", "One.", "Two."):
        say(sentence)
    assert capsys.readouterr().err == "ukperf: One.\nukperf: Two.\n"


# a run


def test_plan_and_journal_hold_both_versions_and_a_broken_off_run_goes_on(tmp_path: Path) -> None:
    names = ("nanos:0.1.55", "nanos:git-b9c3671d9b95", "linux")
    for boots in (1, 2):
        save(plan_of(names, boots=boots), tmp_path)
        plan, host = load(tmp_path), FakeHost(lambda *_: good_boot())
        with Journal(tmp_path / JOURNAL) as journal:
            before = list(read_journal(tmp_path / JOURNAL).records)
            Runner(
                plan, tmp_path, {"fake": host}, lambda _, host=host: host, journal, lambda _: False, records=before
            ).run()
    found = read_journal(tmp_path / JOURNAL).records
    assert sorted(record.trial.guest for record in found) == sorted(names * 2)
    assert sorted(host.booted) == sorted(names)


def test_names_of_domains_and_console_files_have_no_colon_and_are_as_many_as_guests() -> None:
    names = ("nanos", "nanos:1", "nanos:1:2", "nanos:1-2", "nanos:1@2", "nanos:1_2", "nanos:1+2", "nanos:1~2")
    assert not any(":" in domain_name("0123456789", name) for name in names)
    assert len({plain_name(name) for name in names}) == len(names)
    assert domain_name("0123456789", "nanos:0.1.55") == "ukperf-01234567-nanos=0.1.55"


@pytest.mark.parametrize(
    "name", ["nanos:", ":1", "nanos:../x", "a/b:1", "nanos:a b", "nanos:-x", "nanos:1\n", "x" * 202]
)
@pytest.mark.parametrize("where", ["images", "baseline", "guest"])
def test_a_plan_with_another_name_is_refused(tmp_path: Path, name: str, where: str) -> None:
    save_run(tmp_path / "run", run_of({"linux": 1.0, "nanos:0.1.55": 1.0}, 2))
    path = tmp_path / "run" / PLAN
    plan = json.loads(path.read_text())
    if where == "images":
        plan["images"][name] = plan["images"].pop("nanos:0.1.55")
    elif where == "baseline":
        plan["baseline"] = name
    else:
        plan["images"]["nanos:0.1.55"]["guest"] = name
    path.write_text(json.dumps(plan))
    with pytest.raises(UkperfError, match="is no guest's name"):
        load(tmp_path / "run")


# reading runs


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "r:un"
    save_run(folder, run_of({"linux": 1.0, "nanos:0.1.55": 0.5, "nanos:git-1": 0.25}, 10))
    return folder


def test_compare_takes_a_guest_with_a_version_behind_a_path_with_a_colon(run: Path) -> None:
    (here, there), *_ = sides([f"{run}:nanos:0.1.55", f"{run}:nanos:git-1"])
    assert (there.label, here.label) == ("r:un:nanos:0.1.55", "r:un:nanos:git-1")
    with pytest.raises(UkperfError, match=r"r:un has no guest 'nanos:7'") as caught:
        sides([f"{run}:nanos:7", f"{run}:linux"])
    assert caught.value.hint == "It has: linux, nanos:0.1.55, nanos:git-1."
    with pytest.raises(UkperfError, match=r"gone:nanos:1 does not exist"):
        sides([f"{run.parent}/gone:nanos:1", f"{run}:linux"])


def test_tables_and_exports_name_the_version(run: Path, tmp_path: Path) -> None:
    assert "nanos:0.1.55" in cli("compare", run)
    assert "nanos:0.1.55" in cli("check", f"{run}:nanos:git-1", "--baseline", f"{run}:nanos:0.1.55")
    for kind in ("csv", "markdown", "hyperfine", "bencher", "benchfmt", "github-action", "pyperf"):
        assert "nanos:0.1.55" in cli("export", run, "-f", kind, "-g", "linux", "-g", "nanos:0.1.55"), kind
    suite = tmp_path / "suite.json"
    suite.write_text(cli("export", run, "-f", "pyperf"))
    assert cli("compare", f"{suite}:nanos:0.1.55", f"{run}:nanos:0.1.55").count("1.000") >= 5


def test_the_end_of_a_version_is_no_number_of_processors_to_benchstat() -> None:
    text = export("benchfmt", exportable(run_of({"linux": 1.0, "nanos:2026-11": 0.5}, 2)))
    assert "BenchmarkTotal/guest=nanos:2026-11-1 1 " in text
    assert "BenchmarkTotal/guest=linux 1 " in text


def test_what_is_known_of_a_kernel_is_known_under_each_of_its_names(tmp_path: Path) -> None:
    made: list[str] = []

    def table() -> CallTable:
        made.append("table")
        return CallTable("nanos", "0.1.55", "k" * 64, "p" * 64, (), 1)

    cache, image = Cache(tmp_path / "cache"), build("nanos", tmp_path)
    for name in ("nanos", "nanos:git-b9c3671d9b95"):
        found = cached_table(cache, replace(image, guest=name), (), fresh=False, make=table)
        assert found.guest == name
    assert made == ["table"]


def test_claims_are_made_of_each_version_by_itself() -> None:
    names = ("linux", "nanos:1", "nanos:2", "unikraft:1", "unikraft:1+vsyscall", "unikraft:2", "unikraft:2+vsyscall")
    operations = ("noop.raw", "call.direct", "noop.vsyscall")
    records = run_of(dict.fromkeys(names, 1.0), 6, samples=operations)
    pairs = [(ratio.over, ratio.under) for _, ratio in claims(records, "")]
    assert ("nanos:1 noop.raw", "nanos:1 call.direct") in pairs
    assert ("unikraft:2 noop.raw", "unikraft:2+vsyscall noop.vsyscall") in pairs
    assert ("linux noop.raw", "unikraft:1+vsyscall noop.vsyscall") in pairs
    assert all(kind_of(a) != kind_of(b) or a.split("+")[0].split()[0] == b.split("+")[0].split()[0] for a, b in pairs)


# the store's own commands, and completion


def test_the_list_says_which_kernel_is_the_default(store: KernelStore) -> None:
    facts = json.loads(cli("images", "list", "--json"))["kernels"]
    assert [(k["version"], k["default"]) for k in facts] == [
        ("0.1.55", False),
        ("git-b9c3671d9b95", True),
        ("0.17", True),
    ]
    lines = cli("images", "list").splitlines()
    assert [" ".join(line.split()[3:5]) for line in lines[1:]] == ["-g nanos:0.1.55", "-g nanos", "-g unikraft"]


@pytest.mark.parametrize(
    ("words", "at", "wanted"),
    [
        (["ukperf", "boot-time", "-g", "nanos", ":", "0"], 5, (["ukperf", "boot-time", "-g", "nanos:0"], 3)),
        (["ukperf", "-g", "nanos", ":"], 3, (["ukperf", "-g", "nanos:"], 2)),
        (["ukperf", "-g", "nanos", ":", "1", "-g", ""], 6, (["ukperf", "-g", "nanos:1", "-g", ""], 4)),
        (["ukperf", "-g"], 2, (["ukperf", "-g"], 2)),
        (["ukperf", "r", ":", "nanos", ":", "1"], 3, (["ukperf", "r:nanos:1"], 1)),
    ],
)
def test_words_that_bash_broke_at_colons_are_joined(words: list[str], at: int, wanted: tuple[list[str], int]) -> None:
    assert joined(words, at) == wanted


def completed(*words: str) -> Sequence[str]:
    env = {
        **os.environ,
        "_UKPERF_COMPLETE": "complete_bash",
        "COMP_WORDS": "\n".join(words),
        "COMP_CWORD": str(len(words) - 1),
    }
    code = "import sys; sys.argv[0] = 'ukperf'; from ukperf.cli.main import run; run()"
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_bash_completes_guests_and_the_versions_behind_their_colons() -> None:
    assert completed("ukperf", "boot-time", "-g", "na") == ["nanos", "native", "nanos:0.1.55", "nanos:git-b9c3671d9b95"]
    assert completed("ukperf", "boot-time", "-g", "nanos", ":") == ["0.1.55", "git-b9c3671d9b95"]
    assert completed("ukperf", "boot-time", "--baseline", "nanos", ":", "g") == ["git-b9c3671d9b95"]
