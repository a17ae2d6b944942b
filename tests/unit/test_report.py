"""The report: what it says first, that it is whole, that nothing a guest wrote becomes markup."""

from __future__ import annotations

import base64
import hashlib
import json
import random
import re
import time
from contextlib import suppress
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from records import boot, failed, run_of, save_run
from test_compare import big, cli
from test_layout import costs, predictions

from ukperf.errors import UkperfError
from ukperf.model import BootRecord, Outcome, Sample, Unit
from ukperf.reports.answers import answers
from ukperf.reports.charts import run_ratios
from ukperf.reports.exports import EXPORTS, Exportable, export
from ukperf.reports.html import report
from ukperf.reports.pictures import ChartAxis
from ukperf.reports.story import Origin, last_lines, stories_of
from ukperf.reports.svg import NARROW, Scale, ticks
from ukperf.stats.summary import summarize

FACTS = {"accelerator": "tcg", "seed": "1"}


class Wellformed(HTMLParser):
    """Every element closed in order; collects the tags that were seen."""

    VOID = frozenset({"meta", "br", "hr", "img", "link", "input"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def html(records: list[BootRecord], origin: Origin | None = None) -> str:
    return report(stories_of(records, FACTS, title="run", baseline="linux", delta=0.01, origin=origin))


def parsed(text: str) -> Wellformed:
    parser = Wellformed()
    # style sheet and script are no markup
    parser.feed(re.sub(r"<(style|script)>.*?</\1>", r"<\1></\1>", text, flags=re.S))
    assert not parser.open or parser.open == ["p"]
    return parser


def test_the_answer_is_a_sentence_at_the_top() -> None:
    text = html(run_of({"linux": 1.0, "nanos": 0.5}))
    assert text.index("nanos takes 50") < text.index("<h2>")
    assert "less time than linux to boot and stop" in text


@pytest.mark.parametrize(
    ("ratio", "sigma", "words"),
    [
        (0.5, 0.01, "less time"),
        (1.5, 0.01, "more time"),
        (1.0, 0.001, "equivalent to boot and stop within ±1 %"),
        (1.0, 0.1, "cannot be told apart"),
    ],
)
def test_every_verdict_has_its_sentence(ratio: float, sigma: float, words: str) -> None:
    [sentence] = answers(summarize(run_of({"linux": 1.0, "nanos": ratio}, 40, sigma=sigma), "linux"))
    assert words in sentence


def test_instructions_are_not_called_time() -> None:
    records = run_of({"linux": 1e9, "nanos": 5e8}, sigma=0, unit=Unit.INSTRUCTIONS)
    [sentence] = answers(summarize(records, "linux"))
    assert "fewer instructions" in sentence and "time" not in sentence


def test_many_benchmarks_are_counted_instead_of_listed() -> None:
    records = run_of({"linux": 1.0, "nanos": 0.5}, samples=[f"call{i}" for i in range(10)])
    assert answers(summarize(records, "linux")) == ("nanos against linux, 10 benchmarks: faster in 10.",)


def test_the_page_is_whole_and_asks_nobody_for_anything() -> None:
    records = run_of({"linux": 1.0, "nanos": 0.5}, samples=["fit"])
    records[3] = failed(records[3])
    text = html(records, Origin("ukperf boot-time --seed 1", "1", "today", (("linux", "image", "ab" * 32),)))
    seen = parsed(text).seen
    assert seen.count("svg") >= 5 and seen.count("script") == 1 and "link" not in seen and "img" not in seen
    assert not re.search(r'(src|href|url\()\s*=?\s*["\']?(https?:)?//', text.replace("http://www.w3.org/2000/svg", ""))
    for words in ("ukperf boot-time --seed 1", "ab" * 32, "1 of 40 boots failed", "panic: &lt;&amp;&gt; ·[31m", "ICC"):
        assert words in text
    assert "prefers-color-scheme: dark" in text and "width=device-width" in text


def test_every_good_boot_is_a_dot_and_every_failed_one_a_cross() -> None:
    records = run_of({"linux": 1.0, "nanos": 0.5})
    records[3] = failed(records[3])
    text = html(records)
    every, order = text.partition("<h2>Over the run</h2>")[::2]
    row = every.partition("<h3>total</h3>")[2].partition("</figure>")[0]
    assert sorted(map(int, re.findall(r'data-b="b(\d+)"', row))) == [i for i in range(40) if i != 3]
    assert re.findall(r'<svg class="lost" data-b="b(\d+)"', order) == ["3"]
    assert {f"b{i}" for i in range(40)} <= set(re.findall(r'<tr id="(b\d+)">', text))


@settings(deadline=None, max_examples=40)
@given(st.text(), st.text(), st.floats(0, 1e18) | st.just(float("inf")))
def test_nothing_that_a_guest_writes_becomes_markup(name: str, tail: str, value: float) -> None:
    record = replace(boot("linux", 0), samples=(Sample(name, Unit.SECONDS, (value,)),))
    lost = replace(failed(boot("linux", 1)), console_tail=tail, reason=tail)
    assert set(parsed(html([record, lost])).seen) <= set(
        parsed(html([boot("linux", 0), failed(boot("linux", 1))])).seen
    )


SIZES = (1e308, 5e-324, 1e-308, 0.0, -1.0, -1e308, 1.0, 1.0 + 2**-52, 1e-9, 1e30, 1e-30, float(2**53))


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32), st.sampled_from([1, 2, 30]), st.sampled_from([1, 6, 14]))
def test_numbers_of_any_size_are_reported_and_exported(seed: int, iterations: int, blocks: int) -> None:
    draw = random.Random(seed)
    few = draw.sample(SIZES, draw.randint(1, 4))
    records = []
    for made in run_of({"linux": 1.0, "nanos": 0.5}, blocks):
        total = draw.choice(few)
        sample = Sample("a", Unit.SECONDS, tuple(draw.choice(few) for _ in range(iterations)))
        records.append(replace(made, phases=dict.fromkeys(made.phases, total), samples=(sample,)))
    parsed(html(records))
    for kind in EXPORTS.names():
        with suppress(UkperfError):
            export(kind, Exportable(records, summarize(records, "linux"), FACTS))


@given(st.text())
def test_consoles_are_made_printable(text: str) -> None:
    shown = last_lines(text)
    assert all(c in "\n\t" or c.isprintable() for c in shown) and len(shown.splitlines()) <= 41


@pytest.mark.parametrize(
    "records",
    [
        [boot("linux", 0)],
        [failed(boot("linux", 0), Outcome.SILENT)],
        run_of({"linux": 1e9, "nanos": 5e8}, sigma=0, unit=Unit.INSTRUCTIONS),
        run_of({"linux": 1e9}, sigma=0, unit=Unit.INSTRUCTIONS) + run_of({"native": 0.01}),
        [replace(r, host=h) for h in ("a", "b") for r in run_of({"linux": 1.0, "nanos": 0.5}, 8)],
    ],
    ids=["one boot", "all failed", "exact", "two units", "two hosts"],
)
def test_odd_runs_have_a_report_too(records: list[BootRecord]) -> None:
    assert "How to do it again" in html(records)
    parsed(html(records))


@given(st.floats(1e-9, 1e9), st.floats(1.0001, 1e9), st.booleans())
def test_ticks_lie_on_their_scale(low: float, factor: float, log: bool) -> None:
    scale = Scale(low, low * factor, log)
    ticks = scale.ticks()
    assert len(ticks) <= 14 and all(0 <= scale(t) <= 1 for t in ticks)


def test_the_command_writes_the_file_or_tells_it_here(tmp_path: Path) -> None:
    run = save_run(tmp_path / "run", run_of({"linux": 1.0, "nanos": 0.5}, samples=["fit"]))
    assert cli("report", run, "--html").strip() == str(run / "report.html")
    assert "ukperf boot-time --guest nanos" in (run / "report.html").read_text()
    told = cli("report", run)
    assert told.startswith("nanos takes") and "σ between boots" in told and "Again: ukperf boot-time" in told
    data = json.loads(cli("report", run, "--json"))
    assert data["answers"][0].startswith("nanos takes") and data["comparisons"] and data["facts"]["host"]
    assert "Ask for one of them" in cli("report", run, "--json", "--html", status=2)
    assert "cannot be written" in cli("report", run, "--output", "/nowhere/x.html", status=2)


def test_a_thousand_boots_of_a_thousand_values_are_reported_in_time() -> None:
    records = big(1000, 1000, 2)
    start = time.process_time()  # CPU time: other work on this machine decides nothing
    text = html(records)
    assert time.process_time() - start < 20
    assert len(text.encode()) < 2_000_000


def test_the_ends_of_an_interval_that_is_almost_none_are_not_said_twice() -> None:
    records = run_of({"linux": 1.5e9, "floor": 1.5e7}, 8, sigma=0, unit=Unit.INSTRUCTIONS)
    at = next(i for i, r in enumerate(records) if r.trial.guest == "linux")
    records[at] = boot("linux", 0, 1.5e9 + 100, index=at, unit=Unit.INSTRUCTIONS)
    [answer] = answers(summarize(records, "linux"))
    assert "95 % interval ± " in answer, answer


def test_text_of_charts_is_html_and_never_svg() -> None:
    text = html(run_of({"linux": 1.5e9, "nanos": 5e8}, samples=["fit"], unit=Unit.INSTRUCTIONS))
    assert "<text" not in text and text.count("<svg") > 10


@given(st.floats(1e-9, 1e9), st.floats(1.0001, 1e9), st.booleans(), st.sampled_from([None, *Unit]))
def test_labels_of_an_axis_do_not_touch_on_a_phone(low: float, factor: float, log: bool, unit: Unit | None) -> None:
    shown, _ = ticks(ChartAxis(low, low * factor, log, unit))
    ends = [
        (middle - tick.half, middle + tick.half)
        for tick in shown
        if not tick.wide
        for middle in [min(max(tick.share * NARROW, tick.half), NARROW - tick.half)]
    ]
    assert ends and all(left[1] < right[0] for left, right in pairwise(ends))


def test_the_pages_script_is_the_only_one_that_it_allows() -> None:
    text = html([boot("linux", 0)])
    [script] = re.findall(r"<script>(.*?)</script>", text, re.S)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in text and "script-src 'unsafe" not in text


def test_all_comparisons_stand_on_one_axis_with_their_verdicts_beside_them() -> None:
    [story] = stories_of(
        run_of({"linux": 1.0, "nanos": 0.5, "floor": 0.001}), FACTS, title="run", baseline="linux", delta=0.01
    )
    chart = run_ratios(story, rates=False)
    assert chart is not None and len(chart.rows) == len(story.summary.comparisons) == 10
    assert chart.rows[0].group == "total" and chart.axis.low < 0.001 and chart.axis.high > 1 and chart.axis.log
    assert {word.text for row in chart.rows for word in row.words} >= {"faster"}
    assert chart.axis.band == (1 / 1.01, 1.01) and chart.axis.one == 1.0


def test_workloads_bring_pictures_of_their_own(tmp_path: Path) -> None:
    texts = {}
    for make in (costs, predictions, lambda folder: save_run(folder, run_of({"linux": 1.0, "nanos": 0.5}))):
        folder = make(tmp_path / f"run{len(texts)}")
        cli("report", folder, "--html")
        texts[folder.name] = (folder / "report.html").read_text()
    titles = [re.findall(r"<h3>([^<]*)</h3>", text.partition("<h2>All figures")[0]) for text in texts.values()]
    first = "Every guest against linux"
    assert titles[0] == [first, "Every operation in every guest"]
    assert titles[1] == [first, "From the import to the first prediction", "Each part in every guest"]
    assert titles[2] == [first, "Phases, end to end"]
    assert "</i>hangs</span>" in texts["run0"] and "</i>ENOSYS</span>" in texts["run0"]


def test_a_section_without_anything_in_it_has_no_heading() -> None:
    noisy = run_of({"linux": 1.0})
    quiet = [replace(record, noise={}) for record in noisy]
    assert "How noisy" in html(noisy) and "How noisy" not in html(quiet) and "<th>sha256" not in html(quiet)
