"""What the loader needs is found as ld.so finds it; what it never reads is cut off."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ukperf.errors import UkperfError
from ukperf.imaging.elf import LibrarySearch, cut_to_loadable, needed_libraries, read_elf, system_folders

needs_cc = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")


def build(path: Path, code: str, *flags: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["cc", "-g", "-o", path, "-x", "c", "-", "-x", "none", *flags], input=code, text=True, check=True)
    return path


def library(path: Path, code: str, *flags: str) -> Path:
    return build(path, code, "-shared", "-fPIC", f"-Wl,-soname,{path.name}", *flags)


@needs_cc
def test_program_without_its_debug_information_still_runs(tmp_path: Path) -> None:
    program = build(tmp_path / "p", "int main(void){return 7;}")
    data = program.read_bytes()
    cut = tmp_path / "cut"
    cut.write_bytes(data)
    cut_to_loadable(cut)
    cut.chmod(0o755)
    assert cut.stat().st_size < len(data)
    assert subprocess.run([cut], check=False).returncode == 7
    assert read_elf(cut).needed == read_elf(program).needed


@needs_cc
def test_library_beside_the_asker_is_found_through_origin(tmp_path: Path) -> None:
    inner = library(tmp_path / "x.libs" / "libinner.so.1", "int inner(void){return 1;}")
    outer = library(
        tmp_path / "x" / "outer.so",
        "int inner(void);int outer(void){return inner();}",
        str(inner),
        "-Wl,-rpath,$ORIGIN/../x.libs",
    )
    found, missing = needed_libraries([outer], LibrarySearch((), system_folders()))
    assert found["libinner.so.1"] == inner
    assert missing == []


@needs_cc
def test_rpath_is_handed_down_and_runpath_is_not(tmp_path: Path) -> None:
    libs = tmp_path / "libs"
    deep = library(libs / "libdeep.so", "int deep(void){return 1;}")
    middle = library(libs / "libmiddle.so", "int deep(void);int middle(void){return deep();}", str(deep))
    code = "int middle(void);int top(void){return middle();}"
    for flag, expected in (("--disable-new-dtags", []), ("--enable-new-dtags", ["libdeep.so"])):
        top = library(tmp_path / f"{flag}.so", code, str(middle), f"-Wl,-rpath,{libs},{flag}")
        _, missing = needed_libraries([top], LibrarySearch((), system_folders()))
        assert [m.name for m in missing] == expected


@needs_cc
def test_missing_library_is_named_with_its_asker(tmp_path: Path) -> None:
    gone = library(tmp_path / "libgone.so", "int gone(void){return 1;}")
    program = build(tmp_path / "p", "int gone(void);int main(void){return gone();}", str(gone))
    gone.unlink()
    _, missing = needed_libraries([program], LibrarySearch((), system_folders()))
    assert [(m.name, m.asker) for m in missing] == [("libgone.so", program)]


@needs_cc
def test_fixed_address_programs_are_told_apart(tmp_path: Path) -> None:
    code = "int main(void){return 0;}"
    assert read_elf(build(tmp_path / "fixed", code, "-no-pie")).fixed_address
    assert not read_elf(build(tmp_path / "pie", code, "-pie", "-fPIE")).fixed_address


def test_ld_so_conf_includes_are_followed_and_loops_end(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "conf").write_text(f"include d/*.conf\ninclude {tmp_path}/conf\n/last # why\n")
    (tmp_path / "d" / "b.conf").write_text("/second\n")
    (tmp_path / "d" / "a.conf").write_text("# nothing\n/first\n")
    folders = system_folders(tmp_path / "conf")
    assert folders[:3] == ("/first", "/second", "/last")
    assert len(set(folders)) == len(folders)


@given(st.binary(max_size=200))
def test_no_bytes_make_the_reader_fail_otherwise(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x"
        path.write_bytes(b"\x7fELF\x02\x01\x01" + data)
        try:
            read_elf(path)
        except UkperfError as e:
            assert str(path) in e.message


@given(st.integers(0, 4000), st.binary(min_size=1, max_size=16))
def test_no_damage_makes_the_reader_fail_otherwise(at: int, damage: bytes) -> None:
    data = bytearray(Path(sys.executable).resolve().read_bytes()[:20000])
    data[at : at + len(damage)] = damage
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x"
        path.write_bytes(data)
        try:
            cut_to_loadable(path)
            assert path.stat().st_size <= len(data)
        except UkperfError as e:
            assert str(path) in e.message
