"""Guests that are saved at their gate and restored: exact under icount, by both launches, refused in a sentence."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ukperf import guests
from ukperf.engine.setting import setting_of
from ukperf.errors import HostError, UkperfError
from ukperf.hosts import template
from ukperf.hosts.libvirt_host import LibvirtHost
from ukperf.imaging.programs import boot_program, own_program
from ukperf.model import Accelerator, BootSpec, Event, Launch, Machine, Observation, Outcome, Program

pytestmark = pytest.mark.real

GATED = """
#include "ukperf.h"
#include "gate.h"
int main(void)
{
    uk_main("gated");
    uk_gate();
    uk_phase("opened");
    volatile unsigned sum = 0;
    for (unsigned i = 0; i < 1000; i++)
        sum += i;
    uk_check("sum", sum == 499500 ? "499500" : "?");
    return uk_exit(0);
}
"""

# O_DIRECT: what is read comes from the disk, not from the guest's memory, where its kernel does that.
WRITER = """
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include "ukperf.h"
#include "gate.h"
static char out[4096] __attribute__((aligned(4096))) = "written before", in[4096] __attribute__((aligned(4096)));
int main(void)
{
    uk_main("writer");
    int file = open("/file", O_RDWR | O_CREAT, 0600);
    if (file < 0 || write(file, out, sizeof out) != sizeof out || fsync(file))
        uk_error("no file");
    uk_gate();
    close(file);
    file = open("/file", O_RDONLY | O_DIRECT);
    if (file < 0)
        file = open("/file", O_RDONLY);
    uk_check("read", read(file, in, sizeof in) == sizeof in && !memcmp(in, out, sizeof in) ? out : "another");
    return uk_exit(0);
}
"""


@pytest.fixture(scope="module")
def gated(tmp_path_factory: pytest.TempPathFactory) -> Program:
    source = tmp_path_factory.mktemp("gated") / "gated.c"
    source.write_text(GATED)
    return own_program("gated", source)


def spec_of(host: LibvirtHost, name: str, accelerator: Accelerator, program: Program, mib: int = 128) -> BootSpec:
    guest = guests.get(name)
    try:
        setting = setting_of(guest, host, accelerator, program, Machine(memory_mib=mib))
    except UkperfError as error:
        pytest.skip(str(error))
    return replace(setting.spec("0123456789abcdef", timeout_s=120), launch=Launch.DIRECT)


NANOS_SPREAD = 50_000  # instructions


def opened_to_exit(seen: Observation) -> int:
    """Guest instructions from the gate to the end."""
    ticks = {str(frame.fields.get("name", frame.event)): frame.fields["tsc"] for frame in seen.frames}
    opened, ended = ticks["opened"], ticks["exit"]
    assert isinstance(opened, int)
    assert isinstance(ended, int)
    return ended - opened


@pytest.mark.parametrize("name", ["linux", "nanos", "unikraft"])
def test_instructions_after_a_restore_repeat_exactly_by_both_launches(
    host: LibvirtHost, gated: Program, tmp_path: Path, name: str
) -> None:
    spec = spec_of(host, name, Accelerator.ICOUNT, gated)
    host.take_template(spec, tmp_path)
    assert template.load(tmp_path).gate is not None
    restored = replace(spec, template=tmp_path)
    before = template.identities(tmp_path)
    seen = [host.boot(replace(restored, launch=launch)) for launch in (Launch.DIRECT, Launch.LIBVIRT, Launch.DIRECT)]
    assert [one.outcome for one in seen] == [Outcome.OK] * 3, [one.reason for one in seen]
    took = [opened_to_exit(one) for one in seen]
    # On a busy machine nanos takes an interrupt more or less, as it does where it boots; the others never.
    assert max(took) - min(took) <= (NANOS_SPREAD if name == "nanos" else 0)
    assert all(one.report.checks == {"sum": "499500"} for one in seen)
    order = (Event.START, Event.CREATED, Event.LOADED, Event.RESUMED, Event.FIRST_BYTE, Event.EXIT)
    for one in seen:
        at = [one.events[event] for event in order]
        assert at == sorted(at)
        assert Event.MAIN not in one.events
    assert template.identities(tmp_path) == before, "what restored guests write is theirs alone"


def test_what_a_guest_wrote_to_its_disk_before_goes_into_the_template_and_its_image_stays_as_it_is(
    host: LibvirtHost, tmp_path: Path
) -> None:
    source = tmp_path / "writer.c"
    source.write_text(WRITER)
    spec = spec_of(host, "nanos", Accelerator.TCG, own_program("writer", source))
    assert spec.image.disk is not None
    before = template.file_digest(spec.image.disk)
    folder = tmp_path / "template"
    folder.mkdir()
    host.take_template(spec, folder)
    assert list(template.load(folder).disks) == ["root"]
    for launch in (Launch.DIRECT, Launch.LIBVIRT):
        seen = host.boot(replace(spec, template=folder, launch=launch))
        assert (seen.outcome, seen.report.checks) == (Outcome.OK, {"read": "written before"})
    host.check_template(folder)
    assert template.file_digest(spec.image.disk) == before
    (folder / "disk-root").write_bytes(b"else")
    with pytest.raises(HostError, match="what it wrote to its disk 'root' is not what was saved"):
        host.boot(replace(spec, template=folder))


def test_a_damaged_template_is_refused_before_anything_is_started(
    host: LibvirtHost, gated: Program, tmp_path: Path
) -> None:
    spec = spec_of(host, "linux", Accelerator.TCG, gated)
    host.take_template(spec, tmp_path)
    state = bytearray((tmp_path / template.STATE).read_bytes())
    state[len(state) // 2] ^= 1
    (tmp_path / template.STATE).write_bytes(state)
    with pytest.raises(HostError, match="the state of its devices is not what was saved"):
        host.boot(replace(spec, template=tmp_path))


def test_a_program_that_never_gets_ready_is_a_sentence(host: LibvirtHost, tmp_path: Path) -> None:
    spec = spec_of(host, "linux", Accelerator.TCG, boot_program())
    with pytest.raises(HostError, match="linux did not get ready, so there is nothing to restore it from") as raised:
        host.take_template(spec, tmp_path)
    assert "its program did not say `ready`" in raised.value.message


def test_there_must_be_room_for_all_of_the_memory_ahead(host: LibvirtHost, gated: Program, tmp_path: Path) -> None:
    spec = spec_of(host, "linux", Accelerator.TCG, gated)
    vast = replace(spec, machine=replace(spec.machine, memory_mib=1 << 20))
    with pytest.raises(HostError, match=r"may take 1,048,640 MiB, and .* has .* MiB left"):
        host.take_template(vast, tmp_path)
    assert not list(tmp_path.iterdir())
