"""The parts of `ukperf paper` by name: the command line needs no more of them to say what there is."""

from __future__ import annotations

from enum import StrEnum


class PaperPart(StrEnum):
    """What `ukperf paper` measures, in the order in which it does."""

    CALLS = "calls"
    LEARNING = "learning"
    BOOT = "boot"
    COSTS = "costs"
    RUNTIMES = "runtimes"
    CLASSIFIERS = "classifiers"
    DEPENDENCIES = "dependencies"
