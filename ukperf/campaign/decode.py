"""JSON data → our frozen dataclasses, every type checked: files on disk may be damaged, or not be ours at all."""

from __future__ import annotations

import math
import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

T = TypeVar("T")


def decode(kind: type[T], data: object) -> T:
    """An instance of the dataclass `kind`. Unknown keys are refused; a missing one is its default.

    Raises ValueError with the place of what does not fit.
    """
    return cast(T, _decode(kind, data, kind.__name__))


def _decode(kind: Any, data: object, at: str) -> object:
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        return _optional(kind, data, at)
    if origin is tuple:
        return _tuple(kind, data, at)
    if origin is Mapping:
        return _mapping(kind, data, at)
    if is_dataclass(kind):
        return _dataclass(kind, data, at)
    return _scalar(kind, data, at)


def _optional(kind: Any, data: object, at: str) -> object:
    options = get_args(kind)
    if data is None and type(None) in options:
        return None
    return _decode(next(option for option in options if option is not type(None)), data, at)


def _tuple(kind: Any, data: object, at: str) -> object:
    items = get_args(kind)
    if not isinstance(data, list | tuple):
        raise ValueError(f"{at} is no list")
    if items[-1] is Ellipsis:
        if items[0] is float and set(map(type, data)) == {float} and all(map(math.isfinite, data)):
            return tuple(data)  # a boot may have thousands of iterations
        return tuple(_decode(items[0], item, at) for item in data)
    if len(items) != len(data):
        raise ValueError(f"{at} has not {len(items)} items")
    return tuple(_decode(item, value, at) for item, value in zip(items, data, strict=True))


def _mapping(kind: Any, data: object, at: str) -> object:
    keys, values = get_args(kind)
    if not isinstance(data, Mapping):
        raise ValueError(f"{at} is no object")
    return {_scalar(keys, key, at): _decode(values, value, f"{at}.{key}") for key, value in data.items()}


def _dataclass(kind: Any, data: object, at: str) -> object:
    if not isinstance(data, Mapping):
        raise ValueError(f"{at} is no object")
    known, needed = _shape(kind)
    if not data.keys() <= known.keys():
        raise ValueError(f"{at} has an unknown {sorted(data.keys() - known.keys())[0]!r}")
    if not needed <= data.keys():
        raise ValueError(f"{at} lacks {sorted(needed - data.keys())[0]!r}")
    return kind(**{name: _decode(known[name], value, f"{at}.{name}") for name, value in data.items()})


@cache
def _shape(kind: Any) -> tuple[dict[str, Any], frozenset[str]]:
    """Field → type, and the fields without a default."""
    hints = get_type_hints(kind)
    needed = [item.name for item in fields(kind) if item.default is MISSING and item.default_factory is MISSING]
    return {item.name: hints[item.name] for item in fields(kind)}, frozenset(needed)


def _scalar(kind: Any, data: object, at: str) -> object:
    if kind is object and (data is None or isinstance(data, str | int | float)):
        return data
    if kind is bool and isinstance(data, bool):
        return data
    if kind is int and isinstance(data, int) and not isinstance(data, bool):
        return data
    if kind is float and isinstance(data, int | float) and not isinstance(data, bool) and _finite(data):
        return float(data)
    if isinstance(data, str) and isinstance(kind, type) and issubclass(kind, str | Path):
        if issubclass(kind, StrEnum) and data not in set(kind):
            raise ValueError(f"{at}: there is no {data!r}")
        return kind(data)
    raise ValueError(f"{at} is no {getattr(kind, '__name__', kind)}")


def _finite(number: float) -> bool:
    try:
        return math.isfinite(number)
    except OverflowError:  # an integer of hundreds of digits
        return False
