"""A Python script of anybody's as the program of a run: packed, and, where it uses pyperf, calibrated on this machine.

For the workload `run`:

    options = PythonOptions(packages, requirements, interpreter, pyperf)
    made = python_script(packer(words, options, …), Path(words[0]), options, accelerator, bench.say)
    made.packed, made.timeout_s, made.worker
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from ukperf.errors import UkperfError
from ukperf.hosts.base import OnFrame
from ukperf.imaging.cache import Cache
from ukperf.imaging.distributions import site_of
from ukperf.imaging.pack import FileToPack, Packed
from ukperf.imaging.packpython import PyperfWorker, pack_python, uses_pyperf
from ukperf.model import Accelerator
from ukperf.text import Say, many
from ukperf.workloads import calibrating

EMULATED = (Accelerator.TCG, Accelerator.ICOUNT)


@dataclass(frozen=True)
class PythonOptions:
    """packages: installed distributions; requirements: a file of them; interpreter: whose, None: ukperf's own. pyperf:
    the script runs as pyperf's worker, None: where its source says so."""

    packages: tuple[str, ...] = ()
    requirements: Path | None = None
    interpreter: Path | None = None
    pyperf: bool | None = None


@dataclass(frozen=True)
class PythonScript:
    """timeout_s: how long a boot may take; None: nobody knows. worker: by which a pyperf script runs."""

    packed: Packed
    timeout_s: float | None = None
    worker: PyperfWorker | None = None


Packer = Callable[[PyperfWorker | None], Packed]  # of a script: plain, or as pyperf's worker


def packer(
    words: Sequence[str],
    options: PythonOptions,
    *,
    files: Iterable[FileToPack] = (),
    env: Iterable[tuple[str, str]] = (),
    cwd: str = "/",
    stdin: Path | None = None,
    base: Path | None = None,
    cache: Cache | None = None,
) -> Packer:
    """What packs SCRIPT and its arguments, and raises UkperfError as `pack_python`, which this does for no words."""
    if not words:
        raise UkperfError("There is no script to run.", hint="Name it behind --, like: -- bench.py --size 10")
    pack = partial(
        pack_python,
        Path(words[0]),
        words[1:],
        packages=options.packages,
        requirements=options.requirements,
        site=site_of(options.interpreter) if options.interpreter is not None else None,
        files=tuple(files),
        env=tuple(env),
        cwd=cwd,
        stdin=stdin,
        base=base,
        cache=cache,
    )
    return lambda worker: pack(worker=worker)


def python_script(
    pack: Packer,
    script: Path,
    options: PythonOptions,
    accelerator: Accelerator,
    say: Say,
    *,
    watch: OnFrame | None = None,
    base: Path | None = None,
    cache: Cache | None = None,
) -> PythonScript:
    """A script as a program for guests under this accelerator. pack: `packer` of it.

    A pyperf script is run once on this machine itself, without its benchmarks' loops known; watch sees its frames.
    Raises UkperfError for what cannot be packed, and with the script's own sentence where it fails here.
    """
    if not (uses_pyperf(script, base) if options.pyperf is None else options.pyperf):
        return PythonScript(pack(None))
    say(f"Calibrating {script.name} on this host: each benchmark once.")
    known = calibrating.costs(calibrating.run_here(pack(PyperfWorker()).program, watch, cache))
    emulated = accelerator in EMULATED
    chosen = calibrating.choose(known, emulated)
    say(f"{script.name} has {many(len(known), 'benchmark')}.")
    worker = PyperfWorker(chosen, instructions=accelerator is Accelerator.ICOUNT)
    return PythonScript(pack(worker), calibrating.timeout_s(known, chosen, emulated), worker)


def once_each(worker: PyperfWorker) -> PyperfWorker:
    """The same benchmarks, each with one value of the fewest loops."""
    least = {name: replace(r, loops=1, values=1, warmups=0) for name, r in worker.repetitions.items()}
    return PyperfWorker(least)
