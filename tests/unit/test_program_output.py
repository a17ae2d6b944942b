"""What a program wrote is taken out of the console byte for byte: between its frames, without what the console adds."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ukperf.console import FrameDecoder, OutputCapture, encode_frame
from ukperf.model import ProgramOutput

MAIN, EXIT = encode_frame("main", 0, 1, 1, v=1), encode_frame("exit", 1, 2, 2, status=0)


def output_of(console: bytes, keep: int = 1000, chunk: int = 1 << 20) -> ProgramOutput:
    capture = OutputCapture(keep)
    decoder = FrameDecoder(1 << 20, capture)
    for at in range(0, len(console), chunk):
        decoder.feed(console[at : at + chunk], at)
    return capture.done()


def with_cr(data: bytes) -> bytes:
    """What a terminal makes of it: a carriage return before each line feed."""
    return data.replace(b"\n", b"\r\n")


@pytest.mark.parametrize("chunk", [1, 7, 1 << 20])
@pytest.mark.parametrize("console", [lambda data: data, with_cr], ids=["plain", "terminal"])
def test_only_what_is_between_main_and_exit_is_the_programs(console: object, chunk: int) -> None:
    said = (
        b"kernel\n" + MAIN + b"one\n" + encode_frame("phase", 1, 1, 1, name="x") + b"two\r\nno end" + EXIT + b"down\n"
    )
    seen = output_of(console(said), chunk=chunk)  # type: ignore[operator]
    assert seen.head == b"one\ntwo\r\nno end"
    assert (seen.length, seen.digest) == (len(seen.head), hashlib.sha256(seen.head).hexdigest())


@given(st.binary(max_size=300), st.booleans(), st.integers(1, 50))
def test_every_byte_of_a_program_comes_through(data: bytes, terminal: bool, chunk: int) -> None:
    """Record separators too, which begin frames that are none; only a whole forged frame would be taken for one."""
    console = MAIN + data + EXIT
    seen = output_of(with_cr(console) if terminal else console, chunk=chunk)
    assert seen.head == data


def test_where_only_init_tells_of_the_end_its_frame_ends_the_output() -> None:
    status = encode_frame("status", 1, 2, 2, status=0, signal=0)
    assert output_of(with_cr(MAIN + b"said\n" + status + b"Power down\n")).head == b"said\n"


def test_a_bounded_part_is_kept_and_the_digest_is_of_all() -> None:
    data = b"0123456789\n" * 50_000
    seen = output_of(MAIN + data + EXIT, keep=15)
    assert (seen.head, seen.length) == (data[:15], len(data))
    assert seen.digest == hashlib.sha256(data).hexdigest()


def test_a_frame_that_is_too_long_is_output() -> None:
    data = b"\x1e" + b"x" * 40_000 + b"\n"
    assert output_of(MAIN + data + EXIT, keep=1 << 20).head == data


def test_what_a_program_wrote_before_it_was_cut_off_is_kept() -> None:
    assert output_of(with_cr(MAIN + b"so far\n") + b"and\r").head == b"so far\nand\r"
    assert output_of(b"no program at all\n").head == b""
