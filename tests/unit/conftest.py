"""Fixtures that several modules of unit tests share."""

from __future__ import annotations

from test_cli import cache, shell

__all__ = ["cache", "shell"]
