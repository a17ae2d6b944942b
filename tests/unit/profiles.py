"""Made-up profiles and counts for tests. Never a result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ukperf.profile.model import START, WHOLE, CodePart, Function, Profile, Profiled

KERNEL = [
    "memcpy_orig",
    "clear_page_erms",
    "acpi_ns_lookup",
    "acpi_ps_parse_loop",
    "acpi_ut_update_ref_count",
    "pci_scan_slot",
    "pci_read_config",
    "serial8250_console_write",
    "__free_pages_core",
    "memmap_init_range",
    "native_safe_halt",
]


@dataclass(frozen=True)
class Made:
    """What counts have."""

    address: NDArray[np.uint64]
    instructions: NDArray[np.uint32]
    size: NDArray[np.uint32]
    code: NDArray[np.uint8]
    windows: tuple[str, ...]
    executed: NDArray[np.uint64]
    rest: NDArray[np.uint64]
    total: NDArray[np.uint64]


def kernel(name: str) -> Function:
    return Function(CodePart.KERNEL, "", name)


def profile(
    counts: Mapping[Function, Sequence[int]], windows: Sequence[str] = (START, "main"), **more: object
) -> Profile:
    rows = {function: tuple(row) for function, row in counts.items()}
    total = tuple(sum(row[at] for row in rows.values()) for at in range(len(windows)))
    return Profile(tuple(windows), rows, total, (0,) * len(windows), **more)  # type: ignore[arg-type]


def guest(
    label: str, scale: float = 1.0, boots: int = 8, *, seed: int = 0, sigma: float = 0.0, **more: float
) -> Profiled:
    """A guest like Linux. more: function → what it has besides, in instructions of each boot."""
    random = np.random.default_rng(seed)
    made = []
    for _ in range(boots):
        rows: dict[Function, tuple[int, int]] = {
            Function(CodePart.FIRMWARE, "bios-256k.bin", "", named=False): (int(9e6 * scale), 0),
            Function(CodePart.LOADER, "vmlinuz", "", named=False): (int(5e8 * scale), 0),
        }
        for at, name in enumerate(KERNEL):
            size = scale * 4e8 / (at + 1) * (np.exp(random.normal(0, sigma)) if sigma else 1)
            rows[kernel(name)] = (int(size), int(size / 10))
        for name, count in more.items():
            before = rows.get(kernel(name), (0, 0))
            rows[kernel(name)] = (before[0] + int(count), before[1])
        rows[Function(CodePart.MODULE, "virtio_blk", "virtio_queue_rq")] = (int(1e6 * scale), 5000)
        rows[Function(CodePart.PROGRAM, "boot", "main")] = (0, int(8e4 * scale))
        rows[Function(CodePart.LIBRARY, "libc.so.6", "+0x8a000", named=False)] = (0, int(3e5 * scale))
        rows[Function(CodePart.UNNAMED, "", "0x7ffff7fc1000", named=False)] = (0, 700)
        made.append(profile(rows, counter={WHOLE: int(3e9 * scale)}))
    return Profiled(label, tuple(made))
