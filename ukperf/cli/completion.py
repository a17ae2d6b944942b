"""Completion in bash, which takes a colon for the end of a word: `nanos:0.1.55` comes as three words, and only what is
behind the colon may be answered."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable, Sequence

_ASKED = "_UKPERF_COMPLETE"


def in_bash() -> bool:
    return os.environ.get(_ASKED) == "complete_bash" and {"COMP_WORDS", "COMP_CWORD"} <= os.environ.keys()


def answer(application: Callable[[], object]) -> None:
    """Let the application answer to the words as they were typed; print what bash wants in place of its last word."""
    try:
        typed_words = os.environ["COMP_WORDS"]
        between = "\n" if "\n" in typed_words else " "
        words, at = joined(typed_words.split(between), int(os.environ["COMP_CWORD"]))
    except ValueError:
        return
    os.environ["COMP_WORDS"], os.environ["COMP_CWORD"] = between.join(words), str(at)
    answers = io.StringIO()
    with contextlib.redirect_stdout(answers), contextlib.suppress(SystemExit):
        application()
    typed = words[at] if at < len(words) else ""
    before = typed[: typed.rfind(":") + 1]
    for line in answers.getvalue().splitlines():
        print(line.removeprefix(before))


def joined(words: Sequence[str], at: int) -> tuple[list[str], int]:
    """Words without bash's breaks at colons, and which of them the one at `at` belongs to."""
    whole: list[str] = []
    place = at
    open_end = False  # the last word ended in a colon
    for index, word in enumerate(words):
        colon = word.startswith(":")
        if whole and (colon or (open_end and word)):
            whole[-1] += word
        else:
            whole.append(word)
        if index == at:
            place = len(whole) - 1
        open_end = word.endswith(":")
    return whole, place if at < len(words) else len(whole)
