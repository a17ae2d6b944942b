"""infer: a model in a runtime inside guests, from the import to the last batch, with the same files in each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from ukperf.errors import UkperfError
from ukperf.imaging import modelfile, models, runtimes
from ukperf.imaging.cache import Cache
from ukperf.imaging.distributions import Site, site_of
from ukperf.imaging.models import Model
from ukperf.imaging.runtimes import Runtime
from ukperf.model import (
    Accelerator,
    BootRecord,
    BootSpec,
    Event,
    Observation,
    Outcome,
    Phase,
    Readout,
    Request,
    Result,
    Sample,
    Unit,
)
from ukperf.reports.page import Page
from ukperf.reports.pictures import Picture
from ukperf.stats.summary import RunSummary
from ukperf.text import Say, many
from ukperf.workloads import explaining, inferring, joining
from ukperf.workloads.base import Bench, Finished, Prepared, Reader, Workload, option
from ukperf.workloads.inferring import BATCH, FIRST, IMPORT, LOAD, Inference, PackedModel
from ukperf.workloads.learning import benchmarks_only, throughput

TO_FIRST = {Accelerator.ICOUNT: "import to first prediction"}  # an idle guest's clock leaps: the boot has no length
CREATE_TO_FIRST = "create to first prediction"
WITHIN, EXPECTED = "yes", "expected outputs"
MAX_BATCH = 1 << 20


@dataclass(frozen=True)
class InferOptions:
    """runtime: of the registry `ukperf.runtimes`. model: made here, "": the first that it reads. threads: 0: the vCPUs;
    batch: rows, 0: all. calls: single rows, and then one batch, 0: as many as take some seconds. interpreter: where the
    runtime is installed, None: where ukperf is. bare: none is given a /proc/cpuinfo. why:
    guests that ran it in no boot are tried with more memory."""

    runtime: str = option("", "The runtime.", "RUNTIME")
    model: str = option("", "A model that ukperf makes.", "NAME")
    model_file: Path | None = None
    inputs: Path | None = None
    threads: int = option(0, "Threads of the runtime.", "N")
    batch: int = option(0, "Rows of one batch.", "N")
    calls: int = option(0, "Single rows of each boot, and one batch.", "N")
    bare: bool = option(False, "Give no guest a /proc/cpuinfo.")
    interpreter: Path | None = None
    timeout_s: float | None = None
    why: bool = option(True, "Look for why a guest cannot run it.")


class Infer(Workload):
    """One model in one runtime: import, load, first prediction, single rows, batches; outputs and engine must agree."""

    Options = InferOptions
    phases = False
    defaults: ClassVar[Mapping[str, object]] = {"memory": 512, "timeout": None, "boots": 6}

    def prepare(self, options: InferOptions, request: Request, bench: Bench) -> Prepared:
        if not 0 <= options.batch <= MAX_BATCH:
            raise UkperfError(f"--batch {options.batch} is not between 1 and {MAX_BATCH:,}.")
        if not 0 <= options.calls <= inferring.MAX_CALLS:
            raise UkperfError(f"--calls {options.calls} is not between 1 and {inferring.MAX_CALLS:,}.")
        vcpus = request.machine.vcpus
        threads = options.threads or vcpus
        inferring.check_threads(threads, vcpus)
        runtime = runtimes.get(options.runtime)
        site = site_of(options.interpreter) if options.interpreter is not None else None
        python = runtimes.tree_of(runtime, site)
        model = model_for(options, runtime, site, bench.say)
        work = Inference(runtime, model, site, threads, options.batch, vcpus, options.bare)
        request, outlook = joining.outlook(request, bench)
        accelerator = outlook.accelerator
        code = model.format in modelfile.CODE and options.model_file is not None
        joining.guests_for(request, accelerator, own_model=code)
        if options.bare and "/proc/cpuinfo" in runtime.needs:
            bench.say(f"{runtime.name} reads /proc/cpuinfo, and guests that have none get none.")
        if accelerator is not Accelerator.NATIVE and request.machine.memory_mib < runtime.memory_mib:
            bench.say(f"Guests get {runtime.memory_mib} MiB of memory, for {runtime.name}.")
            request = replace(request, machine=replace(request.machine, memory_mib=runtime.memory_mib))
        for line in python.left_out:
            bench.say(f"Left out: {line}.")
        known = None
        if not code:
            bench.say(f"Calibrating {runtime.name} on this host: each part once.")
            known = inferring.calibrate(work, joining.listener(bench))
        emulated = accelerator in (Accelerator.TCG, Accelerator.ICOUNT)
        repetitions = inferring.choose(known, emulated, options.calls)
        made = inferring.packed(work, accelerator, repetitions)
        bench.say(_sentence(work, made))
        suited = joining.suited(own_model=code)
        return Prepared(
            replace(
                request,
                program=made.program,
                default_guests=suited,
                accelerator=accelerator,
                memory_mib=_memory_mib(request, suited, made),
                timeout_s=options.timeout_s or inferring.timeout_s(known, repetitions, emulated),
            )
        )

    def reader(self, options: InferOptions) -> Reader:
        def read(spec: BootSpec, seen: Observation) -> Readout:
            if seen.outcome is not Outcome.OK:
                return Readout()
            far = seen.report.checks.get(EXPECTED, WITHIN)
            if far != WITHIN:
                return Readout(reason=f"its outputs are not what is expected: {far}")
            return Readout(_to_first(spec, seen))

        return read

    def compared(self, records: Sequence[BootRecord], _accelerator: Accelerator) -> Sequence[BootRecord]:
        """What the program measured. Its phases are compared nowhere, and neither is what they are said to be."""
        return tuple(
            replace(
                record,
                statuses={name: status for name, status in record.statuses.items() if name not in set(Phase)},
                events={},
                ended_by_host=False,
            )
            for record in benchmarks_only(records)
        )

    def facts(self, records: Sequence[BootRecord], accelerator: Accelerator) -> Mapping[str, str]:
        made = [guest for guest, how in _cpuinfo(records).items() if how == "made"]
        return {"/proc/cpuinfo": f"given to {' and '.join(made)}"} if made else {}

    def remarks(self, result: Result) -> Sequence[str]:
        good = [record for record in result.records if record.outcome is Outcome.OK]
        return (*inferring.engine_lines(good), *notes_of(good))

    def pictures(self, result: Result, summary: RunSummary) -> Sequence[Picture]:
        """What comes before the first answer, end to end; and all parts in every guest."""
        from ukperf.reports import charts

        before = "What a guest does before it answers for the first time, one part after the other."
        drawn = (
            charts.stacked(summary, (IMPORT, LOAD, FIRST), "From the import to the first prediction", before),
            charts.levels(
                summary, [charts.LevelLine(name, name) for name in summary.benchmarks], "Each part in every guest"
            ),
        )
        return tuple(chart for chart in drawn if chart is not None)

    def explained(self, records: Sequence[BootRecord], folder: Path) -> Sequence[BootRecord]:
        return explaining.explained(records, folder)

    def finish(self, result: Result, bench: Bench) -> Finished:
        options: InferOptions = self.options_of(result)
        if options.why:
            # whatever is no code was calibrated on this machine
            explaining.explain(result, (), bench, ends=not _is_code(options))
        result = replace(result, records=explaining.explained(result.records, result.folder))
        good = [record for record in result.records if record.outcome is Outcome.OK]
        notes = notes_of(good)
        plain = super().finish(result, bench)
        return replace(plain, notes=notes, more={"engines": inferring.engines(good), "notes": list(notes)})

    def page(
        self,
        finished: Finished,
        host: str,
        records: Sequence[BootRecord],
        options: InferOptions,
        facts: Mapping[str, str],
    ) -> Page:
        plain = super().page(finished, host, records, options, facts)
        rates = throughput(records, BATCH)
        return replace(plain, notes=tuple(inferring.engine_lines(records)), more={"rows_per_second": rates})


def _is_code(options: InferOptions) -> bool:
    """Is it a file that only guests load? One that is gone or another by now counts so."""
    if options.model_file is None:
        return False
    try:
        return modelfile.examined(options.model_file).format in modelfile.CODE
    except UkperfError:
        return True


def model_for(options: InferOptions, runtime: Runtime, site: Site | None, say: Say) -> Model:
    """The model in a format that the runtime reads: given, or made by what is installed there. Raises UkperfError where
    there is none."""
    if options.inputs is not None and options.model_file is None:
        raise UkperfError("--inputs are rows for --model-file, which is missing.")
    if options.model_file is not None:
        if options.model:
            raise UkperfError("--model and --model-file exclude each other.")
        model = modelfile.given(options.model_file, options.inputs, Cache())
        if model.format.value not in runtime.formats:
            raise UkperfError(
                f"{options.model_file} is {model.format.value}, and {runtime.name} reads "
                f"{' and '.join(runtime.formats)}."
            )
        _check_operators(model, runtime)
        return model
    name = options.model or default_model(runtime)
    known = models.MODELS[name].formats if name in models.MODELS else ()
    formats = [kind for kind in runtime.formats if kind in known] or list(runtime.formats)
    model = models.made(name, formats[0], Cache(), say, site)
    _check_operators(model, runtime)
    return model


def _check_operators(model: Model, runtime: Runtime) -> None:
    """Raises UkperfError where the model asks for operators that the runtime's recipe says it has not."""
    if not runtime.lacks:
        return
    lacking = runtime.lacking(modelfile.examined(model.path).operators)
    if lacking:
        others = ", ".join(other.name for other in runtimes.reading(model.format) if not other.lacking(lacking))
        raise UkperfError(
            f"{runtime.name} has no {', '.join(lacking[:5])}, for which {model.name} asks.",
            hint=f"Runtimes that may have it: {others}." if others else None,
        )


def default_model(runtime: Runtime) -> str:
    """The first of the models that are made here that the runtime reads. Raises UkperfError where there is none."""
    for name, kind in models.MODELS.items():
        if set(kind.formats) & set(runtime.formats):
            return name
    raise UkperfError(f"ukperf makes no model that {runtime.name} reads: {' and '.join(runtime.formats)}.")


def _sentence(work: Inference, made: PackedModel) -> str:
    model = work.model
    return (
        f"{work.runtime.name}, {model.name} ({model.format}, sha256 {model.digest[:12]}), "
        f"{many(work.threads, 'thread')}; its tree has {made.size >> 20} MiB."
    )


def _memory_mib(request: Request, suited: Sequence[str], made: PackedModel) -> dict[str, int]:
    kinds = {name: name for name in request.guests or suited}
    kinds |= {name: variant.guest for name, variant in request.variants.items()}
    return joining.memory_for_files(kinds, dict.fromkeys(kinds, made.size), request.machine.memory_mib)


def _to_first(spec: BootSpec, seen: Observation) -> tuple[Sample, ...]:
    """From the start of the machine to the first prediction, as the host saw it. Under icount, what of it the guest
    counted itself: import, load and prediction."""
    executed = spec.image.executed_by(spec.accelerator)
    if executed is Accelerator.ICOUNT:
        parts = {s.benchmark: s.values[0] for s in seen.report.samples if s.benchmark in (IMPORT, LOAD, FIRST)}
        total = sum(parts.values())
        return (Sample(TO_FIRST[executed], Unit.INSTRUCTIONS, (total,)),) if len(parts) == 3 else ()
    start = seen.events.get(Event.START)
    ends = [f.at_ns for f in seen.frames if f.event == "samples" and f.fields.get("benchmark") == FIRST]
    if start is None or not ends:
        return ()
    return (Sample(CREATE_TO_FIRST, Unit.SECONDS, ((ends[0] - start) / 1e9,)),)


def _cpuinfo(records: Sequence[BootRecord]) -> dict[str, str]:
    """guest → where its /proc/cpuinfo is from."""
    return {
        record.trial.guest: str(sample.metadata.get("cpuinfo", ""))
        for record in records
        for sample in record.samples
        if sample.benchmark == IMPORT
    }


def notes_of(good: Sequence[BootRecord]) -> tuple[str, ...]:
    """Whether all did the same work, and what was left out for want of a /proc/cpuinfo."""
    notes = []
    outputs = {r.checks["outputs"] for r in good if "outputs" in r.checks}
    names = ", ".join(sorted({record.trial.guest for record in good}))
    if len(outputs) == 1:
        notes.append(f"Same work: the outputs of {names} are equal, bit for bit.")
    elif outputs:
        notes.append(f"The outputs of {names} are not equal bit for bit.")
    bare = [guest for guest, how in _cpuinfo(good).items() if how == "left out"]
    if bare:
        notes.append(
            "With --bare no guest was given a /proc/cpuinfo: runtimes may take slower ways where there is none."
        )
    return tuple(notes)
