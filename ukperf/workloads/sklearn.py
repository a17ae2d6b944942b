"""sklearn: training and inference with scikit-learn inside guests, with the same Python tree in each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import ClassVar

from ukperf.imaging.cache import Cache
from ukperf.model import Accelerator, BootRecord, Program, Request, Result
from ukperf.reports.page import Page
from ukperf.reports.units import number
from ukperf.workloads import learning, sklearn_run
from ukperf.workloads.base import Bench, Finished, Prepared, Workload
from ukperf.workloads.learning import throughput
from ukperf.workloads.sklearn_run import LearnOptions


class Sklearn(Workload):
    """Times of import, training, batch and single-row prediction; the answers must be equal."""

    Options = LearnOptions
    phases = False
    defaults: ClassVar[Mapping[str, object]] = {"memory": learning.MEMORY_MIB, "timeout": None, "boots": 10}

    builds_ahead = True

    def ahead(self, scale: float | None, cache: Cache) -> Program:
        """The paper's models on synthetic data, each once. Runs with the same data share its tree."""
        return learning.ready_program(Accelerator.AUTO, learning.EMULATED_SCALE if scale is None else scale, cache)

    def prepare(self, options: LearnOptions, request: Request, bench: Bench) -> Prepared:
        asked, known = sklearn_run.prepare(options, request, bench)
        return Prepared(asked, {sklearn_run.WORK: known.text()})

    def compared(self, records: Sequence[BootRecord], _accelerator: Accelerator) -> Sequence[BootRecord]:
        return learning.benchmarks_only(records)

    def finish(self, result: Result, bench: Bench) -> Finished:
        known = sklearn_run.remembered(result.folder)
        notes = sklearn_run.notes_of(result, known, bench)
        plain = super().finish(result, bench)
        data = asdict(known.data) if known.data else {}
        return replace(plain, notes=notes, more={"data": data, "notes": list(notes)})

    def remarks(self, result: Result) -> tuple[str, ...]:
        """Rates, whether the answers agree, and what was found out about memory when the run ended."""
        known = sklearn_run.remembered(result.folder)
        records = self.compared(result.records, result.plan.accelerator)
        return (*_rates(records), *sklearn_run.answer_notes(result, known), *known.memory.values())

    def page(
        self,
        finished: Finished,
        host: str,
        records: Sequence[BootRecord],
        options: LearnOptions,
        facts: Mapping[str, str],
    ) -> Page:
        plain = super().page(finished, host, records, options, facts)
        return replace(plain, notes=_rates(records), more={"rows_per_second": throughput(records)})


def _rates(records: Sequence[BootRecord]) -> tuple[str, ...]:
    """What each model predicts in a batch, a sentence each."""
    return tuple(
        f"{model}, batch prediction, rows a second: "
        + ", ".join(f"{guest} {number(rate)}" for guest, rate in sorted(table.items()))
        for model, table in throughput(records).items()
    )
