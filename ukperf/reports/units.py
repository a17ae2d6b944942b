"""Numbers for people: one scale a group, so that a value and its interval can be read off side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ukperf.model import Unit

_SCALES: dict[Unit, tuple[tuple[float, str], ...]] = {
    Unit.SECONDS: ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"), (1e-12, "ps")),
    # under icount an instruction is a virtual nanosecond; people must never read it as time
    Unit.INSTRUCTIONS: ((1e6, "M instr"), (1e3, "k instr"), (1.0, "instr")),
    Unit.CYCLES: ((1e6, "M cycles"), (1e3, "k cycles"), (1.0, "cycles")),
    Unit.BYTES: ((2.0**30, "GiB"), (2.0**20, "MiB"), (2.0**10, "KiB"), (1.0, "B")),
    Unit.COUNT: ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, "")),
    Unit.PER_SECOND: ((1e9, "G/s"), (1e6, "M/s"), (1e3, "k/s"), (1.0, "/s")),
    Unit.SCORE: ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, "")),
}


def scale_for(value: float, unit: Unit) -> tuple[float, str]:
    """(divisor, symbol) that shows `value` as a number between 1 and 1000 where the unit allows it."""
    if value == 0 and unit is Unit.SECONDS:
        return 1e-9, "ns"
    for divisor, symbol in _SCALES[unit]:
        if abs(value) >= divisor:
            return divisor, symbol
    return _SCALES[unit][-1]


def common_scale(values: Sequence[float], unit: Unit) -> tuple[float, str]:
    """One scale for values that stand together: that of the largest, unless the smallest would be under 0.1 of it."""
    sizes = [abs(value) for value in values if value and math.isfinite(value)]
    if not sizes:
        return scale_for(0.0, unit)
    divisor, symbol = scale_for(max(sizes), unit)
    return (divisor, symbol) if min(sizes) >= 0.1 * divisor else scale_for(min(sizes), unit)


def number(value: float, spread: float = 0.0) -> str:
    """Digits that carry information: four significant ones, or two in the spread where that is coarser or finer."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    digits = 3 - math.floor(math.log10(abs(value)))
    if spread > 0:
        digits = max(min(1 - math.floor(math.log10(spread)), digits + 3), digits - 2)
    return f"{value:,.{max(digits, 0)}f}"


def with_unit(value: float, unit: Unit) -> str:
    """`412.3 ms`, `1,553 M instr`."""
    divisor, symbol = scale_for(value, unit)
    return f"{number(value / divisor)} {symbol}".rstrip()


def alike(*shown: str) -> bool:
    """Do these texts of `number` say the same number, be it with more or fewer digits?"""
    return len({float(text.replace(",", "")) for text in shown}) == 1


def interval(bounds: Sequence[float | None], divisor: float = 1.0, spread: float = 0.0) -> str:
    """`[408.1, 416.0]`, `exact` where both ends are equal, `± 3e-05 %` where only more digits than fit would tell them
    apart, `–` where there is none."""
    low, high = bounds
    if low is None or high is None:
        return "–"
    if low == high:
        return "exact"
    width = spread or (high - low) / divisor
    ends = number(low / divisor, width), number(high / divisor, width)
    if alike(*ends) and math.isfinite(low + high):
        return f"± {100 * (high - low) / abs(high + low):.1g} %"
    return f"[{ends[0]}, {ends[1]}]"
