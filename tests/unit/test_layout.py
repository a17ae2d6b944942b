"""Every kind of page in a real browser, at the widths of a phone, a tablet and a screen, in light and dark.

One headless Chromium opens them all; layout.js looks at every piece of text for what is cut, lies over other text,
leaves its picture or has too little contrast.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import chromium
import pytest
from records import failed, run_of, save_run
from test_cold_start import records as cold_records
from test_compare import cli
from test_density import records_of, stored
from test_deps import toy
from test_pages import PAGES

from ukperf.deps.page import CompositionPage
from ukperf.engine.plan import load, save
from ukperf.model import Accelerator, BootRecord, Sample, Unit
from ukperf.reports.html import document
from ukperf.workloads.costs import FOUND, Finding, Operation, Scouted
from ukperf.workloads.inferring import BATCH, FIRST, IMPORT, LOAD, ROW

pytestmark = pytest.mark.skipif(
    chromium.program() is None, reason="no Chromium opens pages here; `apt-get install chromium` has 300 MB of it"
)
WIDTHS = (360, 800, 1600)
SCHEMES = ("light", "dark")
AUDIT = (Path(__file__).parent / "layout.js").read_text()
LONG = "a-guest-of-somebody-with-a-long-name:0.1.55-rc1"


def with_samples(
    records: list[BootRecord], costs: Mapping[str, float], metadata: Mapping[str, object]
) -> list[BootRecord]:
    """Samples of each benchmark, as large as the boot's total times its cost."""
    return [
        replace(
            r,
            phases={},
            samples=tuple(
                Sample(name, r.unit, tuple(cost * next(iter(r.phases.values())) for _ in range(9)), metadata=metadata)
                for name, cost in costs.items()
            ),
        )
        for r in records
    ]


def boots(folder: Path) -> Path:
    """Six guests over three decades, some boots failed, each with a console."""
    sizes = {"linux": 1.0, "nanos": 0.5, "unikraft": 0.07, "floor": 0.002, "debian": 9.0, LONG: 0.999}
    records = run_of(sizes, 12, samples=["fit", "a benchmark whose name somebody else made " * 2], drift=0.2)
    records = [
        replace(r, console_tail="[    0.000000] Linux version 6.1.0-18-cloud-amd64 " * 3 + "\r\n") for r in records
    ]
    for i in (3, 17, 40):
        records[i] = failed(records[i], reason="no end in 120 s")
    return save_run(folder, records)


def exact(folder: Path) -> Path:
    return save_run(folder, run_of({"linux": 1.5e9, "nanos": 5e8}, 6, sigma=0, unit=Unit.INSTRUCTIONS))


def alike(folder: Path) -> Path:
    """Ratios so near to 1 that an axis has but a few labels, and long ones."""
    return save_run(folder, run_of({"linux": 1.0, "nanos": 1.0001, "floor": 0.9999}, 30, sigma=0.0002))


def costs(folder: Path) -> Path:
    operations = [
        Operation(f"operation{i}.raw", group, "what") for i, group in enumerate(("call", "entry", "file") * 7)
    ]
    sizes = {op.name: 10.0 ** (i % 5) for i, op in enumerate(operations)}
    records = run_of({"linux": 300.0, "nanos": 900.0, "unikraft": 31.0}, 6, unit=Unit.INSTRUCTIONS)
    without = {"operation4.raw", "operation5.raw"}
    measured = [
        replace(r, samples=tuple(s for s in r.samples if r.trial.guest != "nanos" or s.benchmark not in without))
        for r in with_samples(records, sizes, {"quantiles": "0.5"})
    ]
    save_run(folder, measured)
    save(replace(load(folder), workload="syscall_cost", accelerator=Accelerator.ICOUNT), folder)
    finding = Finding("nanos", (), {"operation4.raw": 38}, {"operation5.raw": "hangs"}, 2)
    (folder / FOUND).write_text(Scouted(tuple(operations), {"": {"nanos": finding}}).text())
    return folder


def predictions(folder: Path) -> Path:
    sizes = {IMPORT: 2.0, LOAD: 0.5, FIRST: 0.05, ROW: 0.0001, BATCH: 0.3}
    records = with_samples(run_of({"linux": 1.0, "nanos": 1.2, "unikraft": 4.0}, 8), sizes, {})
    save_run(folder, records)
    save(replace(load(folder), workload="infer"), folder)
    return folder


def density(folder: Path) -> Path:
    records = records_of({"linux": 190, "nanos": 42, "unikraft": 36, LONG: 20}, 8)
    stored(folder, records, budget=4096)
    return folder


def cold(folder: Path) -> Path:
    save_run(folder, cold_records())
    save(replace(load(folder), workload="cold_start"), folder)
    return folder


def servers(folder: Path) -> Path:
    """Latencies of three guests over two decades, and what is kept of them over time."""
    sizes = {"first answer": 2.0, "p50 at 100/s": 0.001, "p99 at 100/s": 0.02, "p99.9 at 100/s": 0.3}
    records = with_samples(run_of({"linux": 1.0, "nanos": 1.4, LONG: 9.0}, 8), sizes, {"requests": 1000})
    save_run(folder, [replace(r, samples=tuple(replace(s, values=s.values[:1]) for s in r.samples)) for r in records])
    save(replace(load(folder), workload="serve"), folder)
    (folder / "serve").mkdir()
    for record in records:
        rows = [[2 + i / 4, 25, 0.001 * (1 + 30 / (1 + i)), 0.4 / (1 + i)] for i in range(60)]
        kept = {"name": "100/s", "warmup": False, "bins_a_decade": 20, "histogram": [[60, 9]], "over_time": rows}
        name = f"{record.trial.index:05d}-{record.trial.guest.replace(':', '=')}.json"
        (folder / "serve" / name).write_text(json.dumps({"format": 1, "loads": [kept]}))
    return folder


def two_hosts(folder: Path) -> Path:
    return save_run(
        folder,
        [replace(r, host=h) for h in ("a", "qemu+ssh://b/system") for r in run_of({"linux": 1.0, "nanos": 0.5}, 8)],
    )


def machines(folder: Path) -> Path:
    """Twelve machines of a fleet that do not agree, one with a long name."""
    names = [f"node{n:02d}.rack.example" for n in range(10)] + ["tcp://10.0.0.1:40001", f"tcp://{LONG}.example:40001"]
    records = [
        replace(record, host=name, facts={"hostname": name})
        for n, name in enumerate(names)
        for record in run_of({"linux": 1.0, "nanos": 0.8 + 0.04 * n, LONG: 30.0}, 6, seed=n, samples=["fit"])
    ]
    return save_run(folder, records)


RUNS = (boots, exact, alike, costs, predictions, density, cold, servers, two_hosts, machines)
CASES = Path(__file__).parents[1] / "cases"


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """Kind of page → its file."""
    folder = tmp_path_factory.mktemp("pages")
    made = {}
    for make in RUNS:
        cli("report", make(folder / make.__name__), "--output", folder / f"{make.__name__}.html")
        made[make.__name__] = folder / f"{make.__name__}.html"
    stored = folder / "stored"
    shutil.copytree(CASES / "runs" / "0.1", stored)
    for name, source in (("run of 0.1", stored), ("pyperf file", CASES / "pyperf" / "n200.json")):
        made[name] = folder / f"{name.replace(' ', '-')}.html"
        cli("report", source, "--output", made[name])
    documents = {
        "commands' pages": document([make() for make in PAGES.values()], "pages of all commands"),
        "dependencies": document([CompositionPage(toy(folder))], "what toy is made of"),
    }
    for name, text in documents.items():
        made[name] = folder / f"{name.split()[0]}.html"
        made[name].write_text(text)
    return made


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[chromium.Chromium]:
    with chromium.Chromium(tmp_path_factory.mktemp("chromium")) as one:
        yield one


def audited(browser: chromium.Chromium) -> list[dict[str, str]]:
    told: dict[str, Any] = browser.evaluate(AUDIT)
    assert told["pieces"] > 10
    faults: list[dict[str, str]] = told["faults"]
    return faults


KINDS = [*(make.__name__ for make in RUNS), "run of 0.1", "pyperf file", "commands' pages", "dependencies"]


@pytest.mark.parametrize("kind", KINDS)
def test_no_text_is_cut_or_over_other_text_or_out_of_its_picture(
    kind: str, browser: chromium.Chromium, pages: Mapping[str, Path]
) -> None:
    browser.open(pages[kind], WIDTHS[0])
    faults = {}
    for width in WIDTHS:
        for scheme in SCHEMES:
            browser.look(width, features={"prefers-color-scheme": scheme})
            if told := audited(browser):
                faults[width, scheme] = told
    browser.look(800, media="print")
    if told := audited(browser):
        faults[800, "print"] = told
    assert faults == {}


PLANTED = {
    "over other text": '<p style="margin:0">first words</p><p style="margin:-1.5rem 0 0">second words</p>',
    "hidden by a box": '<div style="width:6rem;overflow:hidden;white-space:nowrap">a name that is too long</div>',
    "cut by the window": '<p style="position:relative;left:-3rem">words that begin outside</p>',
    "page wider than the window": '<p style="width:5000px">words</p>',
    "out of its picture": '<svg width="100" height="20" overflow="visible">'
    '<text x="-20" y="12">1,500 M instr</text></svg>',
    "out of its box": '<svg width="300" height="30"><g><rect class="box" x="2" y="2" width="40" height="20"/>'
    '<text x="6" y="16">libsomething.so</text></g></svg>',
    "contrast under AA": '<p style="color:#999">pale words</p>',
    "cut with …": '<div style="width:5rem;overflow:hidden;text-overflow:ellipsis;white-space:nowrap">'
    "a long long name</div>",
    "text too small": '<p style="font-size:7px">small words</p>',
}


@pytest.mark.parametrize("kind", PLANTED)
def test_what_is_wrong_with_a_page_is_seen(
    kind: str, browser: chromium.Chromium, pages: Mapping[str, Path], tmp_path: Path
) -> None:
    page = tmp_path / "page.html"
    page.write_text(pages["exact"].read_text().replace("</h1>", f"</h1>{PLANTED[kind]}", 1))
    browser.open(page, 360, features={"prefers-color-scheme": "light"})
    assert kind in {fault["kind"] for fault in audited(browser)}


TIP = "document.getElementById('tip')"
DOT = "document.querySelector('.plot circle[data-b]')"


@pytest.mark.parametrize("width", WIDTHS)
def test_a_dot_says_which_boot_it_is(width: int, browser: chromium.Chromium, pages: Mapping[str, Path]) -> None:
    browser.open(pages["boots"], width)
    assert browser.evaluate(f"{TIP}.hidden")
    browser.evaluate(f"{DOT}.scrollIntoView({{block: 'center'}})")
    x, y = browser.evaluate(f"(r => [r.x + r.width / 2, r.y + r.height / 2])({DOT}.getBoundingClientRect())")
    browser.point(x, y)
    said = browser.evaluate(f"{TIP}.innerText")
    for words in ("boot no.", "block", "place in block", "guest", "load1", "Linux version 6.1.0"):
        assert words in said
    left, right = browser.evaluate(f"(r => [r.left, r.right])({TIP}.getBoundingClientRect())")
    assert 0 <= left < right <= width
    browser.point(1, 1)
    assert browser.evaluate(f"{TIP}.hidden")


def test_a_tap_beside_a_dot_means_one_of_that_row(browser: chromium.Chromium, pages: Mapping[str, Path]) -> None:
    browser.open(pages["exact"], 360)
    browser.ask("Emulation.setTouchEmulationEnabled", enabled=True)
    try:
        browser.evaluate(f"{DOT}.scrollIntoView({{block: 'center'}})")
        x, y = browser.evaluate(f"(r => [r.x + r.width / 2, r.y + r.height / 2])({DOT}.getBoundingClientRect())")
        browser.tap(x + 12, y)
        assert not browser.evaluate(f"{TIP}.hidden")
        assert browser.evaluate(f"[...{DOT}.closest('svg').querySelectorAll('.hot')].length") == 1
        browser.tap(5, 5)
        assert browser.evaluate(f"{TIP}.hidden")
    finally:
        browser.ask("Emulation.setTouchEmulationEnabled", enabled=False)


def test_arrow_keys_walk_over_the_boots_of_a_row(browser: chromium.Chromium, pages: Mapping[str, Path]) -> None:
    browser.open(pages["boots"], 800)
    browser.evaluate(f"{DOT}.closest('svg').focus()")
    seen = []
    for key in ("ArrowRight", "ArrowRight", "ArrowLeft"):
        browser.press(key)
        seen.append(browser.evaluate(f"{TIP}.innerText"))
    assert seen[0] == seen[2] != seen[1] and "guest" in seen[0]
    browser.press("Escape")
    assert browser.evaluate(f"{TIP}.hidden")
