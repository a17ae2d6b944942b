"""The frame decoder against arbitrary bytes, and what frames of guests that lie are put together to."""

from __future__ import annotations

import json
import math
import time
import zlib
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ukperf import console
from ukperf.console import FrameDecoder, assemble, decode_body, encode_frame
from ukperf.model import Frame, Unit

KEYS = st.from_regex(r"[a-z][a-z0-9_]{0,12}", fullmatch=True).filter(
    lambda key: key not in ("crc", "event", "n", "t", "tsc")
)
NUMBERS = st.one_of(st.integers(-(2**64) + 1, 2**64 - 1), st.floats(-1e18, 1e18, allow_nan=False, allow_infinity=False))
TEXTS = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=60)
VALUES = st.one_of(NUMBERS, TEXTS, st.booleans(), st.none(), st.lists(NUMBERS, max_size=8))
MEMBERS = st.dictionaries(KEYS, VALUES, max_size=6)
COUNTERS = st.integers(0, 2**64 - 1)
CALM = st.binary(max_size=40).filter(lambda noise: b"\x1e" not in noise)


def chunks(data: bytes, cuts: list[int]) -> list[bytes]:
    marks = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[a:b] for a, b in pairwise(marks)]


def decode(data: bytes, cuts: list[int] | None = None) -> tuple[list[tuple[str, dict[str, object]]], FrameDecoder]:
    decoder = FrameDecoder()
    found: list[Frame] = []
    for chunk in chunks(data, cuts or []):
        found += decoder.feed(chunk, 1)
    return [(frame.event, dict(frame.fields)) for frame in found], decoder


def sealed(body: str | bytes) -> bytes:
    """A frame with a right CRC around any members: `body` is what stands before the comma and the crc member."""
    head = (body.encode() if isinstance(body, str) else body) + b","
    return b"\x1e" + head + b'"crc":"%08x"}\n' % zlib.crc32(head)


@given(MEMBERS, COUNTERS, COUNTERS, COUNTERS)
def test_what_is_encoded_is_decoded(members: dict[str, Any], n: int, t: int, tsc: int) -> None:
    raw = encode_frame("samples", n, t, tsc, **members)
    found, decoder = decode(raw)
    assert found == [("samples", {"n": n, "t": t, "tsc": tsc, **members})]
    assert (decoder.frames, decoder.bad_frames, decoder.total) == (1, 0, len(raw))


@given(st.binary(max_size=3000), st.lists(st.integers(0, 3000), max_size=12))
def test_no_bytes_whatever_make_it_raise(data: bytes, cuts: list[int]) -> None:
    found, decoder = decode(data, cuts)
    assert len(found) == decoder.frames
    decoder.tail.encode()  # can be shown and written


PIECES = st.lists(
    st.one_of(
        st.binary(max_size=30),
        st.just(encode_frame("main", 0, 1, 2)),
        st.just(encode_frame("exit", 1, 1, 2, status=0).replace(b"\n", b"\r\n")),
        st.just(encode_frame("exit", 1, 1, 2, status=0)[:-9]),
        st.just(b"\x1e" + b"x" * (console.MAX_FRAME - 1)),
        st.just(b"\x1e" + b"x" * console.MAX_FRAME),
        st.just(b"\x1e" + b"x" * (console.MAX_FRAME + 1)),
        st.just(b"y" * (console.MAX_FRAME + 5)),
        st.sampled_from([b"\n", b"\r\n", b"\x1e", b"\x1e\x1e", b"\x1e{", b'"crc":"00000000"}\n']),
    ),
    max_size=10,
).map(b"".join)


@given(PIECES, st.lists(st.integers(0, 100_000), max_size=10))
def test_frames_do_not_depend_on_how_the_bytes_were_cut(data: bytes, cuts: list[int]) -> None:
    whole, first = decode(data)
    cut, second = decode(data, cuts)
    assert whole == cut
    assert (first.bad_frames, first.total, first.tail) == (second.bad_frames, second.total, second.tail)


@given(CALM, CALM, MEMBERS)
def test_a_frame_survives_the_kernel_messages_around_it(before: bytes, after: bytes, members: dict[str, Any]) -> None:
    found, decoder = decode(before + encode_frame("main", 0, 5, 6, **members) + after)
    assert found == [("main", {"n": 0, "t": 5, "tsc": 6, **members})]
    assert decoder.bad_frames == 0


@given(st.data())
def test_a_damaged_frame_is_lost_alone(data: st.DataObject) -> None:
    frame = encode_frame("samples", 1, 10, 20, benchmark="b", values=[1, 2])
    at = data.draw(st.integers(1, len(frame) - 2))
    byte = data.draw(st.integers(0, 255).filter(lambda b: b not in (0x1E, 0x0A, 0x0D, frame[at])))
    spoiled = frame[:at] + bytes([byte]) + frame[at + 1 :]
    found, decoder = decode(encode_frame("main", 0, 1, 2) + spoiled + encode_frame("exit", 2, 3, 4, status=0))
    assert [event for event, _ in found] == ["main", "exit"]
    assert decoder.bad_frames == 1


@given(st.integers(1, 60), st.binary(min_size=1, max_size=30).filter(lambda b: b"\x1e" not in b))
def test_a_kernel_message_inside_a_frame_costs_that_frame_alone(at: int, message: bytes) -> None:
    frame = encode_frame("samples", 1, 10, 20, benchmark="b", values=[1, 2])
    found, decoder = decode(frame[:at] + message + frame[at:] + encode_frame("exit", 2, 3, 4, status=0))
    assert [event for event, _ in found] == ["exit"]
    assert decoder.bad_frames == 1


def test_a_frame_that_the_next_one_cuts_off_is_lost_alone() -> None:
    found, decoder = decode(encode_frame("main", 0, 1, 2)[:-5] + encode_frame("exit", 1, 3, 4, status=0))
    assert [event for event, _ in found] == ["exit"]
    assert decoder.bad_frames == 1


def test_memory_stays_bounded_whatever_comes() -> None:
    decoder = FrameDecoder(limit=1 << 40)
    for _ in range(64):
        decoder.feed(b"\x1e" + b"x" * 65_535, 1)
        decoder.feed(b"x" * 65_536, 1)
    held = sum(len(value) for value in vars(decoder).values() if isinstance(value, bytes | bytearray))
    assert held <= console.MAX_FRAME + 2 + console.TAIL
    assert decoder.bad_frames == 64


def test_after_the_limit_nothing_is_decoded_but_bytes_are_counted() -> None:
    decoder = FrameDecoder(limit=100)
    decoder.feed(b"x" * 101, 1)
    assert decoder.flooded
    assert decoder.feed(encode_frame("main", 0, 1, 2), 2) == []
    assert decoder.total > 101


@pytest.mark.parametrize("limit", ["MAX_FRAMES"])
def test_more_frames_than_a_program_can_mean_count_as_a_flood(limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, limit, 10)
    for piece in (encode_frame("phase", 0, 1, 2), b"\x1e\n"):
        decoder = FrameDecoder()
        decoder.feed(piece * 10, 1)
        assert not decoder.flooded
        decoder.feed(piece, 1)
        assert decoder.flooded


REFUSED = {
    "no JSON": "{nonsense",
    "no object": "[1",
    "a key that ends like the crc member": '{"event":"x","a\\"',
    "no event": '{"n":0',
    "an event that is no text": '{"event":7',
    "NaN": '{"event":"x","v":NaN',
    "Infinity": '{"event":"x","v":-Infinity',
    "infinite by its exponent": '{"event":"x","v":1e999',
    "a float above 1e18": '{"event":"x","v":1.1e18',
    "an integer of 65 bits": '{"event":"x","v":18446744073709551616',
    "an integer of thousands of digits": '{"event":"x","v":' + "9" * 5000,
    "a nested object": '{"event":"x","v":{"a":1}',
    "a nested list": '{"event":"x","v":[[1]]',
    "nesting beyond the stack": '{"event":"x","v":' + "[" * 8000,
    "text in a list": '{"event":"x","v":["1"]',
    "a boolean in a list": '{"event":"x","v":[true]',
    "a list of thousands": '{"event":"x","v":[' + "1," * 4096 + "1]",
    "a long text": '{"event":"' + "x" * 513 + '"',
    "a long key": '{"event":"x","' + "k" * 65 + '":1',
    "a key with an escape sequence": '{"event":"x","\\u001b[31m":1',
    "too many members": '{"event":"x",' + ",".join(f'"k{i}":1' for i in range(64)),
    "bytes that are not ASCII": '{"event":"x","v":"é"',
    "a surrogate in UTF-8": b'{"event":"x","v":"\xed\xa0\x80"',
    "UTF-16": '{"event":"x"'.encode("utf-16"),
    "more than a frame holds": '{"event":"x","v":"' + " " * 16_384 + '"',
}


@pytest.mark.parametrize("body", REFUSED.values(), ids=REFUSED.keys())
def test_a_right_crc_does_not_save_what_is_no_frame(body: str | bytes) -> None:
    found, decoder = decode(sealed(body) + encode_frame("main", 0, 1, 2))
    assert [event for event, _ in found] == ["main"]
    assert decoder.bad_frames == 1


@given(st.text(st.characters(codec="ascii"), max_size=80))
@example('{"event":"x","a\\"')
@example('{"event":"x","crc":null')
def test_no_members_with_a_right_crc_make_it_raise(body: str) -> None:
    decode_body(sealed("{" + body)[1:-1])
    decode_body(sealed(body)[1:-1])


def test_of_a_member_that_comes_twice_the_last_one_counts() -> None:
    found, _ = decode(sealed('{"event":"x","n":1,"n":2'))
    assert found == [("x", {"n": 2})]


@pytest.mark.parametrize(
    ("text", "shown"),
    [("\\u001b[31mred", "·[31mred"), ("\\ud800", "·"), ("a\\nb\\u2028c", "a b c"), ("\\u00e9", "é"), ("\\u0000", "·")],
)
def test_text_of_a_guest_reaches_no_terminal_or_file_that_it_could_spoil(text: str, shown: str) -> None:
    found, _ = decode(sealed(f'{{"event":"error","message":"{text}"'))
    assert found[0][1]["message"] == shown


def test_the_tail_shows_the_last_bytes_without_control_characters() -> None:
    decoder = FrameDecoder()
    decoder.feed(b"a" * 10_000 + b"\r\nKernel panic\x1b[0m\xff\t!", 1)
    assert len(decoder.tail) <= console.TAIL
    assert decoder.tail.endswith("\nKernel panic·[0m\ufffd\t!")


def test_the_first_byte_is_stamped_once() -> None:
    decoder = FrameDecoder()
    decoder.feed(b"", 5)
    decoder.feed(b"x", 7)
    decoder.feed(b"y", 9)
    assert decoder.first_byte_ns == 7


# assemble


def frame(event: str, n: int = 0, t: int = 0, tsc: int = 0, **members: object) -> Frame:
    return Frame(event, {"n": n, "t": t, "tsc": tsc, **members}, 0)


def samples(n: int, **members: object) -> Frame:
    return frame("samples", n, **{"benchmark": "b", "unit": "s", "loops": 1, "values": [1], **members})


def test_samples_of_one_benchmark_are_joined_in_order() -> None:
    report = assemble(
        [
            frame("main", 0),
            samples(1, values=[1, 2], warmups=[9], meta_rows=10),
            samples(2, benchmark="other", unit="bytes", values=[7]),
            samples(3, values=[3.5], meta_cols=4, meta_list=[1], meta_none=None),
            frame("check", 4, name="answer", digest="ab"),
            frame("exit", 5, status=3),
        ]
    )
    joined, other = report.samples
    assert (joined.values, joined.warmups, joined.unit) == ((1.0, 2.0, 3.5), (9.0,), Unit.SECONDS)
    assert joined.metadata == {"rows": 10, "cols": 4}
    assert (other.benchmark, other.unit) == ("other", Unit.BYTES)
    assert (report.checks, report.exit_status, report.lies) == ({"answer": "ab"}, 3, ())


def test_the_kernels_word_about_the_exit_status_wins() -> None:
    report = assemble([frame("main", 0), frame("exit", 1, status=0), frame("status", 1, status=0, signal=11)])
    assert (report.exit_status, report.signal, report.lies) == (0, 11, ())


LIES = {
    "a negative cost": [samples(1, values=[1, -1])],
    "lacks": [samples(1, unit=[1])],
    "lacks its": [samples(1, unit="years")],
    "lacks its benchmark": [samples(1, benchmark="")],
    "unit, loops": [samples(1, loops=0)],
    "loops or": [samples(1, loops=True)],
    "or values": [samples(1, values=5)],
    "benchmark, unit": [samples(1, warmups="w")],
    "b: a negative cost": [samples(1, warmups=[-1])],
    "its unit or loops change": [samples(1), samples(2, unit="bytes")],
    "unit or loops change": [samples(1), samples(2, loops=2)],
    "two answers to the check c": [frame("check", 1, name="c", digest="a"), frame("check", 2, name="c", digest="b")],
    "frames repeat": [samples(1), samples(1)],
    "the guest's clock runs backwards": [samples(1, tsc=5), samples(2, tsc=4)],
    "clock runs backwards": [samples(1, t=5), samples(2, t=4)],
    "more than one main or exit": [frame("main", 1)],
    "an exit frame without a status": [frame("exit", 1)],
    "exit frame without a status": [frame("exit", 1, status=256)],
}


@pytest.mark.parametrize(("complaint", "told"), LIES.items(), ids=LIES.keys())
def test_frames_that_cannot_be_true_are_named(complaint: str, told: list[Frame]) -> None:
    assert any(complaint in lie for lie in assemble([frame("main", 0), *told]).lies)


def test_an_exit_without_a_main_is_a_lie() -> None:
    assert assemble([frame("exit", 0, status=0)]).lies == ("an exit frame without a main frame before it",)


def test_init_and_its_program_number_their_frames_apart_but_share_the_clock() -> None:
    frames = [frame("init", 0, tsc=5), frame("main", 0, tsc=6), frame("exit", 1, tsc=7, status=0)]
    assert assemble([*frames, frame("status", 1, tsc=8, status=0, signal=0)]).lies == ()
    assert assemble([frame("init", 0, tsc=9), *frames[1:]]).lies == ("the guest's clock runs backwards",)


def test_what_frames_carry_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "MAX_VALUES", 5)
    monkeypatch.setattr(console, "MAX_BENCHMARKS", 2)
    many = assemble([samples(n, values=[1, 1]) for n in range(4)])
    assert len(many.samples[0].values) == 4
    assert many.lies == ("more than 5 values",) * 2
    named = assemble([samples(n, benchmark=f"b{n}") for n in range(3)])
    assert (len(named.samples), named.lies) == (2, ("more than 2 benchmarks",))
    checks = assemble([frame("check", n, name=f"c{n}", digest="d" * 500) for n in range(9)]).checks
    assert len(checks) == 2
    assert all(len(digest) == 128 for digest in checks.values())


def test_eight_megabytes_of_small_frames_do_not_take_quadratic_time() -> None:
    frames = [samples(n, benchmark=f"b{n % 500}") for n in range(80_000)]
    start = time.process_time()
    assert len(assemble(frames).samples) == 500
    assert time.process_time() - start < 20  # a fraction of a second; copying tuples took minutes


@given(st.lists(st.tuples(st.sampled_from(["main", "exit", "samples", "check", "status", "error"]), MEMBERS)))
def test_no_frames_make_assemble_raise(told: list[tuple[str, dict[str, Any]]]) -> None:
    fields = ("benchmark", "unit", "loops", "values", "warmups", "status", "signal", "name", "digest", "n", "t", "tsc")
    frames = [Frame(event, dict(zip(fields, members.values(), strict=False)), 0) for event, members in told]
    report = assemble(frames)
    assert all(math.isfinite(value) for sample in report.samples for value in sample.values)
    json.dumps([report.lies, report.error])


def test_of_a_restored_guest_no_main_frame_is_wanted_and_none_may_come() -> None:
    feed = FrameDecoder().feed
    ended = feed(encode_frame("exit", 5, 10, 10, status=0), 1)
    assert assemble(ended).lies == ("an exit frame without a main frame before it",)
    assert assemble(ended, restored=True).lies == ()
    both = [*feed(encode_frame("main", 0, 5, 5, program="x", v=1), 1), *ended]
    assert assemble(both).lies == ()
    assert assemble(both, restored=True).lies == ("more than one main or exit frame",)
