"""What strace(1) writes, read line by line: the calls, ioctls and files of a program and of all that it started.

Written for `strace -f -o FILE`, where each line begins with the number of a thread. The program that is traced is not
trusted: what is kept of it is bounded, however long it runs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar

PATHS_MAX = 20_000  # different paths that are kept
NAMES_MAX = 1_024  # different calls, ioctls, programs: there are fewer than 400 calls
PATH_LENGTH_MAX = 4_096  # PATH_MAX of Linux

_LINE = re.compile(r"(\d+) +(.*)", re.S)
_CALL = re.compile(r"([a-z_]\w*)\((.*)", re.S)
_RESUMED = re.compile(r"<\.\.\. ([a-z_]\w*) resumed>(.*)", re.S)
_ENDED = re.compile(r"\+\+\+ (?:exited with (\d+)|killed by (\w+))")
_RESULT = re.compile(r" = (\?|-?\d+|0x[0-9a-f]+)(?: ([A-Z]\w*))?[^=]*$")
_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"', re.S)
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|[0-7]{1,3}|.)", re.S)
_IOCTL = re.compile(r"[^,]*, (_IOC\([^)]*\)|[\w ]+)")
_OWN = re.compile(r"/proc/\d+(?=/|$)")
_LETTERS = {"n": "\n", "t": "\t", "r": "\r", "f": "\f", "v": "\v"}
_UNFINISHED = "<unfinished ...>"
_MADE_BY_KERNEL = frozenset({"restart_syscall"})  # no program calls it: what continues after a signal
# Whose first string is a path that is wanted as it is.
_WITH_PATH = frozenset(
    {"open", "openat", "openat2", "creat", "access", "faccessat", "faccessat2", "stat", "lstat", "newfstatat", "statx"}
    | {"readlink", "readlinkat", "execve", "execveat", "statfs"}
)
_OPENING = frozenset({"open", "openat", "openat2", "creat"})
_MAKING = frozenset({"clone", "clone3", "fork", "vfork"})
_Key = TypeVar("_Key", str, tuple[str, str])
SPECIAL = ("/proc/", "/sys/", "/dev/")


@dataclass
class _Thread:
    """What is known of one traced thread. pending: its call that has not come back, and that one's arguments."""

    pending: str = ""
    arguments: str = ""


@dataclass
class TraceReader:
    """Takes lines of strace, in order.

    calls: how often each was made. errors: (call, errno) → how often. ioctls: by command. paths: absolute ones that
    were looked at, and whether that ever succeeded; /proc/PID is /proc/self, whose ever it is. opened: those of them
    that were opened or tried to be; made: those of these that are made where they are not there. executed: other
    programs. live: numbers of threads that have not ended. execs: how many programs have to be executed until the one
    that is meant runs; what is before it is none of its.
    """

    execs: int = 1
    calls: dict[str, int] = field(default_factory=dict)
    errors: dict[tuple[str, str], int] = field(default_factory=dict)
    ioctls: dict[str, bool] = field(default_factory=dict)
    paths: dict[str, bool] = field(default_factory=dict)
    opened: dict[str, bool] = field(default_factory=dict)
    made: dict[str, bool] = field(default_factory=dict)
    executed: dict[str, bool] = field(default_factory=dict)
    threads: int = 0
    processes: int = 0
    started: bool = False
    not_started: str = ""  # the errno with which the program could not be executed
    status: int | None = None  # None also where a signal ended it
    signal: str = ""
    first: int = 0  # the program's own number
    live: dict[int, _Thread] = field(default_factory=dict)

    def take(self, line: str) -> None:
        """One line without its end; what makes no sense is left out."""
        match = _LINE.fullmatch(line)
        if match is None or len(match[1]) > 9:
            return
        pid, rest = int(match[1]), match[2]
        self.first = self.first or pid
        if ended := _ENDED.match(rest):
            self._end(pid, ended)
        elif rest.startswith("+++"):  # superseded by execve in another thread
            self.live.pop(pid, None)
        elif resumed := _RESUMED.fullmatch(rest):
            thread = self._thread(pid)
            name, arguments = thread.pending, thread.arguments
            thread.pending = thread.arguments = ""
            if name == resumed[1]:
                self._finish(name, arguments + resumed[2])
        elif call := _CALL.fullmatch(rest):
            self._call(pid, call[1], call[2])

    def _thread(self, pid: int) -> _Thread:
        return self.live.setdefault(pid, _Thread())

    def _end(self, pid: int, ended: re.Match[str]) -> None:
        self.live.pop(pid, None)
        if pid == self.first:
            self.status, self.signal = (int(ended[1]), "") if ended[1] else (None, ended[2])

    def _call(self, pid: int, name: str, rest: str) -> None:
        thread = self._thread(pid)
        unfinished = rest.rstrip().endswith(_UNFINISHED)
        if not self.started:
            # The first is strace's own, which becomes the program.
            if name == "execve" and (result := _RESULT.search(rest)):
                self.execs -= result[1] == "0"
                self.started, self.not_started = self.execs <= 0, result[2] or ""
            return
        if name in _MADE_BY_KERNEL:
            return
        _count(self.calls, name)
        if unfinished:
            thread.pending, thread.arguments = name, rest.rstrip()[: -len(_UNFINISHED)][: 2 * PATH_LENGTH_MAX]
        else:
            self._finish(name, rest)

    def _finish(self, name: str, text: str) -> None:
        result = _RESULT.search(text)
        good = result is not None and not result[1].startswith("-") and not result[2]
        if result is not None and result[2]:
            _count(self.errors, (name, result[2]))
        if name == "ioctl" and (command := _IOCTL.match(text)):
            _note(self.ioctls, command[1].strip(), good, NAMES_MAX)
        if name in _MAKING and good:
            thread = "CLONE_THREAD" in text
            self.threads += thread
            self.processes += not thread
        if name in _WITH_PATH and (string := _STRING.search(text)):
            path = _unescaped(string[1])
            if path.startswith("/"):
                path = _OWN.sub("/proc/self", path[:PATH_LENGTH_MAX])
                _note(self.paths, path, good, PATHS_MAX)
                if name in _OPENING:
                    _note(self.opened, path, good, PATHS_MAX)
                    if name == "creat" or "O_CREAT" in text:
                        _note(self.made, path, good, PATHS_MAX)
                if name.startswith("execve"):
                    _note(self.executed, path, good, NAMES_MAX)


def special(paths: Mapping[str, bool]) -> dict[str, bool]:
    """Those of the paths that a kernel makes, and no file system image has."""
    return {path: good for path, good in sorted(paths.items()) if path.startswith(SPECIAL)}


def _count(counts: dict[_Key, int], key: _Key) -> None:
    if key in counts or len(counts) < NAMES_MAX:
        counts[key] = counts.get(key, 0) + 1


def _note(seen: dict[str, bool], key: str, good: bool, limit: int) -> None:
    if key in seen or len(seen) < limit:
        seen[key] = seen.get(key, False) or good


def _unescaped(text: str) -> str:
    """A string as strace writes it, with its escapes undone; bytes that are no UTF-8 stay as Python has them in
    paths."""

    def character(match: re.Match[str]) -> str:
        escape = match[1]
        if escape[0] == "x" and len(escape) == 3:
            return chr(int(escape[1:], 16))
        if escape[0] in "01234567":
            return chr(int(escape, 8) & 0xFF)
        return _LETTERS.get(escape, escape)

    whole = _ESCAPE.sub(character, text)
    return whole.encode("latin-1", "replace").decode("utf-8", "surrogateescape")
