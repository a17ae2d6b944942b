"""The options that measuring commands share: one order everywhere, and only what a command has decides its request."""

from __future__ import annotations

import inspect

import pytest

from ukperf.cli import boot_time, sklearn, syscall_cost, syscalls
from ukperf.cli.measuring import CAMPAIGN, Shared
from ukperf.errors import UkperfError
from ukperf.model import Request

COMMANDS = [boot_time.command, sklearn.command, syscall_cost.command, syscalls.command]
ORDER = [name for name in inspect.signature(Shared).parameters if name != "without"]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda c: c.__module__.rpartition(".")[2])
def test_shared_options_come_in_one_order(command: object) -> None:
    assert callable(command)
    names = [name for name in inspect.signature(command).parameters if name in ORDER]
    assert names == [name for name in ORDER if name in names]
    assert {"guest", "accel", "machine", "kernel", "connect", "json"} <= set(names)
    assert (CAMPAIGN & set(names)) in (set(), CAMPAIGN)
    assert command.__doc__


def test_a_command_may_have_its_own_defaults() -> None:
    memory = {c.__module__: inspect.signature(c).parameters["memory"].default for c in COMMANDS}
    assert memory["ukperf.cli.sklearn"] == 1024 and memory["ukperf.cli.boot_time"] == 256
    assert inspect.signature(syscalls.command).parameters["timeout"].default == 30.0


def test_only_the_options_that_are_there_decide() -> None:
    full = Shared(guest=["nanos", "nanos"], precision=1.0).request(boots=6)
    assert full.guests == ("linux", "nanos") and full.limits.boots is None
    assert Shared().request(boots=6).limits.boots == 6 and Shared().request().limits.boots == 20
    assert Shared(boots=3).request(boots=6).limits.boots == 3
    typed = Shared(guest=["nanos"], timeout=None, boots=3, delta=7.0, seed=5, without=CAMPAIGN)
    few, plain = typed.request(), Request()
    assert few.guests == ("nanos",) and typed.timeout_s() is None and few.timeout_s == plain.timeout_s
    assert (few.baseline, few.limits, few.delta, few.seed) == (plain.baseline, plain.limits, plain.delta, plain.seed)


@pytest.mark.parametrize("wrong", [{"delta": 0.0}, {"memory": 0}, {"timeout": 0.0}, {"append": ["x"]}, {"boots": 0}])
def test_what_cannot_be_meant_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(UkperfError):
        Shared(**wrong).request()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("typed", "guests", "baseline"),
    [
        ({"guest": ["native"]}, ("native",), "native"),
        ({"guest": ["native"], "variant": ["b=native,program=x"]}, ("native",), "native"),
        ({"variant": ["b=native,program=x"]}, ("native",), "native"),
        ({"guest": ["native"], "variant": ["b=linux"]}, ("linux", "native"), "linux"),
        ({"guest": ["native", "nanos"]}, ("linux", "native", "nanos"), "linux"),
        ({"guest": ["native"], "baseline": "linux"}, ("linux", "native"), "linux"),
        ({}, (), "linux"),
    ],
)
def test_programs_of_this_machine_alone_are_divided_by_the_first(
    typed: dict[str, object], guests: tuple[str, ...], baseline: str
) -> None:
    asked = Shared(**typed).request()  # type: ignore[arg-type]
    assert (asked.guests, asked.baseline) == (guests, baseline)
