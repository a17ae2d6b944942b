"""What the commands that read runs share. Imports nothing heavy."""

from __future__ import annotations

from ukperf.errors import UkperfError


def margin(percent: float | None, default: float) -> float:
    """--delta as a fraction.

    Raises UkperfError outside 0 … 100.
    """
    if percent is None:
        return default
    if not 0 < percent < 100:
        raise UkperfError(f"--delta {percent:g} is not between 0 and 100 percent.")
    return percent / 100
