"""The journal: one line a trial, written whole before the next trial starts.

Whatever happens to ukperf, at most the trial in flight is lost: what was written is the system's, which outlives us.
For a system that dies it is fsynced, before the next trial starts where the last fsync was SYNC_S ago. So trials of the
last SYNC_S may be lost then; an fsync takes as long as a process of this machine, or longer.

A line that was cut off by a crash or a full disk is dropped when the journal is opened again; a damaged line in the
middle costs that trial alone. One writer at a time.
"""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ukperf.decode import NewerError, decode_stored, encode
from ukperf.engine.thrift import Thrift
from ukperf.errors import UkperfError
from ukperf.files import lock, open_own, open_regular, size_text, sync
from ukperf.model import BootRecord
from ukperf.text import shell

JOURNAL = "journal.ndjson"
FORMAT = 1  # of its lines
SYNC_S = 0.1  # trials of this time may be lost with the system, and cost little to make again
# A run that is larger than this is no run of ours.
MAX_BYTES = 2 << 30
LARGE = 32 << 20  # bytes, from which on records are kept packed
# Blocks, positions, attempts and trials are counted from 0; a run has far fewer.
MAX_NUMBER = 10_000_000


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
        self._synced = -SYNC_S  # when, time.monotonic()
        self._unsynced = False

    def __enter__(self) -> Journal:
        """Raises UkperfError if the file cannot be written, or another process writes it."""
        try:
            self._descriptor = open_own(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        except OSError as error:
            raise _unwritable(self._path, error) from error
        try:
            held = UkperfError(f"Another ukperf is writing to {self._path}.", hint="Wait until it has ended.")
            lock(self._descriptor, held)
            self._mend_last_line()
            sync(self._path.parent)
        except BaseException as error:
            os.close(self._descriptor)
            if isinstance(error, OSError):
                raise _unwritable(self._path, error) from error
            if isinstance(error, NewerError):
                raise _newer(self._path) from error
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Raises UkperfError if the disk refuses what was written last."""
        try:
            if self._unsynced:
                self._sync()
        except OSError as error:
            if kind is None:
                raise _unwritable(self._path, error) from error
        finally:
            os.close(self._descriptor)

    def check(self) -> None:
        """Raises UkperfError if the journal was removed or replaced: then nothing more is to be measured into it."""
        self._refuse_removed()

    def append(self, record: BootRecord) -> None:
        """It outlives this process when it returns, and the system if the last fsync was SYNC_S ago; otherwise from the
        next fsync on, which is after a later trial or at the run's end.

        Raises UkperfError if the disk refuses; the journal then ends with the last whole line.
        """
        self.append_all((record,))

    def append_all(self, records: Sequence[BootRecord]) -> None:
        """The same of several trials at once: all of them or none, unless the process is killed amid."""
        self._refuse_removed()
        line = b"".join(
            (json.dumps(to_json(record), separators=(",", ":"), allow_nan=False) + "\n").encode() for record in records
        )
        before = os.fstat(self._descriptor).st_size
        whole = before + len(line)
        try:
            while line:
                line = line[os.write(self._descriptor, line) :]
            self._unsynced = True
            if time.monotonic() - self._synced >= SYNC_S:
                self._sync()
        except OSError as error:
            self._cut(before)
            raise _unwritable(self._path, error) from error
        except BaseException:  # ^C: half a line goes, a whole one stays, which the file knows and `line` not yet
            if os.fstat(self._descriptor).st_size < whole:
                self._cut(before)
            raise

    def _sync(self) -> None:
        self._unsynced = False  # one that fails is not tried again: the error says so
        os.fsync(self._descriptor)
        self._synced = time.monotonic()

    def _refuse_removed(self) -> None:
        """Raises UkperfError if the journal's name is gone or another file's: nobody would look for what is written."""
        ours = os.fstat(self._descriptor)
        try:
            there = self._path.lstat()
        except OSError:
            there = None
        if there is None or (there.st_dev, there.st_ino) != (ours.st_dev, ours.st_ino):
            raise UkperfError(
                f"{self._path} was {'moved' if ours.st_nlink else 'removed or replaced'} while the run went on.",
                hint=_whereabouts(self._descriptor, ours.st_nlink),
            )

    def _cut(self, size: int) -> None:
        try:
            os.ftruncate(self._descriptor, size)
        except OSError:
            pass  # the torn line is dropped on resume

    def _mend_last_line(self) -> None:
        """Drop a line that was cut off; one that lacks nothing but its line feed is a trial that was measured."""
        size = os.fstat(self._descriptor).st_size
        start = self._last_line(size)
        if start == size:
            return
        if _record(os.pread(self._descriptor, size - start, start)) is None:
            os.ftruncate(self._descriptor, start)
        else:
            os.write(self._descriptor, b"\n")

    def _last_line(self, size: int) -> int:
        """Where the text after the last line feed begins; size if there is none."""
        end = size
        while end > 0:
            start = max(0, end - 65_536)
            newline = os.pread(self._descriptor, end - start, start).rfind(b"\n")
            if newline >= 0:
                return start + newline + 1
            end = start
        return 0


def _whereabouts(descriptor: int, names: int) -> str:
    """Where a file that is open, and no longer where it was, is now, and what to do about it. names: that it has."""
    if not names:
        return (
            "What was measured until then is gone with it, unless it was moved to another file system; start a new run."
        )
    try:
        now = Path(f"/proc/self/fd/{descriptor}").readlink()
    except OSError:
        now = Path("/nonexistent")
    if not os.path.lexists(now):
        return "What was measured until then is still in the file, under another name; move it back and resume the run."
    there = f"What was measured until then is in {now}"
    if now.name == JOURNAL:
        return f"{there}; go on with: ukperf resume {shell(now.parent)}"
    return f"{there}; move it back and resume the run."


def read_journal(path: Path) -> Contents:
    """All records of a journal, in order; of a large one in as little memory as may be.

    Raises UkperfError when there is no journal to read, it is too large to be one, or a newer ukperf wrote it.
    """
    records, damaged = [], []
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            if size > MAX_BYTES:
                raise OSError(errno.EFBIG, f"it has more than {size_text(MAX_BYTES)}", str(path))
            kept = Thrift() if size > LARGE else lambda record: record
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                record = _record(line)
                if record is not None:
                    records.append(kept(record))
                elif line.endswith(b"\n"):  # text after the last line feed is the trial that was under way
                    damaged.append(number)
    except OSError as error:
        raise UkperfError(
            f"{path} cannot be read: {error.strerror}.", hint="A run is a folder with journal.ndjson."
        ) from (error)
    except NewerError as error:
        raise _newer(path) from error
    return Contents(tuple(records), tuple(damaged))


def _record(line: bytes) -> BootRecord | None:
    try:
        return from_json(json.loads(line))
    except NewerError:
        raise
    except (ValueError, RecursionError):
        return None


def to_json(record: BootRecord) -> dict[str, Any]:
    """A record as JSON data; StrEnums become their values."""
    return encode(record, FORMAT)


def from_json(data: object) -> BootRecord:
    """The record of one line.

    Raises NewerError for what a newer ukperf wrote, and ValueError for anything that is none.
    """
    record = decode_stored(BootRecord, data, FORMAT)
    trial = record.trial
    if not all(0 <= number < MAX_NUMBER for number in (trial.index, trial.block, trial.position, trial.attempt)):
        raise ValueError("a trial's numbers are those of no run")
    return record


def _newer(path: Path) -> UkperfError:
    return UkperfError(f"{path} was written by a newer version of ukperf.", hint="Use that version for this run.")


def _unwritable(path: Path, error: OSError) -> UkperfError:
    return UkperfError(
        f"{path} cannot be written: {error.strerror}.",
        hint=f"What was measured is kept. When there is room again, go on with: ukperf resume {shell(path.parent)}",
    )
