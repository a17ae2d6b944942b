"""A frame parser of the tests' own: strict, short, and sharing no line with ukperf's decoder."""

from __future__ import annotations

import json
import zlib
from typing import Any


def frames(console: bytes) -> list[dict[str, Any]]:
    """Every frame on the console; AssertionError when one breaks docs/wire.md in any way."""
    found = []
    for piece in console.split(b"\x1e")[1:]:
        line, end, _ = piece.partition(b"\n")
        text = line.removesuffix(b"\r")
        assert end, f"no line feed after {text[:80]!r}"
        assert len(text) <= 16384
        body, mark, crc = text.rpartition(b'"crc":"')
        assert mark and crc.endswith(b'"}') and len(crc) == 10, text[-40:]
        assert int(crc[:8], 16) == zlib.crc32(body), text[:80]
        frame = json.loads(text.decode("ascii"))
        assert {"event", "n", "t", "tsc"} <= set(frame)
        found.append(frame)
    return found


def events(console: bytes) -> list[str]:
    return [frame["event"] for frame in frames(console)]
