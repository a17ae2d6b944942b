"""The counts of a boot: what the plugin writes is read, kept and read again; what it does not write is refused."""

from __future__ import annotations

import gzip
import os
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from countsfile import Block, plugin_file
from hypothesis import given, settings
from hypothesis import strategies as st

from ukperf.engine.counting import window_names
from ukperf.model import Frame
from ukperf.profile import counts as counts_module
from ukperf.profile.counts import Counts, encoded, read_counts, write_counts


@st.composite
def counted(draw: st.DrawFn) -> tuple[list[Block], int, tuple[int, ...]]:
    windows = draw(st.integers(1, 24))
    times = st.tuples(*[st.integers(0, 1 << 40)] * windows)
    block = st.builds(
        Block, st.integers(0, (1 << 64) - 1), st.integers(1, 512), st.binary(min_size=1, max_size=40), times
    )
    return draw(st.lists(block, max_size=15)), windows, draw(times)


def read(data: bytes, tmp_path: Path) -> Counts:
    path = tmp_path / "counts"
    path.write_bytes(data)
    return read_counts(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("counts")


@given(counted())
@settings(max_examples=100, deadline=None)
def test_what_the_plugin_counted_is_read_window_by_window(
    folder: Path, given: tuple[list[Block], int, tuple[int, ...]]
) -> None:
    blocks, windows, rest = given
    counts = read(plugin_file(blocks, windows, rest=rest), folder)
    assert counts.address.tolist() == [block.address for block in blocks]
    assert [bytes(code) for code in counts.code] == [block.code[:16].ljust(16, b"\0") for block in blocks]
    assert counts.executed.T.tolist() == [list(block.begun) for block in blocks]
    assert counts.rest.tolist() == list(rest)
    assert counts.lost == 3
    for w in range(windows):
        assert int(counts.total[w]) == rest[w] + sum(block.instructions * block.begun[w] for block in blocks)


@given(counted(), st.randoms())
@settings(max_examples=60, deadline=None)
def test_what_is_kept_is_what_was_read_and_does_not_depend_on_the_order_of_translation(
    folder: Path, given: tuple[list[Block], int, tuple[int, ...]], random: np.random.RandomState
) -> None:
    blocks, windows, rest = given
    counts = read(plugin_file(blocks, windows, rest=rest), folder)
    random.shuffle(blocks)
    other = read(plugin_file(blocks, windows, rest=rest), folder)
    assert encoded(counts) == encoded(other)
    again = read(encoded(counts), folder)
    order = np.argsort(again.address, kind="stable")
    assert again.total.tolist() == counts.total.tolist()
    assert again.rest.tolist() == counts.rest.tolist()
    assert sorted(map(str, counts.executed.T.tolist())) == sorted(map(str, again.executed.T.tolist()))
    assert (np.diff(again.address[order].astype(object)) >= 0).all() if len(order) > 1 else True
    assert encoded(again) == encoded(counts)


def test_names_and_ticks_of_windows_are_kept(tmp_path: Path) -> None:
    data = plugin_file([Block(16, 2, b"\x90", (1, 2, 3, 4))], 4, rest=(0, 0, 0, 0), marks=3)
    counts = read(data, tmp_path).named(["main → täst\x1b[31m", "main → täst\x1b[31m"], [100, 200])
    assert counts.windows[0] == "" and counts.windows[3] == "frame 3" and counts.windows[1] != counts.windows[2]
    assert "\x1b" not in "".join(counts.windows)
    write_counts(counts, tmp_path / "kept")
    again = read_counts(tmp_path / "kept")
    assert again.windows == counts.windows and again.ticks == (0, 100, 200, 0) and again.marks == 3


def test_the_last_window_says_that_it_has_all_that_followed(tmp_path: Path) -> None:
    counts = read(plugin_file([Block(16, 2, b"\x90", (1, 2))], 2, rest=(0, 0), marks=7), tmp_path)
    assert counts.named(["main → fit", "fit → test"]).windows == ("", "main → the end")


def test_a_qemu_that_was_killed_while_a_window_ended_loses_and_doubles_nothing(tmp_path: Path) -> None:
    data = bytearray(plugin_file([Block(16, 2, b"\x90", (5, 7)), Block(32, 3, b"\x91", (1, 1))], 2, rest=(0, 0)))
    log = 4096 + 16 * 40 + 24 * 8
    # An entry of the second window is there, and its end is not.
    struct.pack_into("<Q", data, log + 2 * 8, 7 << 19 | 1)
    counts = read(bytes(data), tmp_path)
    assert counts.executed.tolist() == [[5, 1], [7, 1]]


def alone(
    address: int, code: bytes, begun: tuple[int, ...], reads: tuple[int, ...], writes: tuple[int, ...]
) -> list[Block]:
    """A block of one instruction as the plugin writes it, its accesses behind it."""
    return [Block(address, 1, code, begun), Block(address, 0, code, reads), Block(address, 0, code, writes)]


def test_what_follows_an_access_to_a_device_is_counted_once(tmp_path: Path) -> None:
    """QEMU breaks the block off there, executes the instruction again alone, unseen, and goes on behind it."""
    whole, rest = Block(100, 4, b"123456789abc", (5, 1)), Block(106, 2, b"789abc", (7, 1))
    other = alone(300, b"xy", (9, 9), (18, 18), (0, 0))  # a block, whose accesses do not matter
    blocks = [whole, *alone(103, b"456", (0, 0), (5, 0), (5, 1)), rest, *other]
    counts = read(plugin_file(blocks, 2, rest=(0, 0)), tmp_path)
    assert dict(zip(counts.address.tolist(), counts.executed.T.tolist(), strict=True)) == {
        100: [5, 1],
        106: [2, 0],
        300: [9, 9],
    }
    assert counts.total.tolist() == [4 * 5 + 2 * 2 + 9, 4 + 9]


def test_more_is_never_taken_off_than_was_counted(tmp_path: Path) -> None:
    blocks = [*alone(103, b"456", (0,), (50,), (0,)), Block(106, 2, b"789abc", (7,)), Block(106, 3, b"789abcd", (4,))]
    counts = read(plugin_file(blocks, 1, rest=(0,)), tmp_path)
    assert len(counts.address) == 0 and counts.total.tolist() == [0]


@pytest.mark.parametrize("odd", [[1], [1, 2], [0, 1, 2], [1, 2, 5]])
def test_accesses_that_belong_to_no_block_of_one_instruction_are_refused(tmp_path: Path, odd: list[int]) -> None:
    blocks = [Block(100 + i, 0 if i in odd else 2, b"xx", (1,)) for i in range(6)]
    with pytest.raises(ValueError, match="without instructions"):
        read(plugin_file(blocks, 1, rest=(0,)), tmp_path)


def test_a_count_that_is_too_large_for_an_entry_takes_several(tmp_path: Path) -> None:
    times = ((1 << 46) + 3, 5)
    counts = read(plugin_file([Block(16, 2, b"\x90", (3, 5))], 2, rest=(0, 0)), tmp_path)
    large = replace(counts, executed=np.array([[times[0]], [times[1]]], np.uint64))
    assert read(encoded(large), tmp_path).executed.tolist() == [[times[0]], [times[1]]]


def test_windows_that_are_too_many_for_so_many_blocks_are_one_with_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counts_module, "CELLS", 6)
    counts = read(plugin_file([Block(16, 2, b"\x90", (1, 2, 3, 4, 5))], 5, rest=(0,) * 5, marks=4), tmp_path)
    assert counts.executed.tolist() == [[1], [2], [12]] and len(counts.windows) == 3 and counts.marks == 4


GOOD = plugin_file([Block(16, 2, b"\x90", (5, 7))], 2, rest=(1, 1))
ENDS = 4096 + 16 * 40


@pytest.mark.parametrize(
    ("at", "value", "why"),
    [
        (0, b"x", "format"),
        (8, b"\2", "format"),
        (16, b"\0", "cannot be"),  # room
        (28, b"\0\0\0\0", "cannot be"),
        (28, b"\xff\xff\xff\xff", "cannot be"),
        (32, b"\x40", "cannot be"),
        (44, b"\x40", "length"),
        (4096 + 32 + 12, b"\0\0", "without instructions"),
        (4096 + 16 * 32 + 8, b"\xff" * 8, "executes"),
        (ENDS, b"\xff" * 8, "follow"),
        (ENDS + 24 * 8, b"\x0f", "not there"),
        (ENDS + 24 * 8, b"\xf1" * 8, "not there"),
        (ENDS + 24 * 8 + 10, b"\xf8", "more than all"),
    ],
)
def test_what_the_plugin_does_not_write_is_refused(tmp_path: Path, at: int, value: bytes, why: str) -> None:
    data = GOOD[:at] + value + GOOD[at + len(value) :]
    with pytest.raises(ValueError, match=why):
        read(data, tmp_path)


@pytest.mark.parametrize(
    "said", ["{", "[]", '{"windows":["",""],"ticks":[]}', '{"windows":["","a"],"ticks":[-1]}', '{"windows":["",1]}']
)
def test_damaged_names_of_windows_are_refused(tmp_path: Path, said: str) -> None:
    text = said.encode()
    data = bytearray(GOOD + text)
    struct.pack_into("<I", data, 44, len(text))
    with pytest.raises(ValueError):
        read(bytes(data), tmp_path)


@given(st.binary(max_size=64), st.integers(0, len(GOOD) - 1), st.booleans())
@settings(max_examples=150, deadline=None)
def test_damaged_files_are_refused_or_read_and_nothing_else(folder: Path, junk: bytes, at: int, packed: bool) -> None:
    data = GOOD[:at] + junk + GOOD[at + len(junk) :]
    try:
        read(gzip.compress(data) if packed else data, folder)
    except ValueError:
        pass


def test_a_file_that_unpacks_to_very_much_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="too large"):
        read(gzip.compress(bytes(80 << 20), 1), tmp_path)
    with pytest.raises(ValueError, match="cut short"):
        read(gzip.compress(GOOD)[:-40], tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="pipe"):
        read_counts(tmp_path / "pipe")


# ---- windows ----


def frame(event: str, **fields: object) -> Frame:
    return Frame(event, {"tsc": 5, **fields}, 0)


def test_windows_are_called_by_the_frames_at_both_ends() -> None:
    frames = [frame("main"), frame("phase", name="fit"), frame("samples", benchmark="getppid"), frame("exit")]
    names, ticks = window_names(frames, 4)
    assert names == ["main → phase fit", "phase fit → getppid", "getppid → exit", "exit →"]
    assert ticks == [5, 5, 5, 5]


def test_windows_have_no_names_where_frames_were_lost() -> None:
    assert window_names([frame("main")], 2) == ([], [])
