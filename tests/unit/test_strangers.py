"""Commands of workloads that other packages bring, as they are made of the workload's Options."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import typer
from typer.main import get_command

from ukperf import workloads
from ukperf.cli import output, strangers
from ukperf.errors import UkperfError


class Lines:
    """Counts lines."""

    @dataclass(frozen=True)
    class Options:
        words: tuple[str, ...] = field(default=(), metadata={"help": "Words to look for.", "metavar": "WORD"})
        least: int = field(default=3, metadata={"help": "At least so many."})
        path: str | None = field(default=None, metadata={"help": "Where."})
        quick: bool = False

    defaults: ClassVar[dict[str, object]] = {"boots": 4, "memory": 512}


@dataclass(frozen=True)
class OddOptions:
    what: dict[str, int] = field(default_factory=dict)


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What was measured: name, options, request."""
    calls: list[tuple[Any, ...]] = []
    monkeypatch.setattr(output, "run_workload", lambda *words: calls.append(words[:3]))
    return calls


def use(monkeypatch: pytest.MonkeyPatch, workload: Any) -> None:
    def get(name: str) -> Any:
        if isinstance(workload, Exception):
            raise workload
        return workload

    theirs = SimpleNamespace(
        origin=lambda name: "other", fault=lambda name, what: UkperfError(f"{name} of the package other {what}")
    )
    monkeypatch.setattr(workloads, "WORKLOADS", theirs)
    monkeypatch.setattr(workloads, "get", get)
    monkeypatch.setattr(workloads, "strangers", lambda: ["lines", "run"])


def called(monkeypatch: pytest.MonkeyPatch, *words: str) -> Any:
    monkeypatch.setattr(sys, "argv", ["ukperf", *words])
    app = typer.Typer()
    app.callback()(lambda: None)
    strangers.add_strangers(app)
    return get_command(app).main(list(words), prog_name="ukperf", standalone_mode=False)


def test_a_field_becomes_an_option_and_what_was_not_typed_keeps_its_default(
    monkeypatch: pytest.MonkeyPatch, ran: list[tuple[Any, ...]]
) -> None:
    use(monkeypatch, Lines())
    called(monkeypatch, "lines", "--words", "a", "--words", "b", "--quick", "-g", "native", "--baseline", "native")
    ((name, options, request),) = ran
    assert name == "lines" and options == Lines.Options(("a", "b"), 3, None, True)
    assert (request.limits.boots, request.machine.memory_mib) == (4, 512)
    called(monkeypatch, "lines", "--least", "7", "--path", "x", "--boots", "9", "-g", "native", "--baseline", "native")
    assert ran[1][1] == Lines.Options((), 7, "x", False) and ran[1][2].limits.boots == 9


def test_ours_cannot_be_replaced_and_others_are_not_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, AssertionError("It was loaded."))
    monkeypatch.setattr(sys, "argv", ["ukperf", "boot-time"])
    app = typer.Typer()
    strangers.add_strangers(app)
    (command,) = app.registered_commands
    assert command.name == "lines" and "A workload of the package" in str(command.help)


@pytest.mark.parametrize("words", [("lines",), ("lines", "--help"), ("lines", "--any", "word")])
def test_one_that_cannot_be_loaded_says_so_whatever_it_is_asked(
    monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    use(monkeypatch, UkperfError("lines of the package other failed."))
    with pytest.raises(UkperfError, match="lines of the package other failed"):
        called(monkeypatch, *words)


def test_options_that_no_command_line_has_are_a_fault_of_their_package(monkeypatch: pytest.MonkeyPatch) -> None:
    class Odd(Lines):
        Options = OddOptions  # type: ignore[assignment]

    use(monkeypatch, Odd())
    with pytest.raises(
        UkperfError,
        match=r"package other is no workload: TypeError: the option what is .*: bool, int, float",
    ):
        called(monkeypatch, "lines")
