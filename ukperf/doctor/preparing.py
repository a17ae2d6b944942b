"""The work behind `ukperf setup`: what an installed ukperf lacks here, and getting it: packages, accounts, kernels."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ukperf import guests, hints
from ukperf.doctor import system
from ukperf.errors import UkperfError
from ukperf.guests.base import BuildOptions, Guest
from ukperf.guests.missing import FirstPull, missing, pull_missing
from ukperf.guests.stored import StoredGuest
from ukperf.imaging.kernelstore import Check
from ukperf.paths import cache_dir, make_dir
from ukperf.text import Say, shell

_LOG_BYTES = 1 << 20  # of the log of older setups; it is begun anew then


@dataclass(frozen=True)
class Lacking:
    """What is not here. fetched: guests whose kernel comes through the distribution's package manager. pulled: whose
    kernel their project publishes."""

    needs: tuple[system.Need, ...]
    accounts: tuple[system.Account, ...]
    fetched: tuple[Guest, ...]
    pulled: tuple[StoredGuest, ...]

    @property
    def packages(self) -> tuple[str, ...]:
        return system.packages_of(self.needs)

    @property
    def of_the_system(self) -> bool:
        """Would root have to do something?"""
        return bool(self.needs or self.accounts)

    def would(self) -> Iterator[str]:
        """One line a thing that `get` does, in its order."""
        if self.needs:
            yield f"install {' '.join(self.packages)} with apt: {', '.join(need.what for need in self.needs)}"
        yield from (f"add the system {account.name}, {account.why}" for account in self.accounts)
        yield from (f"get the {guest.name} guest's kernel (apt, into your cache)" for guest in self.fetched)
        yield from (f"fetch {guest.name}'s newest kernel from {guest.place}" for guest in self.pulled)


def lacking(names: Sequence[str] = ()) -> Lacking:
    """names: the guests whose kernels count; empty: those of a run that names none. Raises UkperfError."""
    here = os.uname()
    if (here.sysname, here.machine) != ("Linux", "x86_64"):
        raise UkperfError(f"ukperf runs on x86-64 Linux, and this is {here.sysname} on {here.machine}.")
    chosen = [guests.get(name) for name in names] if names else list(guests.by_default())
    fetched = [guest for guest in chosen if guest.fetches and not guest.availability(BuildOptions()).ok]
    try:
        needs = system.missing([system.Purpose.RUN])
    except system.Trouble as trouble:
        raise _told(trouble) from trouble
    return Lacking(needs, system.missing_accounts(), tuple(fetched), missing(chosen))


def refuse_offline(what: Lacking) -> None:
    """Raises UkperfError where something is missing without which there is no run; what its project publishes is left
    out."""
    gone = [*what.packages, *(f"the {guest.name} guest's kernel" for guest in what.fetched)]
    if gone:
        verb = "is" if len(gone) == 1 else "are"
        raise UkperfError(
            f"{', '.join(gone)} {verb} missing, and --offline asks nobody: run this without it once.",
            hint=line_for_root(what) if what.needs else None,
        )


def line_for_root(what: Lacking) -> str:
    """What a person types instead."""
    lines = [hints.apt(what.packages, without_recommended=True)] if what.needs else []
    return " && ".join([*lines, *(shell("sudo", *account.command) for account in what.accounts)])


def get_system(what: Lacking) -> None:
    """Install packages and add accounts: root's part. Raises UkperfError."""
    log = _log()
    try:
        if what.needs and (refused := system.may_install()):
            raise UkperfError(f"{refused[0].upper()}{refused[1:]}.", hint=f"As root: {line_for_root(what)}")
        system.install_missing([system.Purpose.RUN], log)
        system.add_accounts(log)
    except system.Trouble as trouble:
        raise _told(trouble) from trouble


def get_kernels(what: Lacking, check: Check | None, say: Say) -> tuple[FirstPull, ...]:
    """Raises UkperfError where one that comes through the package manager is not to be had; the others' pulls are
    returned, and cost their guest only."""
    for guest in what.fetched:
        say(f"getting the {guest.name} guest's kernel (apt, into your cache)")
        guest.obtain()
    return pull_missing(check, say, of=what.pulled)


def _log() -> Path:
    log = make_dir(cache_dir()) / "setup.log"
    if log.exists() and log.stat().st_size > _LOG_BYTES:
        log.unlink()
    return log


def _told(trouble: system.Trouble) -> UkperfError:
    sentence = str(trouble)
    return UkperfError(f"{sentence[0].upper()}{sentence[1:]}")
