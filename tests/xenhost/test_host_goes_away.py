"""A host that loses power while a guest runs on it, and comes back."""

from __future__ import annotations

import threading

import pytest

from ukperf.errors import HostError
from ukperf.hosts.libvirt_host import open_host
from ukperf.imaging.programs import boot_program
from ukperf.model import Outcome
from xenhost.run import XenHost
from xenhost.test_guests import boot

pytestmark = [pytest.mark.real, pytest.mark.timeout(400)]


def test_the_trial_is_lost_at_once_and_the_next_one_says_why_until_the_host_is_back(xen: XenHost) -> None:
    program = boot_program()
    with open_host(xen.uri) as host:
        assert boot(host, "floor", program).outcome is Outcome.OK
        cut = threading.Timer(8, xen.kill)  # the guest boots in one second, and then hangs until it is ended
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
