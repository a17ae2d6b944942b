"""What `ukperf bisect` says of one build."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ukperf.reports.page import Line, Page, Part, Tone
from ukperf.reports.units import number
from ukperf.stats.bisecting import Leaning, Weighed
from ukperf.text import many


@dataclass(frozen=True)
class BisectPage(Page):
    """weighed: None where the command that measures failed with `status`."""

    weighed: Weighed | None
    boots: int
    status: int
    error: float
    benchmark: str

    def answers(self) -> Sequence[str]:
        if self.weighed is None:
            return (f"bisect: skipped (the command ended with status {self.status}).",)
        boots, sure = many(self.boots, "boot"), f"wrong in at most {number(100 * self.error)} % of cases"
        if self.weighed.leaning is Leaning.OPEN:
            return (f"bisect: skipped ({boots} do not tell whose {self.benchmark} this is).",)
        how = "exact" if self.weighed.exact else sure
        return (f"bisect: {self.weighed.leaning.value} ({boots} of {self.benchmark}; {how}).",)

    def body(self) -> Iterator[Part]:
        for answer in self.answers():
            yield Line(answer, Tone.STRONG)
        if self.weighed is not None and not -0.5 < self.weighed.share < 1.5:
            yield Line("Note: it lies outside of what is between the good and the bad runs.", Tone.UNSURE)
        elif self.weighed is not None and 0.25 < self.weighed.share < 0.75:
            yield Line(
                "Note: it lies between the good and the bad runs: more than one commit may have part.",
                Tone.UNSURE,
            )

    def said(self) -> Mapping[str, object]:
        return {
            "leaning": None if self.weighed is None else self.weighed.leaning,
            "exact": self.weighed is not None and self.weighed.exact,
            "log_odds": None if self.weighed is None else self.weighed.odds,
            "share": None if self.weighed is None else self.weighed.share,
            "boots": self.boots,
            "error": self.error,
            "command_status": self.status,
            "benchmark": self.benchmark,
        }
