"""A kernel that lacks what ukperf needs is refused when it is added; what cannot be booted here is said not to be."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from fakekernels import boot_img, elf, nanos_kernel, unikraft_kernel
from typer.testing import CliRunner

from ukperf.console import encode_frame
from ukperf.engine import kernelprobe
from ukperf.engine.kernelprobe import NEEDS, Found, check, found_in, warn
from ukperf.errors import HostError, UkperfError
from ukperf.hosts.fake import FakeHost, bad_boot, good_boot
from ukperf.imaging.kernelstore import KernelStore, StoredKernel
from ukperf.model import Accelerator, BootSpec, Event, Observation, Outcome, Program


def answers(**odd: str) -> bytes:
    """The frames of a kernel that has all but what is named: need → its answer, "" for none."""
    given = {**dict.fromkeys(NEEDS, "yes"), **odd}
    frames = [(need, answer) for need, answer in given.items() if answer]
    return b"".join(encode_frame("check", 1 + i, 1, 1, name=n, digest=a) for i, (n, a) in enumerate(frames))


@pytest.mark.parametrize(
    ("frames", "lacks"),
    [
        (answers(), {}),
        (answers(environment="0"), {"environment": 0}),
        (answers(random="2", files="30"), {"files": 30, "random": 2}),
        (answers(clock=""), {"clock": 0}),
        (answers(clock="²", random="-1"), {"clock": 0, "random": 0}),
        (answers(clock="9" * 100), {"clock": 0}),
        (encode_frame("check", 1, 1, 1, name="telepathy", digest="no") + answers(), {}),
        (encode_frame("check", 1, 1, 1, name=["files"], digest=["no"]) + answers(), {}),
        (encode_frame("check", 1, 1, 1, name="files", digest=30) + answers(files=""), {"files": 0}),
        (b"", dict.fromkeys(NEEDS, 0)),
    ],
)
def test_what_the_program_answers_is_what_the_kernel_lacks(frames: bytes, lacks: dict[str, int]) -> None:
    assert found_in(good_boot(frames=frames)) == Found(lacks)


def test_a_kernel_that_runs_no_program_is_told_with_its_last_words() -> None:
    seen = Observation(
        Outcome.CRASHED, "the guest ended before main.", {Event.START: 0}, console_tail="a\n\npanic: b\n"
    )
    assert found_in(seen) == Found({}, "the guest ended before main; it wrote: panic: b")


def test_a_kernel_that_dies_on_the_way_is_told_with_the_place() -> None:
    whole = good_boot(frames=answers(environment="0", files="", random=""))
    seen = Observation(Outcome.HUNG, "no end in 20 s", whole.events, whole.ticks, whole.report)
    assert found_in(seen) == Found({"environment": 0}, "no end in 20 s, in the test of files")


@dataclass
class Stage:
    """A host that plays the answers of a kernel. boots: what it was asked to boot."""

    answer: Callable[[], Observation] = field(default=lambda: good_boot(frames=answers()))
    boots: list[BootSpec] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    broken: UkperfError | None = None

    def play(self, spec: BootSpec, _: int) -> Observation:
        assert spec.image.disk is None or spec.image.disk.is_file()
        self.boots.append(spec)
        return self.answer()

    def check(self, entry: StoredKernel) -> bool:
        return check(entry, self.said.append)


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    monkeypatch.setenv("UKPERF_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("UKPERF_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(kernelprobe, "needs_program", lambda: program(tmp_path))
    monkeypatch.setattr(kernelprobe, "decide_accelerator", lambda *_: (Accelerator.ICOUNT, None))
    stage = Stage()

    @contextmanager
    def opened(uris: tuple[str, ...], _: str) -> Iterator[dict[str, FakeHost]]:
        if stage.broken:
            raise stage.broken
        yield {uris[0]: FakeHost(stage.play)}

    monkeypatch.setattr(kernelprobe, "open_hosts", opened)
    (tmp_path / "kernel.img").write_bytes(nanos_kernel())
    (tmp_path / "boot.img").write_bytes(boot_img())
    (tmp_path / "unikraft").write_bytes(unikraft_kernel())
    return stage


def program(folder: Path) -> Program:
    data = bytearray(elf(62, b"code"))
    data[16:18] = (3).to_bytes(2, "little")
    (folder / "prog").write_bytes(data)
    return Program("needs", "d" * 64, folder / "prog", False, ("/prog", "two words"), (("NEEDS", "a=b c"),))


def add(stage: Stage, guest: str = "unikraft", data: bytes = unikraft_kernel(), **more: str) -> StoredKernel:
    return KernelStore().add(guest, "1", {"kernel": data}, check=stage.check, **more)


def test_a_good_kernel_is_booted_once_within_bounds_and_kept_as_probed(stage: Stage) -> None:
    assert add(stage).probed
    assert KernelStore().entries()[0].probed
    assert add(stage).probed  # again: it is known
    (spec,) = stage.boots
    assert (spec.timeout_s, spec.accelerator, spec.image.guest) == (20.0, Accelerator.TCG, "unikraft")
    assert "NEEDS=a=b c" in spec.image.cmdline
    assert stage.said == []


def test_what_is_missing_is_one_sentence_and_the_hint_says_how_to_build_it_in(stage: Stage) -> None:
    stage.answer = lambda: good_boot(frames=answers(environment="0", random="2"))
    with pytest.raises(UkperfError) as caught:
        add(stage)
    assert caught.value.message == (
        "unikraft 1 lacks what ukperf needs: environment variables do not reach the program; "
        "there are no random numbers in /dev/urandom (No such file or directory)."
    )
    assert caught.value.hint == (
        "Build it with CONFIG_LIBPOSIX_ENVIRON_LIBPARAM=y CONFIG_LIBUKSWRAND_DEVFS=y CONFIG_LIBDEVFS_AUTOMOUNT=y. "
        "--no-probe adds it as it is."
    )
    assert KernelStore().entries() == []
    assert KernelStore().trusted("unikraft", "1") is None


def test_a_kernel_that_does_not_boot_is_refused(stage: Stage) -> None:
    stage.answer = lambda: bad_boot(Outcome.SILENT, "not one byte in 20 s")
    with pytest.raises(UkperfError, match="unikraft 1 did not run a program to its end: not one byte in 20 s"):
        add(stage)
    assert [path.name for path in KernelStore().root.iterdir()] == [".lock"]


def test_a_refused_replacement_leaves_the_old_kernel(stage: Stage) -> None:
    old = add(stage)
    stage.answer = lambda: good_boot(frames=answers(files="30"))
    with pytest.raises(UkperfError, match="cannot write files"):
        KernelStore().add("unikraft", "1", {"kernel": b"other"}, replacing=True, check=stage.check)
    assert KernelStore().entries() == [old]


def test_other_bytes_of_a_known_version_are_refused_before_anything_boots(stage: Stage) -> None:
    add(stage)
    with pytest.raises(UkperfError, match="There is another unikraft 1"):
        add(stage, data=unikraft_kernel(content=b"rebuilt"))
    assert len(stage.boots) == 1


@pytest.mark.parametrize(
    ("broken", "seen", "reason"),
    [
        (HostError("QEMU is not installed."), None, "QEMU is not installed."),
        (None, bad_boot(Outcome.LOST, "QEMU did not start"), "QEMU did not start."),
    ],
)
def test_where_nothing_boots_the_kernel_is_added_and_it_is_said(
    stage: Stage, broken: UkperfError | None, seen: Observation | None, reason: str
) -> None:
    stage.broken = broken
    if seen is not None:
        stage.answer = lambda: seen
    assert not add(stage).probed
    assert stage.said == [f"unikraft 1 was not probed: {reason} Adding it again makes up for it."]
    added = KernelStore().entries()[0].added_at
    stage.broken, stage.answer = None, Stage().answer
    again = add(stage)
    assert (again.probed, again.added_at) == (True, added)


def test_a_kernel_for_xen_is_not_booted_here(stage: Stage) -> None:
    assert not add(stage, platform="xen").probed
    assert stage.said[0].startswith("unikraft 1 was not probed: It is for xen.")


def test_of_a_pulled_kernel_what_it_lacks_is_said_and_it_is_kept(stage: Stage) -> None:
    stage.answer = lambda: good_boot(frames=answers(environment="0"))
    entry = KernelStore().add(
        "unikraft", "1", {"kernel": unikraft_kernel()}, check=lambda found: warn(found, stage.said.append)
    )
    assert not entry.probed
    assert stage.said[0].startswith("unikraft 1 lacks what ukperf needs: environment variables")


def test_the_command_probes_unless_it_is_told_not_to(stage: Stage, tmp_path: Path) -> None:
    from ukperf.cli.images import app

    files = ("--kernel", str(tmp_path / "kernel.img"), "--boot", str(tmp_path / "boot.img"))
    stage.answer = lambda: good_boot(frames=answers(arguments="0"))
    refused = CliRunner().invoke(app, ["add", "nanos", *files])
    assert isinstance(refused.exception, UkperfError)
    assert refused.exception.message.endswith("needs: arguments do not reach the program as they are.")
    assert refused.exception.hint == "--no-probe adds it as it is."
    added = CliRunner().invoke(app, ["add", "nanos", *files, "--no-probe", "--json"])
    assert json.loads(added.output)["probed"] is False
    assert len(stage.boots) == 1
    assert stage.boots[0].image.disk is not None
    assert not stage.boots[0].image.disk.exists()  # what a probe made is gone with it
