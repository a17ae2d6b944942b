"""How a run over the workers of a scheduler is begun and gone on with, and what cannot be had there."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from ukperf import signals
from ukperf.engine.journal import JOURNAL, Journal, read_journal
from ukperf.engine.runner import Observer, Silent
from ukperf.errors import HostError, Interrupted, UkperfError
from ukperf.model import Accelerator, BootRecord, Plan, Request, Result
from ukperf.text import Say, shell


@contextmanager
def going_on(folder: Path) -> Iterator[None]:
    """Whatever breaks a run off is said with how to go on with it."""
    kept = f"What was measured is kept. Go on with: ukperf resume {shell(folder)}"
    try:
        yield
    except HostError as error:
        raise HostError(error.message, hint=f"{error.hint or ''} {kept}".strip()) from error
    except KeyboardInterrupt as end:
        number = end.number if isinstance(end, signals.Ended) else signal.SIGINT
        raise Interrupted(signals.sentence(number), hint=kept, exit_status=signals.status_of(number)) from None
    except OSError as error:
        raise UkperfError(
            f"The run stopped: {error.strerror or error} ({error.filename or folder}).",
            hint=kept,
        ) from error


def refuse_unspreadable(request: Request) -> None:
    """Raises UkperfError for what a run over a scheduler's workers cannot have."""
    if not request.scheduler:
        if request.strata:
            raise UkperfError("--fleet-strata is about the machines of --fleet.", hint="Add --fleet SCHEDULER.")
        return
    from ukperf.cluster import address_of

    address_of(request.scheduler)  # before anything is built for it
    if len(request.connect) > 1:
        raise UkperfError(
            "--fleet has its machines from the scheduler, and several --connect name others.",
            hint="Give one --connect, which each worker opens on its own machine.",
        )
    if request.restores is not None:
        raise UkperfError(
            "A guest is restored on the machine on which it was saved, and --fleet has several.",
            hint="Leave out --fleet, or boot the guests: --path boot.",
        )


def on_another(plan: Plan, scheduler: str) -> Plan:
    """The plan with another scheduler than it was made with; "": its own. Raises UkperfError for a run that had none,
    and for what is no scheduler."""
    from ukperf.cluster import address_of

    if not scheduler:
        return plan
    if not plan.scheduler:
        raise UkperfError("This run has no fleet, and goes on where it was begun.", hint="Leave out --fleet.")
    address_of(scheduler)
    return replace(plan, scheduler=scheduler)


def refuse_crowded(plan: Plan, share_host: bool) -> None:
    """Raises UkperfError for several workers on this machine where that would be in what is measured."""
    from ukperf.cluster import local_workers

    count = local_workers(plan.scheduler) if plan.scheduler else None
    if count is not None and count > 1 and plan.accelerator is not Accelerator.ICOUNT and not share_host:
        raise UkperfError(
            f"{count} workers on one machine disturb each other's times, and {plan.accelerator} measures time.",
            hint="Use --fleet local:1, --accel icount, or add --share-host if they may.",
        )


def over_all(plan: Plan) -> Callable[[Sequence[BootRecord]], bool]:
    """The stopping rule of --precision over machines, as far as it can be told without asking who is there."""

    def enough(records: Sequence[BootRecord]) -> bool:
        from ukperf.engine.fleetparts import shares_of

        shares = shares_of(plan, records)
        return shares is not None and bool(shares.ended((), {record.trial.guest for record in records}))

    return enough


def run_spread(
    plan: Plan, folder: Path, records: list[BootRecord], observer: Observer | None, say: Say, *, alone: bool
) -> Result:
    """Run a plan's blocks on its scheduler's workers. alone: no other ukperf may measure on their machines meanwhile.

    Raises UkperfError as `open_cluster` and `Spread.run`.
    """
    from ukperf.cluster import local_workers, open_cluster
    from ukperf.engine.atworker import answer
    from ukperf.engine.spread import Spread

    mine = local_workers(plan.scheduler) is not None  # then this process has the machine to itself already
    with (
        going_on(folder),
        open_cluster(plan.scheduler, answer) as cluster,
        Journal(folder / JOURNAL) as journal,
    ):
        spread = Spread(plan, folder, cluster, journal, say, observer or Silent(), records, alone=alone and not mine)
        why = spread.run()
    return Result(folder, plan, read_journal(folder / JOURNAL).records, why)
