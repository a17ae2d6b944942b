"""A host that loses power while a guest runs on it, and comes back."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from ukperf.engine.runner import Silent
from ukperf.engine.session import resume, start
from ukperf.errors import HostError
from ukperf.hosts.libvirt_host import open_host
from ukperf.imaging.programs import boot_program
from ukperf.model import Limits, Outcome, Request, Trial
from xenhost.run import XenHost
from xenhost.test_guests import boot

pytestmark = [pytest.mark.real, pytest.mark.timeout(400)]


def test_the_trial_is_lost_at_once_and_the_next_one_says_why_until_the_host_is_back(xen: XenHost) -> None:
    program = boot_program()
    with open_host(xen.uri) as host:
        assert boot(host, "floor", program).outcome is Outcome.OK
        cut = threading.Timer(5, xen.kill)  # the guest boots in one second, and then hangs until it is ended
        cut.start()
        try:
            seen = boot(host, "floor", program, cmdline="hang", timeout_s=120)
            assert seen.outcome is Outcome.LOST
            assert seen.reason == f"the connection to {xen.uri} broke"
            with pytest.raises(HostError, match="went away"):
                boot(host, "floor", program)
        finally:
            cut.cancel()
            cut.join()
            xen.restart()
    with open_host(xen.uri) as host:
        seen = boot(host, "floor", program)
        assert seen.outcome is Outcome.OK, seen.reason


class Cutter(Silent):
    """Cuts the host's power as soon as the third trial begins."""

    def __init__(self, host: XenHost) -> None:
        self._host = host

    def trial_starts(self, trial: Trial) -> None:
        if trial.index == 2:
            self._host.kill()


def test_a_campaign_keeps_its_journal_and_goes_on_when_the_host_is_back(xen: XenHost, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    request = Request(
        boot_program(),
        ("floor",),
        baseline="floor",
        connect=(xen.uri,),
        limits=Limits(boots=4),
        folder=folder,
        share_host=True,
    )
    try:
        with pytest.raises(HostError) as caught:
            start(request, say=lambda _sentence: None, observer=Cutter(xen))
        assert f"ukperf resume {folder}" in str(caught.value.hint)
        with pytest.raises(HostError, match="does not open"):
            resume(folder, share_host=True)
    finally:
        xen.restart()
    result = resume(folder, share_host=True)
    good = [record for record in result.records if record.outcome is Outcome.OK]
    assert sorted(record.trial.block for record in good) == [0, 1, 2, 3]
    assert len({record.trial.index for record in result.records}) == len(result.records)
