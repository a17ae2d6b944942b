"""Who runs what, where tests have several workers (pytest-xdist: `scripts/test.sh`): units that stay together, the
longest first.

A unit is one file, whose tests share what they made for the module, one folder that shares a host, or one test of a
file whose tests share nothing. A worker takes the next unit when it is nearly through with its last one, so that both
end at about the same time if what is long does not begin last. Nothing here decides what a test says: without workers
(`-n 0`) tests run in the order of their files.
"""

from __future__ import annotations

from typing import Any

# One emulated Xen host for all of them: a second one would take minutes and 2.5 GiB.
TOGETHER = ("tests/xenhost/",)

# Each test of these has a world, a cache and guests of its own.
APART = (
    "tests/real/test_boot_time.py",
    "tests/real/test_broken_off.py",
    "tests/real/test_command_guests.py",
    "tests/real/test_infer_guests.py",
    "tests/real/test_run_guests.py",
    "tests/real/test_sklearn_guests.py",
)

# Seconds on a quiet machine, of units from a quarter of a minute on; what is not here is short. Only the order matters.
SECONDS = {
    "tests/xenhost/": 400,
}


def unit(test: str) -> str:
    """The unit of a test, by its id (`tests/real/test_x.py::test_y[z]`)."""
    for folder in TOGETHER:
        if test.startswith(folder):
            return folder
    file = test.partition("::")[0]
    return test if file in APART else file


def seconds(test: str) -> float:
    """How long its unit takes, 0 where that is not known; of an unknown test among tests that are apart: a little."""
    mine = unit(test)
    return SECONDS.get(mine, SECONDS.get(mine.partition("[")[0], 5 if mine == test else 0))


def scheduler(config: Any, log: Any) -> Any:
    """xdist's scheduler of units, for `pytest_xdist_make_scheduler`."""
    from xdist.scheduler import LoadScopeScheduling

    class ByUnit(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return unit(nodeid)

    config.option.loadscopereorder = False  # ours is the order of the collection: conftest.py
    return ByUnit(config, log)
