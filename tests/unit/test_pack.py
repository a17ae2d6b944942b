"""Any program becomes a tree: what goes in, what its digest says, what is refused and in which words."""

from __future__ import annotations

import os
import re
import shutil
import time
from pathlib import Path

import pytest
from cprograms import PRINTS, compiled, shared_library

from ukperf.errors import UkperfError
from ukperf.imaging import pack as packing
from ukperf.imaging.cache import Cache
from ukperf.imaging.elf import LibrarySearch, system_folders
from ukperf.imaging.pack import FileToPack, Packed, Timing, pack

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    return Cache(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def prints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled(tmp_path_factory.mktemp("program") / "prints", PRINTS)


def in_tree(packed: Packed) -> dict[str, str]:
    """Every file and link of a tree: its path, and where it points."""
    root = packed.program.path
    return {
        f"/{path.relative_to(root)}": str(path.readlink()) if path.is_symlink() else ""
        for path in sorted(root.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


def refusal(*words: str, **options: object) -> str:
    with pytest.raises(UkperfError) as caught:
        pack(words, **options)  # type: ignore[arg-type]
    return str(caught.value)


def script(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path


def test_a_dynamic_program_comes_with_loader_libraries_and_our_own(prints: Path, cache: Cache) -> None:
    packed = pack(["./prints", "a b"], base=prints.parent, cache=cache)
    there = in_tree(packed)
    assert packed.program.argv == ("/prints", "a b")
    assert packed.timing is Timing.PRELOAD
    assert {"/prints", "/lib64/ld-linux-x86-64.so.2", "/etc/ld.so.preload", "/ukperf/preload.so"} <= there.keys()
    assert "libc.so.6" in packed.libraries
    assert (packed.program.path / "etc/ld.so.preload").read_text() == "/ukperf/preload.so\n"
    assert {path.name for path in packed.program.path.iterdir()} >= {"proc", "sys", "dev", "tmp"}


def test_a_library_that_origin_finds_is_found_without_it_in_the_tree(tmp_path: Path, cache: Cache) -> None:
    library = shared_library(tmp_path / "lib" / "libanswer.so.1", "int answer(void) { return 42; }")
    code = "int answer(void); int main(void) { return answer() != 42; }"
    compiled(tmp_path / "bin" / "asks", code, str(library), "-Wl,-rpath,$ORIGIN/../lib")
    packed = pack(["bin/asks"], base=tmp_path, cache=cache)
    libc = next(name for name in in_tree(packed) if name.endswith("/libc.so.6"))
    assert str(Path(libc).with_name("libanswer.so.1")) in in_tree(packed)


def test_everything_that_goes_in_is_in_the_digest(prints: Path, tmp_path: Path, cache: Cache) -> None:
    data = tmp_path / "data"
    data.write_text("1")
    seen: list[str] = []

    def another(*words: str, **options: object) -> None:
        packed = pack([str(prints), *words], cache=cache, **options)  # type: ignore[arg-type]
        assert packed.program.digest not in seen
        seen.append(packed.program.digest)

    file = [FileToPack(data, "/data")]
    another()
    another("argument")
    another(env=[("A", "1")])
    another(cwd="/work")
    another(stdin=data)
    another(files=file)
    another(files=[FileToPack(data, "/elsewhere")])
    data.chmod(0o755)
    another(files=file)
    data.write_text("2")
    another(files=file)
    another(stdin=data)


def test_the_same_program_has_the_same_digest_wherever_it_lies(prints: Path, tmp_path: Path, cache: Cache) -> None:
    shutil.copy(prints, tmp_path / "prints")
    here = pack(["./prints"], base=prints.parent, cache=cache)
    there = pack(["./prints"], base=tmp_path, cache=cache)
    assert there.program == here.program


def test_an_unchanged_program_is_found_again_and_a_changed_one_is_not(
    prints: Path, tmp_path: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data"
    data.write_text("before")
    os.utime(data, ns=(0, 0))

    def packed() -> Packed:
        return pack(["./prints"], base=prints.parent, files=[FileToPack(data, "/data")], cache=cache)

    later = time.time_ns() + 10_000_000_000
    monkeypatch.setattr(time, "time_ns", lambda: later)  # all files have settled
    first = packed()
    monkeypatch.setattr(packing, "Packing", None)  # from here on nothing can be packed
    assert packed() == first
    data.write_text("after!")
    with pytest.raises(TypeError):
        packed()


def test_what_a_name_means_is_looked_for_along_path(
    prints: Path, tmp_path: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("first", "second", "third"):
        (tmp_path / name).mkdir()
    (tmp_path / "first" / "tool").write_text("not executable")
    (tmp_path / "second" / "tool").mkdir()
    shutil.copy(prints, tmp_path / "third" / "tool")
    folders = [str(tmp_path / name) for name in ("first", "second", "third")]
    monkeypatch.setenv("PATH", ":".join([*folders, os.environ["PATH"]]))
    assert pack(["tool"], cache=cache).program.argv == ("/tool",)  # /tmp is each guest's own
    (tmp_path / "third" / "tool").unlink()
    assert "tool is not executable" in refusal("tool", cache=cache)
    assert "There is no program other in the folders of PATH" in refusal("other", cache=cache)
    shutil.copy(prints, tmp_path / "other")
    assert "Write its path, like ./other" in refusal("other", base=tmp_path, cache=cache)


def test_links_to_a_program_are_links_in_the_tree(cache: Cache) -> None:
    found = shutil.which("awk")
    if found is None or not Path(found).is_symlink():
        pytest.skip("awk is no link here")
    packed = pack(["awk", "BEGIN { print 1 }"], cache=cache)
    assert packed.program.argv[0] == found
    name = packed.program.path / found.lstrip("/")
    assert name.is_symlink() and name.resolve().is_relative_to(packed.program.path)
    assert name.resolve().read_bytes() == Path(found).resolve().read_bytes()


@pytest.mark.parametrize(
    ("first_line", "argv"),
    [
        ("#!{prints}", ["{prints}", "/s", "x"]),
        ("#! {prints}  an argument ", ["{prints}", "an argument", "/s", "x"]),
        ("#!/usr/bin/env prints", ["{prints}", "/s", "x"]),
        ("#!/usr/bin/env -S A=1 prints -a 'b c'", ["{prints}", "-a", "b c", "/s", "x"]),
    ],
)
def test_a_script_is_its_interpreters_command_line(
    first_line: str, argv: list[str], prints: Path, tmp_path: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{prints.parent}:{os.environ['PATH']}")
    script(tmp_path / "s", first_line.format(prints=prints) + "\nrest")
    packed = pack(["./s", "x"], base=tmp_path, cache=cache)
    assert packed.program.argv == tuple(word.format(prints="/prints") for word in argv)  # below /tmp it would be hidden
    assert packed.program.env == ((("A", "1"),) if "A=1" in first_line else ())
    assert (packed.program.path / "s").read_text().endswith("rest")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("#!/no/such/thing\n", r"The script .*/s cannot run: The program /no/such/thing is not there"),
        ("#!/usr/bin/env nothing-of-the-kind\n", "There is no program nothing-of-the-kind in the folders of PATH"),
        ("#!/usr/bin/env -i sh\n", "begins with an env whose words ukperf does not do: -i sh"),
        ("#!/usr/bin/env -S 'sh\n", "has a quote that does not end"),
        ("#!\n", "names no interpreter"),
        ("#!/bin/sh\r\n", r"ends with a carriage return.*sed -i"),
        ("#!/" + "x" * 300, "longer than the 256 bytes"),
        ("echo no first line\n", "neither an ELF program nor a script"),
        ("", "neither an ELF program nor a script"),
        ("#!./s\n", "whose interpreter is a script, and so on without end"),
    ],
)
def test_a_script_that_cannot_run_is_refused(text: str, sentence: str, tmp_path: Path, cache: Cache) -> None:
    script(tmp_path / "s", text)
    assert re.search(sentence, refusal("./s", base=tmp_path, cache=cache))


def test_a_static_program_is_packed_with_its_starter_and_no_library(tmp_path: Path, cache: Cache) -> None:
    compiled(tmp_path / "alone", PRINTS, "-static-pie", "-fPIE")
    packed = pack(["./alone", "x"], base=tmp_path, cache=cache)
    assert packed.timing is Timing.STARTER and packed.libraries == ()
    assert set(in_tree(packed)) == {"/alone", "/ukperf/start", "/ukperf/stdin"}
    assert packed.program.argv == ("/ukperf/start", "alone", "/.", "/ukperf/stdin", "/alone", "x")


def test_a_program_of_another_loader_takes_no_preparations(tmp_path: Path, cache: Cache) -> None:
    loader = tmp_path / "ld-other.so.1"
    shutil.copy(Path("/lib64/ld-linux-x86-64.so.2").resolve(), loader)
    compiled(tmp_path / "p", PRINTS, f"-Wl,--dynamic-linker={loader}")
    packed = pack(["./p"], base=tmp_path, cache=cache)
    assert packed.timing is Timing.GUEST
    assert "/etc/ld.so.preload" not in in_tree(packed)
    for option in ({"cwd": "/x"}, {"stdin": loader}):
        assert "takes no --cwd and no --stdin" in refusal("./p", base=tmp_path, cache=cache, **option)


def test_a_tree_that_was_written_to_is_not_taken_for_the_program(prints: Path, cache: Cache) -> None:
    def packed() -> Packed:
        return pack(["./prints", "written to"], base=prints.parent, cache=cache, files=[FileToPack(prints, "/x/y")])

    root = packed().program.path
    (root / "x" / "left behind").write_text("by the program")
    with pytest.raises(UkperfError, match=f"was changed after it was packed.*rm -r {root.parent}"):
        packed()


@pytest.mark.parametrize(
    ("at", "values", "sentence"),
    [
        (4, b"\x01", "a program for machine 62|for x32"),
        (18, b"\xb7\x00", r"a program for 64-bit ARM \(aarch64\), and guests run those for 64-bit x86"),
        (18, b"\x03\x00", "a program for 32-bit x86"),
        (16, b"\x01\x00", "is an object file"),
        (32, b"\xff" * 8, "cannot be read as an ELF file|is a library"),
    ],
)
def test_an_elf_file_of_another_kind_is_named(
    at: int, values: bytes, sentence: str, prints: Path, tmp_path: Path, cache: Cache
) -> None:
    content = bytearray(prints.read_bytes())
    content[at : at + len(values)] = values
    (tmp_path / "odd").write_bytes(content)
    (tmp_path / "odd").chmod(0o755)
    assert re.search(sentence, refusal("./odd", base=tmp_path, cache=cache))


def test_a_library_is_no_program(tmp_path: Path, cache: Cache) -> None:
    shared_library(tmp_path / "libx.so", "int x(void) { return 1; }")
    assert "is a library, not a program" in refusal("./libx.so", base=tmp_path, cache=cache)


def test_a_library_that_is_missing_is_named_with_who_asks_for_it(tmp_path: Path, cache: Cache) -> None:
    inner = shared_library(tmp_path / "libinner.so.1", "int inner(void) { return 1; }")
    outer = shared_library(
        tmp_path / "libouter.so.1", "int inner(void); int outer(void) { return inner(); }", str(inner)
    )
    code = "int outer(void); int main(void) { return outer(); }"
    compiled(tmp_path / "asks", code, str(outer), f"-Wl,-rpath,{tmp_path}", "-Wl,--allow-shlib-undefined")
    inner.unlink()
    search = LibrarySearch((), system_folders())
    said = refusal("./asks", base=tmp_path, cache=cache, search=search)
    assert said.startswith(f"{outer} needs libinner.so.1, which is in no folder that the loader searches.")


def test_a_loader_that_is_missing_is_named(tmp_path: Path, cache: Cache) -> None:
    compiled(tmp_path / "p", "int main(void) { return 0; }", "-Wl,--dynamic-linker=/lib/ld-musl-x86_64.so.9")
    said = refusal("./p", base=tmp_path, cache=cache)
    assert "asks for the loader /lib/ld-musl-x86_64.so.9, which is not on this machine" in said


def test_a_file_that_changes_while_it_is_packed_is_refused(
    prints: Path, tmp_path: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data"
    data.write_text("at first")
    real = packing.tree.unpack

    def write_and_unpack(entries: list[packing.Entry], root: Path) -> None:
        data.write_text("and then")
        real(entries, root)

    monkeypatch.setattr(packing.tree, "unpack", write_and_unpack)
    before = set(cache.root.glob("trees/*"))
    said = refusal(str(prints), files=[FileToPack(data, "/data")], cache=cache)
    assert said.startswith(f"{data} changed while it was packed")
    assert set(cache.root.glob("trees/*")) == before


def test_what_is_no_regular_file_is_refused_in_a_sentence(prints: Path, tmp_path: Path, cache: Cache) -> None:
    os.mkfifo(tmp_path / "pipe", 0o755)
    (tmp_path / "gone").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "plain").write_text("x")

    def file(host: str, guest: str = "/x") -> str:
        return refusal(str(prints), files=[FileToPack(Path(host), guest)], base=tmp_path, cache=cache)

    assert "is a directory, not a program" in refusal(str(tmp_path), cache=cache)
    assert "no file that can be executed" in refusal("./pipe", base=tmp_path, cache=cache)
    assert "is a link to a file that is not there" in refusal("./gone", base=tmp_path, cache=cache)
    assert "cannot be executed: " in refusal("./loop", base=tmp_path, cache=cache)
    assert "is not executable. chmod +x" in refusal("./plain", base=tmp_path, cache=cache)
    assert "it is a pipe, not a file" in file("pipe")
    assert "it is a device, not a file" in file("/dev/zero")
    assert "pipe is neither a file, a directory nor a link" in file(".")
    assert "No such file" in file("nothing")
    assert "No such file" in refusal(str(prints), stdin=tmp_path / "nothing", cache=cache)
    assert "There is no program to run" in refusal(cache=cache)
    assert "no name" in refusal("", cache=cache)
    assert "is no name of a program" in refusal("a\0b", cache=cache)


@pytest.mark.parametrize("guest", ["/dev/x", "/proc/cpuinfo", "/sys/x", "/tmp/x", "/ukperf/x", "/etc/ld.so.preload"])
def test_paths_that_guests_make_themselves_are_refused(guest: str, prints: Path, cache: Cache) -> None:
    said = refusal(str(prints), files=[FileToPack(prints, guest)], cache=cache)
    assert f"{guest} is a path that guests keep for themselves" in said


def test_odd_names_are_refused(prints: Path, tmp_path: Path, cache: Cache) -> None:
    for name, sentence in (("line\nfeed", "control character"), (os.fsdecode(b"caf\xe9"), "no UTF-8")):
        folder = tmp_path / str(len(name))
        folder.mkdir()
        (folder / name).write_text("x")
        assert sentence in refusal(str(prints), files=[FileToPack(folder, "/f")], cache=cache)
    assert "no absolute path" in refusal(str(prints), cwd="work", cache=cache)
    assert "keep for themselves" in refusal(str(prints), cwd="/proc/1", cache=cache)
    assert "more than 511 bytes" in refusal(str(prints), cwd="/" + "x/" * 300, cache=cache)
    for pair in (("A=B", "1"), ("", "1"), ("A", "1\n2"), ("A", "\0")):
        assert "no variable that every guest takes" in refusal(str(prints), env=[pair], cache=cache)


def test_files_and_folders_lie_where_they_are_said_to(prints: Path, tmp_path: Path, cache: Cache) -> None:
    folder = tmp_path / "folder"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "a file").write_text("1")
    (folder / "link").symlink_to("deep/a file")
    (tmp_path / "named").symlink_to(folder / "deep" / "a file")
    files = [FileToPack.parse("folder"), FileToPack.parse("named"), FileToPack.parse("folder:/else/where")]
    packed = pack(["/bin/sh"], files=files, cwd="/work", base=tmp_path, cache=cache)
    there = in_tree(packed)
    assert there["/work/folder/link"] == there["/else/where/link"] == "deep/a file"
    assert there["/work/named"] == "" and "/work/folder/deep/a file" in there
    assert "is no path in the guest" in refusal("sh", files=[FileToPack(Path("../x"))], cache=cache)


def test_a_path_with_a_colon_is_one_path_where_it_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a:b").write_text("x")
    assert FileToPack.parse("a:b") == FileToPack(Path("a:b"))
    assert FileToPack.parse("a:b:/c") == FileToPack(Path("a:b"), "/c")
    assert FileToPack.parse("a:/c") == FileToPack(Path("a"), "/c")
    for text in (":x", "x:"):
        with pytest.raises(UkperfError, match="no path on one side"):
            FileToPack.parse(text)


def test_libraries_of_plugins_come_along_and_those_that_are_missing_are_told(
    prints: Path, tmp_path: Path, cache: Cache
) -> None:
    inner = shared_library(tmp_path / "lib" / "libdeep.so.1", "int deep(void) { return 1; }")
    code = "int deep(void); int plug(void) { return deep(); }"
    shared_library(tmp_path / "plugins" / "plug.so", code, str(inner))
    (tmp_path / "plugins" / "other.so").write_bytes(b"\x7fELF" + bytes(60))  # no ELF after all: data
    search = LibrarySearch((str(inner.parent),), system_folders())
    files = [FileToPack(tmp_path / "plugins", "/plugins")]
    assert "libdeep.so.1" in pack([str(prints)], files=files, cache=cache, search=search).libraries
    none = LibrarySearch((), system_folders())
    left_out = pack([str(prints)], files=files, cache=cache, search=none).left_out
    assert left_out == (f"libdeep.so.1, which {tmp_path}/plugins/plug.so needs, is not on this machine",)
    one = [FileToPack(tmp_path / "plugins" / "plug.so", "/plug.so")]
    assert "plug.so needs libdeep.so.1" in refusal(str(prints), files=one, cache=cache, search=none)
