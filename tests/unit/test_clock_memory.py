"""Honest clocks are remembered for this machine, image and version, and nothing else is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from ukperf.campaign.clock import Remembered
from ukperf.hosts.fake import FakeHost
from ukperf.model import Accelerator, BootProtocol, BootSpec, Image, Launch, Machine

SPEC = BootSpec(Image("linux", "boot", "a" * 64, "b" * 64, BootProtocol.KERNEL), Machine(), Accelerator.TCG)


@dataclass
class Local(FakeHost):
    uri: str = "qemu:///embed"
    versions: dict[str, str] = field(default_factory=lambda: {"qemu": "7.2.0"})

    def facts(self) -> Mapping[str, str]:
        return self.versions


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("UKPERF_CACHE_DIR", str(tmp_path))
    return tmp_path


def test_a_clock_is_known_again_only_where_everything_is_the_same() -> None:
    assert Remembered(Local()).ratio(SPEC) is None
    Remembered(Local()).keep(SPEC, 1.001)
    again = Remembered(Local())
    assert again.ratio(SPEC) == 1.001
    assert again.ratio(replace(SPEC, name="another", timeout_s=1.0)) == 1.001
    for other in (
        replace(SPEC, image=replace(SPEC.image, digest="c" * 64)),
        replace(SPEC, machine=Machine(vcpus=2)),
        replace(SPEC, accelerator=Accelerator.KVM),
        replace(SPEC, launch=Launch.DIRECT),
    ):
        assert again.ratio(other) is None
    assert Remembered(Local(versions={"qemu": "8.0.0"})).ratio(SPEC) is None


def test_other_machines_are_asked_every_time(cache: Path) -> None:
    remote = Local(uri="qemu+ssh://somewhere/system")
    Remembered(remote).keep(SPEC, 1.0)
    assert Remembered(remote).ratio(SPEC) is None and not list(cache.iterdir())


@pytest.mark.parametrize("text", ["", "[]", "{", '"x"', "\x00"])
def test_a_damaged_memory_knows_nothing_and_is_replaced(cache: Path, text: str) -> None:
    (cache / "clocks.json").write_text(text)
    assert Remembered(Local()).ratio(SPEC) is None
    Remembered(Local()).keep(SPEC, 0.999)
    assert Remembered(Local()).ratio(SPEC) == 0.999


def test_a_lying_clock_in_the_file_is_not_believed(cache: Path) -> None:
    Remembered(Local()).keep(SPEC, 1.5)
    assert Remembered(Local()).ratio(SPEC) is None
