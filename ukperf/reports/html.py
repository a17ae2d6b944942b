"""The report as one HTML file: no script, no request to anywhere, readable on a phone, in light and dark."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

import ukperf
from ukperf.model import cost_of
from ukperf.reports import charts
from ukperf.reports.page import Cell, Column, Line, Page, Part, Quote, Table, table
from ukperf.reports.plan_table import percent
from ukperf.reports.story import Story, failures
from ukperf.reports.table import RunPage
from ukperf.reports.units import number
from ukperf.text import clean

_KIND: dict[type, str] = {Table: "table", Line: "line", Quote: "quote"}
MOST_CHARTS = 8  # timelines and distributions of a run with many benchmarks; the table has them all


def report(stories: Sequence[Story]) -> str:
    """A run's report, the whole file. stories: one for each host, at least one."""
    views = [_view(story) for story in stories]
    return _filled("report.html.j2", stories=views, title=stories[0].title)


def document(pages: Sequence[Page], title: str) -> str:
    """Pages of any kind as one file."""
    return _filled("page.html.j2", bodies=[_body(page) for page in pages], title=title)


def _body(page: Page) -> Markup:
    return fragment(page.parts()) + Markup("").join(
        Markup('<div class="scroll">{}</div>\n').format(Markup(drawing)) for drawing in page.drawings()
    )


def fragment(parts: Iterable[Part]) -> Markup:
    """Tables, lines and quotes; everything in them is text."""
    return Markup(
        _templates().get_template("parts.html.j2").render(parts=[(_KIND[type(part)], part) for part in parts])
    )


def _filled(template: str, **values: object) -> str:
    whole = _templates().get_template(template).render(version=ukperf.__version__, **values)
    return clean(whole, keep="\n\t")


@cache
def _templates() -> Environment:
    return Environment(
        loader=PackageLoader("ukperf.reports", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _view(story: Story) -> dict[str, object]:
    guests = [guest.guest for guest in story.summary.guests]
    shown = list(dict.fromkeys(["total", *story.primary]))[:MOST_CHARTS]
    return {
        "story": story,
        "summary": story.summary,
        "forests": [(g, Markup(svg)) for g in guests if (svg := charts.forest(story, g))],
        "timelines": [(b, Markup(svg)) for b in shown if (svg := charts.timeline(story, b))],
        "distributions": [(b, Markup(svg)) for b in shown if (svg := charts.distributions(story, b))],
        "phases": Markup(charts.phases(story)),
        "phase_legend": Markup(charts.phase_legend(story)),
        "guest_legend": Markup(charts.guest_legend(story)),
        "figures": fragment(_figures(story).parts()),
        "drifted": [result.sentence() for result in story.drifts.values() if result.drifted],
        "rates": any(cost_of(comparison.unit) < 0 for comparison in story.summary.comparisons),
        "quiet": [name for name, result in story.drifts.items() if not result.drifted],
        "variance": fragment(_variance(story)),
        "failures": fragment(failures(story)),
        "noise": fragment(_noise(story)),
        "digests": fragment(_digests(story)),
    }


def _noise(story: Story) -> Iterator[Table]:
    rows = [(noise.name, number(noise.median), number(noise.maximum)) for noise in story.noise]
    if rows:
        yield table(("during the boots", "median", "maximum"), rows, right=(1, 2))


def _digests(story: Story) -> Iterator[Table]:
    rows = tuple(tuple(map(Cell, row)) for row in story.origin.digests)
    if rows:
        yield Table((Column("guest"), Column("what"), Column("sha256", wraps=True)), rows)


def _figures(story: Story) -> Page:
    """The terminal's table and notes, less the drift that stands at the top."""
    shown = {result.sentence() for result in story.drifts.values() if result.drifted}
    warnings = tuple(said for said in story.summary.warnings if said not in shown)
    return RunPage(replace(story.summary, warnings=warnings), facts=story.facts)


def _variance(story: Story) -> Iterator[Table]:
    rows = [
        (
            part.guest,
            part.benchmark,
            percent(part.parts.between_boots),
            percent(part.parts.between_iterations),
            "–" if part.parts.icc is None else f"{round(100 * part.parts.icc)} %",
            f"{part.parts.iterations:.3g}",
            "any" if part.best is None else f"{part.best:,}",
        )
        for part in story.parts
    ]
    if rows:
        titles = ("guest", "benchmark", "σ boots", "σ iterations", "ICC", "iterations", "best")
        yield table(titles, rows, right=range(2, len(titles)))
