"""Scouting, the claims, and the table of `ukperf syscall-cost`, without a VM."""

from __future__ import annotations

import ctypes
import errno
import io
import json
import os
import struct
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from costs import measured
from records import save_run
from rich.console import Console
from test_compare import cli

from ukperf.console import FrameDecoder, assemble
from ukperf.engine import setting
from ukperf.engine.plan import load, save
from ukperf.errors import UkperfError
from ukperf.hosts import THIS_MACHINE, this_machine
from ukperf.hosts.base import Host
from ukperf.hosts.fake import FakeHost, bad_boot
from ukperf.imaging.cache import Cache
from ukperf.model import (
    Accelerator,
    BootProtocol,
    BootRecord,
    Frame,
    Image,
    Limits,
    Observation,
    Outcome,
    Phase,
    Request,
    Sample,
    Trial,
    Unit,
    Verdict,
)
from ukperf.reports.costtable import SCALE, Claim, CostPage, Row, View
from ukperf.reports.terminal import render
from ukperf.stats.summary import summarize
from ukperf.stats.within_boot import boot_ratios
from ukperf.workloads.costclaims import claims
from ukperf.workloads.costs import (
    FOUND,
    Finding,
    Operation,
    Scouted,
    cost_program,
    kept_finding,
    list_operations,
    missing,
    read_scouted,
    samples_in,
    scout,
)

OPERATIONS = ("call.direct", "noop.raw", "getppid.raw", "futex_ping_pong")


class Guest:
    """Runs the operations like the program; ends: operation → how the guest ends in it; refuses: operation → errno."""

    def __init__(self, ends: dict[str, Outcome] | None = None, refuses: dict[str, int] | None = None) -> None:
        self.ends, self.refuses, self.boots = ends or {}, refuses or {}, list[tuple[str, ...]]()

    def boot(self, words: tuple[str, ...]) -> Observation:
        self.boots.append(words)
        skip = next((word[5:].split(",") for word in words if word.startswith("skip=")), [])
        frames = [Frame("main", {}, 0)]
        for name in OPERATIONS:
            if name in skip:
                continue
            frames.append(Frame("phase", {"name": name}, 0))
            if name in self.ends:
                return Observation(self.ends[name], "it ended", report=assemble(frames))
            if name in self.refuses:
                frames.append(Frame("unsupported", {"benchmark": name, "errno": self.refuses[name]}, 0))
            else:
                frames.append(Frame("supported", {"benchmark": name}, 0))
        return Observation(Outcome.OK, report=assemble([*frames, Frame("exit", {}, 0)]))


def find(guest: Guest) -> Finding:
    return scout("g", guest.boot, lambda _: None)


def test_a_guest_that_does_everything_is_scouted_in_one_boot() -> None:
    guest = Guest(refuses={"getppid.raw": 38})
    found = find(guest)
    assert found.boots == 1
    assert "figures=0" in guest.boots[0]  # a scout's figures are nobody's, and a console may be slow
    assert found.works == ("call.direct", "noop.raw", "futex_ping_pong")
    assert found.refused == {"getppid.raw": 38}
    assert not found.ended


def test_operations_that_end_the_guest_are_named_and_the_rest_is_scouted_without_them() -> None:
    guest = Guest(ends={"noop.raw": Outcome.HUNG, "futex_ping_pong": Outcome.CRASHED})
    found = find(guest)
    assert found.ended == {"noop.raw": "hangs", "futex_ping_pong": "crashes"}
    assert found.works == ("call.direct", "getppid.raw")
    assert found.complaint == ""
    assert "skip=call.direct,noop.raw" in guest.boots[1]


def test_a_guest_that_never_starts_has_a_complaint() -> None:
    found = scout("g", lambda _: Observation(Outcome.SILENT, "not one byte"), lambda _: None)
    assert found.complaint == "not one byte"


def test_scouting_is_bounded_whatever_the_guest_says() -> None:
    boots = 0

    def boot(words: tuple[str, ...]) -> Observation:
        nonlocal boots
        boots += 1
        return Observation(Outcome.CRASHED, report=assemble([Frame("phase", {"name": f"op{boots}"}, 0)]))

    assert scout("g", boot, lambda _: None).complaint
    assert boots == 16


def test_names_that_are_no_operations_do_not_get_on_the_next_command_line() -> None:
    words: list[tuple[str, ...]] = []

    def boot(asked: tuple[str, ...]) -> Observation:
        words.append(asked)
        return Observation(Outcome.CRASHED, "gone", report=assemble([Frame("phase", {"name": 'x" -- /evil'}, 0)]))

    assert scout("g", boot, lambda _: None).complaint == "gone"
    assert len(words) == 1


def test_findings_are_kept_by_kernel_and_complaints_are_not(tmp_path: Path) -> None:
    made: list[str] = []
    image = Image("g", "w", "i", "p", BootProtocol.KERNEL, kernel_digest="k")

    def make(complaint: str) -> Finding:
        made.append(complaint)
        return Finding("g", ("noop.raw",), {"x": 1}, {"y": "hangs"}, 2, complaint)

    for _ in range(2):
        assert kept_finding(Cache(tmp_path), image, ("tcg",), lambda: make("")).ended == {"y": "hangs"}
    for _ in range(2):
        kept_finding(Cache(tmp_path), image, ("kvm",), lambda: make("silent"))
    assert made == ["", "silent", "silent"]


# ---- what the program itself says, run here ----

GETPPID, GETUID, SCHED_YIELD = 110, 102, 24  # x86-64


def without_calls(*numbers: int) -> Callable[[], None]:
    """For preexec_fn: the kernel answers these system calls with ENOSYS from now on (seccomp(2))."""
    statements = [(0x20, 0, 0, 0)]  # load the number
    for number in numbers:
        statements += [(0x15, 0, 1, number), (0x06, 0, 0, 0x0005_0000 | errno.ENOSYS)]
    statements.append((0x06, 0, 0, 0x7FFF_0000))
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *one) for one in statements))
    libc = ctypes.CDLL(None)

    def deny() -> None:
        program = struct.pack("HxxxxxxP", len(statements), ctypes.addressof(code))
        if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, program, 0, 0):
            os._exit(99)

    return deny


def test_a_function_that_returns_the_kernels_answer_did_not_set_errno() -> None:
    """glibc's getppid returns -38 as it is; getuid's is a large number, since its type has no sign."""
    wanted = "getppid.libc,sched_yield.libc,getuid.libc"
    done = subprocess.run(
        [cost_program().path, f"only={wanted}", "check=1"],
        preexec_fn=without_calls(GETPPID, GETUID, SCHED_YIELD),
        capture_output=True,
        check=False,
    )
    if done.returncode == 99:
        pytest.skip("this machine does not let a process filter its own system calls")
    frames = FrameDecoder().feed(done.stdout, 1)
    refused = {f.fields["benchmark"]: f.fields["errno"] for f in frames if f.event == "unsupported"}
    assert refused == dict.fromkeys(wanted.split(","), errno.ENOSYS)


@pytest.mark.parametrize(
    ("only", "lost", "hint"),
    [
        ("getpid*", "getpid*", "Did you mean getppid*?"),
        ("noop.*,getpid*", "getpid*", "Did you mean getppid*?"),
        ("getppid", "getppid", "Did you mean getppid.*?"),
        ("getppid.row", "getppid.row", "Did you mean getppid.raw?"),
        ("zzzz", "zzzz", "There are: call.inline, "),
    ],
)
def test_a_pattern_that_fits_nothing_is_named_with_what_was_perhaps_meant(only: str, lost: str, hint: str) -> None:
    with pytest.raises(UkperfError) as caught:
        list_operations(only)
    assert caught.value.message == f"No operation is named like {lost}."
    assert hint in (caught.value.hint or "")


def test_blanks_between_patterns_are_none_of_the_names() -> None:
    assert [op.name for op in list_operations("getppid.raw , noop.raw")] == ["noop.raw", "getppid.raw"]


def test_programs_of_this_machine_alone_need_no_host_and_no_word_about_the_accelerator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UKPERF_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr("ukperf.hosts.libvirt_host.connect", lambda _: pytest.fail("no VM is wanted"))
    request = Request(
        program=cost_program(),
        guests=("native",),
        baseline="native",
        limits=Limits(boots=1),
        folder=tmp_path / "run",
        share_host=True,
    )
    costs = measured(request, "call.*", say=lambda _: None)
    assert costs.result.plan.accelerator is Accelerator.NATIVE and tuple(costs.scouted.findings) == ("native",)
    assert {s.unit for r in costs.result.records for s in r.samples} == {Unit.SECONDS, Unit.CYCLES}


def test_programs_that_are_left_when_the_vms_cannot_be_measured_go_on_as_programs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under icount, which is none of theirs: nobody asked for it."""
    monkeypatch.setenv("UKPERF_CACHE_DIR", str(tmp_path / "cache"))

    @contextmanager
    def opened(uri: str, *_: object, **__: object) -> Iterator[Host]:
        silent = FakeHost(lambda spec, number: bad_boot(Outcome.SILENT, "not one byte"), uri=uri)
        yield this_machine() if uri == THIS_MACHINE else silent

    monkeypatch.setattr(setting, "open_host", opened)
    request = Request(
        program=cost_program(),
        guests=("native", "floor"),
        cmdlines={"floor": "-- x"},  # of one that is left out
        limits=Limits(boots=1),
        folder=tmp_path / "run",
        share_host=True,
    )
    said: list[str] = []
    costs = measured(request, "call.*", say=said.append)
    assert costs.result.plan.accelerator is Accelerator.NATIVE and "floor is left out: not one byte." in said
    assert missing(costs.scouted, "native", "call.direct") == {}


# ---- figures ----

COST = {"linux": {"noop.raw": 240.0, SCALE: 3.0}, "nanos": {"noop.raw": 960.0, SCALE: 3.0}}


def records(blocks: int = 6) -> list[BootRecord]:
    found = []
    for block in range(blocks):
        for guest, costs in COST.items():
            samples = tuple(
                Sample(name, Unit.INSTRUCTIONS, (value,) * 29 + (9e9,), metadata={"quantiles": "0.5"})
                for name, value in costs.items()
            )
            samples += (Sample("other", Unit.BYTES, (1.0,)),)
            found.append(
                BootRecord(
                    Trial(len(found), block, 0, guest),
                    Outcome.OK,
                    "",
                    "",
                    {Phase.TOTAL: 5.0},
                    Unit.INSTRUCTIONS,
                    samples,
                )
            )
    return found


def view(as_calls: bool = False) -> View:
    mine = samples_in(records(), Unit.INSTRUCTIONS)
    ratios = {(guest, name.removesuffix("/p50")): r for (guest, name), r in boot_ratios(mine, SCALE + "/p50").items()}
    rows = (
        Row(SCALE, "call", "a call"),
        Row("noop.raw", "entry", "nothing"),
        Row("getppid.raw", "entry", "parent", {"nanos": "ENOSYS"}),
        Row("noop.vsyscall", "entry", "nobody has it"),
    )
    said = tuple(Claim(words, ratio) for words, ratio in claims(mine, "/p50"))
    return View(rows, "instructions", "/p50", ratios, as_calls, said)


def printed(as_calls: bool = False) -> str:
    out = io.StringIO()
    summary = summarize(samples_in(records(), Unit.INSTRUCTIONS), "linux")
    render(CostPage(summary, view(as_calls), facts={"accelerator": "icount"}), Console(file=out, width=300))
    return out.getvalue()


def line(text: str, start: str) -> str:
    return next(line for line in text.splitlines() if line.strip().startswith(start))


def test_a_boots_figure_is_its_median_so_one_interrupt_does_not_show() -> None:
    assert "240.0" in line(printed(), "noop.raw")
    assert "960.0" in line(printed(), "noop.raw")


def test_the_table_has_ratio_interval_and_verdict() -> None:
    row = line(printed(), "noop.raw")
    assert "4.000×" in row
    assert "exact" in row
    assert "more" in row


def test_what_a_guest_refuses_stands_in_its_cell_and_what_nobody_has_is_left_out() -> None:
    text = printed()
    assert "ENOSYS" in line(text, "getppid.raw")
    assert "noop.vsyscall" not in text


def test_on_the_scale_of_function_calls_a_direct_call_is_1() -> None:
    text = printed(as_calls=True)
    assert line(text, SCALE).split()[1] == "1"
    assert "80.00 exact" in line(text, "noop.raw")
    assert "320.0 exact" in line(text, "noop.raw")


def test_the_papers_factors_stand_beside_the_measured_ones() -> None:
    text = printed()
    assert "linux noop.raw ÷ linux call.direct: 80.00× exact over 6 boots (EuroSys'21: 222 / 4 cycles = 55.5×" in text
    assert "nanos noop.raw ÷ nanos call.direct: 320.0×" in text


def test_a_report_has_the_papers_factors_too(tmp_path: Path) -> None:
    folder = save_run(tmp_path / "run", records())
    save(replace(load(folder), workload="syscall_cost", accelerator=Accelerator.ICOUNT), folder)
    assert "Note: linux noop.raw ÷ linux call.direct: 80.00× exact over 6 boots" in cli("report", folder)


def test_a_claim_with_one_side_missing_is_not_made() -> None:
    only = [record for record in samples_in(records(), Unit.INSTRUCTIONS) if record.trial.guest == "linux"]
    assert [ratio.over for _, ratio in claims(only, "/p50")] == ["linux noop.raw"]


def test_json_has_flat_comparisons_under_the_operations_own_names() -> None:
    summary = summarize(samples_in(records(), Unit.INSTRUCTIONS), "linux")
    data = json.loads(json.dumps(CostPage(summary, view()).json(), allow_nan=False))
    found = {(c["benchmark"], c["guest"]): c for c in data["comparisons"]}
    noop = found["noop.raw", "nanos"]
    assert (noop["baseline"], noop["ratio"], noop["verdict"]) == ("linux", pytest.approx(4.0), Verdict.SLOWER)
    assert {"low", "high", "n"} <= noop.keys()
    assert data["guests"][0]["function_calls"]["noop.raw"]["ratio"] == pytest.approx(80.0)


def test_phases_and_other_units_are_in_no_family_with_the_costs() -> None:
    assert all(
        not r.phases and {s.unit for s in r.samples} == {Unit.INSTRUCTIONS}
        for r in samples_in(records(), Unit.INSTRUCTIONS)
    )


def test_what_the_scouts_found_is_in_the_runs_folder(tmp_path: Path) -> None:
    operations = (Operation("noop.raw", "kernel", "an unused number"),)
    findings = {"qemu:///embed": {"g": Finding("g", ("noop.raw",), {"getppid.raw": 38}, {"futex.raw": "hangs"}, 2)}}
    told = Scouted(operations, findings)
    (tmp_path / FOUND).write_text(told.text())
    assert read_scouted(tmp_path) == told
    # as ukperf 0.1 wrote it
    (tmp_path / FOUND).write_text(told.text().replace('"format": 1, ', ""))
    assert read_scouted(tmp_path) == told


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "{}",
        "[]",
        '{"format": 2, "operations": [], "findings": {}}',
        '{"operations": 1, "findings": {}}',
        '{"operations": [{}]}',
    ],
)
def test_a_run_whose_findings_are_gone_says_so_in_a_sentence(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / FOUND).write_text(text)
    with pytest.raises(UkperfError, match="cannot be read, so nobody knows"):
        read_scouted(tmp_path)
