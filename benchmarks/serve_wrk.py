"""The load generator of `ukperf serve` against wrk, on lighttpd on this machine: throughput and p99 of a closed loop.

    python benchmarks/serve_wrk.py [ROUNDS [SECONDS [CONNECTIONS]]]

wrk has no open loop, and its latency begins when a request was sent. So what can be compared is ours with `clients`.
Both in turns, in random order, on one server; ratios ours ÷ wrk with their spread, over rounds. wrk prints its p99 with
few digits, and corrects its latencies for what a closed loop omits, by adding to each long one those that would have
come meanwhile: ours are corrected here in the same way. Connections are kept: wrk's latency leaves their making out,
ours has it in.
"""

from __future__ import annotations

import contextlib
import math
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ukperf.hosts.network import free_port
from ukperf.imaging.cache import Cache
from ukperf.imaging.programs import build_program
from ukperf.workloads.loads import Load, Loaded

_MS = {"us": 0.001, "ms": 1.0, "s": 1000.0}
CONFIG = """
server.document-root = "{folder}"
server.port = {port}
server.bind = "127.0.0.1"
server.modules = ()
server.max-keep-alive-requests = 1000000000
index-file.names = ("index.html")
"""


@contextlib.contextmanager
def lighttpd(folder: Path) -> Iterator[int]:
    """A server of one file of 1 KiB, until the end of the block; its port."""
    port = free_port()
    (folder / "index.html").write_text("x" * 1024)
    config = folder / "lighttpd.conf"
    config.write_text(CONFIG.format(folder=folder, port=port))
    program = shutil.which("lighttpd") or "/usr/sbin/lighttpd"
    with subprocess.Popen([program, "-D", "-f", str(config)], stderr=subprocess.DEVNULL) as server:
        time.sleep(0.5)
        try:
            yield port
        finally:
            server.terminate()


def ours(port: int, seconds: float, connections: int) -> tuple[float, float]:
    """Answers a second, and p99 in ms."""
    load = Load(seconds, clients=connections)
    words = [str(build_program("serve/load.c", Cache())), *load.words("/"), f"port={port}"]
    seen = Loaded(load, subprocess.run(words, capture_output=True, check=True).stdout)
    assert not seen.faults()
    return seen.throughput, float(np.quantile(corrected(seen, connections), 0.99)) * 1000


def corrected(seen: Loaded, connections: int) -> NDArray[np.float64]:
    """Latencies as wrk has them: beside each that is longer than two intervals between a client's requests stand those
    of the requests that it would have made meanwhile."""
    interval = seen.load.seconds / (seen.answered / connections)
    long = seen.latencies[seen.latencies > 2 * interval]
    return np.concatenate([seen.latencies, *(np.arange(one - interval, interval, -interval) for one in long)])


def wrks(port: int, seconds: float, connections: int) -> tuple[float, float]:
    """The same, of one thread of wrk."""
    words = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", "--latency", f"http://127.0.0.1:{port}/"]
    said = subprocess.run(words, capture_output=True, check=True, text=True).stdout
    rate = re.search(r"Requests/sec:\s+([\d.]+)", said)
    p99 = re.search(r"99%\s+([\d.]+)(us|ms|s)", said)
    assert rate
    assert p99, said
    return float(rate[1]), float(p99[1]) * _MS[p99[2]]


def ratio(name: str, pairs: Sequence[tuple[float, float]]) -> str:
    """Median of the rounds' ratios ours ÷ wrk's with its 95 % interval by order statistics (the sign test's: what a
    busy machine does to single rounds has no part in it), and the range of the rounds."""
    each = sorted(one / other for one, other in pairs)
    rank = max(0, math.floor(len(each) / 2 - 0.98 * math.sqrt(len(each))))
    return (
        f"{name}: ours ÷ wrk {statistics.median(each):.3f} [{each[rank]:.3f}, {each[-1 - rank]:.3f}]; rounds "
        f"{each[0]:.2f} to {each[-1]:.2f}; medians {statistics.median(a for a, _ in pairs):,.3g} and "
        f"{statistics.median(b for _, b in pairs):,.3g}"
    )


def quiet(name: str, pairs: Sequence[tuple[float, float]], best: Callable[[Sequence[float]], float]) -> str:
    """The ratio of the best rounds of each: those that the machine disturbed least."""
    mine, theirs = best([one for one, _ in pairs]), best([other for _, other in pairs])
    return f"{name}, best rounds: ours ÷ wrk {mine / theirs:.3f} ({mine:,.3g} and {theirs:,.3g})"


def main() -> None:
    given = [int(word) for word in sys.argv[1:]]
    rounds, seconds, connections = (*given, *(10, 5, 8)[len(given) :])
    draw = random.Random(1)
    rates, tails = [], []
    with tempfile.TemporaryDirectory() as folder, lighttpd(Path(folder)) as port:
        for _ in range(rounds):
            first_ours = draw.random() < 0.5
            measured = [
                measure(port, seconds, connections) for measure in ((ours, wrks) if first_ours else (wrks, ours))
            ]
            mine, theirs = measured if first_ours else reversed(measured)
            rates.append((mine[0], theirs[0]))
            tails.append((mine[1], theirs[1]))
    print(f"{rounds} rounds of {seconds} s each, {connections} connections")
    print(ratio("requests a second", rates))
    print(ratio("p99, ms", tails))
    print(quiet("requests a second", rates, max))
    print(quiet("p99, ms", tails, min))


if __name__ == "__main__":
    main()
