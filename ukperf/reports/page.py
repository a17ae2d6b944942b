"""What is shown of one host's part of a run: summary, facts and notes. Table and JSON are drawn from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rich.console import Console
from rich.text import Text

from ukperf.reports import costtable, jsonout, table
from ukperf.reports.columns import show
from ukperf.stats.summary import RunSummary


@dataclass(frozen=True)
class Page:
    """facts: name → value, in the order of printing. notes: lines below the table. more: more of the JSON."""

    summary: RunSummary
    facts: Mapping[str, str]
    notes: tuple[str, ...] = ()
    more: Mapping[str, object] = field(default_factory=dict)

    def render(self, console: Console) -> None:
        """On a terminal, or in a pipe."""
        table.render(self.summary, self.facts, console)
        self._notes(console)

    def json(self) -> dict[str, object]:
        """The same as plain data that `json.dumps(…, allow_nan=False)` takes."""
        return {**jsonout.to_json(self.summary, self.facts), **self.more}

    def _notes(self, console: Console) -> None:
        for note in self.notes:
            show(console, Text(note), wrap=False)


@dataclass(frozen=True)
class CostPage(Page):
    """Costs by groups of operations, all guests side by side."""

    view: costtable.View | None = None

    def render(self, console: Console) -> None:
        assert self.view is not None
        costtable.render(self.summary, self.view, self.facts, console)
        self._notes(console)

    def json(self) -> dict[str, object]:
        assert self.view is not None
        return {**costtable.to_json(self.summary, self.view, self.facts), **self.more}
