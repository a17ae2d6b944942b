"""One page, four drawings: terminal, Markdown, HTML and JSON say the same."""

from __future__ import annotations

import html as entities
import io
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import profilepages
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from records import failed, run_of
from rich.console import Console
from test_density import records_of, seen_of

from ukperf.doctor.checks import Check, Diagnosis, State
from ukperf.doctor.page import DoctorPage
from ukperf.hosts.noise import NoiseSource
from ukperf.hosts.truth import Truth
from ukperf.model import Accelerator, CallClass, CallTable, Outcome, SystemCall, Unit, Verdict
from ukperf.reports import html, markdown
from ukperf.reports.bisecttable import BisectPage
from ukperf.reports.calltable import CallDifferencePage, CallListPage, CallsPage
from ukperf.reports.compare_table import CheckPage, ComparePage
from ukperf.reports.costtable import Claim, CostPage, OperationsPage, Row, View
from ukperf.reports.densitytable import DensityPage, FleetsOf
from ukperf.reports.historytable import History, HistoryPage
from ukperf.reports.jsonout import encode, plain
from ukperf.reports.page import Cell, Column, Line, Page, Part, PlainPage, Quote, Table, Tone, sentences
from ukperf.reports.paperclaims import ClaimLine, Holding, Needs
from ukperf.reports.paperinfer import ExchangeLine, InGuest, LatencyLine, RuntimeLine
from ukperf.reports.papertable import PaperLine, PaperPage
from ukperf.reports.plan_table import PlanPage
from ukperf.reports.selftest_table import SelftestPage
from ukperf.reports.story import ReportPage, stories_of
from ukperf.reports.table import RunPage
from ukperf.reports.terminal import render
from ukperf.stats.aa import AAResult
from ukperf.stats.between import Side, compare_pairs
from ukperf.stats.bisecting import weigh
from ukperf.stats.contest import METHODS
from ukperf.stats.gate import gate
from ukperf.stats.history import HistoryRun, Stratum, lines_of
from ukperf.stats.sides import side_of
from ukperf.stats.summary import summarize
from ukperf.stats.variance import plan, plan_alone, sample_parts
from ukperf.stats.within import series_of
from ukperf.stats.within_boot import BootRatio
from ukperf.workloads.density import CREATE, MORE
from ukperf.workloads.memory import LeastMemory, LeastMemoryPage
from ukperf.workloads.paperfigures import TABLE_I

FACTS = {"accelerator": "tcg", "machine": "q35, 1 vCPU"}
NOTES = ("A note at the end.",)


def run_page() -> RunPage:
    records = run_of({"linux": 1.0, "nanos": 0.5, "floor": 0.999}, samples=["getppid"])
    records[3] = failed(records[3], reason="no end in 120 s")
    return RunPage(summarize(records, "linux"), facts=FACTS, notes=NOTES)


def sides() -> list[tuple[Side, Side]]:
    def side(label: str, size: float, seed: int) -> Side:
        return Side(label, label, series_of(run_of({"linux": size}, 8, seed=seed), "linux"))

    return [(side("new", 1.2, 2), side("old", 1.0, 1))]


def compare_page() -> ComparePage:
    return ComparePage(compare_pairs(sides(), 0.01), sides(), 0.01, notes=NOTES)


def check_page() -> CheckPage:
    comparisons = compare_pairs(sides(), 0.01)
    return CheckPage(comparisons, sides(), 0.01, gate(sides(), comparisons, 0.01, ["slower"]), ("slower",), notes=NOTES)


def plan_page() -> PlanPage:
    records = run_of({"linux": 1.0, "nanos": 0.5}, 8, samples=["fit"])
    alone = plan_alone(run_of({"linux": 1.0}, 8), 0.01, 0.8)
    return PlanPage(0.01, 0.8, plan(records, "linux", 0.01, 0.8), alone, sample_parts(records), notes=NOTES)


def cost_page() -> CostPage:
    records = run_of({"linux": 300.0, "nanos": 900.0}, 8, unit=Unit.INSTRUCTIONS, samples=["getppid.raw"])
    rows = (Row("getppid.raw", "entry", "parent"), Row("futex.raw", "thread", "wait", {"nanos": "ENOSYS"}))
    ratios = {("nanos", "getppid.raw"): BootRatio("nanos", "getppid.raw", "call.direct", 7.5, 7.25, 7.75, 8)}
    return CostPage(summarize(records, "linux"), View(rows, "instructions", "", ratios), facts=FACTS, notes=NOTES)


def calls(guest: str, *kinds: CallClass) -> CallTable:
    names = ("read", "write", "open")
    found = tuple(SystemCall(nr, names[nr], kind, 9, "why") for nr, kind in enumerate(kinds))
    return CallTable(guest, "6.1", "k", "p", found, 1, "it hung")


TABLES = [
    calls("linux", CallClass.WORKS, CallClass.WORKS, CallClass.ERROR),
    calls("nanos", CallClass.STUB, CallClass.WORKS, CallClass.ENOSYS),
]


def paper_page() -> PaperPage:
    summary = run_page().summary
    nanos, linux = summary.guest("nanos"), summary.guest("linux")
    assert nanos and linux
    line = PaperLine(
        "II",
        "train",
        "nanos",
        0.27,
        0.25,
        nanos.estimates["total"],
        linux.estimates["total"],
        summary.comparison("nanos", "total"),
        1234,
    )
    total = summary.comparison("nanos", "total")
    assert total
    return PaperPage(
        "/run",
        "linux",
        CallsPage(TABLES, (), TABLE_I, title="Table I"),
        [line],
        [total],
        [Claim("the paper: 20×", BootRatio("nanos", "nanos a", "nanos b", 9.0, 8.0, 10.0, 6))],
        [
            RuntimeLine("torch", "mlp", "nanos", InGuest.RUNS, "", 6, 6, dict(nanos.estimates), {"total": total}),
            RuntimeLine("litert", "", "", InGuest.ABSENT, "pip install 'ukperf[litert]'"),
        ],
        [LatencyLine("nb", "batch", "sklearn", "nanos", nanos.estimates["total"], total)],
        [ExchangeLine("nb", "batch", "nanos", "sklearn", "onnxruntime", total)],
        [Needs("ONNX", "onnxruntime", "1", ("python",), {"newlib": ("glibc",)}, ("lwip",))],
        [ClaimLine("boot", "fast boot times", "section VI", Holding.FAILS, "nanos ÷ linux 0.5, faster", True)],
        ("total",),
        ("total",),
        notes=NOTES,
    )


def density_page() -> DensityPage:
    fleets = {guest: (seen_of(slope), seen_of(slope + 1)) for guest, slope in {"linux": 190, "nanos": 42}.items()}
    summary = summarize(records_of({"linux": 190, "nanos": 42}), "linux")
    rows = [FleetsOf(guest, seen, 128) for guest, seen in fleets.items()]
    return DensityPage(summary, rows, (MORE, CREATE), budget=4096, facts=FACTS, notes=NOTES)


def doctor_page() -> DoctorPage:
    checks = (Check("qemu", State.OK, "/usr/bin/qemu"), Check("KVM", State.OPTIONAL, "It is slow.", "Get another."))
    noise = (NoiseSource("load", "9.10 on 2 CPUs", False, "Stop what else runs."), NoiseSource("SMT", "off", True))
    truth = Truth(False, "It is slow.", "Get another.", 1000.0, 1.0)
    return DoctorPage(Diagnosis("qemu:///embed", checks, Accelerator.ICOUNT, truth, noise), notes=NOTES)


def history_page() -> HistoryPage:
    """Three lines over nine nights: one that got slower, one that did not, one of counts that repeat."""
    nights = [run_of({"linux": 1.2 if i > 4 else 1.0, "nanos": 0.5}, 6, seed=i) for i in range(9)]
    counts = [run_of({"floor": 1e7 + (i > 2)}, 2, sigma=0, unit=Unit.INSTRUCTIONS) for i in range(9)]
    sides = {
        guest: [side_of(records, guest, guest, f"{i}", ["total"]) for i, records in enumerate(runs)]
        for guest, runs in {"linux": nights, "nanos": nights, "floor": counts}.items()
    }
    versions = [{"linux": "6.1" if i < 5 else "6.1.0-56-cloud-amd64-of-somebody", "nanos": "0.1.55"} for i in range(9)]
    runs = tuple(
        HistoryRun(f"night-{i + 1}", f"/nights/{i + 1}", f"2026-01-0{i + 1}T03:00:00", versions[i], versions[i], 6)
        for i in range(9)
    )
    history = History(Stratum(runs, sides, {"accelerator": "tcg", "cpu": "a CPU"}), lines_of(sides))
    return HistoryPage([history], ("/nights/x is left out: it has no boots.",), notes=NOTES)


def report_page() -> ReportPage:
    records = run_of({"linux": 1.0, "nanos": 0.5}, samples=["fit"])
    lost = failed(records[3], reason="no end in 120 s")
    records[3] = replace(lost, console_tail="ran until here\n\tcall trace:\n``` panic: <&>\n\n")
    [story] = stories_of(records, FACTS, title="run", baseline="linux", delta=0.01)
    return ReportPage(story, notes=NOTES)


def selftest_page() -> SelftestPage:
    return SelftestPage(None, [AAResult("linux", "total", 20, 5, 0.0296, dict.fromkeys(METHODS, 0.048))], notes=NOTES)


PAGES = {
    "run": run_page,
    "compare": compare_page,
    "check": check_page,
    "plan": plan_page,
    "syscall-cost": cost_page,
    "syscall-cost --list": lambda: OperationsPage([Row("getppid.raw", "entry", "parent")], notes=NOTES),
    "syscalls": lambda: CallsPage(TABLES, ["read"], TABLE_I, notes=NOTES),
    "syscalls --list": lambda: CallListPage(TABLES, ["read", "open"], TABLE_I, notes=NOTES),
    "syscalls --diff": lambda: CallDifferencePage(*TABLES, notes=NOTES),
    "density": density_page,
    "history": history_page,
    "bisect": lambda: BisectPage(
        weigh([1.0, 1.01], [1.2, 1.21], [1.1, 1.11], 0.005), 2, 0, 0.005, "total", notes=NOTES
    ),
    "paper": paper_page,
    "doctor": doctor_page,
    "report": report_page,
    "selftest": selftest_page,
    "--min-memory": lambda: LeastMemoryPage([LeastMemory("nanos", 23, 256, 30, 99 << 20)], facts=FACTS, notes=NOTES),
    **{
        f"profile, {name}": (lambda page=page: replace(page, notes=NOTES))  # type: ignore[misc]
        for name, page in profilepages.pages().items()
    },
    "images": lambda: replace(sentences({"bytes": 12}, "12 bytes freed."), notes=NOTES),
}


class Parsed(HTMLParser):
    """Tags, attributes and text of a document."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.rows: list[list[str]] = []
        self.words: list[str] = []
        self._cell = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self._cell = True

    def handle_endtag(self, tag: str) -> None:
        self._cell = self._cell and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        self.words.append(data)
        if self._cell:
            self.rows[-1][-1] += data

    @property
    def text(self) -> str:
        return flat(" ".join(self.words))


def flat(text: str) -> str:
    """Text without what only sets it: white space, and breaks between a number and its unit."""
    return re.sub(r"\s+", "", text)


def on_terminal(page: Page, width: int = 400) -> str:
    out = io.StringIO()
    render(page, Console(file=out, width=width, force_terminal=True, color_system=None))
    return out.getvalue()


def as_markdown(page: Page) -> Parsed:
    return Parsed(
        MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(markdown.render(page))
    )


def as_html(page: Page) -> Parsed:
    return Parsed(html.document([page], "a title"))


def said(page: Page) -> Iterator[str]:
    """Everything that a page says, piece by piece."""
    for part in page.parts():
        if isinstance(part, Table):
            yield from (cell.text for row in part.rows for cell in row)
        elif isinstance(part, Quote):
            yield from (part.lead, part.last)
        else:
            yield from (part.lead + part.text).splitlines()


@pytest.mark.parametrize("kind", PAGES)
def test_every_drawing_has_every_figure_and_every_note(kind: str) -> None:
    page = PAGES[kind]()
    pieces = [flat(piece) for piece in said(page)]
    assert flat(NOTES[0]) in pieces and len(pieces) >= 2
    texts = {
        "terminal": flat(on_terminal(page)),
        "pipe": flat(piped(page)),
        "Markdown": as_markdown(page).text,
        "HTML": as_html(page).text,
    }
    for name, text in texts.items():
        assert [piece for piece in pieces if piece not in text] == [], name


@pytest.mark.parametrize("kind", PAGES)
def test_rows_are_the_same_in_markdown_and_html(kind: str) -> None:
    page = PAGES[kind]()
    tables = [part for part in page.parts() if isinstance(part, Table)]
    rows = [[" ".join(cell.text.split()) for cell in row] for table in tables for row in table.rows]
    for parsed in (as_markdown(page), as_html(page)):
        assert [row for row in rows if row not in [[c.strip() for c in r] for r in parsed.rows]] == []
        assert len(parsed.rows) == len(rows) + len(tables)


@pytest.mark.parametrize("kind", PAGES)
def test_json_is_strict_and_keeps_the_pages_members(kind: str) -> None:
    page = PAGES[kind]()
    assert json.loads(encode(page.json())) == page.json()
    if isinstance(page.json(), dict):
        more = replace(page, more={"run": Path("/here")}).json()
        assert isinstance(more, dict) and more["run"] == "/here"


def piped(page: Page) -> str:
    out = io.StringIO()
    render(page, Console(file=out, width=40))
    return out.getvalue()


def test_figures_of_json_are_those_of_the_table() -> None:
    page = run_page()
    data: Any = page.json()
    [nanos] = [c for c in data["comparisons"] if (c["guest"], c["benchmark"]) == ("nanos", "total")]
    row = next(row for row in as_html(page).rows if row[:2] == ["nanos", "total"])
    assert float(row[4]) == pytest.approx(nanos["ratio"], rel=1e-3) and row[6] == nanos["word"] == "faster"
    assert data["facts"] == FACTS and data["failures"] == {"linux": {}, "floor": {}, "nanos": {"hung": 1}} | {
        guest["guest"]: guest["failures"] for guest in data["guests"]
    }


def test_a_failed_boot_is_shown_with_its_console_in_every_drawing() -> None:
    page = report_page()
    data: Any = page.json()
    [boot] = data["failed_boots"]
    assert (boot["outcome"], boot["reason"]) == ("hung", "no end in 120 s")
    written = ["ran until here", "\tcall trace:", "``` panic: <&>"]
    assert boot["tail"].splitlines()[:3] == written
    for drawn in (as_markdown(page), as_html(page)):
        assert flat("".join(written)) in drawn.text and "pre" in drawn.tags
    shown = on_terminal(page).splitlines()
    at = next(i for i, line in enumerate(shown) if "hung: no end in 120 s." in line)
    assert shown[at + 1] == "  ``` panic: <&>"


EVIL = "<script>alert(1)</script> **b** `c` | [x](http://y) @z &amp; ![i](j) \x1b[31m\u202e :tada: www.a.b ~~s~~ $m$"


@dataclass(frozen=True)
class EvilPage(Page):
    """Foreign text wherever text can be."""

    text: str

    def body(self) -> Iterator[Part]:
        columns = (Column(self.text), Column(self.text, cuts=True), Column(self.text, right=True, wraps=True))
        cells = (Cell(self.text), Cell(self.text, Tone.BAD), Cell(self.text, Tone.GOOD, self.text))
        yield Table(columns, (cells, cells), grouped=True, corner=self.text, fold=2)
        yield Table(columns, (cells,), bare=True)
        yield Line(self.text, Tone.GRAVE)
        yield Line(self.text, Tone.GRAVE, lead=self.text)
        yield Quote(self.text, self.text)

    def said(self) -> Mapping[str, object]:
        return {self.text: self.text}


def evil(text: str) -> EvilPage:
    return EvilPage(text, notes=(text,), title=text, facts={text: text})


@settings(deadline=None, max_examples=200)
@given(
    st.one_of(
        st.text(max_size=30),
        st.text(alphabet=st.sampled_from("|\\`<>&*_~[]()!#@ \n\ta1:/.-+=$"), max_size=14),
        st.just(EVIL),
    )
)
def test_foreign_text_is_text_in_every_drawing(text: str) -> None:
    page = evil(text)
    drawn = as_markdown(page)
    assert drawn.tags <= {"table", "thead", "tbody", "tr", "th", "td", "p", "pre", "code"} and drawn.attributes <= {
        "style"
    }
    assert {len(row) for row in drawn.rows} == {3} and len(drawn.rows) == 5
    plain_page = as_html(evil("x"))
    drawn = as_html(page)
    assert drawn.tags <= plain_page.tags | {"br"} and drawn.attributes <= plain_page.attributes
    assert {len(row) for row in drawn.rows} == {3} and len(drawn.rows) == 5
    shown = on_terminal(page)
    assert len([line for line in shown.splitlines() if line.strip()]) <= 200
    assert "\x1b[31m" not in html.document([page], text)
    assert json.loads(encode(page.json())) == page.json()


def test_what_github_reads_in_any_text_is_code() -> None:
    shown = markdown.quoted("ask @me or see #12, www.a.b, http://c, :tada: and $x$; a_b is 2*3 [1]")
    assert shown == (r"ask `@me` or see `#12`, `www.a.b`, `http://c`, `:tada:` and `$x$`; a\_b is 2\*3 \[1\]")
    lines = list(markdown.paragraphs(Line("- no list\n1. none\n+ none\n=== none\n0.5 is a number")))
    assert lines == [r"\- no list", r"1\. none", r"\+ none", r"\=== none", "0.5 is a number"]


def test_the_docs_page_of_a_stranger_is_drawn_by_saying_what_is_in_it() -> None:
    docs = (Path(__file__).parents[2] / "docs" / "extending.md").read_text()
    source = next(code for code in re.findall(r"^```python\n(.*?)^```$", docs, re.M | re.S) if "SumPage" in code)
    names: dict[str, Any] = {"__name__": __name__}
    exec(compile(source, "extending.md", "exec"), names)
    page = names["SumPage"]({"linux": 1234.0, "nanos": 999.0}, notes=NOTES)
    assert on_terminal(page).splitlines() == ["guest  cycles", "linux   1,234", "nanos     999", *LAST]
    assert markdown.render(page).startswith("| guest | cycles |\n|---|--:|\n| linux | 1,234 |\n")
    for parsed in (as_markdown(page), as_html(page)):
        assert parsed.rows[1:] == [["linux", "1,234"], ["nanos", "999"]] and flat(LAST[0]) in parsed.text
    assert page.json() == {"cycles": {"linux": 1234.0, "nanos": 999.0}}


LAST = ("The quickest is nanos.", *NOTES)


@dataclass(frozen=True)
class Odd:
    path: Path
    kind: Verdict
    many: tuple[float, ...]
    table: Mapping[Outcome, int | None]


def test_one_encoder_knows_what_we_have_and_refuses_the_rest() -> None:
    odd = Odd(Path("/a"), Verdict.FASTER, (1.0, float("nan"), float("-inf")), {Outcome.OK: 1, Outcome.HUNG: None})
    assert plain(odd) == {"path": "/a", "kind": "faster", "many": [1.0, None, None], "table": {"ok": 1, "hung": None}}
    with pytest.raises(TypeError, match="object is no data"):
        plain(object())
    with pytest.raises(TypeError, match="type is no data"):
        plain(Odd)


def test_a_page_of_words_says_what_it_is_given() -> None:
    page = PlainPage((Line("one"),), [1, 2])
    assert page.json() == [1, 2] and on_terminal(page) == "one\n"


def test_a_heading_stands_once_above_what_belongs_together() -> None:
    rows = tuple((Cell(group), Cell(name)) for group, name in (("a", "x"), ("a", "y"), ("b", "x")))
    table = Table((Column("group"), Column("name")), rows, grouped=True, corner="ns")
    text = piped(PlainPage((table,), None))
    assert text.splitlines() == ["ns", "a", "  x", "  y", "b", "  x"]
    assert "<th>name (ns)</th>" in html.fragment([table]) and "| name (ns) |" in markdown.render(PlainPage((table,), 0))
    assert entities.unescape(html.fragment([table])).count('class="first"') == 2
