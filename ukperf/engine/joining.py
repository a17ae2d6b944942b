"""Which workers may take part in a run over machines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import ukperf
from ukperf.engine.errand import About
from ukperf.hosts.base import VMM_FACTS
from ukperf.model import Accelerator, Plan
from ukperf.text import clean


@dataclass
class Joined:
    """A worker that takes part. name: what records call its machine; kernel: its boot id; unforgotten: blocks in our
    journal that it may still keep."""

    worker: str
    name: str
    kernel: str
    unforgotten: list[int] = field(default_factory=list)


def unfit(plan: Plan, about: About, members: Sequence[Joined], *, alone: bool) -> str:
    """Why a worker cannot take part, as a phrase; "" where it can. Machines that are not of the plan's kind can where
    the plan has strata: results tell them apart (`machines.summarize_machines`)."""
    if not plan.strata and (why := _other_kind(plan, about)):
        return why
    same = [joined.worker for joined in members if joined.kernel == about.kernel != ""]
    if same and alone and plan.accelerator is not Accelerator.ICOUNT:
        return f"it is on the machine of {clean(same[0], 100)}, and both would disturb each other"
    return ""


def _other_kind(plan: Plan, about: About) -> str:
    if about.ukperf != ukperf.__version__:
        return f"it has ukperf {clean(about.ukperf, 40)}, and this is {ukperf.__version__}"
    if about.accelerator is not plan.accelerator:
        return f"it runs guests by {about.accelerator}, and the plan is for {plan.accelerator}"
    for fact in VMM_FACTS:
        planned, theirs = plan.facts.get(fact, ""), about.facts.get(fact, "")
        if fact != "libvirt" and planned != theirs:
            return f"it has {fact} {clean(theirs, 60) or 'of no version'}, and the plan is for {planned or 'none'}"
    return ""
