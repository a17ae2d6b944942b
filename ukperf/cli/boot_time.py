"""`ukperf boot-time`: boot guests, time their phases, say which is faster."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from ukperf.cli import options as o
from ukperf.cli.output import show_least_memory, show_result
from ukperf.model import Accelerator, Launch


def command(
    guest: o.Guests = None,
    baseline: o.Baseline = "linux",
    boots: o.Boots = None,
    precision: o.Precision = None,
    max_time: o.MaxTime = None,
    delta: o.Delta = 1.0,
    seed: o.Seed = None,
    accel: o.Accel = Accelerator.AUTO,
    machine: o.Kind = "q35",
    memory: o.Memory = 256,
    vcpus: o.Vcpus = 1,
    pin: o.Pin = None,
    launch: o.LaunchBy = Launch.LIBVIRT,
    connect: o.Connect = None,
    timeout: o.Timeout = 120.0,
    kernel: o.Kernel = None,
    append: o.Append = None,
    min_memory: Annotated[
        bool,
        typer.Option(
            "--min-memory", help="Find the least memory in which each guest reaches main three times out of three."
        ),
    ] = False,
    run: o.RunDir = None,
    json: o.Json = False,
    share_host: o.ShareHost = False,
    shared_path: o.SharedPath = False,
) -> None:
    """Boot each guest many times with the same program and compare how long each phase takes.

    A boot is one start of a fresh virtual machine. Boots go in blocks, one of every guest in random order, so that
    whatever drifts on this machine falls on all guests alike. The answer for each guest and phase is a ratio to the
    baseline with its 95 % interval and a verdict: faster, slower, equivalent, or inconclusive with the boots still
    needed.

    Every boot is in the run's journal before the next begins; `ukperf resume DIR` goes on with a broken-off run.
    """
    from ukperf.campaign.session import Request, start
    from ukperf.hosts.connection import EMBED
    from ukperf.imaging.programs import boot_program
    from ukperf.reports.progress import progress

    request = Request(
        program=boot_program(),
        guests=o.with_baseline(guest, baseline),
        baseline=baseline,
        machine=o.machine(machine, memory, vcpus, pin),
        accelerator=accel,
        launch=launch,
        connect=tuple(connect or [EMBED]),
        seed=seed,
        limits=o.limits(boots, precision, max_time),
        delta=o.percent(delta, "--delta"),
        timeout_s=o.seconds(timeout, "--timeout"),
        kernels=o.kernels(kernel),
        cmdlines=o.pairs(append, "--append"),
        folder=run.absolute() if run else None,
        share_host=share_host,
        check_clocks=True,
        shared_path=shared_path,
        command=("ukperf", *sys.argv[1:]),
    )
    if min_memory:
        show_least_memory(request, json)
        return
    with progress(request.limits) as observer:
        result = start(request, say=o.sayer(), observer=observer)
    show_result(result, json)
