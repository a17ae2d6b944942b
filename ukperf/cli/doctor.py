"""`ukperf doctor`: what this machine can do, what is missing, and what makes it noisy."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from ukperf.cli import options as o
from ukperf.hosts import DEFAULT


def command(
    connect: Annotated[str, typer.Option("--connect", "-c", metavar="URI", help="The host to look at.")] = DEFAULT,
    guests: Annotated[
        bool, typer.Option("--guests", help="Boot each guest once and compare its clock with the host's.")
    ] = False,
    json: o.Json = False,
) -> None:
    """Say what this machine can do, and what is missing.

    With each thing that is missing it says how to get it; and what disturbs timing. The truth check boots the floor
    guest under KVM and compares the speed of its counting loop with that of the same loop on the host. Exit status: 0
    if `ukperf boot-time` can run here, 2 if not.

    Example: ukperf doctor
    """
    from ukperf.cli.output import show_page
    from ukperf.doctor.checks import diagnose
    from ukperf.doctor.page import DoctorPage

    diagnosis = diagnose(connect, guest_clocks=guests)
    show_page(DoctorPage(diagnosis), json)
    if not diagnosis.ok:
        sys.exit(2)
