"""Runs in the formats of other tools: one module a format, each a function from `Exportable` to text.

A format is a function from Exportable to text, registered under the entry point `ukperf.exports`: ours in
pyproject.toml, anybody's in a package of their own (docs/extending.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ukperf.model import BootRecord, Estimate, Status
from ukperf.registry import Registry
from ukperf.stats.perboot import Series
from ukperf.stats.summary import RunSummary
from ukperf.stats.within import series_of


@dataclass(frozen=True)
class Exportable:
    """A run as exports see it.

    only: these guests, empty: all; of a single one the name is left out of benchmark names that have it.
    benchmarks: these, empty: all.
    """

    records: Sequence[BootRecord]
    summary: RunSummary
    facts: Mapping[str, str]
    only: tuple[str, ...] = ()
    benchmarks: tuple[str, ...] = ()

    @property
    def guests(self) -> tuple[str, ...]:
        return tuple(g.guest for g in self.summary.guests if not self.only or g.guest in self.only)

    @property
    def single(self) -> bool:
        """One guest was asked for: it goes without saying in names."""
        return len(self.only) == 1

    def name(self, guest: str, benchmark: str) -> str:
        """`linux/total`, or `total` where one guest was asked for."""
        return benchmark if self.single else f"{guest}/{benchmark}"

    def wants(self, benchmark: str) -> bool:
        return not self.benchmarks or benchmark in self.benchmarks

    def estimates(self) -> Iterator[tuple[str, str, Estimate]]:
        """(guest, benchmark, its median) of everything that is exported."""
        for guest in self.summary.guests:
            for benchmark, estimate in guest.estimates.items() if guest.guest in self.guests else ():
                if self.wants(benchmark):
                    yield guest.guest, benchmark, estimate

    def without_value(self) -> Iterator[tuple[str, str, Status]]:
        """(guest, benchmark, why it has no value) of what is exported without one."""
        for guest in self.summary.guests:
            for benchmark in guest.statuses if guest.guest in self.guests else ():
                if self.wants(benchmark) and (status := guest.status(benchmark)) is not None:
                    yield guest.guest, benchmark, status

    def marked(self) -> Iterator[tuple[str, str, Estimate]]:
        """(guest, benchmark, its median) of what has a value and is not simply measured."""
        return (item for item in self.estimates() if item[2].status is not Status.MEASURED)

    def series(self) -> Iterator[tuple[str, str, Series]]:
        """(guest, benchmark, its boots in the order of the blocks) of everything that is exported."""
        for guest in self.guests:
            for benchmark, series in series_of(self.records, guest).items():
                if self.wants(benchmark) and series.values:
                    yield guest, benchmark, series


def export(format_name: str, run: Exportable) -> str:
    """The run in a format, as text.

    Raises UkperfError for a format that there is not, and where the format cannot say what the run holds.
    """
    text = EXPORTS.call(format_name, run)
    if not isinstance(text, str):
        raise EXPORTS.fault(format_name, "did not give text")
    return text


EXPORTS: Registry[Callable[[Exportable], str]] = Registry("ukperf.exports", "format")
