"""One HTTP/1.x answer, put together from the bytes as they come (RFC 9112). What sends it is not trusted."""

from __future__ import annotations

import hashlib
import re
from enum import Enum

MAX_HEAD = 32 << 10  # bytes of status line and headers
MAX_BODY = 16 << 20
_STATUS = re.compile(rb"HTTP/1\.[01] ([1-5]\d\d)(?: [^\r\n]*)?\r?")
_LENGTH = re.compile(rb"\d{1,15}")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;[^\r\n]*)?\r?")
_MAX_CHUNK_LINE = 1024
_NO_BODY = (204, 304)


class NoAnswerError(ValueError):
    """What came is no HTTP answer, or more of one than is taken; a phrase."""


class _Framing(Enum):
    """How the end of a body is told."""

    LENGTH = 1
    CHUNKS = 2
    CLOSE = 3


class HttpAnswer:
    """status: 0 until the head is whole. whole: all of it is there."""

    def __init__(self) -> None:
        self.status = 0
        self.whole = False
        self.size = 0  # bytes of the body so far
        self.length: int | None = None  # of the body, where it is declared
        self._digest = hashlib.sha256()
        self._rest = b""
        self._framing = _Framing.CLOSE
        self._left = 0  # of the body, or of a chunk with its line end
        self._last_chunk = False

    @property
    def digest(self) -> str:
        """Of the body."""
        return self._digest.hexdigest()

    def feed(self, data: bytes) -> None:
        """Take what came. Raises NoAnswerError."""
        self._rest += data
        if self.status == 0 and not self._take_head():
            return
        if self._framing is _Framing.CHUNKS:
            self._take_chunks()
        elif not self.whole:
            self._take_body()

    def close(self) -> None:
        """The other side has closed the connection. Raises NoAnswerError where that cut the answer off."""
        if self.whole:
            return
        if self.status == 0:
            raise NoAnswerError("it closed the connection before an answer" if not self._rest else "half an answer")
        if self._framing is not _Framing.CLOSE:
            of = f" of {self.length:,}" if self.length is not None else ""
            raise NoAnswerError(f"half an answer: {self.size:,}{of} bytes of its body")
        self.whole = True

    def _take_head(self) -> bool:
        while self.status < 200:  # an interim answer is followed by the real one
            end = re.search(rb"\r?\n\r?\n", self._rest[: MAX_HEAD + 4])
            if end is None:
                self.status = 0
                self._refuse_no_head()
                return False
            head, self._rest = self._rest[: end.start()], self._rest[end.end() :]
            first, *lines = head.split(b"\n")
            status = _STATUS.fullmatch(first)
            if status is None:
                raise NoAnswerError("what came is no HTTP")
            self.status = int(status[1])
        self._frame(lines)
        return True

    def _refuse_no_head(self) -> None:
        if len(self._rest) > MAX_HEAD:
            raise NoAnswerError(f"more than {MAX_HEAD >> 10} KiB of headers")
        if not self._rest.startswith(b"HTTP/1."[: len(self._rest)]):
            raise NoAnswerError("what came is no HTTP")

    def _frame(self, lines: list[bytes]) -> None:
        headers: dict[bytes, bytes] = {}
        for line in lines:
            name, _, value = line.partition(b":")
            headers[name.strip().lower()] = value.strip()
        if self.status in _NO_BODY:
            self._framing, self.length = _Framing.LENGTH, 0
        elif headers.get(b"transfer-encoding", b"").lower().endswith(b"chunked"):
            self._framing = _Framing.CHUNKS
        elif b"content-length" in headers:
            length = headers[b"content-length"]
            if not _LENGTH.fullmatch(length):
                raise NoAnswerError("a Content-Length that is no number")
            self._framing, self.length = _Framing.LENGTH, int(length)
            self._left = self.length
            self._refuse_more(self.length)

    def _take_body(self) -> None:
        part, self._rest = self._rest, b""
        if self._framing is _Framing.LENGTH:
            part, self._rest = part[: self._left], part[self._left :]
            self._left -= len(part)
            self.whole = self._left == 0
        self._add(part)

    def _take_chunks(self) -> None:
        while not self.whole:
            if self._left > 2:  # what is left of a chunk, besides the line end behind it
                part, self._rest = self._rest[: self._left - 2], self._rest[self._left - 2 :]
                self._left -= len(part)
                self._add(part)
                if self._left > 2:
                    return
            line, ended, rest = self._rest.partition(b"\n")
            if not ended:
                if len(line) > _MAX_CHUNK_LINE:
                    raise NoAnswerError("a chunk without a length")
                return
            self._rest = rest
            if self._left:  # the line end behind a chunk
                if line not in (b"", b"\r"):
                    raise NoAnswerError("a chunk longer than it says")
                self._left = 0
            elif self._last_chunk:
                self.whole = line in (b"", b"\r")  # else a trailer
            else:
                self._begin_chunk(line)

    def _begin_chunk(self, line: bytes) -> None:
        size = _CHUNK.fullmatch(line)
        if size is None:
            raise NoAnswerError("a chunk without a length")
        length = int(size[1], 16)
        self._refuse_more(self.size + length)
        self._last_chunk, self._left = length == 0, length + 2 if length else 0

    def _add(self, part: bytes) -> None:
        self.size += len(part)
        self._refuse_more(self.size)
        self._digest.update(part)

    def _refuse_more(self, size: int) -> None:
        if size > MAX_BODY:
            raise NoAnswerError(f"an answer of more than {MAX_BODY >> 20} MiB")
