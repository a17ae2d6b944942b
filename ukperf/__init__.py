"""ukperf: boots the same program in unikernels and Linux and says which is faster, by how much, how surely."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from ukperf.runs.loaded import LoadedRun

__version__ = "0.1.0"


def load(run: str | Path) -> LoadedRun:
    """A run's folder (or a pyperf file) as records and numpy arrays: see `ukperf.runs.loaded.LoadedRun`.

    Raises UkperfError for what is neither, is damaged, or is too large.
    """
    from ukperf.runs.loaded import load as open_run

    return open_run(run)
