"""The Go benchmark format, for benchstat: one line a boot, so that benchstat's samples are boots.

`benchstat -col /guest FILE` compares the guests of one run; two files compare two runs. Specification:
https://golang.org/design/14313-benchmark-format
"""

from __future__ import annotations

import math
import re

from ukperf.errors import UkperfError
from ukperf.model import Unit
from ukperf.reports.exports import Exportable
from ukperf.text import clean

_SPACE = re.compile(r"\s+")
_PROCESSORS = re.compile(r"-[0-9]+$")
_UNITS = {
    Unit.SECONDS: ("ns/op", 1e9),
    Unit.INSTRUCTIONS: ("instructions/op", 1.0),
    Unit.CYCLES: ("cycles/op", 1.0),
    Unit.BYTES: ("B/op", 1.0),
    Unit.COUNT: ("count/op", 1.0),
    Unit.PER_SECOND: ("op/s", 1.0),
    Unit.SCORE: ("score", 1.0),
}


def export(run: Exportable) -> str:
    """Raises UkperfError when no boot gave a value."""
    lines = [f"{_key(name)}: {' '.join(value.split())}" for name, value in run.facts.items() if _key(name)]
    # a line that is neither a key nor a result says something to people alone
    lines += [f"No value: {run.name(guest, name)}: {status.value}" for guest, name, status in run.without_value()]
    lines += [f"Mark: {run.name(guest, name)}: {mark.status.value}" for guest, name, mark in run.marked()]
    results: list[str] = []
    better: dict[str, None] = {}
    for guest, benchmark, series in run.series():
        unit, factor = _UNITS[series.unit]
        if series.unit.cost < 0:
            better[f"Unit {unit} better=higher"] = None
        name = f"Benchmark{_word(benchmark)}" + ("" if run.single else f"/guest={_SPACE.sub('_', guest)}")
        name += "-1" if _PROCESSORS.search(name) else ""  # the end of nanos:2026-11 is no number of processors
        results += [f"{name} 1 {value * factor:.10g} {unit}" for value in series.values if math.isfinite(value)]
    if not results:
        raise UkperfError("No boot gave a value: there is nothing to export.")
    return clean("\n".join([*lines, "", *better, *results]) + "\n", keep="\n")


def _key(name: str) -> str:
    # a configuration key starts with a lower-case letter and has no upper-case letter, space or colon
    key = re.sub(r"[^a-z0-9_.-]+", "-", name.lower()).strip("-")
    return key if key[:1].isalpha() else ""


def _word(name: str) -> str:
    # the letter behind `Benchmark` must not be lower case; no white space within a name
    word = _SPACE.sub("_", name.strip()) or "Unnamed"
    return word[0].upper() + word[1:]
