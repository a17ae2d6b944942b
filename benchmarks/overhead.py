"""What ukperf adds to the boots that it measures: campaigns beside a plain loop over the same QEMU command line.

    python benchmarks/overhead.py [--launch direct|libvirt] [--boots 20] [--rounds 1] [--accel tcg] [--guest linux]

A round is `--boots` pairs: one trial of a campaign (block, journal, fsync and all), and the same QEMU command line run
by a loop of a dozen lines to the same end event, QEMU's exit. Which comes first in a pair is drawn, so that drift of
the machine falls on both alike; the ratio is that of the sums, and the median of the pairs' ratios tells it from
single disturbances. Exit status 1 if the median is above LIMIT.

A third way to look at it needs no quiet machine: the time between QEMU's end and its next start, and the processor time
that the campaign's process takes in all.

With `--launch libvirt` the time inside libvirt's calls is taken off the campaign's side: what is left is ours, and the
guest's. libvirt ends a domain after QEMU's word that the guest is off and waits for the process; a plain loop waits for
the process too.
"""

from __future__ import annotations

import argparse
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

from ukperf.engine.journal import JOURNAL, Journal
from ukperf.engine.runner import Runner
from ukperf.engine.session import make_plan
from ukperf.engine.setting import checked
from ukperf.errors import UkperfError
from ukperf.hosts import this_machine
from ukperf.hosts.connection import EMBED
from ukperf.hosts.direct import CommandLine
from ukperf.hosts.libvirt_host import LibvirtHost, open_host
from ukperf.imaging.programs import boot_program
from ukperf.model import Accelerator, BootRecord, Launch, Limits, Outcome, Request, Trial

LIMIT = 1.05


@dataclass
class Times:
    """Seconds of each boot, pair by pair.

    libvirt: inside its calls. between: in a trial, but not between the boot's first and last event. cpu: processor time
    of the campaign's process, libvirt's threads in it included, QEMU not.
    """

    campaign: list[float] = field(default_factory=list)
    plain: list[float] = field(default_factory=list)
    libvirt: list[float] = field(default_factory=list)
    between: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def add(self, other: Times) -> None:
        for item in fields(self):
            getattr(self, item.name).extend(getattr(other, item.name))


@dataclass
class PairedTrials:
    """Called by the campaign before and after each trial; runs a plain boot in between, before or after its own."""

    command: CommandLine
    console: Path
    order: random.Random
    boots: int
    times: Times = field(default_factory=Times)
    _since: float = 0.0
    _cpu: float = 0.0
    _plain_last: bool = False

    def begin(self) -> None:
        """The campaign's clock runs from here to the same point of the next block."""
        self._plain_last = bool(self.order.getrandbits(1))
        if not self._plain_last:
            self.times.plain.append(plain_boot(self.command, self.console))
        self._since, self._cpu = time.monotonic(), time.process_time()

    def enough(self, records: Sequence[BootRecord]) -> bool:
        """The runner asks this before each further block: everything of the trial is over, its line synced to disk."""
        now, cpu = time.monotonic(), time.process_time()
        if records[-1].outcome is not Outcome.OK:
            raise UkperfError(f"A boot failed, so there is nothing to compare: {records[-1].reason}")
        self.times.campaign.append(now - self._since)
        self.times.libvirt.append(records[-1].host_calls_ns / 1e9)
        self.times.between.append(now - self._since - records[-1].events["stopped"] / 1e9)
        self.times.cpu.append(cpu - self._cpu)
        if self._plain_last:
            self.times.plain.append(plain_boot(self.command, self.console))
        if len(self.times.campaign) == self.boots:
            return True
        self.begin()
        return False


def plain_boot(command: CommandLine, console: Path) -> float:
    """One boot of the command line, as somebody without ukperf would time it; seconds from exec to exit."""
    with listener(console) as server:
        start = time.monotonic()
        process = subprocess.Popen(
            command.argv, env=dict(command.env), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        connection = server.accept()[0]
        with connection:
            while connection.recv(65_536):
                pass
        process.wait()
        return time.monotonic() - start


@contextmanager
def listener(path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen(1)
        try:
            yield server
        finally:
            path.unlink()


def measure(host: LibvirtHost, folder: Path, options: argparse.Namespace, number: int) -> Times:
    """One campaign of --boots blocks with a plain boot beside each."""
    request = Request(
        boot_program(),
        guests=(options.guest,),
        baseline=options.guest,
        accelerator=Accelerator(options.accel),
        launch=Launch(options.launch),
        seed=number,
        connect=(EMBED,),
        limits=Limits(boots=options.boots + 1),  # ended by `enough`, which is not asked after the last block
    )
    plan = make_plan(checked(request), f"{number:016x}", (host,), lambda _sentence: None)
    folder.mkdir()
    with Journal(folder / JOURNAL) as journal:
        runner = Runner(plan, folder, {EMBED: host}, this_machine, journal, lambda _records: False)
        spec = replace(runner.spec(Trial(0, 0, 0, options.guest)), launch=Launch.DIRECT)
        command = host.command_line(spec)
        console = Path(next(word.split("path=")[1] for word in command.argv if "path=" in word and "serial0" in word))
        pairs = PairedTrials(command, console, random.Random(number), options.boots)
        runner.enough = pairs.enough
        plain_boot(command, console)  # page cache
        pairs.begin()
        runner.run()
    return pairs.times


def report(name: str, ours: Sequence[float], plain: Sequence[float]) -> float:
    """Prints one line; returns the median of the pairs' ratios."""
    ratios = [a / b for a, b in zip(ours, plain, strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
    sums = sum(ours) / sum(plain)
    print(f"{name:24} {sums:6.3f} by sums; pairs: median {middle:.3f}, quartiles {low:.3f} to {high:.3f}")
    return middle


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--launch", default="direct", choices=["direct", "libvirt"])
    parser.add_argument("--boots", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=1, help="campaigns, each with its own order")
    parser.add_argument("--accel", default="tcg", choices=["tcg", "kvm", "icount"])
    parser.add_argument("--guest", default="linux")
    options = parser.parse_args()
    times = Times()
    try:
        with ExitStack() as stack:
            host = stack.enter_context(open_host(EMBED))
            top = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ukperf-overhead-")))
            for number in range(options.rounds):
                times.add(measure(host, top / str(number), options, number))
    except UkperfError as error:
        print(error, file=sys.stderr)
        return error.exit_status
    seconds = {"campaign": times.campaign, "plain loop": times.plain, "libvirt's calls": times.libvirt}
    seconds |= {"outside the boot": times.between, "our processor time": times.cpu}
    print(f"{options.guest}, {options.accel}, launch {options.launch}: {len(times.plain)} pairs of boots")
    for name, values in seconds.items():
        print(f"{name:24} {sum(values):7.2f} s, median {statistics.median(values):.3f} s a boot")
    ratio = report("campaign / plain", times.campaign, times.plain)
    if options.launch == "libvirt":
        without = [ours - calls for ours, calls in zip(times.campaign, times.libvirt, strict=True)]
        ratio = report("campaign less libvirt", without, times.plain)
    print(f"allowed: {LIMIT}")
    return 0 if ratio <= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
