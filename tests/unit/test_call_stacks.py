"""Call stacks: what the plugin's C code makes of calls and returns, and trees of functions of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from flowmachine import Event, driver, flow_of, spent
from hypothesis import given, settings
from hypothesis import strategies as st

from ukperf.profile.calltrees import boots_with_calls, stacks_of, together
from ukperf.profile.exporting import callgrind, folded, pprof, speedscope
from ukperf.profile.flows import Flow
from ukperf.profile.icicles import call_icicle
from ukperf.profile.model import WHOLE, CodePart, Function, Profile, Profiled
from ukperf.profile.page import ProfilePage
from ukperf.profile.stacks import Owned, joined, tree_of_calls, with_calls


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("stacks")


@pytest.fixture(scope="module")
def machine(folder: Path) -> Path:
    return driver(folder)


TOP = 0x7FFFFFFF0000
KERNEL = 0xFFFFC90000004000


def test_what_is_executed_belongs_to_the_calls_that_led_there(machine: Path, tmp_path: Path) -> None:
    events: list[Event] = [("x", 5), ("c", 10, TOP), ("x", 7), ("c", 20, TOP - 16), ("x", 11), ("r", 30, TOP - 16)]
    events += [("x", 2), ("c", 21, TOP - 16), ("x", 1), ("r", 30, TOP - 16), ("x", 3), ("r", 29, TOP), ("x", 4)]
    flow = flow_of(machine, tmp_path, [*events, ("c", 11, TOP)])
    assert spent(flow) == {(10,): 5, (10, 20): 7, (10, 20, 30): 11, (10, 21): 2, (10, 21, 30): 1, (10, 29): 3, (11,): 4}
    assert flow.total == 33 and int(flow.leaves["instructions"].sum()) == 33


def test_frames_that_were_jumped_out_of_are_gone(machine: Path, tmp_path: Path) -> None:
    down: list[Event] = [("c", 100 + i, TOP - 16 * i) for i in range(5)]
    # longjmp to the second function, which calls on where the third's frame was; then it returns, twice
    events: list[Event] = [*down, ("x", 9), ("c", 7, TOP - 32), ("x", 4), ("r", 8, TOP - 32), ("x", 6), ("r", 9, TOP)]
    flow = flow_of(machine, tmp_path, events)
    assert spent(flow) == {(100, 101, 7): 9, (100, 101, 7, 8): 4, (100, 9): 6}


def test_each_stack_has_its_own_calls_also_when_threads_take_turns(machine: Path, tmp_path: Path) -> None:
    other = TOP - (8 << 20)
    events: list[Event] = [("c", 1, TOP), ("c", 2, other), ("x", 3), ("r", 5, TOP), ("x", 4), ("r", 6, other)]
    events += [("x", 8), ("c", 3, TOP), ("x", 16), ("r", 7, TOP)]
    assert spent(flow_of(machine, tmp_path, events)) == {(1, 5): 3, (2, 6): 4, (3,): 8, (3, 7): 16}


def test_a_system_call_goes_on_in_the_kernel_and_what_is_behind_its_last_return_is_the_kernel_s(
    machine: Path, tmp_path: Path
) -> None:
    events: list[Event] = [("c", 1, TOP), ("x", 3), ("s", 2, 1), ("x", 5), ("c", 50, KERNEL), ("x", 7)]
    events += [("r", 60, KERNEL), ("x", 2), ("x", 9), ("b", 9), ("x", 1), ("r", 3, TOP)]
    events += [("x", 4), ("c", 70, KERNEL)]  # an interrupt of the program is no call of its
    assert spent(flow_of(machine, tmp_path, events)) == {
        (1, 2): 3 + 0,
        (1, 2, 50): 5 + 2,
        (1, 2, 50, 60): 7,
        (1, 3): 10,
        (70,): 4,
    }


@pytest.mark.parametrize("number", [59, 60, 231, 322])
def test_a_program_that_ends_leaves_no_frames_to_the_next_on_its_stack(
    machine: Path, tmp_path: Path, number: int
) -> None:
    events: list[Event] = [("c", 1, TOP), ("x", 3), ("s", 2, number), ("x", 4), ("c", 9, TOP - 64)]
    assert spent(flow_of(machine, tmp_path, events)) == {(1, 2): 3, (9,): 4}


def test_an_interrupt_takes_nothing_from_what_it_came_into(machine: Path, tmp_path: Path) -> None:
    events: list[Event] = [("c", 1, TOP), ("x", 30), ("x", 2), ("i", 2), ("c", 50, KERNEL), ("x", 3), ("r", 60, KERNEL)]
    events += [("x", 4), ("q",), ("x", 20), ("r", 5, TOP)]
    # 0: somewhere in what was called
    assert spent(flow_of(machine, tmp_path, events)) == {(1, 0): 30, (50,): 2 + 4, (50, 60): 3, (1, 5): 20}


def test_a_jump_to_a_return_that_functions_share_is_the_return(machine: Path, tmp_path: Path) -> None:
    events: list[Event] = [("c", 1, TOP), ("x", 4), ("l", 77), ("x", 1), ("r", 1000, TOP)]
    assert spent(flow_of(machine, tmp_path, events)) == {(1, 77): 5}


def test_calls_that_are_too_deep_are_counted_where_depth_ended(machine: Path, tmp_path: Path) -> None:
    deep: list[Event] = []
    for i in range(700):
        deep += [("x", 1), ("c", 5, TOP - 16 * i)]
    for i in reversed(range(700)):
        deep += [("x", 1), ("r", 6, TOP - 16 * i)]
    flow = flow_of(machine, tmp_path, [*deep, ("x", 1), ("c", 9, TOP)])
    assert flow.cut == 188 and int(flow.leaves["instructions"].sum()) == flow.total == 1401
    assert spent(flow)[(9,)] == 1


def test_windows_are_cut_between_instructions(machine: Path, tmp_path: Path) -> None:
    events: list[Event] = [("c", 1, TOP), ("x", 10), ("w", 2, 4, 1), ("x", 5), ("r", 3, TOP)]
    flow = flow_of(machine, tmp_path, events)
    assert spent(flow, 0) == {(1, 2): 6} and spent(flow, 1) == {(1, 3): 9}


@st.composite
def walks(draw: st.DrawFn) -> tuple[list[Event], dict[tuple[int, ...], int]]:
    """Calls and returns on three stacks that take turns, and what each chain has executed."""
    chains: list[list[int]] = [[], [], []]
    sums: dict[tuple[int, ...], int] = {}
    events: list[Event] = []
    for back in draw(st.lists(st.booleans(), max_size=60)):
        which, more, site = draw(st.integers(0, 2)), draw(st.integers(1, 50)), draw(st.integers(1, 6))
        chain, sp = chains[which], TOP - (which << 24)
        events.append(("x", more))
        if chain and back:
            key = (*chain, 100 + site)
            events.append(("r", 100 + site, sp - 16 * (len(chain) - 1)))
            chain.pop()
        else:
            key = (*chain, site)
            events.append(("c", site, sp - 16 * len(chain)))
            chain.append(site)
        sums[key] = sums.get(key, 0) + more
    return events, sums


@given(walks())
@settings(max_examples=60, deadline=None)
def test_any_calls_and_returns_are_followed(
    machine: Path, folder: Path, walk: tuple[list[Event], dict[tuple[int, ...], int]]
) -> None:
    events, sums = walk
    assert spent(flow_of(machine, folder, events)) == sums


# ---- functions ----


def function(name: str) -> Function:
    return Function(CodePart.KERNEL if name != "user" else CodePart.PROGRAM, "", name)


NAMES = ("user", "open", "walk", "copy")
# A function each 100 bytes, of blocks of 50 bytes; the last is two programs', one after the other.
OWNED = Owned(
    np.array([0, 50, 100, 150, 200, 250, 300, 300], np.uint64),
    np.full(8, 50, np.uint32),
    np.array([[1, 1, 1, 1, 1, 1, 9, 0], [1, 1, 1, 1, 1, 1, 0, 5]], np.uint64),
    np.array([0, 0, 1, 1, 2, 2, 3, 4], np.int64),
    (*map(function, NAMES), function("other")),
)
NOBODY = Function(CodePart.UNNAMED, "", "", named=False)


def walked(machine: Path, folder: Path) -> Flow:
    """user → open → walk → walk → copy, and once user → copy."""
    events: list[Event] = [("x", 1), ("c", 10, TOP), ("x", 10), ("c", 110, TOP - 16), ("x", 100)]
    events += [("c", 210, TOP - 32), ("x", 1000), ("c", 220, TOP - 48), ("x", 10000), ("r", 310, TOP - 48)]
    events += [("x", 2000), ("r", 230, TOP - 32), ("x", 200), ("r", 240, TOP - 16), ("x", 20), ("r", 120, TOP)]
    return flow_of(machine, folder, [*events, ("x", 2), ("c", 20, TOP), ("x", 30000), ("r", 320, TOP)])


@pytest.fixture(scope="module")
def side(machine: Path, folder: Path) -> Profiled:
    tree = tree_of_calls(walked(machine, folder), OWNED, ("", "main"), NOBODY)
    own = {"user": 3, "open": 30, "walk": 3300, "copy": 40000}
    rows = {function(name): (count, 0) for name, count in own.items()}
    boot = Profile(("start", "main"), rows, (sum(own.values()), 0), (0, 0), tree=tree)
    return Profiled("linux", (boot, boot))


def test_recursion_is_counted_once_and_calls_are_counted(side: Profiled) -> None:
    stacks = stacks_of(side)
    assert stacks is not None
    known = {f.name: (w.instructions, w.own, w.calls) for f, w in with_calls(stacks).items()}
    assert known["user"] == (43333, 3, 0)
    assert known["open"] == (13330, 30, 1)
    assert known["walk"] == (13300, 3300, 2)
    assert known["copy"] == (40000, 40000, 2)
    assert boots_with_calls(side, WHOLE)[function("walk")] == (13300, 13300)
    assert sum(stacks.own) == 43333 and stacks.totals()[0] == 43333


def test_code_at_one_address_is_the_program_s_that_ran_in_the_window() -> None:
    places = np.array([310, 310, 320, 500], np.uint64)
    assert OWNED.at(places, np.array([0, 1, 1, 0], np.uint32)).tolist() == [3, 4, 4, -1]


def test_every_format_has_the_chains_and_callgrind_what_each_calls(side: Profiled) -> None:
    lines = dict(line.rsplit(" ", 1) for line in folded(side).decode().splitlines())
    assert lines == {
        "linux;user": "3",
        "linux;user;open": "30",
        "linux;user;open;walk": "300",
        "linux;user;open;walk;walk": "3000",
        "linux;user;open;walk;walk;copy": "10000",
        "linux;user;copy": "30000",
    }
    text = callgrind(side).decode()
    assert "fn=walk\n0 3300\ncob=kernel\ncfi=kernel\ncfn=walk\ncalls=1 0\n0 13000\n" in text
    assert "cfn=copy\ncalls=1 0\n0 30000\n" in text and "totals: 43333" in text
    assert b'"walk"' in speedscope(side) and pprof(side)


def test_the_page_lists_functions_with_what_they_call_and_draws_who_calls_whom(side: Profiled) -> None:
    page = ProfilePage((side,), window=WHOLE)
    text = str(list(page.body()))
    assert "with what it calls" in text and "call stacks give every function what the counts do" in text
    (picture,) = page.pictures()
    slabs = {slab.name: slab.depth for slab in picture.rows[0].slabs}  # type: ignore[union-attr]
    assert slabs["open"] == 2 and slabs["linux"] == 0
    data = page.json()
    assert isinstance(data, dict) and data["guests"][0]["stacks"]["functions"][0]["name"] == "user"  # type: ignore[index,call-overload]


def test_trees_of_two_sides_are_compared_node_by_node(side: Profiled) -> None:
    stacks = stacks_of(side)
    assert stacks is not None
    more = [
        own * (2 if f is not None and f.name == "copy" else 1)
        for own, f in zip(stacks.own, stacks.functions, strict=True)
    ]
    other = type(stacks)(stacks.parents, stacks.functions, more, stacks.calls, 0.0)
    one, two = together([stacks, other], lambda f: f)
    assert one.parents == two.parents and two.totals()[0] - one.totals()[0] == 40000
    drawn = call_icicle([("old", stacks), ("new", other)], "x", same=lambda f: f)
    assert drawn is not None
    colours = {slab.name: slab.css for slab in drawn.rows[1].slabs}
    assert colours["copy"] == "more3" and colours["new"] == "more3"
    assert joined([tree for tree in (side.boots[0].tree,) if tree is not None], "main").totals()[0] == 0
