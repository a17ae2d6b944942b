"""Guests have the files of /proc, /sys and /dev that their recipes say, and no others: forecasts go by that."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from cprograms import compiled

from ukperf import guests
from ukperf.deps.asking import has_file, special_files
from ukperf.guests.base import BuildOptions
from ukperf.hosts.libvirt_host import LibvirtHost
from ukperf.imaging.pack import pack
from ukperf.model import Accelerator, BootSpec, Machine, Outcome

pytestmark = [
    pytest.mark.real,
    pytest.mark.timeout(600),
    pytest.mark.skipif(shutil.which("qemu-system-x86_64") is None, reason="QEMU is not installed"),
    pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler"),
]
PATHS = """
/dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/tty /dev/console /dev/stdout /dev/fd /dev/shm /dev/ptmx
/dev/mem /dev/hwrng /proc/cpuinfo /proc/meminfo /proc/stat /proc/mounts /proc/filesystems /proc/version /proc/uptime
/proc/loadavg /proc/self/maps /proc/self/exe /proc/self/status /proc/self/stat /proc/self/statm /proc/self/fd
/proc/self/cgroup /proc/self/mountinfo /proc/self/task /proc/self/auxv /proc/self/environ /proc/self/cmdline
/proc/self/smaps /proc/self/limits /proc/sys/kernel/hostname /proc/sys/kernel/random/uuid
/proc/sys/vm/overcommit_memory /proc/sys/net/core/somaxconn /sys/devices/system/cpu/online
/sys/devices/system/cpu/possible /sys/devices/system/cpu/present /sys/devices/system/cpu/kernel_max
/sys/devices/system/node/online /sys/kernel/mm/transparent_hugepage/enabled /sys/fs/cgroup /sys/class/net
"""
LOOKED_FOR = PATHS.split()
PROGRAM = """
#include <fcntl.h>
#include <stdio.h>
static const char *const paths[] = { %s };
int main(void)
{
    for (unsigned i = 0; i < sizeof paths / sizeof *paths; i++)
        printf("%%s %%s\\n", open(paths[i], O_RDONLY | O_NONBLOCK) >= 0 ? "has" : "lacks", paths[i]);
    return 0;
}
"""


@pytest.mark.parametrize("guest", ["nanos", "unikraft"])
def test_a_guest_has_the_special_files_of_its_recipe(guest: str, host: LibvirtHost, tmp_path: Path) -> None:
    options = BuildOptions(accelerator=Accelerator.TCG)
    there = guests.get(guest).availability(options)
    if not there.ok:
        pytest.skip(f"no {guest} here: {there.sentence}")
    code = PROGRAM % ", ".join(f'"{path}"' for path in LOOKED_FOR)
    program = pack([str(compiled(tmp_path / "look", code))]).program
    image = guests.get(guest).build(program, options)
    spec = BootSpec(image, Machine(), Accelerator.TCG, timeout_s=120, name=f"t-special-{guest}", keep_output=8192)
    seen = host.boot(spec)
    assert seen.outcome is Outcome.OK and seen.output is not None, seen.reason
    said = [line.split() for line in seen.output.head.decode().splitlines()]
    assert {path for word, path in said if word in ("has", "lacks")} == set(LOOKED_FOR)
    special = special_files(guest)
    assert {path for word, path in said if word == "has"} == {path for path in LOOKED_FOR if has_file(special, path)}
