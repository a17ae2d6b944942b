"""One visit to a server: the first answer, a warm-up, loads one after the other, and what became of them."""

from __future__ import annotations

import hashlib
import json
import select
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from ukperf.hosts.generator import LoadError, generated
from ukperf.hosts.prober import FirstAnswer, first_answer
from ukperf.model import BootSpec, Door, Readout, Sample, Unit, Visit
from ukperf.workloads.loads import BINS_A_DECADE, Load, Loaded, failed, faults_text

FIRST = "first answer"
ANSWER, ANSWERS = "first answer's body", "answers under load"  # checks
FOLDER = "serve"  # of a run's folder: a file a boot
MOST_FAILED = 0.01  # of a load's requests; with more of them a boot is no good
STEPS = 6  # of the search for the greatest rate within a bound
STEP_S = 2.0  # of load; each settles what the interval that is left is halved by
LEAST_STEP_REQUESTS = 200
WIDTH_S = 0.25  # of a point of the latency over time
FORMAT = 1
DIFFER = "differ from request to request"


@dataclass(frozen=True)
class Service:
    """path: what is asked for. within_s: for the first answer. warmup_s: of load that no figure is of. rates: open
    loops; clients: a closed one; bound_s: for the greatest rate whose p99 is within it, 0: not looked for. body: a file
    that is sent. pin: the generator's CPUs. compares: answers must be the same in every guest."""

    path: str = "/"
    within_s: float = 120.0
    seconds: float = 10.0
    warmup_s: float = 2.0
    rates: tuple[float, ...] = ()
    poisson: bool = True
    clients: int = 0
    keep: bool = True
    bound_s: float = 0.0
    body: str = ""
    pin: tuple[int, ...] = ()
    compares: bool = True

    @property
    def loads(self) -> tuple[Load, ...]:
        """Those that figures are of, in their order."""
        common = Load(self.seconds, poisson=self.poisson, keep=self.keep)
        opened = tuple(replace(common, rate=rate) for rate in self.rates)
        return (*opened, *((replace(common, clients=self.clients),) if self.clients else ()))

    @property
    def longest_s(self) -> float:
        """How long a visit may take, the first answer among it."""
        searched = (STEPS + 1) * (STEP_S + Load.timeout_s) if self.bound_s else 0.0
        warmed = self.warmup_s + Load.timeout_s if self.warmup_s else 0.0
        return self.within_s + warmed + sum(load.longest_s for load in self.loads) + searched


def seed_of(run_id: str, load: int) -> int:
    """Of the arrivals of a run's loads: the same in each of its boots, and others in another run."""
    return int.from_bytes(hashlib.sha256(f"{run_id} {load}".encode()).digest()[:7], "big")


def samples_of(loaded: Loaded) -> list[Sample]:
    """What is compared of one load. An open loop that the server did not keep up with has no latency: it grows as long
    as the load lasts."""
    load = loaded.load
    about: Mapping[str, object] = {
        "requests": loaded.requests,
        "answered": loaded.answered,
        "late_p99_s": round(loaded.late_s(), 9),
        "was_late": loaded.was_late,
        "generator_cpu": round(loaded.cpu_share, 4),
        "met": loaded.met or not load.rate,
        "seed": load.seed,
        "connections": loaded.opened,
        "faults": faults_text(loaded.faults(), loaded.requests) if loaded.faults() else "",
    }
    rate = Sample(f"throughput at {load.name}", Unit.PER_SECOND, (loaded.throughput,), metadata=about)
    kept = [] if load.rate and loaded.met else [rate] if loaded.throughput > 0 else []
    if load.rate and not loaded.met:
        return kept
    told = {name: value for name, value in loaded.quantiles().items() if value > 0}
    kept += [Sample(f"{name} at {load.name}", Unit.SECONDS, (v,), metadata=about) for name, v in told.items()]
    if "p50" in told and "p99" in told:
        kept.append(Sample(f"p99 ÷ p50 at {load.name}", Unit.COUNT, (told["p99"] / told["p50"],), metadata=about))
    return kept


class Serving:
    """A visitor. program: the load generator."""

    def __init__(self, asked: Service, program: Callable[[], Path]) -> None:
        self._asked, self._make = asked, program

    @cached_property
    def _program(self) -> Path:
        return self._make()

    def __call__(self, spec: BootSpec, door: Door) -> Visit:
        program = self._program  # compiled, or found, while the guest boots at the earliest boot
        first = first_answer(door, self._asked.path, self._asked.within_s)
        assert spec.network is not None
        if first.at_ns is None:
            return _told(door, Visit(fault=f"port {spec.network.guest_port}: {first.fault}"))
        return _told(door, _Loading(self._asked, program, spec, door, first).visit())


def _told(door: Door, visit: Visit) -> Visit:
    """The visit, where the program ended meanwhile with what is mostly the reason."""
    if not visit.fault or not select.select([door.ending], [], [], 0)[0]:
        return visit
    return replace(visit, fault=f"{visit.fault}; a server is to stay in the foreground, and not to fork")


class _Loading:
    """The loads of one visit, after the first answer."""

    def __init__(self, asked: Service, program: Path, spec: BootSpec, door: Door, first: FirstAnswer) -> None:
        self._asked, self._program, self._spec, self._door, self._first = asked, program, spec, door, first
        self._loads = 0
        self._all: list[Loaded] = []  # the warm-up and the loads: not those of the search

    def visit(self) -> Visit:
        assert self._first.at_ns is not None
        samples = [Sample(FIRST, Unit.SECONDS, ((self._first.at_ns - self._door.started_ns) / 1e9,))]
        fault = ""
        try:
            self._warm_up()
            for load in self._asked.loads:
                loaded = self._load(load)
                self._all.append(loaded)
                samples += samples_of(loaded)
            fault = self._fault()
            if self._asked.bound_s and not fault:
                samples += self._greatest()
        except (LoadError, ValueError) as error:
            fault = str(error)
        return Visit(self._first.at_ns, Readout(tuple(samples), self._checks(), self._files()), fault)

    def _load(self, load: Load) -> Loaded:
        """Raises LoadError and ValueError."""
        load = replace(load, seed=seed_of(self._spec.run_id, self._loads))
        self._loads += 1
        words = load.words(self._asked.path, self._asked.body)
        return Loaded(load, generated(self._program, words, self._door, load.longest_s, self._asked.pin))

    def _warm_up(self) -> None:
        if self._asked.warmup_s and self._asked.loads:
            self._all.append(self._load(replace(self._asked.loads[0], seconds=self._asked.warmup_s)))

    @property
    def _measured(self) -> Sequence[Loaded]:
        return self._all[1:] if self._asked.warmup_s else self._all

    def _fault(self) -> str:
        """Why the boot is no good after all: many requests were not answered, and not for want of time."""
        for loaded in self._measured:
            told = loaded.faults()
            if not loaded.answered:
                return f"not one answer at {loaded.load.name}: {faults_text(told, loaded.requests)}"
            if loaded.load.rate and not loaded.met:
                continue  # that the rate was too much is told beside its figures
            if failed([loaded]) > MOST_FAILED * loaded.requests:
                return f"at {loaded.load.name}, {faults_text(told, loaded.requests)}"
        return ""

    def _greatest(self) -> list[Sample]:
        """The greatest rate whose p99 is within the bound, by halving the interval on a scale of ratios."""
        closed = next((one for one in self._measured if one.load.clients), None)
        most = 1.2 * (closed.throughput if closed else max(one.throughput for one in self._measured) * 4)
        low, high, best = most / 64, most, 0.0
        for _ in range(STEPS):
            rate = (low * high) ** 0.5
            seconds = max(STEP_S, LEAST_STEP_REQUESTS / rate)
            load = Load(min(seconds, 4 * STEP_S), rate, poisson=self._asked.poisson, keep=self._asked.keep)
            loaded = self._load(load)
            within = loaded.answered and loaded.met and self._p99(loaded) <= self._asked.bound_s
            low, high = (rate, high) if within else (low, rate)
            best = rate if within else best
        about: Mapping[str, object] = {"steps": STEPS, "within": round(high / low, 3)}
        name = bound_name(self._asked.bound_s)
        return [Sample(name, Unit.PER_SECOND, (best,), metadata=about)] if best else []

    @staticmethod
    def _p99(loaded: Loaded) -> float:
        """A short load's, which has no ten requests beyond it: it need not be exact, and 1 % of them may be slower."""
        latencies = sorted(loaded.latencies)
        place = int(0.99 * (loaded.requests - 1))
        return float(latencies[place]) if place < len(latencies) else float("inf")

    def _checks(self) -> dict[str, str]:
        if not self._asked.compares:
            return {}
        kinds = {one.one_answer for one in self._measured if one.answered}
        under_load = (kinds.pop() or DIFFER) if len(kinds) == 1 else DIFFER
        checks = {ANSWER: f"status {self._first.status}, sha256 {self._first.digest}"}
        return {**checks, ANSWERS: under_load} if self._measured else checks

    def _files(self) -> dict[str, bytes]:
        """What the page draws: latency over time since the boot began, and its distribution under each load."""
        if self._spec.console_path is None:
            return {}
        loads = [
            {
                "name": one.load.name,
                "warmup": index == 0 and bool(self._asked.warmup_s),
                "bins_a_decade": BINS_A_DECADE,
                "histogram": sorted(one.histogram().items()),
                "over_time": [
                    (round(at, 4), count, round(middle, 9), round(most, 9))
                    for at, count, middle, most in one.over_time(self._door.started_ns, WIDTH_S)
                ],
            }
            for index, one in enumerate(self._all)
        ]
        text = json.dumps({"format": FORMAT, "loads": loads}, allow_nan=False) + "\n"
        return {f"{FOLDER}/{self._spec.console_path.stem}.json": text.encode()}


def bound_name(bound_s: float) -> str:
    """What the greatest rate within a bound is called."""
    return f"rate with p99 ≤ {bound_s * 1000:g} ms"
