"""A profile's pages: on terminals of 80 and 200 columns, as JSON, Markdown and HTML; the icicle in a browser."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import chromium
import pytest
from profilepages import LONG, SIDES, pages
from profiles import kernel, profile

from ukperf.profile.differencepage import DifferencePage
from ukperf.profile.icicles import icicle
from ukperf.profile.model import CodePart, Function, Profiled
from ukperf.profile.page import ProfilePage
from ukperf.reports.html import document
from ukperf.reports.jsonout import encode
from ukperf.reports.markdown import render as markdown
from ukperf.reports.page import Table

PAGES = pages()


@pytest.mark.parametrize("name", PAGES)
def test_every_page_has_whole_rows_and_json_and_markdown(name: str) -> None:
    page = PAGES[name]
    for part in page.parts():
        if isinstance(part, Table):
            assert all(len(row) == len(part.columns) for row in part.rows) and part.rows
    said = json.loads(encode(page.json()))
    assert said and "NaN" not in json.dumps(said)
    assert markdown(page).strip()


def test_a_profiles_page_says_shares_that_add_up_and_what_is_named() -> None:
    page = PAGES["profile"]
    said = json.loads(encode(page.json()))
    for side in said["guests"]:
        assert sum(f["share"] for f in side["functions"]) == pytest.approx(1.0)
        whole = side["coverage"]
        assert sum(whole.values()) == pytest.approx(side["boots"] * side["instructions"]["value"], rel=1e-12)
    lines = [str(getattr(part, "text", "")) for part in page.parts()]
    assert any("all 8 boots executed the same" in line for line in lines)
    assert any(line.startswith("nanos: of") and "differ between 8 boots" in line for line in lines)
    assert any(line.startswith(LONG) for line in lines)
    answers = page.answers()
    assert answers[0].startswith("linux: 1,839 M instr; most in loader vmlinuz 27.2 %, memcpy_orig")


def test_a_kernel_without_names_and_files_of_no_use_are_said() -> None:
    known = Function(CodePart.KERNEL, "", "+0x1000", named=False)
    side = Profiled("unikraft", (profile({known: (100, 0)}),), ("x.dbg is of another kernel.",))
    lines = [str(getattr(part, "text", "")) for part in ProfilePage((side,)).parts()]
    assert "unikraft's kernel names no functions: --symbols unikraft=FILE does." in lines
    assert "unikraft: x.dbg is of another kernel." in lines


def test_a_difference_says_what_adds_most_and_what_gates_found() -> None:
    page = PAGES["difference"]
    assert "acpi_ns_lookup +4" in page.answers()[0]
    said = json.loads(encode(page.json()))
    assert said["gates"][0]["failed"] is True and said["gates"][1]["failed"] is False
    assert sum(f["difference"] for f in said["functions"]) == pytest.approx(said["total"]["difference"])
    assert said["functions"][0]["verdict"] == "more"
    few = [str(getattr(part, "text", "")) for part in PAGES["few"].parts()]
    assert "No intervals and no verdicts: 6 boots a side are needed." in few
    assert "No function differs." in [str(getattr(part, "text", "")) for part in PAGES["same"].parts()]


def test_icicles_have_one_scale_and_slabs_inside_of_those_above() -> None:
    drawn = next(iter(PAGES["profile"].pictures()))
    rows = drawn.rows  # type: ignore[union-attr]
    assert [row.slabs[0].width for row in rows] == pytest.approx([1.0, 0.05, 0.3], rel=0.02)
    for row in rows:
        above = {slab.depth: slab for slab in row.slabs[:1]}
        for slab in row.slabs[1:]:
            parent = above[slab.depth - 1]
            assert parent.start - 1e-9 <= slab.start and slab.start + slab.width <= parent.start + parent.width + 1e-9
            above[slab.depth] = slab
    assert icicle([("nothing", {})], "x") is None


def test_an_icicle_of_a_difference_is_coloured_by_what_was_added() -> None:
    a, b, c = kernel("grown"), kernel("same"), kernel("new")
    side = Profiled("side", (profile({a: (300, 0), b: (100, 0), c: (50, 0)}),))
    baseline = Profiled("base", (profile({a: (100, 0), b: (100, 0)}),))
    drawn = next(iter(DifferencePage(side, baseline).pictures()))
    colours = {slab.name: slab.css for slab in drawn.rows[1].slabs}  # type: ignore[union-attr]
    assert (colours["grown"], colours["same"], colours["new"]) == ("more3", "same", "more3")


# ---- in a browser ----

needs_browser = pytest.mark.skipif(chromium.program() is None, reason="no Chromium opens pages here")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[chromium.Chromium]:
    with chromium.Chromium(tmp_path_factory.mktemp("chromium")) as one:
        yield one


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "profile.html"
    path.write_text(document([PAGES["profile"], PAGES["difference"], PAGES["initcalls"]], "profiles"))
    return path


TYPE = """(word => { const input = document.querySelector('.icicle input'); input.value = word;
input.dispatchEvent(new Event('input')); const first = document.querySelector('.icicle');
return [first.querySelectorAll('.hit').length, document.querySelector('.icicle output').textContent]; })"""


@needs_browser
def test_an_icicle_is_searched_by_names_and_globs(browser: chromium.Chromium, page_file: Path) -> None:
    browser.open(page_file, 1600)
    hits, told = browser.evaluate(f"{TYPE}('clear_page_erms')")
    assert hits == 3 and told.count("%") == 3
    counted = sum(SIDES[0].series()[kernel("clear_page_erms")]) / sum(SIDES[0].totals())
    assert told.startswith(f"{100 * counted:.2f} %")
    # the group and what lies below it are counted once
    group = sum(sum(n) for f, n in SIDES[0].series().items() if f.name.startswith("acpi_")) / sum(SIDES[0].totals())
    assert browser.evaluate(f"{TYPE}('acpi_*')")[1].startswith(f"{100 * group:.2f} %")
    assert browser.evaluate(f"{TYPE}('(((')") == [0, "0.00 %, 0.00 %, 0.00 %"]
    assert browser.evaluate(f"{TYPE}('')") == [0, ""]


@needs_browser
def test_a_slab_that_is_clicked_takes_the_whole_width_and_gives_it_back(
    browser: chromium.Chromium, page_file: Path
) -> None:
    browser.open(page_file, 1600)
    wide = "(n => [...document.querySelectorAll('.slabs')[0].children].find(s => s.dataset.n === n))"
    width = f"{wide}('clear_page_erms').getBoundingClientRect().width"
    before = browser.evaluate(width)
    browser.evaluate(f"{wide}('clear_page_erms').click()")
    assert browser.evaluate(width) > 3 * before
    assert browser.evaluate(f"getComputedStyle({wide}('memcpy_orig')).display") == "none"
    browser.evaluate("document.querySelectorAll('.slabs')[0].children[0].click()")
    assert browser.evaluate(width) == pytest.approx(before)
