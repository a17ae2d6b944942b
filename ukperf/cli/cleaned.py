"""What `ukperf images clean` does and says."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING

import typer

from ukperf.errors import UkperfError

if TYPE_CHECKING:
    from ukperf.imaging.cleaning import CacheEntry
    from ukperf.reports.page import Part


def bytes_of(text: str) -> int:
    """SIZE: 500M, 2 GiB, a power of 1,024. Raises typer.BadParameter."""
    size = re.fullmatch(r"([0-9]{1,15}(?:\.[0-9]{1,3})?) ?([kmgt]?)(?:i?b)?", text.strip().lower())
    if size is None:
        raise typer.BadParameter(f"{text!r} is no size, like 500M or 2G.")
    return int(float(size[1]) * 1024 ** " kmgt".index(size[2] or " "))


def show_cleaned(max_bytes: int | None, as_json: bool) -> None:
    """Empty the cache, and say what went, what stays and why."""
    from ukperf.cli.output import show_page
    from ukperf.imaging import cleaning
    from ukperf.paths import cache_dir
    from ukperf.reports.jsonout import members
    from ukperf.reports.page import Line, PlainPage

    root = cache_dir()
    cleaned = cleaning.clean(root, max_bytes or 0)
    freed = sum(entry.bytes for entry in cleaned.removed)
    parts: list[Part] = [_by_kind(cleaned.removed)] if cleaned.removed else []
    if cleaned.in_use:
        names = ", ".join(f"{count} in {kind}" for kind, count in _counts(cleaned.in_use).items())
        parts.append(Line(f"A running ukperf uses, so it stays: {names}.", wraps=False))
    total = cleaning.size_of(root)
    parts.append(Line(f"{freed:,} bytes freed; the cache {root} has {total:,} bytes now.", wraps=False))
    said = {
        "cache": root,
        "removed": [members(entry) for entry in cleaned.removed],
        "in_use": [members(entry) for entry in cleaned.in_use],
        "bytes": freed,
        "left_bytes": total,
    }
    show_page(PlainPage(tuple(parts), said), as_json)


def show_cleaned_host(connect: str, max_bytes: int | None, as_json: bool) -> None:
    """Remove from another host what ukperf brought there. Raises UkperfError for a limit, which is for the cache."""
    from ukperf.cli.output import show_page
    from ukperf.hosts import open_host
    from ukperf.reports.page import sentences

    if max_bytes is not None:
        raise UkperfError("--max-size is for this machine's cache, not for another host.", hint="Leave it out.")
    with open_host(connect) as host:
        freed = host.clean()
    show_page(sentences({"host": connect, "bytes": freed}, f"{freed:,} bytes freed on {connect}."), as_json)


def _by_kind(removed: Iterable[CacheEntry]) -> Part:
    """A line a kind, the one that was unused for longest first."""
    from ukperf.reports.page import table

    kinds: dict[str, list[CacheEntry]] = {}
    for entry in removed:
        kinds.setdefault(entry.kind, []).append(entry)
    rows = [
        (kind, str(len(those)), f"{sum(e.bytes for e in those):,}", _day(those[0].used_ns), _day(those[-1].used_ns))
        for kind, those in kinds.items()
    ]
    return table(("removed", "entries", "bytes", "last used from", "to"), rows, right=(1, 2))


def _counts(entries: Iterable[CacheEntry]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for entry in entries:
        counts[entry.kind] = counts.get(entry.kind, 0) + 1
    return counts


def _day(used_ns: int) -> str:
    return datetime.fromtimestamp(used_ns / 1e9).astimezone().strftime("%Y-%m-%d %H:%M")
