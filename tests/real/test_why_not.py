"""Why a guest cannot run a program: each cause is brought about in the real kernels, and is named."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from cprograms import compiled
from realrun import World, journal

from ukperf import guests
from ukperf.guests.base import BuildOptions
from ukperf.hosts.libvirt_host import LibvirtHost
from ukperf.imaging.kernelstore import KernelStore
from ukperf.imaging.pack import pack
from ukperf.model import Accelerator, BootSpec, Cause, Machine, Observation, Outcome
from ukperf.paths import cache_dir

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


def run(uk: World, *words: str, names: Sequence[str] = ("linux", "nanos", "unikraft"), status: int) -> Any:
    """What `ukperf run` printed as JSON, in those of the guests that are here; skips without unikraft, and strace."""
    here = [name for name in names if guests.get(name).availability(BuildOptions()).ok]
    if "unikraft" not in here or shutil.which("strace") is None:
        pytest.skip("no unikraft or no strace here")
    (tables := cache_dir() / "syscalls").mkdir(parents=True, exist_ok=True)  # under digests: probed once for all tests
    for link, target in ((uk.path("data") / "kernels", KernelStore().root), (uk.cache / "syscalls", tables)):
        if not link.is_symlink():
            link.symlink_to(target)
    chosen = [word for name in here for word in ("-g", name)]
    uk.patience_s = 500
    asked = ("--accel", "tcg", "--boots", "1", "--no-retry", "--baseline", here[0], *chosen, "--json")
    return json.loads(uk._ended(("run", *asked, *words), status)[0])


def run_until_it_waits(uk: World, seconds: Sequence[int], *words: str, **options: Any) -> Any:
    """The same with one time-out after the other, until unikraft alone failed and is said to wait. It waits in a loop:
    each second of a time-out costs one of a CPU's, and on a busy machine too few of them show nothing yet."""
    for number in seconds[:-1]:
        with suppress(AssertionError):  # it ended otherwise, for a guest that was too slow
            page = run(uk, "--timeout", str(number), *words, **options)
            failed = [name for name, ways in page["failures"].items() if ways]
            if failed == ["unikraft"] and whys(page).get("unikraft", {}).get("cause") == "wait":
                return page
    return run(uk, "--timeout", str(seconds[-1]), *words, **options)


def whys(page: Any) -> dict[str, dict[str, Any]]:
    return {guest["guest"]: guest["whys"][0] for guest in page["guests"] if guest["whys"]}


OPENSSL = ("openssl", "speed", "-seconds", "1", "-bytes", "64", "sha256")
RATE = "sha256=^sha256 .* ([0-9.]+)k$:kB/s:higher"


def test_the_alarm_that_openssl_waits_for_in_unikraft_is_named_everywhere(uk: World) -> None:
    words = ("--output", "may-differ", "--metric", RATE, "--", *OPENSSL)
    page = run_until_it_waits(uk, (10, 40, 150), *words, status=0)
    outcomes = {r["trial"]["guest"]: r["outcome"] for r in journal(Path(page["run"]))}
    assert outcomes.pop("unikraft") == "hung" and set(outcomes.values()) == {"ok"}
    why = whys(page)["unikraft"]
    assert (why["cause"], why["sure"]) == ("wait", True)
    assert why["sentence"] == "it waits for SIGALRM, which never comes: unikraft's alarm does nothing"
    told = uk.run("report", page["run"])
    assert "why: it waits for SIGALRM" in " ".join(told.split())
    html = Path(uk.run("report", page["run"], "--html").strip()).read_text()
    assert html.count("waits for SIGALRM") > 1 and "does not end on this machine either" in html
    again = uk.start("resume", page["run"])  # nothing is booted, traced or probed again
    out, err = again.communicate(timeout=60)
    assert again.returncode == 0 and "looking for why" not in err and "waits for SIGALRM" in " ".join(out.split())


FORKS = """
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>
int main(void) {
    pid_t child = fork();
    if (child < 0) return 3;
    if (!child) _exit(0);
    return wait(0) == child ? 0 : 4;
}"""


def test_a_program_that_forks_is_told_that_unikernels_have_none(uk: World) -> None:
    program = compiled(uk.path("forks"), FORKS)
    page = run(uk, "--", str(program), status=2)
    found = whys(page)
    assert "linux" not in found and {why["cause"] for why in found.values()} == {"fork"}
    assert all(why["sure"] and why["sentence"].endswith("has no fork") for why in found.values())


EXECUTES = '#include <unistd.h>\nint main(void) { execl("/bin/true", "true", (char *)0); return 5; }'


def test_a_program_that_executes_another_is_told_that_nanos_runs_one(uk: World) -> None:
    program = compiled(uk.path("executes"), EXECUTES)
    page = run(uk, "--", str(program), names=("nanos", "unikraft"), status=2)
    assert whys(page)["nanos"]["sentence"] == "it executes another program, and nanos runs one alone"


def test_one_is_not_looked_for_where_that_is_not_wanted(uk: World) -> None:
    program = compiled(uk.path("forks"), FORKS)
    page = run(uk, "--no-why", "--", str(program), names=("linux", "unikraft"), status=2)
    assert not whys(page) and not (Path(page["run"]) / "whynot.json").exists()


def test_the_memory_with_which_it_runs_is_told(uk: World) -> None:
    """Unikraft unpacks the program's files in its memory."""
    program = compiled(uk.path("eats"), EATS.replace("256", "8"))
    page = run(uk, "--variant", "small=unikraft,memory=40", "--", str(program), names=("unikraft",), status=2)
    why = whys(page)["small"]
    assert (why["cause"], why["sure"]) == ("memory", True)
    assert re.fullmatch(r"it has too little memory: 40 MiB; with (80|160) MiB it runs", why["sentence"])


def test_nanos_with_too_little_memory_is_told_how_much_would_do(uk: World) -> None:
    """It says nothing but `frame trace:`, which alone is a guess."""
    program = compiled(uk.path("eats"), EATS.replace("256", "8"))
    page = run(uk, "--variant", "small=nanos,memory=20", "--", str(program), names=("unikraft",), status=2)
    why = whys(page)["small"]
    assert (why["cause"], why["sure"]) == ("memory", True)
    assert re.fullmatch(r"it has too little memory: 20 MiB; with (80|160) MiB it runs", why["sentence"])


def test_a_variants_own_program_is_looked_at_for_it(uk: World) -> None:
    """The run's own program is another, and runs."""
    forks, fine = compiled(uk.path("forks"), FORKS), compiled(uk.path("fine"), "int main(void) { return 0; }")
    words = ("--variant", f"forks=unikraft,program={forks}", "--", str(fine))
    (guest, why), *others = whys(run(uk, *words, names=("unikraft",), status=2)).items()
    assert (guest, why["sure"], others) == ("forks", True, [])
    assert why["sentence"].startswith("it starts another process, and ") and why["sentence"].endswith("has no fork")


SUBPROCESS = 'import subprocess\nprint(subprocess.run(["/bin/true"]).returncode)\n'
ALARM = """
import signal
came = []
signal.signal(signal.SIGALRM, lambda *_: came.append(1))
signal.alarm(1)
while not came:
    signal.pause()
"""
EVENT = """
import os, pyperf
pyperf.Runner().bench_func("event", lambda: os.close(os.eventfd(0)))
"""


def test_a_python_script_that_starts_a_process_is_told_that_unikernels_have_no_fork(uk: World) -> None:
    uk.path("s.py").write_text(SUBPROCESS)
    page = run(uk, "--timeout", "120", "--python", "--", str(uk.path("s.py")), names=("unikraft", "nanos"), status=2)
    found = whys(page)
    assert "unikraft" in found and {(why["cause"], why["sure"]) for why in found.values()} == {("fork", True)}


def test_the_alarm_that_a_python_script_waits_for_is_named(uk: World) -> None:
    uk.path("s.py").write_text(ALARM)
    words = ("--python", "--", str(uk.path("s.py")))
    page = run_until_it_waits(uk, (15, 120), *words, names=("unikraft",), status=2)
    why = whys(page)["unikraft"]
    assert (why["cause"], why["sure"]) == ("wait", True)
    assert why["sentence"] == "it waits for SIGALRM, which never comes: unikraft's alarm does nothing"


def test_a_call_that_a_pyperf_script_makes_and_one_guest_lacks_is_named(uk: World) -> None:
    uk.path("s.py").write_text(EVENT)
    words = ("--timeout", "120", "--python", "--", str(uk.path("s.py")))
    page = run(uk, *words, names=("nanos", "unikraft"), status=2)
    found = whys(page)
    assert list(found) == ["unikraft"] and found["unikraft"]["sure"]
    assert found["unikraft"]["sentence"] == "it calls eventfd2: unikraft's eventfd2 is missing"
