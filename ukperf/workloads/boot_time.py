"""boot-time: a program that says `main`, checks the guest's clock and ends. What is measured is the boot around it."""

from __future__ import annotations

from dataclasses import replace

from ukperf.imaging.programs import boot_program
from ukperf.model import Request
from ukperf.workloads.base import Bench, NoOptions, Prepared, Workload


class BootTime(Workload):
    """Phases of boots, by the host's events or by counted instructions."""

    def prepare(self, _options: NoOptions, request: Request, _bench: Bench) -> Prepared:
        return Prepared(replace(request, program=boot_program(), check_clocks=True))
