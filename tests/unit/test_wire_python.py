"""The Python end of the wire writes what docs/wire.md says."""

from __future__ import annotations

import importlib.util
import json
import os
import zlib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ukperf.resources import data


@pytest.fixture(scope="module")
def wire() -> ModuleType:
    spec = importlib.util.spec_from_file_location("ukperf_wire", data("workloads", "common", "ukperf_wire.py"))
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def frames(raw: bytes) -> list[dict[str, Any]]:
    found = []
    for piece in raw.split(b"\x1e")[1:]:
        assert piece.endswith(b"\n")
        body = piece[:-1]
        assert len(body) <= 16_384
        at = body.index(b'"crc":')
        assert f"{zlib.crc32(body[:at]):08x}" == json.loads(body)["crc"]
        found.append(json.loads(body))
    return found


def spoken(wire: ModuleType, tmp_path: Path, talk: Any) -> list[dict[str, Any]]:
    path = tmp_path / "console"
    fd = os.open(path, os.O_CREAT | os.O_WRONLY)
    try:
        talk(wire.Wire("demo", fd))
    finally:
        os.close(fd)
    return frames(path.read_bytes())


def test_frames_are_numbered_stamped_and_begin_with_main(wire: ModuleType, tmp_path: Path) -> None:
    def talk(w: Any) -> None:
        w.phase("fit")
        w.check("answer", "3f2a")
        w.error("no such thing \u2026 \x1b" + "x" * 600)

    said = spoken(wire, tmp_path, talk)
    assert [f["event"] for f in said] == ["main", "phase", "check", "error"]
    assert [f["n"] for f in said] == [0, 1, 2, 3]
    assert said[0]["v"] == 1
    assert said[1]["t"] >= said[0]["t"] > 0
    assert said[1]["tsc"] > said[0]["tsc"] > 0
    assert len(said[3]["message"]) == 500
    assert said[3]["message"].startswith("no such thing ? ?xxx")


def test_values_that_do_not_fit_go_on_in_further_frames(wire: ModuleType, tmp_path: Path) -> None:
    values = [1 / (i + 3) for i in range(1000)]
    said = spoken(wire, tmp_path, lambda w: w.samples("b", "s", values, 4, warmups=values[:7], meta={"rows": 3}))[1:]
    assert [v for f in said for v in f["values"]] == values
    assert [v for f in said for v in f.get("warmups", [])] == values[:7]
    assert all(f["loops"] == 4 and f["meta_rows"] == 3 and f["benchmark"] == "b" for f in said)


@given(st.text(max_size=300))
def test_any_text_becomes_ascii_within_its_limit(wire: ModuleType, text: str) -> None:
    said = wire.ascii_text(text, 128)
    assert len(said) <= 128
    assert all(" " <= c <= "~" for c in said)


def test_numbers_that_json_has_not_are_refused(wire: ModuleType) -> None:
    with pytest.raises(ValueError, match="Out of range"):
        wire.encode({"event": "x", "value": float("nan")})
