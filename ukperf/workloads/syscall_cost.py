"""syscall-cost: what a system call costs in each guest, found out by scouts first."""

from __future__ import annotations

import errno
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from ukperf.errors import UkperfError
from ukperf.model import Accelerator, BootRecord, Request, Result, Unit
from ukperf.reports.costtable import GROUPS, SCALE, Claim, CostPage, Row, View, claim_text
from ukperf.reports.page import Page
from ukperf.reports.pictures import Picture
from ukperf.stats.summary import RunSummary, summarize
from ukperf.stats.within_boot import boot_ratios
from ukperf.workloads import costs
from ukperf.workloads.base import Bench, Finished, Prepared, Workload
from ukperf.workloads.costclaims import claims


@dataclass(frozen=True)
class CostOptions:
    """only: globs with commas between them. scale: `call`, or None for the unit itself."""

    only: str = "*"
    cycles: bool = False
    scale: str | None = None
    vsyscall: bool = True
    fresh: bool = False


class SyscallCost(Workload):
    """Costs of operations, in nanoseconds, cycles or guest instructions."""

    Options = CostOptions
    phases = False
    shows_failures = False

    def prepare(self, options: CostOptions, request: Request, bench: Bench) -> Prepared:
        if options.scale not in (None, "call"):
            raise UkperfError(f"There is no scale {options.scale!r}.", hint="Write --scale call, or leave it out.")
        asked, state = costs.prepare(request, options.only, bench, probe_vsyscall=options.vsyscall, fresh=options.fresh)
        return Prepared(asked, state)

    def shown_in_report(self, records: Sequence[BootRecord], accelerator: Accelerator) -> Sequence[BootRecord]:
        return costs.samples_in(records, Unit.INSTRUCTIONS if accelerator is Accelerator.ICOUNT else Unit.SECONDS)

    def remarks(self, result: Result) -> list[str]:
        """The paper's factors beside ours; operations that a guest refused, or ended in: they have no figure, and no
        record says why."""
        shown = self.shown_in_report(result.records, result.plan.accelerator)
        said = [claim_text(Claim(words, ratio)) for words, ratio in claims(shown, "/p50")]
        try:
            findings = costs.read_scouted(result.folder).findings
        except UkperfError:
            return said
        for finding in costs.on_all_hosts(findings).values():
            refused = [f"{name} ({errno.errorcode.get(number, 'fails')})" for name, number in finding.refused.items()]
            without = refused + [f"{name} ({how})" for name, how in finding.ended.items()]
            if without:
                said.append(f"{finding.guest} has no figure for {', '.join(without)}.")
        return said

    def pictures(self, result: Result, summary: RunSummary) -> Sequence[Picture]:
        """Every operation in every guest, by groups."""
        from ukperf.reports import charts

        try:
            known = costs.read_scouted(result.folder)
        except UkperfError:
            return ()
        host = result.records[0].host if result.records else ""
        groups = {op.group: None for op in known.operations}
        lines = [
            charts.LevelLine(op.name, f"{op.name}/p50", GROUPS.get(group, group), costs.missing(known, host, op.name))
            for group in groups
            for op in known.operations
            if op.group == group
        ]
        about = "A boot's figure is the median of its batches; a guest's is the median of its boots, with its interval."
        chart = charts.levels(summary, lines, "Every operation in every guest", about)
        return () if chart is None else (chart,)

    def options_of(self, result: Result) -> Any:
        if result.plan.parameters:
            return super().options_of(result)
        words = result.plan.command  # runs of before say it by their command alone
        as_calls = "--scale=call" in words or ("--scale", "call") in pairwise(words)
        return CostOptions(cycles="--cycles" in words, scale="call" if as_calls else None)

    def facts(self, records: Sequence[BootRecord], accelerator: Accelerator) -> Mapping[str, str]:
        """The counter's frequencies."""
        return costs.frequencies(records, accelerator)

    def page(
        self,
        finished: Finished,
        host: str,
        records: Sequence[BootRecord],
        options: CostOptions,
        facts: Mapping[str, str],
    ) -> Page:
        result = finished.result
        unit = Unit.CYCLES if options.cycles else Unit.SECONDS
        if result.plan.accelerator is Accelerator.ICOUNT:
            unit = Unit.INSTRUCTIONS
        chosen = costs.samples_in(records, unit)
        known = costs.read_scouted(result.folder)
        suffix = (costs.TICKS if unit is Unit.CYCLES else "") + "/p50"
        ratios = boot_ratios(chosen, SCALE + suffix)
        view = View(
            rows=tuple(Row(op.name, op.group, op.what, costs.missing(known, host, op.name)) for op in known.operations),
            unit=unit.value,
            suffix=suffix,
            ratios={(guest, name.removesuffix(suffix)): ratio for (guest, name), ratio in ratios.items()},
            as_calls=options.scale == "call",
            claims=tuple(Claim(words, ratio) for words, ratio in claims(chosen, suffix)),
        )
        summary = summarize(chosen, result.plan.baseline, result.plan.delta)
        return CostPage(summary, view, facts=facts)
