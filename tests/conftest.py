"""For all tests: what the machine and the caller happen to be like decides nothing.

Wall clocks: hypothesis fails what a busy machine makes slow, unless told. Signals: a shell that runs us in the
background, or nohup, has ^C or the hang-up ignored, and every process of ours would inherit that.
"""

from __future__ import annotations

import signal

from hypothesis import HealthCheck, settings

settings.register_profile("ukperf", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ukperf")

for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, usual)
