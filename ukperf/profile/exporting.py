"""Profiles in other tools' formats: collapsed stacks (FlameGraph, speedscope, inferno), speedscope's own file, pprof,
callgrind. Each is of the mean over boots, in whole instructions.

Where call stacks were followed, they are guest → function → function; else what stands for one is guest → part → file →
function.

Sources: flamegraph.pl; speedscope's file-format-spec.ts 1.x; profile.proto of github.com/google/pprof; Valgrind's
manual, "Callgrind Format Specification".
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import ukperf
from ukperf.profile.calltrees import stacks_of
from ukperf.profile.model import WHOLE, Function, Profiled
from ukperf.profile.stacks import Stacks, with_calls
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


@dataclass(frozen=True)
class _Frame:
    name: str
    file: str = ""


def _file(function: Function) -> str:
    return "/".join(filter(None, (function.part.value, function.file)))


def _samples(profiled: Profiled, window: str) -> list[tuple[tuple[_Frame, ...], int]]:
    """(frames, the outermost first; instructions) of everything that was executed."""
    stacks = stacks_of(profiled, window)
    if stacks is not None:
        return _chains(profiled.label, stacks)
    rows = sorted(means(profiled, window).items(), key=lambda row: row[0].order)
    samples = []
    for function, count in rows:
        *outer, last = stack(profiled, function)
        samples.append(((*map(_Frame, outer), _Frame(last, _file(function))), count))
    return samples


def _chains(label: str, stacks: Stacks) -> list[tuple[tuple[_Frame, ...], int]]:
    samples = []
    frames: list[tuple[_Frame, ...]] = [(_Frame(label),)]
    for node in range(1, len(stacks.parents)):
        function = stacks.functions[node]
        assert function is not None
        frames.append((*frames[stacks.parents[node]], _Frame(function.name or _NO_SYMBOLS, _file(function))))
        if count := round(stacks.own[node]):
            samples.append((frames[node], count))
    return samples


def folded(profiled: Profiled, window: str = WHOLE) -> bytes:
    """`linux;start_kernel;memcpy 12345`, a line for each chain of calls; without them `linux;kernel;memcpy 12345`."""
    rows = sorted((_joined(frame.name for frame in frames), count) for frames, count in _samples(profiled, window))
    return "".join(f"{names} {count}\n" for names, count in rows).encode()


def _joined(names: Iterable[str]) -> str:
    return ";".join(clean(name).replace(";", ":").strip() or "?" for name in names)


def speedscope(profiled: Profiled, window: str = WHOLE) -> bytes:
    frames: dict[_Frame, int] = {}
    samples, weights = [], []
    for chain, count in _samples(profiled, window):
        samples.append([frames.setdefault(frame, len(frames)) for frame in chain])
        weights.append(count)
    listed = [{"name": frame.name, **({"file": frame.file} if frame.file else {})} for frame in frames]
    data = {
        "$schema": "https://www.speedscope.app/file-format-schema.json",
        "shared": {"frames": listed},
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
    """A position for each function: the file is what it is in, the line is 0. Where call stacks were followed, with
    what each calls, and how often as far as that was seen."""
    stacks = stacks_of(profiled, window)
    own = means(profiled, window)
    called: Mapping[Function, Mapping[Function, tuple[int, int]]] = {}
    if stacks is not None:
        own = {function: round(one.own) for function, one in with_calls(stacks).items()}
        called = _calls(stacks)
    rows = sorted(own.items(), key=lambda row: row[0].order)
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
        file = _line(_file(function))
        lines += [f"ob={file}", f"fl={file}", f"fn={_line(function.name or _NO_SYMBOLS)}", f"0 {count}"]
        for other, (times, inclusive) in called.get(function, {}).items():
            theirs = _line(_file(other))
            lines += [f"cob={theirs}", f"cfi={theirs}", f"cfn={_line(other.name or _NO_SYMBOLS)}"]
            lines += [f"calls={times} 0", f"0 {inclusive}"]
        lines.append("")
    lines.append(f"totals: {sum(count for _, count in rows)}")
    return ("\n".join(lines) + "\n").encode()


def _calls(stacks: Stacks) -> dict[Function, dict[Function, tuple[int, int]]]:
    """caller → called → (times, at least once; instructions with all that it calls, of recursion those outermost)."""
    totals = stacks.totals()
    above: list[frozenset[tuple[Function | None, Function | None]]] = [frozenset()]
    sums: dict[Function, dict[Function, tuple[float, float]]] = {}
    for node in range(1, len(totals)):
        parent = stacks.parents[node]
        caller, callee = stacks.functions[parent], stacks.functions[node]
        edge = caller, callee
        above.append(above[parent] | {edge})
        if caller is None or callee is None or not totals[node]:
            continue
        times, inclusive = sums.setdefault(caller, {}).get(callee, (0.0, 0.0))
        more = 0.0 if edge in above[parent] else totals[node]
        sums[caller][callee] = times + stacks.calls[node], inclusive + more
    return {
        caller: {callee: (max(1, round(times)), round(count)) for callee, (times, count) in inside.items()}
        for caller, inside in sums.items()
    }


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
    functions: dict[_Frame, int] = {}
    for frames, count in _samples(profiled, window):
        places = [functions.setdefault(frame, len(functions) + 1) for frame in frames]
        # the innermost first
        body += _message(2, _packed(1, reversed(places)) + _packed(2, [count]))
    for frame, number in functions.items():
        line = _message(4, _field(1, number))
        body += _message(4, _field(1, number) + line)
        name = text(frame.name)
        body += _message(5, _field(1, number) + _field(2, name) + _field(3, name) + _field(4, text(frame.file)))
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
