"""Fixtures that several modules of unit tests share."""

from __future__ import annotations

import pytest
from test_cli import cache, shell

from ukperf.guests import recipes

__all__ = ["cache", "shell"]


@pytest.fixture(autouse=True)
def no_named_recipes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A guest that one test named by --guest-file takes part in no other test."""
    monkeypatch.setattr(recipes, "_named", {})
