"""The machines of `--fleet`: workers of Dask's distributed, each of which does one piece of work at a time.

What goes to a worker and what comes back is bytes, whose meaning others know (`engine.errand`). Dask itself trusts all
who reach its scheduler: docs/fleets.md says what follows from that. Nobody else imports dask or distributed.
"""

from __future__ import annotations

import itertools
import logging
import queue
import re
import secrets
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ukperf.errors import HostError, UkperfError
from ukperf.files import read_json, reason
from ukperf.hints import extra
from ukperf.text import clean

if TYPE_CHECKING:
    from distributed import Client, Future

RESOURCE = "ukperf"  # that workers are started with: `--resources ukperf=1`, one piece of work at a time
KEY = "ukperf-"  # what pieces of work are called, whosever they are
LOCAL = "local:"
MOST_LOCAL = 256
ANSWER_S = 20.0  # for the bytes of an answer that is there
CLOSE_S = 3.0
MOST_BYTES = 64 << 20  # of an answer
LOOK_S = 1.0  # between two looks at who is there
_ADDRESS = re.compile(r"(tcp|tls|wss?|ucx)://(\[[0-9A-Fa-f:.]+\]|[^\s/:\[\]]+):(\d{1,5})(/\S*)?")
_SCHEME = re.compile(r"[A-Za-z]{1,10}:/")
_HOST = re.compile(r"[A-Za-z0-9.-]+:\d{1,5}")
_HINT = "Give an address (tcp://HOST:8786), local:N, or the scheduler's file."
_FILE_MAX = 1 << 20

Task = Callable[[bytes], bytes]


@dataclass(frozen=True)
class Worker:
    """address: Dask's, and what it is known by. slots: how many pieces of work it takes at a time, 0: it was started
    without the resource."""

    address: str
    slots: int


@dataclass(frozen=True)
class Reply:
    """What came of a piece of work. answer: None where there is none; why: a phrase then."""

    ticket: int
    worker: str
    answer: bytes | None
    why: str = ""


class Cluster:
    """An open connection to a scheduler. task: what is called on workers; it is importable there."""

    def __init__(self, client: Client, task: Task, where: str) -> None:
        self._client, self._task, self._where = client, task, where
        self._tickets = itertools.count()
        self._run = secrets.token_hex(8)
        self._flying: dict[int, tuple[str, Future]] = {}
        self._ended: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._seen: dict[str, Worker] = {}
        self._looked = -LOOK_S

    def workers(self) -> Mapping[str, Worker]:
        """Who is there, by address; asked at most once in LOOK_S. Raises HostError for a scheduler that is gone."""
        if time.monotonic() - self._looked >= LOOK_S:
            try:
                told = self._client.scheduler_info(n_workers=-1)["workers"]
            except (OSError, TimeoutError, RuntimeError, ValueError, KeyError) as error:
                raise self._gone() from error
            self._seen = {str(address): Worker(str(address), _slots(about)) for address, about in told.items()}
            self._looked = time.monotonic()
        return self._seen

    def submit(self, worker: str, question: bytes, *, alone: bool = True) -> int:
        """Give a worker a piece of work; the ticket of its reply. alone: one at a time on each worker, also of several
        askers. Raises HostError for a scheduler that is gone."""
        ticket = next(self._tickets)
        try:
            future = self._client.submit(
                self._task,
                question,
                key=f"{KEY}{self._run}-{ticket}",
                workers=[worker],
                allow_other_workers=False,
                resources={RESOURCE: 1} if alone else None,
                retries=0,
                pure=False,
            )
            self._flying[ticket] = worker, future
            future.add_done_callback(lambda _future: self._ended.put(ticket))
        except (OSError, TimeoutError, RuntimeError, ValueError) as error:
            raise self._gone() from error
        return ticket

    def serves_others(self, worker: str) -> bool:
        """Has a worker work of other runs? Raises HostError for a scheduler that is gone."""
        try:
            told = self._client.processing(workers=[worker])
        except (OSError, TimeoutError, RuntimeError, ValueError, KeyError) as error:
            raise self._gone() from error
        keys = [str(key) for keys in told.values() for key in keys]
        return any(key.startswith(KEY) and not key.startswith(f"{KEY}{self._run}-") for key in keys)

    def replies(self, timeout_s: float) -> list[Reply]:
        """What came back, after at most so long; work of workers that are gone among it.

        Raises HostError for a scheduler that is gone.
        """
        ended: list[int] = []
        with suppress(queue.Empty):
            ended.append(self._ended.get(timeout=timeout_s))
            while True:
                ended.append(self._ended.get_nowait())
        replies = [self._reply(ticket) for ticket in ended if ticket in self._flying]
        there = self.workers()
        for ticket, (worker, future) in list(self._flying.items()):
            if worker not in there and not future.done():
                del self._flying[ticket]
                self._drop(future)
                replies.append(Reply(ticket, worker, None, "it is gone"))
        return replies

    def _reply(self, ticket: int) -> Reply:
        worker, future = self._flying.pop(ticket)
        try:
            if future.status != "finished":
                lost = future.status in ("cancelled", "lost")
                why = "it is gone" if lost else "tasks of ukperf fail there: is this ukperf installed for it?"
                return Reply(ticket, worker, None, why)
            answer = future.result(timeout=ANSWER_S)
        except Exception as error:  # of Dask's, of many kinds, and of whatever it unpacked
            return Reply(ticket, worker, None, f"its answer was lost ({type(error).__name__})")
        finally:
            self._drop(future)
        if not isinstance(answer, bytes) or len(answer) > MOST_BYTES:
            return Reply(ticket, worker, None, "its answer is none of ukperf's")
        return Reply(ticket, worker, answer)

    @staticmethod
    def _drop(future: Future) -> None:
        with suppress(Exception):  # the scheduler may be gone, and then there is nothing to drop
            if not future.done():
                future.cancel()
            future.release()

    def close(self) -> None:
        """Nobody waits for what still flies."""
        for _, future in self._flying.values():
            self._drop(future)
        self._flying.clear()

    def _gone(self) -> HostError:
        return HostError(f"The scheduler {clean(self._where, 200)} does not answer any more.")


def _slots(about: Mapping[str, Any]) -> int:
    try:
        return max(0, int(about.get("resources", {}).get(RESOURCE, 0)))
    except (TypeError, ValueError, OverflowError):
        return 0


@contextmanager
def open_cluster(where: str, task: Task) -> Iterator[Cluster]:
    """A scheduler's address, a scheduler file, or `local:N` for N workers on this machine, for the length of a with
    block.

    Raises UkperfError where distributed is not installed and for what is none of these, HostError for a scheduler that
    does not answer.
    """
    count = local_workers(where)
    address = address_of(where)
    try:
        import distributed
    except ImportError as error:
        raise UkperfError("--fleet needs Dask's distributed, which is not installed.", hint=extra("fleet")) from error
    for name in [name for name in logging.root.manager.loggerDict if name.split(".")[0] == "distributed"]:
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what matters is said as sentences of ours
    with ExitStack() as stack:
        try:
            if count is not None:
                with _deaf_children():
                    local = distributed.LocalCluster(
                        n_workers=count,
                        threads_per_worker=1,
                        processes=True,
                        host="127.0.0.1",
                        dashboard_address=None,
                        worker_dashboard_address=None,
                        memory_limit=0,
                        resources={RESOURCE: 1},
                        silence_logs=logging.CRITICAL,
                    )
                stack.callback(_quietly, local.close)
                client = distributed.Client(local, set_as_default=False)
            else:
                _reach(address)  # a client that could not connect says so once more when it is thrown away, at length
                client = distributed.Client(address, set_as_default=False)
        except (OSError, TimeoutError, RuntimeError, ValueError, TypeError) as error:
            said = clean(str(error), 200) or type(error).__name__
            if isinstance(error, TypeError) and address.startswith(("tls:", "wss:")):
                said = "TLS needs certificates, and Dask's configuration here names none"
            raise HostError(
                f"The scheduler {clean(where, 200)} does not answer: {said}.",
                hint="Is it running, and may this machine reach it? With TLS: see docs/fleets.md.",
            ) from error
        stack.callback(_quietly, lambda: client.close(timeout=CLOSE_S))
        cluster = Cluster(client, task, where)
        stack.callback(cluster.close)
        yield cluster


@contextmanager
def _deaf_children() -> Iterator[None]:
    """Processes that are started meanwhile do not hear ^C, which a terminal sends to all: this process ends them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def local_workers(where: str) -> int | None:
    """N of `local:N`; None for another place. Raises UkperfError for a number that cannot be meant."""
    if not where.startswith(LOCAL):
        return None
    number = where.removeprefix(LOCAL)
    if not number.isascii() or not number.isdigit() or not 1 <= int(number[:9]) <= MOST_LOCAL:
        raise UkperfError(f"--fleet {clean(where, 80)} is no number of workers.", hint="Write for example local:2.")
    return int(number)


def _reach(address: str) -> None:
    """Raises what Dask raises for a scheduler that cannot be connected to, after as long as its configuration says
    (`distributed.comm.timeouts.connect`, 30 s); a scheduler that is gone for less is no fault either."""
    import asyncio

    from distributed.comm import connect
    from distributed.security import Security

    async def knock() -> None:
        comm = await connect(address, **Security().get_connection_args("client"))
        comm.abort()

    asyncio.run(knock())


def address_of(where: str) -> str:
    """The scheduler's address, as it is or in its file; "" for `local:N`. Nobody is asked.

    Raises UkperfError for what is none of these.
    """
    if local_workers(where) is not None:
        return ""
    if _SCHEME.match(where):
        if not _is_address(where):
            raise UkperfError(f"--fleet {clean(where, 200)} is no address of a scheduler.", hint=_hint(where))
        return where
    return _address_in(where)


def _is_address(text: str) -> bool:
    match = _ADDRESS.fullmatch(text)
    return match is not None and 0 < int(match[3]) < 1 << 16


def _hint(where: str) -> str:
    if where.startswith(("http://", "https://")):
        return f"That is a dashboard's. {_HINT}"
    return "Write for example tcp://HOST:8786, with the port." if _SCHEME.match(where) else _HINT


def _address_in(where: str) -> str:
    """The address in a scheduler's file. Raises UkperfError for what is none."""
    if _HOST.fullmatch(where) and not Path(where).exists():
        raise UkperfError(f"--fleet {where} has no tcp:// or tls:// before it.", hint=f"Write tcp://{where}.")
    try:
        told = read_json(Path(where), _FILE_MAX)
    except OSError as error:
        raise UkperfError(
            f"--fleet {clean(where, 200)} is no scheduler: as a file it cannot be read ({reason(error)}).",
            hint=_HINT,
        ) from error
    except ValueError:
        told = None
    if not isinstance(told, dict) or not isinstance(told.get("address"), str) or not _is_address(told["address"]):
        raise UkperfError(f"{clean(where, 200)} is no file of a scheduler: it names no address.")
    return str(told["address"])


def _quietly(act: Callable[[], object]) -> None:
    with suppress(Exception):
        act()
