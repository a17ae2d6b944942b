"""JSON or TOML data → our frozen dataclasses, every type checked: files on disk may be damaged, or not be ours at all.

What ukperf stores has a `format`: what an older ukperf wrote is read, what a newer one wrote is never guessed at.
For each type a reader is put together once: a run of a thousand boots has a million values.
"""

from __future__ import annotations

import math
import re
import types
from collections.abc import Callable, Hashable, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

INTEGER_MAX = 1 << 64  # guests' counters have 64 bits; larger ones are too much for arrays and for floats
T = TypeVar("T")
Reader = Callable[[object], Any]
_FORMAT = "format"
_AS_THEY_ARE = frozenset({str, int, float, bool, types.NoneType})
# What Python's types are called by people who never saw Python.
_WORDS: Mapping[object, str] = {str: "text", int: "whole number", float: "number", bool: "true or false", Path: "path"}


@dataclass(frozen=True)
class Within:
    """Annotated[int, Within(0, 9, "digit")]: nothing smaller or larger. what: the word for it when one is refused."""

    least: float
    most: float
    what: str

    def fits(self, value: float) -> bool:
        return self.least <= value <= self.most


@dataclass(frozen=True)
class Fitting:
    """Annotated[str, Fitting("[0-9a-f]{64}", "sha256")]: nothing that the whole pattern does not fit."""

    pattern: str
    what: str

    def fits(self, value: str) -> bool:
        return re.fullmatch(self.pattern, value) is not None


SHA256 = Fitting("[0-9a-f]{64}", "sha256")


class NewerError(ValueError):
    """A file of ours that a newer ukperf wrote."""


class _Misfit(ValueError):
    """What does not fit, and where: the names on the way are added as the error goes up."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what
        self.place: list[str] = []

    def __str__(self) -> str:
        return "".join(self.place) + self.what


def decode(kind: type[T], data: object) -> T:
    """An instance of the dataclass `kind`. Unknown keys are refused; a missing one is its default.

    Integers are below INTEGER_MAX in size, and all numbers finite.

    Raises ValueError with the place of what does not fit.
    """
    try:
        return cast(T, _reader(cast(Any, kind))(data))
    except _Misfit as misfit:
        misfit.place.insert(0, kind.__name__)
        raise


def decode_stored(kind: type[T], data: object, known: int) -> T:
    """`decode` of what a file of ours holds. known: the newest format that is understood; what has no `format` is of
    format 0, as ukperf 0.1 wrote it.

    Raises NewerError for what a newer ukperf wrote, and ValueError as `decode`.
    """
    if not isinstance(data, dict):
        raise ValueError(f"{kind.__name__} is no object")
    number = data.get(_FORMAT, 0)
    if type(number) is not int or number < 0:
        raise ValueError(f"{kind.__name__}.{_FORMAT} is no format")
    if number > known:
        raise NewerError(f"it was written by a newer ukperf (format {number}, and this one reads up to {known})")
    return decode(kind, {name: value for name, value in data.items() if name != _FORMAT})


def encode(value: DataclassInstance, number: int) -> dict[str, Any]:
    """The inverse: JSON data, with the number of its format in front. Paths are for `json.dumps(…, default=str)`."""
    return {_FORMAT: number, **_plain(value)}


def _plain(value: Any) -> Any:
    """As `dataclasses.asdict`, which copies what is in there, too, and takes four times as long."""
    if type(value) in _AS_THEY_ARE:
        return value
    if isinstance(value, Mapping):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    names = _names(cast(Hashable, type(value)))
    return value if names is None else {name: _plain(getattr(value, name)) for name in names}


@cache
def _names(kind: Any) -> tuple[str, ...] | None:
    return tuple(field.name for field in fields(kind)) if is_dataclass(kind) else None


@cache
def _reader(kind: Any) -> Reader:
    origin = get_origin(kind)
    made = {Union: _optional, types.UnionType: _optional, tuple: _tuple, Mapping: _mapping, Annotated: _bounded}
    if origin in made:
        return made[origin](kind)
    if is_dataclass(kind):
        return _dataclass(kind)
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return _choice(kind)
    return _scalar(kind)


def _bounded(kind: Any) -> Reader:
    inner, bound = get_args(kind)
    read = _reader(inner)

    def check(data: object) -> object:
        try:
            value = read(data)
        except _Misfit:
            raise _Misfit(f" is no {bound.what}") from None
        if not bound.fits(value):
            raise _Misfit(f" is no {bound.what}")
        return value

    return check


def _optional(kind: Any) -> Reader:
    options = get_args(kind)
    read = _reader(next(option for option in options if option is not type(None)))
    return lambda data: None if data is None and type(None) in options else read(data)


def _tuple(kind: Any) -> Reader:
    items = get_args(kind)
    readers = [_reader(item) for item in items if item is not Ellipsis]

    def any_length(data: object) -> tuple[object, ...]:
        if not isinstance(data, list | tuple):
            raise _Misfit(" is no list")
        if items[0] is float and set(map(type, data)) == {float} and all(map(math.isfinite, data)):
            return tuple(data)  # a boot may have thousands of iterations
        return tuple(map(readers[0], data))

    def fixed(data: object) -> tuple[object, ...]:
        if not isinstance(data, list | tuple):
            raise _Misfit(" is no list")
        if len(readers) != len(data):
            raise _Misfit(f" has not {len(readers)} items")
        return tuple(read(value) for read, value in zip(readers, data, strict=True))

    return any_length if items[-1] is Ellipsis else fixed


def _mapping(kind: Any) -> Reader:
    key_reader, value_reader = map(_reader, get_args(kind))

    def read(data: object) -> dict[object, object]:
        if not isinstance(data, Mapping):
            raise _Misfit(" is no object")
        decoded: dict[object, object] = {}
        for key, value in data.items():
            try:
                decoded[key_reader(key)] = value_reader(value)
            except _Misfit as misfit:
                misfit.place.insert(0, f".{key}")
                raise
        return decoded

    return read


def _dataclass(kind: Any) -> Reader:
    hints = get_type_hints(kind, include_extras=True)
    names = [item.name for item in fields(kind)]
    needed = {i.name for i in fields(kind) if i.default is MISSING and i.default_factory is MISSING}
    readers: dict[str, Reader] = {name: _reader(hints[name]) for name in names}

    def read(data: object) -> object:
        if not isinstance(data, Mapping):
            raise _Misfit(" is no object")
        if not data.keys() <= readers.keys():
            raise _Misfit(f" has an unknown {sorted(data.keys() - readers.keys())[0]!r}")
        if not needed <= data.keys():
            raise _Misfit(f" lacks {sorted(needed - data.keys())[0]!r}")
        members: dict[str, object] = {}
        for name, value in data.items():
            try:
                members[name] = readers[name](value)
            except _Misfit as misfit:
                misfit.place.insert(0, f".{name}")
                raise
        return kind(**members)

    return read


def _choice(kind: type[StrEnum]) -> Reader:
    members = {member.value: member for member in kind}

    def read(data: object) -> StrEnum:
        if not isinstance(data, str):
            raise _Misfit(f" is no {kind.__name__}")
        if data not in members:
            raise _Misfit(f": there is no {data!r}")
        return members[data]

    return read


def _scalar(kind: Any) -> Reader:
    def read(data: object) -> object:
        if isinstance(data, int) and abs(data) > INTEGER_MAX:
            raise _Misfit(" is too large a number")
        if type(data) is kind and kind is not float:  # str, int, bool as JSON has them
            return data
        if kind is object and isinstance(data, list | tuple):
            return tuple(map(_plain_scalar, data))
        if kind is object:
            return _plain_scalar(data)
        if kind is float and isinstance(data, int | float) and not isinstance(data, bool) and math.isfinite(data):
            return float(data)
        if isinstance(data, str) and isinstance(kind, type) and issubclass(kind, str | Path):
            return kind(data)
        raise _Misfit(f" is no {_WORDS.get(kind, 'plain value')}")

    return read


def _plain_scalar(data: object) -> object:
    if data is None or isinstance(data, str) or _is_finite_float(data):
        return data
    if isinstance(data, int) and abs(data) <= INTEGER_MAX:
        return data
    raise _Misfit(" is no plain value")


def _is_finite_float(data: object) -> bool:
    return isinstance(data, float) and math.isfinite(data)
