"""cold-start: from create to the first answer, booted and restored, of any program, and of other workloads' models.

What is started are ways (cold_ways.py); what an answer is follows from the options alone, so that it is read again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from ukperf.errors import UkperfError
from ukperf.hosts.prober import first_answer
from ukperf.model import (
    RESTORED,
    Accelerator,
    BootRecord,
    BootSpec,
    Door,
    Event,
    Launch,
    Listening,
    Network,
    Observation,
    Outcome,
    Readout,
    Request,
    Restorer,
    Restores,
    Result,
    Sample,
    Unit,
    Visit,
    Visitor,
)
from ukperf.reports.answers import sentence
from ukperf.reports.page import Page
from ukperf.reports.pictures import Picture
from ukperf.reports.table import RunPage
from ukperf.stats.perboot import without_phases
from ukperf.stats.summary import RunSummary, summarize
from ukperf.workloads import cold_ways
from ukperf.workloads.base import Bench, Finished, Prepared, Reader, Workload
from ukperf.workloads.cold_ways import FIRST, ColdOptions
from ukperf.workloads.metrics import check_pattern

# Booted, a VMM has started when virtual CPUs may run; restored, when its monitor answers, which is later.
ANSWER, OUTPUT, VMM, MONITOR, STATE = "first answer", "first output", "VMM start", "VMM ready", "state loaded"
BENCHMARKS = (ANSWER, OUTPUT, STATE, MONITOR, VMM)
PATHS = ("boot", "restore", "both")
CONSOLE = 80 << 20  # bytes
ANSWERS = "answer"  # the check
MOST_PORT = 1 << 16
# What is drawn, each up to its benchmark's end.
PARTS = (
    (VMM, "VMM start"),
    (MONITOR, "VMM ready"),
    (STATE, "loading its state"),
    (OUTPUT, "to the first output"),
    (ANSWER, "to the first answer"),
)
ABOUT = (
    "Medians of what lies between create and the first answer, one after the other, booted and restored. A restored "
    "guest goes on from where it was saved when it was ready."
)


class ColdStart(Workload):
    """Create to first output and first answer, by a boot and by a restore of the same guests."""

    Options = ColdOptions
    phases = False
    defaults: ClassVar[Mapping[str, object]] = {"timeout": None, "boots": 10}

    def prepare(self, options: ColdOptions, request: Request, bench: Bench) -> Prepared:
        _refuse_odd_options(options)
        asked = cold_ways.way_of(options)(options, request, bench)
        network = Network(options.port) if options.port else None
        listening = Listening(0, CONSOLE, options.answer, bool(options.answer))
        request = replace(asked.request, listening=listening, network=network, cold=options.cold)
        if options.answer or options.port:
            _refuse_uncounted(options, bench.outlook(request).accelerator)
        if options.path != "boot":
            if options.restorer != Restorer.TEMPLATE and request.launch is Launch.DIRECT:
                raise UkperfError(
                    "--restore-by libvirt is done by libvirt, and --launch direct does without it.",
                    hint="Leave out one of them.",
                )
            request = replace(request, restores=_restores(options, asked))
        return Prepared(request.started_at_once(), asked.state)

    def reader(self, options: ColdOptions) -> Reader:
        def read(spec: BootSpec, seen: Observation) -> Readout:
            if seen.outcome is not Outcome.OK:
                return Readout()
            counted = spec.image.executed_by(spec.accelerator) is Accelerator.ICOUNT
            at, tick = _answer_of(options, seen)
            if at is None:
                return Readout(reason=f"it ended without its first answer: {_what(options)}")
            checks = {} if seen.visit is None else seen.visit.readout.checks
            restored = spec.template is not None
            return Readout(_counted(seen, tick, restored) if counted else _timed(seen, at, restored), checks)

        return read

    def visitor(self, options: ColdOptions) -> Visitor | None:
        if not options.port:
            return None

        def visit(spec: BootSpec, door: Door) -> Visit:
            answer = first_answer(door, options.get, spec.timeout_s)
            return Visit(answer.at_ns, Readout(checks={ANSWERS: answer.digest} if answer.digest else {}), answer.fault)

        return visit

    def compared(self, records: Sequence[BootRecord], accelerator: Accelerator) -> Sequence[BootRecord]:
        """What lies between create and the first answer, and nothing that the program measured itself besides."""
        return tuple(_own(without_phases(record)) for record in records)

    def remarks(self, result: Result) -> Sequence[str]:
        options: ColdOptions = self.options_of(result)
        return notes_of(options, result)

    def pictures(self, result: Result, summary: RunSummary) -> Sequence[Picture]:
        from ukperf.reports import charts

        drawn = charts.until(summary, PARTS, "From create to the first answer", ABOUT)
        return () if drawn is None else (drawn,)

    def page(
        self,
        finished: Finished,
        host: str,
        records: Sequence[BootRecord],
        options: ColdOptions,
        facts: Mapping[str, str],
    ) -> Page:
        plan = finished.result.plan
        return ColdPage(summarize(records, plan.baseline, plan.delta), facts=facts)

    def finish(self, result: Result, bench: Bench) -> Finished:
        notes = tuple(self.remarks(result))
        return replace(super().finish(result, bench), notes=notes, more={"notes": list(notes)})


@dataclass(frozen=True)
class ColdPage(RunPage):
    """One host's part of a run: what is said first is the first answer."""

    def answers(self) -> Sequence[str]:
        headline = [c for c in self.summary.comparisons if c.benchmark == ANSWER]
        return tuple(sentence(c, self.summary.delta) for c in headline) or super().answers()


def _refuse_odd_options(options: ColdOptions) -> None:
    """Raises UkperfError for options that cannot be meant, or not together."""
    for name, value, known in (("--path", options.path, PATHS), ("--restore-by", options.restorer, tuple(Restorer))):
        if value not in known:
            raise UkperfError(f"There is no {name} {value!r}.", hint=f"There are: {', '.join(known)}.")
    for name, pattern in (("--ready", options.ready), ("--answer", options.answer)):
        if pattern:
            check_pattern(pattern, name)
    if not 0 <= options.port < MOST_PORT:
        raise UkperfError(f"--port {options.port} is no port.", hint="Name one between 1 and 65535.")
    if options.port and options.answer:
        raise UkperfError("--port and --answer both say what the first answer is.", hint="Leave one of them out.")
    if options.ready and not options.answer and not options.port:
        raise UkperfError(
            "--ready says where a guest is saved, and nothing says what its first answer is then.",
            hint="Add --answer REGEX or --port N, or name the line by --answer instead of --ready.",
        )
    if not options.get.startswith("/") or not options.get.isprintable() or " " in options.get:
        raise UkperfError(f"--get {options.get!r} is no path of a server.", hint="Write --get /index.html")


def _refuse_uncounted(options: ColdOptions, accelerator: Accelerator) -> None:
    """Raises UkperfError for answers that have no instructions to count."""
    if accelerator is Accelerator.ICOUNT and (options.answer or options.port):
        raise UkperfError(
            f"Under icount instructions are counted, and {'a line' if options.answer else 'an answer on a port'} has "
            "none: only frames tell the guest's counter.",
            hint="Use --accel tcg, or leave out --answer and --port: the program's end is the answer then.",
        )


def _restores(options: ColdOptions, asked: cold_ways.Started) -> Restores:
    """Where guests are saved: at a line, when they have answered once, or at the gate of the program."""
    plain = Restores(booted=options.path == "both", by=Restorer(options.restorer))
    if options.ready:
        return replace(plain, ready=options.ready)
    if options.port:
        return replace(plain, answered=True)
    return replace(plain, words=asked.gate_words, env=asked.gate_env)


# ---- what was seen ----


def _answer_of(options: ColdOptions, seen: Observation) -> tuple[int | None, int | None]:
    """When the first answer was there: by the host's clock, and by the guest's counter where it is a frame."""
    if options.port:
        return (None if seen.visit is None else seen.visit.answered_ns), None
    if options.answer:
        return seen.events.get(Event.READY), None
    model = cold_ways.is_model(options)
    wanted = ("samples",) if model else ("exit", "status")  # our init's, of a program that says none
    for frame in seen.frames:
        if frame.event in wanted and frame.fields.get("benchmark", FIRST) == FIRST:
            return frame.at_ns, _count(frame.fields.get("tsc"))
    return (None if model else seen.events.get(Event.EXIT, seen.events.get(Event.STOPPED))), None


def _timed(seen: Observation, at: int, restored: bool) -> tuple[Sample, ...]:
    """Seconds since create."""
    events = seen.events
    ends = {OUTPUT: events.get(Event.FIRST_BYTE)}
    if restored:
        ends |= {MONITOR: events.get(Event.CREATED), STATE: events.get(Event.LOADED)}
    else:
        ends[VMM] = events.get(Event.RESUMED)
    ends[ANSWER] = at
    start = events.get(Event.START)
    if start is None:
        return ()
    # An output behind the answer is none that came first: a server may write its log when it has answered.
    spans = {name: end - start for name, end in ends.items() if end is not None and start < end <= at}
    return tuple(Sample(name, Unit.SECONDS, (spans[name] / 1e9,)) for name in BENCHMARKS if name in spans)


def _counted(seen: Observation, tick: int | None, restored: bool) -> tuple[Sample, ...]:
    """Guest instructions: since reset, or, of a restored guest, since it went on from its gate."""
    since = _opened(seen) if restored else 0
    if tick is None or since is None or tick <= since:
        return ()
    return (Sample(ANSWER, Unit.INSTRUCTIONS, (float(tick - since),)),)


def _opened(seen: Observation) -> int | None:
    """The guest's counter when it had passed its gate."""
    for frame in seen.frames:
        if frame.event == "phase" and frame.fields.get("name") == "opened":
            return _count(frame.fields.get("tsc"))
        if frame.event == "exit":
            return _count(frame.fields.get("began_tsc"))
    return None


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _what(options: ColdOptions) -> str:
    if options.port:
        return f"none on port {options.port}"
    if options.answer:
        return "no line of its output matched --answer"
    return "no frame of a prediction" if cold_ways.is_model(options) else "nothing told its end"


def _own(record: BootRecord) -> BootRecord:
    """A record with what is compared of it: timed by the host, or counted, and nothing by a guest's clock."""
    samples = tuple(sample for sample in record.samples if sample.benchmark in BENCHMARKS)
    return replace(record, samples=samples, events={}, ended_by_host=False, clock_ratio=None, clock_frames=())


# ---- what is said ----


def notes_of(options: ColdOptions, result: Result) -> list[str]:
    """What a first answer is here, what was warm, and what a restored guest does not know."""
    notes = [f"first answer: create called → {_said(options, counted=result.plan.accelerator is Accelerator.ICOUNT)}."]
    restored = [name for name in result.plan.images if name.endswith(RESTORED)]
    if restored:
        if result.plan.restorer is Restorer.TEMPLATE:
            way = "maps the memory of its template privately and reads a page of it when it first touches it"
        else:
            way = "has all of its memory read from the file that libvirt saved it in"
        notes.append(f"A restored guest {way}; its clocks go on from when it was saved.")
        if result.plan.accelerator is Accelerator.ICOUNT:
            notes.append(
                "All restores of a guest go on from one template, and another one of the same guest may give other "
                "counts (8 % more was seen): that is in no interval."
            )
    notes += [
        f"{name} does not repeat exactly: behind its gate it waited, for its disk mostly." for name in _odd(result)
    ]
    notes.append(_warmth(result))
    return notes


def _odd(result: Result) -> list[str]:
    """Restored guests whose instructions are not the same in every good boot."""
    counts: dict[str, set[float]] = {}
    for record in result.records:
        name = record.trial.guest
        if record.outcome is Outcome.OK and record.unit is Unit.INSTRUCTIONS and name.endswith(RESTORED):
            counts.setdefault(name, set()).update(s.values[0] for s in record.samples if s.benchmark == ANSWER)
    return [name for name, values in counts.items() if len(values) > 1]


def _said(options: ColdOptions, *, counted: bool) -> str:
    if options.port:
        return f"the last byte of an HTTP answer on port {options.port}"
    if options.answer:
        return "the first line that --answer matches"
    end = "its first prediction" if cold_ways.is_model(options) else "the end of the program"
    if counted:
        return f"{end}, in guest instructions: since reset, or of a restored guest since its gate was opened"
    return end


def _warmth(result: Result) -> str:
    if not result.plan.cold:
        return (
            "Warm: what guests are booted and restored from is in this machine's page cache, from the boot before; "
            "with --cold it is dropped."
        )
    left = [r.noise.get("still_cached_mib", 0.0) for r in result.records if r.outcome is Outcome.OK]
    rest = f", but for up to {max(left):.0f} MiB that the system kept" if left and max(left) >= 1 else ""
    return (
        "Cold: before each boot the files that it reads were dropped from the page cache as far as they are this "
        f"user's{rest}; QEMU itself, its libraries and the disk's own cache were not."
    )
