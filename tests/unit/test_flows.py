"""The flow of a boot: what the plugin's C code counts of system calls, and what of a file is believed."""

from __future__ import annotations

import ctypes
import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from flowmachine import decoder, driver, flow_of
from hypothesis import given, settings
from hypothesis import strategies as st

from ukperf.profile.calls import NO_NUMBER, calls_of
from ukperf.profile.flows import NUMBERS, UNKNOWN, Flow, encoded, read_flow, write_flow
from ukperf.profile.model import CallSum


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("flow")


@pytest.fixture(scope="module")
def machine(folder: Path) -> Path:
    return driver(folder)


@pytest.fixture(scope="module")
def code(folder: Path) -> ctypes.CDLL:
    return decoder(folder)


# ---- instructions ----

CALL, RETURN, SYSCALL, INTERRUPT_RETURN = 1, 2, 3, 4


@pytest.mark.parametrize(
    ("text", "ending"),
    [
        ("e8 01 02 03 04", CALL),
        ("ff d0", CALL),  # call *%rax
        ("41 ff d3", CALL),  # call *%r11
        ("3e ff d2", CALL),  # notrack
        ("ff 15 01 02 03 04", CALL),  # call *memory
        ("ff e0", 0),  # jmp *%rax
        ("ff 35 01 02 03 04", 0),  # push
        ("c3", RETURN),
        ("f3 c3", RETURN),
        ("f2 c3", RETURN),
        ("c2 08 00", RETURN),
        ("cb", 0),
        ("48 cf", INTERRUPT_RETURN),
        ("0f 05", SYSCALL),
        ("0f 0b", 0),
        ("48 0f 07", 0),
        ("90", 0),
        ("66", 0),
        ("", 0),
    ],
)
def test_calls_returns_and_system_calls_are_told_by_their_bytes(code: ctypes.CDLL, text: str, ending: int) -> None:
    data = bytes.fromhex(text)
    assert code.ending_of(data, len(data)) == ending


@pytest.mark.parametrize(
    ("text", "eax"),
    [
        ("b8 27 00 00 00", 39),
        ("b8 ff 01 00 00", UNKNOWN),  # 511 is no number of Linux's
        ("b8 27 00 00 80", UNKNOWN),
        ("48 c7 c0 0f 00 00 00", 15),
        ("31 c0", 0),
        ("33 c0", 0),
        ("48 31 c0", 0),
        ("45 31 c0", -1),  # xor %r8d, %r8d
        ("41 b8 01 00 00 00", -1),  # mov $1, %r8d
        ("ba 03 00 00 00", -1),
        ("48 89 fe", -1),  # mov %rdi, %rsi
        ("89 d0", UNKNOWN),  # mov %edx, %eax
        ("44 89 c0", UNKNOWN),
        ("48 8b 05 01 02 03 04", UNKNOWN),  # mov memory, %rax
        ("48 89 05 01 02 03 04", -1),  # mov %rax, memory
        ("8b 7e 10", -1),
        ("58", UNKNOWN),
        ("41 58", -1),
        ("48 85 c0", -1),  # test
        ("83 c0 01", UNKNOWN),  # add $1, %eax
        ("83 ec 08", -1),
        ("f7 d8", UNKNOWN),  # neg %eax
        ("0f b6 c1", UNKNOWN),  # movzbl %cl, %eax
        ("0f b6 c9", -1),
        ("48 0f 46 f0", -1),  # cmovbe %rax, %rsi
        ("f3 0f 1e fa", -1),  # endbr64
        ("0f a2", UNKNOWN),  # cpuid
    ],
)
def test_what_an_instruction_does_to_eax_is_known_or_taken_for_anything(code: ctypes.CDLL, text: str, eax: int) -> None:
    data = bytes.fromhex(text)
    assert code.eax_after(data, len(data)) == eax


@pytest.mark.parametrize(
    ("text", "target"), [("e9 fe ff ff ff", -2), ("eb 80", -128), ("e9 00 01 00 00", 256), ("e8 00 01 00 00", None)]
)
def test_direct_jumps_say_where_they_lead(code: ctypes.CDLL, text: str, target: int | None) -> None:
    data, far = bytes.fromhex(text), ctypes.c_int64()
    assert code.jumps(data, len(data), ctypes.byref(far)) == (target is not None)
    assert target is None or far.value == target


@given(st.binary(max_size=15))
def test_any_bytes_are_decoded_within_their_bounds(code: ctypes.CDLL, data: bytes) -> None:
    assert -1 <= code.eax_after(data, len(data)) <= UNKNOWN
    assert 0 <= code.ending_of(data, len(data)) <= INTERRUPT_RETURN


# ---- system calls ----


def calls(flow: Flow, window: int) -> dict[int, tuple[int, int]]:
    seen = {number: tuple(map(int, flow.calls[window, number])) for number in range(NUMBERS)}
    return {number: (times, spent) for number, (times, spent) in seen.items() if times or spent}


def test_a_system_call_has_what_is_executed_until_the_program_goes_on(machine: Path, tmp_path: Path) -> None:
    # 3 of the program, 10 of the kernel, a block of 4 that the program goes on with; a call that does not come back
    events = [("x", 3), ("s", 100, 39), ("x", 10), ("x", 4), ("b", 4), ("x", 5), ("s", 100, 39), ("x", 20), ("x", 2)]
    events += [("s", 200, 60), ("x", 7), ("w", 300, 2, 1), ("x", 8), ("s", 300, 9999), ("x", 1)]
    flow = flow_of(machine, tmp_path, [*events, ("b", 0)], stacks=False)
    assert not flow.followed and flow.total == 60
    assert calls(flow, 0) == {39: (2, 32), 60: (1, 5)}
    assert calls(flow, 1) == {60: (0, 10), UNKNOWN: (1, 1)}


def test_calls_have_names_and_windows_that_are_one_with_the_last_are_added_up(machine: Path, tmp_path: Path) -> None:
    events = [("s", 1, 0), ("x", 4), ("b", 0)]
    flow = flow_of(machine, tmp_path, [*events, ("w", 9, 0, 1), *events, ("w", 9, 0, 2), *events, ("s", 1, 600)])
    known = calls_of(flow, ("", "main → exit"), {0: "read"})
    assert known == {"start": {"read": CallSum(1, 4)}, "main → exit": {"read": CallSum(2, 8), NO_NUMBER: CallSum(1, 0)}}
    assert calls_of(flow, ("",), {})["start"]["number 0"] == CallSum(3, 12)


# ---- files ----


def test_what_is_kept_of_a_flow_is_what_the_plugin_wrote(machine: Path, tmp_path: Path) -> None:
    events = [("x", 3), ("c", 16, 8000), ("x", 2), ("w", 17, 1, 1), ("x", 1), ("r", 18, 8000), ("s", 19, 1), ("x", 6)]
    flow = flow_of(machine, tmp_path, events)
    write_flow(flow, tmp_path / "kept")
    again = read_flow(tmp_path / "kept")
    assert encoded(again) == encoded(flow) == (tmp_path / "kept").read_bytes()
    assert (again.total, again.cut, again.stacks, again.followed) == (flow.total, flow.cut, flow.stacks, True)
    for name in ("calls", "nodes", "leaves", "truncated"):
        assert np.array_equal(getattr(again, name), getattr(flow, name))


def small() -> bytearray:
    """A flow of two windows, four nodes and two leaves, as its bytes are."""
    head = struct.pack("<8s10I4Q", b"ukflow\0\0", 1, 4096, 2, NUMBERS, 4, 2, 2, 4, 2, 0, 100, 90, 0, 1).ljust(
        4096, b"\0"
    )
    tallies = bytearray(16 * 2 * NUMBERS)
    nodes = struct.pack("<QII", 0, 0, 0) * 2 + struct.pack("<QII", 7, 0, 0) + struct.pack("<QII", 8, 2, 1)
    leaves = struct.pack("<QQQII", 9, 60, 2, 3, 1) + struct.pack("<QQQII", 9, 30, 2, 0, 0)
    return bytearray(head + struct.pack("<2Q", 0, 0) + tallies + nodes + leaves)


NODES_AT = 4096 + 16 + 32 * NUMBERS
LEAVES_AT = NODES_AT + 64


@pytest.mark.parametrize(
    ("at", "what", "why"),
    [
        (0, b"x", "format"),
        (8, struct.pack("<I", 2), "format"),
        (32, struct.pack("<I", 3), "cannot be"),  # windows
        (36, struct.pack("<I", 5), "cannot be"),  # nodes
        (36, struct.pack("<I", 1), "sums cannot be"),
        (40, struct.pack("<I", 1 << 30), "cannot be"),  # leaves
        (16, struct.pack("<I", 1), "cannot be"),  # room for windows
        (24, struct.pack("<I", 5), "length"),  # room for nodes
        (48, struct.pack("<Q", 80), "sums cannot be"),  # total
        (56, struct.pack("<Q", 101), "sums cannot be"),  # settled
        (NODES_AT + 40, struct.pack("<I", 2), "comes before its caller"),
        (NODES_AT + 40, struct.pack("<I", 1), "comes before its caller"),
        (NODES_AT + 44, struct.pack("<I", 2), "windows that are not there"),
        (LEAVES_AT + 8, struct.pack("<Q", 100), "more instructions"),
        (LEAVES_AT + 8, b"\xff" * 8, "more instructions"),
        (LEAVES_AT + 24, struct.pack("<I", 4), "calls that are not there"),
        (LEAVES_AT + 28, struct.pack("<I", 2), "windows that are not there"),
        (4096 + 16, b"\xff" * 8, "more instructions"),
    ],
)
def test_a_flow_that_cannot_be_is_refused(tmp_path: Path, at: int, what: bytes, why: str) -> None:
    data = small()
    (tmp_path / "flow").write_bytes(data)
    assert read_flow(tmp_path / "flow").total == 100
    data[at : at + len(what)] = what
    (tmp_path / "flow").write_bytes(data)
    with pytest.raises(ValueError, match=why):
        read_flow(tmp_path / "flow")


@given(st.integers(0, LEAVES_AT + 64), st.binary(min_size=1, max_size=24), st.booleans())
@settings(max_examples=150, deadline=None)
def test_a_damaged_flow_is_refused_or_keeps_its_bounds(folder: Path, at: int, what: bytes, cut: bool) -> None:
    data = small()
    data[at : at + len(what)] = what
    path = folder / "damaged"
    path.write_bytes(data[:at] if cut else data)
    try:
        flow = read_flow(path)
    except ValueError:
        return
    assert (flow.nodes["parent"][2:] < np.arange(2, len(flow.nodes))).all()
    assert (flow.leaves["node"] < len(flow.nodes)).all() and (flow.leaves["window"] < len(flow.truncated)).all()
    assert int(flow.leaves["instructions"].sum()) <= flow.total


def test_a_flow_that_unpacks_without_end_or_is_cut_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "flow"
    for data, why in ((gzip.compress(bytes(80 << 20)), "too large"), (gzip.compress(small())[:-9], "cut short")):
        path.write_bytes(data)
        with pytest.raises(ValueError, match=why):
            read_flow(path)
    path.write_bytes(b"\x1f\x8bnothing")
    with pytest.raises(ValueError, match="damaged"):
        read_flow(path)
