"""What guests' kernels write when they give up, as seen on their consoles, and what the recipes make of it."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from pathlib import Path

import pytest
from records import boot, failed
from test_watch import EXIT, MAIN, SPEC, Guest, guest

from ukperf import guests, resources
from ukperf.errors import UkperfError
from ukperf.guests import recipes
from ukperf.hosts import lastwords
from ukperf.hosts.lastwords import LastWordsListener
from ukperf.model import Cause, Event, LastWords, Outcome, Why
from ukperf.reports import jsonout, markdown
from ukperf.reports.html import report
from ukperf.reports.story import stories_of
from ukperf.reports.table import RunPage
from ukperf.stats.summary import summarize

__all__ = ["guest"]  # the fixture

TRACE = "CRIT: [libkvmplat] <trace.c @   86> base is 0x17cfd0 caller is 0x112151\r\n"
SAID = [
    (
        "unikraft",
        "CRIT: [libukvmem] <pagefault.c @   43> Cannot handle write page fault at 0x8 (ec: 0x2): Bad address (14).\r\n",
        Cause.FAULT,
    ),
    (
        "unikraft",
        "CRIT: [libukvmem] <pagefault.c @   43> Cannot handle write page fault at 0x100f91f000 (ec: 0x2): "
        "Cannot allocate memory (12).\r\n"
        "CRIT: [libukvmem] <pagefault.c @   43> Cannot handle read page fault at 0x9 (ec: 0x0): Bad address (14).\r\n",
        Cause.MEMORY,
    ),
    (
        "unikraft",
        "ERR:  [libukcpio] <cpio.c @  171> /big: Failed to load content: Input/output error (5)\r\n"
        "CRIT: [libvfscore] <automount.c @  555> Failed to extract cpio archive to /: -3\r\n",
        Cause.MEMORY,
    ),
    (
        "unikraft",
        "CRIT: [libkvmplat] <traps.c @   84> Unhandled Trap 6 (invalid opcode), error code=0x0\r\n",
        Cause.FAULT,
    ),
    (
        "unikraft",
        "ERR:  [appelfloader] <main.c @  227> /prog: Failed to load: Exec format error (-8)\r\n",
        Cause.FORMAT,
    ),
    (
        "nanos",
        "[1.635547] page fill failed with (result:out of memory)\n\n*** signal 7 received by tid 2, errno 0, code 2\n",
        Cause.MEMORY,
    ),
    ("nanos", "\n*** signal 11 received by tid 2, errno 0, code 1\n    fault address 0x8\n", Cause.FAULT),
    ("nanos", "\n*** signal 6 received by tid 2, errno 0, code -6\n", Cause.SIGNAL),
    (
        "linux",
        "[    6.223807] Out of memory: Killed process 80 (oom) total-vm:199200kB, anon-rss:193704kB, file-rss:4kB\r\n",
        Cause.MEMORY,
    ),
    ("linux", "[    1.223807] Kernel panic - not syncing: VFS: Unable to mount root fs\r\n", Cause.GUEST),
]


def heard(name: str, said: str, chunk: int = 1 << 20) -> LastWordsListener:
    listener = LastWordsListener(guests.get(name).recipe.last_words)
    data = said.encode()
    for at in range(0, len(data), chunk):
        listener.listen(data[at : at + chunk])
    return listener


@pytest.mark.parametrize("chunk", [1, 7, 1 << 20])
@pytest.mark.parametrize(("name", "said", "cause"), SAID, ids=lambda value: value if len(value) < 9 else "")
def test_the_kernels_words_are_understood_however_they_come(name: str, said: str, cause: Cause, chunk: int) -> None:
    listener = heard(name, f"hello\n{said}{TRACE}", chunk)
    assert listener.why is not None and listener.why.cause is cause
    assert listener.why.evidence in said.replace("\r", "") and "{" not in listener.why.sentence


def test_a_guest_that_says_nothing_of_the_kind_has_no_last_words() -> None:
    for name in guests.names():
        listener = heard(name, "hello\nout of order\nsignal 11\nOut of memory: Killed process 80 (oom)\n")
        assert listener.why is None, name


def test_words_of_a_start_that_fails_count_before_main_only(guest: Guest) -> None:
    """A program may print the like."""
    dies = replace(SPEC, timeout_s=0.3, last_words=guests.get("nanos").recipe.last_words)
    _, seen = guest.says(MAIN + b"frame trace: \n").watched(dies)
    assert (seen.outcome, seen.why) == (Outcome.HUNG, None)
    listener = heard("nanos", "frame trace: \n")
    assert listener.ends and listener.why is not None and not listener.why.sure


def test_what_a_trace_says_behind_it_does_not_count() -> None:
    assert heard("unikraft", SAID[1][1]).why == heard("unikraft", SAID[1][1].splitlines()[0] + "\n").why


def test_every_line_is_bounded_and_made_harmless() -> None:
    words = (LastWords("dies of (.*)", Cause.GUEST, "it dies of {1}"),)
    listener = LastWordsListener(words)
    listener.listen(b"it dies of \x1b[31m" + b"x" * 100_000)
    listener.listen(b"y" * 100_000 + b"\n")
    assert listener.why is not None and len(listener.why.evidence) == lastwords.SHOWN
    assert "\x1b" not in listener.why.words and len(listener.why.sentence) < 60


def test_a_pattern_that_takes_for_ever_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lastwords, "BUDGET_S", 0.05)
    listener = LastWordsListener((LastWords(r"(a|aa)+$", Cause.GUEST, "never"),))
    before = time.monotonic()
    for _ in range(20):
        listener.listen(b"a" * 60 + b"b\n")
    assert listener.why is None and time.monotonic() - before < 5


PANIC = (LastWords("^panic: (.*)", Cause.GUEST, "its kernel panicked ({1})", ends=True),)
DYING = replace(SPEC, last_words=PANIC)


def test_a_guest_that_gave_up_is_ended_soon_and_says_why(guest: Guest) -> None:
    before = time.monotonic()
    _, seen = guest.says(MAIN + b"panic: no more\n" + b"trace\n" * 100).watched(DYING)
    assert time.monotonic() - before < lastwords.GRACE_S + 1
    assert (seen.outcome, seen.reason) == (Outcome.CRASHED, "the guest gave up: its kernel panicked (no more)")
    assert seen.why == Why(Cause.GUEST, "its kernel panicked (no more)", "panic: no more")


def test_a_guest_that_stops_by_itself_after_its_last_words_says_why_too(guest: Guest) -> None:
    _, seen = guest.says(MAIN + b"panic: no more\n").stops().watched(DYING)
    assert seen.outcome is Outcome.CRASHED and seen.why is not None
    assert seen.reason.endswith("without an exit frame: its kernel panicked (no more)")


def test_words_before_a_good_end_count_for_nothing(guest: Guest) -> None:
    _, seen = guest.says(MAIN + b"panic: only printed\n" + EXIT).stops().watched(DYING)
    assert (seen.outcome, seen.reason, seen.why) == (Outcome.OK, "", None)
    assert Event.EXIT in seen.events


def test_words_that_end_nothing_leave_the_guest_its_time(guest: Guest) -> None:
    spec = replace(SPEC, timeout_s=0.3, last_words=(replace(PANIC[0], ends=False),))
    _, seen = guest.says(MAIN + b"panic: or not\n").watched(spec)
    assert seen.outcome is Outcome.HUNG
    assert seen.reason == "no end of the program within 0.3 s: its kernel panicked (or not)"


def test_the_pages_example_is_a_recipe(tmp_path: Path) -> None:
    page = (resources.data_root() / "docs" / "extending.md").read_text()
    path = tmp_path / "mine.toml"
    path.write_text(next(text for text in re.findall(r"```toml\n(.*?)```", page, re.DOTALL) if "last_words" in text))
    (words,) = recipes.read(path).last_words
    assert words == LastWords("PANIC: (.*)", Cause.GUEST, "its kernel panicked ({1})", ends=True)


def test_the_cause_and_the_line_that_shows_it_are_in_every_output() -> None:
    said = Why(Cause.MEMORY, "the guest ran out of memory", "Cannot <allocate>")
    guess = Why(Cause.WAIT, "it waits for SIGALRM", "alarm is a stub", sure=False)
    died = failed(boot("unikraft", 0, index=1), Outcome.CRASHED, f"the guest gave up: {said.sentence}")
    hung = failed(boot("nanos", 0, index=2), Outcome.HUNG, "no end of the program within 15 s")
    records = [boot("linux", 0), replace(died, why=said), replace(hung, why=guess)]
    page = RunPage(summarize(records, "linux", 0.01))
    text = markdown.render(page)
    assert "unikraft said: Cannot" in text and text.count("ran out of memory") == 1
    assert "why: likely, it waits for SIGALRM (alarm is a stub)" in text
    as_json = jsonout.encode(page.json())
    assert '"cause": "memory"' in as_json and '"sure": false' in as_json and '"evidence": "alarm is a stub"' in as_json
    stories = stories_of(records, {}, title="t", baseline="linux", delta=0.01)
    html = report(stories)
    assert "Why: likely, it waits for SIGALRM (alarm is a stub)." in html and "Cannot &lt;allocate&gt;" in html


def test_a_recipe_file_may_add_words_and_keeps_those_of_its_builder(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    words = '[[last_words]]\npattern = "^bye"\ncause = "guest"\nsays = "it said bye"\n'
    path.write_text(f'builder = "linux"\n{words}')
    own, theirs = recipes.recipe_of(recipes.read(path), guests.get("linux").recipe), guests.get("linux").recipe
    assert own.last_words == (LastWords("^bye", Cause.GUEST, "it said bye"), *theirs.last_words)
    path.write_text(f'builder = "linux"\n{words.replace("^bye", "(")}')
    with pytest.raises(UkperfError, match=r"last_words.pattern '\(' is no pattern"):
        recipes.read(path)
    path.write_text(f'builder = "linux"\n{words.replace("guest", "weather")}')
    with pytest.raises(UkperfError, match="there is no 'weather'"):
        recipes.read(path)
