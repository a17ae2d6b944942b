"""How to make a run again: its words with its seed, and another folder."""

from __future__ import annotations

import pytest

from ukperf.runs.reproduce import again


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("ukperf boot-time -g linux", "ukperf boot-time -g linux --seed 7"),
        ("/opt/x/ukperf boot-time --seed 3", "ukperf boot-time --seed 3"),
        ("ukperf boot-time --seed=3 --run /tmp/x -g linux", "ukperf boot-time --seed=3 -g linux"),
        ("ukperf run --run=/tmp/x -- ./a --size 10", "ukperf run --seed 7 -- ./a --size 10"),
        ("ukperf run -- ./a --seed 1 --run b", "ukperf run --seed 7 -- ./a --seed 1 --run b"),
        ("ukperf run --seed 3 -- ./a -- b", "ukperf run --seed 3 -- ./a -- b"),
        ("", ""),
    ],
)
def test_the_seed_is_among_our_words_and_the_programs_stay_as_they_are(command: str, words: str) -> None:
    assert again(command.split(), 7) == words.split()
