"""What ukperf processes left behind that died without cleaning: cleared at the next start, whatever that is for."""

from __future__ import annotations

from ukperf.files import clear_drafts
from ukperf.hosts import children, ownership
from ukperf.hosts.embed import kept_capabilities
from ukperf.paths import cache_dir


def clear() -> None:
    """End what dead ukperf processes of this user started here, and remove their folders and half-written files."""
    children.end_strays()
    ownership.remove_strays()
    for folder in (cache_dir(), cache_dir() / "digests", kept_capabilities()):
        clear_drafts(folder)
