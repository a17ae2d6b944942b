"""Every command's help, as a newcomer reads it: short in the list, one example that parses, no jargon of Python's."""

from __future__ import annotations

import inspect
import re
import shlex
from collections.abc import Iterator
from typing import Any

import pytest
from test_docs import without_effect
from typer.main import get_command

from ukperf.cli import strangers
from ukperf.cli.main import app

Found = tuple[str, Any, Any]


def walked(command: Any, path: str, parent: Any = None) -> Iterator[Found]:
    """Each command with its path and its context."""
    context = command.make_context(path, [], parent=parent, resilient_parsing=True)
    yield path, command, context
    for name, child in getattr(command, "commands", {}).items():
        yield from walked(child, f"{path} {name}", context)


def helped(context: Any, width: int) -> str:
    """Its help on a terminal of that width."""
    context.terminal_width = context.max_content_width = width
    return str(context.command.get_help(context))


def examples(said: str) -> list[str]:
    paragraphs = re.split(r"\n\s*\n", said)
    return [" ".join(p.split()).removeprefix("Example: ") for p in paragraphs if p.strip().startswith("Example: ")]


COMMANDS = list(walked(get_command(app), "ukperf"))
each = pytest.mark.parametrize(("path", "command", "context"), COMMANDS, ids=[path for path, _, _ in COMMANDS])


@each
def test_a_command_has_one_example_of_itself_that_parses(path: str, command: Any, context: Any) -> None:
    (example,) = examples(helped(context, 200))
    assert example.startswith(path)
    words = shlex.split(example)[1:]
    try:
        status = without_effect(get_command(app)).main(words, prog_name="ukperf", standalone_mode=False)
    except SystemExit as end:
        status = end.code
    assert status in (None, 0)


@each
def test_an_example_fits_a_line_that_can_be_copied(path: str, command: Any, context: Any) -> None:
    (example,) = examples(helped(context, 80))
    assert f"Example: {example}" in helped(context, 80)


@each
@pytest.mark.parametrize("width", [80, 200])
def test_help_fits_its_terminal_and_shows_nothing_of_pythons(path: str, command: Any, context: Any, width: int) -> None:
    said = helped(context, width)
    assert [line for line in said.splitlines() if len(line) > width] == []
    # types, as newer Typers write them
    assert re.findall(r"<(?:str|int|list|Path|libvirt)\b.*?>|\bTEXT\b|\bINTEGER\b|\{\w|\.\.\.$", said) == []


@pytest.mark.parametrize(("path", "command", "context"), [c for c in COMMANDS if hasattr(c[1], "commands")])
def test_the_list_of_commands_says_each_in_one_whole_sentence(path: str, command: Any, context: Any) -> None:
    listed = helped(context, 80).partition("Commands:")[2].splitlines()
    assert len(listed) - 1 == len(command.commands)
    assert [line for line in listed[1:] if not re.search(r"\.$", line) or line.endswith("...")] == []


@each
def test_every_option_and_argument_is_explained(path: str, command: Any, context: Any) -> None:
    for param in command.get_params(context):
        if (record := param.get_help_record(context)) is not None:
            assert len(record[1].split()) >= 2, record


def test_a_command_of_others_gets_an_example_where_it_brings_none() -> None:
    assert examples(strangers._with_example("Counts lines.", "lines")) == ["ukperf lines"]
    own = "Counts lines.\n\nExample: ukperf lines --all"
    assert examples(strangers._with_example(own, "lines")) == ["ukperf lines --all"]


def test_examples_are_the_last_thing_that_a_docstring_says_but_for_exit_statuses() -> None:
    for _, command, _ in COMMANDS:
        last = inspect.cleandoc(command.help or "").split("\n\n")[-1]
        assert last.startswith(("Example: ", "Exit status"))
