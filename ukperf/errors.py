"""The one exception that a person sees: a sentence and a hint, exit status 2 (design.md, Manners)."""

from __future__ import annotations

from ukperf.text import clean

_LONGEST = 2_000  # characters of a sentence: parts of it come from files and servers


class UkperfError(Exception):
    """Something that the person at the keyboard can act on.

    message: one sentence that says what is wrong. hint: what to do about it, where we know. Both are made safe to show.
    """

    exit_status = 2

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        self.message = clean(message, _LONGEST)
        self.hint = clean(hint, _LONGEST) if hint else hint
        super().__init__(self.message)

    def __str__(self) -> str:
        return f"{self.message} {self.hint}" if self.hint else self.message


class HostError(UkperfError):
    """The host (libvirt connection, VMM) refused or went away; nothing measured is lost."""


class Interrupted(UkperfError):
    """^C or another signal that ends, where there is something to say about going on."""

    def __init__(self, message: str, *, hint: str | None = None, exit_status: int = 130) -> None:
        super().__init__(message, hint=hint)
        self.exit_status = exit_status
