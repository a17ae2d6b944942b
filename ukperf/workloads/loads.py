"""Loads on a server: what is asked of the generator, and what its records say.

At a rate, latency is counted from the time at which a request was meant to begin, so that a server that stands still is
seen by all who would have come meanwhile (no coordinated omission: Gil Tene, "How NOT to Measure Latency"). Clients
that ask again once they are answered have no such time: there it is counted from when the request was sent, as wrk
does, and what the generator needs to turn from one answer to the next request is not the server's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BEYOND = 10  # requests that must lie beyond a quantile before it is told: p99 takes 1,000, p99.9 10,000
QUANTILES = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999}
BINS_A_DECADE = 20
LATE_PART = 0.1  # of the latency: a generator that is later than this, at p99, is part of what it measures
LEFT_S, LEFT_PART = 0.3, 0.05  # seconds, or of the load's: by then after its end a server that kept up has answered all
UNANSWERED = 0.01  # but so many
_MAGIC = b"ukload1\0"
_SUMMARY = np.dtype([("magic", "S8"), *((name, "<u8") for name in ("records", "began", "took", "cpu", "opened"))])
_RECORD = np.dtype(
    [
        *((name, "<u8") for name in ("intended", "noticed", "started", "ended", "digest")),
        ("size", "<u4"),
        ("status", "<u2"),
        ("fault", "u1"),
        ("retried", "u1"),
    ]
)
# How requests ended, by load.c's numbers; 0 is well.
FAULTS = (
    "",
    "refused",
    "closed before the answer was whole",
    "not answered in time",
    "answered with what is no HTTP answer",
    "not answered at the end",
    "never begun",
)
_FOR_WANT_OF_TIME = (3, 5, 6)
STATUS_FAULT = "answered with a status of 4xx or 5xx"


@dataclass(frozen=True)
class Load:
    """rate: requests a second, whether or not they are answered; 0: `clients` that ask again once they are answered.

    keep: connections are kept. most: connections at once. timeout_s: for one answer.
    """

    seconds: float
    rate: float = 0.0
    clients: int = 0
    poisson: bool = True
    keep: bool = True
    seed: int = 1
    most: int = 256
    timeout_s: float = 5.0

    @property
    def name(self) -> str:
        """What figures of it are called behind "at"."""
        return f"{self.rate:g}/s" if self.rate else f"{self.clients} connections"

    @property
    def longest_s(self) -> float:
        """How long it may take."""
        return self.seconds + self.timeout_s

    def words(self, path: str, body: str = "") -> tuple[str, ...]:
        """The generator's."""
        how = (
            (f"rate={self.rate:.9g}", f"arrivals={'poisson' if self.poisson else 'constant'}", f"seed={self.seed}")
            if self.rate
            else (f"clients={self.clients}",)
        )
        often = (f"keep={int(self.keep)}", f"most={self.most}", f"timeout_ms={round(self.timeout_s * 1000)}")
        return (f"path={path}", f"seconds={self.seconds:.9g}", *how, *often, *((f"body={body}",) if body else ()))


class Loaded:
    """What the generator wrote of one load. began_ns: CLOCK_MONOTONIC."""

    def __init__(self, load: Load, written: bytes) -> None:
        """Raises ValueError for what no generator of ours writes."""
        if len(written) < _SUMMARY.itemsize:
            raise ValueError("the load generator wrote nothing")
        summary = np.frombuffer(written[: _SUMMARY.itemsize], _SUMMARY)[0]
        rest = written[_SUMMARY.itemsize :]
        if bytes(summary["magic"]) != _MAGIC.rstrip(b"\0") or len(rest) != int(summary["records"]) * _RECORD.itemsize:
            raise ValueError("the load generator's records are not whole")
        self.load = load
        self.began_ns, self.took_s = int(summary["began"]), int(summary["took"]) / 1e9
        self.cpu_s, self.opened = int(summary["cpu"]) / 1e9, int(summary["opened"])
        self._all = np.frombuffer(rest, _RECORD)
        self._good = self._all[(self._all["fault"] == 0) & (self._all["status"] < 400)]
        self._sorted = np.sort(self.latencies)

    @property
    def requests(self) -> int:
        return len(self._all)

    @property
    def answered(self) -> int:
        return len(self._good)

    @property
    def latencies(self) -> NDArray[np.float64]:
        """Seconds, of the answered ones in the order in which they were meant to begin."""
        return self._span(self._good, "intended" if self.load.rate else "started", "ended")

    @property
    def intended_s(self) -> NDArray[np.float64]:
        """When these were meant to begin, since the load began."""
        began: NDArray[np.float64] = self._good["intended"] / 1e9
        return began

    @staticmethod
    def _span(records: NDArray[np.void], first: str, last: str) -> NDArray[np.float64]:
        apart = records[last].astype(np.int64) - records[first].astype(np.int64)
        seconds: NDArray[np.float64] = np.maximum(apart, 0) / 1e9
        return seconds

    def quantile(self, q: float) -> float | None:
        """The latency below which the share q of all requests was answered, seconds. One that was not answered took
        longer than any. None where too few lie beyond it, or it is one of those."""
        beyond = self.requests * (1 - q)
        place = math.ceil(self.requests * q) - 1
        return float(self._sorted[place]) if beyond + 1e-9 >= BEYOND and 0 <= place < self.answered else None

    def quantiles(self) -> dict[str, float]:
        """Name → seconds, of those that can be told."""
        told = {name: self.quantile(q) for name, q in QUANTILES.items()}
        return {name: value for name, value in told.items() if value is not None}

    @property
    def throughput(self) -> float:
        """Answers a second, within the time that requests began in."""
        within = np.count_nonzero(self._good["ended"] <= round(self.load.seconds * 1e9))
        return float(within) / self.load.seconds

    @property
    def met(self) -> bool:
        """Did an open loop's answers keep pace with its requests? Else their latency grows as long as it goes on, and
        what is left at the end takes long to be answered."""
        unanswered = np.count_nonzero(np.isin(self._all["fault"], _FOR_WANT_OF_TIME))
        end_s = float(self._all["ended"].max()) / 1e9 if len(self._all) else 0.0
        left_s = max(LEFT_S, LEFT_PART * self.load.seconds)
        return bool(unanswered <= UNANSWERED * self.requests and end_s <= self.load.seconds + left_s)

    def late_s(self, q: float = 0.99) -> float:
        """How much later than meant the generator noticed that a request was due, for the share q of them."""
        return float(np.quantile(self._span(self._all, "intended", "noticed"), q)) if len(self._all) else 0.0

    @property
    def was_late(self) -> bool:
        """Is the generator's own lateness a part of the latency that counts?"""
        p99 = self.quantile(0.99) or self.quantile(0.5)
        return bool(self.load.rate and p99 is not None and self.late_s() > LATE_PART * p99)

    @property
    def cpu_share(self) -> float:
        """Of one CPU, that the generator took."""
        return self.cpu_s / self.took_s if self.took_s else 0.0

    def faults(self) -> dict[str, int]:
        """How requests ended that were not answered well → how many."""
        numbers, counts = np.unique(self._all["fault"], return_counts=True)
        told = {
            FAULTS[number] if number < len(FAULTS) else f"fault {number}": int(count)
            for number, count in zip(numbers, counts, strict=True)
            if number
        }
        bad = int(np.count_nonzero((self._all["fault"] == 0) & (self._all["status"] >= 400)))
        return {**told, **({STATUS_FAULT: bad} if bad else {})}

    def answers(self) -> dict[str, int]:
        """Digest and size of bodies → how many answers had it; at most three of them."""
        keys, counts = np.unique(self._good[["digest", "size"]], return_counts=True)
        order = np.argsort(-counts)[:3]
        return {f"{int(keys[i]['digest']):016x}-{int(keys[i]['size'])}": int(counts[i]) for i in order}

    @property
    def one_answer(self) -> str:
        """That of all requests; nothing where they differ."""
        kinds = self.answers()
        return next(iter(kinds)) if len(kinds) == 1 else ""

    def histogram(self) -> dict[int, int]:
        """Bin → answers; bin b holds latencies from 10^(b / BINS_A_DECADE) µs."""
        if not len(self._good):
            return {}
        bins = np.floor(np.log10(np.maximum(self.latencies * 1e6, 1.0)) * BINS_A_DECADE).astype(int)
        numbers, counts = np.unique(bins, return_counts=True)
        return {int(b): int(c) for b, c in zip(numbers, counts, strict=True)}

    def over_time(self, started_ns: int, width_s: float) -> list[tuple[float, int, float, float]]:
        """(seconds since `started_ns`, answers, median, greatest latency) for each `width_s` of the load."""
        if not len(self._good):
            return []
        offset = (self.began_ns - started_ns) / 1e9
        places = np.floor(self.intended_s / width_s).astype(int)
        latencies, rows = self.latencies, []
        for place in np.unique(places):
            mine = latencies[places == place]
            rows.append((offset + (place + 0.5) * width_s, len(mine), float(np.median(mine)), float(mine.max())))
        return rows


def faults_text(faults: Mapping[str, int], requests: int) -> str:
    """`3 of 1,000 requests were not answered in time, 1 refused`."""
    parts = ", ".join(f"{count:,} {words}" for words, count in faults.items())
    return f"of {requests:,} requests {parts}"


def failed(loaded: Sequence[Loaded]) -> int:
    """Requests that were not answered well."""
    return sum(one.requests - one.answered for one in loaded)
