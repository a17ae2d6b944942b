"""Patterns (regular expressions) of people's own, searched in what guests write.

Some patterns backtrack for ever on some texts, so each search has a time limit; the module `regex` has one, `re` has
none.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

MOST = 1_000  # characters of a pattern
LIMIT_S = 0.1  # of one search


class PatternError(ValueError):
    """A pattern that cannot be used, in a phrase without its full stop."""


@cache
def compiled(pattern: str) -> Any:
    """Raises PatternError for what is no pattern."""
    import regex  # rarely wanted, and it takes a while to load

    if len(pattern) > MOST:
        raise PatternError(f"it is longer than {MOST:,} characters")
    try:
        return regex.compile(pattern)
    except (regex.error, RecursionError, OverflowError) as error:
        raise PatternError(str(error) or "it is too deep") from error


def fits(pattern: str, text: str, limit_s: float = LIMIT_S) -> bool:
    """Is the pattern found anywhere in the text? Raises PatternError for no pattern, and for one that takes longer."""
    return next(matches(pattern, text, limit_s), None) is not None


def matches(pattern: str, text: str, limit_s: float = LIMIT_S) -> Iterator[Any]:
    """All matches in the text, together within the limit. Raises PatternError for no pattern, and one that takes
    longer."""
    try:
        yield from compiled(pattern).finditer(text, timeout=limit_s)
    except TimeoutError as error:
        raise PatternError(f"it was searched for longer than {limit_s:g} s") from error
