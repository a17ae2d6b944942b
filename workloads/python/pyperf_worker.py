"""Runs somebody's pyperf script as pyperf's worker in this one process, and reports its benchmarks in frames.

    python pyperf_worker.pyc CLOCK SETTINGS FOLDER INPUT SCRIPT [ARG…]

CLOCK: `seconds`, or `instructions` of guests (a process of a host is timed all the same). SETTINGS:
`CRC=LOOPS:VALUES:WARMUPS,…` for benchmarks by the CRC-32 of their names in hexadecimal; `-`: none. A benchmark that is
not in it is calibrated as pyperf does it, and has one value: so the host, which plays the part of pyperf's manager,
finds out how long each takes. FOLDER: where the script runs; INPUT: the file that it reads from standard input. The
script's own command line is what its user wrote.
"""

import os
import sys
import time
from pathlib import Path

from ukperf_wire import Wire

MAX_BENCHMARKS = 128  # of one script (imaging/packpython.py)
UNITS = {"second": "s", "byte": "bytes", "integer": "count"}
NANOSECONDS = 1e9
IN_GUEST = sys.prefix == "/prog"  # on a host the tree is in a folder


class Refused(Exception):
    """What a person can act on, in one sentence."""


def parse_settings(text):
    """SETTINGS → {crc: (loops, values, warmups)}."""
    settings = {}
    for item in text.split(",") if text != "-" else ():
        crc, _, numbers = item.partition("=")
        settings[int(crc, 16)] = tuple(int(number) for number in numbers.split(":"))
    return settings


def count_instructions(wire):
    """Under icount the time-stamp counter counts instructions, exactly. Scripts measure by time.perf_counter, in
    seconds: an instruction is a nanosecond of it from now on."""
    read = wire.tsc
    if read is None:
        raise Refused("The time-stamp counter cannot be read here: no memory can be made executable.")
    time.perf_counter = lambda: read() / NANOSECONDS
    time.perf_counter_ns = read


class Worker:
    """What pyperf.Runner is told to do for each benchmark, and what becomes of its result."""

    def __init__(self, wire, clock, settings):
        self.wire, self.clock, self.settings = wire, clock, settings
        self.count = 0
        self.own_loops = 0  # of the script: Runner(loops=N) or its option

    def take_over(self):
        """Change pyperf before the script gets it: one process, no fork, nothing read of /proc, results as frames."""
        import pyperf
        from pyperf import _worker

        runner = pyperf.Runner
        parsed, task = runner._set_args, runner._main

        def set_args(this, args):
            self.own_loops = args.loops
            args.worker, args.quiet, args.verbose, args.in_process = True, True, False, False
            for name in ("pipe", "output", "append", "worker_task", "compare_to", "affinity", "profile"):
                setattr(args, name, None)
            args.loops, args.warmups = args.loops or 1, 0
            parsed(this, args)

        def main(this, what):
            self.choose(this.parse_args(), what.name.strip())
            what.loops = this.args.loops
            return task(this, what)

        runner._set_args, runner._main = set_args, main
        runner._cpu_affinity = lambda this: None
        runner._display_result = lambda this, bench, checks=True: self.report(bench)
        _worker.WorkerProcessTask.collect_metadata = lambda this: {}

    def choose(self, args, name):
        """Loops, values and warm-ups of the benchmark that comes now."""
        import zlib

        chosen = self.settings.get(zlib.crc32(name.encode("utf-8", "replace")))
        args.calibrate_loops = chosen is None and not self.own_loops
        args.loops, args.values, args.warmups = chosen or (self.own_loops, 1, 0)
        self.wire.phase(f"benchmark {name}")

    def report(self, bench):
        self.count += 1
        if self.count > MAX_BENCHMARKS:
            raise Refused(f"The script has more than {MAX_BENCHMARKS} benchmarks.")
        (run,) = bench.get_runs()
        facts = run.get_metadata()
        meta = {"inner_loops": run.get_inner_loops()}
        values, warmups = list(run.values), [value for _, value in run.warmups or ()]
        if not values:  # it was calibrated: the last try has the loops that pyperf takes
            values, warmups = warmups[-1:], []
        elif self.own_loops:
            meta["own_loops"] = self.own_loops
        unit = UNITS.get(facts.get("unit", "second"), "count")
        if unit == "s" and self.clock == "instructions":
            unit = "instructions"
            each = run.get_loops() * run.get_inner_loops()
            values, warmups = ([round(v * each * NANOSECONDS) / each for v in part] for part in (values, warmups))
        self.wire.samples(bench.get_name(), unit, values, run.get_loops(), warmups=warmups, meta=meta)


def prepare(folder, source):
    """Where the script runs, and what it reads."""
    os.chdir(folder)
    handle = os.open(source, os.O_RDONLY)
    if handle != 0:
        os.dup2(handle, 0)
        os.close(handle)


def status_of(code):
    """What a shell would see of sys.exit(code)."""
    if code is None or isinstance(code, int):
        return (code or 0) & 255
    print(code, file=sys.stderr)
    return 1


def run(wire, clock, settings, folder, source, script):
    """The script's exit status. Whatever it raises is one sentence, and its traceback on the console."""
    import runpy

    try:
        if clock == "instructions":
            count_instructions(wire)
        prepare(folder, source)
        worker = Worker(wire, clock, parse_settings(settings))
        worker.take_over()
        try:
            runpy.run_path(script, run_name="__main__")
            status = 0
        except SystemExit as end:
            status = status_of(end.code)
        if status == 0 and worker.count == 0:
            raise Refused("The script made no benchmark: it called no bench_… of a pyperf.Runner.")
        return status
    except Refused as error:
        wire.error(str(error))
    except ImportError as error:
        wire.error(f"The import of {error.name or 'a module'} failed: {error}")
    except MemoryError:
        wire.error("The guest ran out of memory.")
    except BaseException as error:
        import traceback

        traceback.print_exc()
        wire.error(f"{type(error).__name__}: {error} ({place_of(error)})")
    return 1


def place_of(error):
    """Where it was raised: a call that a guest lacks is known by who made it."""
    import traceback

    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{last.name}, {Path(last.filename).name}:{last.lineno}"


def peak_memory():
    """Bytes, as the preloaded library says them; on a host it would be the memory of whoever forked."""
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    return {"peak_rss": peak} if peak > 0 and IN_GUEST else {}


def main():
    # Unikraft shortens argv[0] to its last part, and then Python cannot tell where it is; pyperf asks.
    sys.executable = sys.executable or f"{sys.prefix}/python"
    clock, settings, folder, source, script, *arguments = sys.argv[1:]
    clock = clock if IN_GUEST else "seconds"
    wire = Wire(Path(script).name)
    sys.argv = [script, *arguments]
    sys.path[0] = str(Path(script).parent)
    status = run(wire, clock, settings, folder, source, script)
    try:
        import atexit

        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    except Exception as error:
        wire.error(f"{type(error).__name__}: {error}")
        status = status or 1
    wire.send("exit", status=status, **peak_memory())
    os._exit(status)


if __name__ == "__main__":
    main()
