"""The journal: one line a trial, written whole and fsynced before the next trial starts.

Whatever happens to ukperf, at most the trial in flight is lost. A line that was cut off by a crash or a full disk is
dropped when the journal is opened again; a damaged line in the middle costs that trial alone.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ukperf.errors import UkperfError
from ukperf.model import BootRecord, Outcome, Phase, Sample, Trial, Unit

JOURNAL = "journal.ndjson"
# A run that is larger than this is no run of ours.
MAX_BYTES = 2 << 30


@dataclass(frozen=True)
class Contents:
    """What a journal holds; damaged: numbers of the lines that could not be read, from 1."""

    records: tuple[BootRecord, ...]
    damaged: tuple[int, ...]


class Journal:
    """Append-only; a context manager that holds the file open."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1

    def __enter__(self) -> Journal:
        try:
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
            self._drop_torn_line()
        except OSError as error:
            raise _unwritable(self._path, error) from error
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)

    def append(self, record: BootRecord) -> None:
        """Durable when it returns.

        Raises UkperfError if the disk refuses; the journal then ends with the last whole line.
        """
        line = (json.dumps(to_json(record), separators=(",", ":"), allow_nan=False) + "\n").encode()
        before = os.fstat(self._descriptor).st_size
        try:
            while line:
                line = line[os.write(self._descriptor, line) :]
            os.fsync(self._descriptor)
        except OSError as error:
            try:
                os.ftruncate(self._descriptor, before)
            except OSError:
                pass  # the torn line is dropped on resume
            raise _unwritable(self._path, error) from error

    def _drop_torn_line(self) -> None:
        size = os.fstat(self._descriptor).st_size
        end = size
        while end > 0:
            start = max(0, end - 65_536)
            chunk = os.pread(self._descriptor, end - start, start)
            newline = chunk.rfind(b"\n")
            if newline >= 0:
                end = start + newline + 1
                break
            end = start
        if end < size:
            os.ftruncate(self._descriptor, end)


def read_journal(path: Path) -> Contents:
    """All records of a journal, in order.

    Raises UkperfError when there is no journal to read, or it is too large to be one.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UkperfError(f"{path} is larger than {MAX_BYTES >> 30} GiB, so it is no journal of ukperf.")
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise UkperfError(
            f"{path} cannot be read: {error.strerror}.", hint="A run is a folder with journal.ndjson."
        ) from (error)
    records, damaged = [], []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            records.append(from_json(json.loads(line)))
        except (ValueError, KeyError, TypeError, RecursionError):
            damaged.append(number)
    return Contents(tuple(records), tuple(damaged))


def to_json(record: BootRecord) -> dict[str, Any]:
    """A record as JSON data; StrEnums become their values."""
    return asdict(record)


def from_json(data: Mapping[str, Any]) -> BootRecord:
    """The record of one line.

    Raises ValueError, KeyError or TypeError for anything that is none.
    """
    trial = Trial(**data["trial"])
    samples = tuple(
        Sample(
            str(sample["benchmark"]),
            Unit(sample["unit"]),
            tuple(float(value) for value in sample["values"]),
            int(sample["loops"]),
            tuple(float(value) for value in sample["warmups"]),
            dict(sample["metadata"]),
        )
        for sample in data["samples"]
    )
    rest = {key: value for key, value in data.items() if key not in ("trial", "samples", "outcome", "unit", "phases")}
    phases = {Phase(name): float(value) for name, value in data["phases"].items()}
    return BootRecord(
        trial=trial, outcome=Outcome(data["outcome"]), unit=Unit(data["unit"]), phases=phases, samples=samples, **rest
    )


def _unwritable(path: Path, error: OSError) -> UkperfError:
    return UkperfError(
        f"{path} cannot be written: {error.strerror}.",
        hint=f"What was measured is kept. When there is room again, go on with: ukperf resume {path.parent}",
    )
