"""Every export, read by the program that it is for. Those that are not here are skipped, and the summary says which.

`python -m pyperf`, Python's csv and a Markdown renderer come with the development packages. The others are looked for
in the folder that UKPERF_CONSUMERS names, which may hold checkouts of benchmark-action/github-action-benchmark (built:
`npm ci && npm run build`), sharkdp/hyperfine and bencherdev/bencher, a virtual environment `venv` with matplotlib,
scipy and jsonschema for their sake, and `bin/benchstat` (of golang.org/x/perf; also found on the PATH).
"""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from records import boot, failed, run_of

from ukperf.model import BootRecord, Sample, Unit
from ukperf.reports.exports import Exportable, export
from ukperf.stats.summary import summarize
from ukperf.text import clean

CONSUMERS = Path(os.environ.get("UKPERF_CONSUMERS") or "/nonexistent")
BUILT = CONSUMERS / "github-action-benchmark" / "dist"
ACTION = next((file for file in (BUILT / "src" / "index.js", BUILT / "index.js") if file.exists()), None)
SCRIPTS = CONSUMERS / "hyperfine" / "scripts"
SCHEMA = CONSUMERS / "bencher" / "services" / "console" / "public" / "bmf.json"
PYTHON = CONSUMERS / "venv" / "bin" / "python"
BENCHSTAT = shutil.which("benchstat", path=f"{CONSUMERS / 'bin'}:{os.environ['PATH']}")
PLOTS = ("plot_whisker", "plot_histogram", "plot_progression", "plot_benchmark_comparison")

# names that guests could choose to make trouble
NASTY = (
    "a|b",
    "<img src=x onerror=alert(1)>",
    "`code` and ``more``",
    "[link](http://example.com)",
    "=1+1",
    "@everyone #1",
    "www.example.com",
    "back\\slash|",
    "tab\tnew\nline",
    "&lt;b&gt;",
    "  spaces  ",
    "*bold* _it_ ~~no~~",
)


def example(blocks: int = 20, ratio: float = 0.5) -> list[BootRecord]:
    records = run_of({"linux": 1.0, "nanos": ratio}, blocks, samples=["getppid"])
    index = next(i for i, r in enumerate(records) if r.trial.guest == "nanos")
    records[index] = failed(records[index])
    return records


def nasty() -> list[BootRecord]:
    named = tuple(Sample(name, Unit.SECONDS, (0.5,)) for name in NASTY)
    records = [replace(r, samples=named) for r in run_of({"linux": 1.0, "nanos": 0.5}, 8)]
    lost = replace(failed(records[0]), reason='=HYPERLINK("http://example.com")')
    return [lost, *records[1:]]


def exported(kind: str, records: list[BootRecord], *only: str, benchmarks: tuple[str, ...] = ()) -> str:
    facts = {"accelerator": "tcg", "machine": "q35, 256 MiB"}
    return export(kind, Exportable(records, summarize(records, "linux"), facts, only, benchmarks))


def run(*command: object, status: int = 0, env: dict[str, str] | None = None) -> str:
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env={**os.environ, **(env or {})})
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout


# pyperf


@pytest.mark.parametrize("records", [example(), nasty()], ids=["plain", "nasty"])
def test_pyperf_itself_shows_and_compares(tmp_path: Path, records: list[BootRecord]) -> None:
    for guest in ("linux", "nanos"):
        (tmp_path / f"{guest}.json").write_text(exported("pyperf", records, guest))
    for command in ("show", "stats", "hist", "metadata", "check"):
        assert "total" in run(sys.executable, "-m", "pyperf", command, tmp_path / "linux.json")
    told = run(sys.executable, "-m", "pyperf", "compare_to", tmp_path / "linux.json", tmp_path / "nanos.json")
    assert "total\n=====\n\nMean +- std dev: [linux] " in told and "x faster" in told


# csv


def test_a_spreadsheet_finds_no_formula_and_the_same_numbers() -> None:
    rows = list(csv.reader(io.StringIO(exported("csv", nasty()), newline="")))
    columns = dict(zip(rows[0], zip(*rows[1:], strict=True), strict=True))
    for name in ("guest", "benchmark", "reason"):
        assert not [cell for cell in columns[name] if cell.lstrip().startswith(("=", "+", "-", "@"))]
    assert {"'=1+1", "'@everyone #1", "a|b"} <= set(columns["benchmark"])
    assert all(0 < float(cell) < 2 for cell in columns["value"] if cell)


@settings(deadline=None, max_examples=50)
@given(st.text(min_size=1), st.floats(-1e30, 1e30).filter(lambda v: v == 0 or abs(v) >= 1e-30))
def test_no_text_is_a_formula_and_every_number_comes_back(name: str, value: float) -> None:
    record = replace(boot("linux", 0), samples=(Sample(name, Unit.SECONDS, (value,)),))
    [row] = [
        r
        for r in csv.DictReader(io.StringIO(exported("csv", [record]), newline=""))
        if r["unit"] and r["benchmark"] not in record.phases
    ]
    assert float(row["value"]) == value
    shown = clean(name)  # what stands in a cell may be pasted into a terminal
    assert row["benchmark"].removeprefix("'") == shown.removeprefix("'") or row["benchmark"] == f"sample:{shown}"
    assert not row["benchmark"].lstrip().startswith(("=", "+", "-", "@"))


# Markdown


class Rendered(HTMLParser):
    """Tags, and the text of each table cell."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.rows: list[list[str]] = []
        self._cell: list[str] | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self._cell = []

    def handle_data(self, data: str) -> None:
        if self._cell is not None:
            self._cell.append(data)

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th") and self._cell is not None:
            self.rows[-1].append("".join(self._cell))
            self._cell = None


def rendered(text: str) -> Rendered:
    return Rendered(MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(text))


def test_a_renderer_sees_one_table_with_the_names_as_they_are() -> None:
    page = rendered(exported("markdown", nasty()))
    assert page.tags <= {"table", "thead", "tbody", "tr", "th", "td", "p", "code"}
    assert {len(row) for row in page.rows} == {7}
    shown = {row[1] for row in page.rows[1:]}
    assert {" ".join(name.split()) for name in NASTY} <= shown


@settings(deadline=None, max_examples=100)
@given(st.text(alphabet=st.sampled_from("|\\`<>&*_~[]()!#@ \n\ta1:/."), min_size=1, max_size=12))
def test_no_name_is_markup_for_a_renderer(name: str) -> None:
    page = rendered(exported("markdown", [replace(boot("linux", 0), samples=(Sample(name, Unit.SECONDS, (1.0,)),))]))
    assert page.tags <= {"table", "thead", "tbody", "tr", "th", "td", "p", "code"}
    assert {len(row) for row in page.rows} == {7}
    assert " ".join(name.split()) in {row[1] for row in page.rows}


# benchstat


@pytest.mark.skipif(not BENCHSTAT, reason="no benchstat on the PATH or in UKPERF_CONSUMERS/bin")
def test_benchstat_compares_guests_and_runs(tmp_path: Path) -> None:
    assert BENCHSTAT
    old, new = tmp_path / "old.txt", tmp_path / "new.txt"
    old.write_text(exported("benchfmt", example()))
    new.write_text(exported("benchfmt", example(ratio=0.25)))
    guests = run(BENCHSTAT, "-col", "/guest", old)
    assert "n=20+19" in guests and "linux" in guests and "nanos" in guests
    runs = run(BENCHSTAT, "-filter", ".name:Total", old, new)
    assert "-50." in runs and "Total/guest=nanos" in runs
    old.write_text(exported("benchfmt", nasty(), "linux"))
    assert "Total" in run(BENCHSTAT, old)


# hyperfine


needs_hyperfine = pytest.mark.skipif(
    not (SCRIPTS.is_dir() and PYTHON.exists()), reason="no hyperfine or venv in UKPERF_CONSUMERS"
)


@needs_hyperfine
@pytest.mark.parametrize("script", PLOTS)
@pytest.mark.parametrize("records", [example(), nasty()], ids=["plain", "nasty"])
def test_hyperfines_scripts_draw_our_boots(tmp_path: Path, script: str, records: list[BootRecord]) -> None:
    data, picture = tmp_path / "run.json", tmp_path / "plot.png"
    data.write_text(exported("hyperfine", records))
    environment = {"MPLBACKEND": "Agg", "MPLCONFIGDIR": str(tmp_path)}
    run(PYTHON, SCRIPTS / f"{script}.py", data, "-o", picture, env=environment)
    assert picture.read_bytes().startswith(b"\x89PNG") and picture.stat().st_size > 5_000


@needs_hyperfine
def test_hyperfines_statistics_are_those_of_the_boots(tmp_path: Path) -> None:
    data = tmp_path / "run.json"
    data.write_text(exported("hyperfine", example(), benchmarks=("total",)))
    told = run(PYTHON, SCRIPTS / "advanced_statistics.py", data)
    assert "Command 'linux/total'\n  runs:         20" in told and "Command 'nanos/total'\n  runs:         19" in told
    told = run(PYTHON, SCRIPTS / "welch_ttest.py", data)
    assert "There is a difference between the two benchmarks (p < 0.05)." in told


# Bencher


@pytest.mark.skipif(not (SCHEMA.exists() and PYTHON.exists()), reason="no bencher or venv in UKPERF_CONSUMERS")
@pytest.mark.parametrize("records", [example(), nasty()], ids=["plain", "nasty"])
def test_benchers_published_schema_accepts_it(tmp_path: Path, records: list[BootRecord]) -> None:
    data = tmp_path / "bmf.json"
    data.write_text(exported("bencher", records))
    code = "import json, sys, jsonschema as j; j.validate(*(json.load(open(p)) for p in sys.argv[1:]))"
    run(PYTHON, "-c", code, data, SCHEMA)
    data.write_text('{"a": {"latency": {"value": "fast"}}}')
    run(PYTHON, "-c", code, data, SCHEMA, status=1)  # it can refuse


# github-action-benchmark


@pytest.mark.skipif(not (ACTION and shutil.which("node")), reason="no node, or no built github-action-benchmark")
def test_the_github_action_keeps_our_medians_and_alarms_at_a_slower_one(tmp_path: Path) -> None:
    def action(commit: str, records: list[BootRecord], status: int) -> str:
        (tmp_path / "out.json").write_text(exported("github-action", records))
        head = {"id": commit, "url": "http://example.com", "message": "m", "author": {}, "committer": {}}
        (tmp_path / "event.json").write_text(json.dumps({"head_commit": head}))
        (tmp_path / "summary.md").write_text("")
        inputs = {
            "NAME": "boots",
            "TOOL": "customSmallerIsBetter",
            "OUTPUT-FILE-PATH": str(tmp_path / "out.json"),
            "GH-PAGES-BRANCH": "gh-pages",
            "BENCHMARK-DATA-DIR-PATH": "dev/bench",
            "EXTERNAL-DATA-JSON-PATH": str(tmp_path / "data.json"),
            "ALERT-THRESHOLD": "150%",
            "FAIL-ON-ALERT": "true",
            "SUMMARY-ALWAYS": "true",
            "SAVE-DATA-FILE": "true",
            **dict.fromkeys(("AUTO-PUSH", "SKIP-FETCH-GH-PAGES", "COMMENT-ALWAYS", "COMMENT-ON-ALERT"), "false"),
            "GO-FORCE-PACKAGE-SUFFIX": "false",
        }
        environment = {f"INPUT_{name}": value for name, value in inputs.items()} | {
            "GITHUB_EVENT_PATH": str(tmp_path / "event.json"),
            "GITHUB_REPOSITORY": "a/b",
            "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md"),
        }
        return run("node", ACTION, status=status, env=environment)

    action("1" * 40, example(), 0)
    [entry] = json.loads((tmp_path / "data.json").read_text())["entries"]["boots"]
    kept = {bench["name"]: bench for bench in entry["benches"]}
    sent = {bench["name"]: bench for bench in json.loads(exported("github-action", example()))}
    assert kept == sent and kept["linux/total"]["unit"] == "ms"
    alarm = action("2" * 40, example(ratio=1.0), 1)
    assert "nanos/total" in alarm and "linux/total" not in alarm.split("::error::")[-1]
    assert "| `nanos/total` |" in (tmp_path / "summary.md").read_text()
    action("3" * 40, nasty(), 0)
    table = [line for line in (tmp_path / "summary.md").read_text().splitlines() if line.startswith("| `")]
    assert len(table) >= len(NASTY) and {line.count("|") for line in table} == {5}
