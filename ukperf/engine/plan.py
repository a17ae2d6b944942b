"""The plan of a run: everything that decides what is booted, in which order, and when it is enough."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

from ukperf import guests
from ukperf.decode import decode
from ukperf.engine.seal import is_sealed, seal_of
from ukperf.errors import UkperfError
from ukperf.files import read_json, write_atomically
from ukperf.model import BALANCED, INDEPENDENT, MOST_GUESTS, BootSpec, Fleet, LastWords, Plan, Restorer
from ukperf.text import clean, shell

PLAN = "plan.json"
SEAL = "seal"
FORMAT = 2
OLD_FORMAT = 1  # images had these, which only some drivers understood
_OLD_KEYS = ("qemu_args", "debug_exit", "idle_leap_us")
# A plan that is larger than this is none of ours.
MAX_BYTES = 16 << 20
_WORD = r"[A-Za-z0-9][A-Za-z0-9._+@~-]{0,99}"
_NAME = re.compile(_WORD)
_GUEST = re.compile(rf"{_WORD}(:[A-Za-z0-9][A-Za-z0-9._+:@~-]{{0,99}})?")  # GUEST or GUEST:VERSION


def plain_name(guest: str) -> str:
    """A guest's name for files and domains: without colons, which archives of CI systems and other file systems refuse.

    No two guests have the same, since no name has an equals sign.
    """
    return guest.replace(":", "=")


def domain_name(run_id: str, guest: str) -> str:
    """One name a guest, not a trial: its command line is then written once and serves every boot."""
    return f"ukperf-{run_id[:8]}-{plain_name(guest)}"


def spec_of(plan: Plan, guest: str, *, timeout_s: float | None = None, console_path: Path | None = None) -> BootSpec:
    """What a host is asked to boot for one trial of a guest. timeout_s: the plan's unless another is given."""
    return BootSpec(
        image=plan.images[guest],
        machine=plan.machine_of(guest),
        accelerator=plan.accelerator,
        launch=plan.launch,
        timeout_s=plan.timeout_s if timeout_s is None else timeout_s,
        run_id=plan.run_id,
        name=domain_name(plan.run_id, guest),
        console_path=console_path,
        console_limit=plan.listening.limit,
        keep_output=plan.listening.keep or None,
        ready=plan.listening.ready,
        until_ready=plan.listening.until_ready,
        last_words=_last_words(plan.images[guest].guest),
        network=plan.network,
        fleet=plan.fleet,
        template=plan.templates.get(guest),
        restorer=plan.restorer if guest in plan.templates else Restorer.TEMPLATE,
        cold=plan.cold,
    )


@cache
def _last_words(guest: str) -> tuple[LastWords, ...]:
    """What a guest's kernel says when it gives up. None, where its recipe is not here any more."""
    try:
        return guests.get(guest).recipe.last_words
    except UkperfError:
        return ()


def save(plan: Plan, folder: Path) -> None:
    """Write plan.json, sealed, whole or not at all.

    Raises UkperfError if the folder cannot be written.
    """
    data = json.loads(json.dumps({"format": FORMAT, **asdict(plan)}, default=str, allow_nan=False))
    text = json.dumps({**data, SEAL: seal_of(data)}, indent=1, allow_nan=False) + "\n"
    try:
        write_atomically(folder / PLAN, text)
    except OSError as error:
        raise UkperfError(
            f"{folder / PLAN} cannot be written: {error.strerror}.", hint="Name another folder with --run DIR."
        ) from error


def load(folder: Path) -> Plan:
    """The plan of a run folder, whoever wrote it.

    Raises UkperfError if there is none, or it is no plan.
    """
    return load_sealed(folder)[0]


def load_sealed(folder: Path) -> tuple[Plan, bool]:
    """A plan, and whether this user's ukperf wrote it as it is. Raises UkperfError as `load`."""
    path, data = folder / PLAN, _stored(folder)
    sealed = is_sealed(data, data.pop(SEAL, None))
    written = data.pop("format")
    if written == OLD_FORMAT:
        _renew(data)
    elif written != FORMAT:
        raise UkperfError(f"{path} was written by another version of ukperf.", hint="Use that version for this run.")
    try:
        plan = decode(Plan, data)
        check(plan)
    except ValueError as error:
        raise UkperfError(f"{path} is damaged: {error}.") from error
    return plan, sealed


def _stored(folder: Path) -> dict[str, Any]:
    """plan.json as it is, with a format. Raises UkperfError for what is no plan."""
    path = folder / PLAN
    try:
        data = read_json(path, MAX_BYTES)
    except OSError as error:
        raise UkperfError(
            f"{folder} is no run of ukperf: {PLAN} cannot be read ({error.strerror}).",
            hint="Give the folder that `ukperf boot-time` named at its end.",
        ) from error
    except ValueError as error:
        raise UkperfError(f"{path} is damaged: it is no JSON.") from error
    if not isinstance(data, dict) or "format" not in data:
        raise UkperfError(f"{path} is damaged: it is no plan of ukperf.")
    return data


def _renew(data: dict[str, Any]) -> None:
    """A plan of the old format as one of ours: how its images were booted is lost."""
    images = data.get("images")
    for image in images.values() if isinstance(images, dict) else ():
        for key in _OLD_KEYS if isinstance(image, dict) else ():
            image.pop(key, None)


def refuse_foreign(folder: Path) -> None:
    """Raises UkperfError unless this user's ukperf wrote the plan as it is, in our format: booting executes what it
    says."""
    if _stored(folder)["format"] == OLD_FORMAT:
        raise UkperfError(
            f"{folder / PLAN} was written by an older version of ukperf, and this one cannot go on with it.",
            hint=f"What was measured can be read: ukperf report {shell(folder)}",
        )
    if not load_sealed(folder)[1]:
        raise UkperfError(
            f"{folder / PLAN} is not as your ukperf wrote it here: it was changed, or is somebody else's.",
            hint="Resuming would execute what it says: programs, kernels, commands of connections. "
            f"What was measured can be read: ukperf report {shell(folder)}",
        )


def check(plan: Plan) -> None:
    """What a run divides by or counts to must be there. Raises ValueError."""
    if not plan.images or not plan.hosts:
        raise ValueError("it has no guests or no hosts")
    if plan.schedule not in (INDEPENDENT, BALANCED):
        raise ValueError(f"there is no schedule {plan.schedule}")
    if plan.network is not None and not (0 < plan.network.guest_port < 1 << 16 and plan.network.host_port == 0):
        raise ValueError("its network has no such port")
    if plan.limits.boots is None and plan.limits.precision is None:
        raise ValueError("it has no limit")
    if plan.fleet is not None:
        _check_fleet(plan.fleet)
    # both become part of files' names and of a domain's
    if not _NAME.fullmatch(plan.run_id):
        raise ValueError(f"{clean(plan.run_id, 40)!r} is no run's name")
    for guest in (*plan.images, plan.baseline, *(image.guest for image in plan.images.values())):
        if not _GUEST.fullmatch(guest):
            raise ValueError(f"{clean(guest, 40)!r} is no guest's name")


def _check_fleet(fleet: Fleet) -> None:
    ascending = list(fleet.sizes) == sorted(set(fleet.sizes))
    if not fleet.sizes or not ascending or not 1 <= fleet.sizes[0] <= fleet.sizes[-1] <= MOST_GUESTS:
        raise ValueError("its numbers of guests are none")
    if fleet.most_mib < 1 or (fleet.budget_mib is not None and fleet.budget_mib < 1):
        raise ValueError("its fleets have no memory")
