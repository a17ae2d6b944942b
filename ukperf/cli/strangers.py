"""Commands of workloads that other packages bring: the shared options, and those of the workload's Options."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from dataclasses import MISSING, fields
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import typer

from ukperf import workloads
from ukperf.cli import COMMANDS
from ukperf.cli.measuring import Shared, measuring
from ukperf.errors import UkperfError
from ukperf.text import clean

# how a command that cannot be loaded is called: whatever is said to it, also --help, its error is the answer
_ANY_WORDS: dict[str, Any] = {
    "context_settings": {"ignore_unknown_options": True, "allow_extra_args": True},
    "add_help_option": False,
}
_PLAIN = (bool, int, float, str)


def add_strangers(app: typer.Typer) -> None:
    """A command for each. Only one that is asked for is loaded, so that none can keep the others from working."""
    for name in workloads.strangers():
        if name in COMMANDS:
            continue  # ours cannot be replaced
        if name in sys.argv[1:]:
            command = command_of(name)
            app.command(name, **_ANY_WORDS if command.__name__ == _broken.__name__ else {})(command)
        else:
            said = f"A workload of the package {workloads.WORKLOADS.origin(name)}."
            app.command(name, help=_with_example(said, name))(_stub(name))


def _with_example(said: str, name: str) -> str:
    """A command's help, which ends with an example: of theirs, if it has one."""
    return said if "Example: ukperf " in said else f"{said}\n\nExample: ukperf {name}"


def _stub(name: str) -> Callable[[], None]:
    def command() -> None:
        command_of(name)

    return command


def command_of(name: str) -> Callable[..., None]:
    """Raises UkperfError where the workload cannot be loaded, or its Options are none that a command line can have."""
    try:
        workload = workloads.get(name)
        own = [_parameter(item, get_type_hints(workload.Options)[item.name]) for item in fields(workload.Options)]
        defaults = dict(workload.defaults)
        few = defaults.pop("boots", None)
        boots = few if isinstance(few, int) else None
    except UkperfError as error:
        return _broken(error)
    except Exception as error:  # their code
        return _broken(
            workloads.WORKLOADS.fault(name, f"is no workload: {type(error).__name__}: {clean(str(error), 200)}")
        )

    def command(shared: Shared, **words: Any) -> None:
        from ukperf.cli.output import run_workload

        typed = {key: tuple(value or ()) if isinstance(value, list) else value for key, value in words.items()}
        chosen = {key: value for key, value in typed.items() if value is not None}
        run_workload(name, workload.Options(**chosen), shared.request(boots=boots), shared.json, shared.brief)

    command.__doc__ = _with_example(inspect.getdoc(type(workload)) or f"The workload {name}.", name)
    shared = inspect.Parameter("shared", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=Shared)
    command.__signature__ = inspect.Signature([shared, *own])  # type: ignore[attr-defined]
    return measuring(after="append", without=(), **defaults)(command)


def _broken(error: UkperfError) -> Callable[[], None]:
    def command() -> None:
        raise error

    command.__name__ = _broken.__name__
    return command


def _parameter(item: Any, hint: Any) -> inspect.Parameter:
    """An option for one field. Raises TypeError for a type that no option has."""
    kind = hint
    if get_origin(hint) in (Union, UnionType):
        kind = next(part for part in get_args(hint) if part is not type(None))
    default = None if item.default is MISSING else item.default
    if get_origin(kind) is tuple and get_args(kind)[:1] == (str,):
        kind, default = list[str] | None, None
    elif kind not in _PLAIN:
        raise TypeError(f"the option {item.name} is {hint}: bool, int, float, str and tuples of str are taken")
    elif default is None:
        kind = kind | None
    said = typer.Option(help=item.metadata.get("help", ""), metavar=item.metadata.get("metavar") or None)
    return inspect.Parameter(
        item.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, said]
    )
