"""Kernels of the store as `ukperf images` shows them: a table, the lines after one was added, and facts for JSON."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ukperf.guests.stored import Pull
    from ukperf.imaging.kernelstore import KernelStore, StoredKernel
    from ukperf.reports.page import Table


@dataclass(frozen=True)
class StoredFileFacts:
    role: str
    path: Path
    sha256: str


@dataclass(frozen=True)
class KernelFacts:
    """A kernel as JSON has it. digests: sha256:HEX."""

    guest: str
    version: str
    platform: str
    digest: str
    bytes: int
    files: tuple[StoredFileFacts, ...]
    source: str
    source_digest: str | None
    pinned: bool
    added_at: str
    probed: bool


def facts_of(entry: StoredKernel) -> KernelFacts:
    return KernelFacts(
        guest=entry.guest,
        version=entry.version,
        platform=entry.platform,
        digest=f"sha256:{entry.digest}",
        bytes=entry.size,
        files=tuple(StoredFileFacts(f.role, entry.path(f.role), f.sha256) for f in entry.files),
        source=entry.source,
        source_digest=f"sha256:{entry.source_digest}" if entry.source_digest else None,
        pinned=entry.pinned,
        added_at=entry.added_at,
        probed=entry.probed,
    )


def _taken_by(entry: StoredKernel, store: KernelStore) -> str:
    return f"-g {entry.guest}" if store.default(entry) else f"-g {entry.guest}:{entry.version}"


def pulled_lines(pulled: Pull, store: KernelStore) -> list[str]:
    lines = added_lines(pulled.entry, store)
    if pulled.first_use:
        digest = pulled.entry.source_digest
        tag = f" --version {pulled.again}" if pulled.again else ""
        lines.append(
            f"Unpinned digest; trusted on first use: sha256:{digest} of {pulled.entry.source}. "
            "It is trusted from now on, and another one under this version will be refused. Others get the same by: "
            f"ukperf images pull {pulled.entry.guest}{tag} --sha256 {digest}"
        )
    return lines


def added_lines(entry: StoredKernel, store: KernelStore) -> list[str]:
    return [
        f"{entry.guest} {entry.version} ({entry.platform}) is here, taken by {_taken_by(entry, store)}:",
        *(f"  {file.role}: sha256:{file.sha256} ({file.size:,} bytes)" for file in entry.files),
    ]


def kernel_table(store: KernelStore, entries: Sequence[StoredKernel]) -> Table:
    from ukperf.reports.page import table

    rows = [
        (
            e.guest,
            e.version,
            e.platform,
            _taken_by(e, store),
            e.sha256("kernel")[:12],
            f"{e.size:,}",
            e.added_at[:10],
            f"{e.source} ({'pinned' if e.pinned else 'first use'})" if e.source_digest else e.source,
        )
        for e in entries
    ]
    return table(("guest", "version", "for", "taken by", "kernel's sha256", "bytes", "added", "from"), rows, right=(5,))
