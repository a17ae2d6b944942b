"""One model in one runtime inside a guest: import, load, first prediction, single rows, batches (docs/wire.md).

    python bench.pyc [--clock instructions] [--threads N] [--batch N] [--cpus N] [--bare] [--set NAME=L:V:W,…]

Beside it are the adapter of the runtime (adapter.py), runtime.json (its name, the model's file, variables to set), the
model, and inputs.npy and expected.npy. Nothing is imported before the first prediction but what that needs, so that
the time from the machine's start to it is what a service would see.
"""

import json
import os
import sys
from pathlib import Path

from ukperf_wire import Wire

WIRE = Wire("infer")
import faulthandler  # noqa: E402

faulthandler.enable()  # a crash leaves its Python stack on the console
HERE = Path(__file__).parent
ABOUT = json.loads((HERE / "runtime.json").read_text())
# Before any library is loaded: who would tell the world that it runs must know before.
os.environ.update(ABOUT["environment"])
# Unikraft shortens argv[0] to its last part, and then Python cannot tell where it is; some runtimes ask.
sys.executable = sys.executable or f"{sys.prefix}/python"

import argparse  # noqa: E402
import hashlib  # noqa: E402
import math  # noqa: E402

import cpuinfo  # noqa: E402
from benchparts import (  # noqa: E402
    Clock,
    Refused,
    parse_settings,
    read_files,
    report_memory,
    report_quantiles,
    status_of,
    wait_at_gate,
)
from modelparts import arrays_of, cpu_here, pin_threads  # noqa: E402
from rows import read_npy, rows_for  # noqa: E402

FIRST = "first prediction"
DISTINCT_ROWS = 256  # rows that the single calls go round


def options():
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--clock", choices=("seconds", "instructions"), default="seconds")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=0, help="rows of one batch; 0: all that there are")
    parser.add_argument("--cpus", type=int, default=1, help="of the machine")
    parser.add_argument("--first", action="store_true", help="say `opened` before the first prediction")
    parser.add_argument("--gate", action="store_true", help="and wait there until the machine was saved")
    parser.add_argument("--bare", action="store_true", help="no /proc/cpuinfo where the guest has none")
    parser.add_argument("--set", dest="settings", default="")
    return parser.parse_args()


def once(clock, name, call, meta=None):
    """What happens once in a boot, and how long it took."""
    WIRE.phase(name)
    start = clock.read()
    result = call()
    WIRE.samples(name, clock.unit, [clock.read() - start], meta=meta)
    return result


def repeated(clock, name, settings, call, meta, each=None):
    """call() timed one by one, in `values` values of `loops` calls behind `warmups` such. each: gets them all."""
    loops, values, warmups = settings.get(name, (1, 1, 0))
    took = []
    for value in range(warmups + values):
        for _ in range(loops):
            start = clock.read()
            call()
            took.append((value >= warmups, clock.read() - start))
    batches = [
        sum(cost for _, cost in took[at : at + loops]) / loops for at in range(0, loops * (warmups + values), loops)
    ]
    WIRE.samples(name, clock.unit, batches[warmups:], loops, warmups=batches[:warmups], meta=meta)
    if each is not None:
        each([cost for kept, cost in took if kept])


def deviation(batches, expected):
    """The greatest difference of any number from what is expected; of the output that has as many, the last such."""
    for parts in reversed(list(zip(*batches, strict=True))):
        if sum(math.prod(part.shape) for part in parts) == math.prod(expected.shape):
            numbers = (number for part in parts for number in part.numbers())
            # A number that is none is no answer, and max() would pass it over.
            differences = [abs(ours - theirs) for ours, theirs in zip(numbers, expected.numbers(), strict=True)]
            return math.inf if any(map(math.isnan, differences)) else max(differences, default=0.0)
    shapes = " and ".join(str(array.shape) for array in batches[0])
    raise Refused(f"The model gave {shapes} for a batch, and {expected.shape} is expected of all.")


def check_answers(adapter, rows, batch, tolerance):
    """sha256 over the bytes of all outputs, equal only where every bit is; and how far they are from the expected."""
    parts = (rows[at : at + batch] for at in range(0, len(rows), batch))
    batches = [arrays_of(adapter, adapter.predict(part)) for part in parts]
    total = hashlib.sha256()
    for array in (array for batch in batches for array in batch):
        total.update(f"{array.kind}{array.shape}".encode() + array.data)
    WIRE.check("outputs", total.hexdigest())
    if (HERE / "expected.npy").exists():
        far = deviation(batches, read_npy(HERE / "expected.npy"))
        WIRE.check("deviation", f"{far:.3g}")
        WIRE.check("expected outputs", "yes" if far <= tolerance else f"off by {far:.3g}, and {tolerance:g} is allowed")


def check_engine(engine, args, cpu):
    """The runtime's own word, fact by fact; what must be equal for times to be compared."""
    told = {"cpu": cpu.isa() if cpu else "unknown", "threads": args.threads, **engine}
    for name, value in sorted(told.items()):
        WIRE.check(f"engine {name}", str(value))


def run(args):
    pin_threads(args.threads)
    clock = Clock(args.clock, WIRE)
    settings = parse_settings(args.settings)
    if clock.unit != "s":
        WIRE.phase("read files")
        read_files()
    cpu = cpu_here()
    given = "left out" if args.bare else cpuinfo.provide(cpu, args.cpus) if cpu else "no CPUID"
    import adapter

    once(clock, "import", adapter.import_, {"cpuinfo": given})
    rows = rows_for(adapter, HERE / "inputs.npy")
    batch = args.batch or len(rows)
    once(clock, "load", lambda: adapter.load(str(HERE / ABOUT["model"]), args.threads))
    if args.first or args.gate:
        wait_at_gate(WIRE, closed=args.gate)
    once(clock, FIRST, lambda: adapter.predict(rows[:1]))
    WIRE.phase("single rows")
    cells = [rows[at : at + 1] for at in range(min(DISTINCT_ROWS, len(rows)))]
    asked = iter(range(sys.maxsize))

    def one():
        adapter.predict(cells[next(asked) % len(cells)])

    def quantiles(took):
        report_quantiles(WIRE, "single row", clock.unit, took)

    repeated(clock, "single row", settings, one, {"rows": 1}, quantiles)
    WIRE.phase("batch")
    part = rows[:batch]
    repeated(clock, "batch", settings, lambda: adapter.predict(part), {"rows": len(part)})
    WIRE.phase("answers")
    check_answers(adapter, rows, batch, ABOUT["tolerance"])
    check_engine(adapter.engine(), args, cpu)
    report_memory(WIRE)


if __name__ == "__main__":
    STATUS = status_of(WIRE, lambda: run(options()), f"{ABOUT['name']}: ")
    sys.stderr.flush()
    WIRE.exit(STATUS)
