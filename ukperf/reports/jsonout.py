"""Anything of ours as plain data for JSON: one encoder. No NaN and no Infinity: where a number is not finite is null.

A dataclass is an object of its members, an enumeration its value. What is said differently in JSON registers its way:
`@plain.register(Type)`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import singledispatch
from numbers import Integral, Real
from pathlib import PurePath
from typing import TypeAlias

from ukperf.model import Comparison

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"


def encode(value: object) -> str:
    """The text that `--json` prints."""
    return json.dumps(plain(value), indent=1, allow_nan=False)


@singledispatch
def plain(value: object) -> Json:
    """Lists, dicts and scalars. Raises TypeError for what is no data."""
    if is_dataclass(value) and not isinstance(value, type):
        return {item.name: plain(getattr(value, item.name)) for item in fields(value)}
    raise TypeError(f"{type(value).__name__} is no data")


@plain.register(type(None))
@plain.register(bool)
def _(value: bool | None) -> Json:
    return value


@plain.register(str)
@plain.register(PurePath)
def _(value: str | PurePath) -> Json:
    return str(value)


@plain.register
def _(value: Integral) -> Json:
    return int(value)


@plain.register
def _(value: Real) -> Json:
    number = float(value)
    return number if math.isfinite(number) else None


@plain.register
def _(value: Enum) -> Json:
    return plain(value.value)


@plain.register
def _(value: Mapping) -> Json:  # type: ignore[type-arg]
    return {str(plain(name)): plain(item) for name, item in value.items()}


@plain.register
def _(value: Sequence) -> Json:  # type: ignore[type-arg]
    return [plain(item) for item in value]


def members(value: object, *without: str) -> dict[str, Json]:
    """A dataclass as an object, without some of its members."""
    whole = plain.dispatch(object)(value)
    assert isinstance(whole, dict)
    return {name: item for name, item in whole.items() if name not in without}


@plain.register
def _(value: Comparison) -> Json:
    return {**members(value), "word": value.word}
