"""For all tests: wall clocks decide nothing, also not for hypothesis, which fails what a busy machine makes slow."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile("ukperf", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ukperf")
