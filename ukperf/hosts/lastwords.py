"""The lines in which a guest's kernel says that it gives up, by the patterns of its recipe, under limits."""

from __future__ import annotations

import time
from collections.abc import Sequence

from ukperf import patterns
from ukperf.model import LastWords, Why
from ukperf.text import clean

LINE_MAX = 4_096  # bytes; of longer lines these are looked at
SHOWN = 160  # characters of a line
BUDGET_S = 2.0  # for all that a boot writes
GRACE_S = 1.0  # so long a guest may go on after words that end it: to write a few lines, or to power off


class LastWordsListener:
    """Push parser: `listen` is told what was read. Of several lines the one whose words stand first in the recipe
    counts, and of these the first: what comes later is what came of it."""

    def __init__(self, words: Sequence[LastWords]) -> None:
        self._words, self._rank = words, len(words)
        self._any = "|".join(f"(?:{each.pattern})" for each in words)
        self._rest = b""
        self._spent_s = 0.0
        self.why: Why | None = None
        self.ends = False  # it gave up for good

    def listen(self, data: bytes, *, started: bool = False) -> None:
        """Take what was read. Only whole lines count: the end of one may say more. started: has the program?"""
        text, newline, rest = data.rpartition(b"\n")
        if not newline:
            self._rest += rest[: LINE_MAX - len(self._rest)]
            return
        whole, self._rest = self._rest + text, rest[:LINE_MAX]
        if self._rank == 0 or self._spent_s > BUDGET_S:
            return
        before = time.monotonic()
        try:
            self._search(whole.decode("utf-8", "replace"), started)
        except patterns.PatternError:
            self._rank = 0
        self._spent_s += time.monotonic() - before

    def _search(self, text: str, started: bool) -> None:
        """One search for all patterns in all lines, since most of them have none."""
        if not patterns.fits(f"(?m){self._any}", text, BUDGET_S):
            return
        for line in text.splitlines():
            for rank, words in enumerate(self._words[: self._rank]):
                match = next(patterns.matches(words.pattern, line[:LINE_MAX]), None)
                if match is not None and not (words.early and started):
                    self._rank, self.ends = rank, self.ends or words.ends
                    says, shown = _filled(words.says, match.groups()), clean(line.strip(), SHOWN)
                    self.why = Why(words.cause, says, shown, words.sure)
                    break


def _filled(says: str, groups: Sequence[str | None]) -> str:
    """The phrase with its groups in it."""
    for number, group in enumerate(groups, 1):
        says = says.replace(f"{{{number}}}", clean(group or "", 40))
    return says
