"""Stored data becomes typed data or a sentence about the place that does not fit; formats go up, never down."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import pytest

from ukperf.decode import SHA256, NewerError, Within, decode, decode_stored, encode


@dataclass(frozen=True)
class Inner:
    path: Path | None = None


@dataclass(frozen=True)
class Thing:
    name: str
    size: Annotated[int, Within(1, 9, "digit")] = 1
    digests: Mapping[str, Annotated[str, SHA256]] = field(default_factory=dict)
    inner: tuple[Inner, ...] = ()
    loops: int = 1


WHOLE = Thing("x", 9, {"a": "0" * 64}, (Inner(), Inner(Path("/a b"))))


def test_what_is_stored_comes_back_as_it_was() -> None:
    text = json.dumps(encode(WHOLE, 2), default=str)
    assert text.startswith('{"format": 2, ')
    assert decode_stored(Thing, json.loads(text), 2) == WHOLE


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ({"name": "x", "size": 10}, "Thing.size is no digit"),
        ({"name": "x", "size": 0}, "Thing.size is no digit"),
        ({"name": "x", "size": "5"}, "Thing.size is no digit"),
        ({"name": "x", "size": True}, "Thing.size is no digit"),
        ({"name": 1}, "Thing.name is no text"),
        ({"name": "x", "loops": 1.5}, "Thing.loops is no whole number"),
        ({"name": "x", "digests": {"a": "0" * 63 + "g"}}, "Thing.digests.a is no sha256"),
        ({"name": "x", "digests": {"a": "0" * 64 + "\n"}}, "Thing.digests.a is no sha256"),
        ({"name": "x", "inner": [{"path": 7}]}, "Thing.inner.path is no path"),
        ({}, "Thing lacks 'name'"),
        ({"name": "x", "colour": 1}, "Thing has an unknown 'colour'"),
    ],
)
def test_what_does_not_fit_is_said_with_its_place(data: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=f"^{sentence}$"):
        decode(Thing, data)


def test_what_has_no_format_is_the_first_ukperfs() -> None:
    assert decode_stored(Thing, {"name": "x"}, 3) == Thing("x")
    assert decode_stored(Thing, {"format": 2, "name": "x"}, 3) == Thing("x")


def test_what_a_newer_ukperf_wrote_is_not_guessed_at() -> None:
    with pytest.raises(NewerError, match=r"written by a newer ukperf \(format 4, and this one reads up to 3\)"):
        decode_stored(Thing, {"format": 4, "name": ["whatever", "that", "is"]}, 3)


@pytest.mark.parametrize("number", [-1, 1.0, True, "1", None])
def test_a_format_is_a_number(number: object) -> None:
    with pytest.raises(ValueError, match="is no format"):
        decode_stored(Thing, {"format": number, "name": "x"}, 3)


@pytest.mark.parametrize("data", [[], "x", None, 7])
def test_what_is_no_object_is_none_of_ours(data: object) -> None:
    with pytest.raises(ValueError, match="is no object"):
        decode_stored(Thing, data, 1)
