"""serve: a web server in each guest, measured from this machine: its first answer, and its latency under load."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from ukperf.errors import UkperfError
from ukperf.imaging.cache import Cache
from ukperf.imaging.programs import build_program
from ukperf.model import (
    Accelerator,
    BootRecord,
    BootSpec,
    Listening,
    Network,
    Observation,
    Outcome,
    Phase,
    Readout,
    Request,
    Result,
    Visitor,
)
from ukperf.reports.pictures import Picture
from ukperf.stats.perboot import without_phases
from ukperf.stats.summary import RunSummary
from ukperf.workloads import servenotes
from ukperf.workloads.base import Bench, Finished, Prepared, Reader, Workload, option
from ukperf.workloads.inferserver import InferServer, prepared_server
from ukperf.workloads.run import Run, RunOptions
from ukperf.workloads.serving import Service, Serving

GENERATOR = "serve/load.c"
CONSOLE = 8 << 20  # bytes of a server's log
MOST_RATE, MOST_CLIENTS, MOST_SECONDS, MOST_REQUESTS = 1_000_000.0, 4096, 3600.0, 10_000_000
_PATH = re.compile(r"/[\x21-\x7e]{0,2000}")  # as it stands in a request


@dataclass(frozen=True)
class ServeOptions(RunOptions):
    """words: the server and its arguments; empty: ours, over a runtime of `infer`.

    port: what it listens on. rates: open loops, requests a second; connections: clients of the closed loop, 0: none.
    duration, warmup: seconds. bound: ms, 0: no search. pin_load: CPUs of the generator. within_s: for the first answer.
    """

    port: int = option(8080, "The port that the program listens on.", "PORT")
    path: str = option("/", "What is asked for.", "PATH")
    body: Path | None = None
    rates: tuple[str, ...] = option((), "Requests a second of an open loop.", "N")
    arrivals: str = option("poisson", "How they are spread: poisson or constant.", "HOW")
    connections: int = option(8, "Clients of the closed loop; 0: none.", "N")
    keep_alive: bool = option(True, "Ask again on a connection that was answered.")
    duration: float = option(10.0, "Seconds of each load.", "S")
    warmup: float = option(2.0, "Seconds of load before anything counts.", "S")
    bound: float = option(0.0, "Look for the greatest rate with p99 within so many ms.", "MS")
    pin_load: tuple[int, ...] = ()
    within_s: float = 120.0
    runtime: str = option("", "Serve a model of this runtime of `infer`.", "RUNTIME")
    model: str = option("", "A model that ukperf makes.", "NAME")
    model_file: Path | None = None
    inputs: Path | None = None
    why: bool = False


class Serve(Workload):
    """Any web server of this machine, in every guest."""

    Options = ServeOptions
    phases = False
    shows_failures = True
    defaults: ClassVar[Mapping[str, object]] = {"boots": 6}

    def prepare(self, options: ServeOptions, request: Request, bench: Bench) -> Prepared:
        _refuse_odd(options)
        _refuse_counting(request)
        network = Network(options.port)
        request = bench.checked(replace(request, network=network))
        accelerator = bench.outlook(request).accelerator
        _refuse_counting(replace(request, accelerator=accelerator))
        if accelerator is not Accelerator.NATIVE:
            request = replace(request, accelerator=accelerator)
        if options.runtime:
            prepared = prepared_server(_server(options), options.port, request, bench)
        else:
            prepared = Run().prepare(options, request, bench)
        build_program(GENERATOR, Cache())
        listening, timeout_s = Listening(limit=CONSOLE), _service(options).longest_s
        asked = replace(prepared.request, network=network, listening=listening, timeout_s=timeout_s)
        return Prepared(asked.started_at_once(), prepared.state)

    def visitor(self, options: ServeOptions) -> Visitor:
        _refuse_odd(options)
        return Serving(_service(options), lambda: build_program(GENERATOR, Cache()))

    def reader(self, options: ServeOptions) -> Reader:
        def read(_spec: BootSpec, seen: Observation) -> Readout:
            return Readout() if seen.visit is None else seen.visit.readout

        return read

    def compared(self, records: Sequence[BootRecord], accelerator: Accelerator) -> Sequence[BootRecord]:
        """What the host measured of the server. How a guest boots is boot-time's question."""
        plain = map(without_phases, records)
        return tuple(
            replace(
                record,
                statuses={name: status for name, status in record.statuses.items() if name not in set(Phase)},
                events={},
                ended_by_host=False,
            )
            for record in plain
        )

    def facts(self, records: Sequence[BootRecord], accelerator: Accelerator) -> Mapping[str, str]:
        return servenotes.generator_facts(records)

    def remarks(self, result: Result) -> Sequence[str]:
        options: ServeOptions = self.options_of(result)
        good = [record for record in result.records if record.outcome is Outcome.OK]
        return servenotes.notes(good, _service(options), result.plan.accelerator)

    def finish(self, result: Result, bench: Bench) -> Finished:
        notes = tuple(self.remarks(result))
        plain = super().finish(result, bench)
        return replace(plain, notes=notes, more={"notes": list(notes)})

    def pictures(self, result: Result, summary: RunSummary) -> Sequence[Picture]:
        from ukperf.workloads import servepictures

        return servepictures.pictures(result, summary)


def _server(options: ServeOptions) -> InferServer:
    return InferServer(options.runtime, options.model, options.model_file, options.inputs, options.interpreter)


def _refuse_counting(request: Request) -> None:
    """Raises UkperfError under icount: there a guest's clock leaps while it waits, and what a request takes on this
    machine's clock is the emulator's."""
    if request.accelerator is Accelerator.ICOUNT:
        raise UkperfError(
            "Latency by this machine's clock means nothing under icount, where a guest's clock leaps while it waits.",
            hint="Use --accel tcg, whose figures are seconds of an emulator, or kvm where it works.",
        )


def _service(options: ServeOptions) -> Service:
    """Raises UkperfError for rates that are none."""
    return Service(
        path=options.path,
        within_s=options.within_s,
        seconds=options.duration,
        warmup_s=options.warmup,
        rates=tuple(map(_rate, options.rates)),
        poisson=options.arrivals == "poisson",
        clients=options.connections,
        keep=options.keep_alive,
        bound_s=options.bound / 1000,
        body="" if options.body is None else str(options.body),
        pin=options.pin_load,
        compares=options.output == "equal",
    )


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0 < rate <= MOST_RATE:
        raise UkperfError(f"--rate {text} is no number of requests a second up to {MOST_RATE:,.0f}.")
    return rate


def _refuse_odd(options: ServeOptions) -> None:
    _within("--port", options.port, 1, 65535)
    _within("--connections", options.connections, 0, MOST_CLIENTS)
    _within("--duration", options.duration, 0.1, MOST_SECONDS)
    _within("--warmup", options.warmup, 0, MOST_SECONDS)
    _within("--bound", options.bound, 0, 1e6)
    rates = [_rate(text) for text in options.rates]
    if len(set(rates)) < len(rates):
        raise UkperfError("The same --rate is given twice.", hint="Leave one of them out.")
    if not rates and not options.connections:
        raise UkperfError("There is no load: neither --rate nor --connections.", hint="Add --rate 100.")
    if max(rates, default=0.0) * options.duration > MOST_REQUESTS:
        raise UkperfError(f"--rate and --duration make more than {MOST_REQUESTS:,} requests.")
    if options.arrivals not in ("poisson", "constant"):
        raise UkperfError(f"There are no {options.arrivals!r} arrivals.", hint="Write --arrivals poisson or constant.")
    if not _PATH.fullmatch(options.path):
        raise UkperfError(f"--path {options.path!r} is no path of a URL.", hint="It begins with / and has no spaces.")
    if bool(options.words) == bool(options.runtime):
        raise UkperfError(
            "What is served is either a program, behind --, or a model, by --runtime.",
            hint="ukperf serve --port 8080 -- lighttpd -D -f FILE",
        )
    if not options.runtime and (options.model or options.model_file or options.inputs):
        raise UkperfError("--model, --model-file and --inputs are for --runtime.", hint="Add --runtime onnxruntime.")
    if options.body is not None and not options.body.is_file():
        raise UkperfError(f"--body {options.body} is no file.")


def _within(name: str, value: Any, least: float, most: float) -> None:
    if not least <= value <= most:
        raise UkperfError(f"{name} {value} is not between {least:g} and {most:,g}.")
