"""What can be started cold: a program as `run` packs it, scikit-learn's workload, or a model in a runtime of `infer`.

Each way hands on to its workload, which packs and chooses what is needed, and says how its program is made to wait at
its gate: a word, or a variable of its environment (docs/wire.md, "The gate").
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from ukperf.errors import UkperfError
from ukperf.imaging import preload
from ukperf.imaging.pack import Timing
from ukperf.model import Request
from ukperf.workloads.base import Bench, option
from ukperf.workloads.infer import Infer, InferOptions
from ukperf.workloads.learning import MEMORY_MIB
from ukperf.workloads.run import Run, RunOptions
from ukperf.workloads.runnotes import STATE
from ukperf.workloads.sklearn import Sklearn
from ukperf.workloads.sklearn_run import LearnOptions

FIRST = "first prediction"
_AT_FIRST, _GATE = "--first", "--gate"  # words of the programs of models
# Programs whose first statement somebody of ours knows: the others take no library.
GATED = (Timing.PRELOAD, Timing.STARTER)


@dataclass(frozen=True)
class ColdOptions:
    """words: a program and its arguments. sklearn, infer: instead of one, a model of that workload, infer naming its
    runtime. path: booted, restored or both. ready: the line at which it is saved; answer: the line that is the answer;
    port, get: the answer is one to an HTTP request.
    """

    words: tuple[str, ...] = ()
    sklearn: bool = option(False, "A scikit-learn model.")
    infer: str = option("", "A model in this runtime.", "RUNTIME")
    model: str = option("", "The model's name.", "NAME")
    path: str = option("both", "How guests are started.", "boot|restore|both")
    restorer: str = option("template", "How they are restored.", "template|libvirt")
    ready: str = option("", "The line at which a guest is saved.", "REGEX")
    answer: str = option("", "The line that is the answer.", "REGEX")
    port: int = option(0, "The port of the guest that answers HTTP.", "N")
    get: str = option("/", "What is asked for there.", "PATH")
    cold: bool = option(False, "Drop files from the page cache.")
    files: tuple[str, ...] = option((), "A file or folder that goes along.", "HOST[:GUEST]")
    env: tuple[str, ...] = option((), "A variable of its environment.", "NAME=VALUE")
    cwd: str = option("/", "Its working folder.", "DIR")
    python: bool = option(False, "The program is a Python script.")
    packages: tuple[str, ...] = option((), "An installed package that it needs.", "NAME")
    interpreter: Path | None = None
    timeout_s: float | None = None


@dataclass(frozen=True)
class Started:
    """request: with the program. state: files of the run's folder. gate_words, gate_env: what makes it wait."""

    request: Request
    state: Mapping[str, str] = field(default_factory=dict)
    gate_words: tuple[str, ...] = ()
    gate_env: tuple[tuple[str, str], ...] = ()


Way = Callable[[ColdOptions, Request, Bench], Started]


def way_of(options: ColdOptions) -> Way:
    """The one that the options name. Raises UkperfError where that is none, or more than one."""
    named = {"a program": bool(options.words), "--sklearn": options.sklearn, "--infer": bool(options.infer)}
    chosen = [name for name, given in named.items() if given]
    if len(chosen) != 1:
        raise UkperfError(
            f"{' and '.join(chosen)} are each something to start." if chosen else "There is nothing to start.",
            hint="Name a program behind --, or --sklearn, or --infer RUNTIME.",
        )
    if is_model(options) and (options.ready or options.port):
        raise UkperfError("--ready and --port are for programs: a model is saved at its gate.", hint="Leave them out.")
    return {"a program": program, "--sklearn": learnt, "--infer": inferred}[chosen[0]]


def is_model(options: ColdOptions) -> bool:
    """Is what is started a program of ours that predicts?"""
    return options.sklearn or bool(options.infer)


def program(options: ColdOptions, request: Request, bench: Bench) -> Started:
    """Any program of this machine. It waits before its first statement, where a library of ours is loaded with it."""
    if options.model:
        raise UkperfError("--model is for --sklearn and --infer.", hint="Leave it out.")
    wanted = RunOptions(
        words=options.words,
        files=options.files,
        env=options.env,
        cwd=options.cwd,
        output="may-differ",
        python=options.python,
        packages=options.packages,
        interpreter=options.interpreter,
        pyperf=False if options.python else None,
        why=False,
    )
    prepared = Run().prepare(wanted, request, bench)
    waits = not options.ready and not options.port and options.path != "boot"
    timing = json.loads(prepared.state[STATE]).get("timing", {}).get("", "")
    if waits and timing not in GATED:
        raise UkperfError(
            f"{options.words[0]} takes no library of ours, so nothing says when it is to be saved.",
            hint="Name the line by --ready REGEX, or use --path boot.",
        )
    return Started(prepared.request, prepared.state, gate_env=(preload.GATE,))


def learnt(options: ColdOptions, request: Request, bench: Bench) -> Started:
    """scikit-learn: it waits when its model is fitted, before it predicts a row."""
    _refuse_words_of_programs(options)
    if request.machine.memory_mib < MEMORY_MIB:
        bench.say(f"Guests get {MEMORY_MIB} MiB of memory, for scikit-learn.")
        request = replace(request, machine=replace(request.machine, memory_mib=MEMORY_MIB))
    models = (options.model or "multinomialnb",)
    wanted = LearnOptions(models=models, single_rows=False, timeout_s=options.timeout_s)
    prepared = Sklearn().prepare(wanted, request, bench)
    return _predicting(prepared.request, prepared.state)


def inferred(options: ColdOptions, request: Request, bench: Bench) -> Started:
    """A model in a runtime: it waits when the model is loaded, before it predicts a row."""
    _refuse_words_of_programs(options)
    wanted = InferOptions(
        runtime=options.infer,
        model=options.model,
        calls=1,
        interpreter=options.interpreter,
        timeout_s=options.timeout_s,
        why=False,
    )
    prepared = Infer().prepare(wanted, request, bench)
    return _predicting(prepared.request, prepared.state)


def _predicting(request: Request, state: Mapping[str, str]) -> Started:
    ours = request.program
    return Started(replace(request, program=replace(ours, argv=(*ours.argv, _AT_FIRST))), state, gate_words=(_GATE,))


def _refuse_words_of_programs(options: ColdOptions) -> None:
    if options.files or options.env or options.cwd != "/" or options.python or options.packages:
        raise UkperfError(
            "--file, --env, --cwd, --python and --package are for programs.",
            hint="Leave them out, or name a program behind --.",
        )
