"""One module per command: parse, call, print, exit status. No logic here.

A new command is a module with a function `command` (or a Typer application `app`, for groups such as `images`) and a
line in COMMANDS. A module imports nothing heavy at its top.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import typer

# command → module; this order is the order of `ukperf --help`
COMMANDS: dict[str, str] = {
    "run": "ukperf.cli.run",
    "boot-time": "ukperf.cli.boot_time",
    "syscall-cost": "ukperf.cli.syscall_cost",
    "syscalls": "ukperf.cli.syscalls",
    "deps": "ukperf.cli.deps",
    "sklearn": "ukperf.cli.sklearn",
    "infer": "ukperf.cli.infer",
    "density": "ukperf.cli.density",
    "cold-start": "ukperf.cli.cold_start",
    "serve": "ukperf.cli.serve",
    "profile": "ukperf.cli.profile",
    "paper": "ukperf.cli.paper",
    "resume": "ukperf.cli.resume",
    "compare": "ukperf.cli.compare",
    "report": "ukperf.cli.report",
    "check": "ukperf.cli.check",
    "history": "ukperf.cli.history",
    "bisect": "ukperf.cli.bisect",
    "plan": "ukperf.cli.plan",
    "export": "ukperf.cli.export",
    "bundle": "ukperf.cli.bundle",
    "doctor": "ukperf.cli.doctor",
    "setup": "ukperf.cli.setup",
    "images": "ukperf.cli.images",
    "selftest": "ukperf.cli.selftest",
}


def add_command(app: typer.Typer, name: str) -> None:
    """Register the command `name` on `app`."""
    module = import_module(COMMANDS[name])
    if hasattr(module, "app"):
        app.add_typer(module.app, name=name)
    else:
        app.command(name)(module.command)
