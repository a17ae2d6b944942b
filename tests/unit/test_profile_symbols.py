"""Names by address: symbols of ELF files and of kallsyms, and where files were moved to."""

from __future__ import annotations

import shutil
import struct
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ukperf.errors import UkperfError
from ukperf.imaging.elf import cut_to_loadable
from ukperf.model import Program
from ukperf.profile.elfcode import Segment, debug_file, inner_code, read_code, with_debug_names
from ukperf.profile.model import CodePart
from ukperf.profile.placing import Blocks, locate
from ukperf.profile.sources import sources_of
from ukperf.profile.symbols import Symbols, parse_kallsyms, symbols_from

GCC = shutil.which("gcc")
needs_gcc = pytest.mark.skipif(GCC is None, reason="no gcc")
CODE = """
__attribute__((noinline)) int one(int a) { return a * 3 + 1; }
__attribute__((noinline)) int two(int a) { int s = 0; for (int i = 0; i < a; i++) s += one(i); return s; }
int main(int argc, char **argv) { (void)argv; return two(argc); }
"""

symbols_given = st.lists(
    st.tuples(st.integers(0, 300), st.integers(0, 60), st.text("abcdef_", min_size=1, max_size=6)), max_size=30
)


def by_hand(rows: list[tuple[int, int, str]], address: int) -> set[str]:
    """The names that an address may have: of the symbols with a size in which it lies, those that begin last."""
    over = [(start, name) for start, size, name in rows if size and start <= address < start + size]
    latest = max((start for start, _ in over), default=None)
    return {name for start, name in over if start == latest}


@given(symbols_given)
def test_ranges_lie_apart_and_the_innermost_symbol_has_an_address(rows: list[tuple[int, int, str]]) -> None:
    sized = [row for row in rows if row[1]]
    starts = np.array([row[0] for row in sized], np.uint64)
    sizes = np.array([row[1] for row in sized], np.uint64)
    symbols = symbols_from(starts, sizes, [row[2] for row in sized], [(0, 400)])
    assert (symbols.starts[1:] >= symbols.ends[:-1]).all() and (symbols.starts < symbols.ends).all()
    addresses = np.arange(400, dtype=np.uint64)
    for address, at in zip(addresses.tolist(), symbols.lookup(addresses).tolist(), strict=True):
        names = by_hand(sized, address)
        if at < 0:
            assert not names
        else:
            assert symbols.names[at] in {row[2] for row in sized}
            if len({(r[0]) for r in sized}) == len(sized):  # no two at one address: then there is one answer
                assert symbols.names[at] in names


def test_a_symbol_without_a_size_reaches_to_the_next_and_not_beyond_the_code() -> None:
    symbols = symbols_from(
        np.array([16, 64, 96], np.uint64), np.array([0, 8, 0], np.uint64), ["entry", "sized", "last"], [(0, 128)]
    )
    asked = np.array([15, 16, 63, 64, 71, 72, 96, 127, 128], np.uint64)
    names = ["" if at < 0 else symbols.names[at] for at in symbols.lookup(asked)]
    assert names == ["", "entry", "entry", "sized", "sized", "", "last", "last", ""]


def test_functions_that_only_the_unwind_table_knows_have_places_and_no_names() -> None:
    symbols = symbols_from(
        np.array([64], np.uint64), np.array([16], np.uint64), ["known"], [(0, 256)],
        unnamed=np.array([0, 64, 128], np.uint64),
    )  # fmt: skip
    names = [symbols.names[at] for at in symbols.lookup(np.array([5, 70, 200], np.uint64))]
    assert names == ["", "known", ""]


@given(st.binary(max_size=200), st.binary(max_size=400))
@settings(max_examples=200)
def test_no_bytes_make_the_elf_reader_fail_but_with_a_sentence(tmp_path_factory, head: bytes, rest: bytes) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path_factory.mktemp("elf", numbered=True) / "x"
    for begin in (
        b"",
        b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HH", 2, 62),
        b"\x7fELF\x01\x01\x01" + bytes(9),
    ):
        path.write_bytes(begin + head + rest)
        try:
            read_code(path)
        except UkperfError as error:
            assert "ELF" in error.message


@needs_gcc
def test_damage_anywhere_in_a_real_file_is_a_sentence_or_fewer_names(tmp_path: Path) -> None:
    program = compiled(tmp_path)
    data = bytearray(program.read_bytes())
    random = np.random.default_rng(3)
    broken = tmp_path / "broken"
    for _ in range(150):
        copy = bytearray(data)
        for at in random.integers(0, 64 if random.integers(2) else len(copy), 8):
            copy[at] = int(random.integers(256))
        broken.write_bytes(copy[: int(random.integers(1, len(copy)))] if random.integers(2) else copy)
        try:
            read_code(broken)
        except UkperfError as error:
            assert "cannot be read as an ELF file" in error.message


def compiled(folder: Path, *flags: str) -> Path:
    source, program = folder / "p.c", folder / f"p{len(flags)}{'s' if '-s' in flags else ''}"
    source.write_text(CODE)
    subprocess.run([GCC or "gcc", "-O1", *flags, "-o", program, source], check=True)
    return program


@needs_gcc
def test_a_programs_functions_have_their_names_and_a_stripped_ones_their_places(tmp_path: Path) -> None:
    whole = read_code(compiled(tmp_path))
    assert {"one", "two", "main"} <= set(whole.symbols.names)
    stripped = read_code(compiled(tmp_path, "-s"))
    assert not {"one", "two"} & set(stripped.symbols.names)
    assert "@plt" in stripped.symbols.names  # jumps to others' functions
    at = whole.symbols.starts[[whole.symbols.names.index(name) for name in ("one", "two", "main")]]
    assert set(at.tolist()) <= set(stripped.symbols.starts.tolist())


@needs_gcc
def test_a_library_without_sections_has_the_names_that_its_loader_is_told(tmp_path: Path) -> None:
    library = compiled(tmp_path, "-shared", "-fPIC", "-s", "-Wl,--build-id")
    before = read_code(library)
    cut_to_loadable(library)
    after = read_code(library)
    assert {"one", "two", "main"} <= set(after.symbols.names)
    assert (after.segments, after.build_id) == (before.segments, before.build_id) and after.build_id


@needs_gcc
def test_the_vdso_that_a_kernel_holds_has_names_of_its_own(tmp_path: Path) -> None:
    vdso = compiled(tmp_path, "-shared", "-fPIC").read_bytes()
    kernel = compiled(tmp_path)
    outer = kernel.read_bytes()
    assert inner_code(kernel) == ()
    for start in (len(outer) + -len(outer) % 4096, len(outer) + -len(outer) % 4096 + 8):
        kernel.write_bytes(outer.ljust(start, b"\0") + vdso)
        sources = sources_of(kernel=kernel)
        names = {file.name: file.symbols.names for file in sources.files if file.part is CodePart.LIBRARY}
        assert sources.files[-1].part is CodePart.KERNEL  # it has the vDSO's bytes too: the vDSO is looked for first
        assert ("two" in names["vdso"]) if start % 4096 == 0 else not names  # code is mapped by whole pages
    kernel.write_bytes(outer.ljust(1 << 20, b"\0") + (b"\x7fELF" + bytes(4092)) * 20 + vdso[:5000])
    assert [file.part for file in sources_of(kernel=kernel).files] == [CodePart.KERNEL]


@needs_gcc
def test_what_was_packed_has_the_names_of_the_file_that_it_was_packed_from(tmp_path: Path) -> None:
    original, root = compiled(tmp_path, "-pie"), tmp_path / "root"
    packed = root / str(original).lstrip("/")
    packed.parent.mkdir(parents=True)
    shutil.copy(original, packed)
    cut_to_loadable(packed)
    program = Program("x", "", root, True, (str(original),))
    assert "two" not in read_code(packed).symbols.names
    [file] = sources_of(program=program).files
    assert "two" in file.symbols.names and file.part is CodePart.PROGRAM
    original.write_bytes(original.read_bytes().replace(b"\xc3", b"\xc2"))  # another build is no witness
    assert "two" not in sources_of(program=program).files[0].symbols.names


@needs_gcc
def test_a_separate_debug_file_names_a_stripped_program(tmp_path: Path) -> None:
    whole = compiled(tmp_path, "-Wl,--build-id")
    build_id = read_code(whole).build_id
    assert len(build_id) == 40
    bare, debug = tmp_path / "bare", tmp_path / "debug" / ".build-id" / build_id[:2] / f"{build_id[2:]}.debug"
    debug.parent.mkdir(parents=True)
    subprocess.run(["objcopy", "--only-keep-debug", whole, debug], check=True)
    subprocess.run(["objcopy", "--strip-all", whole, bare], check=True)
    code = read_code(bare)
    assert debug_file(bare, code, tmp_path / "debug") == debug
    assert {"one", "two", "main"} <= set(with_debug_names(bare, code, tmp_path / "debug").names)
    assert debug_file(bare, code, tmp_path / "nowhere") is None


@needs_gcc
def test_a_debug_link_counts_only_with_its_checksum(tmp_path: Path) -> None:
    whole = compiled(tmp_path, "-Wl,--build-id=none")
    bare, debug = tmp_path / "bare", tmp_path / "bare.debug"
    subprocess.run(["objcopy", "--only-keep-debug", whole, debug], check=True)
    subprocess.run(["objcopy", "--strip-all", f"--add-gnu-debuglink={debug}", whole, bare], check=True)
    code = read_code(bare)
    assert debug_file(bare, code, tmp_path) == debug
    debug.write_bytes(debug.read_bytes() + b"x")
    assert debug_file(bare, code, tmp_path) is None


# ---- kallsyms ----

KALLSYMS = """\
ffffffff81000000 T startup_64
ffffffff81000000 T _stext
ffffffff81000000 T _text
ffffffff81000060 T secondary_startup_64
ffffffff81001000 t __pfx_do_one_initcall
ffffffff81001010 T do_one_initcall
ffffffff81001200 t run_init_process
ffffffff81002000 T _etext
ffffffff82000000 D init_task
ffffffff83000000 T _sinittext
ffffffff83000000 t early_init
ffffffff83000400 T _einittext
ffffffffc0000000 t virtio_probe\t[virtio_pci]
ffffffffc0000100 t virtio_remove\t[virtio_pci]
"""


def test_kallsyms_names_kernel_and_modules_and_not_their_ends() -> None:
    linux = parse_kallsyms(KALLSYMS.splitlines())
    asked = {
        0xFFFFFFFF81000010: "startup_64",
        0xFFFFFFFF81001005: "secondary_startup_64",  # the padding in front of a function is nobody's: never executed
        0xFFFFFFFF81001011: "do_one_initcall",
        0xFFFFFFFF81001FFF: "run_init_process",
        0xFFFFFFFF81002000: "",
        0xFFFFFFFF82000000: "",
        0xFFFFFFFF83000001: "early_init",
        0xFFFFFFFF83000400: "",
        0xFFFFFFFFC0000005: "virtio_probe",
        0xFFFFFFFFC0100100: "",
    }
    at = linux.symbols.lookup(np.array(list(asked), np.uint64))
    assert ["" if i < 0 else linux.symbols.names[i] for i in at] == list(asked.values())
    assert linux.modules == ("virtio_pci",)
    assert linux.text == (0xFFFFFFFF81000000, 0xFFFFFFFF83000400)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "names no code"),
        ("0000000000000000 T _text\n0000000000000000 T do_one_initcall\n", "keeps its addresses"),
        ("ffffffff81000000 T a\nwhat is this\n", "line 2"),
        ("ffffffff82000000 D init_task\n", "names no code"),
    ],
)
def test_what_is_no_list_of_symbols_is_refused_with_a_reason(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_kallsyms(text.splitlines())


@given(st.text(max_size=300))
def test_no_text_makes_the_kallsyms_reader_fail_otherwise(text: str) -> None:
    try:
        parse_kallsyms(text.splitlines())
    except ValueError:
        pass


def test_a_hundred_thousand_addresses_are_looked_up_at_once() -> None:
    random = np.random.default_rng(1)
    starts = np.unique(random.integers(1 << 40, 1 << 41, 120_000, dtype=np.uint64))
    symbols = Symbols(starts, np.append(starts[1:], starts[-1] + 64), tuple(map(str, range(len(starts)))))
    asked = random.integers(1 << 40, 1 << 41, 100_000, dtype=np.uint64)
    began = time.process_time()
    at = symbols.lookup(asked)
    assert time.process_time() - began < 2
    for i in range(0, 100_000, 997):
        assert at[i] == -1 or starts[at[i]] <= asked[i] < symbols.ends[at[i]]


# ---- placing ----


def blocks_of(data: bytes, address: int, shift: int, offsets: list[int], size: int = 12) -> Blocks:
    count = len(offsets)
    code = np.zeros((count, 16), np.uint8)
    for i, offset in enumerate(offsets):
        part = data[offset : offset + size]
        code[i, : len(part)] = np.frombuffer(part, np.uint8)
    return Blocks(
        np.array([(address + shift + offset) % (1 << 64) for offset in offsets], np.uint64),
        np.full(count, size, np.uint32),
        code,
        np.arange(1, count + 1).astype(np.uint64),
    )


TEXT = np.random.default_rng(7).integers(0, 256, 60_000, dtype=np.uint8).tobytes()


@given(
    st.integers(-(1 << 35), 1 << 46).map(lambda pages: pages * 4096 % (1 << 64)),
    st.lists(st.integers(0, len(TEXT) - 20), min_size=6, max_size=60, unique=True),
)
@settings(max_examples=60, deadline=None)
def test_a_moved_file_is_located_by_what_was_executed_of_it(shift: int, offsets: list[int]) -> None:
    blocks = blocks_of(TEXT, 0x400000, shift, offsets)
    if (len(blocks) and int(blocks.address.max()) + 20 > (1 << 64) - (1 << 20)) or (0x400000 + shift) % (1 << 64) > (
        1 << 64
    ) - (1 << 20):
        return  # a file never lies over the end of memory
    places = locate(blocks, [Segment(0x400000, TEXT)])
    assert [place.shift for place in places] == [shift] and places[0].share == 1.0


@given(
    st.integers(0, (1 << 32) - len(TEXT)),
    st.lists(st.integers(0, len(TEXT) - 20), min_size=6, max_size=60, unique=True),
)
@settings(max_examples=60, deadline=None)
def test_firmware_is_located_wherever_it_copied_itself(shift: int, offsets: list[int]) -> None:
    places = locate(blocks_of(TEXT, 0, shift, offsets), [Segment(0, TEXT)], paged=False)
    assert [place.shift for place in places] == [shift]


def test_a_file_of_which_nothing_ran_is_nowhere_and_padding_proves_nothing() -> None:
    other = np.random.default_rng(8).integers(0, 256, 60_000, dtype=np.uint8).tobytes()
    assert locate(blocks_of(other, 0x400000, 0, list(range(0, 4000, 40))), [Segment(0x400000, TEXT)]) == []
    padding = bytes([0xCC]) * 60_000
    assert locate(blocks_of(padding, 0x400000, 0, list(range(0, 4000, 40))), [Segment(0x400000, padding)]) == []


def test_a_file_that_lies_at_two_places_is_located_at_both() -> None:
    first, second = (
        blocks_of(TEXT, 0, 0x1000000, [0, 50, 100, 900, 5000]),
        blocks_of(TEXT, 0, 0x7000000, [7, 70, 700, 7000, 9000]),
    )
    both = Blocks(
        *(np.concatenate([getattr(first, n), getattr(second, n)]) for n in ("address", "size", "code", "weight"))
    )
    assert {place.shift for place in locate(both, [Segment(0, TEXT)])} == {0x1000000, 0x7000000}
