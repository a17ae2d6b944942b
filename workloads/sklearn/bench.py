"""Train, test and ask single rows: an ordinary pyperf script (python bench.py --data DIR), and, with --wire, a guest
program that runs pyperf's worker in its one process and reports in frames (docs/wire.md).
"""

import os
import sys

if "--wire" in sys.argv:
    from ukperf_wire import Wire

    WIRE = Wire("sklearn")
    import faulthandler

    faulthandler.enable()  # a crash leaves its Python stack on the console
    # Unikraft shortens argv[0] to its last part, and then Python cannot tell where it is; pyperf asks.
    sys.executable = sys.executable or f"{sys.prefix}/python"
else:
    WIRE = None
    sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "common"))  # noqa: PTH100, PTH118, PTH120

import argparse
import hashlib
from functools import partial
from pathlib import Path

import models as catalogue
from benchparts import (
    Clock,
    Refused,
    parse_settings,
    read_files,
    report_memory,
    report_quantiles,
    status_of,
    wait_at_gate,
)

DISTINCT_ROWS = 256  # rows that the single calls go round


def phase(name):
    if WIRE:
        WIRE.phase(name)


def add_options(parser):
    parser.add_argument(
        "--models", default="multinomialnb,extratrees", help="comma-separated: " + ", ".join(catalogue.MODELS)
    )
    parser.add_argument("--data", default=None, help="folder of arrays as ukperf's datasets module writes them")
    parser.add_argument("--model-file", default=None, help="a fitted estimator (joblib, pickle): tested, not trained")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--no-rows", action="store_true", help="train and test only, no single rows")
    parser.add_argument("--first", action="store_true", help="with --wire: predict one row first of all, by itself")
    parser.add_argument("--gate", action="store_true", help="and wait before it until the machine was saved")
    parser.add_argument("--clock", choices=("seconds", "instructions"), default="seconds")
    parser.add_argument("--set", dest="settings", default="", metavar="NAME=LOOPS:VALUES:WARMUPS,…")
    parser.add_argument("--wire", action="store_true", help="report in frames on standard output")


OWN_OPTIONS = ("models", "data", "model_file", "threads", "clock")


def forward_options(command, args):
    """For pyperf's manager, when the script runs alone: its workers want our options too."""
    for name in OWN_OPTIONS:
        value = getattr(args, name)
        if value is not None:
            command.extend((f"--{name.replace('_', '-')}", str(value)))
    if args.no_rows:
        command.append("--no-rows")


class Bench:
    """One benchmark after another through pyperf's runner."""

    def __init__(self, runner, clock, settings, first=None):
        """first: is the gate before the first prediction closed? None: there is none by itself."""
        self.runner, self.clock, self.settings, self.first = runner, clock, settings, first

    def run(self, name, call, between=None, meta=None):
        """call() is timed, loops times for each value. between(seconds or instructions of one call) sees each."""
        read = self.clock.read
        if WIRE or name in self.settings:
            args = self.runner.args
            args.loops, args.values, args.warmups = self.settings.get(name, (1, 1, 0))

        def batch(loops):
            if between is None:
                start = read()
                for _ in range(loops):
                    call()
                return read() - start
            total = 0.0
            for _ in range(loops):
                start = read()
                call()
                took = read() - start
                between(took)
                total += took
            return total

        facts = {} if self.clock.unit == "s" else {"unit": "integer"}
        result = self.runner.bench_time_func(name, batch, metadata=facts)
        if WIRE and result is not None:
            run = result.get_runs()[0]
            WIRE.samples(
                name, self.clock.unit, run.values, run.get_loops(), warmups=[v for _, v in run.warmups], meta=meta
            )


def load_arrays(folder):
    """The data set: ((X, y) of train, (X, y) of test); CSR matrices or dense arrays. Pickles are never read."""
    import numpy as np
    from scipy.sparse import csr_matrix

    def array(name):
        return np.load(folder / f"{name}.npy", allow_pickle=False)

    def matrix(part):
        if (folder / f"{part}_dense.npy").exists():
            return array(f"{part}_dense")
        parts = (array(f"{part}_data"), array(f"{part}_indices"), array(f"{part}_indptr"))
        made = csr_matrix(parts, shape=tuple(int(n) for n in array(f"{part}_shape")))
        made.has_sorted_indices = made.has_canonical_format = True  # ukperf wrote them so
        return made

    return (matrix("train"), array("train_y")), (matrix("test"), array("test_y"))


def dense_columns(train, test):
    """Both as dense float32, reduced to the columns that most training rows have."""
    import numpy as np

    if not hasattr(train, "tocsc"):
        return train, test
    counts = np.bincount(train.indices, minlength=train.shape[1])
    columns = np.sort(np.argsort(-counts, kind="stable")[: catalogue.DENSE_COLUMNS])
    return tuple(m.tocsc()[:, columns].toarray().astype(np.float32) for m in (train, test))


def load_model(path):
    """The user's estimator. A pickle is code: this runs inside a guest, or by the user's own hand."""
    import joblib

    try:
        model = joblib.load(path)
    except ModuleNotFoundError as e:
        raise Refused(f"The model needs the module {e.name}, which is not in the Python tree.") from None
    except Exception as e:  # unpickling runs whatever the file says
        raise Refused(f"The model cannot be unpickled: {type(e).__name__}: {e}.") from None
    if not hasattr(model, "predict"):
        raise Refused(f"The model file holds a {type(model).__name__}, which cannot predict.")
    return model


def check_width(model, rows):
    expected = getattr(model, "n_features_in_", None)
    if expected is not None and expected != rows.shape[1]:
        raise Refused(f"The model expects {expected} columns and the data has {rows.shape[1]}.")


def report_answers(name, model, rows, truth):
    """The answers must be equal over guests: digest of the predicted labels, and how many are right."""
    import numpy as np

    predicted = np.asarray(model.predict(rows))
    if predicted.dtype.kind in "OU":
        data = "\0".join(str(p) for p in predicted).encode()
    else:
        data = predicted.astype("<f8").tobytes()
    if WIRE:
        WIRE.check(f"{name} predictions", hashlib.sha256(data).hexdigest())
        if len(truth) == len(predicted):
            WIRE.check(f"{name} accuracy", f"{float(np.mean(predicted == truth)):.6f}")


def measure_single_rows(bench, name, model, rows):
    """Latency of predict() on one row, as a service would call it; quantiles are of this boot's calls."""
    cells = [rows[i : i + 1] for i in range(min(DISTINCT_ROWS, rows.shape[0]))]
    asked = iter(range(sys.maxsize))
    took = []
    bench.run(f"{name} single-row", lambda: model.predict(cells[next(asked) % len(cells)]), took.append)
    settings = bench.settings.get(f"{name} single-row")
    if settings and settings[2]:
        del took[: settings[0] * settings[2]]  # warm-ups
    if WIRE:
        report_quantiles(WIRE, f"{name} single-row", bench.clock.unit, took)


def answer_first(bench, model, rows):
    """What a service does that has got ready: one row, once."""
    wait_at_gate(WIRE, closed=bench.first)
    bench.first = None  # of the first model alone
    start = bench.clock.read()
    model.predict(rows[:1])
    WIRE.samples("first prediction", bench.clock.unit, [bench.clock.read() - start])


def measure(bench, name, make, train, test, single_rows=True):
    """All benchmarks of one model. make: returns a fresh estimator; None where it comes fitted."""
    rows, truth = test
    if make is None:
        model = train
    else:
        phase(f"fit {name}")
        kept = []

        def fit():
            kept[:] = [make().fit(*train)]

        bench.run(f"{name} train", fit, meta=shape(train[0]))
        model = kept[0] if kept else make().fit(*train)  # pyperf's manager skips the benchmarks of other workers
    check_width(model, rows)
    if bench.first is not None:
        answer_first(bench, model, rows)
    phase(f"test {name}")
    bench.run(f"{name} test", lambda: model.predict(rows), meta=shape(rows))
    report_answers(name, model, rows, truth)
    if single_rows:
        phase(f"single rows {name}")
        measure_single_rows(bench, name, model, rows)


def shape(rows):
    return {"rows": rows.shape[0], "columns": rows.shape[1]}


def report_threads(args, seconds, unit):
    """Import time, and which numerical libraries run with how many threads."""
    from threadpoolctl import threadpool_info

    pools = threadpool_info()
    meta = {"threads": args.threads}
    for pool in pools:
        meta[f"{pool['prefix'].replace('-', '_')}_threads"] = pool["num_threads"]
        if pool.get("architecture"):
            meta[f"{pool['prefix'].replace('-', '_')}_core"] = pool["architecture"]
    WIRE.samples("import", unit, [seconds], meta=meta)


def pin_threads(count):
    """Before numerical libraries are loaded. joblib's pools need semaphores, which unikernels lack: off everywhere."""
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
        os.environ[name] = str(count)
    os.environ["JOBLIB_MULTIPROCESSING"] = "0"


def run(args, runner_factory):
    pin_threads(args.threads)
    clock = Clock(args.clock, WIRE)
    names = [n for n in args.models.split(",") if n]
    unknown = [n for n in names if n not in catalogue.MODELS]
    if unknown:
        raise Refused(f"There is no model {unknown[0]}; there are {', '.join(catalogue.MODELS)}.")
    if WIRE:
        phase("read files")
        start = clock.read()
        size = read_files()
        if clock.unit == "s":
            WIRE.samples("read files", "s", [clock.read() - start], meta={"bytes": size})
    phase("import")
    start = clock.read()
    import sklearn  # noqa: F401

    classes = {} if args.model_file else {name: catalogue.load_class(name) for name in names}
    if args.model_file:
        import joblib  # noqa: F401
    took = clock.read() - start
    if WIRE:
        report_threads(args, took, clock.unit)
    runner = runner_factory()
    first = args.gate if WIRE and (args.first or args.gate) else None
    bench = Bench(runner, clock, parse_settings(args.settings), first)
    phase("load")
    train, test = load_arrays(Path(args.data or Path(__file__).parent / "data"))
    if args.model_file:
        measure(bench, "model", None, load_model(args.model_file), test, not args.no_rows)
    for name, cls in classes.items():
        x, rows = train[0], test[0]
        if name in catalogue.DENSE:
            x, rows = dense_columns(x, rows)
        elif name in catalogue.WANTS_COLUMNS and hasattr(x, "tocsc"):
            x = x.tocsc()
        make = partial(catalogue.make, name, cls, args.threads)
        measure(bench, name, make, (x, train[1]), (rows, test[1]), not args.no_rows)
    if WIRE:
        report_memory(WIRE)


def make_runner():
    import pyperf

    if not WIRE:
        runner = pyperf.Runner(values=3, processes=3, add_cmdline_args=forward_options)
        add_options(runner.argparser)
        runner.parse_args()
        return runner
    # One process, no fork: pyperf's worker is all there is; the host is its manager.
    from pyperf import _worker as worker

    runner = pyperf.Runner(add_cmdline_args=forward_options)
    runner.parse_args(["--worker", "--loops=1", "--values=1", "--warmups=0", "--quiet"])
    runner._display_result = lambda bench, checks=True: None  # results leave as frames
    # It would read /proc, which unikernels lack, and refuse a peak memory of 0; the host's records have their own.
    worker.WorkerProcessTask.collect_metadata = lambda task: {}
    return runner


def main():
    parser = argparse.ArgumentParser(add_help=WIRE is not None, allow_abbrev=False)
    add_options(parser)
    args, rest = parser.parse_known_args()
    if "-h" in rest or "--help" in rest:
        make_runner()
    if not WIRE:
        run(args, make_runner)
        return 0
    return status_of(WIRE, lambda: run(args, make_runner))


if __name__ == "__main__":
    STATUS = main()
    if WIRE:
        sys.stderr.flush()
        WIRE.exit(STATUS)
    sys.exit(STATUS)
