"""The report as one HTML file: no script, no request to anywhere, readable on a phone, in light and dark."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

import ukperf
from ukperf.model import cost_of
from ukperf.reports import charts
from ukperf.reports.legend import legend
from ukperf.reports.story import MOST_TAILS, Story
from ukperf.reports.table import comparison_warnings, difference, has_row, location
from ukperf.reports.units import number
from ukperf.text import clean

MOST_CHARTS = 8  # timelines and distributions of a run with many benchmarks; the table has them all


def page(stories: Sequence[Story]) -> str:
    """The whole file. stories: one for each host, at least one."""
    whole = _template().render(
        stories=[_view(story) for story in stories],
        version=ukperf.__version__,
        title=stories[0].title,
        most_tails=MOST_TAILS,
    )
    return clean(whole, keep="\n\t")


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("ukperf.reports", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2")


def _view(story: Story) -> dict[str, object]:
    guests = [guest.guest for guest in story.summary.guests]
    shown = list(dict.fromkeys(["total", *story.primary]))[:MOST_CHARTS]
    return {
        "story": story,
        "summary": story.summary,
        "forests": [(g, Markup(svg)) for g in guests if (svg := charts.forest(story, g))],
        "timelines": [(b, Markup(svg)) for b in shown if (svg := charts.timeline(story, b))],
        "distributions": [(b, Markup(svg)) for b in shown if (svg := charts.distributions(story, b))],
        "legend": legend(story.summary),
        "phases": Markup(charts.phases(story)),
        "phase_legend": Markup(charts.phase_legend(story)),
        "guest_legend": Markup(charts.guest_legend(story)),
        "rows": _rows(story),
        "drifted": [result.sentence() for result in story.drifts.values() if result.drifted],
        "rates": any(cost_of(comparison.unit) < 0 for comparison in story.summary.comparisons),
        "quiet": [name for name, result in story.drifts.items() if not result.drifted],
        "parts": [_part(story, i) for i in range(len(story.parts))],
        "noise": [(n.name, number(n.median), number(n.maximum)) for n in story.noise],
        "notes": _notes(story),
    }


def _rows(story: Story) -> list[dict[str, str]]:
    """The terminal's table, row by row."""
    rows = []
    for guest in story.summary.guests:
        for benchmark in story.summary.benchmarks:
            estimate, comparison = guest.estimates.get(benchmark), story.summary.comparison(guest.guest, benchmark)
            if not has_row(guest, benchmark, comparison):
                continue
            value, ends = (cell.plain for cell in location(guest, benchmark, estimate))
            ratio, bounds, verdict = (cell.plain for cell in difference(comparison, needs=True))
            row = {"guest": guest.guest, "benchmark": benchmark, "value": value, "interval": ends or "–"}
            row |= {"ratio": ratio, "bounds": bounds, "verdict": verdict}
            row["kind"] = comparison.verdict.value.replace(" ", "-") if comparison else ""
            rows.append(row)
    return rows


def _part(story: Story, index: int) -> dict[str, object]:
    part = story.parts[index]
    icc = part.parts.icc
    return {
        "guest": part.guest,
        "benchmark": part.benchmark,
        "boots": f"{100 * part.parts.between_boots:.3g} %",
        "iterations": f"{100 * part.parts.between_iterations:.3g} %",
        "share": None if icc is None else round(100 * icc),
        "best": "any" if part.best is None else f"{part.best:,}",
        "count": f"{part.parts.iterations:.3g}",
    }


def _notes(story: Story) -> list[str]:
    shown = {result.sentence() for result in story.drifts.values()}  # these stand at the top
    return [*(w for w in story.summary.warnings if w not in shown), *comparison_warnings(story.summary)]
