"""`ukperf deps`: what a program and a package are made of, seen in files that the tests make."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from cprograms import compiled, shared_library
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from ukperf.cli.main import app
from ukperf.deps.composition import Composition, FileKind, package_composition, program_composition
from ukperf.deps.libraries import BY_NAME, KNOWN, PAPER, Fate
from ukperf.deps.ownword import own_word
from ukperf.deps.page import CompositionPage, composition_graph
from ukperf.imaging.distributions import Site, own_site
from ukperf.imaging.elf import LibrarySearch
from ukperf.imaging.elfmarks import ElfNames, Where
from ukperf.reports import graph
from ukperf.reports.graph import Graph, Node
from ukperf.reports.html import document

FFT = "void rdft2d(void) {} int use(void);"
EIGEN = 'const char *type = "N5Eigen6MatrixE"; int main(void) { return 0; }'


def package(folder: Path, *, notices: str = "") -> Site:
    """`toy` with an extension module that asks for a library beside it, which has fft2d linked in."""
    core = shared_library(folder / "toy" / "lib" / "libcore.so", FFT + ' const char *said = "N11flatbuffers5TableE";')
    origin = "-Wl,-rpath,$ORIGIN/lib"
    source = "void rdft2d(void), PyErr_SetString(void); int puts(const char *s);"
    source += 'void f(void) { rdft2d(); PyErr_SetString(); puts(""); }'
    shared_library(folder / "toy" / "_c.cpython-311-x86_64-linux-gnu.so", source, str(core), origin)
    info = folder / "toy-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toy\nVersion: 1.0\n\n")
    (folder / "NOTICES.txt").write_text(notices)
    files = ["toy/lib/libcore.so", "toy/_c.cpython-311-x86_64-linux-gnu.so", "NOTICES.txt", f"{info.name}/METADATA"]
    (info / "RECORD").write_text("".join(f"{name},,\n" for name in [*files, f"{info.name}/RECORD"]))
    return Site(Path("/usr/bin/python3"), (str(folder),))


def toy(folder: Path, *, notices: str = "", own: Sequence[str] = ()) -> Composition:
    return package_composition("toy", package(folder, notices=notices), own, LibrarySearch(environment=()))


def fates(made: Composition) -> dict[str, tuple[Fate, tuple[str, ...]]]:
    return {judged.name: (judged.fate, judged.by) for judged in made.paper}


def test_files_know_who_asks_for_whom(tmp_path: Path) -> None:
    files = {file.name: file for file in toy(tmp_path).files}
    module, core = files["toy/_c.cpython-311-x86_64-linux-gnu.so"], files["toy/lib/libcore.so"]
    assert (module.kind, core.kind) == (FileKind.EXTENSION, FileKind.BUNDLED)
    assert core.name in module.needs and files["libc.so.6"].kind is FileKind.SYSTEM
    assert core.size == (tmp_path / core.name).stat().st_size


def test_what_is_linked_in_is_seen_by_symbols_and_by_texts(tmp_path: Path) -> None:
    libraries = {library.name: library for library in toy(tmp_path).libraries}
    assert {"fft2d", "flatbuffers", "glibc", "python"} <= libraries.keys()
    assert str(libraries["fft2d"].evidence[0]) == "libcore.so defines rdft2d"
    assert str(libraries["flatbuffers"].evidence[0]) == "libcore.so says N11flatbuffers5TableE"
    assert libraries["fft2d"].linked and not libraries["glibc"].linked


def test_each_dependency_of_the_paper_is_seen_replaced_or_gone(tmp_path: Path) -> None:
    fate = fates(toy(tmp_path))
    assert fate["fft2d"] == (Fate.SEEN, ())
    assert fate["newlib"] == (Fate.REPLACED, ("glibc",))
    assert fate["protobuf"] == (Fate.REPLACED, ("flatbuffers",))
    assert fate["sleef"] == (Fate.GONE, ())


def test_a_licence_file_alone_shows_only_what_leaves_nothing_else(tmp_path: Path) -> None:
    made = toy(tmp_path, notices="This product has FXdiv and sleef in it.")
    assert fates(made)["libfxdiv"][0] is Fate.SEEN
    assert fates(made)["sleef"][0] is Fate.GONE
    assert "NOTICES.txt" in next(judged.why for judged in made.paper if judged.name == "sleef")


def test_the_runtimes_own_word_counts(tmp_path: Path) -> None:
    made = toy(tmp_path, own=["  - Intel(R) MKL-DNN v3.12.0"])
    library = next(library for library in made.libraries if library.name == "oneDNN")
    assert str(library.evidence[0]) == "toy is built with Intel(R) MKL-DNN v3.12.0"


def test_a_library_that_is_nowhere_is_said_and_refuses_nothing(tmp_path: Path) -> None:
    package(tmp_path)
    (tmp_path / "toy" / "lib" / "libcore.so").unlink()
    made = package_composition("toy", Site(Path("/usr/bin/python3"), (str(tmp_path),)))
    assert any("libcore.so" in note and "not on this machine" in note for note in made.notes)


def test_a_program_is_followed_to_the_last_library(tmp_path: Path) -> None:
    made = program_composition([str(compiled(tmp_path / "p", EIGEN))], "/usr/bin")
    assert made.files[0].kind is FileKind.PROGRAM
    assert fates(made)["eigen"][0] is Fate.SEEN


def test_a_function_that_is_only_asked_for_is_not_in_the_file(tmp_path: Path) -> None:
    path = shared_library(tmp_path / "a.so", "void rdft2d(void); void f(void) { rdft2d(); }")
    assert ElfNames(path).look_for([b"\0rdft2d"])[b"\0rdft2d"].where is Where.IMPORTED
    assert "rdft2d" in ElfNames(path).imported


def test_the_data_fit_together() -> None:
    assert len(BY_NAME) == len(KNOWN)
    assert {named.library for named in PAPER} | {n for named in PAPER for n in named.instead} <= BY_NAME.keys()


@pytest.mark.parametrize(
    ("library", "soname", "is_it"),
    [
        ("libgomp", "libgomp-e985bcbb.so.1.0.0", True),
        ("libgomp", "libgomp.so.1", True),
        ("glibc", "libc.so.6", True),
        ("glibc", "libcom_err.so.2", False),
        ("zlib", "libzstd.so.1", False),
    ],
)
def test_files_are_known_by_their_names(library: str, soname: str, is_it: bool) -> None:
    assert BY_NAME[library].is_file(soname) is is_it


def test_own_word_of_what_has_none_is_empty() -> None:
    assert own_word("toy", own_site().executable) == ()
    assert any(
        "openblas" in line.lower() or "blas" in line.lower() for line in own_word("numpy", own_site().executable)
    )


# ---- drawings ----


def test_the_page_draws_a_graph_and_nothing_foreign_is_markup(tmp_path: Path) -> None:
    made = toy(tmp_path)
    page = CompositionPage(made)
    text = document([page], "x")
    assert "<svg" in text and "libcore.so" in text
    evil = Graph((Node("a", "<script>alert(1)</script>", "<b>", 'x"><b>'),), (("a", "nowhere"),), {"<b>": "g0"})
    assert "<script>" not in graph.svg(evil, "l") and "nowhere" not in graph.dot(evil, 'n"')


def test_alike_files_are_one_line_unless_all_are_wanted(tmp_path: Path) -> None:
    site = package(tmp_path)
    names = [f"toy/_m{n}.abi3.so" for n in range(5)]
    for name in names:
        shared_library(tmp_path / name, "int x;")
    record = tmp_path / "toy-1.0.dist-info" / "RECORD"
    record.write_text(record.read_text() + "".join(f"{name},,\n" for name in names))
    made = package_composition("toy", site)
    texts = [
        [cell.text for part in CompositionPage(made, every).body() for row in getattr(part, "rows", ()) for cell in row]
        for every in (False, True)
    ]
    assert "5 extension modules in toy" in texts[0] and "_m3.abi3.so" not in texts[0]
    assert "_m3.abi3.so" in texts[1]


EDGES = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), max_size=40)


@given(EDGES)
def test_any_graph_is_drawn_with_each_box_once_and_arrows_to_the_right(edges: list[tuple[int, int]]) -> None:
    nodes = tuple(Node(str(n), f"box{n}.") for n in range(13))
    drawn = graph.svg(Graph(nodes, tuple((str(a), str(b)) for a, b in edges), {"": "g0"}), "l")
    assert all(drawn.count(f">box{n}.</text>") == 1 for n in range(13))
    for way in re.findall(r'<path d="M(-?\d+) [^"]*? (-?\d+) -?\d+" class="edge"', drawn):
        assert int(way[0]) < int(way[1])


def test_an_arrow_that_follows_from_others_is_left_out_of_the_drawing_only() -> None:
    nodes = tuple(Node(name, name) for name in "abc")
    whole = Graph(nodes, (("a", "b"), ("b", "c"), ("a", "c")), {})
    assert graph.svg(whole, "l").count('class="edge"') == 2
    assert graph.dot(whole, "n").count("->") == 3


def test_linked_libraries_are_boxes_behind_the_file_that_has_them(tmp_path: Path) -> None:
    drawn = composition_graph(toy(tmp_path))
    assert ("toy/lib/libcore.so", "+fft2d") in drawn.known_edges()


# ---- the command ----


def test_the_command_prints_json_and_writes_files(tmp_path: Path) -> None:
    html, dot = tmp_path / "a.html", tmp_path / "a.dot"
    done = CliRunner().invoke(app, ["deps", "/bin/sh", "--json", "--html", str(html), "--dot", str(dot)])
    said = json.loads(done.stdout)
    assert done.exit_code == 0 and said["files"][0]["kind"] == "program" and said["size"] > 0
    assert "<svg" in html.read_text() and dot.read_text().startswith("digraph")


@pytest.mark.parametrize("word", ["no-such-thing", "./no-such-thing", "/etc", "/etc/hostname"])
def test_what_is_neither_is_a_sentence(word: str) -> None:
    done = CliRunner().invoke(app, ["deps", word])
    assert done.exit_code != 0 and done.exception is not None
    assert "Traceback" not in done.output
