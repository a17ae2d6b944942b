"""What a GGUF file says of itself, read without its weights (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md)."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from io import BufferedReader

from ukperf.text import clean

ITEMS_MAX = 100_000  # tensors, and entries of metadata; large models have a thousand
TEXT_MAX = 1 << 20  # bytes of one string: a template of chats is one
ARRAY_MAX = 4_000_000  # words of a vocabulary; large ones have 260,000
_VERSIONS = (2, 3)
_CUT = "it is cut off, or no GGUF file"
_NUMBERS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_STRING, _ARRAY = 8, 9
_ARCHITECTURE, _TOKENS, _VOCABULARY = "general.architecture", "tokenizer.ggml.tokens", ".vocab_size"
_WANTED = (_ARCHITECTURE, _TOKENS)
_DIMENSIONS_MAX = 4


@dataclass(frozen=True)
class GgufFacts:
    """architecture: llama, qwen2 …; vocabulary: how many tokens it knows, 0 where it does not say."""

    architecture: str
    vocabulary: int


def read_gguf(file: BufferedReader, size: int) -> GgufFacts:
    """Raises ValueError for what is no GGUF file, is cut off, or of a version that is not known here, and OSError."""
    file.seek(0)
    walk = _Walk(file, size)
    if walk.take(4) != b"GGUF":
        raise ValueError(_CUT)
    version = walk.number("<I")
    if version not in _VERSIONS:
        raise ValueError(f"it is GGUF of version {version}, and known are {', '.join(map(str, _VERSIONS))}")
    tensors, entries = walk.count("<Q", ITEMS_MAX), walk.count("<Q", ITEMS_MAX)
    told: dict[str, str | int] = {}
    for _ in range(entries):
        name, value = walk.text(), walk.value()
        if name in _WANTED or name.endswith(_VOCABULARY):
            told[name] = value
    last = max((_tensor(walk) for _ in range(tensors)), default=0)
    if walk.at + last > size:
        raise ValueError("its weights are cut off")
    architecture = clean(str(told.get(_ARCHITECTURE, "")), 40)
    vocabulary = told.get(_TOKENS) or told.get(architecture + _VOCABULARY)
    return GgufFacts(architecture, vocabulary if isinstance(vocabulary, int) else 0)


def _tensor(walk: _Walk) -> int:
    """Where its numbers begin, from the end of all that describes the file."""
    walk.text()
    sizes = [walk.number("<Q") for _ in range(walk.count("<I", _DIMENSIONS_MAX))]
    walk.number("<I")  # its kind of number, of which there are more each year
    begin = walk.number("<Q")
    # A number takes a bit and more: what is shorter than that is cut off, whatever the kind.
    return begin + math.prod(sizes) // 8


class _Walk:
    """Numbers and strings one after the other; whatever lies outside of the file is refused."""

    def __init__(self, file: BufferedReader, size: int) -> None:
        self._file, self._size, self.at = file, size, 0

    def take(self, length: int) -> bytes:
        data = self._file.read(length) if length <= self._size - self.at else b""
        if len(data) < length:
            raise ValueError(_CUT)
        self.at += length
        return data

    def skip(self, length: int) -> None:
        if length > self._size - self.at:
            raise ValueError(_CUT)
        self.at += length
        self._file.seek(self.at)

    def number(self, form: str) -> int:
        return int(struct.unpack(form, self.take(struct.calcsize(form)))[0])

    def count(self, form: str, limit: int) -> int:
        value = self.number(form)
        if value > limit:
            raise ValueError(f"it claims {value:,} of what {limit:,} are many")
        return value

    def text(self) -> str:
        return self.take(self.count("<Q", TEXT_MAX)).decode("utf-8", "replace")

    def value(self) -> str | int:
        """An entry of metadata: its text, its whole number, or how long its array is."""
        kind = self.number("<I")
        if kind == _STRING:
            return self.text()
        if kind != _ARRAY:
            form = self._form(kind)
            number = struct.unpack(form, self.take(struct.calcsize(form)))[0]
            return number if isinstance(number, int) else 0
        kind, length = self.number("<I"), self.count("<Q", ARRAY_MAX)
        if kind == _STRING:
            for _ in range(length):
                self.skip(self.count("<Q", TEXT_MAX))
        else:
            self.skip(length * struct.calcsize(self._form(kind)))
        return length

    @staticmethod
    def _form(kind: int) -> str:
        if kind not in _NUMBERS:
            raise ValueError(_CUT)
        return _NUMBERS[kind]
