"""Turns the runs beside this script into the tables of README and docs/, and into README's pictures.

    python docs/results/make.py            writes the tables
    python docs/results/make.py --check    writes nothing; status 1 where a table is not what the runs say
    python docs/results/make.py --pictures writes the pictures too (needs matplotlib: pip install -e '.[docs]')

No figure in those tables is written by hand: who doubts one reads its run (`ukperf report
docs/results/runs/NAME.tar.gz`), or makes it again (docs/results/README.md has the commands). tests/unit/test_results.py
holds that they agree.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import re
import sys
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from profile_tables import TABLES as PROFILES

from ukperf.cli.main import application
from ukperf.model import Estimate, Unit
from ukperf.reports.units import interval, number, with_unit
from ukperf.runs.loaded import load
from ukperf.workloads.density import fleets_of

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
RUNS = HERE / "runs"
PAGES = (ROOT / "README.md", ROOT / "docs" / "findings.md", ROOT / "docs" / "serving.md")
MARK = re.compile(r"(<!-- results: (?P<name>[\w-]+) -->\n).*?(<!-- end of results -->)", re.S)
UKPERF = (sys.executable, "-c", "from ukperf.cli.main import run; run()")
BASELINE = "linux"
MIB = 1 << 20


@dataclass(frozen=True)
class Asked:
    """A column: what one benchmark says of each guest. run: its name without the accelerator, which is the table's."""

    title: str
    run: str
    benchmark: str


BOOT = Asked("boot", "boot", "total")
CALL = Asked("system call (`getuid`)", "syscalls", "getuid.raw/p50")
TRAIN = Asked("scikit-learn trees: train", "sklearn", "extratrees train")
TEST = Asked("scikit-learn trees: test", "sklearn", "extratrees test")
START = Asked("ONNX Runtime: import to first prediction", "onnx", "import to first prediction")
IMPORT = Asked("ONNX Runtime: import", "onnx", "import")
ROW = Asked("ONNX Runtime: a warm prediction", "onnx", "single row")
OVERVIEW = (BOOT, CALL, TRAIN, TEST, START, ROW)
EMULATED = (BOOT, CALL, TRAIN, TEST, IMPORT, ROW)
LEFT_OUT = ("floor",)  # of tables with several tasks: it has but one


@dataclass(frozen=True)
class Sold:
    """A column of what unikernels are sold by. baseline: linux by the name that it has in the run. restored: of guests
    that go on from a template, beside linux restored."""

    title: str
    run: str
    benchmark: str
    baseline: str = BASELINE
    restored: bool = False

    def guest(self, name: str) -> str:
        """The name in the run of who is called `name` in the table."""
        return (self.baseline if name == BASELINE else name) + ("@restore" if self.restored else "")

    def cell(self, name: str) -> str:
        if name == BASELINE:
            return value(self.run, self.guest(name), self.benchmark, self.baseline)
        return against(self.run, self.guest(name), self.benchmark, self.baseline, self.guest(BASELINE))


FIRST, MORE = "first answer", "memory of one more guest"
SERVED = "serve-lighttpd-tcg"
COLD = (
    Sold("`http.server`'s first answer: booted", "cold-http-tcg", FIRST),
    Sold("`http.server`'s first answer: restored", "cold-http-tcg", FIRST, restored=True),
    Sold("scikit-learn's first prediction: booted", "cold-sklearn-tcg", FIRST),
    Sold("scikit-learn's first prediction: restored", "cold-sklearn-tcg", FIRST, restored=True),
)
RUNNING = (
    Sold("memory of one more guest: booted", "density-both", MORE, "linux-128"),
    Sold("memory of one more guest: restored", "density-both", MORE, "linux-128", restored=True),
    Sold("lighttpd: p50 at 100 requests a second", SERVED, "p50 at 100/s"),
    Sold("lighttpd: throughput of 8 clients", SERVED, "throughput at 8 connections"),
)


def bundle(run: str) -> Path:
    """The file of a run; of `several/one` the run `one` in the bundle `several`."""
    name, _, member = run.partition("/")
    return Path(RUNS / f"{name}.tar.gz", member)


def members(name: str) -> list[str]:
    """The runs in a bundle of several, as `report` takes them."""
    with tarfile.open(RUNS / f"{name}.tar.gz") as archive:
        runs = sorted({path.split("/")[2] for path in archive.getnames() if path.startswith("ukperf-bundle/runs/")})
    return [f"{name}/{run}" for run in runs]


@cache
def report(run: str, baseline: str = BASELINE) -> dict[str, Any]:
    """What `ukperf report RUN --baseline BASELINE --json` says."""
    words = ["report", str(bundle(run)), "--baseline", baseline, "--json"]
    with contextlib.redirect_stdout(io.StringIO()) as said:  # as a program it would start Python for each of them
        application()(words, prog_name="ukperf", standalone_mode=False)
    answer: dict[str, Any] = json.loads(said.getvalue())
    return answer


def guests(runs: Sequence[str]) -> list[str]:
    """Those of the runs, the baseline first, `native`, which is none, last."""
    names = dict.fromkeys(guest["guest"] for run in runs for guest in report(run)["guests"])
    return sorted(names, key=lambda name: (name != BASELINE, name == "native"))


def comparison(
    run: str, guest: str, benchmark: str, baseline: str = BASELINE, divisor: str = ""
) -> Mapping[str, Any] | None:
    """divisor: where the run divides by several, as restored guests by booted ones."""
    rows = report(run, baseline)["comparisons"]
    wanted = (guest, benchmark, divisor)
    return next((row for row in rows if (row["guest"], row["benchmark"], divisor and row["baseline"]) == wanted), None)


def value(run: str, guest: str, benchmark: str, baseline: str = BASELINE) -> str:
    """The median with its unit, `–` where there is none."""
    row = next((row for row in report(run, baseline)["guests"] if row["guest"] == guest), None)
    estimate = (row or {"estimates": {}})["estimates"].get(benchmark)
    return "–" if estimate is None else with_unit(estimate["value"], Unit(estimate["unit"]))


def against(run: str, guest: str, benchmark: str, baseline: str = BASELINE, divisor: str = "") -> str:
    """Ratio, interval and verdict in a cell."""
    row = comparison(run, guest, benchmark, baseline, divisor)
    if row is None:
        return "–"
    if row["ratio"] is None:
        alone = value(run, guest, benchmark, baseline)
        return alone if alone == "–" else f"{alone} ({row['word']})"
    if row["low"] is None:
        return f"{number(row['ratio'])}×"  # too few boots for more
    surely = "**" if row["verdict"] in ("faster", "slower") else ""
    return f"{surely}{number(row['ratio'])}×{surely} ({row['word']})<br><sub>{_bounds(row)}</sub>"


def _bounds(row: Mapping[str, Any]) -> str:
    """The interval in few characters: as per cent to both sides where that is less than one."""
    low, high = row["low"], row["high"]
    if low == high:
        return interval((low, high))
    per_cent = 50 * (high - low) / row["ratio"]
    return f"± {per_cent:.1g} %" if per_cent < 1 else interval((low, high), 1.0, high - low)


def grid(columns: Sequence[Asked], accelerator: str) -> Iterator[str]:
    """Guests × columns: the baseline's own figures, the others' ratios to them."""
    runs = [f"{column.run}-{accelerator}" for column in columns]
    yield f"| guest | {' | '.join(column.title for column in columns)} |"
    yield f"|---|{'--:|' * len(columns)}"
    for guest in guests(runs):
        if len(set(runs)) > 1 and guest in LEFT_OUT:
            continue
        cell = value if guest == BASELINE else against
        cells = [cell(run, guest, column.benchmark) for run, column in zip(runs, columns, strict=True)]
        yield f"| `{guest}` | {' | '.join(cells)} |"


def sold(columns: Sequence[Sold], names: Sequence[str]) -> Iterator[str]:
    """Guests × what unikernels are sold by."""
    yield f"| guest | {' | '.join(column.title for column in columns)} |"
    yield f"|---|{'--:|' * len(columns)}"
    for guest in names:
        yield f"| `{guest}` | {' | '.join(column.cell(guest) for column in columns)} |"


def one_run(run: str, benchmarks: Sequence[str]) -> Iterator[str]:
    """The same of several benchmarks of one run."""
    yield from grid([Asked(name, run.rpartition("-")[0], name) for name in benchmarks], run.rpartition("-")[2])


def runtimes() -> Iterator[str]:
    """Each runtime of `ukperf paper` with its model: guests' way to the first prediction, and one row after that."""
    names = [name for name in guests(members("paper-infer")) if name != BASELINE]
    yield f"| runtime, model | {BASELINE} | {' | '.join(names)} | one row: {BASELINE} | {' | '.join(names)} |"
    yield f"|---|--:|{'--:|' * len(names)}--:|{'--:|' * len(names)}"
    for run in members("paper-infer"):
        runtime, _, model = run.partition("/")[2].rpartition("-")
        cells = [
            cell
            for benchmark in ("import to first prediction", "single row")
            for cell in (value(run, BASELINE, benchmark), *(against(run, name, benchmark) for name in names))
        ]
        yield f"| {runtime}, {model} | {' | '.join(cells)} |"


def classifiers(run: str) -> Iterator[str]:
    """The paper's models beside both baselines: a kernel with a tiny init, and a whole distribution."""
    yield f"| guest ÷ baseline | {' | '.join(_CLASSIFIERS)} |"
    yield f"|---|{'--:|' * len(_CLASSIFIERS)}"
    for guest, baseline in (("nanos", "linux"), ("nanos", "debian"), ("debian", "linux")):
        cells = [against(run, guest, benchmark, baseline) for benchmark in _CLASSIFIERS]
        yield f"| `{guest}` ÷ `{baseline}` | {' | '.join(cells)} |"


def litert() -> Iterator[str]:
    """LiteRT with the file that it reads and without, medians: other engines are not compared."""
    benchmarks = ("single row", "batch")
    yield f"| guest | /proc/cpuinfo | {' | '.join(benchmarks)} |"
    yield f"|---|---|{'--:|' * len(benchmarks)}"
    for guest in guests(["litert-icount"]):
        for run, there in (("litert-icount", "yes"), ("litert-bare-icount", "yes" if guest == BASELINE else "no")):
            cells = [value(run, guest, benchmark) for benchmark in benchmarks]
            yield f"| `{guest}` | {there} | {' | '.join(cells)} |"


def restored(runs: Mapping[str, str], benchmark: str, baseline: str = BASELINE) -> Iterator[str]:
    """Guests that are booted and restored. runs: what was run → its run."""
    yield f"| what | guest | booted | ÷ {baseline} | restored | ÷ {baseline} restored | restored ÷ booted |"
    yield "|---|---|--:|--:|--:|--:|--:|"
    for what, run in runs.items():
        names = [guest["guest"] for guest in report(run, baseline)["guests"]]
        for name in names:
            again = f"{name}@restore"
            if again not in names:
                continue
            cells = (
                value(run, name, benchmark, baseline),
                against(run, name, benchmark, baseline, baseline),
                value(run, again, benchmark, baseline),
                against(run, again, benchmark, baseline, f"{baseline}@restore"),
                against(run, again, benchmark, baseline, name),
            )
            yield f"| {what} | `{name}` | {' | '.join(cells)} |"


def fleets(run: str, baseline: str) -> Iterator[str]:
    """Of what the memory of one more guest is made, and how long the last takes to create beside the first."""
    loaded = load(bundle(run))
    yield "| guest | one more, MiB | guest memory | VMM | code cache | last created ÷ first |"
    yield "|---|--:|--:|--:|--:|--:|"
    for row in fleets_of(loaded.records, baseline):
        parts = [row.part(name) for name in ("guest", "vmm", "code_cache")]
        growth = row.growth()  # by the line through all of a fleet
        cells = [_mib(row.more()), *(f"{part.value / MIB:.1f}" for part in parts), number(growth.value)]
        yield f"| `{row.guest}` | {' | '.join(cells)} {interval((growth.low, growth.high))} |"


def _mib(estimate: Estimate) -> str:
    """A number of bytes with its interval."""
    return f"{estimate.value / MIB:.1f} {interval((estimate.low / MIB, estimate.high / MIB))}"


def overview_facts() -> Iterator[str]:
    """On what the overview was measured."""
    runs = [report(f"{column.run}-icount") for column in OVERVIEW]
    facts = {name: said for run in runs for name, said in run["facts"].items()}
    machine = runs[0]["facts"]["machine"].split(", ")
    versions = {name.removesuffix(" kernel"): said.split(",")[0] for name, said in facts.items() if "kernel" in name}
    boots = " or ".join(map(str, sorted({run["blocks"] for run in runs})))
    cpus = " and ".join(sorted({run["facts"]["cpu"] for run in runs}))
    yield f"{boots} boots of each guest, in random order, on two cores of {cpus}; counts of instructions do not"
    yield f"depend on that. QEMU {facts['qemu']}, {machine[0]}, {machine[1]}, SeaBIOS, serial console. Kernels:"
    yield "; ".join(f"{name} {said}" for name, said in versions.items() if name not in LEFT_OUT) + "."


def highlights() -> Iterator[str]:
    """What the overview says, in sentences for who reads no table."""
    others = ("nanos", "linux-lean", "unikraft")
    fewer = ", ".join(f"{1 / _row(BOOT, name)['ratio']:.0f} times fewer in {name}" for name in others)
    rows = [_row(task, name) for task in (TRAIN, TEST, ROW) for name in others]
    most = 100 * max(abs(row[end] - 1) for row in rows for end in ("low", "high"))
    start = number(_row(START, "unikraft")["ratio"])
    unikraft, lean, nanos = (f"{_row(CALL, name)['ratio']:.2g}" for name in ("unikraft", "linux-lean", "nanos"))
    longer = _row(CALL, "unikraft", "tcg")
    long = f"{longer['ratio']:.1f} {interval((longer['low'], longer['high']), 1.0, longer['high'] - longer['low'])}"
    boot = value("boot-icount", BASELINE, BOOT.benchmark)
    yield f"* **A boot** is {boot} with Debian's cloud kernel (`linux` below), and {fewer}."
    yield "* **scikit-learn's trees and a warm ONNX prediction** take these three within"
    yield f"  {most:.1f} % of linux's instructions (intervals included); importing ONNX Runtime and predicting once"
    yield f"  takes Unikraft {start} times as many."
    yield f"* **A system call** (`getuid`) takes Unikraft {unikraft} times linux's instructions, linux-lean"
    yield f"  {lean} times, nanos {nanos} times. Instructions are not time: QEMU's emulator takes {long} times as"
    yield "  *long* for Unikraft's as for linux's."


def _row(task: Asked, guest: str, accelerator: str = "icount") -> Mapping[str, Any]:
    row = comparison(f"{task.run}-{accelerator}", guest, task.benchmark)
    assert row is not None and row["ratio"] is not None
    return row


UNIKERNELS = (BASELINE, "nanos", "unikraft")
_CLASSIFIERS = tuple(f"{model} {work}" for model in ("multinomialnb", "extratrees") for work in ("train", "test"))
_CALLS = ("getppid.raw/p50", "getuid.raw/p50", "getrandom16.raw/p50")
TABLES: dict[str, Callable[[], Iterator[str]]] = {
    "overview-facts": overview_facts,
    "overview": lambda: grid(OVERVIEW, "icount"),
    "overview-tcg": lambda: grid(EMULATED, "tcg"),
    "boot-tcg": lambda: one_run("boot-tcg", ("vmm", "kernel", "init", "stop", "total")),
    "boot-icount": lambda: one_run("boot-icount", ("kernel", "init", "stop", "total")),
    "onnx-icount": lambda: one_run(
        "onnx-icount", ("import", "load", "first prediction", "single row", "batch", "peak memory, VMM")
    ),
    "syscalls-icount": lambda: one_run("syscalls-icount", _CALLS),
    "syscalls-tcg": lambda: one_run("syscalls-tcg", _CALLS),
    "selftests-icount": lambda: one_run("selftests-icount", ("kernel", "init", "stop", "total")),
    "runtimes": runtimes,
    "paper-sklearn": lambda: one_run("paper-sklearn", _CLASSIFIERS),
    "sklearn-icount": lambda: classifiers("sklearn-icount"),
    "sklearn-earlier-icount": lambda: classifiers("sklearn-earlier-icount"),
    "litert": litert,
    "cold": lambda: restored(
        {
            "Python's http.server": "cold-http-tcg",
            "ONNX Runtime, a prediction": "cold-onnx-tcg-2",
            "scikit-learn, a prediction": "cold-sklearn-tcg",
        },
        FIRST,
    ),
    "cold-start": lambda: sold(COLD, UNIKERNELS),
    "running": lambda: sold(RUNNING, (*UNIKERNELS, "native")),
    "highlights": highlights,
    "serve-lighttpd": lambda: one_run(
        SERVED, (FIRST, "p50 at 100/s", *(f"{what} at 8 connections" for what in ("throughput", "p99", "p99 ÷ p50")))
    ),
    "serve-onnx": lambda: one_run(
        "serve-onnx-tcg",
        (FIRST, "p50 at 10/s", *(f"{what} at 2 connections" for what in ("throughput", "p99", "p99 ÷ p50"))),
    ),
    "fleets": lambda: fleets("density-both", "linux-128"),
    "fleets-32": lambda: fleets("density-32", "unikraft"),
    **PROFILES,
    "density": lambda: restored({"memory of one more guest": "density-both"}, MORE, "linux-128"),
}


def filled(text: str) -> str:
    """A page with every table as the runs say it. Raises KeyError for a table that nobody makes."""

    def table(mark: re.Match[str]) -> str:
        return f"{mark[1]}{chr(10).join(TABLES[mark['name']]())}\n{mark[3]}"

    return MARK.sub(table, text)


def main() -> int:
    words = argparse.ArgumentParser(description="Tables and pictures from the runs in docs/results/runs.")
    words.add_argument("--check", action="store_true", help="write nothing; status 1 where a table is stale")
    words.add_argument("--pictures", action="store_true", help="draw the pictures too")
    asked = words.parse_args()
    stale = []
    for page in PAGES:
        before = page.read_text(encoding="utf-8")
        after = filled(before)
        if before != after:
            stale.append(page)
            if not asked.check:
                page.write_text(after, encoding="utf-8")
    for page in stale:
        print(f"{page.relative_to(ROOT)} {'is not what the runs say' if asked.check else 'was written'}")
    if asked.pictures:
        from pictures import draw_all

        draw_all(HERE)
    return int(bool(stale) and asked.check)


if __name__ == "__main__":
    sys.exit(main())
