"""From counts to a profile: nothing is lost, each block has one function; coverage, and what boots say together."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from profiles import KERNEL, Made, guest, kernel, profile

from ukperf.profile.elfcode import Segment, read_code
from ukperf.profile.hierarchy import pruned, tree_of
from ukperf.profile.model import CodePart, Function, Profiled, coverage
from ukperf.profile.named import name_counts
from ukperf.profile.page import covered
from ukperf.profile.sources import VDSO, CodeFile, Sources, sources_of
from ukperf.profile.symbols import parse_kallsyms

LINUX = parse_kallsyms(
    """ffffffff81000000 T _text
ffffffff81000000 T startup_64
ffffffff81000100 T start_kernel
ffffffff81000800 T memcpy
ffffffff81002000 T _etext
ffffffffc0000000 t probe\t[virtio_blk]
""".splitlines()
)
TEXT = np.random.default_rng(7).integers(0, 256, 40_000, dtype=np.uint8).tobytes()


def counts(rows: list[tuple[int, int, int, bytes]], windows: int = 1, rest: int = 0) -> Made:
    """rows: (address, instructions, times, code)."""
    code = np.zeros((len(rows), 16), np.uint8)
    for i, row in enumerate(rows):
        code[i, : len(row[3][:16])] = np.frombuffer(row[3][:16], np.uint8)
    instructions = np.array([row[1] for row in rows], np.uint32)
    executed = np.array([[row[2] * (w + 1) for row in rows] for w in range(windows)], np.uint64)
    lost = np.full(windows, rest, np.uint64)
    return Made(
        np.array([row[0] for row in rows], np.uint64),
        instructions,
        np.array([max(1, len(row[3])) for row in rows], np.uint32),
        code,
        ("", *(f"w{i}" for i in range(1, windows))),
        executed,
        lost,
        executed @ instructions.astype(np.uint64) + lost,
    )


rows_given = st.lists(
    st.tuples(
        st.one_of(
            st.integers(0, 1 << 20),
            st.integers(0xFFFFFFFF81000000, 0xFFFFFFFF81003000),
            st.integers(0x1000000, 0x1003000),
            st.integers(0, (1 << 64) - 1),
        ),
        st.integers(1, 60),
        st.integers(0, 1 << 40),
        st.binary(min_size=1, max_size=40),
    ),
    max_size=40,
)


@given(rows_given, st.integers(1, 4), st.integers(0, 1 << 30))
@settings(deadline=None)
def test_the_sum_over_functions_is_every_instruction(
    rows: list[tuple[int, int, int, bytes]], windows: int, rest: int
) -> None:
    made = counts(rows, windows, rest)
    files = (CodeFile(CodePart.PROGRAM, "p", (Segment(0x1000, TEXT),)),)
    for sources in (Sources(), Sources(files), Sources(files, LINUX)):
        seen = name_counts(made, sources)
        for at, window in enumerate(seen.windows):
            total = sum(row[at] for row in seen.rows.values()) + seen.rest[at]
            assert total == int(made.total[at])
            assert sum(seen.of(window).values()) + seen.lost(window) == seen.instructions(window)
        whole = coverage(seen)
        assert whole.total == seen.instructions()


def test_linux_is_named_at_its_own_addresses_and_where_it_was_loaded() -> None:
    made = counts(
        [
            (0xFFFFFFFF81000120, 3, 10, b"abc"),
            (0x1000010, 2, 5, b"abd"),  # before it has page tables
            (0xFFFFFFFFC0000004, 1, 7, b"x"),
            (0xFFFFFFFF90000000, 1, 1, b"x"),
            (0xFFFF0, 1, 4, b"y"),
        ]
    )
    seen = name_counts(made, Sources(linux=LINUX)).of()
    assert seen[kernel("start_kernel")] == 30 and seen[kernel("startup_64")] == 10
    assert seen[Function(CodePart.MODULE, "virtio_blk", "probe")] == 7
    assert seen[Function(CodePart.UNNAMED, "", "kernel's half 0xffffffff90000000", named=False)] == 1
    assert seen[Function(CodePart.FIRMWARE, "", "", named=False)] == 4


def test_two_programs_at_one_address_are_told_apart_by_their_code() -> None:
    other = np.random.default_rng(9).integers(0, 256, 40_000, dtype=np.uint8).tobytes()
    rows = []
    for text in (TEXT, other):
        rows += [(0x5000 + at, 4, 100, text[at : at + 12]) for at in range(0, 9000, 300)]
    files = (
        CodeFile(CodePart.PROGRAM, "init", (Segment(0x1000, TEXT),)),
        CodeFile(CodePart.PROGRAM, "boot", (Segment(0x2000, other),)),
    )
    seen = name_counts(counts(rows), Sources(files)).of()
    assert {f.file for f in seen} == {"init", "boot"}
    assert {file: sum(n for f, n in seen.items() if f.file == file) for file in ("init", "boot")} == {
        "init": 12_000,
        "boot": 12_000,
    }


def test_code_that_was_patched_when_it_was_loaded_is_the_files_all_the_same() -> None:
    rows = [(0x8000 + at, 1, 1, TEXT[at : at + 12]) for at in range(0, 9000, 300)]
    rows[3] = (rows[3][0], 1, 1000, b"\x90" * 12)
    seen = name_counts(counts(rows), Sources((CodeFile(CodePart.KERNEL, "", (Segment(0, TEXT),)),))).of()
    assert {f.part for f in seen} == {CodePart.KERNEL} and sum(seen.values()) == 1029


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc")
def test_a_vdso_that_its_kernel_patched_is_the_vdso_all_the_same() -> None:
    rows = [(0x7F0000000000 + at, 2, 5, TEXT[at : at + 12]) for at in range(0, 400, 20)]
    rows.append((0x7F0000000000 + 400, 2, 5, b"\x0f\x01\xf9" * 4))  # rdtscp
    seen = name_counts(counts(rows), Sources((CodeFile(CodePart.LIBRARY, VDSO, (Segment(0, TEXT),)),))).of()
    assert {f.file for f in seen} == {VDSO} and sum(seen.values()) == 210


def test_another_program_s_code_in_a_library_s_place_is_not_the_library_s() -> None:
    rows = [(0x7F0000000000 + at, 2, 5, TEXT[at : at + 12]) for at in range(0, 400, 20)]
    rows.append((0x7F0000000000 + 400, 2, 5, b"\x0f\x01\xf9" * 4))  # as Linux's vDSO is, in another address space
    seen = name_counts(counts(rows), Sources((CodeFile(CodePart.LIBRARY, "x.so", (Segment(0, TEXT),)),))).of()
    assert {f.part: count for f, count in seen.items() if f.part is not CodePart.LIBRARY} == {CodePart.UNNAMED: 10}
    assert sum(seen.values()) == 210


def test_a_program_that_was_moved_is_named_function_by_function(tmp_path: Path) -> None:
    source = tmp_path / "p.c"
    source.write_text(
        "int f(int a){return a*7+3;} int g(int a){return f(a)^a;} int main(int c,char**v){return g(c)+!v;}"
    )
    program = tmp_path / "p"
    subprocess.run(["gcc", "-O1", "-fno-inline", "-static-pie", "-o", program, source], check=True)
    code = read_code(program)
    shift = 0x7FFF12345000
    rows = []
    for at, (start, end) in enumerate(zip(code.symbols.starts.tolist(), code.symbols.ends.tolist(), strict=True)):
        segment = next((s for s in code.segments if s.address <= start < s.end), None)
        if segment is not None and end - start >= 4 and code.symbols.names[at]:
            rows.append((start + shift, 2, at + 1, segment.data[start - segment.address :][: min(24, end - start)]))
    seen = name_counts(counts(rows), sources_of(extra_files=[program])).of()
    assert len(rows) > 300
    assert {f.name for f in seen} == {code.symbols.names[row[2] - 1] for row in rows}
    assert {f.part for f in seen} == {CodePart.PROGRAM}


def test_what_the_counter_has_more_is_idle_and_what_has_no_place_is_not_lost() -> None:
    seen = profile({kernel("a"): (5, 7)}, counter={"": 20, "main": 7})
    assert seen.idle("") == 8 and seen.idle("main") == 0
    assert profile({kernel("a"): (5, 7)}).idle("") is None
    with pytest.raises(KeyError):
        seen.of("nothing")


def test_boots_that_differ_say_in_which_functions() -> None:
    boots = Profiled(
        "linux",
        (profile({kernel("a"): (1, 2), kernel("b"): (3, 4)}), profile({kernel("a"): (1, 2), kernel("b"): (3, 5)})),
    )
    assert boots.varying("") == {kernel("b"): (7, 8)} and boots.varying("main") == {kernel("b"): (4, 5)}
    assert guest("linux").varying("") == {}


def test_coverage_is_of_instructions_and_of_parts() -> None:
    side = guest("linux")
    whole, kernels = covered(side), covered(side, "", (CodePart.KERNEL, CodePart.MODULE))
    assert 0 < whole.share < 1 and kernels.share == 1.0
    assert whole.total == sum(side.totals())


@given(
    st.dictionaries(st.sampled_from([kernel(name) for name in [*KERNEL, "a", "b_c", "__x_y"]]), st.integers(1, 10**9))
)
def test_a_tree_has_every_instruction_once_however_it_is_pruned(known: dict[Function, int]) -> None:
    tree = tree_of("linux", known)
    for least in (0, 10, 10**6, 10**9):
        small = pruned(tree, least)
        leaves = [node for _, node in small.walk() if not node.below]
        assert sum(node.instructions for node in leaves) == small.instructions == sum(known.values())
        assert sum(node.leaves for node in leaves) == len(known)
