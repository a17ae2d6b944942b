"""`ukperf paper` without a VM: what is measured in which order, what stays, and how its claims are judged."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from html import unescape
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from records import failed, run_of, save_run
from rich.console import Console

from ukperf.engine.campaign import EngineBench
from ukperf.errors import Interrupted, UkperfError
from ukperf.files import write_atomically
from ukperf.imaging.runtimes import Runtime
from ukperf.model import (
    BootRecord,
    CallClass,
    CallTable,
    Cause,
    Comparison,
    Limits,
    Outcome,
    Program,
    Request,
    Result,
    SystemCall,
    Unit,
    Verdict,
    Why,
)
from ukperf.reports import html, markdown
from ukperf.reports.costtable import Claim
from ukperf.reports.paperclaims import ClaimLine, Holding, Needs
from ukperf.reports.paperinfer import InGuest, RuntimeLine
from ukperf.reports.terminal import render
from ukperf.stats.within_boot import BootRatio
from ukperf.workloads import paper, paperparts
from ukperf.workloads.base import Finished, Workload
from ukperf.workloads.paper import Paper, reproduce
from ukperf.workloads.paperfigures import CLAIMS, COST_CLAIMS, TABLE_I, Rule, Topic
from ukperf.workloads.paperpart import PaperPart
from ukperf.workloads.paperparts import PaperOptions
from ukperf.workloads.paperverdicts import Measured, verdicts

HERE = ("onnxruntime", "sklearn")
GUESTS = {"linux": 1.0, "nanos": 0.9, "unikraft": 1.2}
OF_INFER = ("import", "load", "first prediction", "create to first prediction", "single row", "batch")
OF_LEARNING = ("multinomialnb train", "multinomialnb test", "extratrees train", "extratrees test")


def table(guest: str, works: int, stubs: int) -> CallTable:
    kinds = [CallClass.WORKS] * works + [CallClass.STUB] * stubs + [CallClass.ENOSYS] * 10
    calls = tuple(SystemCall(nr, f"call{nr}", kind) for nr, kind in enumerate(kinds))
    return CallTable(guest, "1.0", "k", "p", calls, 1)


@dataclass
class FakeBench:
    """A campaign writes a run's folder with `records`, unless there is one; what was asked for is in `events`."""

    events: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    refusing: dict[str, UkperfError] = field(default_factory=dict)
    bad: dict[str, str] = field(default_factory=dict)  # folder → the guest that fails in it
    boots: int = 8
    options: dict[str, Any] = field(default_factory=dict)

    def say(self, sentence: str) -> None:
        self.said.append(sentence)

    def campaign(self, workload: Workload, options: Any, request: Request) -> Finished:
        assert request.folder is not None
        name = request.folder.name
        self.events.append(name)
        self.options[name] = options
        if name in self.refusing:
            raise self.refusing[name]
        if not (request.folder / "plan.json").exists():
            save_run(request.folder, self.records(name))
        result = self.stored(workload, request.folder)
        assert result is not None
        return Finished(result)

    def records(self, name: str) -> list[BootRecord]:
        slower = 5.0 if name.startswith("sklearn-") else 1.0
        samples = OF_LEARNING if name == "sklearn" else () if name == "boot" else OF_INFER
        made = run_of({guest: slower * size for guest, size in GUESTS.items()}, self.boots, samples=samples)
        why = Why(Cause.CALL, "it lacks io_uring_setup")
        bad = self.bad.get(name)
        return [
            replace(failed(r, Outcome.CRASHED, "the guest ended"), why=why)
            if r.trial.guest == bad
            else replace(r, vmm_peak_rss=100 << 20)
            for r in made
        ]

    def stored(self, workload: Workload, folder: Path) -> Result | None:
        return EngineBench(print).stored(workload, folder)

    def keep(self, folder: Path, name: str, text: str) -> None:
        self.events.append(name)
        write_atomically(folder / name, text)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> FakeBench:
    def missing(runtime: Runtime, _site: object = None) -> str:
        return "" if runtime.name in HERE else f"pip install {runtime.name}"

    made = FakeBench()
    program = Program("syscalls", "ab" * 32, Path("/syscalls"), is_tree=False, argv=("/syscalls",))
    tables = (table("linux", 300, 0), table("nanos", 140, 20))
    monkeypatch.setattr(paperparts.runtimes, "missing", missing)
    monkeypatch.setattr(paperparts.probe, "prober", lambda: program)
    monkeypatch.setattr(paperparts.probe, "tables", lambda *_, **__: made.events.append("calls") or tables)
    return made


def depends(framework: str, runtime: Runtime, _interpreter: Path | None) -> Needs:
    return Needs(framework, runtime.distributions[0], "1.0", ("python",), {"newlib": ("glibc",)}, ("lwip",))


def measure(bench: FakeBench, folder: Path, *parts: PaperPart, runtimes: Sequence[str] = ()) -> Paper:
    options = PaperOptions(parts=parts, runtimes=tuple(runtimes))
    request = Request(baseline="linux", limits=Limits(boots=8))
    return reproduce(options, request, folder, bench, depends)  # type: ignore[arg-type]


def claim(made: Paper, name: str) -> ClaimLine:
    return next(line for line in made.claims if line.name == name)


# ---- what is measured ----


def test_all_parts_are_measured_in_their_order_and_the_contest_after_each_default_model(
    bench: FakeBench, tmp_path: Path
) -> None:
    measure(bench, tmp_path)
    infer = ["onnxruntime-mlp", "onnxruntime-nb", "onnxruntime-trees", "sklearn-nb", "sklearn-trees"]
    own = ["calls", "calls.json", "sklearn", "boot", "syscall_cost"]
    assert bench.events == [*own, *infer, "dependencies.json"]


@pytest.mark.parametrize(
    ("part", "events"),
    [
        (PaperPart.CALLS, ["calls", "calls.json"]),
        (PaperPart.LEARNING, ["sklearn"]),
        (PaperPart.BOOT, ["boot"]),
        (PaperPart.COSTS, ["syscall_cost"]),
        (PaperPart.RUNTIMES, ["onnxruntime-mlp", "sklearn-nb"]),
        (PaperPart.CLASSIFIERS, ["onnxruntime-nb", "onnxruntime-trees", "sklearn-nb", "sklearn-trees"]),
        (PaperPart.DEPENDENCIES, ["dependencies.json"]),
    ],
)
def test_a_part_is_measured_alone(bench: FakeBench, tmp_path: Path, part: PaperPart, events: list[str]) -> None:
    measure(bench, tmp_path, part)
    assert bench.events == events


def test_of_runtimes_that_nobody_named_those_are_shown_that_were_measured(bench: FakeBench, tmp_path: Path) -> None:
    measure(bench, tmp_path, PaperPart.RUNTIMES, runtimes=["sklearn"])
    made = measure(bench, tmp_path, PaperPart.RUNTIMES, runtimes=["torch"])
    assert bench.events == ["sklearn-nb"]
    shown = {line.runtime: line.running for line in made.runtimes}
    assert shown == {"sklearn": InGuest.RUNS, "torch": InGuest.ABSENT}


def test_runtimes_of_which_none_is_installed_are_listed(
    bench: FakeBench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paperparts.runtimes, "missing", lambda *_: "pip install it")
    made = measure(bench, tmp_path, PaperPart.RUNTIMES)
    assert bench.events == [] and {line.running for line in made.runtimes} == {InGuest.ABSENT}


def test_what_is_named_to_be_looked_at_in_detail_is_there(bench: FakeBench, tmp_path: Path) -> None:
    assert measure(bench, tmp_path, PaperPart.CALLS).detail is None
    assert measure(bench, tmp_path, PaperPart.CLASSIFIERS).detail == tmp_path / "infer" / "onnxruntime-nb"
    assert measure(bench, tmp_path, PaperPart.LEARNING).detail == tmp_path / "sklearn"


def test_what_other_parts_measured_stays_and_is_shown(bench: FakeBench, tmp_path: Path) -> None:
    whole = measure(bench, tmp_path)
    bench.events.clear()
    again = measure(bench, tmp_path, PaperPart.BOOT)
    assert bench.events == ["boot"]
    assert again.claims == whole.claims and again.calls == whole.calls and again.needs == whole.needs
    assert again.runtimes == whole.runtimes and again.lines == whole.lines and again.exchanges == whole.exchanges
    assert {line.verdict for line in again.claims} >= {Holding.HOLDS, Holding.FAILS}


def test_the_same_command_goes_on_behind_what_it_was_broken_off_in(bench: FakeBench, tmp_path: Path) -> None:
    bench.refusing = {"onnxruntime-nb": Interrupted("Interrupted.")}
    with pytest.raises(Interrupted):
        measure(bench, tmp_path, PaperPart.RUNTIMES, PaperPart.CLASSIFIERS)
    assert bench.events == ["onnxruntime-mlp", "onnxruntime-nb"]
    bench.refusing = {}
    made = measure(bench, tmp_path, PaperPart.RUNTIMES, PaperPart.CLASSIFIERS)
    assert {line.runtime for line in made.runtimes if line.running is InGuest.RUNS} == {*HERE}
    assert len(made.exchanges) == 2 * 2 * len(GUESTS)


def test_a_runtime_that_is_not_installed_is_a_row_with_the_line_to_type(bench: FakeBench, tmp_path: Path) -> None:
    made = measure(bench, tmp_path, PaperPart.RUNTIMES)
    absent = {line.runtime: line for line in made.runtimes if line.running is InGuest.ABSENT}
    assert absent["torch"].reason == "pip install torch" and not set(absent) & set(HERE)
    assert [line.guest for line in made.runtimes if line.runtime == "onnxruntime"] == list(GUESTS)


def test_a_runtime_without_a_model_and_one_that_cannot_be_loaded_keep_nothing_from_others(
    bench: FakeBench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def get(name: str) -> Runtime:
        if name == "broken":
            raise UkperfError("The runtime broken of the package other failed.")
        known = plain("sklearn" if name == "llama" else name)
        return replace(known, name=name, formats=()) if name == "llama" else known  # reads nothing that is made

    plain = paperparts.runtimes.get
    names = ("broken", "llama", "sklearn")
    monkeypatch.setattr(paperparts.runtimes, "get", get)
    monkeypatch.setattr(paperparts.runtimes, "missing", lambda *_: "")
    monkeypatch.setattr(paperparts.runtimes.RUNTIMES, "names", lambda: names)
    made = measure(bench, tmp_path, PaperPart.RUNTIMES)
    assert bench.events == ["sklearn-nb"]
    assert "broken is left out: The runtime broken of the package other failed." in bench.said
    [llama] = [line for line in made.runtimes if line.runtime == "llama"]
    assert llama.running is InGuest.UNTRIED and "--model-file" in llama.reason
    with pytest.raises(UkperfError, match="broken"):
        measure(bench, tmp_path, PaperPart.RUNTIMES, runtimes=["broken"])


def test_a_runtime_is_taken_from_where_it_is(bench: FakeBench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(runtime: Runtime, site: object = None) -> str:
        return "" if (runtime.name == "torch") is (site is not None) else "pip install it"

    monkeypatch.setattr(paperparts.runtimes, "missing", missing)
    monkeypatch.setattr(paperparts, "site_of", lambda path: SimpleNamespace(executable=path))
    options = PaperOptions(parts=(PaperPart.RUNTIMES,), runtimes=("torch", "sklearn"), interpreter=Path("/ml/python"))
    reproduce(options, Request(baseline="linux"), tmp_path, bench, depends)  # type: ignore[arg-type]
    assert bench.options["torch-mlp"].interpreter == Path("/ml/python")
    assert bench.options["sklearn-nb"].interpreter is None


def test_a_runtime_that_cannot_be_measured_does_not_keep_others_from_it(bench: FakeBench, tmp_path: Path) -> None:
    bench.refusing = {"onnxruntime-mlp": UkperfError("onnx is not installed.", hint="pip install onnx")}
    made = measure(bench, tmp_path, PaperPart.RUNTIMES)
    [line] = [line for line in made.runtimes if line.runtime == "onnxruntime"]
    assert line.running is InGuest.UNTRIED and line.reason == "onnx is not installed. pip install onnx"
    assert {line.guest for line in made.runtimes if line.runtime == "sklearn"} == set(GUESTS)
    assert paper.page(made).notes == ("onnxruntime could not be measured: onnx is not installed. pip install onnx",)


def test_a_guest_that_fails_is_a_row_with_its_reason_and_others_are_compared(bench: FakeBench, tmp_path: Path) -> None:
    bench.bad = {"onnxruntime-mlp": "unikraft", "sklearn-nb": "unikraft"}
    made = measure(bench, tmp_path, PaperPart.RUNTIMES)
    lines = {line.guest: line for line in made.runtimes if line.runtime == "onnxruntime"}
    assert lines["unikraft"].running is InGuest.FAILS
    assert lines["unikraft"].reason == "the guest ended: it lacks io_uring_setup."
    assert lines["nanos"].running is InGuest.RUNS
    assert lines["nanos"].comparisons["import"].verdict is Verdict.FASTER
    assert claim(made, "unikraft cannot run").verdict is Holding.HOLDS
    assert claim(made, "nanos runs binaries").verdict is Holding.HOLDS


@pytest.mark.parametrize("outcome", [Outcome.HUNG, Outcome.SILENT, Outcome.FAILED])
def test_a_guest_that_never_ended_is_told_from_one_that_failed(
    bench: FakeBench, tmp_path: Path, outcome: Outcome
) -> None:
    plain = bench.records

    def records(name: str) -> list[BootRecord]:
        return [failed(r, outcome, "it did so") if r.trial.guest == "unikraft" else r for r in plain(name)]

    bench.records = records  # type: ignore[method-assign]
    made = measure(bench, tmp_path, PaperPart.RUNTIMES)
    states = {line.running for line in made.runtimes if line.guest == "unikraft"}
    assert states == {InGuest.FAILS if outcome is Outcome.FAILED else InGuest.HANGS}
    assert claim(made, "unikraft cannot run").verdict is Holding.HOLDS  # linux ended in the same time


def test_what_the_host_lost_says_nothing_about_a_guest(bench: FakeBench, tmp_path: Path) -> None:
    plain = bench.records

    def records(name: str) -> list[BootRecord]:
        return [failed(r, Outcome.LOST, "QEMU went away") if r.trial.guest == "unikraft" else r for r in plain(name)]

    bench.records = records  # type: ignore[method-assign]
    made = measure(bench, tmp_path, PaperPart.RUNTIMES)
    lines = [line for line in made.runtimes if line.guest == "unikraft"]
    assert {line.running for line in lines} == {InGuest.UNTRIED} and "QEMU went away" in lines[0].reason
    assert claim(made, "unikraft cannot run").verdict is Holding.NOT_MEASURED


def test_too_few_boots_show_ratios_and_no_interval(bench: FakeBench, tmp_path: Path) -> None:
    bench.boots = 2
    made = measure(bench, tmp_path)
    [nanos] = [line for line in made.runtimes if (line.runtime, line.guest) == ("onnxruntime", "nanos")]
    total = nanos.comparisons["create to first prediction"]
    assert total.ratio == pytest.approx(0.9, rel=0.1) and total.low is None
    assert claim(made, "boot").verdict is Holding.NOT_SHOWN
    assert claim(made, "unikraft cannot run").verdict is Holding.FAILS  # that it runs needs one boot


def test_kernels_are_paired_within_a_run_and_runtimes_compared_between_two(bench: FakeBench, tmp_path: Path) -> None:
    made = measure(bench, tmp_path, PaperPart.CLASSIFIERS)
    kernels = [line for line in made.latencies if line.guest == "unikraft"]
    assert len(kernels) == 2 * 2 * 2
    for line in kernels:
        assert line.kernel is not None and (line.kernel.guest, line.kernel.baseline) == ("unikraft", "linux")
        assert line.kernel.ratio == pytest.approx(1.2, rel=0.05)
        assert not any("two runs" in warning for warning in line.kernel.warnings)
    assert all(line.kernel is None for line in made.latencies if line.guest == "linux")
    for line in made.exchanges:
        assert (line.over, line.under) == ("sklearn", "onnxruntime")
        assert line.ratio.ratio == pytest.approx(5, rel=0.05) and line.ratio.verdict is Verdict.SLOWER
        assert any("two runs" in warning for warning in line.ratio.warnings)
    assert claim(made, "performant").verdict is Holding.FAILS  # unikraft is slower


def test_another_engine_is_not_compared_with_the_baselines_and_says_so(
    bench: FakeBench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = bench.records

    def records(name: str) -> list[BootRecord]:
        return [replace(r, checks={"engine simd": "no" if r.trial.guest == "nanos" else "yes"}) for r in plain(name)]

    monkeypatch.setattr(bench, "records", records)
    made = measure(bench, tmp_path, PaperPart.RUNTIMES)
    [nanos] = [line for line in made.runtimes if (line.runtime, line.guest) == ("onnxruntime", "nanos")]
    assert nanos.running is InGuest.RUNS and nanos.comparisons["import"].verdict is Verdict.NOT_COMPARABLE
    assert nanos.reason.startswith("another engine: simd is no in onnxruntime-mlp:nanos")


def test_damage_beside_the_runs_is_as_if_the_part_were_not_measured(bench: FakeBench, tmp_path: Path) -> None:
    measure(bench, tmp_path, PaperPart.CALLS, PaperPart.DEPENDENCIES)
    for name in (paperparts.CALLS_FILE, paperparts.NEEDS_FILE):
        (tmp_path / name).write_text('{"format": 99}')
    made = measure(bench, tmp_path, PaperPart.BOOT)
    assert made.calls == () and made.needs == () and claim(made, "calls of nanos").verdict is Holding.NOT_MEASURED


def test_an_unknown_runtime_is_refused_before_anything_is_measured(bench: FakeBench, tmp_path: Path) -> None:
    with pytest.raises(UkperfError, match="There is no runtime 'onnxrutime'"):
        measure(bench, tmp_path, runtimes=["onnxrutime"])
    assert bench.events == []


# ---- what is shown ----


def drawn(made: Paper, width: int) -> str:
    out = io.StringIO()
    render(paper.page(made), Console(file=out, width=width, force_terminal=True, color_system=None, highlight=False))
    return out.getvalue()


@pytest.fixture
def whole(bench: FakeBench, tmp_path: Path) -> Paper:
    bench.bad = {"onnxruntime-mlp": "unikraft"}
    return measure(bench, tmp_path)


@pytest.mark.parametrize("width", [80, 200])
def test_the_page_fits_a_terminal(whole: Paper, width: int) -> None:
    lines = drawn(whole, width).splitlines()
    too_long = [line for line in lines if len(line) > width]
    calls = lines.index(next(line for line in lines if line.startswith("Tables II and III")))  # Table I is another page
    assert not [line for line in too_long if line not in lines[:calls]]
    text = " ".join(" ".join(lines).split())
    assert "io_uring_setup" in text and "pip install torch" in text
    assert "does not hold: nanos is slower in 3 of its 4 rows" in text


def test_every_output_has_all_claims(whole: Paper) -> None:
    page = paper.page(whole)
    data = json.loads(json.dumps(page.json()))
    assert [c["verdict"] for c in data["claims"]] == [c.verdict.value for c in whole.claims]
    assert len(data["runtimes"]) == len(whole.runtimes) and data["classifiers"]["runtimes"]
    for text in (html.document([page], "paper"), markdown.render(page)):
        plain = " ".join(unescape(text).replace("\\", "").split())
        for line in whole.claims:
            assert line.quote in plain and line.verdict.value in plain
        assert "may have held in 2021" in plain


def test_a_paper_of_which_nothing_was_measured_has_its_claims_alone(tmp_path: Path) -> None:
    text = drawn(Paper(tmp_path, (), None, (), claims=verdicts(Measured())), 80)
    assert text.strip().startswith("What the paper says, 18 claims: does not hold 1, not measured here 17.")


# ---- verdicts ----


def ratio(guest: str, verdict: Verdict, unit: Unit = Unit.SECONDS) -> Comparison:
    known = verdict is not Verdict.NOT_COMPARABLE
    value = {Verdict.FASTER: 0.8, Verdict.SLOWER: 1.2}.get(verdict, 1.0) if known else None
    ends = (value * 0.99, value * 1.01) if value is not None else (None, None)
    return Comparison("x", guest, "linux", value, *ends, verdict, 8, unit=unit)


def judged(rule: Rule, seen: Measured, name: str = "") -> Holding:
    [line] = verdicts(seen, [next(c for c in CLAIMS if c.rule is rule and name in (c.name, ""))])
    return line.verdict


VERDICTS = st.lists(st.sampled_from([*Verdict]), max_size=6)


@given(VERDICTS)
def test_what_is_claimed_to_be_faster_holds_only_if_all_of_it_surely_is(kinds: list[Verdict]) -> None:
    compared = {Topic.BOOT: [ratio(guest, kind) for kind in kinds for guest in ("nanos:0.1.55", "unikraft")]}
    got = judged(Rule.FASTER, Measured(compared), "boot")
    assert (got is Holding.NOT_MEASURED) is (not kinds)
    assert (got is Holding.HOLDS) is (bool(kinds) and set(kinds) == {Verdict.FASTER})
    assert (got is Holding.FAILS) is bool({Verdict.SLOWER, Verdict.EQUIVALENT} & set(kinds))


@given(VERDICTS)
def test_a_claim_and_its_opposite_never_both_hold_nor_both_fail(kinds: list[Verdict]) -> None:
    """`is faster` and `is not faster` of the same figures."""
    both = [ratio(guest, kind) for kind in kinds for guest in ("nanos", "unikraft")]
    compared = dict.fromkeys(Topic, both)
    mine = [judged(Rule.FASTER, Measured(compared), "performant"), judged(Rule.NOT_FASTER, Measured(compared))]
    assert mine.count(Holding.HOLDS) < 2
    if len(set(kinds) - {Verdict.INCONCLUSIVE, Verdict.NOT_COMPARABLE}) < 2:  # figures that agree
        assert mine.count(Holding.FAILS) < 2


@given(VERDICTS, st.permutations(range(6)))
def test_the_order_of_the_figures_changes_no_verdict(kinds: list[Verdict], order: list[int]) -> None:
    shuffled = [kinds[i] for i in order if i < len(kinds)]
    for rule in (Rule.FASTER, Rule.NOT_FASTER):
        one, other = (
            judged(rule, Measured({subject: [ratio("nanos", kind) for kind in some] for subject in Topic}))
            for some in (kinds, shuffled)
        )
        assert one is other


@given(st.floats(0.9, 1.1), st.floats(0, 0.02))
def test_an_advantage_of_one_percent_is_one_whose_interval_rounds_to_it(value: float, width: float) -> None:
    low, high = value - width, value + width
    compared = {Topic.INFERENCE: [replace(ratio("nanos", Verdict.FASTER), ratio=value, low=low, high=high)]}
    got = judged(Rule.ADVANTAGE, Measured(compared))
    if got is Holding.HOLDS:
        assert 0.985 <= low <= high <= 0.995
    if got is Holding.FAILS:
        assert high < 0.985 or low > 0.995
    if width == 0:
        assert got is not Holding.NOT_SHOWN
    [few] = compared[Topic.INFERENCE]
    compared = {Topic.INFERENCE: [replace(few, low=None, high=None)]}
    assert judged(Rule.ADVANTAGE, Measured(compared)) is Holding.NOT_SHOWN


def test_figures_of_other_guests_decide_nothing() -> None:
    compared = {Topic.INFERENCE: [ratio("unikraft", Verdict.SLOWER)]}
    assert judged(Rule.ADVANTAGE, Measured(compared)) is Holding.NOT_MEASURED


def test_a_claim_about_two_guests_is_not_shown_by_one() -> None:
    compared = {Topic.BOOT: [ratio("nanos", Verdict.FASTER)]}
    assert judged(Rule.FASTER, Measured(compared), "boot") is Holding.NOT_SHOWN


def test_a_verdict_by_instructions_is_marked() -> None:
    for unit, counted in ((Unit.SECONDS, False), (Unit.INSTRUCTIONS, True)):
        seen = Measured({Topic.BOOT: [ratio(g, Verdict.FASTER, unit) for g in ("nanos", "unikraft")]})
        [line] = [line for line in verdicts(seen) if line.name == "boot"]
        assert (line.verdict, line.counted) == (Holding.HOLDS, counted)


@given(st.floats(1, 1000), st.floats(0, 1), st.booleans())
def test_a_factor_holds_from_it_on_and_fails_below_it(value: float, width: float, counted: bool) -> None:
    low, high = value * (1 - width / 2), value * (1 + width / 2)
    words = next(c.costs for c in CLAIMS if c.factor == 20)
    measured = BootRatio("nanos", "nanos noop.raw", "nanos call.direct", value, low, high, 8)
    got = judged(Rule.FACTOR, Measured(costs=[Claim(words, measured)], counted=counted), "20 times")
    if counted:
        assert got is Holding.NOT_SHOWN
    else:
        assert (got is Holding.HOLDS, got is Holding.FAILS) == (low >= 20, high < 20)


FEW = Claim(
    next(c.costs for c in CLAIMS if c.factor == 20),
    BootRatio("nanos", "nanos noop.raw", "nanos call.direct", 30.0, None, None, 2),
)


def test_a_factor_without_an_interval_or_without_its_costs_is_not_shown() -> None:
    assert judged(Rule.FACTOR, Measured(costs=[FEW]), "20 times") is Holding.NOT_SHOWN
    assert judged(Rule.FACTOR, Measured(costs=[FEW]), "60 times") is Holding.NOT_MEASURED


@pytest.mark.parametrize(("costs", "why"), [([FEW], "no kernel here has a function-call entry"), ([], "--part costs")])
def test_a_factor_whose_part_was_measured_does_not_ask_for_that_part(costs: list[Claim], why: str) -> None:
    (line,) = (line for line in verdicts(Measured(costs=costs)) if line.name == "60 times")
    assert line.verdict is Holding.NOT_MEASURED and why in line.because


def test_every_factor_is_measured_by_a_known_cost() -> None:
    assert {c.costs for c in CLAIMS if c.rule is Rule.FACTOR} <= {c.words for c in COST_CLAIMS}


@given(st.integers(0, 300), st.integers(0, 60))
def test_a_number_of_calls_holds_between_supported_and_provided(works: int, stubs: int) -> None:
    got = judged(Rule.CALLS, Measured(calls=[table("nanos", works, stubs)]), "calls of nanos")
    assert (got is Holding.HOLDS) is (works <= TABLE_I["nanos"].supported <= works + stubs)
    assert got in (Holding.HOLDS, Holding.FAILS)


def lines(**guests: InGuest) -> list[RuntimeLine]:
    return [RuntimeLine("torch", "mlp", guest, running) for guest, running in guests.items()]


STATES = st.sampled_from([InGuest.RUNS, InGuest.FAILS, InGuest.HANGS])


@given(STATES, STATES)
def test_what_runs_nowhere_says_nothing_about_a_guest(linux: InGuest, unikraft: InGuest) -> None:
    got = judged(Rule.CANNOT_RUN, Measured(runtimes=lines(linux=linux, unikraft=unikraft)))
    if unikraft is InGuest.RUNS:
        assert got is Holding.FAILS
    else:
        assert got is (Holding.HOLDS if linux is InGuest.RUNS else Holding.NOT_MEASURED)


def test_a_need_is_refuted_only_by_what_was_seen_to_run_without_it() -> None:
    some = Needs("PyTorch", "torch", "2", ("sleef",), {"newlib": ("glibc",)}, ("lwip",))
    ran = lines(linux=InGuest.RUNS, unikraft=InGuest.RUNS)
    assert judged(Rule.NEEDS, Measured(needs=[some], runtimes=ran)) is Holding.FAILS
    assert judged(Rule.NEEDS, Measured(needs=[some])) is Holding.NOT_SHOWN
    every = Needs("PyTorch", "torch", "2", ("sleef", "newlib"))
    assert judged(Rule.NEEDS, Measured(needs=[every], runtimes=ran)) is Holding.HOLDS
    absent = Needs("PyTorch", "torch", missing="torch is not installed")
    assert judged(Rule.NEEDS, Measured(needs=[absent], runtimes=ran)) is Holding.NOT_MEASURED


def test_its_own_tables_refute_the_advantage() -> None:
    [line] = [line for line in verdicts(Measured()) if line.name == "advantage in its tables"]
    assert line.verdict is Holding.FAILS and "slower in 3 of its 4 rows" in line.because and "0.9 %" in line.because


@pytest.mark.parametrize(
    ("running", "parts", "refused"),
    [
        (InGuest.FAILS, (), True),
        (InGuest.FAILS, (PaperPart.RUNTIMES,), True),
        (InGuest.FAILS, (PaperPart.CALLS,), False),  # it was measured before, and was not asked for now
        (InGuest.RUNS, (), False),
    ],
)
def test_runtimes_that_ran_nowhere_are_an_error_where_they_were_asked_for(
    running: InGuest, parts: tuple[PaperPart, ...], refused: bool, tmp_path: Path
) -> None:
    made = Paper(tmp_path, (), None, (), runtimes=(RuntimeLine("onnxruntime", "mlp", "nanos", running),))
    with pytest.raises(UkperfError, match="No runtime ran anywhere") if refused else nullcontext():
        made.check(PaperOptions(parts=parts))
