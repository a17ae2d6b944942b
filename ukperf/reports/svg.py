"""Inline SVG without a library: elements, linear and logarithmic scales, ticks. Colours are CSS classes of the page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH = 420  # narrow on purpose: text stays readable when a phone shows it at its full width


def tag(name: str, content: str = "", **attributes: object) -> str:
    """An element; `class_` and `font_size` become class and font-size; numbers are shortened, text is escaped."""
    parts = [f'{key.rstrip("_").replace("_", "-")}="{escape(_short(value))}"' for key, value in attributes.items()]
    head = " ".join([name, *parts])
    return f"<{head}>{content}</{name}>" if content else f"<{head}/>"


def text(x: float, y: float, content: str, anchor: str = "start", class_: str = "t") -> str:
    return tag("text", escape(content), x=x, y=y, text_anchor=anchor, class_=class_)


def title(content: str) -> str:
    """What a browser shows when the pointer rests on the element around it."""
    return f"<title>{escape(content)}</title>"


def figure(height: float, content: Sequence[str], label: str) -> str:
    """A whole drawing of WIDTH × height; label is read by screen readers."""
    return tag(
        "svg",
        "".join(content),
        viewBox=f"0 0 {WIDTH} {_short(height)}",
        role="img",
        aria_label=label,
        xmlns="http://www.w3.org/2000/svg",
    )


def _short(value: object) -> str:
    return f"{value:.5g}" if isinstance(value, float) else str(value)


@dataclass(frozen=True)
class Scale:
    """From data to pixels. log: both ends must be positive."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high = self._map(self.low), self._map(self.high)
        share = 0.5 if high == low else (self._map(value) - low) / (high - low)
        return self.start + min(max(share, -0.02), 1.02) * (self.end - self.start)

    def _map(self, value: float) -> float:
        return math.log(max(value, 1e-300)) if self.log else value

    def ticks(self, most: int = 5) -> list[float]:
        """Round values inside the scale."""
        if self.log and self.high / self.low > 20:
            return _decades(self.low, self.high, most)
        return _round_steps(self.low, self.high, most)


def _decades(low: float, high: float, most: int) -> list[float]:
    first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    step = max(1, math.ceil((last - first + 1) / most))
    return [10.0**power for power in range(first, last + 1, step)]


def _round_steps(low: float, high: float, most: int) -> list[float]:
    if not high > low:
        return [low]
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 12) for i in range(first, math.floor(high / step + 1e-9) + 1)]


def padded(values: Sequence[float], share: float = 0.06, log: bool = False) -> tuple[float, float]:
    """Ends of a scale with air around the values."""
    low, high = min(values), max(values)
    if log:
        room = max((high / low) ** share, 1.002)
        return low / room, high * room
    room = (high - low) * share or abs(high) * 0.01 or 1.0
    return low - room, high + room
