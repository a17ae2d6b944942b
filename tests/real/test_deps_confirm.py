"""`ukperf deps --confirm`: what is forecast on this machine is what real guests then do."""

from __future__ import annotations

import json
import shutil

import pytest
from cprograms import compiled
from realrun import World

from ukperf import guests
from ukperf.guests.base import BuildOptions
from ukperf.imaging.kernelstore import KernelStore
from ukperf.paths import cache_dir

pytestmark = [
    pytest.mark.real,
    pytest.mark.timeout(900),
    pytest.mark.skipif(shutil.which("qemu-system-x86_64") is None, reason="QEMU is not installed"),
    pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed"),
    pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler"),
]
READS = """
#include <fcntl.h>
#include <stdio.h>
int main(void)
{
    if (open("/proc/meminfo", O_RDONLY) >= 0)
        return 0;
    fputs("no /proc/meminfo\\n", stderr);
    return 3;
}
"""


def test_a_forecast_comes_true_where_the_program_runs_and_where_it_does_not(uk: World) -> None:
    there = [name for name in ("linux", "unikraft") if guests.get(name).availability(BuildOptions()).ok]
    if "unikraft" not in there:
        pytest.skip("no unikraft kernel here: ukperf images pull unikraft")
    uk.path("data").joinpath("kernels").symlink_to(KernelStore().root)
    (tables := cache_dir() / "syscalls").mkdir(parents=True, exist_ok=True)  # under digests: probed once for all tests
    (uk.cache / "syscalls").symlink_to(tables)
    uk.patience_s = 800
    program = compiled(uk.path("reads"), READS)
    chosen = [word for name in there for word in ("-g", name)]
    asked = ("--confirm", "--json", *chosen, "--accel", "tcg", "--share-host")
    page = json.loads(uk.run("deps", *asked, "--", program))
    told = {forecast["guest"]: forecast for forecast in page["forecasts"]}
    assert set(told) == set(there)
    assert (told["linux"]["says"], told["linux"]["truth"]) == ("runs", "runs")
    assert (told["unikraft"]["says"], told["unikraft"]["truth"]) == ("does not run", "does not run")
    assert "/proc/meminfo" in told["unikraft"]["reason"] and told["unikraft"]["truth_reason"]
