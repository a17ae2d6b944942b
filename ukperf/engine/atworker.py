"""What a worker does when it is asked: it tells of its machine, or boots one block there, with a host of its own.

`answer` is what Dask calls. A block that is done stays in the worker's cache until the asker has it in its journal: an
asker that was killed takes it back. Whatever fails is an answer; nothing is raised.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import platform
import re
import secrets
import shutil
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import ukperf
from ukperf import workloads
from ukperf.decode import decode
from ukperf.engine.errand import (
    MOST_ANSWER,
    MOST_FILE,
    MOST_FILES,
    About,
    Done,
    Question,
    Told,
    answer_of,
    packed,
    question_of,
    to_bytes,
)
from ukperf.engine.folders import alone
from ukperf.engine.parcels import located, receive, trees_of
from ukperf.engine.plan import check
from ukperf.engine.runner import Runner
from ukperf.engine.setting import decide_accelerator
from ukperf.errors import UkperfError
from ukperf.files import read_bytes, reason, write_atomically
from ukperf.hosts import open_host, remains, this_machine
from ukperf.hosts.base import Host
from ukperf.imaging.cache import Cache
from ukperf.model import Accelerator, Plan, Result
from ukperf.paths import cache_dir, make_dir
from ukperf.text import clean

KEPT = "fleet-blocks"  # in the cache: blocks that nobody has taken yet, a folder for each run
_BLOCK = re.compile(r"(\d{1,8})\.json")
_one = threading.Lock()  # a worker may have several threads, and Dask's resource is the asker's promise alone


class _Open:
    """The host of the run that was asked for last; a worker serves one run at a time."""

    run = ""
    own = ""  # what this process calls its part of the run: two workers of a machine must not be taken for one
    stack = ExitStack()
    host: Host | None = None
    accelerator: Accelerator | None = None  # that executes the run's guests here, once it is known

    @classmethod
    def close(cls) -> None:
        """Also at the end of this process, whatever ends it but kill -9: the host leaves nothing then."""
        stack, cls.stack, cls.host, cls.run, cls.accelerator = cls.stack, ExitStack(), None, "", None
        stack.close()


atexit.register(_Open.close)


def answer(data: bytes) -> bytes:
    """The answer to a question: see `errand`."""
    try:
        with _one:
            said = _answer(question_of(data))
    except UkperfError as error:
        said = Told(refusal=clean(error.message, 1000), hint=clean(error.hint or "", 1000))
    except OSError as error:
        said = Told(refusal=f"A file cannot be read or written there: {reason(error)} ({clean(error.filename, 200)}).")
    except Exception as error:  # nothing of ours may reach Dask, which would pickle it
        said = Told(refusal=f"ukperf failed there: {type(error).__name__}: {clean(str(error), 500)}")
    return to_bytes(said)


def _answer(question: Question) -> Told:
    plan = _plan(question.plan)
    _forget(plan, question.forget)
    if question.do == "end":
        _Open.close()
        return Told()
    if question.do == "about":
        return Told(about=_about(plan))
    if question.do == "file":
        if question.piece is None:
            raise UkperfError("It sends no piece of a file.")
        receive(question.piece, _own(), Cache(), trees_of(plan))
        return Told()
    if question.do == "kept":
        return _kept(plan, question.block)
    if question.do != "block":
        raise UkperfError("It asks for something that this ukperf does not know.", hint="Use one version everywhere.")
    with alone(not question.alone):
        return _block(plan, question)


@lru_cache(maxsize=2)
def _plan(text: str) -> Plan:
    try:
        plan = decode(Plan, json.loads(text))
        check(plan)
    except (ValueError, RecursionError) as error:
        raise UkperfError(f"Its plan is none: {clean(str(error), 200)}.") from error
    return plan


def _about(plan: Plan) -> About:
    host = _host(plan)
    accelerator = _Open.accelerator = _accelerator(plan, host)
    _, lacks = located(plan, Cache())
    if plan.fleet is not None:
        host.check_fleet()
    facts = {name: clean(value, 500) for name, value in host.facts().items()}
    return About(
        ukperf.__version__,
        _hostname(),
        _kernel(),
        accelerator,
        facts,
        tuple(sorted(_blocks(_folder(plan.run_id)))),
        lacks,
    )


def _accelerator(plan: Plan, host: Host) -> Accelerator:
    """What executes guests here: the plan's accelerator, or, where the plan has strata and KVM is not to be had or not
    true, emulation in its place. Raises UkperfError where neither is."""
    instead = plan.strata and plan.accelerator is Accelerator.KVM and Accelerator.TCG in host.accelerators
    if instead and Accelerator.KVM not in host.accelerators:
        return Accelerator.TCG
    accelerator, truth = decide_accelerator(plan.accelerator, host)
    if accelerator is plan.accelerator or truth is None:
        return accelerator
    if instead:
        return Accelerator.TCG
    raise UkperfError(truth.sentence, hint=truth.advice or None)


def _hostname() -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", platform.node()).strip("-._")[:200] or "machine"


def _kernel() -> str:
    try:
        return read_bytes(Path("/proc/sys/kernel/random/boot_id"), 4096).decode(errors="replace").strip()
    except OSError:
        return ""


def _host(plan: Plan) -> Host:
    """The plan's host here, opened once a run."""
    if _Open.host is None or _Open.run != plan.run_id:
        _Open.close()
        remains.clear()
        _Open.host = _Open.stack.enter_context(open_host(plan.hosts[0], _own(), shared_path=plan.shared_path))
        _Open.run = plan.run_id
    return _Open.host


def _own() -> str:
    _Open.own = _Open.own or secrets.token_hex(8)
    return _Open.own


def _block(plan: Plan, question: Question) -> Told:
    folder = _folder(plan.run_id)
    unknown = set(question.guests) - set(plan.images)
    if unknown or not question.guests:
        raise UkperfError("It asks for guests that its plan has not.")
    if question.block in _blocks(folder):  # done once, and lost on the way
        return _kept(plan, question.block)
    host = _host(plan)
    here, lacks = located(plan, Cache())
    if lacks:
        raise UkperfError("A file that guests boot from is gone from its cache.")
    images = {guest: image for guest, image in here.images.items() if guest in question.guests}
    accelerator = _Open.accelerator or _accelerator(plan, host)
    part = replace(here, run_id=_own(), images=images, seed=question.seed, accelerator=accelerator)
    workload = workloads.of_run(plan.workload)
    options = workload.options_of(Result(folder, plan, (), ""))
    with _work(folder) as work:
        runner = Runner(
            part,
            work,
            {plan.hosts[0]: host},
            this_machine,
            None,
            lambda _records: False,
            read=workload.reader(options),
            visitor=workload.visitor(options),
        )
        runner.block(question.block, question.order)
        done = Done(question.block, tuple(runner.records), _files(work))
    said = Told(done=done)
    data = to_bytes(said)
    if len(data) > MOST_ANSWER:  # consoles may be much; what was measured is not
        said = Told(done=replace(done, files={}))
        data = to_bytes(said)
    make_dir(folder)
    with contextlib.suppress(OSError):  # a full disk: the answer itself is not lost
        write_atomically(folder / f"{question.block}.json", data)
    return said


@contextlib.contextmanager
def _work(folder: Path) -> Iterator[Path]:
    work = make_dir(folder / f"work-{_own()}")
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _files(work: Path) -> dict[str, str]:
    files: dict[str, str] = {}
    for path in sorted(work.rglob("*"))[: 4 * MOST_FILES]:
        if path.is_file() and not path.is_symlink() and not path.name.startswith(".") and len(files) < MOST_FILES:
            with contextlib.suppress(OSError):
                files[str(path.relative_to(work))] = packed(read_bytes(path, MOST_FILE))
    return files


def _folder(run_id: str) -> Path:
    return cache_dir() / KEPT / run_id


def _blocks(folder: Path) -> set[int]:
    if not folder.is_dir():
        return set()
    return {int(match[1]) for path in folder.iterdir() if (match := _BLOCK.fullmatch(path.name))}


def _kept(plan: Plan, block: int) -> Told:
    path = _folder(plan.run_id) / f"{block}.json"
    try:
        data = read_bytes(path, MOST_ANSWER)
    except OSError as error:
        raise UkperfError(f"Block {block} is not kept there.") from error
    try:
        return answer_of(data)
    except UkperfError:
        path.unlink(missing_ok=True)  # cut off by a full disk, or of another version
        raise


def _forget(plan: Plan, blocks: tuple[int, ...]) -> None:
    folder = _folder(plan.run_id)
    for block in blocks:
        with contextlib.suppress(OSError):
            (folder / f"{block}.json").unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        folder.rmdir()  # of a run that has nothing left here
