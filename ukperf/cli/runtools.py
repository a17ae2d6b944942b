"""What the commands that read runs share. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ukperf.errors import UkperfError

if TYPE_CHECKING:
    from pathlib import Path

    from ukperf.model import BootRecord, Plan, Portable, Result
    from ukperf.reports.machinestable import MachinesPage
    from ukperf.reports.pictures import Picture
    from ukperf.reports.story import Story
    from ukperf.runs.loaded import LoadedRun


def margin(percent: float | None, default: float) -> float:
    """--delta as a fraction.

    Raises UkperfError outside 0 … 100.
    """
    if percent is None:
        return default
    if not 0 < percent < 100:
        raise UkperfError(f"--delta {percent:g} is not between 0 and 100 percent.")
    return percent / 100


def spare(run: LoadedRun, target: Path) -> Path:
    """`target`. Raises UkperfError where it is what the run was read from: a bundle or file, a folder's plan or
    journal."""
    from contextlib import suppress

    from ukperf.engine.journal import JOURNAL
    from ukperf.engine.plan import PLAN

    source = run.path if run.unpacked is None else run.unpacked.path
    for path in (source, source / PLAN, source / JOURNAL):
        same = False
        with suppress(OSError):  # not there
            same = not target.is_dir() and target.samefile(path)
        if same:
            raise UkperfError(f"{target} is what this reads, and would be lost.", hint="Give --output another name.")
    return target


def tell(run: LoadedRun, baseline: str, delta: float) -> list[Story]:
    """A run's stories, one a host, with how to do it again.

    Raises UkperfError for a run without boots, and as `stats.summary.summarize` does.
    """
    if not run.records:
        raise run.without_boots()
    from ukperf.reports.story import Origin, stories_of
    from ukperf.runs.reproduce import again
    from ukperf.stats.summary import by_host
    from ukperf.text import shell

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
        command = shell(*again(run.plan.command, run.plan.seed))
        origin = Origin(command, str(run.plan.seed), run.plan.created_at, tuple(digests))
    parts = by_host(run.records)
    stories = stories_of(_shown(run), run.facts, title=run.label, baseline=baseline, delta=delta, origin=origin)
    told = []
    for story in stories:
        mine = parts.get(story.host, ())
        warnings = (*run.omissions(), *_remarks(run, mine), *story.summary.warnings)
        summary = replace(story.summary, warnings=warnings)
        facts = {**story.facts, **_facts(run, mine)}
        told.append(replace(story, summary=summary, facts=facts, pictures=_pictures(run, story, mine)))
    return told


def machines_of(stories: Sequence[Story]) -> list[MachinesPage]:
    """What holds over the machines of a run, from the stories of each of them."""
    if len(stories) < 2:
        return []
    from ukperf.reports.machinestable import MachinesPage
    from ukperf.stats.machines import summarize_machines

    records = [record for story in stories for record in story.records]
    first = stories[0].summary
    known = {story.host: story.summary for story in stories}
    return [MachinesPage(one) for one in summarize_machines(records, first.baseline, first.delta, known)]


def portable(run: LoadedRun) -> Portable:
    """What a bundle of a run has besides its folder, and need not have of it."""
    from ukperf.model import Portable, Result

    if run.plan is None:
        return Portable()
    from ukperf import workloads

    return workloads.of_run(run.plan.workload).portable(Result(run.folder, run.plan, run.records, "", run.damaged))


def _remarks(run: LoadedRun, records: Sequence[BootRecord]) -> Sequence[str]:
    """What the run's workload has to say of one host's boots."""
    if run.plan is None:
        return ()
    from ukperf import workloads

    return workloads.of_run(run.plan.workload).remarks(_result(run, run.plan, records))


def _facts(run: LoadedRun, records: Sequence[BootRecord]) -> Mapping[str, str]:
    """What one host's figures are, by the run's workload: the facts that its own page has."""
    if run.plan is None:
        return {}
    from ukperf import workloads

    return workloads.of_run(run.plan.workload).facts(records, run.plan.accelerator)


def _pictures(run: LoadedRun, story: Story, records: Sequence[BootRecord]) -> tuple[Picture, ...]:
    """What the run's workload draws of one host's boots."""
    if run.plan is None:
        return ()
    from ukperf import workloads

    workload = workloads.of_run(run.plan.workload)
    return tuple(workload.pictures(_result(run, run.plan, records), story.summary))


def _result(run: LoadedRun, plan: Plan, records: Sequence[BootRecord]) -> Result:
    """One host's boots, as they are on disk."""
    from ukperf.model import Result

    return Result(run.folder, plan, tuple(records), "", run.damaged)


def opened(path: str | Path) -> LoadedRun:
    """A run, or a file, with the records as the run's own command compares them. Raises UkperfError as `load`."""
    from ukperf.runs.loaded import load

    run = load(path)
    return run if run.plan is None else replace(run, records=tuple(_shown(run)))


def _shown(run: LoadedRun) -> Sequence[BootRecord]:
    """The records as the run's own command compares them."""
    if run.plan is None:
        return run.records
    from ukperf import workloads

    workload = workloads.of_run(run.plan.workload)
    records = workload.explained(run.records, run.folder)
    return workloads.records_of(workload, workload.shown_in_report(records, run.plan.accelerator))
