"""The dependencies that the paper names for a framework, as an installed package has them."""

from __future__ import annotations

from pathlib import Path

from ukperf.deps.libraries import Fate
from ukperf.deps.subject import compose, subject_of
from ukperf.imaging.runtimes import Runtime
from ukperf.reports.paperclaims import Needs


def needs_of(framework: str, runtime: Runtime, interpreter: Path | None) -> Needs:
    """framework: as the paper names it. Raises UkperfError where the runtime's package is not installed there."""
    package = runtime.distributions[0]
    made = compose(subject_of([package], interpreter))
    named = [item for item in made.paper if framework in item.of]
    return Needs(
        framework,
        package,
        made.version,
        tuple(item.name for item in named if item.fate is Fate.SEEN),
        {item.name: item.by for item in named if item.fate is Fate.REPLACED},
        tuple(item.name for item in named if item.fate is Fate.GONE),
    )
