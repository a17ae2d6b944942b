"""What a first run fetches: the newest kernel of each guest that joins where it is there, and is not there yet."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from ukperf import guests
from ukperf.errors import UkperfError
from ukperf.guests.base import Guest
from ukperf.guests.stored import Pull, StoredGuest
from ukperf.imaging.download import Client
from ukperf.imaging.kernelstore import Check
from ukperf.text import Say

REACH_S, TRIES = 5.0, 2  # until a server must have answered; where there is no way to it, that shows at once
TOTAL_S = 180.0  # of one guest: a kernel has some MiB, and somebody waits for a first answer


@dataclass(frozen=True)
class FirstPull:
    """One guest's kernel: what was pulled, or why it was not."""

    guest: str
    place: str
    pull: Pull | None
    reason: str = ""


def missing(of: Iterable[Guest] | None = None) -> tuple[StoredGuest, ...]:
    """The guests whose kernels can be pulled, and of which none is in the store. of: among these; else among those of a
    run that names none."""
    chosen = guests.by_default() if of is None else of
    candidates = (guest for guest in chosen if isinstance(guest, StoredGuest) and guest.place)
    return tuple(guest for guest in candidates if guest.store.find(guest.name) is None)


def pull_missing(
    check: Check | None,
    say: Say,
    client: Callable[[], Client] = lambda: Client(TOTAL_S, REACH_S, TRIES),
    of: Sequence[StoredGuest] | None = None,
) -> tuple[FirstPull, ...]:
    """Pull the newest kernel of each guest that is `missing`, one after the other; which and from where is said before.

    check: as KernelStore.add. A server that cannot be reached, or gives what is no sound kernel, costs its guest only:
    the store is as it was then.
    """
    asked = []
    for guest in missing(of):
        say(f"fetching {guest.name}'s newest kernel from {guest.place}")
        try:
            asked.append(FirstPull(guest.name, guest.place, guest.pull(client=client(), check=check)))
        except UkperfError as error:
            asked.append(FirstPull(guest.name, guest.place, None, error.message))
    return tuple(asked)
