"""HTTP with bounds: on size, redirects, time and tries. Nothing else in ukperf talks to the network.

The time is that of a whole pull, and is waited for beside the work: a server that sends a byte now and then, in its
headers too, and a name server or a proxy that does not answer, all end with it. Redirects are followed here, not by the
library, so that each one is checked: never from https to http, never more than REDIRECTS, and no credentials to another
host. Answers 5xx and 429, broken connections and truncated bodies are tried again.
"""

from __future__ import annotations

import hashlib
import http.client
import queue
import re
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import SplitResult, urljoin, urlsplit

import urllib3

import ukperf
from ukperf.errors import UkperfError
from ukperf.text import clean

REDIRECTS = 5
TRIES = 4
PAUSE_S = 0.5  # before the second try; doubled for each further one
CONNECT_S, READ_S = 15.0, 30.0  # without one byte
_CHUNK = 256 << 10
_AGAIN = {429, 500, 502, 503, 504}
_MOVED = {301, 302, 303, 307, 308}
_LENGTH = re.compile(r"[0-9]{1,18}")


@dataclass(frozen=True)
class Answer:
    """A response that was read whole. sha256: of the body; url: where it came from in the end."""

    status: int
    headers: Mapping[str, str]  # lower-case names
    body: bytes
    sha256: str
    url: str


class _TryAgainError(Exception):
    """One try failed in a way that another may not."""


@dataclass
class Client:
    """One pull's connections. total_s bounds everything it does together; pause is time.sleep but for tests.

    reach_s: seconds until a server must have answered for the first time, the look-up of its name and further tries
    among them; None: total_s alone counts.
    """

    total_s: float = 600.0
    reach_s: float | None = None
    tries: int = TRIES
    pause: Callable[[float], None] = time.sleep
    started: float = field(default_factory=time.monotonic)
    _pools: dict[str, urllib3.PoolManager] = field(default_factory=dict)
    _reached: threading.Event = field(default_factory=threading.Event)

    def get(
        self, url: str, limit: int, *, headers: Mapping[str, str] | None = None, accept_status: tuple[int, ...] = (200,)
    ) -> Answer:
        """GET with at most `limit` bytes of body.

        Raises UkperfError, one sentence, when the server cannot be reached, answers with another status, redirects
        without end or to where it must not, sends more, or less, than it should, or is too slow.
        """
        done: queue.SimpleQueue[Answer | Exception] = queue.SimpleQueue()

        def work() -> None:
            try:
                done.put(self._tried(url, limit, headers, accept_status))
            except Exception as error:
                done.put(error)
            self._reached.set()

        # Left alone where time is up, it ends when its server does, or with us.
        threading.Thread(target=work, name="download", daemon=True).start()
        if self.reach_s is not None and not self._reached.wait(min(self.reach_s, max(0.0, self._left()))):
            raise UkperfError(f"{short(url)} could not be reached: no answer within {self.reach_s:.0f} seconds.")
        try:
            answer = done.get(timeout=max(0.0, self._left()))
        except queue.Empty:
            raise UkperfError(
                f"{short(url)} is too slow: it took more than {self.total_s:.0f} seconds.",
                hint="Try again later, name a mirror by --mirror, or add files that you have: ukperf images add.",
            ) from None
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _tried(self, url: str, limit: int, headers: Mapping[str, str] | None, accept_status: tuple[int, ...]) -> Answer:
        reason = ""
        for number in range(self.tries):
            if number and self._left() < 0:
                break
            if number:
                self.pause(PAUSE_S * 2 ** (number - 1))
            try:
                return self._follow(url, limit, dict(headers or {}), accept_status)
            except _TryAgainError as error:
                reason = str(error)
            except ValueError as error:  # urllib3's LocationParseError too
                what = clean(str(error), 80)
                raise UkperfError(f"{short(url)} is an address that cannot be used: {what}.") from error
            except urllib3.exceptions.HTTPError as error:
                reason = _plain(error)
            except (http.client.HTTPException, OSError) as error:
                reason = f"its answer makes no sense ({clean(str(error), 80) or type(error).__name__})"
        raise UkperfError(
            f"{short(url)} could not be downloaded: {reason} ({self.tries} tries).",
            hint="Try again later, name a mirror by --mirror, or add files that you have: ukperf images add.",
        )

    def _follow(self, url: str, limit: int, headers: dict[str, str], accept: tuple[int, ...]) -> Answer:
        first = url
        for _ in range(REDIRECTS + 1):
            with self._open(url, headers) as response:
                location = response.headers.get("location")
                if response.status in _MOVED and location:
                    url = _redirected(url, location, headers)
                    continue
                if response.status in _AGAIN:
                    raise _TryAgainError(f"the server answered {response.status}")
                if response.status not in accept:
                    hint = "Is the version right? ukperf images list shows what is here."
                    raise UkperfError(
                        f"{short(url)} could not be downloaded: the server answered {response.status}.", hint=hint
                    )
                return self._read(response, url, limit)
        raise UkperfError(
            f"{short(first)} could not be downloaded: more than {REDIRECTS} redirects, the last to {short(url)}."
        )

    def _read(self, response: urllib3.BaseHTTPResponse, url: str, limit: int) -> Answer:
        declared = response.headers.get("content-length", "")
        if _LENGTH.fullmatch(declared) and int(declared) > limit:
            raise UkperfError(
                f"{short(url)} is said to have {int(declared):,} bytes; more than {limit:,} are not downloaded."
            )
        digest, body = hashlib.sha256(), bytearray()
        for chunk in response.stream(_CHUNK, decode_content=False):
            if self._left() < 0:  # nobody waits any more
                raise _TryAgainError("time is up")
            body += chunk
            if len(body) > limit:
                raise UkperfError(f"{short(url)} has more than the {limit:,} bytes that are downloaded at most.")
            digest.update(chunk)
        names = {name.lower(): value for name, value in response.headers.items()}
        return Answer(response.status, names, bytes(body), digest.hexdigest(), url)

    @contextmanager
    def _open(self, url: str, headers: Mapping[str, str]) -> Iterator[urllib3.BaseHTTPResponse]:
        parts = split(url)
        sent = {"user-agent": f"ukperf/{ukperf.__version__}", "accept-encoding": "identity", **headers}
        timeout = urllib3.Timeout(connect=CONNECT_S, read=READ_S)
        response = self._pool(parts.scheme, parts.hostname or "").request(
            "GET", url, headers=sent, redirect=False, retries=False, preload_content=False, timeout=timeout
        )
        self._reached.set()
        try:
            yield response
        finally:
            response.close()  # whatever is left of the body is not wanted
            response.release_conn()

    def _pool(self, scheme: str, host: str) -> urllib3.PoolManager:
        """A pool, through the proxy that http_proxy, https_proxy and no_proxy ask for."""
        proxy = "" if urllib.request.proxy_bypass(host) else urllib.request.getproxies().get(scheme, "")
        if proxy not in self._pools:
            self._pools[proxy] = urllib3.ProxyManager(proxy) if proxy else urllib3.PoolManager()
        return self._pools[proxy]

    def _left(self) -> float:
        return self.total_s - (time.monotonic() - self.started)


def split(url: str) -> SplitResult:
    """The parts of an address, its port among them. Raises UkperfError for what is no http or https address."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises as well
    except ValueError as error:
        raise UkperfError(f"{short(url)!r} is no address: {clean(str(error), 80)}.") from error
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise UkperfError(f"{short(url)!r} is no http or https address.")
    return parts


def short(url: str) -> str:
    """An address for a sentence: servers choose those that they redirect to."""
    return clean(url, 200)


def _redirected(url: str, location: str, headers: dict[str, str]) -> str:
    before = split(url)
    try:
        target = urljoin(url, location)
    except ValueError as error:
        raise UkperfError(f"{short(url)} redirects to {short(location)!r}, which is no address.") from error
    after = split(target)
    if before.scheme == "https" and after.scheme != "https":
        raise UkperfError(f"{short(url)} redirects to {short(target)}, which is not encrypted: not followed.")
    if (before.hostname, before.port) != (after.hostname, after.port):
        for name in [name for name in headers if name.lower() == "authorization"]:
            del headers[name]
    return target


def _plain(error: urllib3.exceptions.HTTPError) -> str:
    """What happened, without the library's own objects in the text."""
    cause = next((arg for arg in (error, *error.args) if isinstance(arg, urllib3.exceptions.IncompleteRead)), None)
    if cause is not None:
        return f"the connection ended {cause.expected} bytes too early"
    return next((text for kind, text in _REASONS if isinstance(error, kind)), type(error).__name__)


_REASONS: tuple[tuple[type[Exception], str], ...] = (
    (urllib3.exceptions.NameResolutionError, "its name is unknown"),
    (urllib3.exceptions.SSLError, "its certificate is not accepted"),
    (urllib3.exceptions.NewConnectionError, "no connection"),
    (urllib3.exceptions.TimeoutError, "no answer in time"),
    (urllib3.exceptions.ProxyError, "the proxy does not let it through"),
    (urllib3.exceptions.ProtocolError, "the connection broke"),
)
