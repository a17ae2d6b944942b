"""What real boots executed has names: of kernels that move themselves, of Linux by what it lists in a guest."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_profile_counts import counted

from ukperf import guests
from ukperf.engine.campaign import EngineBench
from ukperf.guests.base import BuildOptions
from ukperf.hosts.counting import firmware_files
from ukperf.hosts.libvirt_host import LibvirtHost
from ukperf.imaging.cache import Cache
from ukperf.imaging.programs import boot_program
from ukperf.model import Accelerator, Request
from ukperf.profile.model import CodePart, Profile, coverage
from ukperf.profile.named import name_counts
from ukperf.profile.sources import sources_of
from ukperf.workloads.kernelsymbols import kernel_symbols

pytestmark = pytest.mark.real
KERNEL = (CodePart.KERNEL, CodePart.MODULE)


def named(host: LibvirtHost, folder: Path, guest: str, kallsyms: str = "") -> Profile:
    there = guests.get(guest)
    ready = there.availability(BuildOptions())
    if not ready.ok:
        pytest.skip(ready.sentence)
    program = boot_program()
    code = there.code(there.build(program, BuildOptions(accelerator=Accelerator.ICOUNT)))
    sources = sources_of(
        kernel=code.kernel,
        kallsyms=kallsyms,
        program=program,
        extra_files=code.programs,
        loaders=code.loaders,
        firmware=firmware_files(),
    )
    _, counts = counted(host, folder, guest)
    seen = name_counts(counts, sources)
    assert seen.instructions() == int(counts.total.sum())
    return seen


def test_nanos_moves_itself_and_all_of_its_kernel_is_named(host: LibvirtHost, tmp_path: Path) -> None:
    seen = named(host, tmp_path, "nanos")
    kernel, program = coverage(seen, "", KERNEL), coverage(seen, "", (CodePart.PROGRAM,))
    assert kernel.share >= 0.99 and kernel.total > 1e7
    assert program.share >= 0.99 and program.total > 1e4
    whole = coverage(seen)
    assert whole.unknown < 0.001 * whole.total
    assert any(f.name == "main" for f in seen.of() if f.part is CodePart.PROGRAM)


def test_unikrafts_kernel_is_placed_though_nothing_names_it(host: LibvirtHost, tmp_path: Path) -> None:
    seen = named(host, tmp_path, "unikraft")
    whole = coverage(seen)
    assert whole.unknown < 0.001 * whole.total
    assert sum(n for f, n in seen.of().items() if f.part is CodePart.KERNEL) > 0.5 * whole.total


def test_linux_lists_its_symbols_once_and_its_boot_is_named_by_them(
    host: LibvirtHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    guest = "linux-lean"
    there = guests.get(guest)
    if not there.availability(BuildOptions()).ok:
        pytest.skip("no linux-lean kernel here")
    said: list[str] = []
    bench = EngineBench(said.append, None, True)
    request = Request(program=boot_program(), guests=(guest,), share_host=True, accelerator=Accelerator.ICOUNT)
    image = there.build(boot_program(), BuildOptions(accelerator=Accelerator.ICOUNT))
    cache = Cache(tmp_path / "cache")
    text = kernel_symbols(guest, image, request, bench, tree=False, cache=cache)
    assert kernel_symbols(guest, image, request, bench, tree=False, cache=cache) == text
    assert len([line for line in said if "Reading the symbols" in line]) == 1
    seen = named(host, tmp_path, guest, text)
    kernel, whole = coverage(seen, "", KERNEL), coverage(seen)
    assert kernel.share >= 0.99 and kernel.total > 5e7
    assert whole.unknown < 0.01 * whole.total
    names = {f.name for f in seen.of()}
    assert {"start_kernel", "kernel_init", "__x64_sys_write"} <= names
