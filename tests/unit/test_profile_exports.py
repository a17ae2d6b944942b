"""Every export of a profile, read by the program that it is for, where it is here.

callgrind_annotate is of the package valgrind, `go tool pprof` of golang-go. The folder that UKPERF_CONSUMERS names may
hold `flamegraph.pl` (brendangregg/FlameGraph) and `package/`, the unpacked npm package speedscope.
"""

from __future__ import annotations

import base64
import gzip
import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import chromium
import pytest
from hypothesis import given
from hypothesis import strategies as st
from profiles import guest, profile

from ukperf.profile.exporting import EXPORTS, SUFFIXES, callgrind, folded, means, pprof, speedscope, stack
from ukperf.profile.model import CodePart, Function, Profiled

CONSUMERS = Path(os.environ.get("UKPERF_CONSUMERS") or "/nonexistent")
ANNOTATE, GO, PERL = (shutil.which(name) for name in ("callgrind_annotate", "go", "perl"))
SIDE = guest("linux", sigma=0.01)

functions = st.builds(
    Function,
    st.sampled_from(CodePart),
    st.text(max_size=12),
    st.text(max_size=20),
    st.booleans(),
)


def made(rows: dict[Function, int]) -> Profiled:
    return Profiled("a;b (1)", (profile({f: (n, 0) for f, n in rows.items()}),))


def varints(data: bytes) -> list[int]:
    numbers, value, shift = [], 0, 0
    for byte in data:
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            numbers.append(value)
            value, shift = 0, 0
    assert shift == 0
    return numbers


def fields(data: bytes) -> list[tuple[int, int | bytes]]:
    """A protobuf message, field by field, by somebody else's reading of its encoding."""
    read: list[tuple[int, int | bytes]] = []
    at = 0

    def number() -> int:
        nonlocal at
        end = at
        while data[end] & 0x80:
            end += 1
        value = varints(data[at : end + 1])[0]
        at = end + 1
        return value

    while at < len(data):
        key = number()
        if key & 7 == 0:
            read.append((key >> 3, number()))
        else:
            assert key & 7 == 2
            size = number()
            read.append((key >> 3, data[at : at + size]))
            assert at + size <= len(data)
            at += size
    return read


@given(st.dictionaries(functions, st.integers(1, 1 << 50), max_size=20))
def test_every_format_has_every_instruction_whatever_names_are(rows: dict[Function, int]) -> None:
    side = made(rows)
    total = sum(rows.values())
    lines = folded(side).decode().splitlines()
    assert len(lines) == len(rows) and sum(int(line.rsplit(" ", 1)[1]) for line in lines) == total
    assert all(re.fullmatch(r"[^\x00-\x1f\x7f]+ \d+", line) for line in lines)
    data = json.loads(speedscope(side))
    one = data["profiles"][0]
    assert sum(one["weights"]) == one["endValue"] == total and len(one["samples"]) == len(one["weights"])
    assert all(at < len(data["shared"]["frames"]) for sample in one["samples"] for at in sample)
    text = callgrind(side).decode()
    assert sum(int(line[2:]) for line in text.splitlines() if re.fullmatch(r"0 \d+", line)) == total
    assert f"totals: {total}" in text
    message = fields(gzip.decompress(pprof(side)))
    strings = [value for number, value in message if number == 6]
    assert strings[0] == b""
    bodies = [dict(fields(body)) for number, body in message if number == 5 and isinstance(body, bytes)]
    known = {body[1]: body for body in bodies}
    counted = 0
    for number, body in message:
        if number == 2 and isinstance(body, bytes):
            places, values = (v for _, v in fields(body))
            assert isinstance(places, bytes) and isinstance(values, bytes)
            assert all(place in known for place in varints(places))
            counted += varints(values)[0]
    assert counted == total
    assert all(isinstance(f[2], int) and f[2] < len(strings) for f in known.values())


def test_the_formats_have_suffixes_and_are_alike_for_alike_boots() -> None:
    assert EXPORTS.keys() == SUFFIXES.keys()
    for export in EXPORTS.values():
        assert export(SIDE, "") == export(guest("linux", sigma=0.01), "") != export(SIDE, "main")


@pytest.mark.skipif(ANNOTATE is None, reason="no callgrind_annotate; it is in the package valgrind")
def test_callgrind_annotate_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "callgrind.out.1"
    path.write_bytes(callgrind(SIDE))
    said = subprocess.run([str(ANNOTATE), "--threshold=100", path], capture_output=True, text=True, check=True).stdout
    counts = means(SIDE)
    assert f"{sum(counts.values()):,}" in said and "PROGRAM TOTALS" in said
    for function, count in counts.items():
        assert re.search(rf"{count:,} .*:{re.escape(function.name or '(no symbols)')} ", said + " "), function


@pytest.mark.skipif(GO is None, reason="no go; `go tool pprof` is in the package golang-go")
def test_go_tool_pprof_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "linux.pb.gz"
    path.write_bytes(pprof(SIDE))
    environment = {**os.environ, "HOME": str(tmp_path), "PPROF_TMPDIR": str(tmp_path)}
    words = [str(GO), "tool", "pprof", "-top", "-nodecount=100", "-nodefraction=0", "-unit=count", str(path)]
    said = subprocess.run(words, capture_output=True, text=True, check=True, env=environment).stdout
    assert "Type: instructions" in said
    for function, count in means(SIDE).items():
        if function.named:
            assert re.search(rf"^\s*{count}\s.*\b{re.escape(function.name)}\b", said, re.MULTILINE), (function, said)


@pytest.mark.skipif(PERL is None or not (CONSUMERS / "flamegraph.pl").exists(), reason="no flamegraph.pl")
def test_flamegraph_draws_it(tmp_path: Path) -> None:
    said = subprocess.run(
        [str(PERL), CONSUMERS / "flamegraph.pl", "--minwidth=0"], input=folded(SIDE), capture_output=True, check=True
    ).stdout.decode()
    names = set(re.findall(r"<title>(\S+) \(([\d,]+) samples", said))
    counts = {f.name: f"{n:,}" for f, n in means(SIDE).items() if f.named}
    assert set(counts.items()) <= names


@pytest.mark.skipif(
    not (CONSUMERS / "package" / "dist" / "release").is_dir() or chromium.program() is None,
    reason="no speedscope, or no browser to open it in",
)
def test_speedscope_opens_it(tmp_path: Path) -> None:
    """As its own command line does: a page that redirects to its index with the profile in a script beside it."""
    release = tmp_path / "release"
    shutil.copytree(CONSUMERS / "package" / "dist" / "release", release)
    for name, export in (("linux.speedscope.json", speedscope), ("linux.folded", folded)):
        encoded = base64.b64encode(export(SIDE, "")).decode()
        (release / "p.js").write_text(f"speedscope.loadFileFromBase64({json.dumps(name)}, {json.dumps(encoded)})")
        with chromium.Chromium(tmp_path / f"chromium-{name}") as browser:
            way = f"{(release / 'index.html').as_uri()}#localProfilePath={release / 'p.js'}"
            browser.ask("Page.navigate", url=way)
            end = time.monotonic() + 30
            while "linux" not in (said := browser.evaluate("document.title")) and time.monotonic() < end:
                time.sleep(0.1)
        assert "linux" in said


SCHEMA = CONSUMERS / "package" / "dist" / "release" / "file-format-schema.json"


@pytest.mark.skipif(not SCHEMA.exists(), reason="no schema of speedscope's")
def test_it_has_what_speedscopes_schema_asks_for() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.validate(json.loads(speedscope(SIDE)), json.loads(SCHEMA.read_text()))


def test_a_stack_goes_from_the_guest_to_the_function() -> None:
    deep = Function(CodePart.LIBRARY, "libc.so.6", "malloc")
    assert stack(SIDE, deep) == ("linux", "library", "libc.so.6", "malloc")
    assert stack(SIDE, Function(CodePart.LOADER, "vmlinuz", "", named=False))[-1] == "(no symbols)"
