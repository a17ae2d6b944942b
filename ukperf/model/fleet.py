"""A fleet: guests of one image that live at the same time, each suspended when it is ready, and what they take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

MOST_GUESTS = 1_000


@dataclass(frozen=True)
class Fleet:
    """What is asked for. sizes: numbers of guests at which their memory is looked at, ascending; the last is the most
    that are made.

    most_mib: what they may take together. budget_mib: it is told how many fit into that.
    """

    sizes: tuple[int, ...]
    most_mib: int
    budget_mib: int | None = None


@dataclass(frozen=True)
class FleetMemory:
    """What the processes of so many guests take together, bytes: proportional set sizes (proc(5), Pss), which count a
    page that n processes map as 1/n in each, and what of them was swapped out (SwapPss).

    guest: of guests' own memory; code_cache: of what the emulator translated; vmm: all the rest of their VMMs. tables:
    the host's page tables for them, which no set size counts. huge: of all that in huge pages; swapped: on disk.
    """

    guests: int
    guest: int
    code_cache: int
    vmm: int
    tables: int = 0
    huge: int = 0
    swapped: int = 0

    @property
    def total(self) -> int:
        return self.guest + self.code_cache + self.vmm


@dataclass(frozen=True)
class FleetSeen:
    """What was seen of a fleet. points: its memory at each size that it reached. created_ns, ready_ns: of each guest,
    from create to its VMM being there and to where it was suspended.

    fits: how many guests' memory together is within the budget; None where no more were made than fit. stopped: why
    fewer were made than were asked for. host: name → what the host does with memory (KSM, huge pages, swap).
    """

    points: tuple[FleetMemory, ...]
    created_ns: tuple[int, ...]
    ready_ns: tuple[int, ...]
    fits: int | None = None
    stopped: str = ""
    host: Mapping[str, str] = field(default_factory=dict)
