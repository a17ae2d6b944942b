"""A restore by ukperf beside a line of QEMU's written by hand, from the same template, and with another memory.

    python benchmarks/restore_overhead.py [--restores 20] [--guest unikraft --guest nanos]

A pair is one restore by ukperf (`--launch direct`) and one by a plain loop: the same command line by subprocess, five
lines to QEMU's monitor, the time from exec to the guest's first byte. Which comes first is drawn. Restores with 256 MiB
are in the same blocks as those with 1 GiB. Exit status 1 if ukperf's ratio is above LIMIT, or memory's outside SAME.
"""

from __future__ import annotations

import argparse
import json
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

from ukperf import guests
from ukperf.engine.setting import setting_of
from ukperf.hosts.connection import EMBED
from ukperf.hosts.direct import CommandLine
from ukperf.hosts.libvirt_host import LibvirtHost, open_host
from ukperf.hosts.template import STATE
from ukperf.imaging.programs import own_program
from ukperf.model import Accelerator, BootSpec, Event, Launch, Machine, Outcome

LIMIT, SAME = 1.2, 0.2
LARGE, SMALL = 1024, 256  # MiB
PROGRAM = """
#include "ukperf.h"
#include "gate.h"
int main(void)
{
    uk_main("gated");
    uk_gate();
    uk_phase("opened");
    return uk_exit(0);
}
"""


def by_ukperf(host: LibvirtHost, spec: BootSpec) -> float:
    """Seconds from exec to the first byte."""
    seen = host.boot(spec)
    if seen.outcome is not Outcome.OK:
        sys.exit(f"A restore failed: {seen.reason}")
    return (seen.events[Event.FIRST_BYTE] - seen.events[Event.START]) / 1e9


def by_hand(command: CommandLine, scratch: Path, state: Path) -> float:
    """The same without ukperf."""
    with socket.socket(socket.AF_UNIX) as console, socket.socket(socket.AF_UNIX) as monitor:
        for server, name in ((console, "console.sock"), (monitor, "monitor.sock")):
            (scratch / name).unlink(missing_ok=True)
            server.bind(str(scratch / name))
            server.listen(1)
        start = time.monotonic()
        none = subprocess.DEVNULL
        vmm = subprocess.Popen(command.argv, env=dict(command.env), stdin=none, stdout=none, stderr=none)
        try:
            guest = console.accept()[0]
            asked = monitor.accept()[0]
            with guest, asked, state.open("rb") as saved:
                lines = asked.makefile("r")
                lines.readline()
                capability = [{"capability": "x-ignore-shared", "state": True}, {"capability": "events", "state": True}]
                said = (
                    {"execute": "qmp_capabilities"},
                    {"execute": "migrate-set-capabilities", "arguments": {"capabilities": capability}},
                    {"execute": "getfd", "arguments": {"fdname": "saved"}},
                    {"execute": "migrate-incoming", "arguments": {"uri": "fd:saved"}},
                )
                for words in said:
                    descriptors = [saved.fileno()] if words["execute"] == "getfd" else []
                    socket.send_fds(asked, [json.dumps(words).encode()], descriptors)
                    while "return" not in lines.readline():
                        pass
                while '"completed"' not in lines.readline():
                    pass
                asked.sendall(b'{"execute": "cont"}')
                guest.recv(1)
                return time.monotonic() - start
        finally:
            vmm.kill()
            vmm.wait()


def spread(values: list[float]) -> str:
    cuts = statistics.quantiles(values, n=4) if len(values) > 1 else [values[0]] * 3
    return f"{statistics.median(values):.3f} (quartiles {cuts[0]:.3f} to {cuts[2]:.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--restores", type=int, default=20)
    parser.add_argument("--guest", action="append", help="default: unikraft and nanos")
    parser.add_argument("--accel", default="tcg", choices=("tcg", "icount", "kvm"))
    asked = parser.parse_args()
    good, order = True, random.Random(1)
    with tempfile.TemporaryDirectory() as folder, open_host(EMBED) as host:
        (Path(folder) / "gated.c").write_text(PROGRAM)
        program = own_program("gated", Path(folder) / "gated.c")
        for name in asked.guest or ["unikraft", "nanos"]:
            specs = {}
            for mib in (LARGE, SMALL):
                setting = setting_of(guests.get(name), host, Accelerator(asked.accel), program, Machine(memory_mib=mib))
                spec = replace(setting.spec("0123456789abcdef", timeout_s=120), launch=Launch.DIRECT)
                template = Path(folder) / f"{name}-{mib}"
                template.mkdir()
                host.take_template(spec, template)
                specs[mib] = replace(spec, template=template)
            large = specs[LARGE]
            assert large.template is not None
            command, state = host.command_line(large), large.template / STATE
            scratch = Path(next(w for w in command.argv if "monitor.sock" in w).split("path=")[1].split(",")[0]).parent
            ways = {
                "ukperf": partial(by_ukperf, host, large),
                "by hand": partial(by_hand, command, scratch, state),
                "small": partial(by_ukperf, host, specs[SMALL]),
            }
            took: dict[str, list[float]] = {way: [] for way in ways}
            for block in range(asked.restores + 1):
                for way in order.sample(list(ways), len(ways)):
                    seconds = ways[way]()
                    if block:  # the first of each reads what is not in the page cache yet
                        took[way].append(seconds)
            ratio = [a / b for a, b in zip(took["ukperf"], took["by hand"], strict=True)]
            memory = [a / b for a, b in zip(took["ukperf"], took["small"], strict=True)]
            print(
                f"{name}, {LARGE} MiB, to the first byte: ukperf {spread(took['ukperf'])} s, by hand "
                f"{spread(took['by hand'])} s"
            )
            print(f"{name}: ukperf ÷ by hand {spread(ratio)}; {LARGE} MiB ÷ {SMALL} MiB {spread(memory)}", flush=True)
            good &= statistics.median(ratio) <= LIMIT and abs(statistics.median(memory) - 1) <= SAME
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
