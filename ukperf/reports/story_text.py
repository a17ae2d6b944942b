"""The report on a terminal: the answers, the table, drift, variance."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from ukperf.reports.columns import show
from ukperf.reports.plan_table import percent
from ukperf.reports.story import Story
from ukperf.reports.table import render


def render_stories(stories: Sequence[Story], console: Console) -> None:
    """One story after the other; failures with the last line of their consoles."""
    for story in stories:
        if len(stories) > 1:
            show(console, Text(f"Host {story.host or 'local'}", style="bold"), wrap=True)
        for answer in story.answers:
            show(console, Text(answer, style="bold"), wrap=True)
        console.print()
        render(story.summary, story.facts, console)
        for result in story.drifts.values():
            if result.sentence() in story.summary.warnings:
                continue
            show(console, Text(result.sentence(), style="yellow" if result.drifted else "dim"), wrap=True)
        for part in story.parts:
            icc = "" if part.parts.icc is None else f", ICC {part.parts.icc:.2f}"
            between, within = percent(part.parts.between_boots), percent(part.parts.between_iterations)
            words = f"{part.guest}, {part.benchmark}: σ between boots {between}, between iterations {within}{icc}."
            show(console, Text(words, style="dim"), wrap=True)
        for failure in story.failures[:5]:
            last = next(
                (line for line in reversed(failure.tail.splitlines()) if line.strip()), "nothing on the console"
            )
            show(console, Text(f"{failure.guest}, boot {failure.trial}: {failure.outcome}: {last}"), wrap=True)
        if story.origin.command:
            show(console, Text(f"Again: {story.origin.command}"), wrap=False)
            kernels = [f"{guest} {digest[:12]}" for guest, what, digest in story.origin.digests if what == "kernel"]
            if kernels:
                show(console, Text(f"Kernels (sha256): {', '.join(kernels)}", style="dim"), wrap=True)
