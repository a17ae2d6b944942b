"""What a server gave when a guest's kernel was pulled, and the digest that it must have."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ukperf.errors import UkperfError

# The sha256 that the archive or manifest of a version must have; None: nobody has said.
PinOf = Callable[[str], str | None]


@dataclass(frozen=True)
class Pulled:
    """What a registry or release server gave. digest: sha256 of the archive or manifest, as the server sent it.

    again: the version by which the server is asked for the same; "" where what it was asked by moves.
    """

    version: str
    files: Mapping[str, bytes]  # role → bytes
    source: str
    digest: str
    pinned: bool
    again: str


def mirror_variable(guest: str) -> str:
    """The environment variable that names another server than the recipe's."""
    return f"UKPERF_{guest.upper()}_MIRROR"


def pins(known: Mapping[str, str], given: str | None) -> PinOf:
    """What a version must have: by a recipe's pins, and by the user's word, which may not contradict them.

    Raises UkperfError for a word that is no sha256.
    """
    asked = given.strip().lower().removeprefix("sha256:") if given is not None else None
    if asked is not None and not re.fullmatch(r"[0-9a-f]{64}", asked):
        raise UkperfError(f"{given} is no sha256.", hint="It has 64 hexadecimal digits.")

    def pin_of(version: str) -> str | None:
        pinned = known.get(version)
        if asked is not None and pinned not in (None, asked):
            raise UkperfError(
                f"ukperf's recipe has sha256:{pinned} for {version}, and you asked for sha256:{asked}.",
                hint="Leave --sha256 out, or find out which of the two is wrong.",
            )
        return asked or pinned

    return pin_of


def wrong_digest(source: str, digest: str, expected: str) -> UkperfError:
    """The error of other bytes than those that were pinned."""
    return UkperfError(
        f"{source} has the digest sha256:{digest}, and not sha256:{expected}: it is not used.",
        hint="The server or the way to it gave other bytes than were published. Try another mirror by --mirror.",
    )
