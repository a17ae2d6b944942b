"""How often `ukperf history` sees changes where there are none, and those that are there (docs/history.md).

    python benchmarks/history_promises.py

The functions are ukperf's own and seeds are fixed. Where nothing else is said runs scatter normally by 1 (a standard
deviation, whatever that is in percent) and a page has one line; each part says of how many pages and orders it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from ukperf.stats import changes
from ukperf.stats.changes import Track, change_points, steps

Logs = NDArray[np.float64]


def cuts_of(logs: Sequence[float]) -> tuple[int, ...]:
    return change_points([Track(tuple(range(len(logs))), tuple(logs))])[0]


def alarms_and_power(pages: int = 200) -> None:
    """One change half-way, by its size in σ, and no change."""
    changes.DRAWS = 499
    sizes = (1, 1.5, 2, 3, 4)
    print(
        f"{pages} pages without a change a row, {pages // 2} for each size of one half-way, {changes.DRAWS} orders:\n"
    )
    print(f"| runs | no change: one is seen | {' | '.join(f'{size} σ' for size in sizes)} | at that very run |")
    print(f"|--:|--:|{'--:|' * len(sizes)}--:|")
    generator = np.random.default_rng(1)
    for runs in (8, 10, 12, 20, 50):
        alarms = sum(bool(cuts_of(generator.normal(0, 1, runs).tolist())) for _ in range(pages))
        seen, exact = [], 0
        for size in sizes:
            every = []
            for _ in range(pages // 2):
                logs = generator.normal(0, 1, runs)
                logs[runs // 2 :] += size
                every.append(cuts_of(logs.tolist()))
            seen.append(sum(map(bool, every)))
            exact = sum(runs // 2 in cuts for cuts in every)
        told = " | ".join(f"{200 * count / pages:.0f} %" for count in seen)
        print(f"| {runs} | {100 * alarms / pages:.1f} % | {told} | {200 * exact / pages:.0f} % of 4 σ |", flush=True)


KINDS: dict[str, Callable[[np.random.Generator, tuple[int, int]], Logs]] = {
    "normal": lambda generator, shape: generator.normal(0, 1, shape),
    "skewed (exponential)": lambda generator, shape: generator.exponential(1, shape),
    "one night in ten 5 σ slower": lambda generator, shape: (
        generator.normal(0, 1, shape) + 5.0 * (generator.random(shape) < 0.1)
    ),
    "nights like their neighbours (AR 0.3)": lambda generator, shape: neighbours(generator.normal(0, 1, shape)),
}


def neighbours(logs: Logs) -> Logs:
    for i in range(1, logs.shape[1]):
        logs[:, i] += 0.3 * logs[:, i - 1]
    return logs


def alarms_of_pages(pages: int = 200, lines: int = 4) -> None:
    """Pages of several lines on which nothing changed."""
    changes.DRAWS = 299
    print(f"\n{pages} pages of {lines} lines and 20 runs a row, {changes.DRAWS} orders; nothing changed:\n")
    print("| runs scatter | a change is seen on the page |\n|---|--:|")
    for kind, draw in KINDS.items():
        generator = np.random.default_rng(3)
        seen = 0
        for _ in range(pages):
            every = draw(generator, (lines, 20))
            seen += any(change_points([Track(tuple(range(20)), tuple(logs)) for logs in every.tolist()]))
        print(f"| {kind} | {100 * seen / pages:.1f} % |", flush=True)


def places_and_sizes(pages: int = 150) -> None:
    """Of pages on which one change is seen: is it where it is said to be, and of the size?"""
    changes.DRAWS = 299
    print(f"\n{pages} pages a row, {changes.DRAWS} orders; of those that show one change:\n")
    print("| runs | changed at run | size | seen | 'surely in' has it | runs in it | the interval of its size has it |")
    print("|--:|--:|--:|--:|--:|--:|--:|")
    generator = np.random.default_rng(2)
    for runs in (10, 20, 40):
        for at in (runs // 2, max(3, runs // 4)):
            for size in (1.5, 2, 3, 5):
                places, covered, widths = 0, 0, []
                for _ in range(pages):
                    logs = generator.normal(0, 1, runs)
                    logs[at:] += size
                    cuts = cuts_of(logs.tolist())
                    if len(cuts) == 1:
                        (step,) = steps(logs.tolist(), cuts)
                        places += step.first <= at <= step.last
                        covered += step.half is not None and abs(step.log_ratio - size) <= step.half
                        widths.append(step.last - step.first + 1)
                shares = [f"{100 * count / max(len(widths), 1):.0f} %" for count in (places, covered)]
                cells = (f"{100 * len(widths) / pages:.0f} %", shares[0], f"{np.mean(widths):.1f}", shares[1])
                print(f"| {runs} | {at + 1} | {size} σ | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    alarms_and_power()
    alarms_of_pages()
    places_and_sizes()
