"""The report as one HTML file: no request to anywhere, readable without scripts, on a phone, in light and dark."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

import ukperf
from ukperf.model import BootRecord, cost_of
from ukperf.reports import charts
from ukperf.reports.page import Cell, Column, Line, Page, Part, Quote, Table, table
from ukperf.reports.pictures import Chart, Graphic, Icicle, Picture
from ukperf.reports.plan_table import percent
from ukperf.reports.story import Story, failures, last_lines
from ukperf.reports.svg import marks_of, ticks
from ukperf.reports.table import RunPage
from ukperf.reports.units import number, with_unit
from ukperf.stats.perboot import final_records
from ukperf.text import clean, many

_KIND: dict[type, str] = {Table: "table", Line: "line", Quote: "quote"}
MOST_MACHINES = 24  # that have a section of their own; what holds over machines is of all of them
MOST_CHARTS = 8  # benchmarks whose boots are drawn; tables have them all
MOST_DRIFTS = 3
MOST_COLUMNS = 10  # benchmarks in the table of boots
MOST_TAIL = 240  # characters of a boot's console there


def report(stories: Sequence[Story], machines: Sequence[Page] = ()) -> str:
    """A run's report, the whole file. stories: one for each host, at least one; machines: what holds over them."""
    shown = stories[:MOST_MACHINES]
    most = charts.MOST_DOTS if len(shown) <= 2 else 2 * charts.MOST_DOTS // len(shown)
    views = [_view(story, f"{'' if i == 0 else i}b", charts.drawn_boots(story, most)) for i, story in enumerate(shown)]
    over = [_body(page) for page in machines]
    said = f"{len(shown)} of {len(stories):,} machines are shown by themselves, those that took part first."
    only = f"{said} ukperf report --json tells of all, and the journal has every boot." if stories[len(shown) :] else ""
    return _filled("report.html.j2", stories=views, machines=over, only=only, title=stories[0].title)


def document(pages: Sequence[Page], title: str) -> str:
    """Pages of any kind as one file."""
    return _filled("page.html.j2", bodies=[_body(page) for page in pages], title=title)


def _body(page: Page) -> Markup:
    return fragment(page.parts()) + Markup("").join(drawn(picture) for picture in page.pictures())


def fragment(parts: Iterable[Part]) -> Markup:
    """Tables, lines and quotes; everything in them is text."""
    return Markup(
        _templates().get_template("parts.html.j2").render(parts=[(_KIND[type(part)], part) for part in parts])
    )


def drawn(picture: Picture | None, boots: str = "") -> Markup:
    """A picture, or nothing. boots: what the ids of the page's boots begin with."""
    if picture is None:
        return Markup("")
    if isinstance(picture, Graphic):
        return Markup('<div class="scroll" tabindex="0">{}</div>\n').format(Markup(picture.svg))
    if isinstance(picture, Icicle):
        return Markup(_templates().get_template("icicle.html.j2").render(icicle=picture))
    return _chart(picture, boots)


def _chart(chart: Chart, boots: str) -> Markup:
    at, unit = ticks(chart.axis)
    strips = [Markup(marks_of(row, chart.axis, at, boots)) for row in chart.rows]
    filled = _templates().get_template("chart.html.j2")
    return Markup(filled.render(chart=chart, ticks=at, unit=unit, strips=strips))


def _filled(template: str, **values: object) -> str:
    script, sha = _script()
    made = _templates().get_template(template)
    whole = made.render(version=ukperf.__version__, script=script, script_hash=sha, **values)
    return clean(whole, keep="\n\t")


@cache
def _script() -> tuple[Markup, Markup]:
    """The page's only script, and the digest by which the page allows no other."""
    environment = _templates()
    assert environment.loader is not None
    source = environment.loader.get_source(environment, "page.js")[0]
    digest = base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
    return Markup(source), Markup(f"sha256-{digest}")


@cache
def _templates() -> Environment:
    return Environment(
        loader=PackageLoader("ukperf.reports", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _view(story: Story, boots: str, listed: frozenset[int]) -> dict[str, object]:
    rates = any(cost_of(comparison.unit) < 0 for comparison in story.summary.comparisons)
    primary = list(dict.fromkeys([*story.primary, "total"]))
    shown = list(dict.fromkeys([*primary, *story.summary.benchmarks]))[:MOST_CHARTS]
    left = len(story.records) - len(listed)
    return {
        "story": story,
        "ratios": drawn(charts.run_ratios(story, rates)),
        "own": [drawn(picture, boots) for picture in story.pictures],
        "boots": [drawn(chart, boots) for name in shown if (chart := charts.boots(story, name, listed))],
        "drift": [
            drawn(chart, boots)
            for name in primary[:MOST_DRIFTS]
            if (chart := charts.drift(story, name, story.drifts.get(name), listed))
        ],
        "left_out": f"Of {many(len(story.records), 'boot')} every so many are drawn, {left:,} are not." if left else "",
        "table": _boots(story, listed, boots),
        "figures": fragment(_figures(story).parts()),
        "drifted": [result.sentence() for result in story.drifts.values() if result.drifted],
        "variance": fragment(_variance(story)),
        "variance_chart": drawn(charts.variance(story.parts)),
        "failures": fragment(failures(story)),
        "noise": fragment(_noise(story)),
        "digests": fragment(_digests(story)),
    }


def _boots(story: Story, listed: frozenset[int], boots: str) -> Markup:
    """A row for each boot: what its dots say, for those who have no script, no pointer or no eyes for dots."""
    benchmarks = list(dict.fromkeys([*story.primary, *story.summary.benchmarks]))[:MOST_COLUMNS]
    noises = [noise.name for noise in story.noise]
    titles = ["boot no.", "block", "place in block", "guest", "outcome", *benchmarks, *noises, "console"]
    final = {
        g.guest: {r.trial.index for r in final_records(story.records, g.guest).values()} for g in story.summary.guests
    }
    values = {
        (guest, name): (series.unit, series.by_block())
        for guest, known in story.series.items()
        for name, series in known.items()
    }

    def cells(record: BootRecord) -> Iterator[str]:
        trial = record.trial
        yield from (str(trial.index), str(trial.block), str(trial.position + 1), trial.guest, record.outcome.value)
        counts = trial.index in final.get(trial.guest, ())
        for name in benchmarks:
            unit, by_block = values.get((trial.guest, name), (record.unit, {}))
            value = by_block.get(trial.block) if counts else None
            yield "" if value is None else with_unit(value, unit)
        for name in noises:
            yield number(record.noise[name]) if name in record.noise else ""

    rows = [
        (f"{boots}{record.trial.index}", list(cells(record)), _tail(record))
        for record in story.records
        if record.trial.index in listed
    ]
    right = {0, 1, 2, *range(5, len(titles) - 1)}
    return Markup(_templates().get_template("boots.html.j2").render(titles=titles, rows=rows, right=right))


def _tail(record: BootRecord) -> str:
    lines = [line for line in last_lines(record.console_tail).splitlines() if line.strip()][-3:]
    return "\n".join(lines)[-MOST_TAIL:]


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
