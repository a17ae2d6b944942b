"""What the commands that read runs share. Imports nothing heavy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ukperf.errors import UkperfError

if TYPE_CHECKING:
    from ukperf.campaign.runs import LoadedRun
    from ukperf.reports.story import Story


def margin(percent: float | None, default: float) -> float:
    """--delta as a fraction.

    Raises UkperfError outside 0 … 100.
    """
    if percent is None:
        return default
    if not 0 < percent < 100:
        raise UkperfError(f"--delta {percent:g} is not between 0 and 100 percent.")
    return percent / 100


def tell(run: LoadedRun, baseline: str, delta: float) -> list[Story]:
    """A run's stories, one a host, with how to do it again.

    Raises UkperfError as `stats.summary.summarize` does.
    """
    import shlex

    from ukperf.reports.story import Origin, stories_of

    origin = Origin()
    if run.plan is not None:
        digests = [
            (guest, what, digest)
            for guest, image in run.plan.images.items()
            for what, digest in (
                ("image", image.digest),
                ("program", image.program_digest),
                ("kernel", image.kernel_digest),
            )
            if digest
        ]
        origin = Origin(shlex.join(run.plan.command), str(run.plan.seed), run.plan.created_at, tuple(digests))
    return stories_of(run.records, run.facts, title=run.label, baseline=baseline, delta=delta, origin=origin)
