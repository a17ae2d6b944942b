"""Names from files and guests, which may be of any length, in as many cells as there are."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len

LONGEST_NAME, LEAST_NAME = 60, 16  # cells


def cut(name: str, longest: int = LONGEST_NAME) -> str:
    """A name in at most so many cells: of a longer one the beginning and the end, which is where names differ."""
    if len(name) <= longest // 2 or cell_len(name) <= longest:
        return name
    end = longest // 3
    tail = name[-end:]
    while cell_len(tail) > end:
        tail = tail[1:]
    head = name[: longest - end - 1]
    while cell_len(head) > longest - end - 1:
        head = head[:-1]
    return f"{head}…{tail}"


def shortest(names: Sequence[str], wanted: int) -> int:
    """The length, `wanted` or as much more as it takes, at which no two of the names become the same."""
    usual = len({cut(name) for name in names})
    for length in range(max(LEAST_NAME, wanted), LONGEST_NAME):
        if len({cut(name, length) for name in names}) == usual:
            return length
    return LONGEST_NAME
