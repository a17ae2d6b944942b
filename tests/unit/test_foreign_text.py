"""What guests, servers and files say reaches a person as text, never as a command to the terminal."""

from __future__ import annotations

import io
import json
import re
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from records import run_of, save_run
from test_cli import Shell

from ukperf.engine.journal import JOURNAL
from ukperf.engine.plan import PLAN
from ukperf.errors import UkperfError
from ukperf.reports import terminal
from ukperf.text import CleanStream, clean

EVIL = "a\x1b]0;owned\x07\x1b[31m\x9b2J\u202egnp\u2066x\u2069\u200e\u200f\u2028b\rc\x85d\x7f\ud800e"
ALLOWED = "\n"


def assert_harmless(*texts: str, allowed: str = ALLOWED) -> None:
    for text in texts:
        assert not [c for c in text if not c.isprintable() and c not in allowed], text


@given(st.text(), st.sampled_from(["", "\n", "\n\t"]))
def test_only_what_is_printable_is_left(text: str, keep: str) -> None:
    shown = clean(text, keep=keep)
    assert_harmless(shown, allowed=keep)
    assert clean(shown, keep=keep) == shown


@given(st.text(alphabet=st.characters(categories=["L", "N", "P", "S"])))
def test_text_of_any_language_stays_as_it_is(text: str) -> None:
    assert clean(text) == text


def test_what_each_kind_becomes() -> None:
    assert clean("a\tb\nc\x85d\u2028e") == "a b c d e"
    assert clean("\x1b[31m\x9b2J\x00\x7f") == "·[31m·2J··"
    assert clean("\u202e\u2066\u200e\ud800\ue000") == "·····"
    assert clean("a\nb\tc", keep="\n\t") == "a\nb\tc"
    assert clean("x" * 20, 10) == "x" * 9 + "…" and clean("x" * 10, 10) == "x" * 10


def test_marks_are_not_stacked_over_the_lines_around() -> None:
    assert clean("Zalgo" + "\u0301" * 500) == "Zalgo" + "\u0301" * 3
    assert clean(unicodedata.normalize("NFD", "Việt")) == unicodedata.normalize("NFD", "Việt")


def test_a_sentence_is_one_safe_line_whatever_is_quoted_in_it() -> None:
    error = UkperfError(f"{EVIL}\nukperf: all is well", hint=EVIL * 1_000)
    assert_harmless(str(error), error.message, *error.args, allowed="")
    assert len(str(error)) < 5_000


def test_a_stream_cleans_what_is_printed_and_lets_styles_through() -> None:
    behind = io.StringIO()
    stream = CleanStream(behind)
    print("one", EVIL, file=stream)
    assert_harmless(behind.getvalue(), allowed="\n\r")
    stream.styled.write("\x1b[1m")
    assert behind.getvalue().endswith("\x1b[1m") and not stream.isatty()


@pytest.mark.parametrize("open_console", [terminal.stdout_console, terminal.stderr_console])
def test_a_terminals_escape_sequences_are_only_our_own(open_console: object, monkeypatch: pytest.MonkeyPatch) -> None:
    behind = io.StringIO()
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(f"sys.{name}", CleanStream(behind))
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")  # a dumb one has no styles
    monkeypatch.delenv("NO_COLOR", raising=False)
    from rich.text import Text

    assert callable(open_console)
    open_console().print(Text(EVIL, style="bold"))
    shown = behind.getvalue()
    assert "\x1b[1m" in shown  # rich's own
    assert_harmless(re.sub(r"\x1b\[\d*m", "", shown))


# -- borders -----------------------------------------------------------------------------------------------------------


def _run(folder: Path) -> Path:
    save_run(folder, run_of({"linux": 1.0, "nanos": 0.5}, 8))
    return folder


def _edit(path: Path, change: object) -> None:
    assert callable(change)
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.name == JOURNAL else None
    data = lines if lines is not None else json.loads(path.read_text())
    change(data)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines) if lines is not None else json.dumps(data))


def _evil_plan(folder: Path) -> None:
    def change(plan: dict[str, object]) -> None:
        images = plan["images"]
        assert isinstance(images, dict)
        for image in images.values():
            image["kernel_version"] = EVIL
        plan |= {"facts": {"kernel of linux": EVIL, EVIL: "x", "qemu": EVIL}, "command": ["ukperf", EVIL]}
        plan |= {"hosts": [EVIL], "created_at": EVIL, "workload": EVIL}

    _edit(folder / PLAN, change)


def _evil_guest(folder: Path) -> None:
    def rename(plan: dict[str, object]) -> None:
        images = plan["images"]
        assert isinstance(images, dict)
        images[EVIL] = images.pop("nanos")

    _edit(folder / PLAN, rename)
    _edit(folder / JOURNAL, lambda lines: [line["trial"].update(guest=EVIL) for line in lines[1::2]])


def _evil_journal(folder: Path) -> None:
    def change(lines: list[dict[str, object]]) -> None:
        for line in lines[::3]:
            line |= {"outcome": "crashed", "reason": EVIL, "console_tail": EVIL * 3, "phases": {}}
        for line in lines:
            line |= {"host": EVIL, "started_at": EVIL}
            line["samples"] = [{"benchmark": EVIL, "unit": "s", "values": [1.0]}]

    _edit(folder / JOURNAL, change)


@pytest.mark.parametrize("spoil", [_evil_plan, _evil_guest, _evil_journal])
@pytest.mark.parametrize(
    "words",
    [
        ("compare",),
        ("compare", "--json"),
        ("report",),
        ("check",),
        ("plan", "--effect", "1"),
        *(("export", "--format", name) for name in ("csv", "markdown", "hyperfine", "bencher", "benchfmt")),
        *(("export", "--format", name) for name in ("github-action", "pyperf")),
    ],
    ids=" ".join,
)
def test_what_a_runs_folder_says_is_shown_as_text(
    words: tuple[str, ...], spoil: object, shell: Shell, tmp_path: Path
) -> None:
    folder = _run(tmp_path / "run")
    assert callable(spoil)
    spoil(folder)
    more = ("--baseline", str(_run(tmp_path / "before"))) if words[0] == "check" else ()
    status, out, err = shell(words[0], str(folder), *words[1:], *more)
    assert status in (0, 1, 2), err
    assert_harmless(out, err, allowed="\n\r" if "csv" in words else "\n")


@pytest.mark.parametrize("spoil", [_evil_plan, _evil_guest])
def test_a_plan_that_cannot_be_resumed_says_so_in_text(spoil: object, shell: Shell, tmp_path: Path) -> None:
    folder = _run(tmp_path / "run")
    assert callable(spoil)
    spoil(folder)
    assert_harmless(shell.refusal("resume", str(folder)))


def test_what_a_runs_folder_says_is_shown_as_text_in_the_report(shell: Shell, tmp_path: Path) -> None:
    folder = _run(tmp_path / "run")
    _evil_journal(folder)
    assert shell("report", str(folder), "--html")[0] == 0
    assert_harmless((folder / "report.html").read_text())


@pytest.mark.parametrize("kind", ["pyperf", "suite"])
def test_names_in_pyperf_files_are_shown_as_text(kind: str, shell: Shell, tmp_path: Path) -> None:
    metadata = {"name": EVIL, "unit": "second", "cpu_model_name": EVIL, "hostname": EVIL}
    if kind == "suite":
        metadata |= {"ukperf_guest": f"\n{EVIL}", "name": f"{EVIL}/{EVIL}"}
    runs = [{"metadata": {"date": EVIL}, "values": [1.0 + i / 100, 1.1]} for i in range(8)]
    path = tmp_path / "it.json"
    path.write_text(json.dumps({"version": "1.0", "metadata": metadata, "benchmarks": [{"runs": runs}]}))
    for words in (("compare", str(path), str(path)), ("export", str(path), "--format", "csv"), ("report", str(path))):
        status, out, err = shell(*words)
        assert status == 0, err
        assert_harmless(out, err, allowed="\n\r")


def test_a_file_that_is_named_so_is_quoted_as_text(shell: Shell, tmp_path: Path) -> None:
    name = EVIL.replace("\ud800", "\udcff")  # bytes that are no UTF-8, as Python names them
    (tmp_path / name).write_text("{}")
    for words in (("compare", str(tmp_path / name)), ("resume", str(tmp_path / name)), ("compare", name, name)):
        assert_harmless(shell.refusal(*words))


@pytest.mark.parametrize("name", ["=1+1", "@SUM(A1)", " =1", "\t=1", "\r\n=1", "\x00=1", "＝1", "+1", "-1"])
def test_a_spreadsheet_takes_no_name_for_a_formula(name: str, shell: Shell, tmp_path: Path) -> None:
    folder = _run(tmp_path / "run")
    _edit(
        folder / JOURNAL,
        lambda lines: [line.update(samples=[{"benchmark": name, "unit": "s", "values": [1.0]}]) for line in lines],
    )
    status, out, err = shell("export", str(folder), "--format", "csv")
    assert status == 0, err
    for row in out.splitlines():
        for cell in row.split(","):
            assert not cell.strip('" \t').startswith(("=", "+", "@", "＝", "-1")), row
