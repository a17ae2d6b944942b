"""Profiles of runs that did not go well: boots that failed, and the one that went on when ukperf was killed."""

from __future__ import annotations

from pathlib import Path

import pytest
from countsfile import Block, plugin_file
from records import failed
from test_cli import Shell
from test_profile_keeping import counted, shell

from ukperf.engine import counting
from ukperf.engine.journal import JOURNAL, Journal, read_journal
from ukperf.model import COUNTS, BootRecord, counts_file
from ukperf.workloads.profiling import NOW

__all__ = ["shell"]


def with_boots(folder: Path, *boots: BootRecord) -> Path:
    """The run with these in its journal instead."""
    (folder / JOURNAL).unlink()
    with Journal(folder / JOURNAL) as journal:
        for boot in boots:
            journal.append(boot)
    return folder


def test_a_guest_without_a_good_boot_shows_where_it_was_when_it_failed(tmp_path: Path, shell: Shell) -> None:
    folder = counted(tmp_path / "one")
    with_boots(folder, *map(failed, read_journal(folder / JOURNAL).records))
    status, out, _ = shell("profile", str(folder))
    assert status == 0 and "start_kernel" in out and "No boot of it was good" in out


def test_failed_boots_of_a_guest_that_has_good_ones_are_in_no_figure(tmp_path: Path, shell: Shell) -> None:
    folder = counted(tmp_path / "one")
    first, second = read_journal(folder / JOURNAL).records
    with_boots(folder, failed(first), second)
    counts_file(folder, first.trial.index).write_bytes(b"never read")
    status, out, _ = shell("profile", str(folder))
    assert status == 0 and "start_kernel" in out and "No boot of it" not in out


@pytest.mark.parametrize("command", ["profile", "report"])
def test_what_a_killed_ukperf_counted_is_told_and_is_in_no_figure(
    tmp_path: Path, shell: Shell, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = counted(tmp_path / "one")
    _, before, _ = shell(command, str(folder))
    monkeypatch.setattr(counting, "counting_plugin", lambda _cache: Path("/plugin.so"))
    going_on = counting.counting_in(folder).file
    assert going_on == folder / COUNTS / NOW
    for content, words in (
        (plugin_file([Block(16, 2, b"\x90", (500,))], 1, rest=(0,)), "1.000 k instr of it counted"),
        (b"half a head", "something of it counted"),
    ):
        going_on.write_bytes(content)
        status, out, _ = shell(command, str(folder))
        told = " ".join(out.split())
        assert status == 0 and words in told and "ukperf resume" in told
        figures = [line for line in before.splitlines() if "start_kernel" in line]
        assert figures and [line for line in out.splitlines() if "start_kernel" in line] == figures
