"""From a request to a finished run: what is said, what is refused, and what is never opened."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from ukperf.engine import session, setting
from ukperf.engine.facts import facts_of
from ukperf.engine.journal import JOURNAL, read_journal
from ukperf.engine.plan import PLAN
from ukperf.engine.session import resume, start
from ukperf.engine.setting import open_hosts, refuse_several_cpus
from ukperf.errors import HostError, Interrupted, UkperfError
from ukperf.guests.base import Availability
from ukperf.guests.recipes import Joins
from ukperf.hosts import libvirt_host
from ukperf.hosts.fake import FakeHost, good_boot
from ukperf.hosts.truth import Truth
from ukperf.model import (
    Accelerator,
    BootProtocol,
    BootRecord,
    BootSpec,
    Image,
    Limits,
    Machine,
    MachineKind,
    Observation,
    Program,
    Request,
    Result,
    Variant,
)

PROGRAM = Program("boot", "ab" * 32, Path("/bin/true"), False, ("/bin/true",))


@dataclass
class FakeGuest:
    """A guest whose image is one file; ok: everything that it needs is there."""

    name: str
    kernel: Path
    ok: bool = True
    protocol: BootProtocol = BootProtocol.KERNEL
    obtained: list[str] = field(default_factory=list)
    least_mib: int = 16
    several: str = ""  # what is said where there are several kernels
    version: str = ""

    @property
    def recipe(self) -> SimpleNamespace:
        joins = {"native": Joins.IF_TIMED, "nanos": Joins.IF_THERE, "unikraft": Joins.IF_THERE}
        return SimpleNamespace(
            protocol=self.protocol,
            machines=(),
            joins=joins.get(self.name, Joins.ALWAYS),
            place=1,
            loads_programs=self.name != "floor",
        )

    @property
    def fetches(self) -> bool:
        return self.name == "linux"

    def executed_by(self, accelerator: Accelerator) -> Accelerator:
        return Accelerator.NATIVE if self.protocol is BootProtocol.EXEC else accelerator

    def availability(self, options: object) -> Availability:
        return Availability(self.ok, f"{self.name} is {'here' if self.ok else 'missing'}.", f"get {self.name}")

    @property
    def label(self) -> str:
        return self.name

    def check_version(self) -> None:
        pass

    def choice(self, options: object) -> str:
        return self.several

    def obtain(self) -> str:
        self.obtained.append(self.name)
        return f"{self.name} was fetched."

    def check_memory(self, mib: int, options: object) -> None:
        if mib < self.least_mib:
            raise UkperfError(f"{self.name} needs {self.least_mib} MiB of memory, and would get {mib}.")

    def build(self, program: Program, options: object) -> Image:
        argv = (str(self.kernel),) if self.protocol is BootProtocol.EXEC else ()
        kernel = None if argv else self.kernel
        return Image(self.name, program.workload, "cd" * 32, program.digest, self.protocol, kernel=kernel, argv=argv)


@dataclass
class Stage:
    """The house with fakes in it. opened: URIs of the connections that were opened, in order."""

    folder: Path
    host: FakeHost
    guests: dict[str, FakeGuest]
    request: Request
    opened: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def start(self, **changes: object) -> Result:
        return start(replace(self.request, **changes), say=self.said.append)  # type: ignore[arg-type]

    def get(self, name: str) -> FakeGuest:
        if name not in self.guests:
            raise UkperfError(f"There is no guest {name!r}.", hint="Did you mean linux?")
        return self.guests[name]


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    monkeypatch.setenv("UKPERF_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("UKPERF_DATA_DIR", str(tmp_path / "data"))
    kernel = tmp_path / "kernel"
    kernel.write_bytes(b"kernel")
    names = ("linux", "floor", "nanos", "unikraft", "native")
    made = {name: FakeGuest(name, kernel) for name in names}
    made["native"].protocol = BootProtocol.EXEC
    request = Request(
        PROGRAM,
        ("linux", "floor"),
        accelerator=Accelerator.TCG,
        limits=Limits(boots=2),
        seed=1,
        folder=tmp_path / "run",
    )
    stage = Stage(tmp_path, FakeHost(uri="qemu:///embed", ours=True), made, request)

    @contextmanager
    def opened(uri: str, *_: object, **__: object) -> Iterator[FakeHost]:
        stage.opened.append(uri)
        yield stage.host

    monkeypatch.setattr(setting, "open_host", opened)
    monkeypatch.setattr(
        setting,
        "guests",
        SimpleNamespace(
            get=stage.get, names=lambda: names, by_default=lambda: tuple(made.values()), baseline=lambda _named: "linux"
        ),
    )
    return stage


def refusal(stage: Stage, **changes: object) -> UkperfError:
    with pytest.raises(UkperfError) as caught:
        stage.start(**changes)
    assert "\n" not in str(caught.value)
    return caught.value


def test_a_run_leaves_plan_and_journal_and_says_why_it_ended(stage: Stage) -> None:
    result = stage.start()
    assert (result.why, len(result.records), result.folder) == ("2 blocks were done", 4, stage.folder / "run")
    assert (result.folder / PLAN).exists()
    assert read_journal(result.folder / JOURNAL).records == result.records
    assert result.plan.baseline == "linux"
    assert stage.opened == ["qemu:///embed"]


def test_without_a_name_a_run_gets_a_folder_of_its_own(stage: Stage) -> None:
    first, second = stage.start(folder=None), stage.start(folder=None)
    assert first.folder != second.folder
    assert first.folder.parent == second.folder.parent == stage.folder / "data" / "runs"


def test_the_default_guests_are_those_that_are_there(stage: Stage) -> None:
    stage.guests["nanos"].ok = False
    result = stage.start(guests=())
    assert set(result.plan.images) == {"linux", "floor", "unikraft", "native"}
    assert stage.said == ["nanos is left out: nanos is missing. get nanos"]


def test_seconds_of_programs_are_not_mixed_with_instructions_of_guests(stage: Stage) -> None:
    assert "native" not in stage.start(guests=(), accelerator=Accelerator.ICOUNT).plan.images


def test_a_named_guest_that_is_missing_is_refused_with_what_to_do(stage: Stage) -> None:
    stage.guests["nanos"].ok = False
    error = refusal(stage, guests=("linux", "nanos"))
    assert (error.message, error.hint) == ("nanos is missing.", "get nanos")


def test_the_linux_kernel_is_fetched_when_it_is_missing(stage: Stage) -> None:
    stage.guests["linux"].ok = False
    stage.start()
    assert stage.guests["linux"].obtained == ["linux"]
    assert "linux was fetched." in stage.said


def test_a_named_kernel_that_is_none_is_not_replaced_by_another(stage: Stage) -> None:
    stage.guests["linux"].ok = False
    assert refusal(stage, kernels={"linux": stage.folder / "none"}).message == "linux is missing."
    assert stage.guests["linux"].obtained == []


@pytest.mark.parametrize(
    "changes",
    [
        {"guests": ("linux", "linx")},
        {"baseline": "linx", "guests": ()},
        {"kernels": {"linx": Path("/k")}},
        {"cmdlines": {"linx": "quiet"}},
    ],
)
def test_a_guest_that_there_is_not_is_refused_before_anything_is_opened(
    stage: Stage, changes: dict[str, object]
) -> None:
    error = refusal(stage, **changes)
    assert (error.message, error.hint) == ("There is no guest 'linx'.", "Did you mean linux?")
    assert stage.opened == []
    assert not (stage.folder / "run").exists()


def test_a_kernel_for_a_guest_that_does_not_take_part_is_refused(stage: Stage) -> None:
    assert "named by --kernel or --append" in refusal(stage, cmdlines={"nanos": "quiet"}).message


@pytest.mark.parametrize("changes", [{"kernels": {"native": Path("/vmlinuz")}}, {"cmdlines": {"native": "debug"}}])
def test_a_kernel_or_its_words_for_a_program_of_this_machine_are_refused(
    stage: Stage, changes: dict[str, object]
) -> None:
    error = refusal(stage, guests=("linux", "native"), **changes)
    assert "native is a program on this machine" in error.message and "Leave out" in (error.hint or "")
    assert stage.opened == []


@pytest.mark.parametrize("changes", [{"machine": Machine(memory_mib=64)}, {"memory_mib": {"linux": 64}}])
def test_less_memory_than_a_named_guest_is_known_to_need_is_refused(stage: Stage, changes: dict[str, object]) -> None:
    stage.guests["linux"].least_mib = 80
    assert refusal(stage, **changes).message == "linux needs 80 MiB of memory, and would get 64."
    assert stage.host.booted == []


def test_a_default_guest_that_needs_more_memory_is_left_out_with_a_sentence(stage: Stage) -> None:
    stage.guests["nanos"].least_mib = 1024
    assert "nanos" not in stage.start(guests=()).plan.images
    assert "nanos is left out: nanos needs 1024 MiB of memory, and would get 256." in stage.said


def test_a_folder_that_holds_a_run_is_refused_before_anything_is_opened(stage: Stage) -> None:
    stage.start()
    stage.opened.clear()
    error = refusal(stage)
    assert error.message == f"{stage.folder / 'run'} holds a run already."
    assert error.hint == f"Go on with it: ukperf resume {stage.folder / 'run'}"
    assert stage.opened == []


def test_a_folder_that_cannot_be_made_is_one_sentence(stage: Stage) -> None:
    assert "cannot be made" in refusal(stage, folder=stage.folder / "kernel" / "run").message


def test_a_second_ukperf_is_refused_unless_it_shares_the_host(stage: Stage) -> None:
    with session.alone(False):
        error = refusal(stage)
        assert error.message == "Another ukperf is measuring on this machine."
        assert "--share-host" in str(error.hint)
        stage.start(share_host=True)


def test_a_second_ukperf_on_the_same_run_is_refused(stage: Stage) -> None:
    folder = stage.start().folder
    with session.locked(folder), pytest.raises(UkperfError, match="Another ukperf is writing to"):
        resume(folder, share_host=True)


def test_a_lock_dies_with_its_process(stage: Stage) -> None:
    child = os.fork()
    if child == 0:
        with session.alone(False):
            os._exit(0)
    os.waitpid(child, 0)
    stage.start()


# No VM host where none is needed.


def test_programs_alone_open_no_connection(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    here = FakeHost(uri="native", accelerators=(Accelerator.NATIVE,))
    stage.host = here
    monkeypatch.setattr(session, "this_machine", lambda protocol: here)
    result = stage.start(guests=("native",), baseline="native", accelerator=Accelerator.AUTO)
    assert stage.opened == ["native"]
    assert here.booted == ["native"] * 2
    assert (result.plan.accelerator, result.plan.hosts) == (Accelerator.NATIVE, ("native",))
    resume(result.folder)
    assert stage.opened == ["native"]


@pytest.mark.parametrize("asked", [Accelerator.AUTO, Accelerator.ICOUNT, Accelerator.KVM])
def test_programs_alone_ask_for_no_accelerator(
    asked: Accelerator, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of KVM is checked, and no Linux guest is booted beside them."""
    here = FakeHost(uri="native", accelerators=(Accelerator.NATIVE,))
    stage.host = here
    monkeypatch.setattr(session, "this_machine", lambda protocol: here)
    monkeypatch.setattr(setting, "truth_about", lambda *_, **__: pytest.fail("asked for the truth about KVM"))
    variants = {"other": Variant("native", arguments=("x",))}
    result = stage.start(guests=("native",), variants=variants, baseline="native", accelerator=asked)
    assert (result.plan.accelerator, result.plan.hosts) == (Accelerator.NATIVE, ("native",))
    assert (result.plan.baseline, set(result.plan.guests)) == ("native", {"native", "other"})


@pytest.mark.parametrize("asked", [Accelerator.XEN, Accelerator.NATIVE])
def test_a_host_of_qemu_runs_no_guest_by_what_it_has_not(asked: Accelerator) -> None:
    with pytest.raises(UkperfError, match=f"runs guests by kvm or icount or tcg, so not by {asked}"):
        setting.decide_accelerator(asked, FakeHost())


def test_a_missing_qemu_is_one_sentence_before_libvirt_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libvirt_host, "EMULATOR", "qemu-system-of-nobody")
    monkeypatch.setattr(libvirt_host, "connect", lambda uri: pytest.fail("nothing is opened"))
    with pytest.raises(HostError, match="qemu-system-of-nobody is not installed"), open_hosts(["qemu:///embed"]):
        pass


# Going on.


def broken_off(stage: Stage, at: int, error: BaseException) -> None:
    def script(spec: BootSpec, number: int) -> Observation:
        if number == at:
            raise error
        return good_boot()

    stage.host.script = script


def test_an_interrupted_run_says_how_to_go_on_and_goes_on(stage: Stage) -> None:
    broken_off(stage, 3, KeyboardInterrupt())
    with pytest.raises(Interrupted) as caught:
        stage.start()
    folder = stage.folder / "run"
    assert caught.value.exit_status == 130
    assert str(caught.value.hint).endswith(f"ukperf resume {folder}")
    assert len(read_journal(folder / JOURNAL).records) == 3
    stage.host.script = lambda spec, number: good_boot()
    result = resume(folder)
    assert (result.why, len(result.records)) == ("2 blocks were done", 4)
    assert len(stage.host.booted) == 5


def test_a_disk_that_fills_up_is_one_sentence_and_the_journal_is_kept(stage: Stage) -> None:
    broken_off(stage, 2, OSError(28, "No space left on device", "/x/console/00002-linux.log"))
    error = refusal(stage)
    assert error.message == "The run stopped: No space left on device (/x/console/00002-linux.log)."
    assert f"ukperf resume {stage.folder / 'run'}" in str(error.hint)
    assert len(read_journal(stage.folder / "run" / JOURNAL).records) == 2


def test_a_host_that_goes_away_is_one_sentence_and_the_journal_is_kept(stage: Stage) -> None:
    broken_off(stage, 1, HostError("qemu+ssh://there went away."))
    assert refusal(stage).message == "qemu+ssh://there went away."
    assert len(read_journal(stage.folder / "run" / JOURNAL).records) == 1


def test_a_finished_run_is_shown_without_opening_a_host_or_having_its_images(stage: Stage) -> None:
    folder = stage.start().folder
    stage.opened.clear()
    (stage.folder / "kernel").unlink()
    before = (folder / JOURNAL).read_bytes()
    with session.alone(False):  # nothing is measured, so nobody is disturbed
        result = resume(folder)
    assert (result.why, len(result.records)) == ("2 blocks were done", 4)
    assert stage.opened == []
    assert (folder / JOURNAL).read_bytes() == before


def test_a_run_whose_images_are_gone_says_how_to_begin_again(stage: Stage) -> None:
    broken_off(stage, 1, KeyboardInterrupt())
    with pytest.raises(Interrupted):
        stage.start(command=("ukperf", "boot-time", "--append", "linux=a b"))
    (stage.folder / "kernel").unlink()
    with pytest.raises(UkperfError) as caught:
        resume(stage.folder / "run")
    assert caught.value.message == f"The linux image of this run is gone ({stage.folder / 'kernel'})."
    assert str(caught.value.hint).endswith("ukperf boot-time --append 'linux=a b'")


def test_damaged_lines_are_counted_and_their_trials_done_again(stage: Stage) -> None:
    folder = stage.start().folder
    lines = (folder / JOURNAL).read_bytes().splitlines(keepends=True)
    (folder / JOURNAL).write_bytes(b"".join([lines[0], b"\0\0\n", *lines[2:]]))
    result = resume(folder)
    assert result.damaged == (2,)
    assert len(result.records) == 4
    assert len(stage.host.booted) == 5


def test_a_run_without_a_journal_starts_at_its_beginning(stage: Stage) -> None:
    folder = stage.start().folder
    (folder / JOURNAL).unlink()
    assert len(resume(folder).records) == 4


def test_the_callers_own_rule_can_end_a_run(stage: Stage) -> None:
    def enough(records: object) -> bool:
        assert isinstance(records, list)
        assert all(isinstance(record, BootRecord) for record in records)
        return len(records) >= 4

    result = start(replace(stage.request, limits=Limits(boots=9)), say=stage.said.append, enough=enough)
    assert (result.why, len(result.records)) == ("the intervals were narrow enough", 4)


def test_several_virtual_cpus_are_refused_under_icount_alone() -> None:
    with pytest.raises(UkperfError, match="2 virtual CPUs under icount"):
        refuse_several_cpus(Machine(vcpus=2), Accelerator.ICOUNT)
    refuse_several_cpus(Machine(vcpus=2), Accelerator.TCG)
    refuse_several_cpus(Machine(), Accelerator.ICOUNT)


def test_a_baseline_that_nobody_named_is_said_to_be_booted_too(stage: Stage) -> None:
    sentence = "linux is booted too: it is the baseline of all ratios (--baseline names another)."
    stage.start(guests=("linux", "nanos"), added="linux")
    assert sentence in stage.said
    stage.said.clear()
    stage.start(guests=("linux", "nanos"), folder=stage.folder / "second")
    assert sentence not in stage.said


def test_what_the_hosts_cpus_lack_is_said_and_kept_in_the_plan(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "cpu_concerns", lambda machine: ["two share one", "a quota leaves 0.50 CPUs"])
    plan = stage.start().plan
    assert stage.said[-2:] == ["Two share one.", "A quota leaves 0.50 CPUs."]
    assert facts_of(plan)["cpu limits"] == "two share one; a quota leaves 0.50 CPUs"


@pytest.mark.parametrize("changes", [{"accelerator": Accelerator.ICOUNT}, {"connect": ("qemu:///system",)}])
def test_counts_of_instructions_and_guests_of_a_daemon_do_not_depend_on_our_cpus(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, changes: dict[str, object]
) -> None:
    monkeypatch.setattr(session, "cpu_concerns", lambda machine: ["two share one"])
    stage.host.ours = "connect" not in changes
    assert "cpu limits" not in facts_of(stage.start(**changes).plan)
    assert "Two share one." not in stage.said


def test_a_baseline_that_nobody_named_and_that_lacks_memory_is_said_to_be_the_baseline(stage: Stage) -> None:
    stage.guests["linux"].least_mib = 80
    error = refusal(stage, guests=("linux", "floor"), added="linux", machine=Machine(memory_mib=16))
    assert "It is the baseline, which is always included." in error.message
    assert error.hint == "Use more --memory, or another baseline: --baseline floor"


# What a host has.


@pytest.mark.parametrize("believed", [True, False])
def test_kvm_that_is_not_true_gives_way_to_the_hosts_next_choice(
    monkeypatch: pytest.MonkeyPatch, believed: bool
) -> None:
    monkeypatch.setattr(setting, "truth_about", lambda host, fresh: Truth(believed, "said"))
    host = FakeHost(accelerators=(Accelerator.KVM, Accelerator.TCG))
    chosen = Accelerator.KVM if believed else Accelerator.TCG
    for asked in (Accelerator.AUTO, Accelerator.KVM):
        assert setting.decide_accelerator(asked, host)[0] is chosen


def test_an_untrue_kvm_without_anything_else_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setting, "truth_about", lambda host, fresh: Truth(False, "KVM lies.", "Ask for another."))
    with pytest.raises(UkperfError, match="KVM lies") as caught:
        setting.decide_accelerator(Accelerator.AUTO, FakeHost(accelerators=(Accelerator.KVM,)))
    assert caught.value.hint == "Ask for another."


def test_a_host_of_one_accelerator_is_never_asked_for_the_truth(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setting, "truth_about", lambda *_, **__: pytest.fail("nothing to find out"))
    host = FakeHost(accelerators=(Accelerator.XEN,))
    assert setting.decide_accelerator(Accelerator.AUTO, host) == (Accelerator.XEN, None)


def test_firmware_and_console_are_in_the_plan_as_the_host_says_them(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = {"firmware": "none at all", "console": "a wire"}
    asked: list[Mapping[str, MachineKind]] = []
    monkeypatch.setattr(FakeHost, "machine_facts", lambda self, kinds: asked.append(kinds) or said)
    facts = facts_of(stage.start().plan)
    assert (facts["firmware"], facts["console"]) == ("none at all", "a wire")
    assert asked == [{"linux": MachineKind.Q35, "floor": MachineKind.Q35}]


@pytest.mark.parametrize(
    ("guests", "more", "odd"),
    [
        (("native",), {"accelerator": Accelerator.ICOUNT}, "--accel icount"),
        (("native",), {"accelerator": Accelerator.KVM, "connect": ("test:///x",)}, "--accel kvm and --connect"),
        (("native",), {"accelerator": Accelerator.NATIVE}, ""),
        (("native",), {"connect": ("qemu:///embed",)}, ""),  # which every command line has
        (("native", "floor"), {"accelerator": Accelerator.ICOUNT}, ""),
        ((), {"variants": {"here": Variant("native")}, "accelerator": Accelerator.TCG}, "--accel tcg"),
        ((), {"accelerator": Accelerator.TCG}, ""),
    ],
)
def test_what_nobody_would_read_is_refused(guests: tuple[str, ...], more: dict[str, object], odd: str) -> None:
    """A program of this machine is executed by it, and whoever asks for icount expects instructions."""
    request = replace(Request(PROGRAM, guests), **more)  # type: ignore[arg-type]
    with pytest.raises(UkperfError, match=f"^{odd} would change nothing") if odd else nullcontext():
        setting.refuse_unheeded(request)
