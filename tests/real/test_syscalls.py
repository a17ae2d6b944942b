"""System calls in real guests: the prober against Linux's own table, the unikernels to the end, costs that repeat."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from realrun import World

from ukperf import guests
from ukperf.engine.bench import OpenBoots, single_boots
from ukperf.errors import UkperfError
from ukperf.guests.base import BuildOptions
from ukperf.imaging.cache import Cache
from ukperf.imaging.compiler import STATIC_PIE, compile_c
from ukperf.model import Accelerator, CallClass, Observation, Outcome, Program, Request, Unit
from ukperf.resources import data_root
from ukperf.workloads.costs import cost_program
from ukperf.workloads.syscall_native import run_here
from ukperf.workloads.syscall_probe import Prober, prober, probes_of, table_names

pytestmark = [
    pytest.mark.real,
    pytest.mark.timeout(900),
    pytest.mark.skipif(shutil.which("qemu-system-x86_64") is None, reason="QEMU is not installed"),
]
PATIENCE_S = 120.0
UNIKERNELS = ("nanos", "unikraft")


@pytest.fixture(scope="module")
def linux(libvirt_here: None) -> Iterator[OpenBoots]:
    """One embedded libvirt for all tests."""
    there = [name for name in UNIKERNELS if guests.get(name).availability(BuildOptions()).ok]
    request = Request(program=prober(), guests=("linux", *there), accelerator=Accelerator.TCG, share_host=True)
    try:
        with single_boots(request, lambda _: None) as one:
            yield one
    except UkperfError as error:
        pytest.skip(str(error))


@pytest.fixture(params=UNIKERNELS)
def unikernel(request: pytest.FixtureRequest) -> str:
    name = str(request.param)
    if not guests.get(name).availability(BuildOptions()).ok:
        pytest.skip(f"no {name} kernel here: ukperf images pull {name}")
    return name


def differently(one: OpenBoots, **options: Any) -> OpenBoots:
    """The same guests and hosts, linux with other options."""
    setting = one.settings["linux"]
    changed = replace(setting, options=replace(setting.options, **options))
    return replace(one, settings={**one.settings, "linux": changed})


def classes(one: OpenBoots, guest: str, *words: str) -> dict[str, CallClass]:
    seen = one.boot(guest, prober(*words), PATIENCE_S)
    return {
        str(frame.fields["name"]): CallClass(str(frame.fields["class"]))
        for frame in seen.frames
        if frame.event == "syscall"
    }


def kernels_own_table(one: OpenBoots, tmp_path: Path) -> dict[int, tuple[str, bool]]:
    """Number → (handler, weak) as the running kernel has it in its memory."""
    base = data_root()
    elf = tmp_path / "kernel_table"
    compile_c([Path(__file__).with_name("kernel_table.c")], elf, STATIC_PIE, base=base)
    program = Program("kernel_table", Cache().digests.file(elf), elf, False, ("/kernel_table",))
    seen = one.boot("linux", program, PATIENCE_S)
    assert seen.outcome is Outcome.OK, seen.reason
    return {
        int(str(frame.fields["nr"])): (str(frame.fields["handler"]), frame.fields["weak"] == 1)
        for frame in seen.frames
        if frame.event == "entry"
    }


def test_the_prober_finds_what_linuxs_own_table_has(linux: OpenBoots, tmp_path: Path) -> None:
    table = kernels_own_table(linux, tmp_path)
    names = table_names()
    # sys_ni_syscall: no such call. Weak: COND_SYSCALL's stand-in for an option that is off; it says ENOSYS as well.
    absent = {
        names[nr] for nr, (handler, weak) in table.items() if nr in names and (handler == "sys_ni_syscall" or weak)
    }
    assert {"create_module", "vserver"} <= absent
    found = classes(linux, "linux", "from=0")
    said = {name for name, kind in found.items() if kind is CallClass.ENOSYS}
    # The one difference: memfd_secret has a handler, which says ENOSYS where secretmem.enable is off.
    assert said - absent <= {"memfd_secret"}
    assert absent - said == set()


@pytest.mark.parametrize(("enabled", "kind"), [("1", CallClass.WORKS), ("0", CallClass.ENOSYS)])
def test_the_one_difference_is_what_the_option_says_that_explains_it(
    linux: OpenBoots, enabled: str, kind: CallClass
) -> None:
    """The option's default changed: off up to Linux 6.4, on since 6.5."""
    told = differently(linux, cmdline=f"secretmem.enable={enabled}")
    assert classes(told, "linux", "only=447") == {"memfd_secret": kind}


def test_linux_has_no_stub_and_survives_every_call(linux: OpenBoots) -> None:
    found = classes(linux, "linux", "from=0")
    assert len(found) == sum(not probe.alone for probe in probes_of(run_here(prober("list=1"))))
    assert CallClass.STUB not in found.values()


@pytest.mark.parametrize(
    "name", ["exit", "exit_group", "execve", "fork", "vfork", "clone", "clone3", "pause", "reboot"]
)
def test_linux_does_what_ends_programs(linux: OpenBoots, name: str) -> None:
    probes = [probe for probe in probes_of(run_here(prober("list=1"))) if probe.name == name]

    def boot(words: tuple[str, ...]) -> Observation:
        return linux.boot("linux", prober(*words), PATIENCE_S)

    run = Prober(boot, probes, harm=True, powers_off=True, say=lambda _: None)
    run._run_alone(probes[0].nr)
    assert run.calls[probes[0].nr].kind is CallClass.WORKS


def test_a_unikernel_is_probed_to_the_last_number_whatever_it_dies_of(linux: OpenBoots, unikernel: str) -> None:
    probes = [probe for probe in probes_of(run_here(prober("list=1"))) if not probe.alone]

    def boot(words: tuple[str, ...]) -> Observation:
        return linux.boot(unikernel, prober(*words), 30.0)

    run = Prober(boot, probes, harm=True, powers_off=True, say=lambda _: None)
    calls = {call.name: call.kind for call in run.run()}
    assert run.complaint == ""
    assert CallClass.UNPROBED not in calls.values()
    assert calls["write"] is calls["mmap"] is CallClass.WORKS
    assert calls["create_module"] is CallClass.ENOSYS
    assert calls["chown"] is CallClass.STUB  # both say yes to the owner of a file that does not exist
    # Unikraft says yes to a timer, and wakes who waits for a signal, and no signal ever comes.
    signals = CallClass.WORKS if unikernel == "nanos" else CallClass.STUB
    assert {name: calls[name] for name in ("rt_sigaction", "alarm", "setitimer", "rt_sigsuspend")} == dict.fromkeys(
        ("rt_sigaction", "alarm", "setitimer", "rt_sigsuspend"), signals
    )


def probers_files() -> set[Path]:
    """What probers made in /tmp, named by their process, and have left there: not those of one that still runs."""
    made = Path("/tmp").glob("ukp[0-9]*")
    return {path for path in made if not Path("/proc", path.name.removeprefix("ukp").partition(".")[0]).exists()}


def test_this_machine_answers_every_call_and_is_left_as_it_was() -> None:
    before = (Path.cwd(), os.uname(), probers_files())
    seen = run_here(prober("from=0"))
    assert seen.outcome is Outcome.OK, seen.reason
    kinds = [frame.fields["class"] for frame in seen.frames if frame.event == "syscall"]
    assert len(kinds) > 340
    assert CallClass.STUB not in kinds
    assert (Path.cwd(), os.uname(), probers_files()) == before


# ---- costs ----


def test_under_icount_a_call_costs_the_same_instructions_in_every_boot(linux: OpenBoots) -> None:
    counted = differently(linux, accelerator=Accelerator.ICOUNT)
    medians = []
    for _ in range(2):
        program = cost_program("units=instructions", "only=call.direct,noop.raw,getppid.raw")
        report = counted.boot("linux", program, PATIENCE_S).report
        assert report.lies == ()
        assert {sample.unit for sample in report.samples} == {Unit.INSTRUCTIONS}
        medians.append({sample.benchmark: sample.metadata["median"] for sample in report.samples})
    assert medians[0] == medians[1]
    assert float(str(medians[0]["call.direct"])) == pytest.approx(3, abs=0.01)  # call, xor, ret
    assert 100 < float(str(medians[0]["noop.raw"])) < float(str(medians[0]["getppid.raw"])) < 2000


def test_operations_that_a_guest_refuses_are_never_timed(linux: OpenBoots, unikernel: str) -> None:
    seen = linux.boot(unikernel, cost_program("only=read1.raw,getppid.raw,noop.raw", "min_batch_us=5"), 60.0)
    timed = {sample.benchmark.removesuffix(".ticks") for sample in seen.report.samples}
    refused = {frame.fields["benchmark"] for frame in seen.frames if frame.event == "unsupported"}
    assert timed & refused == set()
    assert timed | refused == {"read1.raw", "getppid.raw", "noop.raw"}
    if unikernel == "nanos":
        assert refused == {"read1.raw", "getppid.raw"}


def test_a_run_of_costs_that_is_resumed_shows_the_same_table(uk: World) -> None:
    run = uk.path("run")
    how = (
        "-g",
        "floor",
        "-g",
        "native",
        "--baseline",
        "floor",
        "--accel",
        "tcg",
        "--only",
        "call.*,noop.raw",
        "--cycles",
    )
    first = uk.run("syscall-cost", *how, "--boots", "1", "--run", run)
    assert "call.direct" in first and "noop.raw" in first and "cycles" in first
    assert uk.run("resume", run) == first
