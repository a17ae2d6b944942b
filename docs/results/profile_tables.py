"""The tables and sentences of docs/findings.md that say where instructions go: make.py writes them.

Each is made of what `ukperf profile BUNDLE --json` says of the runs beside this script.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

from ukperf.cli.main import application
from ukperf.model import Unit
from ukperf.profile.consolemarks import call_changes
from ukperf.profile.difference import without_copies
from ukperf.profile.model import CodePart, Function
from ukperf.reports.units import with_unit

RUNS = Path(__file__).resolve().parent / "runs"
BOOTS, OLD, NEW = "profile-boots", "profile-6.1", "profile-6.12"
OLD_CALLS, NEW_CALLS = "profile-initcalls-6.1", "profile-initcalls-6.12"
IMPORT, NUMPY, ONNX = "profile-import", "profile-numpy", "profile-onnx"
SQLITE = "profile-sqlite"
GUESTS = ("linux", "nanos", "unikraft")
RUNNING, ROWS = "main → exit", "phase single rows → single row"
CALLS = 50  # predictions in that window
MOST = 20
KERNEL = ("kernel", "module")
# nanos keeps ranges in red-black trees: the trees, and the maps in them.
TREES = ("rb*", "*_rb*", "rmnode_*", "rangemap_*", "insert_node_internal", "max_lte_internal", "fix_up", "range_*")


# ---- what the runs say ----


@cache
def said(run: str, *words: str) -> dict[str, Any]:
    """What `ukperf profile RUN WORDS --json` says."""
    command = ["profile", str(RUNS / f"{run}.tar.gz"), *words, "--json"]
    with contextlib.redirect_stdout(io.StringIO()) as out:
        application()(command, prog_name="ukperf", standalone_mode=False)
    answer: dict[str, Any] = json.loads(out.getvalue())
    return answer


def guest(run: str, name: str, window: str = "") -> dict[str, Any]:
    """One guest's profile."""
    words = ("--window", window) if window else ()
    return next(one for one in said(run, *words)["guests"] if one["guest"] == name)


def instructions(one: Mapping[str, Any]) -> float:
    return float(one["instructions"]["value"])


def difference(run: str, against: str, window: str = "") -> dict[str, Any]:
    """The profile of a run against another run, or of its other guest against the guest `against`."""
    other = RUNS / f"{against}.tar.gz"
    words = ("--window", window) if window else ()
    return said(run, "--against", str(other) if other.exists() else against, *words)


def share(one: Mapping[str, Any], patterns: Iterable[str], parts: Sequence[str] = KERNEL) -> float:
    """Of a guest's instructions those of functions that fit."""
    globs = tuple(patterns)
    return sum(
        f["share"]
        for f in one["functions"]
        if f["part"] in parts and f["named"] and any(fnmatchcase(f["name"], glob) for glob in globs)
    )


def part_share(one: Mapping[str, Any], parts: Sequence[str], *, named: bool = False) -> float:
    return sum(f["share"] for f in one["functions"] if f["part"] in parts and (f["named"] or not named))


def part_sum(one: Mapping[str, Any], parts: Sequence[str]) -> float:
    return sum(f["instructions"]["mean"] for f in one["functions"] if f["part"] in parts)


# ---- how it is written ----


def called(function: Mapping[str, Any]) -> str:
    """A function in a cell: its name, with whose it is where that is no kernel's; of code without names its file."""
    part, file = CodePart(function["part"]), function["file"]
    known = without_copies(Function(part, file, function["name"]))
    if function.get("named", bool(known.name)) and known.name:
        where = "" if function["part"] in KERNEL else f" of {'the program' if part is CodePart.PROGRAM else file}"
        return f"`{known.name}`{where}"
    if part is CodePart.FIRMWARE:
        return "firmware" if file else "ROM"
    return file or part.value


def percent(value: float, digits: int = 1) -> str:
    return f"{100 * value:.{digits}f} %"


def count(value: float) -> str:
    """1,559 M."""
    return with_unit(value, Unit.INSTRUCTIONS).removesuffix("instr").rstrip() if value else "0"


def added(value: float) -> str:
    sign = "+" if value > 0 else "−" if value < 0 else "±"
    return f"{sign}{count(abs(value))}"


def paragraph(*sentences: str, bullet: str = "") -> list[str]:
    """Lines of a page."""
    return textwrap.wrap(bullet + " ".join(sentences), 118, subsequent_indent=" " * len(bullet), break_on_hyphens=False)


# ---- boots ----


def boots() -> Iterator[str]:
    """The functions that have most of each guest's boot."""
    sides = [guest(BOOTS, name) for name in GUESTS]
    titles = ("`linux`, Debian 12's cloud kernel", "`nanos`", "`unikraft`")
    yield f"| | {' | | '.join(titles)} | |"
    yield f"|---|{'---|--:|' * len(sides)}"
    yield f"| all | | {' | | '.join(count(instructions(side)) for side in sides)} |"
    for at in range(MOST):
        cells = [f"{called(f)} | {percent(f['share'])}" for f in (side["functions"][at] for side in sides)]
        yield f"| {at + 1} | {' | '.join(cells)} |"


def boots_named() -> Iterator[str]:
    sides = {name: guest(BOOTS, name) for name in GUESTS}
    unknown = ", ".join(f"{percent(part_share(side, ['unnamed']), 2)} ({name})" for name, side in sides.items())
    kernels = [part_share(side, KERNEL, named=True) / part_share(side, KERNEL) for side in sides.values()]
    yield from paragraph(
        f"{sides['linux']['boots']} boots of each guest. {unknown} of the instructions are in no file that is known,",
        "like the vDSO of a kernel that is packed; of the kernels' own,",
        f"{math.floor(1e4 * min(kernels)) / 100:.2f} % and more have a name.",
    )


def boots_facts() -> Iterator[str]:
    linux, nanos, unikraft = (guest(BOOTS, name) for name in GUESTS)
    calls = initcalls(OLD_CALLS)
    tests = sum(calls["crypto_algapi_init"]) / sum(map(sum, calls.values()))
    wait = next(f for f in unikraft["functions"] if f["name"] == "tscclock_init")
    kernel = part_share(nanos, KERNEL)
    large, loading = percent(share(linux, ["mpi*"]), 0), percent(part_share(nanos, ("firmware", "loader")), 0)
    waited, trees = percent(wait["share"], 0), percent(share(nanos, TREES) / kernel, 0)
    yield from paragraph(
        f"**Linux** multiplies large numbers (`mpi*`: {large} of the boot): the kernel tests its cryptographic",
        "algorithms when it boots. `--initcalls` says the same from the other side: `crypto_algapi_init` is",
        f"{percent(tests, 0)} of all initcalls.",
        bullet="* ",
    )
    yield from paragraph(
        f"**Unikraft** waits: `tscclock_init` ({waited}) counts the clock's ticks for 0.1 s of its own time, which is",
        f"{count(wait['instructions']['mean'])} instructions under `--accel icount`, and 0.1 s on any machine. Its",
        "system calls here are those of the clock check that ukperf adds to a boot (`main`, `clock_gettime`), which",
        "no figure of a boot contains.",
        bullet="* ",
    )
    yield from paragraph(
        f"**nanos**'s boot is firmware and boot image to {loading}; of its kernel's",
        f"{count(kernel * instructions(nanos))} instructions, red-black trees and the maps of ranges in them are",
        f"{trees}.",
        bullet="* ",
    )


# ---- two kernels ----


def kernels(most: int = 10) -> Iterator[str]:
    one = difference(NEW, OLD)
    listed = [f for f in one["functions"] if f["difference"]]
    yield "| function | 6.1 | 6.12 | adds |"
    yield "|---|--:|--:|--:|"
    for f in listed[:most]:
        yield f"| {called(f)} | {count(f['baseline_mean'])} | {count(f['side_mean'])} | **{added(f['difference'])}** |"
    rest = sum(f["difference"] for f in listed[most:])
    yield f"| {len(listed) - most:,} others | | | {added(rest)} |"


def kernels_total() -> Iterator[str]:
    one = difference(NEW, OLD)
    total, (new, old) = one["total"], one["boots"]
    unpacking = next(f for f in one["functions"] if f["file"] == "decompressor")
    exact = sum(f["low"] == f["high"] for f in one["functions"])
    alike = "all" if exact == len(one["functions"]) else f"{exact:,}"
    versions = [facts["linux kernel"].split(",")[0] for facts in (one["facts"], said(OLD)["facts"])]
    yield from paragraph(
        f"Linux {versions[0]} of Debian 13 against {versions[1]} of Debian 12, {new} boots against {old}:",
        f"{added(total['difference'])} instructions ({100 * total['difference'] / total['baseline_mean']:+.1f} %);",
        f"{alike} of {len(one['functions']):,} functions did the same in all boots of each. The new one is packed by",
        f"zstd, not by lz4: unpacking alone takes {added(unpacking['difference'])}, for a file of 11.7 instead of",
        "14.2 MB.",
    )


def initcalls(run: str) -> dict[str, list[float]]:
    """Initcall → thousands of instructions, boot by boot."""
    (kernel,) = said(run, "--initcalls")["kernels"]
    return {name: list(values) for name, values in kernel["initcalls"].items()}


def initcall_table(most: int = 10) -> Iterator[str]:
    old, new = initcalls(OLD_CALLS), initcalls(NEW_CALLS)
    yield "| initcall | 6.1 | 6.12 | adds |"
    yield "|---|--:|--:|--:|"
    for change in call_changes(new, old)[:most]:
        one = change.addend
        pairs = ((one.baseline, old), (one.side, new))
        sides = [count(1000 * value) if change.name in there else "–" for value, there in pairs]
        sure = "exact" if one.exact else f"[{added(1000 * (one.low or 0))}, {added(1000 * (one.high or 0))}]"
        yield f"| `{change.name}` | {' | '.join(sides)} | **{added(1000 * one.difference)}**<br><sub>{sure}</sub> |"


# ---- a Python import ----


def import_facts() -> Iterator[str]:
    small, large = (difference(run, "linux", RUNNING) for run in (IMPORT, NUMPY))
    sides = {name: guest(NUMPY, name, RUNNING) for name in ("linux", "unikraft")}
    copied = next(f for f in large["functions"] if f["name"] == "memcpy" and f["part"] == "kernel")
    kernel = part_share(sides["unikraft"], KERNEL) * instructions(sides["unikraft"])
    python, others = _file_sums(small, "libpython")
    named = " and ".join(f"{percent(_named(side))} of {name}'s" for name, side in sides.items())
    yield from paragraph(
        f"`import json, random` takes Unikraft {_sides(small)}; the interpreter's own part of it is the same to",
        f"{abs(others - python):,.0f} instructions of {count(python)}. With decimal and numpy it is {_sides(large)},",
        f"and the difference of {count(large['total']['difference'])} is one function: Unikraft's `memcpy` copies byte",
        f"by byte, five instructions each, and takes {count(copied['side_mean'])} of {count(kernel)} of its kernel's",
        "instructions; reads of its file system and page faults copy.",
        f"{named} instructions there have a function's name. Two boots of each guest.",
    )


def _sides(one: Mapping[str, Any]) -> str:
    total = one["total"]
    return f"{count(total['side_mean'])} instructions against Linux's {count(total['baseline_mean'])}"


def _named(side: Mapping[str, Any]) -> float:
    known = side["coverage"]
    return float(known["named"] / sum(known.values()))


def _file_sums(one: Mapping[str, Any], file: str) -> tuple[float, float]:
    """Instructions of the files that are called so, of both sides of a difference."""
    rows = [f for f in one["functions"] if file in f["file"]]
    return sum(f["baseline_mean"] for f in rows), sum(f["side_mean"] for f in rows)


def import_table(most: int = 5) -> Iterator[str]:
    one = difference(NUMPY, "linux", RUNNING)
    yield "| function | `linux` | `unikraft` | adds |"
    yield "|---|--:|--:|--:|"
    for f in one["functions"][:most]:
        both = _two(f["baseline_mean"], f["side_mean"])
        yield f"| {called(f)}, {f['part']} | {both} | **{added(f['difference'])}** |"
    python = _file_sums(one, "libpython")
    yield f"| libpython, all of it | {_two(*python)} | {added(python[1] - python[0])} |"


def _two(one: float, other: float) -> str:
    return " | ".join(count(value) if value else "–" for value in (one, other))


# ---- calls of ONNX Runtime ----


def onnx_facts() -> Iterator[str]:
    """Why each call takes nanos more."""
    one = difference(f"{ONNX}-nanos", f"{ONNX}-linux", ROWS)
    sides = {name: guest(f"{ONNX}-{name}", name, ROWS) for name in ("nanos", "linux")}
    calls = {name: {call["name"]: call for call in side["calls"]} for name, side in sides.items()}
    clock = calls["nanos"]["clock_gettime"]
    (times,) = set(clock["times"])
    before, after = _file_sums(one, "onnxruntime")
    word = "more" if after > before else "fewer"
    never = "none" if "clock_gettime" not in calls["linux"] else "some"
    yield from paragraph(
        f"In {CALLS} such calls ONNX Runtime's own code executes {count(before)} instructions in Linux and",
        f"{abs(after - before):,.0f} {word} in nanos. But the program asks nanos's kernel {times} times for the time",
        f"(`clock_gettime`, {clock['per_call']:,.0f} instructions each), which is {times // CALLS} times a call or",
        f"{clock['mean'] / CALLS:,.0f} instructions, and Linux's kernel {never} of these times: its vDSO answers.",
        "nanos's vDSO knows KVM's clock alone, and enters the kernel where there is none (`fallback_clock_gettime`).",
        "Where nanos has KVM's clock that should be gone; it was not tried. Unikraft has no vDSO.",
    )


# ---- system calls of sqlite3 ----


def calls_of(name: str) -> dict[str, dict[str, Any]]:
    """Name → one system call of sqlite3's in that guest."""
    return {call["name"]: call for call in guest(SQLITE, name, RUNNING)["calls"]}


def calls_table(most: int = 8) -> Iterator[str]:
    """The calls that take most in any of the guests."""
    sides = {name: calls_of(name) for name in GUESTS}
    totals = {call: max(side[call]["mean"] for side in sides.values() if call in side) for call in sides["linux"]}
    yield f"| system call | {' | '.join(f'`{name}`' for name in sides)} |"
    yield f"|---|{'--:|' * len(sides)}"
    for call in sorted(totals, key=lambda name: -totals[name])[:most]:
        cells = [_call(side.get(call), sides["linux"][call]) for side in sides.values()]
        yield f"| {call} | {' | '.join(cells)} |"


def _call(one: Mapping[str, Any] | None, baseline: Mapping[str, Any]) -> str:
    if one is None:
        return "–"
    (times,) = set(one["times"])
    text = f"{times:,.0f} × {count(one['per_call'])}"
    return text if one is baseline else f"{text}<br><sub>{one['per_call'] / baseline['per_call']:,.3g}×</sub>"


def calls_facts() -> Iterator[str]:
    sides = {name: guest(SQLITE, name, RUNNING) for name in GUESTS}
    own = [
        sum(f["instructions"]["mean"] for f in side["functions"] if "sqlite3" in f["file"]) for side in sides.values()
    ]
    spread = max(own) - min(own)
    grown = {name: calls_of(name)["brk"] for name in ("linux", "unikraft")}
    ratio = grown["unikraft"]["per_call"] / grown["linux"]["per_call"]
    part = grown["unikraft"]["mean"] / instructions(sides["unikraft"])
    yield from paragraph(
        f"sqlite3's own code and its library's execute {count(min(own))} instructions in all three guests,",
        f"alike to {spread:,.0f}. Unikraft is dear in one call: `brk`, by which the C library asks for memory, takes",
        f"{count(grown['unikraft']['per_call'])} instructions each time, {ratio:,.0f} times Linux's, and",
        f"{percent(part)} of the whole window.",
    )


TABLES: dict[str, Callable[[], Iterator[str]]] = {
    "profile-boots": boots,
    "profile-boots-named": boots_named,
    "profile-boots-facts": boots_facts,
    "profile-kernels": kernels,
    "profile-kernels-total": kernels_total,
    "profile-initcalls": initcall_table,
    "profile-import": import_table,
    "profile-import-facts": import_facts,
    "profile-onnx-facts": onnx_facts,
    "profile-calls": calls_table,
    "profile-calls-facts": calls_facts,
}
