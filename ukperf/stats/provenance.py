"""Under what a boot ran: facts that belong to its record, and what it means when they differ.

A fact is a name and a text: the program's digest, the accelerator, the kernel, QEMU, the CPU, the governor … Records
have them, suites carry them on, and both are compared by the same rules.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from ukperf.model import BootRecord, Outcome

# How facts are called in sentences. Those that are not here keep their names.
_WORDS = {
    "qemu": "QEMU version",
    "qemu_file": "file of QEMU",
    "libvirt": "libvirt version",
    "xen": "Xen version",
    "ukperf": "ukperf version",
    "cpu": "CPU",
    "cpus": "set of usable CPUs",
    "kernel_sha256": "kernel's sha256",
    "vmm": "version of what boots it",
    "vmm_sha256": "sha256 of what boots it",
    "command_line": "kernel command line",
    "host_kernel": "host's kernel",
    "hostname": "host's name",
    "aslr": "ASLR",
    "smt": "SMT",
    "cpu_frequency": "CPU frequency",
    "affinity": "CPU affinity",
}
# A difference in one of these makes a ratio the answer to another question.
DECISIVE = ("program", "accelerator")
# These are a guest's own: of two different guests they differ as a matter of course.
OF_THE_GUEST = ("kernel", "kernel_sha256", "command_line", "image", "vmm", "vmm_sha256")
# Machines that differ in one of these are not taken for machines of one kind (see `machines`).
OF_THE_STRATUM = ("accelerator", "qemu", "xen", "vmm", "ukperf")
_DIGEST = re.compile(r"[0-9a-f]{40,}")
MOST_SHOWN = 100


def word(fact: str) -> str:
    """How a fact is called in a sentence."""
    return _WORDS.get(fact, fact.replace("_", " "))


def shown(text: str) -> str:
    """A fact's value in a sentence: of a digest the beginning, of a long text both ends."""
    if _DIGEST.fullmatch(text):
        return text[:12]
    return text if len(text) <= MOST_SHOWN else f"{text[: MOST_SHOWN // 2]} … {text[-MOST_SHOWN // 3 :]}"


def facts_over(records: Iterable[BootRecord]) -> dict[str, str]:
    """Fact → its value over the good boots (of all, where none was); of one that changed its values in their order."""
    ordered = sorted(records, key=lambda r: r.trial.index)
    values_of: dict[str, dict[str, None]] = {}
    for record in [r for r in ordered if r.outcome is Outcome.OK] or ordered:
        for name, value in record.facts.items():
            values_of.setdefault(name, {})[value] = None
    return {name: ", then ".join(values) for name, values in values_of.items()}


def differences(left: Mapping[str, str], right: Mapping[str, str], guest: str | None) -> list[str]:
    """What differs between two sides, as sentences without a full stop: facts that both have, decisive ones aside.

    guest: the one that both sides are, so that its kernel and command line are expected to be the same; None: two.
    """
    said = []
    for name in sorted(left.keys() & right.keys() - set(DECISIVE)):
        if left[name] == right[name] or (name in OF_THE_GUEST and guest is None):
            continue
        if name == "cpu_frequency" and _near(left[name], right[name]):
            continue
        if name == "image" and any(left.get(part) != right.get(part) for part in ("program", *OF_THE_GUEST[:3])):
            continue  # its parts are named already
        if name == "kernel_sha256" and left.get("kernel") != right.get("kernel"):
            continue
        whose = f" of {guest}" if guest and name in OF_THE_GUEST else ""
        said.append(f"the {word(name)}{whose} differs: {_against(name, left[name], right[name])}")
    return said


def _near(left: str, right: str) -> bool:
    """Are two frequencies within a tenth of each other? Each reading of an idle CPU is another one."""
    try:
        a, b = (float(text.split()[0]) for text in (left, right))
    except (ValueError, IndexError):
        return False
    return max(a, b) <= 1.1 * min(a, b)


def _against(name: str, left: str, right: str) -> str:
    if name == "command_line":  # hundreds of characters, of which a word or two differ
        more, less = ([w for w in a.split() if w not in b.split()] for a, b in ((left, right), (right, left)))
        return f"{shown(' '.join(more) or 'nothing')} against {shown(' '.join(less) or 'nothing')}"
    return f"{shown(left)} against {shown(right)}"


def changes(records: Sequence[BootRecord]) -> list[str]:
    """Sentences about facts that did not stay the same during one run on one host, with the blocks of each value."""
    spans: dict[str, dict[str, list[tuple[str, int, int]]]] = {}
    for record in sorted(records, key=lambda r: r.trial.index):
        guest, block = record.trial.guest, record.trial.block
        for name, value in record.facts.items():
            seen = spans.setdefault(name, {}).setdefault(guest, [])
            if seen and seen[-1][0] == value:
                seen[-1] = (value, seen[-1][1], block)
            else:
                seen.append((value, block, block))
    said: dict[str, list[str]] = {}
    for name, guests in spans.items():
        for guest, seen in guests.items():
            if len(seen) > 1 and not (name == "image" and _parts_changed(spans, guest)):
                listed = ", ".join(f"{shown(value)} in {_blocks(first, last)}" for value, first, last in seen[:4])
                more = f" and {len(seen) - 4} more times" if len(seen) > 4 else ""
                said.setdefault(f"{word(name)}|{listed}{more}", []).append(guest)
    everybody = {record.trial.guest for record in records}
    return [_sentence(key, guests, everybody) for key, guests in said.items()]


def _parts_changed(spans: Mapping[str, Mapping[str, Sequence[object]]], guest: str) -> bool:
    return any(len(spans.get(part, {}).get(guest, ())) > 1 for part in ("program", *OF_THE_GUEST[:3]))


def _blocks(first: int, last: int) -> str:
    return f"block {first + 1}" if first == last else f"blocks {first + 1} to {last + 1}"


def _sentence(key: str, guests: Sequence[str], everybody: set[str]) -> str:
    what, _, listed = key.partition("|")
    of = "" if set(guests) == everybody else f" of {' and '.join(sorted(guests))}"
    return f"The {what}{of} changed during the run: {listed}."


def since(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """What is not as it was at a run's last boot, as phrases: "the QEMU version was 7.2.0 and is 8.0.0"."""
    return [
        f"the {word(name)} was {shown(before[name])} and is {shown(now[name])}"
        for name in before
        if name in now and before[name] != now[name]
    ]
