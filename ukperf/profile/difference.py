"""Two profiles against each other: functions by what they add, and gates on groups of functions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from ukperf.errors import UkperfError
from ukperf.model import VERDICT_OF_WORD, Unit, Verdict, verdict_word
from ukperf.profile.model import WHOLE, CodePart, Function, Profiled
from ukperf.stats.addends import Addend, addend, addends, p_grown, p_shrunk
from ukperf.stats.estimate import MIN_BOOTS
from ukperf.stats.verdict import ALPHA, holm
from ukperf.text import clean, meant

# What the compiler made of a function is the function: copies for constants, parts that are seldom executed.
_COPIES = re.compile(r"(?:\.(?:constprop|isra|part|cold|lto_priv|llvm|localalias)(?:\.\d+)?)+$")
_HOW = "Write PATTERN:more, PATTERN:fewer or PATTERN:slower, like 'acpi_*:more'."


@dataclass(frozen=True)
class FunctionChange:
    """One function of both sides, or of one of them."""

    function: Function
    addend: Addend


def without_copies(function: Function) -> Function:
    """The function that a compiler's copy is of: `do_exit.constprop.0` → `do_exit`."""
    name = _COPIES.sub("", function.name)
    return function if name == function.name or not name else Function(function.part, function.file, name)


def comparable(function: Function) -> Function:
    """What is to be compared over builds: of functions without a name their file, since their places move."""
    if not function.named:
        return Function(function.part, function.file, "", named=False)
    return without_copies(function)


def series(profiled: Profiled, window: str = WHOLE) -> dict[Function, list[int]]:
    """function, as it is compared → its instructions in each boot."""
    summed: dict[Function, list[int]] = {}
    for function, counts in profiled.series(window).items():
        row = summed.setdefault(comparable(function), [0] * len(counts))
        for at, count in enumerate(counts):
            row[at] += count
    return summed


def changes(side: Profiled, baseline: Profiled, window: str = WHOLE) -> list[FunctionChange]:
    """Every function, what adds or takes away most first. Their differences add up to that of the boots, with what
    found no place in memory. One family of tests."""
    ours, theirs = series(side, window), series(baseline, window)
    functions = list(dict.fromkeys([*ours, *theirs]))
    nothing = [0] * len(side.boots), [0] * len(baseline.boots)
    pairs = [(ours.get(f, nothing[0]), theirs.get(f, nothing[1])) for f in functions]
    listed = [FunctionChange(f, one) for f, one in zip(functions, addends(pairs), strict=True)]
    return sorted(listed, key=lambda c: (-abs(c.addend.difference), c.function.order))


def total_change(side: Profiled, baseline: Profiled, window: str = WHOLE) -> Addend:
    """Of all instructions; a family of its own."""
    return addends([(side.totals(window), baseline.totals(window))])[0]


# ---- gates ----


@dataclass(frozen=True)
class GateExpression:
    """`PATTERN:WORD`. pattern: a glob of a function's name, or with a slash of its path (`kernel/acpi_*`)."""

    pattern: str
    verdict: Verdict  # SLOWER: more; FASTER: fewer

    @property
    def text(self) -> str:
        return f"{self.pattern}:{verdict_word(self.verdict, Unit.INSTRUCTIONS)}"

    def fits(self, function: Function) -> bool:
        return fnmatchcase(function.path if "/" in self.pattern else function.name, self.pattern)


def gate_of(text: str) -> GateExpression:
    """`acpi_*:more`. Raises UkperfError for what is none."""
    pattern, colon, word = text.rpartition(":")
    if not colon or not pattern.strip():
        raise UkperfError(f"--fail-on {clean(text, 80)!r} names no function.", hint=_HOW)
    verdict = VERDICT_OF_WORD.get(word, Verdict(word) if word in list(Verdict) else None)
    if verdict not in (Verdict.SLOWER, Verdict.FASTER):
        raise UkperfError(f"--fail-on {clean(text, 80)!r}: {clean(word, 40)!r} is no verdict of functions.", hint=_HOW)
    return GateExpression(pattern.strip(), verdict)


def is_gate(text: str) -> bool:
    """Is this a gate on functions, and not a verdict alone?"""
    return ":" in text


@dataclass(frozen=True)
class GateResult:
    """What a gate found of the functions that fit, all of them together. failed: surely beyond the margin; None: it
    could not be tested, and `why` says so."""

    gate: GateExpression
    functions: tuple[Function, ...]
    addend: Addend | None
    failed: bool | None
    p_value: float | None = None  # after Holm over the gates
    why: str = ""

    @property
    def sentence(self) -> str:
        if self.addend is None or self.failed is None:
            return f"{self.gate.text} could not be tested: {self.why}."
        was = f"{self.addend.baseline:,.0f} → {self.addend.side:,.0f} instructions"
        return f"{self.gate.text} {'failed' if self.failed else 'passed'}: {was} in {len(self.functions)} functions."


def gated(
    side: Profiled, baseline: Profiled, gates: Sequence[GateExpression], delta: float, window: str = WHOLE
) -> list[GateResult]:
    """Each gate's answer. delta: by what share a group may grow (or shrink).

    Raises UkperfError for a pattern that fits no function of either side: a gate that tests nothing must not pass.
    """
    ours, theirs = series(side, window), series(baseline, window)
    every = list(dict.fromkeys([*ours, *theirs]))
    groups = []
    for gate in gates:
        fitting = tuple(f for f in every if f.named and gate.fits(f))
        if not fitting:
            names = [f.path if "/" in gate.pattern else f.name for f in every if f.named]
            raise UkperfError(f"No function fits {clean(gate.pattern, 80)!r}.", hint=meant(gate.pattern, names))
        groups.append((gate, fitting, _sum(ours, fitting, len(side.boots)), _sum(theirs, fitting, len(baseline.boots))))
    tests = [p_grown if gate.verdict is Verdict.SLOWER else p_shrunk for gate, *_ in groups]
    raw = [test(over, under, delta) for test, (_, _, over, under) in zip(tests, groups, strict=True)]
    adjusted = holm([1.0 if p is None else p for p in raw])
    results = []
    for p, whole, (gate, fitting, over, under) in zip(raw, adjusted, groups, strict=True):
        if p is None:
            why = f"{len(over)} boots against {len(under)}, and {MIN_BOOTS} a side are needed"
            results.append(GateResult(gate, fitting, addend(over, under), None, why=why))
        else:
            results.append(GateResult(gate, fitting, addend(over, under), whole <= ALPHA, float(whole)))
    return results


def _sum(rows: dict[Function, list[int]], functions: Iterable[Function], boots: int) -> list[int]:
    summed = [0] * boots
    for function in functions:
        for at, count in enumerate(rows.get(function, ())):
            summed[at] += count
    return summed


def parts_of(profiled: Profiled, window: str = WHOLE) -> dict[tuple[CodePart, str], list[int]]:
    """(part, file) → instructions in each boot."""
    summed: dict[tuple[CodePart, str], list[int]] = {}
    for function, counts in profiled.series(window).items():
        row = summed.setdefault((function.part, function.file), [0] * len(counts))
        for at, count in enumerate(counts):
            row[at] += count
    return summed
