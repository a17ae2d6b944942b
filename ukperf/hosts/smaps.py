"""What a VMM's process takes of this machine's memory, told apart: /proc/PID/smaps and smaps_rollup (proc(5)).

A page that n processes map counts as 1/n in each (Pss): text of QEMU and its libraries, a template's file. What was
swapped out (SwapPss) counts too. Page caches of files that are only read, and the kernel's own structures, are in no
set size.

Guest memory is what has exactly the size of the guest's memory, or is the template's file; a guest cannot make such a
mapping, since it makes none. What can be written and executed is code that the emulator has made: under KVM there is no
such mapping.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

from ukperf.hosts.procfiles import text_of
from ukperf.model import FleetMemory

_HEAD = re.compile(
    r"([0-9a-f]{1,16})-([0-9a-f]{1,16}) ([r-][w-][x-][ps]) [0-9a-f]+ [0-9a-f]+:[0-9a-f]+ (\d{1,20}) *(.*)"
)
_FIELD = re.compile(r"(Pss|SwapPss|AnonHugePages|ShmemPmdMapped|FilePmdMapped): +(\d{1,15}) kB")
_HUGE = ("AnonHugePages", "ShmemPmdMapped", "FilePmdMapped")
_TABLES = re.compile(r"^VmPTE:\s+(\d{1,15}) kB", re.MULTILINE)
_CODE = "/memfd:tcg-jit"  # the emulator's, where it may not map anything writable and executable at once
# How anonymous memory is called that a descriptor stands for: memfd_create(2), and MAP_SHARED | MAP_ANONYMOUS.
_NAMELESS = ("/memfd:", "/dev/zero (deleted)")
_KIB = 1024


@dataclass(frozen=True)
class Mapping:
    """A line of smaps with what belongs to it; bytes. inode: 0 for anonymous memory."""

    size: int
    mode: str  # like rw-p
    inode: int
    path: str
    pss: int = 0
    swapped: int = 0
    huge: int = 0


@dataclass(frozen=True)
class GuestRam:
    """How a guest's memory is known. size: bytes; inode: of the file that it is restored from, if it is."""

    size: int
    inode: int | None = None

    def holds(self, mapping: Mapping) -> bool:
        if mapping.size != self.size or not mapping.mode.startswith("rw-"):
            return False
        return mapping.inode in (0, self.inode) or mapping.path.startswith(_NAMELESS)


def mappings(text: str) -> Iterator[Mapping]:
    """The mappings in a file like /proc/PID/smaps; what is no line of it is passed over."""
    head: re.Match[str] | None = None
    fields: dict[str, int] = {}
    for line in text.split("\n"):
        if (field := _FIELD.fullmatch(line)) is not None:
            fields[field[1]] = int(field[2]) * _KIB
        elif (other := _HEAD.fullmatch(line)) is not None:
            yield from _mapping(head, fields)
            head, fields = other, {}
    yield from _mapping(head, fields)


def _mapping(head: re.Match[str] | None, fields: dict[str, int]) -> Iterator[Mapping]:
    if head is None or (size := int(head[2], 16) - int(head[1], 16)) <= 0:
        return
    huge = sum(fields.get(name, 0) for name in _HUGE)
    yield Mapping(size, head[3], int(head[4]), head[5], fields.get("Pss", 0), fields.get("SwapPss", 0), huge)


def split(several: Iterable[Mapping], ram: GuestRam, tables: int = 0) -> FleetMemory | None:
    """One VMM's memory by what it is for; None where none of it is the guest's, so that nothing can be told apart."""
    guest = code = rest = swapped = huge = 0
    known = False
    for mapping in several:
        taken = mapping.pss + mapping.swapped
        swapped, huge = swapped + mapping.swapped, huge + mapping.huge
        if _is_code(mapping):
            code += taken
        elif ram.holds(mapping):
            known, guest = True, guest + taken
        else:
            rest += taken
    return FleetMemory(1, guest, code, rest, tables, huge, swapped) if known else None


def _is_code(mapping: Mapping) -> bool:
    made = mapping.mode[1:3] == "wx" and (mapping.inode == 0 or mapping.path.startswith(_NAMELESS))
    return made or mapping.path.startswith(_CODE)


def memory_of(pid: int, ram: GuestRam) -> FleetMemory | None:
    """What one VMM takes now; None where it is gone, may not be looked at, or has no mapping that is its guest's."""
    text = text_of(f"/proc/{pid}/smaps")
    if not text:
        return None
    status = _TABLES.search(text_of(f"/proc/{pid}/status") or "")
    return split(mappings(text), ram, int(status[1]) * _KIB if status else 0)


def taken_by(pid: int) -> int | None:
    """Bytes that a process takes now, told by the kernel in one sum; None where it is gone or may not be looked at."""
    text = text_of(f"/proc/{pid}/smaps_rollup")
    fields = {match[1]: int(match[2]) for match in map(_FIELD.fullmatch, (text or "").split("\n")) if match}
    return (fields["Pss"] + fields.get("SwapPss", 0)) * _KIB if "Pss" in fields else None


def together(several: Sequence[FleetMemory]) -> FleetMemory:
    """The sum over VMMs, at least one."""

    def add(one: FleetMemory, other: FleetMemory) -> FleetMemory:
        return FleetMemory(
            one.guests + other.guests,
            one.guest + other.guest,
            one.code_cache + other.code_cache,
            one.vmm + other.vmm,
            one.tables + other.tables,
            one.huge + other.huge,
            one.swapped + other.swapped,
        )

    return reduce(add, several)


def habits(root: Path = Path("/")) -> dict[str, str]:
    """What this machine does with memory by itself, which nobody switches here: KSM, huge pages, swap."""
    memory = root / "sys/kernel/mm"
    ksm = text_of(memory / "ksm/run")
    pages = text_of(memory / "transparent_hugepage/enabled")
    chosen = re.search(r"\[(\w{1,20})\]", pages or "")
    swap = re.search(r"^SwapTotal: *(\d{1,15}) kB", text_of(root / "proc/meminfo") or "", re.MULTILINE)
    return {
        "KSM": "none" if ksm is None else "on" if ksm == "1" else "off",
        "huge pages": chosen[1] if chosen else "none",
        "swap": f"{int(swap[1]) >> 10:,} MiB" if swap and int(swap[1]) else "none",
    }


OTHERS = "other VMMs"  # in `sharers`


def sharers(pids: Sequence[int], root: Path = Path("/proc")) -> dict[str, str]:
    """How many processes besides these run the same program, and so map the same text: their share of its pages is in
    no set size of these. Those of other users may not be looked at, and are not counted."""
    mine = {file for pid in pids if (file := _executable(root / str(pid))) is not None}
    others = [entry for entry in root.iterdir() if entry.name.isdecimal() and int(entry.name) not in pids]
    count = sum(_executable(entry) in mine for entry in others)
    return {OTHERS: str(count) if count else "none"}


def _executable(process: Path) -> tuple[int, int] | None:
    try:
        seen = (process / "exe").stat()
    except OSError:
        return None
    return seen.st_dev, seen.st_ino
