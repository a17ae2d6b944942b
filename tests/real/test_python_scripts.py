"""Python scripts of anybody's, the same tree in every guest: a plain one with NumPy, and one that uses pyperf."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from ukperf import guests
from ukperf.guests.base import BuildOptions
from ukperf.hosts.libvirt_host import LibvirtHost
from ukperf.imaging.pack import FileToPack, Packed
from ukperf.imaging.packpython import PyperfWorker, pack_python
from ukperf.model import Accelerator, BootSpec, Machine, Observation, Outcome, Repetitions, Unit

pytestmark = [
    pytest.mark.real,
    pytest.mark.timeout(900),
    pytest.mark.skipif(shutil.which("qemu-system-x86_64") is None, reason="QEMU is not installed"),
    pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler"),
]
GUESTS = ("linux", "linux-lean", "nanos", "unikraft")
MEMORY_MIB = 512
PLAIN = """
import sys, os, helper
import numpy as np
a = np.arange(1000.0)
print(helper.NAME, sys.argv[1:], os.getcwd(), sys.stdin.read(), int(a @ a))
exit(3)
"""
BENCH = """
import pyperf
runner = pyperf.Runner()
runner.argparser.add_argument("--size", type=int, default=10)
size = runner.parse_args().size
runner.bench_func("sum", sum, list(range(size)))
runner.timeit("sort", "sorted(s)", setup="s = [3, 2, 1]")
"""
LOOPS = {"sum": Repetitions(64, 3, 1), "sort": Repetitions(256, 2, 0)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both scripts, with all that they read."""
    made = tmp_path_factory.mktemp("scripts")
    for name, text in {"plain.py": PLAIN, "bench.py": BENCH, "helper.py": "NAME = 'helper'", "in": "input"}.items():
        (made / name).write_text(text)
    return made


def boot(guest: str, packed: Packed, host: LibvirtHost) -> Observation:
    """One boot under icount; skips where there is no such guest here."""
    options = BuildOptions(accelerator=Accelerator.ICOUNT)
    there = guests.get(guest).availability(options)
    if not there.ok:
        pytest.skip(f"no {guest} here: {there.sentence}")
    image = guests.get(guest).build(packed.program, options)
    machine = Machine(memory_mib=MEMORY_MIB)
    return host.boot(BootSpec(image, machine, Accelerator.ICOUNT, timeout_s=300, name=f"t-python-{guest}"))


@pytest.mark.parametrize("guest", GUESTS)
def test_a_plain_script_runs_with_its_packages_and_is_timed_from_the_interpreters_start(
    guest: str, folder: Path, host: LibvirtHost
) -> None:
    packed = pack_python(
        Path("plain.py"),
        ["two words"],
        packages=["numpy", "pyperf"],  # the other test's tree too
        files=[FileToPack(Path("helper.py"))],
        cwd="/some/where",
        stdin=Path("in"),
        base=folder,
    )
    seen = boot(guest, packed, host)
    assert "helper ['two words'] /some/where input 332833500" in seen.console_tail.splitlines()
    assert (seen.outcome, seen.exit_status) == (Outcome.FAILED, 3), f"{seen.reason}\n{seen.console_tail}"
    (end,) = (frame.fields for frame in seen.frames if frame.event == "exit")
    assert int(str(end["tsc"])) - int(str(end["began_tsc"])) > 10_000_000  # instructions: the interpreter's start


@pytest.mark.parametrize("guest", GUESTS)
def test_a_pyperf_scripts_benchmarks_are_counted_exactly(guest: str, folder: Path, host: LibvirtHost) -> None:
    worker = PyperfWorker(LOOPS, instructions=True)
    packed = pack_python(Path("bench.py"), ["--size", "100"], packages=["numpy", "pyperf"], worker=worker, base=folder)
    seen = boot(guest, packed, host)
    assert seen.outcome is Outcome.OK, f"{seen.reason}\n{seen.report.error}\n{seen.console_tail}"
    assert [frame.event for frame in seen.frames if frame.event in ("main", "exit")] == ["main", "exit"]
    samples = {sample.benchmark: sample for sample in seen.report.samples}
    assert samples.keys() == LOOPS.keys()
    for name, asked in LOOPS.items():
        sample = samples[name]
        assert (sample.unit, sample.loops) == (Unit.INSTRUCTIONS, asked.loops)
        assert (len(sample.values), len(sample.warmups)) == (asked.values, asked.warmups)
        assert all((value * sample.loops).is_integer() for value in sample.values)
        assert 100 < min(sample.values) <= max(sample.values) < 20_000  # of one call
