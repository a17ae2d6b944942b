"""Consoles of any width, or of none."""

from __future__ import annotations

import io
import sys

import pytest

from ukperf.reports import terminal


@pytest.mark.parametrize("columns", ["0", "1", "00", "19"])
def test_a_table_is_printed_whatever_columns_says(monkeypatch: pytest.MonkeyPatch, columns: str) -> None:
    out = io.StringIO()
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setattr(sys, "stdout", out)
    console = terminal.stdout_console()
    console.print("ratio  verdict", soft_wrap=True)
    assert out.getvalue() == "ratio  verdict\n"
    assert console.width >= terminal.LEAST_WIDTH


def test_a_width_that_can_be_meant_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "133")
    assert terminal.stdout_console().width == 133
