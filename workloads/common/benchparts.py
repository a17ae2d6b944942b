"""What the Python programs that measure inside guests have in common: clocks, settings, quantiles, files, memory."""

import math
import os
import sys
import time

QUANTILES = (("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999))
BEYOND = 10  # calls that must lie beyond a quantile before it is reported: p99 takes 1,000 calls, p99.9 10,000
# Bytes of one read, as cat and cp do. With a megabyte, and what it reads ahead, nanos fills its ring to a Xen disk;
# a request that takes the very last place there is put into two lists (xenblk.c), and the guest dies.
PIECE = 128 << 10


class Refused(Exception):
    """What a person can act on, in one sentence."""


def parse_settings(text):
    """`NAME=LOOPS:VALUES:WARMUPS,…` → {name: (loops, values, warmups)}; fixed by the host, the same for all guests."""
    settings = {}
    for item in filter(None, (text or "").split(",")):
        name, _, numbers = item.rpartition("=")
        settings[name] = tuple(int(n) for n in numbers.split(":"))
    return settings


class Clock:
    """What a duration is counted in. Instructions: the time-stamp counter, which under icount counts just these."""

    def __init__(self, kind, wire=None):
        self.unit = "s" if kind == "seconds" else "instructions"
        self.read = time.perf_counter
        if kind == "instructions":
            from ukperf_wire import tsc_reader

            self.read = (wire and wire.tsc) or tsc_reader()
            if self.read is None:
                raise Refused("The time-stamp counter cannot be read here: no memory can be made executable.")


def wait_at_gate(wire, closed):
    """Say `opened`, for who counts from there; closed: the machine is saved before, and goes on from there."""
    if closed:
        import ukperf_gate

        ukperf_gate.wait(wire)
    wire.phase("opened")


def report_quantiles(wire, name, unit, took):
    """Quantiles of one boot's calls, as far as there are calls enough. took: sorted here."""
    took.sort()
    for label, q in QUANTILES:
        if (len(took) * (1 - q)) + 1e-9 >= BEYOND:
            value = took[math.ceil(len(took) * q) - 1]
            wire.samples(f"{name} {label}", unit, [value], meta={"calls": len(took)})


def report_memory(wire):
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    if peak > 0:  # unikernels without the figure say 0
        wire.samples("peak memory", "bytes", [peak])


def read_files():
    """Read every file of the program's tree once, so that nothing waits for the disk later: `import` then costs what
    the guest's memory and loader cost. (Under icount an idle guest's clock leaps, so waiting must not be timed.)"""
    total = 0
    for folder in sorted({sys.prefix, os.environ.get("LD_LIBRARY_PATH", sys.prefix)}):
        for where, folders, names in os.walk(folder):
            folders.sort()
            for name in sorted(names):
                handle = os.open(f"{where}/{name}", os.O_RDONLY)
                while piece := os.read(handle, PIECE):
                    total += len(piece)
                os.close(handle)
    return total


def status_of(wire, work, name=""):
    """work() and the exit status of the program: 0, or 1 where it raised, and then the host gets a sentence. name: what
    stands before Python's own words."""
    try:
        work()
    except Refused as error:
        wire.error(str(error))
    except ImportError as error:
        wire.error(f"The import of {error.name or 'a module'} failed: {error}.")
    except MemoryError:
        wire.error("The guest ran out of memory.")
    except Exception as error:
        wire.error(f"{name}{type(error).__name__}: {error}")
        import traceback

        traceback.print_exc()
    else:
        return 0
    return 1
