"""What kernels say of their own progress: initcalls, probes, stamped lines; damaged lines do no harm."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from records import run_of, save_run

from ukperf.engine.plan import load
from ukperf.engine.profiles import Profiles, calls_page
from ukperf.errors import UkperfError
from ukperf.profile.consolemarks import CallKind, by_name, call_changes, calls_or_lines, initcalls, marks
from ukperf.profile.initcallpage import KernelCalls
from ukperf.workloads.initcalls import told

CONSOLE = """\
[    0.104235] calling  acpi_init+0x0/0x3b0 @ 1
[    0.104300] ACPI: Interpreter enabled
[    0.105735] initcall acpi_init+0x0/0x3b0 returned 0 after 1500 usecs
[    0.105800] calling  virtio_pci_driver_init+0x0/0x1000 [virtio_pci] @ 1
[    0.105900] probe of 0000:00:01.0 returned 0 after 80 usecs
[    0.105950] initcall virtio_pci_driver_init+0x0/0x1000 [virtio_pci] returned -19 after 150 usecs
[    0.106000] initcall damaged
[    0.106100] initcall late_init+0x0/0x10 returned 0 after 7 usecs
"""
UNIKRAFT = """\
[    0.000000] Info: [libkvmplat] <memory.c @ 12> Memory 0x100000
Powered by
[    0.002500] Info: [libukboot] <boot.c @  402> Unikraft constructor table at 0x15a000 - 0x15a008
[    0.004000] Info: done
[    0.001000] a clock that was set back
"""


def test_initcalls_and_probes_are_read_with_their_results() -> None:
    acpi, probe, virtio, late = initcalls(CONSOLE)
    assert (acpi.name, acpi.took_us, acpi.begin_us, acpi.result) == ("acpi_init", 1500, 104235, 0)
    assert (probe.kind, probe.name, probe.took_us) == (CallKind.PROBE, "0000:00:01.0", 80)
    assert (virtio.name, virtio.result, virtio.took_us) == ("virtio_pci_driver_init", -19, 150)
    assert (late.begin_us, late.took_us) == (None, 7)
    assert initcalls(CONSOLE.replace("\n", "\r\n")) == (acpi, probe, virtio, late)


def test_stamped_lines_last_until_the_next_and_numbers_in_them_are_left_out() -> None:
    seen = marks(UNIKRAFT)
    assert [(mark.at_us, mark.took_us) for mark in seen] == [(0, 2500), (2500, 1500), (4000, 0)]
    boots = [calls_or_lines(UNIKRAFT), calls_or_lines(UNIKRAFT.replace("0x100000", "0x200000"))]
    assert next(iter(by_name(boots).items())) == ("Info: [libkvmplat] <memory.c @ #> Memory #", [2500, 2500])
    assert calls_or_lines(CONSOLE) == initcalls(CONSOLE)


@given(st.text(max_size=400), st.integers(0, len(CONSOLE)))
def test_no_console_makes_it_fail(noise: str, at: int) -> None:
    for text in (noise, CONSOLE[:at] + noise + CONSOLE[at:]):
        for call in initcalls(text):
            assert call.took_us >= 0 and len(call.name) <= 120
        assert all(mark.took_us >= 0 for mark in marks(text))


def test_calls_of_two_kernels_are_compared_by_name() -> None:
    old = by_name([initcalls(CONSOLE)] * 6)
    new = by_name([initcalls(CONSOLE.replace("0.105735", "0.106235").replace("1500 usecs", "2000 usecs"))] * 6)
    first, *rest = call_changes(new, old)
    assert (first.name, first.addend.difference, first.addend.low) == ("acpi_init", 500, 500)
    assert all(change.addend.difference == 0 for change in rest)
    assert call_changes({}, old) == []


def test_what_a_runs_consoles_tell_is_read_and_what_is_gone_is_nothing(tmp_path: Path) -> None:
    records = run_of({"linux": 1.0, "nanos": 0.5}, 6)
    folder = save_run(tmp_path / "run", records)
    (folder / "console").mkdir(exist_ok=True)
    for record in records:
        if record.trial.guest == "linux":
            (folder / "console" / f"{record.trial.index:05d}-linux.log").write_text(CONSOLE)
    [side] = told(folder, load(folder), records)
    assert (side.label, [len(boot) for boot in side.boots]) == ("linux", [4] * 6)
    assert told(tmp_path, load(folder), records) == ()
    lost = [replace(r, trial=replace(r.trial, index=r.trial.index + 1000)) for r in records]
    assert told(folder, load(folder), lost) == ()


def test_marks_of_nothing_are_nothing() -> None:
    assert marks("") == () and initcalls("") == () and by_name([]) == {}
    with pytest.raises(ValueError, match="one side"):
        from ukperf.stats.addends import addend

        addend([], [1.0])


def kernels(*labels: str) -> Profiles:
    boots = (initcalls(CONSOLE),) * 6
    return Profiles(Path("/run"), "", 0.01, (), calls=tuple(KernelCalls(label, boots) for label in labels))


def test_initcalls_are_shown_alone_or_against_another_kernel() -> None:
    alone, both = calls_page(kernels("linux", "old"), None, 5), calls_page(kernels("linux", "old"), "old", 5)
    assert [side.label for side in alone.sides] == ["linux", "old"] and not alone.compare
    assert [side.label for side in both.sides] == ["old", "linux"] and both.compare
    with pytest.raises(UkperfError, match="tell no initcalls"):
        calls_page(kernels(), None, 5)
    with pytest.raises(UkperfError, match="no guest of the run, and no run"):
        calls_page(kernels("linux"), "lunix", 5)
