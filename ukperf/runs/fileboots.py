"""Boots as files of pyperf and hyperfine tell of them, collected benchmark by benchmark."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ukperf.model import BootRecord, Outcome, Phase, Sample, Status, Trial, Unit
from ukperf.runs.pyperfcontext import Context
from ukperf.text import clean

MOST_COUNT = 10**9  # of blocks, orders, loops: nothing that was measured has more
_FACT = "ukperf_fact_"  # as `reports.pyperf_suite` writes it
_STATUSES = {status.value: status for status in Status}


class Damaged(ValueError):
    """What is wrong with a file, as the end of a sentence about it: "benchmark 2 is no object"."""


class FileBoot:
    """One process while the benchmarks go by."""

    def __init__(self, order: int, block: int, date: str, unit: Unit) -> None:
        self.order, self.block, self.date, self.unit = order, block, date, unit
        self.phases: dict[Phase, float] = {}
        self.samples: list[Sample] = []
        self.statuses: dict[str, Status] = {}
        self.facts: dict[str, str] = {}
        self.host = ""
        self.ended_by_host = False

    def learn(self, name: str, own: Mapping[str, Any], shared: Mapping[str, Any]) -> None:
        """What our own files say of a value and of those that are not there (`pyperf_suite` writes it)."""
        status, without, ended = (
            str(own[key] if key in own else shared.get(key, ""))[:4096]
            for key in ("ukperf_status", "ukperf_without_value", "ukperf_ended_by_host")
        )
        told = [(name, status), *(tuple(part.rsplit(": ", 1)) for part in without.split("; ") if ": " in part)]
        self.statuses |= {what: _STATUSES[kind] for what, kind in told if kind in _STATUSES}
        self.ended_by_host = self.ended_by_host or ended == "yes"
        if not self.facts:
            self.facts = {
                key.removeprefix(_FACT): " ".join(clean(str(value)[:4096]).split())
                for table in (shared, own)
                for key, value in table.items()
                if key.startswith(_FACT)
            }
            self.host = clean(str(own.get("ukperf_host", shared.get("ukperf_host", ""))), 200)

    def record(self, guest: str) -> BootRecord:
        return BootRecord(
            Trial(self.order, self.block, 0, guest),
            Outcome.OK,
            "",
            self.date,
            self.phases,
            self.unit,
            tuple(self.samples),
            ended_by_host=self.ended_by_host,
            statuses=self.statuses,
            facts=self.facts,
            host=self.host,
        )


class FileBoots:
    """Collects the boots of a file; knows which names were taken, which units they had, and what was left out.

    label: of the file. A benchmark that names no guest has the guest "" here, and is shown under the label: a file may
    be called as the guest that it names.
    """

    def __init__(self, label: str) -> None:
        self._label = label
        self.left_out: dict[str, dict[str, str]] = {}
        self.notes: list[str] = []
        self.context = Context()
        self._boots: dict[str, dict[int, FileBoot]] = {}
        self._taken: dict[tuple[str, str], Unit | None] = {}
        self._seen: dict[int, int] = {}  # block → runs of the benchmark that is being read

    def begin(self, guest: str, name: str, where: str) -> None:
        """A benchmark. Raises Damaged for a second one of the same name."""
        if (guest, name) in self._taken:
            raise Damaged(f"{where} has the name of an earlier one, {name[:60]!r}; pyperf refuses it too")
        self._taken[guest, name] = None
        self._seen = {}

    def keeps_unit(self, guest: str, name: str, unit: Unit) -> bool:
        known = self._taken[guest, name]
        self._taken[guest, name] = unit if known is None else known
        if known is not None and known is not unit:
            self.leave_out(guest, name, f"changes its unit from {known.value} to {unit.value}")
            return False
        return True

    def boot(self, guest: str, block: int, order: int, date: str, unit: Unit) -> FileBoot:
        """The process of a block. A block that comes again (files that were joined) is another process."""
        again = self._seen.get(block, 0)
        self._seen[block] = again + 1
        block, order = block + again * MOST_COUNT, order + again * MOST_COUNT
        boots = self._boots.setdefault(guest, {})
        if block not in boots:
            boots[block] = FileBoot(order, block, date, unit)
        return boots[block]

    def leave_out(self, guest: str, name: str, why: str) -> None:
        self.left_out.setdefault(guest, {}).setdefault(name, why)

    def end(self, names: set[tuple[str, str]]) -> None:
        """Of benchmarks that brought no value it is said."""
        for guest, name in names:
            if self._taken[guest, name] is None:
                self.leave_out(guest, name, "holds no values")

    def records(self) -> dict[str, tuple[BootRecord, ...]]:
        return {
            name: tuple(boot.record(name) for boot in boots.values())
            for name, boots in ((self.shown(guest), boots) for guest, boots in self._boots.items())
        }

    @property
    def plain(self) -> bool:
        """No guest is named."""
        return set(self._boots) == {""}

    def shown(self, guest: str) -> str:
        """The guest's name; of what names none the file's."""
        return guest or (f"{self._label} (unnamed)" if self._label in self._boots else self._label)
