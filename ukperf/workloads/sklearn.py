"""sklearn: training and inference with scikit-learn inside guests, with the same Python tree in each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

from ukperf.engine.runner import Observer
from ukperf.imaging.cache import Cache
from ukperf.model import Accelerator, BootRecord, Program, Request, Result
from ukperf.reports.page import Page
from ukperf.reports.units import number
from ukperf.workloads import learning, sklearn_run
from ukperf.workloads.base import Finished, Prepared, Say, Workload
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

    def prepare(
        self, options: LearnOptions, request: Request, *, say: Say, observer: Observer | None = None
    ) -> Prepared:
        asked, known = sklearn_run.prepare(options, request, say=say, observer=observer)
        return Prepared(asked, {sklearn_run.WORK: known.text()})

    def compared(self, records: Sequence[BootRecord], _accelerator: Accelerator) -> Sequence[BootRecord]:
        return learning.benchmarks_only(records)

    def finish(self, result: Result, *, say: Say, share_host: bool = False) -> Finished:
        known = sklearn_run.remembered(result.folder)
        notes = sklearn_run.notes_of(result, known, say=say, share_host=share_host)
        plain = super().finish(result, say=say, share_host=share_host)
        return replace(plain, notes=notes, more={"data": dict(known.facts), "notes": list(notes)})

    def page(self, finished: Finished, host: str, records: Sequence[BootRecord], options: LearnOptions) -> Page:
        plain = super().page(finished, host, records, options)
        rates = throughput(records)
        lines = [
            f"{model}, batch prediction, rows a second: "
            + ", ".join(f"{guest} {number(rate)}" for guest, rate in sorted(table.items()))
            for model, table in rates.items()
        ]
        return replace(plain, notes=tuple(lines), more={"rows_per_second": rates})
