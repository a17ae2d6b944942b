"""What it costs to compare and to report a large run: 1,000 boots of 1,000 values each, as whole commands.

    python benchmarks/report_cost.py [--boots 1000] [--values 1000] [--times 5]

Writes a made-up run (two guests, drift, warm-up, some failures) into a temporary folder and runs `ukperf compare`,
`ukperf compare RUN RUN`, `ukperf report` and `ukperf report --html` on it as processes of their own. Prints wall-clock
and CPU seconds, the median of all times and the worst, and the sizes of journal and page. Exit status 1 when a median
of wall-clock time is beyond its limit.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from ukperf.engine.journal import JOURNAL, to_json
from ukperf.engine.plan import save
from ukperf.model import (
    Accelerator,
    BootProtocol,
    BootRecord,
    Image,
    Launch,
    Limits,
    Machine,
    Outcome,
    Phase,
    Plan,
    Sample,
    Trial,
    Unit,
)

ROOT = Path(__file__).resolve().parents[1]
LIMITS = {"compare": 2.0, "compare RUN RUN": 4.0, "report": 10.0, "report --html": 10.0}
SHARES = {Phase.VMM: 0.1, Phase.KERNEL: 0.6, Phase.INIT: 0.2, Phase.STOP: 0.1, Phase.TOTAL: 1.0}


def made_up(boots: int, values: int, seed: int = 1) -> list[BootRecord]:
    """Blocks of two guests: the second is 10 % faster, the host slows by 5 %, one boot in a hundred fails."""
    draw = np.random.default_rng(seed)
    records = []
    for index in range(boots):
        block, guest = index // 2, ("linux", "nanos")[(index + index // 2) % 2]
        level = (1.0 if guest == "linux" else 0.9) * (1 + 0.05 * index / boots)
        total = level * float(draw.lognormal(0, 0.02))
        iterations = total / 1e3 * draw.lognormal(0, 0.01, values)
        iterations[: values // 50] *= 3  # warm-up
        record = BootRecord(
            Trial(index, block, index % 2, guest),
            Outcome.OK,
            "",
            f"2026-01-01T{index // 3600 % 24:02d}:{index // 60 % 60:02d}:{index % 60:02d}+00:00",
            {phase: total * share for phase, share in SHARES.items()},
            Unit.SECONDS,
            (Sample("fit", Unit.SECONDS, tuple(iterations.tolist())),),
            image_digest="ab" * 32,
            noise={"load1": float(draw.random())},
        )
        if draw.random() < 0.01:
            record = replace(
                record,
                outcome=Outcome.HUNG,
                reason="no end in 120 s",
                phases={},
                samples=(),
                console_tail="panic\n" * 50,
            )
        records.append(record)
    return records


def write_run(folder: Path, records: list[BootRecord]) -> Path:
    image = {g: Image(g, "boot", "cd" * 32, "ab" * 32, BootProtocol.KERNEL) for g in ("linux", "nanos")}
    plan = Plan(
        run_id="0123456789abcdef",
        created_at="2026-01-01T00:00:00+00:00",
        workload="boot",
        images=image,
        baseline="linux",
        machine=Machine(),
        accelerator=Accelerator.TCG,
        launch=Launch.LIBVIRT,
        hosts=("qemu:///embed",),
        seed=1,
        limits=Limits(boots=len(records) // 2),
        delta=0.01,
        command=("ukperf", "boot-time", "--guest", "nanos"),
        facts={"cpu": "a CPU", "qemu": "7.2.0", "libvirt": "9.0.0"},
    )
    folder.mkdir()
    save(plan, folder)
    with (folder / JOURNAL).open("w") as file:
        for record in records:
            file.write(json.dumps(to_json(record), separators=(",", ":"), allow_nan=False) + "\n")
    return folder


def cost(words: list[str]) -> tuple[float, float]:
    """(wall-clock, CPU) seconds of one command, from exec to exit."""
    command = [sys.executable, "-c", "from ukperf.cli.main import run; run()", *words]
    before, start = os.times(), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=ROOT)
    wall, after = time.perf_counter() - start, os.times()
    return wall, after.children_user - before.children_user + after.children_system - before.children_system


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--boots", type=int, default=1000)
    parser.add_argument("--values", type=int, default=1000)
    parser.add_argument("--times", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ukperf-cost-") as scratch:
        first, second = (
            write_run(Path(scratch) / name, made_up(options.boots, options.values, seed))
            for seed, name in enumerate(("one", "two"), 1)
        )
        commands = {
            "compare": ["compare", str(first)],
            "compare RUN RUN": ["compare", str(first), str(second)],
            "report": ["report", str(first)],
            "report --html": ["report", str(first), "--html"],
        }
        cost(["compare", str(first)])  # once unmeasured: bytecode and page cache
        spent: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
        for _ in range(options.times):
            for name in random.sample(list(commands), len(commands)):
                spent[name].append(cost(commands[name]))
        page = (first / "report.html").stat().st_size
        journal = (first / JOURNAL).stat().st_size
    print(f"{options.boots} boots of {options.values} values: journal {journal / 1e6:.1f} MB, page {page / 1e6:.2f} MB")
    late = False
    for name, pairs in spent.items():
        walls, busy = zip(*pairs, strict=True)
        middle = statistics.median(walls)
        late |= middle > LIMITS[name]
        print(
            f"{name:16} wall {middle:5.2f} s (worst {max(walls):5.2f}), CPU {statistics.median(busy):5.2f} s; "
            f"allowed {LIMITS[name]:g} s"
        )
    return 1 if late else 0


if __name__ == "__main__":
    sys.exit(main())
