"""`ukperf profile` with real boots: a boot by function, shown again, against itself, in other tools' formats."""

from __future__ import annotations

import os
import statistics
from collections.abc import Iterator
from pathlib import Path

import pytest
from realrun import journal, world

from ukperf import guests
from ukperf.engine.profiles import Profiles, against, exported, page_of, profiles_of
from ukperf.errors import UkperfError
from ukperf.guests.base import BuildOptions
from ukperf.guests.floor import Floor
from ukperf.imaging.compiler import compile_c
from ukperf.paths import data_dir
from ukperf.profile.calls import NO_NUMBER, call_rows
from ukperf.profile.calltrees import apart, stacks_of
from ukperf.profile.exporting import EXPORTS
from ukperf.profile.model import CodePart

pytestmark = pytest.mark.real

FLOOR = ("-g", "floor", "--baseline", "floor")
LAST = "exit →"


@pytest.fixture(scope="module")
def run(libvirt_here: None) -> Iterator[Path]:
    """Two boots of floor, profiled by the command."""
    with world() as ours:
        folder = ours.path("run")
        said = ours.json("profile", *FLOOR, "--boots", "2", "--run", folder)
        assert said["run"] == str(folder) and said["guests"][0]["guest"] == "floor"
        assert "the same in every boot" in said["facts"]["addresses"]
        yield folder


def floor_kernel() -> Path:
    floor = guests.get("floor")
    assert isinstance(floor, Floor)
    return floor.kernel()


@pytest.fixture(scope="module")
def profiles(run: Path) -> Profiles:
    return profiles_of(run)


def test_the_sum_over_functions_is_what_the_guest_s_counter_says(run: Path, profiles: Profiles) -> None:
    (side,) = profiles.sides
    for record, boot in zip(journal(run), side.boots, strict=True):
        until_exit = sum(sum(boot.of(window).values()) for window in boot.windows if window != LAST)
        idle = sum(boot.idle(window) or 0 for window in boot.windows)
        assert until_exit + idle == record["ticks"]["exit"]
        assert abs(idle) < 0.01 * until_exit
    assert {function.part for function in side.series()} >= {CodePart.FIRMWARE, CodePart.KERNEL}
    assert {window: side.boots[0].of(window) for window in side.windows if window != LAST} == {
        window: side.boots[1].of(window) for window in side.windows if window != LAST
    }


def test_each_boot_s_counts_are_in_the_run_s_folder_and_nothing_else(run: Path) -> None:
    assert sorted(path.name for path in (run / "counts").iterdir()) == [
        f"0000{boot}{name}.gz" for boot in (0, 1) for name in (".flow", "")
    ]
    assert all(len(line) < 4000 for line in (run / "journal.ndjson").read_text().splitlines())


def test_a_profile_against_itself_differs_nowhere_and_a_gate_on_nothing_does_not_pass(
    run: Path, profiles: Profiles
) -> None:
    said = against(profiles, str(run), "start", 20, ()).pages["floor"].json()
    assert isinstance(said, dict) and isinstance(functions := said["functions"], list)
    assert functions and all(isinstance(one, dict) and one["difference"] == 0 for one in functions)
    with pytest.raises(UkperfError, match="No function fits"):
        against(profiles, str(run), "", 20, ["acpi_*:more"])
    with pytest.raises(UkperfError, match="no guest of the run, and no run"):
        against(profiles, "nanos", "", 20, ())


def test_symbols_can_be_named_for_a_run_that_is_over(run: Path, profiles: Profiles) -> None:
    named = profiles_of(run, symbols=(f"floor={floor_kernel()}",))
    assert named.sides[0].totals() == profiles.sides[0].totals()
    with pytest.raises(UkperfError, match="names no guest and file"):
        profiles_of(run, symbols=("floor=/nonexistent",))


@pytest.fixture(scope="module")
def linux(libvirt_here: None) -> tuple[str, ...]:
    """The Linux guest that boots soonest here."""
    name = "linux-lean" if guests.get("linux-lean").availability(BuildOptions()).ok else "linux"
    return "-g", name, "--baseline", name, "--boots", "1"


@pytest.fixture(scope="module")
def costs(linux: tuple[str, ...]) -> Iterator[Path]:
    """A boot of linux-lean that says what its getppid costs, profiled by the command."""
    if "linux-lean" not in linux:  # another boot of a whole kernel would show no more than calltree.c's
        pytest.skip("no kernel for linux-lean: ukperf images build-kernel linux-lean")
    with world(extra={"UKPERF_DATA_DIR": str(data_dir())}) as ours:
        folder = ours.path("costs")
        ours.json("profile", *linux, "--of", "syscall_cost", "--set", "only=getppid.libc", "--run", folder)
        yield folder


def test_a_system_call_costs_in_a_profile_what_syscall_cost_says(costs: Path) -> None:
    """A loop's turn is the call and what glibc has around it, some ten instructions; interrupts come on top."""
    (samples,) = journal(costs)[0]["samples"]
    (side,) = profiles_of(costs).sides
    window = "phase getppid.libc → getppid.libc"
    (call,) = (row for row in call_rows(side, window) if row.name == "getppid")
    assert call.times[0] >= samples["loops"] * len(samples["values"])
    median = statistics.median(samples["values"])
    assert call.each is not None and median - 15 < call.each < median * 1.05
    assert sum(call.instructions) < side.totals(window)[0]


@pytest.fixture(scope="module")
def tree(linux: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Profiles]]:
    """A boot of Linux with calltree.c, its stacks followed: the run, and its profile."""
    if "linux-lean" not in linux and "UKPERF_SLOW_TESTS" not in os.environ:
        pytest.skip("a whole kernel takes 20 s: UKPERF_SLOW_TESTS=1, or ukperf images build-kernel linux-lean")
    program = tmp_path_factory.mktemp("calltree") / "calltree"
    source = Path(__file__).parent / "calltree.c"
    compile_c([source], program, ("-O2", "-g", "-pthread"), base=source.parent)
    with world(extra={"UKPERF_DATA_DIR": str(data_dir())}) as ours:
        folder = ours.path("calls")
        ours.run("profile", *linux, "--stacks", "--run", folder, "--", program)
        yield folder, profiles_of(folder)


@pytest.fixture(scope="module")
def calls(tree: tuple[Path, Profiles]) -> dict[tuple[str, ...], int]:
    """Chain of functions → own instructions, of calltree.c's window."""
    _, profiles = tree
    stacks = stacks_of(profiles.sides[0])
    assert stacks is not None
    assert apart(profiles.sides[0], "", stacks) < 0.05
    text = exported(profiles, "folded", "main → exit").decode()
    lines = (line.rsplit(" ", 1) for line in text.splitlines())
    return {tuple(names.split(";")): int(count) for names, count in lines}


def test_a_call_whose_number_is_in_a_register_is_named_where_qemu_tells_registers(tree: tuple[Path, Profiles]) -> None:
    folder, profiles = tree
    times = {row.name: row.times[0] for row in call_rows(profiles.sides[0], "main → exit")}
    if int(journal(folder)[0]["facts"]["qemu"].split(".")[0]) >= 9:
        assert times["getppid"] == 7 and NO_NUMBER not in times
    else:
        assert times[NO_NUMBER] >= 7 and "getppid" not in times


def of_leaf(calls: dict[tuple[str, ...], int], *callers: str) -> int:
    """Of leaf where these called it, whoever called them."""
    end = (*callers, "leaf")
    return sum(count for chain, count in calls.items() if chain[-len(end) :] == end)


@pytest.mark.parametrize(
    ("callers", "turns"),
    [
        (("main", "three_times"), 600_000),
        (("main", "through_pointer"), 200_000),
        (("main",), 300_000),  # ends_in_leaf is gone when it jumps
        (("main", "jumps_out"), 400_000),  # behind a longjmp
        (("on_signal",), 500_000),
        (("in_thread",), 600_000),
        (("main", *["recursion"] * 10), 10_000),
    ],
)
def test_every_chain_of_calls_of_a_program_has_its_instructions(
    calls: dict[tuple[str, ...], int], callers: tuple[str, ...], turns: int
) -> None:
    """A turn is two instructions; a return, and blocks that an interrupt broke off, come on top."""
    assert 2 * turns < of_leaf(calls, *callers) < 2 * turns + 100


def test_leaf_was_called_by_nobody_else(calls: dict[tuple[str, ...], int]) -> None:
    assert 5_400_000 < sum(count for chain, count in calls.items() if chain[-1] == "leaf") < 5_400_500


def test_a_profile_is_written_for_other_tools_and_a_window_that_is_not_there_gets_the_list(profiles: Profiles) -> None:
    for form in EXPORTS:
        assert exported(profiles, form, "start")
    for ask in (lambda: page_of(profiles, "nowhere", 20), lambda: exported(profiles, "folded", "nowhere")):
        with pytest.raises(UkperfError, match="no window") as caught:
            ask()
        assert "'start', 'main → " in str(caught.value.hint)
