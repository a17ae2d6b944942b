"""The first line of a console that a pattern is found in, under limits: guests write what they like."""

from __future__ import annotations

import time

from ukperf import patterns
from ukperf.text import clean

LINE_MAX = 4_096  # bytes; of longer lines these are looked at
BUDGET_S = 2.0  # for all lines of a boot


class ReadyLine:
    """Push parser: `fits` is told what was read until it says yes."""

    def __init__(self, pattern: str) -> None:
        self._pattern, self._line = pattern, bytearray()
        self._spent_s = 0.0
        self.fault = ""  # why it is not searched for any more, as a phrase

    def fits(self, data: bytes) -> bool:
        """Is the pattern in a line that this completed, or in the one that is not over yet?"""
        *lines, rest = data.split(b"\n")
        for line in lines:
            self._add(line)
            if self._search():
                return True
            self._line.clear()
        self._add(rest)
        return self._search()

    def _add(self, part: bytes) -> None:
        self._line += part[: LINE_MAX - len(self._line)]

    def _search(self) -> bool:
        if self.fault or not self._line:
            return False
        before = time.monotonic()
        try:
            return patterns.fits(self._pattern, self._line.decode("utf-8", "replace").rstrip("\r"))
        except patterns.PatternError as error:
            self.fault = f"its pattern of readiness {clean(self._pattern, 100)!r} cannot be used: {error}"
            return False
        finally:
            self._spent_s += time.monotonic() - before
            if self._spent_s > BUDGET_S:
                self.fault = f"looking for {clean(self._pattern, 100)!r} in its console took {BUDGET_S:g} s"
