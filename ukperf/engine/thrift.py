"""Records of large journals in little memory: what they have in common is there once, tables of numbers are packed.

Nothing of a record is lost: its tables are mappings as before, of a more compact kind. 100,000 blocks on 1,000 machines
are 200,000 records of some fifty names and numbers each.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from ukperf.model import BootRecord

_MOST_KNOWN = 100_000  # texts, and tables: further ones are not looked for


class PackedTable(Mapping[Any, Any]):
    """A mapping that cannot be changed; its names are shared with others, and its numbers packed."""

    __slots__ = ("_names", "_values")

    def __init__(self, names: Mapping[Any, int], values: Any) -> None:
        self._names, self._values = names, values

    def __getitem__(self, name: Any) -> Any:
        return self._values[self._names[name]]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __repr__(self) -> str:
        return repr(dict(self))


class Thrift:
    """Takes records one by one."""

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}
        self._names: dict[tuple[Any, ...], Mapping[Any, int]] = {}
        self._tables: dict[tuple[Any, ...], Mapping[Any, Any]] = {}

    def __call__(self, record: BootRecord) -> BootRecord:
        """The same record."""
        trial = record.trial
        return replace(
            record,
            trial=replace(trial, guest=self._text(trial.guest)),
            host=self._text(record.host),
            reason=self._text(record.reason),
            image_digest=self._text(record.image_digest),
            console_tail=self._text(record.console_tail),
            phases=self._packed(record.phases),
            events=self._packed(record.events),
            ticks=self._packed(record.ticks),
            noise=self._packed(record.noise),
            facts=self._shared(record.facts),
            checks=self._shared(record.checks),
            statuses=self._shared(record.statuses),
        )

    def _text(self, text: str) -> str:
        return self._texts.setdefault(text, text) if len(self._texts) < _MOST_KNOWN else self._texts.get(text, text)

    def _shared(self, table: Mapping[Any, str]) -> Mapping[Any, Any]:
        """One for all that are equal; of those that differ their names and texts."""
        key = (*_kinds(table), *_kinds(table.values()), *table.items())
        known = self._tables.get(key)
        if known is None:
            texts = tuple(self._text(text) if type(text) is str else text for text in table.values())
            known = PackedTable(self._places(table), texts)
            if len(self._tables) < _MOST_KNOWN // 100:
                self._tables[key] = known
        return known

    def _packed(self, table: Mapping[Any, Any]) -> Mapping[Any, Any]:
        values: Any = tuple(table.values())
        kinds = set(map(type, values))
        if kinds == {float}:
            values = array("d", values)
        elif kinds == {int} and all(-(1 << 63) <= value < 1 << 63 for value in values):
            values = array("q", values)
        return PackedTable(self._places(table), values)

    def _places(self, table: Mapping[Any, Any]) -> Mapping[Any, int]:
        names = (*_kinds(table), *table)
        known = self._names.get(names)
        if known is None:
            known = {(self._text(name) if type(name) is str else name): place for place, name in enumerate(table)}
            if len(self._names) < _MOST_KNOWN:
                self._names[names] = known
        return known


def _kinds(values: Iterable[Any]) -> tuple[type, ...]:
    """A phase is equal to its name, and yet another thing."""
    return tuple(map(type, values))
