"""What a Linux guest says of its kernel's symbols: damaged lists are refused, kernel messages in between are not."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ukperf.errors import UkperfError
from ukperf.imaging.cache import Cache
from ukperf.imaging.programs import boot_program, unstripped
from ukperf.model import Observation, Outcome, ProgramOutput, Report
from ukperf.profile.elfcode import read_code
from ukperf.profile.sources import sources_of
from ukperf.profile.symbols import parse_kallsyms
from ukperf.workloads.kernelsymbols import is_linux, listed

LINES = b"""\
ffffffff81000000 T _stext
0 T startup_64
70 T start_kernel
3eff0000 t probe [virtio_blk]
fffffffffffffff0 t x
"""


def seen(text: bytes, *, crc: str | None = None, outcome: Outcome = Outcome.OK) -> Observation:
    output = ProgramOutput(len(text), hashlib.sha256(text).hexdigest(), text)
    checks = {"kallsyms": f"{zlib.crc32(LINES):08x}" if crc is None else crc} if crc != "" else {}
    return Observation(outcome, "" if outcome is Outcome.OK else "it hung", report=Report(checks=checks), output=output)


def test_addresses_are_summed_up_and_modules_may_lie_below_each_other() -> None:
    text = listed("linux", seen(LINES))
    assert text.splitlines() == [
        "ffffffff81000000 T _stext",
        "ffffffff81000000 T startup_64",
        "ffffffff81000070 T start_kernel",
        "ffffffffbfff0070 t probe [virtio_blk]",
        "ffffffffbfff0060 t x",
    ]
    assert parse_kallsyms(text.splitlines()).modules == ("virtio_blk",)


def test_carriage_returns_and_what_the_kernel_says_in_between_do_no_harm() -> None:
    console = LINES.replace(b"\n", b"\r\n").replace(b"70 T", b"[    1.0] random: crng init done\r\n70 T")
    assert listed("linux", seen(console)) == listed("linux", seen(LINES))


@given(st.integers(0, len(LINES) - 1), st.binary(min_size=1, max_size=9))
def test_a_damaged_list_is_refused(at: int, put: bytes) -> None:
    damaged = LINES[:at] + put + LINES[at + 1 :]
    try:
        text = listed("linux", seen(damaged))
    except UkperfError as error:
        assert "linux" in error.message
    else:  # nothing but the ends of lines, or a line of somebody else's, was hit
        assert text == listed("linux", seen(LINES))


@pytest.mark.parametrize(("crc", "outcome"), [("", Outcome.OK), (None, Outcome.HUNG)])
def test_a_guest_that_says_nothing_or_dies_is_named(crc: str | None, outcome: Outcome) -> None:
    with pytest.raises(UkperfError, match="did not tell"):
        listed("linux", seen(LINES, crc=crc, outcome=outcome))


def test_a_kernel_without_kallsyms_has_none() -> None:
    assert listed("linux", seen(b"", crc="none")) == ""


def test_addresses_that_the_kernel_hides_are_of_no_use() -> None:
    hidden = b"0 T _stext\n0 T start_kernel\n"
    with pytest.raises(UkperfError, match="kptr_restrict"):
        listed("linux", seen(hidden, crc=f"{zlib.crc32(hidden):08x}"))


def test_what_is_no_linux_kernel_is_not_asked(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"\x7fELF" + bytes(200))
    assert not is_linux(tmp_path / "x") and not is_linux(None) and not is_linux(tmp_path / "nothing")


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc")
def test_our_own_stripped_programs_have_their_names_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UKPERF_CACHE_DIR", str(tmp_path))
    program = boot_program(Cache())
    assert "main" not in read_code(program.path).symbols.names
    assert "main" in sources_of(program=program).files[0].symbols.names
    twin = unstripped(program.path, Cache())
    assert twin is not None and read_code(twin).segments == read_code(program.path).segments
    twin.write_bytes(
        twin.read_bytes().replace(b"\xf3\x0f\x1e\xfa", b"\xf3\x0f\x1e\xfb")
    )  # other code: of another build
    assert "main" not in sources_of(program=program).files[0].symbols.names
    assert unstripped(Path(shutil.which("gcc") or ""), Cache()) is None


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc")
def test_symbols_of_another_build_are_not_believed(tmp_path: Path) -> None:
    """gcc's programs stand for kernels."""
    for name, value in (("one", 3), ("two", 4)):
        (tmp_path / f"{name}.c").write_text(f"int f(int a){{return a*{value};}} int main(int c){{return f(c);}}")
        words = ["gcc", "-O1", "-fno-inline", "-static", "-o", str(tmp_path / name), str(tmp_path / f"{name}.c")]
        subprocess.run(words, check=True)
    bare = tmp_path / "bare"
    subprocess.run(["strip", "-o", str(bare), str(tmp_path / "one")], check=True)
    right = sources_of(kernel=bare, symbols=tmp_path / "one")
    assert "f" in right.files[0].symbols.names and right.notes == ()
    wrong = sources_of(kernel=bare, symbols=tmp_path / "two")
    assert "f" not in wrong.files[0].symbols.names and "another kernel" in wrong.notes[0]


def test_a_system_map_names_a_kernel_and_what_is_none_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "System.map").write_text(listed("linux", seen(LINES)))
    linux = sources_of(symbols=tmp_path / "System.map").linux
    assert linux is not None and "start_kernel" in linux.symbols.names
    (tmp_path / "System.map").write_text("nothing of the kind\n")
    with pytest.raises(UkperfError, match="names no functions"):
        sources_of(symbols=tmp_path / "System.map")
