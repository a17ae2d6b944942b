"""What the real tests' boots leave out: Linux's tests of its cryptography, and nothing where it takes no part."""

from __future__ import annotations

import pytest
from realrun import QUICK, quick, quick_linux

from ukperf import guests
from ukperf.guests import linux
from ukperf.guests.base import join_cmdline

ADDED = ["--append", f"linux={QUICK}"]


@pytest.mark.parametrize(
    "words",
    [
        ["boot-time", "--boots", "1"],
        ["boot-time", "-g", "linux", "-g", "native"],
        ["run", "-g", "floor", "--", "true"],  # linux divides it
        ["sklearn", "-g", "native", "--guest", "linux", "--baseline", "native"],
    ],
    ids=" ".join,
)
def test_linux_boots_without_its_self_tests(words: list[str]) -> None:
    assert quick(words) == [words[0], *ADDED, *words[1:]]


@pytest.mark.parametrize(
    "words",
    [
        ["boot-time", "-g", "floor", "--baseline", "floor"],
        ["run", "-g", "native", "--", "echo", "-g", "linux"],
        ["boot-time", "-g", "linux", "--append", "linux=quiet"],
        ["report", "run"],
        ["images", "list"],
        [],
    ],
    ids=" ".join,
)
def test_other_command_lines_stay_as_they_are(words: list[str]) -> None:
    assert quick(words) == words


def test_images_that_a_test_builds_itself_do_the_same_and_only_there() -> None:
    assert guests.get("linux").recipe.cmdline and linux.join_cmdline is join_cmdline
    with quick_linux():
        assert linux.join_cmdline("a", "", "b") == f"a b {QUICK}"
    assert linux.join_cmdline is join_cmdline
