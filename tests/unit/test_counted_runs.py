"""Runs whose boots are counted: what is kept of each, whatever became of it, before its record is in the journal."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from countsfile import Block, plugin_file
from test_runner import plan_of

from ukperf.engine import counting
from ukperf.engine.journal import JOURNAL, Journal, read_journal
from ukperf.engine.runner import Runner, Silent
from ukperf.errors import HostError
from ukperf.hosts.fake import FakeHost, bad_boot, good_boot
from ukperf.model import BootSpec, Observation, Outcome, counts_file
from ukperf.profile.counts import read_counts

GOOD = plugin_file([Block(16, 2, b"\x90", (5, 6, 7))], 3, rest=(0, 0, 0), marks=2)


def run_counted(folder: Path, monkeypatch: pytest.MonkeyPatch, files: list[bytes | None]) -> FakeHost:
    """A run of floor in which QEMU's plugin writes these files, boot by boot; None: it came to none, and the boot
    failed."""
    monkeypatch.setattr(counting, "counting_plugin", lambda _cache: Path("/plugin.so"))

    def boot(spec: BootSpec, number: int) -> Observation:
        assert spec.counting is not None and spec.counting.plugin == Path("/plugin.so")
        assert not spec.counting.file.exists()
        content = files[number]
        if content is None:
            return bad_boot(Outcome.LOST)
        spec.counting.file.write_bytes(content)
        return good_boot()

    host = FakeHost(boot)
    plan = replace(plan_of(("floor",), boots=len(files), retry=False), counted=True)
    with Journal(folder / JOURNAL) as journal:
        Runner(plan, folder, {"fake": host}, lambda _: host, journal, lambda _: False, Silent()).run()
    return host


def test_each_boot_s_counts_are_kept_with_names_and_a_boot_that_counted_nothing_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_counted(tmp_path, monkeypatch, [GOOD, None, GOOD])
    kept = [read_counts(counts_file(tmp_path, number)) for number in (0, 2)]
    assert not counts_file(tmp_path, 1).exists()
    assert [one.windows for one in kept] == [("", "main → exit", "exit →")] * 2
    assert kept[0].ticks[1] > 0 and kept[0].executed.tolist() == [[5], [6], [7]]
    assert sorted(path.name for path in (tmp_path / "counts").iterdir()) == ["00000.gz", "00002.gz"]


def test_counts_that_our_plugin_did_not_write_end_the_run_and_nothing_of_them_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(HostError, match="not what our plugin writes"):
        run_counted(tmp_path, monkeypatch, [GOOD, b"rubbish" * 1000])
    assert [path.name for path in (tmp_path / "counts").iterdir()] == ["00000.gz"]
    assert len(read_journal(tmp_path / JOURNAL).records) == 1
