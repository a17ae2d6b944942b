"""The examples in README.md and docs/ are true: commands parse, marked ones run, JSON is JSON, links lead somewhere.

A fenced `console` block shows commands after `$ ` and what they print. `<!-- run -->` on the line before a block makes
the test run its `ukperf` commands, in an empty home, and compare what they print; `…` stands for any text.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from ukperf.cli.main import app

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("**/*.md")])
FENCE = re.compile(r"^(?P<mark><!-- run -->\n)?```(?P<language>\w*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
SHELL = {"console", "sh", "bash", "shell"}


@dataclass(frozen=True)
class Example:
    """One command of a page, with the text that the page says it prints."""

    where: str
    command: str
    prints: str
    run: bool

    @property
    def words(self) -> list[str]:
        """The words of the `ukperf` part, up to the first pipe, redirection or `&&`; empty for other programs."""
        lexer = shlex.shlex(self.command, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words: list[str] = []
        for word in lexer:
            if set(word) <= set("|&;<>()"):
                break
            words.append(word)
        while words and (re.fullmatch(r"\w+=.*", words[0]) or words[0] == "sudo"):
            del words[0]
        return words[1:] if words and Path(words[0]).name == "ukperf" else []


def blocks(page: Path) -> Iterator[tuple[int, re.Match[str]]]:
    text = page.read_text()
    for fence in FENCE.finditer(text):
        yield text.count("\n", 0, fence.start()) + 1, fence


def examples_in(page: Path) -> Iterator[Example]:
    for line, fence in blocks(page):
        if fence["language"] not in SHELL:
            continue
        body = fence["body"].replace("\\\n", " ")
        for part in re.split(r"^\$ ", body, flags=re.MULTILINE)[1:]:
            command, _, prints = part.partition("\n")
            yield Example(f"{page.relative_to(ROOT)}:{line}: {command}", command, prints, fence["mark"] is not None)
    for number, line in enumerate(FENCE.sub("", page.read_text()).splitlines(), 1):
        if line.startswith("    ukperf "):  # an indented block that shows commands alone
            yield Example(f"{page.relative_to(ROOT)}:~{number}: {line.strip()}", line.strip(), "", False)


EXAMPLES = [example for page in PAGES for example in examples_in(page)]
OURS = [example for example in EXAMPLES if example.words]


def without_effect(command: Any) -> Any:
    """The same command line, whose commands do nothing but have their arguments checked."""
    for child in getattr(command, "commands", {}).values():
        without_effect(child)
    if not hasattr(command, "commands"):
        command.callback = lambda *_, **__: None
    return command


@pytest.mark.parametrize("example", OURS, ids=lambda example: example.where)
def test_a_command_of_the_docs_parses(example: Example) -> None:
    try:
        status = without_effect(get_command(app)).main(example.words, prog_name="ukperf", standalone_mode=False)
    except SystemExit as end:
        status = end.code
    assert status in (None, 0)


def test_a_command_that_does_not_exist_is_found() -> None:
    with pytest.raises(Exception, match=r"--no-such-option"):
        without_effect(get_command(app)).main(["--no-such-option"], standalone_mode=False)


@pytest.mark.parametrize("example", [example for example in OURS if example.run], ids=lambda example: example.where)
def test_a_marked_example_runs_and_prints_what_the_page_says(example: Example, tmp_path: Path) -> None:
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "HOME": str(tmp_path),
        "COLUMNS": "100",
        "NO_COLOR": "1",
        "LC_ALL": "C.UTF-8",
    }
    command = [sys.executable, "-c", "from ukperf.cli.main import run; run()", *example.words]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    if example.prints.strip():
        pattern = ".*".join(re.escape(part) for part in example.prints.strip().split("…"))
        assert re.fullmatch(pattern, done.stdout.strip(), re.DOTALL), done.stdout


@pytest.mark.parametrize(
    ("page", "body"),
    [
        pytest.param(page, fence["body"], id=f"{page.relative_to(ROOT)}:{line}")
        for page in PAGES
        for line, fence in blocks(page)
        if fence["language"] == "json"
    ],
)
def test_json_of_the_docs_is_json(page: Path, body: str) -> None:
    json.loads(body)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_to_files_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_the_readme_names_the_two_commands_first() -> None:
    commands = [example.command for example in examples_in(ROOT / "README.md")]
    assert commands[:2] == ["./scripts/first-run.sh", "./scripts/test.sh"]


def test_the_readme_leads_to_every_page() -> None:
    readme = (ROOT / "README.md").read_text()
    assert [page.name for page in PAGES if page.parent.name == "docs" and f"(docs/{page.name})" not in readme] == []


def _promises() -> Any:
    spec = importlib.util.spec_from_file_location("promises", ROOT / "benchmarks" / "promises.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["promises"] = module
    spec.loader.exec_module(module)
    return module


def test_figures_on_promises_come_from_the_script_that_is_named() -> None:
    """Each part still runs, and its table in docs/statistics.md has its columns, its rows and about its figures."""
    page = (ROOT / "docs" / "statistics.md").read_text()
    assert "python benchmarks/promises.py" in page
    for name, part in _promises().PARTS.items():
        table = page[page.index("| " + " | ".join(part.heads) + " |\n") :].split("\n\n")[0].splitlines()
        made = [list(map(str, row)) for row in part.rows(200)]
        written = [line.strip("| ").split(" | ") for line in table[2:]]
        assert [row[0] for row in made] == [row[0] for row in written], name
        shares = [
            (abs(float(a[:-2]) - float(b[:-2])), a, b)
            for ours, theirs in zip(made, written, strict=True)
            for a, b in zip(ours[1:], theirs[1:], strict=True)
            if a.endswith(" %")
        ]
        assert max(shares)[0] < 25, (name, max(shares))


# ---- names of modules ---------------------------------------------------------------------------------------------

FOREIGN = {"plot_whisker.py", "welch_ttest.py", "plot_parametrized.py", "gen_table.py"}  # other projects' scripts
ROOMS = sorted(path.name for path in (ROOT / "ukperf").iterdir() if (path / "__init__.py").is_file())
TEXTS = [*PAGES, *sorted((ROOT / "ukperf").rglob("*.py"))]


def spoken_of(text: str) -> Iterator[tuple[str, list[str]]]:
    """(path, names in it) for each `room/module.py: name, other` and path of a module; dotted names as such."""
    for paths, names in re.findall(r"`([\w/{},.-]+\.py)(?:: ([\w, ]+))?`", text):
        head, brace, rest = paths.partition("{")
        middle, _, tail = rest.partition("}")
        for part in middle.split(",") if brace else [""]:
            yield f"{head}{part}{tail}", [name.strip() for name in names.split(",") if name.strip()]
    for path in re.findall(r"(?<![\w/.`-])((?:ukperf|tests|benchmarks|" + "|".join(ROOMS) + r")/[\w/-]+\.py)\b", text):
        yield path, []
    for dotted in re.findall(rf"`(?:ukperf\.)?((?:{'|'.join(ROOMS)})\.[a-z]\w*(?:\.\w+)?)", text):
        room, module, *names = dotted.split(".")
        if (ROOT / "ukperf" / room / module).is_dir():
            room, module = f"{room}/{module}", "__init__"
        yield f"{room}/{module}.py", names


def defined_in(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    named = {node.name for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    named |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    return named | {
        alias.asname or alias.name for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }


@pytest.mark.parametrize("text", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_modules_and_functions_that_a_text_names_exist(text: Path) -> None:
    for name, members in spoken_of(text.read_text()):
        if name in FOREIGN:
            continue
        there = next((place for base in (ROOT, ROOT / "ukperf", text.parent) if (place := base / name).is_file()), None)
        assert there is not None, f"there is no {name}"
        missing = set(members) - defined_in(there)
        assert not missing, f"{name} has no {', '.join(sorted(missing))}"


def test_a_name_that_is_gone_is_noticed() -> None:
    spoken = dict(spoken_of("`engine/gone.py: what`, as `stats.summary.nothing` and in hosts/old.py"))
    assert spoken == {"engine/gone.py": ["what"], "stats/summary.py": ["nothing"], "hosts/old.py": []}
    assert "summarize" in defined_in(ROOT / "ukperf" / "stats" / "summary.py")
