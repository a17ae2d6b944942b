"""Which guests take part in a run of a Python tree, by which accelerator, and with how much memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

from ukperf import guests
from ukperf.errors import UkperfError
from ukperf.model import Accelerator, BootProtocol, Frame, Request, Trial
from ukperf.workloads.base import Bench, Outlook


def outlook(request: Request, bench: Bench) -> tuple[Request, Outlook]:
    """The request with its names looked up, and what its hosts will do. Raises UkperfError as a campaign would."""
    # A program of this machine alone needs no VM host, and no accelerator that anybody could choose.
    here = _here(request)
    alone_here = bool(here) and all(here.values())
    request = bench.checked(request)
    return request, bench.outlook(replace(request, accelerator=Accelerator.AUTO) if alone_here else request)


def guests_for(request: Request, accelerator: Accelerator, own_model: bool) -> None:
    """Raises UkperfError where programs of this machine are among the guests or variants that a request names, and
    cannot take part, whatever the guest is called."""
    here = next((name for name, runs_here in _here(request).items() if runs_here), None)
    if here is not None and accelerator is Accelerator.ICOUNT:
        raise UkperfError(
            f"{here} counts seconds and the other guests count instructions, so they cannot be compared.",
            hint=f"Leave {here} out (its answers are checked anyway), or use --accel tcg.",
        )
    if here is not None and own_model:
        raise UkperfError(
            f"A model file is code, so ukperf never loads one on this host, and {here} is this host.",
            hint=f"Leave {here} out.",
        )


def suited(*, own_model: bool) -> tuple[str, ...]:
    """The guests that a Python tree runs in; a model of the user's own is never loaded on this machine."""
    return tuple(
        g.name for g in guests.loading_programs() if not own_model or g.recipe.protocol is not BootProtocol.EXEC
    )


def _here(request: Request) -> dict[str, bool]:
    """Name in the run → are its programs processes of this machine, also by a command? of what the request names."""
    kinds = {name: name for name in request.guests if name not in request.variants}
    kinds |= {name: variant.guest for name, variant in request.variants.items()}
    return {name: guests.get(k).executed_by(Accelerator.TCG) is Accelerator.NATIVE for name, k in kinds.items()}


def listener(bench: Bench) -> Callable[[Frame], None]:
    """Hands the frames of a calibration on to whoever watches."""
    trial = Trial(-1, -1, 0, "calibration")

    def listen(frame: Frame) -> None:
        bench.heard(trial, frame)

    return listen


def memory_for_files(kinds: Mapping[str, str], sizes: Mapping[str, int], machine_mib: int) -> dict[str, int]:
    """Memory of guests that hold the program's files there: what all get and, where it is much, what the files take.

    kinds: name in the run → guest; sizes: name → bytes of its program's files. MiB.
    """
    memory: dict[str, int] = {}
    for name, kind in kinds.items():
        taken = math.ceil(guests.get(kind).recipe.tree_memory * sizes[name] / (1 << 20))
        if 2 * taken > machine_mib:
            memory[name] = machine_mib + taken
    return memory
