"""What an ONNX file says of itself, read without its weights: a bounded walk over its protocol buffers.

The numbers of fields are those of onnx.proto (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BufferedReader

from ukperf.text import clean

FIELDS_MAX = 1_000_000  # a large model has some hundred thousand
TEXT_MAX = 4_096
DEPTH_MAX = 16  # of graphs in branches of graphs
FLOAT = 1  # TensorProto.FLOAT
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types
_EXTERNAL = 1  # TensorProto.EXTERNAL


@dataclass
class OnnxFacts:
    """operators: (domain, name). functions: domains that the file itself defines. inputs: name → kind of number and
    sizes of the first graph's inputs that are no weights, None for a size that is open. external: other files."""

    ir_version: int = 0
    opsets: dict[str, int] = field(default_factory=dict)
    operators: set[tuple[str, str]] = field(default_factory=set)
    functions: set[str] = field(default_factory=set)
    inputs: dict[str, tuple[int, tuple[int | None, ...]]] = field(default_factory=dict)
    external: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class _Field:
    """value: of a number. start, end: where the bytes of a message or text are."""

    number: int
    value: int = 0
    start: int = 0
    end: int = 0


def read_onnx(file: BufferedReader, size: int) -> OnnxFacts:
    """Raises ValueError for what is no ONNX file, or is cut off, and OSError."""
    walk = _Walk(file)
    facts, graphs = OnnxFacts(), []
    for item in walk.fields(0, size):
        if item.number == 1:
            facts.ir_version = item.value
        elif item.number == 7:
            graphs.append(item)
        elif item.number == 8:
            walk.opset(item, facts)
        elif item.number == 25:
            facts.functions.add(walk.text_in(item, 10))
            walk.nodes(item, facts, number=7, depth=1)
        elif item.number not in (2, 3, 4, 5, 6, 14, 20, 26):
            raise ValueError("it is no ONNX file")
    if not graphs or not facts.ir_version:
        raise ValueError("it is no ONNX file")
    for graph in graphs:
        walk.graph(graph, facts)
    return facts


class _Walk:
    """Fields of messages, one after another; what nobody asks for is passed over and not read."""

    def __init__(self, file: BufferedReader) -> None:
        self._file, self._left = file, FIELDS_MAX

    def fields(self, start: int, end: int) -> Iterator[_Field]:
        at = start
        while at < end:
            self._left -= 1
            if self._left < 0:
                raise ValueError("it has too many parts")
            self._file.seek(at)
            head = self._file.read(20)  # two numbers have ten bytes each at most
            tag, used = _varint(head, 0)
            number, wire = tag >> 3, tag & 7
            at += used
            if wire == _VARINT:
                value, more = _varint(head, used)
                at += more
                item = _Field(number, value)
            elif wire == _BYTES:
                length, more = _varint(head, used)
                item = _Field(number, 0, at + more, at + more + length)
                at = item.end
            elif wire in (_FIXED32, _FIXED64):
                at += 8 if wire == _FIXED64 else 4
                item = _Field(number)
            else:
                raise ValueError("it is no ONNX file")
            if number == 0 or at > end:
                raise ValueError("it is cut off, or no ONNX file")
            yield item

    def text(self, item: _Field) -> str:
        self._file.seek(item.start)
        return clean(self._file.read(min(item.end - item.start, TEXT_MAX)).decode("utf-8", "replace"), 200)

    def text_in(self, message: _Field, number: int) -> str:
        """A text field of a message; empty where it is not there."""
        return next((self.text(f) for f in self.fields(message.start, message.end) if f.number == number), "")

    def opset(self, message: _Field, facts: OnnxFacts) -> None:
        version = next((f.value for f in self.fields(message.start, message.end) if f.number == 2), 0)
        facts.opsets[self.text_in(message, 1)] = version

    def graph(self, message: _Field, facts: OnnxFacts, depth: int = 0) -> None:
        weights: set[str] = set()
        inputs: dict[str, tuple[int, tuple[int | None, ...]]] = {}
        for item in self.fields(message.start, message.end):
            if item.number == 5:
                weights.add(self.weight(item, facts))
            elif item.number == 11 and depth == 0:
                inputs[self.text_in(item, 1)] = self.kind(item)
        self.nodes(message, facts, number=1, depth=depth)
        facts.inputs |= {name: kind for name, kind in inputs.items() if name not in weights}

    def nodes(self, message: _Field, facts: OnnxFacts, number: int, depth: int) -> None:
        """Operators, and those in the branches of conditions and loops."""
        if depth > DEPTH_MAX:
            raise ValueError("its graphs are nested too deeply")
        for node in self.fields(message.start, message.end):
            if node.number != number:
                continue
            name = domain = ""
            for item in self.fields(node.start, node.end):
                if item.number == 4:
                    name = self.text(item)
                elif item.number == 7:
                    domain = self.text(item)
                elif item.number == 5:
                    self.attribute(item, facts, depth)
            facts.operators.add((domain, name))

    def attribute(self, message: _Field, facts: OnnxFacts, depth: int) -> None:
        for item in self.fields(message.start, message.end):
            if item.number in (6, 11) and item.end:
                self.graph(item, facts, depth + 1)
            elif item.number in (5, 10) and item.end:
                self.weight(item, facts)

    def weight(self, message: _Field, facts: OnnxFacts) -> str:
        """The name of a tensor; where its numbers are in another file, that is noted."""
        name, outside, place = "", False, ""
        for item in self.fields(message.start, message.end):
            if item.number == 8:
                name = self.text(item)
            elif item.number == 14:
                outside = item.value == _EXTERNAL
            elif item.number == 13 and self.text_in(item, 1) == "location":
                place = self.text_in(item, 2)
        if outside:
            facts.external.add(place)
        return name

    def kind(self, value: _Field) -> tuple[int, tuple[int | None, ...]]:
        """Kind of number and sizes of an input; 0 where it is no tensor."""
        for message in self.messages(value, 2, 1):
            parts = list(self.fields(message.start, message.end))
            number = next((part.value for part in parts if part.number == 1), 0)
            dims = [d for part in parts if part.number == 2 for d in self.messages(part, 1)]
            sizes = [next((f.value for f in self.fields(d.start, d.end) if f.number == 1), None) for d in dims]
            return number, tuple(sizes)
        return 0, ()

    def messages(self, message: _Field, *numbers: int) -> list[_Field]:
        """The messages that a path of fields leads to."""
        here = [message]
        for number in numbers:
            here = [f for m in here for f in self.fields(m.start, m.end) if f.number == number]
        return here


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for used, byte in enumerate(data[at : at + 10]):
        value |= (byte & 0x7F) << (7 * used)
        if byte < 0x80:
            return value & (1 << 64) - 1, used + 1
    raise ValueError("it is cut off, or no ONNX file")
