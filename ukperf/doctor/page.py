"""The page of `ukperf doctor`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ukperf.doctor.checks import Diagnosis, State
from ukperf.model import Accelerator
from ukperf.reports.jsonout import members
from ukperf.reports.page import SPACE, Cell, Column, Line, Page, Part, Table, Tone

_MARK = {
    State.OK: Cell("ok", Tone.GOOD),
    State.MISSING: Cell("MISSING", Tone.GRAVE),
    State.OPTIONAL: Cell("–", Tone.UNSURE),
}
_COLUMNS = (Column("state", least=7), Column("what", least=15), Column("found", wraps=True))


@dataclass(frozen=True)
class DoctorPage(Page):
    """A line a check, advice below it, what is noisy, then the verdict."""

    diagnosis: Diagnosis

    def body(self) -> Iterator[Part]:
        yield _table([(_MARK[c.state], c.name, c.sentence, c.advice) for c in self.diagnosis.checks])
        if self.diagnosis.noise:
            yield SPACE
            yield Line("What makes timing noisy here:")
            noisy, quiet = Cell("noisy", Tone.UNSURE), _MARK[State.OK]
            yield _table(
                [
                    (quiet if source.quiet else noisy, source.name, source.state, "" if source.quiet else source.advice)
                    for source in self.diagnosis.noise
                ]
            )
        yield SPACE
        yield Line(verdict(self.diagnosis))

    def said(self) -> Mapping[str, object]:
        """truth.slowdown is guest cycles over native cycles."""
        diagnosis = self.diagnosis
        truth = None if diagnosis.truth is None else {**members(diagnosis.truth), "slowdown": diagnosis.truth.slowdown}
        return {"ok": diagnosis.ok, **members(diagnosis), "truth": truth}


def _table(findings: list[tuple[Cell, str, str, str]]) -> Table:
    rows = []
    for mark, name, sentence, advice in findings:
        rows.append((mark, Cell(name, Tone.STRONG), Cell(sentence)))
        if advice:
            rows.append((Cell(""), Cell(""), Cell(advice, Tone.DIM)))
    return Table(_COLUMNS, tuple(rows), bare=True, gap=1)


def verdict(diagnosis: Diagnosis) -> str:
    """Can the main job run here, and by what?"""
    if not diagnosis.ok:
        return "`ukperf boot-time` cannot run here: get what is missing first."
    accelerator = diagnosis.accelerator
    unit = "guest instructions, exact and repeatable" if accelerator is Accelerator.ICOUNT else "seconds"
    return f"`ukperf boot-time` can run here; --accel auto means {accelerator}: figures are {unit}."
