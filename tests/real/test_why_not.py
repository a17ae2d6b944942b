"""Why a guest cannot run a program: each cause is brought about in the real kernels, and is named."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest
from cprograms import compiled

from ukperf import guests
from ukperf.guests.base import BuildOptions
from ukperf.hosts.libvirt_host import LibvirtHost
from ukperf.imaging.pack import pack
from ukperf.model import Accelerator, BootSpec, Cause, Machine, Observation, Outcome

pytestmark = [
    pytest.mark.real,
    pytest.mark.timeout(600),
    pytest.mark.skipif(shutil.which("qemu-system-x86_64") is None, reason="QEMU is not installed"),
    pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler"),
]
TIMEOUT_S = 60.0
SEGV = '#include <stdio.h>\nint main(void) { puts("hello"); fflush(stdout); *(volatile int *)8 = 1; return 0; }'
ILLEGAL = "int main(void) { __builtin_trap(); }"
EATS = """
#include <stdlib.h>
#include <string.h>
int main(void) {
    for (int n = 0; n < 256; n++) {
        char *all = malloc(8 << 20);
        if (!all) return 1;
        memset(all, 1, 8 << 20);
    }
    return 0;
}"""


def boot(guest: str, code: str, host: LibvirtHost, folder: Path, memory_mib: int = 256) -> Observation:
    """One boot of a program under TCG; skips where there is no such guest here."""
    options = BuildOptions(accelerator=Accelerator.TCG)
    there = guests.get(guest).availability(options)
    if not there.ok:
        pytest.skip(f"no {guest} here: {there.sentence}")
    compiled(folder / "program", code)
    made = guests.get(guest)
    return host.boot(
        BootSpec(
            made.build(pack(["./program"], base=folder).program, options),
            Machine(memory_mib=memory_mib),
            Accelerator.TCG,
            timeout_s=TIMEOUT_S,
            console_limit=80 << 20,
            name=f"t-why-{guest}",
            last_words=made.recipe.last_words,
        )
    )


@pytest.mark.parametrize("guest", ["nanos", "unikraft"])
@pytest.mark.parametrize(
    ("code", "cause"), [(SEGV, Cause.FAULT), (ILLEGAL, Cause.FAULT), (EATS, Cause.MEMORY)], ids=["segv", "ill", "eats"]
)
def test_a_unikernel_says_what_its_program_died_of_and_is_ended_soon(
    guest: str, code: str, cause: Cause, host: LibvirtHost, tmp_path: Path
) -> None:
    """Unikraft's trace of the first has no end by itself."""
    before = time.monotonic()
    seen = boot(guest, code, host, tmp_path)
    assert (seen.outcome, seen.why and seen.why.cause) == (Outcome.CRASHED, cause), seen.console_tail
    assert seen.why is not None and seen.why.sure and seen.why.sentence in seen.reason
    assert time.monotonic() - before < TIMEOUT_S / 2


def test_linux_says_that_it_killed_the_program_for_its_memory(host: LibvirtHost, tmp_path: Path) -> None:
    seen = boot("linux", EATS, host, tmp_path, memory_mib=96)
    assert (seen.outcome, seen.why and seen.why.cause) == (Outcome.CRASHED, Cause.MEMORY), seen.console_tail
    assert seen.reason == "its program was killed by SIGKILL: the guest ran out of memory"


@pytest.mark.parametrize(("guest", "mib"), [("nanos", 12), ("unikraft", 6)])
def test_a_unikernel_whose_memory_ends_before_main_is_suspected_of_that(
    guest: str, mib: int, host: LibvirtHost, tmp_path: Path
) -> None:
    seen = boot(guest, EATS, host, tmp_path, memory_mib=mib)
    assert (seen.outcome, seen.why and seen.why.cause) == (Outcome.CRASHED, Cause.MEMORY), seen.console_tail
    assert seen.why is not None and not seen.why.sure
