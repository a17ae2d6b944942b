"""Fixtures that several modules of unit tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from test_cli import cache, shell

from ukperf.guests import recipes
from ukperf.imaging import inuse

__all__ = ["cache", "shell"]


@pytest.fixture(autouse=True)
def no_named_recipes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A guest that one test named by --guest-file takes part in no other test."""
    monkeypatch.setattr(recipes, "_named", {})


@pytest.fixture(autouse=True)
def no_locked_caches() -> Iterator[None]:
    """A process has one cache, these tests have thousands: each one's lock file is closed at its end."""
    yield
    while inuse._locks:
        _, locks = inuse._locks.popitem()
        os.close(locks.descriptor)
