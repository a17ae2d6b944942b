"""Profiles in other tools' formats: collapsed stacks (FlameGraph, speedscope, inferno), speedscope's own file, pprof,
callgrind. Each is of the mean over boots, in whole instructions.

There are no call stacks: what stands for one is guest → part → file → function.

Sources: flamegraph.pl; speedscope's file-format-spec.ts 1.x; profile.proto of github.com/google/pprof; Valgrind's
manual, "Callgrind Format Specification".
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterable, Mapping

import ukperf
from ukperf.profile.model import WHOLE, Function, Profiled
from ukperf.text import clean

Export = Callable[[Profiled, str], bytes]
_NO_SYMBOLS = "(no symbols)"


def means(profiled: Profiled, window: str = WHOLE) -> dict[Function, int]:
    """function → the mean of its instructions over boots, rounded; what is below half an instruction is left out. What
    found no place in memory is not among it."""
    series = profiled.series(window)
    return {f: count for f, counts in series.items() if (count := round(sum(counts) / len(counts)))}


def stack(profiled: Profiled, function: Function) -> tuple[str, ...]:
    """The outermost first."""
    return tuple(filter(None, (profiled.label, function.part.value, function.file, function.name or _NO_SYMBOLS)))


def folded(profiled: Profiled, window: str = WHOLE) -> bytes:
    """`linux;kernel;memcpy 12345`, a line for each function."""
    rows = sorted((_joined(stack(profiled, function)), count) for function, count in means(profiled, window).items())
    return "".join(f"{names} {count}\n" for names, count in rows).encode()


def _joined(names: Iterable[str]) -> str:
    return ";".join(clean(name).replace(";", ":").strip() or "?" for name in names)


def speedscope(profiled: Profiled, window: str = WHOLE) -> bytes:
    frames: dict[tuple[str, str], int] = {}
    samples, weights = [], []
    for function, count in sorted(means(profiled, window).items(), key=lambda row: row[0].order):
        names = stack(profiled, function)
        file = function.file or function.part.value
        samples.append([frames.setdefault((name, file if name == names[-1] else ""), len(frames)) for name in names])
        weights.append(count)
    data = {
        "$schema": "https://www.speedscope.app/file-format-schema.json",
        "shared": {"frames": [{"name": name, **({"file": file} if file else {})} for name, file in frames]},
        "profiles": [
            {
                "type": "sampled",
                "name": f"{profiled.label} {window}".strip(),
                "unit": "none",
                "startValue": 0,
                "endValue": sum(weights),
                "samples": samples,
                "weights": weights,
            }
        ],
        "exporter": f"ukperf {ukperf.__version__}",
        "name": profiled.label,
    }
    return (json.dumps(data, ensure_ascii=True) + "\n").encode()


# ---- callgrind ----


def callgrind(profiled: Profiled, window: str = WHOLE) -> bytes:
    """A position for each function: the file is what it is in, the line is 0."""
    rows = sorted(means(profiled, window).items(), key=lambda row: row[0].order)
    lines = [
        "# callgrind format",
        "version: 1",
        f"creator: ukperf {ukperf.__version__}",
        f"cmd: {_line(profiled.label)}",
        f"desc: Trigger: {_line(window) or 'end of the boot'}",
        "positions: line",
        "events: Ir",
        f"summary: {sum(count for _, count in rows)}",
        "",
    ]
    for function, count in rows:
        file = _line("/".join(filter(None, (function.part.value, function.file))))
        lines += [f"ob={file}", f"fl={file}", f"fn={_line(function.name or _NO_SYMBOLS)}", f"0 {count}", ""]
    lines.append(f"totals: {sum(count for _, count in rows)}")
    return ("\n".join(lines) + "\n").encode()


def _line(text: str) -> str:
    """A name may not begin as a compressed one, `(1)`."""
    name = clean(text).strip()
    return f"_{name}" if name[:1] == "(" and name[1:2].isdigit() else name


# ---- pprof ----


def pprof(profiled: Profiled, window: str = WHOLE) -> bytes:
    """A gzipped profile.proto."""
    texts: dict[str, int] = {"": 0}

    def text(word: str) -> int:
        return texts.setdefault(clean(word), len(texts))

    kind = _field(1, text("instructions")) + _field(2, text("count"))
    body = _message(1, kind)
    functions: dict[tuple[str, str], int] = {}
    for function, count in sorted(means(profiled, window).items(), key=lambda row: row[0].order):
        names = stack(profiled, function)
        file = "/".join(filter(None, (function.part.value, function.file)))
        places = [functions.setdefault((name, file if i == len(names) - 1 else ""), len(functions) + 1)
                  for i, name in enumerate(names)]  # fmt: skip
        # the innermost first
        body += _message(2, _packed(1, reversed(places)) + _packed(2, [count]))
    for (name, file), number in functions.items():
        line = _message(4, _field(1, number))
        body += _message(4, _field(1, number) + line)
        body += _message(5, _field(1, number) + _field(2, text(name)) + _field(3, text(name)) + _field(4, text(file)))
    period = _message(11, kind) + _field(12, 1) + _field(14, text("instructions"))
    body += b"".join(_message(6, word.encode()) for word in texts) + period
    return gzip.compress(body, 6, mtime=0)


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def _field(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value) if value else b""


def _message(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _packed(number: int, values: Iterable[int]) -> bytes:
    return _message(number, b"".join(map(_varint, values)))


EXPORTS: Mapping[str, Export] = {
    "folded": folded,
    "speedscope": speedscope,
    "pprof": pprof,
    "callgrind": callgrind,
}
SUFFIXES: Mapping[str, str] = {
    "folded": ".folded",
    "speedscope": ".speedscope.json",
    "pprof": ".pb.gz",
    "callgrind": ".callgrind",
}
