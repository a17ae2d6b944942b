"""The one exception that a person sees: a sentence and a hint, exit status 2 (design.md, Manners)."""

from __future__ import annotations


class UkperfError(Exception):
    """Something that the person at the keyboard can act on.

    message: one sentence that says what is wrong. hint: what to do about it, where we know.
    """

    exit_status = 2

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}" if self.hint else self.message


class HostError(UkperfError):
    """The host (libvirt connection, VMM) refused or went away; nothing measured is lost."""


class Interrupted(UkperfError):
    """^C, where there is something to say about going on."""

    exit_status = 130
