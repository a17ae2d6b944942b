"""For all tests: what the machine and the caller happen to be like decides nothing.

Wall clocks: hypothesis fails what a busy machine makes slow, unless told. Signals: a shell that runs us in the
background, or nohup, has ^C or the hang-up ignored, and every process of ours would inherit that.
"""

from __future__ import annotations

import signal
from typing import Any

import pytest
import testorder
from hypothesis import HealthCheck, settings

settings.register_profile("ukperf", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ukperf")

for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, usual)


@pytest.hookimpl(optionalhook=True)  # of pytest-xdist, which a single process does without
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    return testorder.scheduler(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Among workers the longest first."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: -testorder.seconds(item.nodeid))
