"""cold-start: which settings a run gets, in what order things happen, what an answer is, what is compared with what."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from records import boot
from test_session import Stage, stage  # noqa: F401 - a fixture

from ukperf import workloads
from ukperf.console import assemble
from ukperf.engine.session import resume
from ukperf.errors import HostError, UkperfError
from ukperf.hosts.fake import good_boot
from ukperf.hosts.template import ABOUT
from ukperf.model import (
    RESTORED,
    Accelerator,
    BootProtocol,
    BootRecord,
    BootSpec,
    Event,
    Frame,
    Image,
    Limits,
    Listening,
    Machine,
    Observation,
    Outcome,
    Readout,
    Restores,
    Sample,
    Unit,
    Visit,
)
from ukperf.reports.table import figures
from ukperf.stats.precision import precise_enough
from ukperf.stats.summary import summarize
from ukperf.stats.variance import plan
from ukperf.workloads import cold_start
from ukperf.workloads.cold_start import ANSWER, MONITOR, OUTPUT, STATE, VMM
from ukperf.workloads.cold_ways import ColdOptions, way_of

MS = 1_000_000
GUESTS = ("linux", "nanos")


def takes(_spec: BootSpec, folder: Path) -> None:
    (folder / ABOUT).write_text('{"image": "' + "cd" * 32 + '"}')


@pytest.fixture
def restoring(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> Stage:  # noqa: F811
    """A stage whose host makes templates."""
    stage.host.takes = takes
    monkeypatch.setattr("ukperf.engine.restored.about", lambda _folder: "taken")
    return stage


# ---- settings, and the order of things ----


def test_each_guest_is_booted_and_restored_in_the_same_blocks_and_saved_once_before_all(restoring: Stage) -> None:
    events: list[tuple[str, str, bool]] = []
    restoring.host.takes = lambda spec, folder: events.append(("save", spec.image.guest, False)) or takes(spec, folder)

    def script(spec: BootSpec, _number: int) -> Observation:
        events.append(("boot", spec.image.guest, spec.template is not None))
        return good_boot()

    restoring.host.script = script
    result = restoring.start(guests=GUESTS, restores=Restores(env=(("UKPERF_GATE", "closed"),)), limits=Limits(boots=3))
    assert events[:2] == [("save", "linux", False), ("save", "nanos", False)]
    assert result.plan.guests == ("linux", "linux@restore", "nanos", "nanos@restore")
    assert result.plan.baseline == "linux"
    every = {("boot", guest, restored) for guest in GUESTS for restored in (False, True)}
    for block in range(3):
        assert set(events[2 + 4 * block : 6 + 4 * block]) == every
    assert {r.facts.get("template", "") != "" for r in result.records if r.trial.guest.endswith(RESTORED)} == {True}


def test_the_boot_that_is_saved_ends_where_it_is_ready_and_is_no_trial(restoring: Stage) -> None:
    specs: list[BootSpec] = []
    restoring.host.takes = lambda spec, folder: specs.append(spec) or takes(spec, folder)
    listening = Listening(0, 1 << 20, "answered", until_ready=True)
    restoring.start(guests=("linux",), restores=Restores(ready="Serving"), listening=listening)
    (spec,) = specs
    assert (spec.ready, spec.until_ready, spec.template) == ("Serving", True, None)


def test_restored_alone_the_baseline_is_restored_too(restoring: Stage) -> None:
    result = restoring.start(guests=GUESTS, restores=Restores(booted=False))
    assert result.plan.guests == ("linux@restore", "nanos@restore")
    assert result.plan.baseline == "linux@restore"


def test_programs_of_this_machine_take_part_booted_alone(restoring: Stage) -> None:
    result = restoring.start(guests=("linux", "native"), restores=Restores())
    assert result.plan.guests == ("linux", "linux@restore", "native")
    assert any(
        said.startswith("native is a process of this machine, and none that is saved") for said in restoring.said
    )


def test_a_guest_that_cannot_be_saved_is_left_out_with_the_reason(restoring: Stage) -> None:
    def some(spec: BootSpec, folder: Path) -> None:
        if spec.image.guest == "nanos":
            raise HostError("nanos did not get ready.")
        takes(spec, folder)

    restoring.host.takes = some
    result = restoring.start(guests=GUESTS, restores=Restores(env=(("G", "1"),)))
    assert result.plan.guests == ("linux", "linux@restore", "nanos")
    assert "nanos@restore is left out: nanos did not get ready." in restoring.said
    with pytest.raises(HostError, match="did not get ready"):
        restoring.start(guests=GUESTS, restores=Restores(booted=False), folder=restoring.folder / "other")


def test_under_icount_what_waits_is_refused(restoring: Stage) -> None:
    for wanted in (Restores(ready="x"), Restores(answered=True)):
        with pytest.raises(UkperfError, match="Under icount only a program that goes straight on"):
            restoring.start(accelerator=Accelerator.ICOUNT, restores=wanted)


def test_a_run_goes_on_from_the_same_templates_or_not_at_all(restoring: Stage) -> None:
    result = restoring.start(guests=("linux",), restores=Restores(), limits=Limits(boots=1))
    folder = result.folder
    (template,) = result.plan.templates.values()
    (folder / "journal.ndjson").unlink()
    assert len(resume(folder).records) == 2
    assert restoring.host.taken == ["linux"]
    (folder / "journal.ndjson").unlink()
    (template / ABOUT).unlink()
    with pytest.raises(UkperfError, match="The template of linux@restore is gone"):
        resume(folder)


# ---- what an answer is ----

IMAGE = Image("nanos", "w", "d" * 64, "p" * 64, BootProtocol.DISK)


def read(options: ColdOptions, seen: Observation, *, restored: bool, counted: bool = False) -> Readout:
    accelerator = Accelerator.ICOUNT if counted else Accelerator.TCG
    spec = BootSpec(IMAGE, Machine(), accelerator, template=Path("/t") if restored else None)
    return cold_start.ColdStart().reader(options)(spec, seen)


def seen_of(*frames: Frame, events: dict[Event, int], visit: Visit | None = None) -> Observation:
    return Observation(Outcome.OK, events=events, report=assemble(frames, restored=True), visit=visit)


def values(readout: Readout) -> dict[str, float]:
    return {sample.benchmark: sample.values[0] for sample in readout.samples}


START = 5_000 * MS
BOOT = {Event.START: START, Event.CREATED: START + 40 * MS, Event.RESUMED: START + 50 * MS}
RESTORE = {Event.START: START, Event.CREATED: START + 30 * MS, Event.LOADED: START + 34 * MS, Event.RESUMED: START}
OPENED = Frame("phase", {"n": 3, "t": 1, "tsc": 1_000, "name": "opened"}, START + 60 * MS)
PREDICTED = Frame(
    "samples",
    {"n": 4, "t": 2, "tsc": 1_700, "benchmark": "first prediction", "unit": "s", "loops": 1, "values": [0.1]},
    START + 80 * MS,
)
EXIT = Frame("exit", {"n": 5, "t": 3, "tsc": 9_000, "status": 0, "began_tsc": 8_000}, START + 99 * MS)


def test_a_models_answer_is_the_frame_of_its_first_prediction() -> None:
    seen = seen_of(OPENED, PREDICTED, EXIT, events={**RESTORE, Event.FIRST_BYTE: START + 60 * MS})
    options = ColdOptions(infer="onnxruntime")
    assert values(read(options, seen, restored=True)) == {MONITOR: 0.03, STATE: 0.034, OUTPUT: 0.06, ANSWER: 0.08}
    assert values(read(options, seen, restored=True, counted=True)) == {ANSWER: 700}
    assert values(read(options, seen, restored=False, counted=True)) == {ANSWER: 1_700}


def test_a_programs_answer_is_its_end_counted_from_its_gate() -> None:
    options = ColdOptions(words=("x",))
    seen = seen_of(EXIT, events={**BOOT, Event.FIRST_BYTE: START + 55 * MS, Event.EXIT: START + 99 * MS})
    assert values(read(options, seen, restored=False)) == {VMM: 0.05, OUTPUT: 0.055, ANSWER: 0.099}
    assert values(read(options, seen, restored=True, counted=True)) == {ANSWER: 1_000}


def test_the_end_of_a_program_that_says_none_is_told_by_the_guest_or_the_host() -> None:
    options = ColdOptions(words=("static",))
    status = Frame("status", {"n": 1, "t": 3, "tsc": 1_900, "status": 0, "signal": 0}, START + 88 * MS)
    told = seen_of(OPENED, status, events=dict(RESTORE))
    assert values(read(options, told, restored=True))[ANSWER] == 0.088
    assert values(read(options, told, restored=True, counted=True)) == {ANSWER: 900}
    here = seen_of(events={**BOOT, Event.STOPPED: START + 60 * MS})
    assert values(read(options, here, restored=False))[ANSWER] == 0.06


def test_an_answer_may_be_a_line_or_come_by_a_port() -> None:
    line = seen_of(events={**BOOT, Event.READY: START + 70 * MS})
    assert values(read(ColdOptions(words=("x",), answer="ok"), line, restored=False))[ANSWER] == 0.07
    visit = Visit(START + 90 * MS, Readout(checks={"answer": "ab"}))
    # what a server writes about its answer came behind it
    port = seen_of(events={**RESTORE, Event.FIRST_BYTE: START + 95 * MS}, visit=visit)
    told = read(ColdOptions(words=("x",), port=80), port, restored=True)
    assert values(told) == {MONITOR: 0.03, STATE: 0.034, ANSWER: 0.09}
    assert told.checks == {"answer": "ab"}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (ColdOptions(words=("x",), answer="ok"), "no line of its output matched --answer"),
        (ColdOptions(words=("x",), port=80), "none on port 80"),
        (ColdOptions(sklearn=True), "no frame of a prediction"),
        (ColdOptions(words=("x",)), "nothing told its end"),
    ],
)
def test_a_boot_without_an_answer_is_no_good_and_says_so(options: ColdOptions, words: str) -> None:
    reason = read(options, seen_of(events=dict(BOOT)), restored=False).reason
    assert reason == f"it ended without its first answer: {words}"


def test_what_was_warm_and_what_a_restored_guest_does_not_know_is_said(restoring: Stage) -> None:
    result = restoring.start(guests=GUESTS, restores=Restores(env=(("G", "1"),)))
    notes = cold_start.notes_of(ColdOptions(words=("x",)), result)
    assert notes[0] == "first answer: create called → the end of the program."
    assert "its clocks go on from when it was saved" in notes[1]
    assert notes[2].startswith("Warm: ")
    counted = replace(result, plan=replace(result.plan, accelerator=Accelerator.ICOUNT))
    assert (
        "All restores of a guest go on from one template" in cold_start.notes_of(ColdOptions(words=("x",)), counted)[2]
    )
    cold = replace(result, plan=replace(result.plan, cold=True))
    cold = replace(cold, records=tuple(replace(r, noise={"still_cached_mib": 3.2}) for r in cold.records))
    assert "but for up to 3 MiB that the system kept" in cold_start.notes_of(ColdOptions(words=("x",)), cold)[-1]


def test_a_restored_guest_that_waited_is_named_where_instructions_are_counted(restoring: Stage) -> None:
    result = restoring.start(guests=GUESTS, accelerator=Accelerator.ICOUNT, restores=Restores(env=(("G", "1"),)))
    counted = [
        replace(r, samples=(Sample(ANSWER, Unit.INSTRUCTIONS, (1e6 + i * ("nanos" in r.trial.guest),)),))
        for i, r in enumerate(result.records)
    ]
    notes = cold_start.notes_of(ColdOptions(words=("x",)), replace(result, records=tuple(counted)))
    assert [note for note in notes if "does not repeat" in note] == [
        "nanos@restore does not repeat exactly: behind its gate it waited, for its disk mostly."
    ]


# ---- options ----


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (ColdOptions(words=("x",), path="both ways"), "There is no --path 'both ways'"),
        (ColdOptions(words=("x",), restorer="magic"), "There is no --restore-by 'magic'"),
        (ColdOptions(words=("x",), port=70_000), "--port 70000 is no port"),
        (ColdOptions(words=("x",), port=80, answer="x"), "both say what the first answer is"),
        (ColdOptions(words=("x",), ready="x"), "nothing says what its first answer is"),
        (ColdOptions(words=("x",), answer="("), "is no pattern"),
        (ColdOptions(words=("x",), port=80, get="no path"), "is no path of a server"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_packed(options: ColdOptions, words: str) -> None:
    with pytest.raises(UkperfError, match=words.replace("(", r"\(")):
        cold_start._refuse_odd_options(options)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (ColdOptions(), "There is nothing to start"),
        (ColdOptions(words=("x",), sklearn=True), "a program and --sklearn are each something to start"),
        (ColdOptions(sklearn=True, infer="litert"), "--sklearn and --infer are each something"),
        (ColdOptions(infer="litert", port=80), "a model is saved at its gate"),
    ],
)
def test_exactly_one_thing_is_started(options: ColdOptions, words: str) -> None:
    with pytest.raises(UkperfError, match=words):
        way_of(options)


# ---- comparisons ----


def records(blocks: int = 8, *, phases: bool = False) -> list[BootRecord]:
    sizes = {"linux": 8.0, "linux@restore": 0.1, "nanos": 1.0, "nanos@restore": 0.05}
    made = []
    for block in range(blocks):
        for place, (guest, size) in enumerate(sizes.items()):
            plain = boot(guest, block, index=block * len(sizes) + place)
            took = size * (1 + 0.01 * ((7 * block + 3 * place) % 5))
            parts = {MONITOR: 3, STATE: 2} if guest.endswith(RESTORED) else {VMM: 3}
            samples = [Sample(name, Unit.SECONDS, (took / part,)) for name, part in {ANSWER: 1, **parts}.items()]
            made.append(replace(plain, phases=plain.phases if phases else {}, samples=tuple(samples), events={}))
    return made


def test_a_restored_guest_is_divided_by_the_baseline_restored_and_by_itself_booted() -> None:
    summary = summarize(records(), "linux")
    pairs = {(c.guest, c.baseline) for c in summary.comparisons if c.benchmark == ANSWER}
    assert pairs == {
        ("nanos", "linux"),
        ("nanos@restore", "linux@restore"),
        ("nanos@restore", "nanos"),
        ("linux@restore", "linux"),
    }
    ratios = {(c.guest, c.baseline): c.ratio for c in summary.comparisons if c.benchmark == ANSWER}
    assert ratios["nanos@restore", "nanos"] == pytest.approx(0.05, rel=0.05)
    assert ratios["nanos@restore", "linux@restore"] == pytest.approx(0.5, rel=0.05)
    assert not [c for c in summary.comparisons if c.benchmark in (STATE, MONITOR) and not c.baseline.endswith(RESTORED)]


def test_a_table_says_by_what_each_row_is_divided() -> None:
    table = figures(summarize(records(), "linux"))
    assert [column.title for column in table.columns][4:6] == ["÷", "ratio"]
    rows = {(row[0].text, row[1].text, row[4].text) for row in table.rows}
    assert {("nanos@restore", ANSWER, "linux@restore"), ("nanos@restore", ANSWER, "nanos")} <= rows
    plain = figures(summarize([r for r in records() if not r.trial.guest.endswith(RESTORED)], "linux"))
    assert plain.columns[4].title == "÷ linux"


def test_what_is_said_first_is_the_first_answer_of_every_pair() -> None:
    said = cold_start.ColdPage(summarize(records(), "linux")).answers()
    assert len(said) == 4
    assert any(line.startswith("nanos@restore takes") and "than nanos for first answer" in line for line in said)


def test_precision_is_asked_of_what_both_paths_have() -> None:
    assert precise_enough(records(25, phases=True), baseline="linux", precision=0.2)


def test_boots_are_planned_for_the_same_pairs() -> None:
    pairs = {(one.guest, one.baseline) for one in plan(records(), "linux", 0.05) if one.benchmark == ANSWER}
    assert pairs == {
        ("nanos", "linux"),
        ("nanos@restore", "linux@restore"),
        ("nanos@restore", "nanos"),
        ("linux@restore", "linux"),
    }


def test_the_picture_has_a_bar_for_each_path_cut_where_its_parts_end() -> None:
    workload = workloads.get("cold_start")
    summary = summarize(records(), "linux")
    (picture,) = workload.pictures(None, summary)  # type: ignore[arg-type]
    assert [row.name for row in picture.rows] == ["linux", "linux@restore", "nanos", "nanos@restore"]
    assert [len(row.marks) for row in picture.rows] == [2, 3, 2, 3]
