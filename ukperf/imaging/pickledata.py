"""Pickles read as data: what a pickle would build is described, and nothing of it is built.

A pickle is a program that names things, imports and calls them. Here its opcodes are only looked at (pickletools, which
CPython's documentation gives for pickles that nobody trusts): a name becomes `Named`, a call `Made`. No module is
imported, nothing is looked up, no function of the pickle's choosing runs.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

OPCODES_MAX = 2_000_000  # each may be an object; 20 newsgroups take a tenth


@dataclass(frozen=True)
class Named:
    """Something that the pickle would have imported."""

    module: str
    name: str


@dataclass
class Made:
    """Something that the pickle would have made by calling `by` (a Named, or whatever it has put there)."""

    by: object
    arguments: object
    items: dict[object, object] = field(default_factory=dict)
    state: object = None


class _Mark:
    """Where the members of a list, tuple or mapping begin on the stack."""


_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_VALUES = frozenset({"BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE"})
_VALUES |= {"BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"}
_EMPTY: dict[str, Callable[[], object]] = {"EMPTY_LIST": list, "EMPTY_TUPLE": tuple, "EMPTY_DICT": dict}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_NOTHING_TO_DO = frozenset({"PROTO", "FRAME"})


def describe(data: bytes) -> object:
    """Plain values as they are (numbers, text, bytes, lists, tuples, mappings), the rest as Named and Made.

    Knows what Python 3 writes (protocols 3 to 5) for such values. Raises ValueError for everything else.
    """
    reader = _Reader()
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(data)):
            if count >= OPCODES_MAX:
                raise ValueError(f"it has more than {OPCODES_MAX:,} opcodes")
            reader.step(opcode.name, argument)
    except (IndexError, KeyError, TypeError, OverflowError) as e:
        raise ValueError(f"it is no sound pickle ({type(e).__name__})") from e
    if len(reader.stack) != 1:
        raise ValueError("it is no sound pickle (values are left)")
    return reader.stack[0]


class _Reader:
    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def step(self, name: str, argument: Any) -> None:
        stack = self.stack
        if name in _VALUES:
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _EMPTY:
            stack.append(_EMPTY[name]())
        elif name in _TUPLES:
            stack.append(tuple(self._pop(_TUPLES[name])))
        elif name == "MARK":
            stack.append(_Mark())
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(self.memo[argument])
        elif name in ("BINPUT", "LONG_BINPUT"):
            self.memo[argument] = stack[-1]
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = stack[-1]
        elif name in _STEPS:
            _STEPS[name](self, argument)
        elif name not in _NOTHING_TO_DO and name != "STOP":
            raise ValueError(f"it holds something else than plain values and arrays ({name})")

    def _pop(self, count: int) -> list[Any]:
        if len(self.stack) < count:
            raise IndexError
        values = self.stack[len(self.stack) - count :]
        del self.stack[len(self.stack) - count :]
        if any(isinstance(value, _Mark) for value in values):
            raise IndexError
        return values

    def _since_mark(self) -> list[Any]:
        at = len(self.stack) - 1
        while not isinstance(self.stack[at], _Mark):
            at -= 1
            if at < 0:
                raise IndexError
        values = self.stack[at + 1 :]
        del self.stack[at:]
        return values

    def _tuple(self, _argument: object) -> None:
        self.stack.append(tuple(self._since_mark()))

    def _append(self, values: list[Any]) -> None:
        if not isinstance(self.stack[-1], list):
            raise TypeError
        self.stack[-1].extend(values)

    def _set(self, values: list[Any]) -> None:
        target = self.stack[-1].items if isinstance(self.stack[-1], Made) else self.stack[-1]
        if not isinstance(target, dict) or len(values) % 2:
            raise TypeError
        keys = values[::2]
        if not all(isinstance(key, str | int) for key in keys):
            raise ValueError("a mapping in it has keys that are neither text nor numbers")
        target.update(zip(keys, values[1::2], strict=True))

    def _name(self, argument: object) -> None:
        if argument is None:  # STACK_GLOBAL
            module, name = self._pop(2)
        else:
            module, _, name = str(argument).partition(" ")
        self.stack.append(Named(str(module), str(name)))

    def _make(self, _argument: object) -> None:
        by, arguments = self._pop(2)
        self.stack.append(Made(by, arguments))

    def _build(self, _argument: object) -> None:
        (state,) = self._pop(1)
        if not isinstance(self.stack[-1], Made):
            raise TypeError
        self.stack[-1].state = state


_STEPS: dict[str, Callable[[_Reader, Any], None]] = {
    "TUPLE": _Reader._tuple,
    "APPEND": lambda reader, _: reader._append(reader._pop(1)),
    "APPENDS": lambda reader, _: reader._append(reader._since_mark()),
    "SETITEM": lambda reader, _: reader._set(reader._pop(2)),
    "SETITEMS": lambda reader, _: reader._set(reader._since_mark()),
    "GLOBAL": _Reader._name,
    "STACK_GLOBAL": _Reader._name,
    "REDUCE": _Reader._make,
    "NEWOBJ": _Reader._make,
    "BUILD": _Reader._build,
}
