"""Why a guest did not run a program."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Cause(StrEnum):
    """What stood in the way."""

    MEMORY = "memory"  # too little of it
    FAULT = "fault"  # the program touched memory that it has not, or executed what is no instruction
    SIGNAL = "signal"  # another one ended the program
    FORMAT = "format"  # the guest loads no such executable
    FILES = "files"  # a file, library or interpreter is not there, or could not be unpacked
    CALL = "call"  # a system call that the guest lacks
    FORK = "fork"  # the program starts another process
    WAIT = "wait"  # the program waits for what never comes
    GUEST = "guest"  # the guest's kernel failed by itself
    PROGRAM = "program"  # it fails on this machine itself too


@dataclass(frozen=True)
class LastWords:
    """What a guest's kernel writes when it gives up, and what that means: part of the guest's recipe.

    pattern: of the package regex, found in one line of the console. says: the cause in a phrase; `{1}` stands for the
    pattern's first group. ends: nothing worth waiting for comes behind it, so the guest is ended soon. sure: False
    where the words may mean something else. early: they count only before the program's main.
    """

    pattern: str
    cause: Cause
    says: str
    ends: bool = False
    sure: bool = True
    early: bool = False


@dataclass(frozen=True)
class Why:
    """Why a boot failed. sentence: without its full stop; evidence: a line that the guest wrote, or what was tried,
    safe to print. sure: False where it is a guess."""

    cause: Cause
    sentence: str
    evidence: str = ""
    sure: bool = True

    @property
    def words(self) -> str:
        """For people, in one sentence without its full stop."""
        likely = "" if self.sure else "likely, "
        return f"{likely}{self.sentence}{f' ({self.evidence})' if self.evidence else ''}"
