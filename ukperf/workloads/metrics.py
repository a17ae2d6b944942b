"""Numbers that a program prints, by patterns: `--metric NAME=REGEX[:UNIT[:higher|lower]]`.

Patterns are the user's and text is the guest's: they meet under a time limit (the package regex, whose timeout ends a
pattern that backtracks for ever), and what comes of it is bounded.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from ukperf.errors import UkperfError
from ukperf.model import Sample, Unit
from ukperf.patterns import PatternError, compiled, fits, matches
from ukperf.text import clean

PATTERN_S = 5.0  # a metric may look at what one boot wrote for so long
LINES = "(?m)"  # ^ and $ are those of lines
MOST_VALUES = 100_000  # of one metric in one boot
_NAME = re.compile(r"[^\s=:/][^=:/]{0,59}")
_UNIT = re.compile(r"[A-Za-zµ%][A-Za-z0-9µ%/·^-]{0,11}")
_SCALES = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_BYTES = {"B": 1.0, "KiB": 2.0**10, "MiB": 2.0**20, "GiB": 2.0**30, "kB": 1e3, "MB": 1e6, "GB": 1e9}
_DIRECTIONS = ("higher", "lower")


@dataclass(frozen=True)
class Metric:
    """One benchmark made of what a program prints. scale: of the printed number to the unit's."""

    name: str
    pattern: str
    unit: Unit
    scale: float = 1.0

    def values(self, text: str) -> tuple[float, ...]:
        """Every match's number, in order: of group 1, or of all of it where there is none.

        Raises PatternError where the pattern takes too long, matches too often, or what it matches is no number.
        """
        numbers: list[float] = []
        for match in matches(LINES + self.pattern, text, PATTERN_S):
            numbers.append(self._number(match.group(match.re.groups and 1)))
            if len(numbers) > MOST_VALUES:
                raise PatternError(f"it matched more than {MOST_VALUES:,} times")
        return tuple(numbers)

    def _number(self, text: str | None) -> float:
        try:
            number = float((text or "").replace(",", "").replace("_", ""))
        except ValueError:
            raise PatternError(f"it matched {clean(text or 'nothing', 40)!r}, which is no number") from None
        if not math.isfinite(number) or number < 0:
            raise PatternError(f"it matched {clean(text or '', 40)!r}, which is no figure")
        return number * self.scale


def check_pattern(pattern: str, option: str) -> None:
    """Raises UkperfError for what is no pattern."""
    try:
        compiled(pattern)
    except PatternError as error:
        raise UkperfError(f"{option} {clean(pattern, 80)!r} is no pattern: {clean(str(error), 120)}.") from error


def metric_of(text: str) -> Metric:
    """A metric as it is typed. A part behind the last colon is a unit or a direction only where it reads like one.

    s, ms, us and ns make times, B, KiB, MB … sizes; any other unit is shown with the name. Raises UkperfError.
    """
    name, equals, pattern = text.partition("=")
    if not equals or not pattern or not _NAME.fullmatch(name):
        raise UkperfError(f"--metric {clean(text, 80)!r} is no metric.", hint=r"Write NAME=REGEX, like 'n=([\d.]+)'.")
    direction = unit = ""
    if (parts := pattern.rsplit(":", 1))[1:] and parts[1] in _DIRECTIONS:
        pattern, direction = parts
    if (parts := pattern.rsplit(":", 1))[1:] and _UNIT.fullmatch(parts[1]):
        pattern, unit = parts
    if not pattern:
        raise UkperfError(f"--metric {clean(text, 80)!r} has no pattern.")
    check_pattern(pattern, f"--metric {name}")
    if direction != "higher" and unit in _SCALES:
        return Metric(name, pattern, Unit.SECONDS, _SCALES[unit])
    if direction != "higher" and unit in _BYTES:
        return Metric(name, pattern, Unit.BYTES, _BYTES[unit])
    shown = f"{name} ({unit})" if unit else name
    return Metric(shown, pattern, Unit.SCORE if direction == "higher" else Unit.COUNT)


def metrics_of(texts: Sequence[str]) -> tuple[Metric, ...]:
    """Raises UkperfError for one that is none, and for two of one name."""
    metrics = tuple(map(metric_of, texts))
    names = [metric.name for metric in metrics]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UkperfError(f"Two metrics are called {twice}.", hint="Give each a name of its own.")
    return metrics


def samples_of(metrics: Sequence[Metric], text: str) -> tuple[Sample, ...]:
    """A sample for each metric that matched. Raises PatternError."""
    samples = []
    for metric in metrics:
        try:
            values = metric.values(text)
        except PatternError as error:
            raise PatternError(f"the metric {metric.name}: {error}") from error
        if values:
            samples.append(Sample(metric.name, metric.unit, values))
    return tuple(samples)


def without_lines(text: bytes, patterns: Sequence[str]) -> bytes:
    """The text without the lines that a pattern matches. Raises PatternError where a pattern takes too long."""
    if not patterns:
        return text
    lines = text.splitlines(keepends=True)
    return b"".join(line for line in lines if not any(_fits(one, line) for one in patterns))


def _fits(pattern: str, line: bytes) -> bool:
    try:
        return fits(pattern, line.decode("utf-8", "replace"))
    except PatternError as error:
        raise PatternError(f"--ignore {clean(pattern, 40)!r}: {error}") from error
