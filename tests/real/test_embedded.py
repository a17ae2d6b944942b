"""libvirt inside our process: opened as often as a long command wants it, and gone with the process."""

from __future__ import annotations

import subprocess
import sys

import pytest
from realrun import World

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]
OPENS = """
from ukperf.hosts.libvirt_host import open_host
for number in range(25):
    with open_host("qemu:///embed") as host:
        print(number, host.facts()["connection"], flush=True)
        if number in (3, 14):
            with open_host("qemu:///embed") as beside:
                assert beside.facts()["qemu"] == host.facts()["qemu"]
            assert host.facts()["qemu"]
"""


def test_it_can_be_opened_any_number_of_times_in_one_process(uk: World) -> None:
    """libvirt itself takes some twenty openings; `ukperf paper` needed more."""
    done = subprocess.run(
        [sys.executable, "-c", OPENS], env=uk.environment, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "24 qemu:///embed"  # and the fixture finds nothing left
