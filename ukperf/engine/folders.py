"""A run's folder, and the locks that keep two ukperf processes out of each other's way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path

from ukperf import files
from ukperf.engine.journal import JOURNAL
from ukperf.engine.plan import PLAN
from ukperf.errors import UkperfError
from ukperf.files import write_atomically
from ukperf.model import Plan
from ukperf.paths import cache_dir, data_dir, make_dir
from ukperf.text import shell


@contextmanager
def run_folder(named: Path | None, plan: Plan) -> Iterator[Path]:
    """The run's folder, made and locked for its duration.

    Raises UkperfError if it holds a run already, or cannot be made.
    """
    stamp = datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")
    folder = named or data_dir() / "runs" / f"{stamp}-{plan.workload}-{plan.run_id[:4]}"
    make_dir(folder)
    refuse_used(folder)
    with locked(folder):
        yield folder


def holds_run(folder: Path) -> bool:
    """Is there a run in this folder, or the rest of one?"""
    return (folder / PLAN).exists() or (folder / JOURNAL).exists()


def refuse_used(folder: Path) -> None:
    """Raises UkperfError if the folder holds a run."""
    if holds_run(folder):
        raise UkperfError(f"{folder} holds a run already.", hint=f"Go on with it: ukperf resume {shell(folder)}")


def write_beside(path: Path, content: str | bytes) -> None:
    """A file in a run's folder, whole or not at all. Raises UkperfError if it cannot be written."""
    try:
        write_atomically(path, content)
    except OSError as error:
        raise UkperfError(f"{path} cannot be written: {error.strerror}.") from error


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One writer a run. Raises UkperfError if there is one already."""
    with _lock(folder / ".lock", f"Another ukperf is writing to {folder}.", "Wait until it has ended."):
        yield


@contextmanager
def alone(share_host: bool) -> Iterator[None]:
    """Two campaigns on one machine disturb each other's times: the second is refused unless told otherwise."""
    if share_host:
        yield
        return
    path = make_dir(cache_dir()) / "measuring.lock"
    with _lock(path, "Another ukperf is measuring on this machine.", "Wait until it has ended, or add --share-host."):
        yield


@contextmanager
def _lock(path: Path, sentence: str, hint: str) -> Iterator[None]:
    with ExitStack() as stack:
        try:
            stack.enter_context(files.locked(path, UkperfError(sentence, hint=hint)))
        except OSError as error:
            raise UkperfError(f"{path} cannot be written: {error.strerror}.") from error
        yield
