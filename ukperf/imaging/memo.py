"""What was found out from files of this machine, and is believed while these files are what they were.

Finding out what belongs to a program takes half a second; looking whether it changed takes milliseconds.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

from ukperf.decode import decode, decode_stored, encode
from ukperf.files import read_json, write_atomically

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_SETTLED_NS = 2_000_000_000  # a change within the clock's granularity would not show (git's "racy" files)


FORMAT = 1
T = TypeVar("T", bound="DataclassInstance")


@dataclass(frozen=True)
class _Stamps:
    files: Mapping[str, tuple[int, ...]]


class Memo(Generic[T]):
    """An answer to one question, in a file of `folder`. kind: the answer's dataclass; question: whatever it depends on
    besides files, as JSON holds it."""

    def __init__(self, folder: Path, kind: type[T], question: object) -> None:
        text = json.dumps(question, sort_keys=True, ensure_ascii=True)
        self.kind = kind
        self.path = folder / f"{hashlib.sha256(text.encode()).hexdigest()}.json"

    def recall(self) -> T | None:
        """The answer; None where there is none, or a file that it was made from is another now."""
        try:
            stored = read_json(self.path)
            answer = stored.pop("answer")
            stamps = decode_stored(_Stamps, stored, FORMAT)
            same = all(_stamp(path)[0] == stamp for path, stamp in stamps.files.items())
            return decode(self.kind, answer) if same else None
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def remember(self, answer: T, files: Iterable[str]) -> None:
        """Files and folders that were changed just now are not trusted: nothing is kept then."""
        stamps = {path: _stamp(path) for path in files}
        limit = time.time_ns() - _SETTLED_NS
        if any(newest > limit for _, newest in stamps.values()):
            return
        kept = _Stamps({path: stamp for path, (stamp, _) in stamps.items()})
        text = json.dumps({**encode(kept, FORMAT), "answer": asdict(answer)}, default=str)
        with contextlib.suppress(OSError):  # nothing is lost but time
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self.path, text, durable=False)


def _stamp(path: str) -> tuple[tuple[int, ...], int]:
    """(what tells a file or folder from a changed one, when it last changed in ns); ((), 0) where it is not there."""
    try:
        status = os.stat(path)  # noqa: PTH116 (thousands of them)
    except OSError:
        return (), 0
    facts = (status.st_mode, status.st_size, status.st_ino, status.st_mtime_ns, status.st_ctime_ns)
    return facts, max(status.st_mtime_ns, status.st_ctime_ns)
