"""Options of a program that goes into guests: the same in every command that takes one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

File = Annotated[
    list[str] | None,
    typer.Option(metavar="HOST[:GUEST]", help="A file or folder that goes along, and its path in guests."),
]
Env = Annotated[list[str] | None, typer.Option(metavar="NAME=VALUE", help="A variable of the program's environment.")]
Cwd = Annotated[str, typer.Option(metavar="DIR", help="The program's working folder in the guest.")]
Stdin = Annotated[Path | None, typer.Option(metavar="FILE", help="What the program reads from standard input.")]
Python = Annotated[
    bool, typer.Option("--python", help="The program is a Python script: its interpreter and packages go along.")
]
Package = Annotated[
    list[str] | None,
    typer.Option("--package", metavar="NAME", help="With --python: an installed package that the script needs."),
]
Requirements = Annotated[
    Path | None, typer.Option(metavar="FILE", help="With --python: a requirements file; nothing is downloaded.")
]
Interpreter = Annotated[
    Path | None,
    typer.Option(metavar="PYTHON", help="Whose packages: a Python of the same version as ukperf's."),
]
