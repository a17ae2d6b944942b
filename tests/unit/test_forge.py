"""Files for a public forge: what they name exists, what they run parses, and no job may more than it needs."""

from __future__ import annotations

import importlib.util
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from test_docs import without_effect
from typer.main import get_command

from ukperf.cli import COMMANDS
from ukperf.cli.main import app

ROOT = Path(__file__).resolve().parents[2]
GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
FORMS = sorted(path for path in (GITHUB / "ISSUE_TEMPLATE").glob("*.yml") if path.name != "config.yml")
PINNED = re.compile(r"[\w-]+/[\w-]+@[0-9a-f]{40}")
# Programs that are no part of this checkout, and what brings them there.
PROGRAMS = {
    "sudo": "the runner",
    "gh": "the runner",
    "shellcheck": "apt-get, a step before",
    "ruff": "extra dev",
    "mypy": "extra dev",
    "mkdocs": "extra docs",
}


def jobs() -> Iterator[tuple[str, dict[str, Any]]]:
    for path in WORKFLOWS:
        for name, job in yaml.safe_load(path.read_text())["jobs"].items():
            yield f"{path.stem}/{name}", job


JOBS = dict(jobs())
STEPS = [(f"{job}: {step['run']}", step["run"]) for job, of in JOBS.items() for step in of["steps"] if "run" in step]


def test_there_is_a_workflow_for_changes_and_one_for_releases() -> None:
    assert [path.stem for path in WORKFLOWS] == ["ci", "release"]
    # YAML 1.1 reads `on` as a truth value
    assert yaml.safe_load(WORKFLOWS[1].read_text())[True] == {"push": {"tags": ["v*"]}}


def test_unit_tests_run_on_every_python_that_we_name() -> None:
    classifiers = re.findall(r"Python :: (3\.\d+)", (ROOT / "pyproject.toml").read_text())
    assert JOBS["ci/unit"]["strategy"]["matrix"]["python"] == classifiers


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_actions_are_pinned_by_commit_with_their_version_beside_it(path: Path) -> None:
    lines = [line for line in path.read_text().splitlines() if "uses:" in line]
    assert lines
    for line in lines:
        used, _, version = line.partition("uses: ")[2].partition(" # ")
        assert PINNED.fullmatch(used), line
        assert re.fullmatch(r"v\d+\.\d+\.\d+", version), line


def test_one_action_has_one_pin() -> None:
    used = {step["uses"] for job in JOBS.values() for step in job["steps"] if "uses" in step}
    assert len(used) == len({name.split("@")[0] for name in used})
    (watched,) = yaml.safe_load((GITHUB / "dependabot.yml").read_text())["updates"]
    assert watched["package-ecosystem"] == "github-actions"


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_may_read_at_most(path: Path) -> None:
    assert yaml.safe_load(path.read_text())["permissions"] in ({}, {"contents": "read"})


def test_only_what_publishes_may_write_and_none_of_it_runs_our_code() -> None:
    """A token that lets packages be uploaded is in no job that runs what a dependency brought."""
    writers = {name: job for name, job in JOBS.items() if "write" in job.get("permissions", {}).values()}
    assert {name: set(job["permissions"]) for name, job in writers.items()} == {
        "release/publish": {"id-token", "attestations"},
        "release/announce": {"contents"},
    }
    assert "environment" in writers["release/publish"]
    for job in writers.values():
        assert all(step.get("run", "gh ").startswith("gh ") for step in job["steps"])
        assert not any("checkout" in step.get("uses", "") for step in job["steps"])


def test_checkouts_keep_no_token_and_no_job_runs_for_ever() -> None:
    for job in JOBS.values():
        assert job["timeout-minutes"] <= 120
        for step in job["steps"]:
            if "actions/checkout" in step.get("uses", ""):
                assert step["with"]["persist-credentials"] is False


def test_nothing_that_strangers_write_is_pasted_into_a_shell() -> None:
    """Titles and branch names reach scripts as variables."""
    assert [run for _, run in STEPS if "${{" in run] == []


@pytest.mark.parametrize(("where", "run"), STEPS, ids=[where for where, _ in STEPS])
def test_a_command_of_a_workflow_exists(where: str, run: str) -> None:
    words = shlex.split(run.split(" > ", maxsplit=1)[0])
    program, *rest = words
    if Path(program).name == "ukperf":
        check_ours(rest)
    elif Path(program).name == "python":
        check_python(rest)
    elif "/" in program:
        assert (ROOT / program).stat().st_mode & 0o111
    else:
        assert program in PROGRAMS
    for word in rest:
        if word.startswith(("scripts/", "tests/", ".ci/")):
            assert (ROOT / word).exists(), word


def check_ours(words: list[str]) -> None:
    assert words[0] in COMMANDS
    assert without_effect(get_command(app)).main(words, prog_name="ukperf", standalone_mode=False) in (None, 0)


def check_python(words: list[str]) -> None:
    if words[0] == "-m":
        assert importlib.util.find_spec(words[1]) is not None
    else:
        assert (ROOT / words[0]).is_file()
    for extra in re.findall(r"\[(\w+)\]", " ".join(words)):
        assert f"\n{extra} = [" in (ROOT / "pyproject.toml").read_text()


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.name)
def test_a_form_asks_for_a_bundle_by_a_command_that_exists(path: Path) -> None:
    form = yaml.safe_load(path.read_text())
    assert {"name", "description", "body"} <= form.keys()
    fields = {
        field["id"]: field["attributes"]["description"]
        for field in form["body"]
        if "description" in field["attributes"]
    }
    assert "`ukperf bundle RUN -o FILE`" in fields["bundle"]
    for command in re.findall(r"`ukperf ([^`]+)`", " ".join(fields.values())):
        check_ours(command.split())


def test_hooks_before_a_commit_are_parts_of_ci_run() -> None:
    (local,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    script = (ROOT / ".ci" / "run").read_text()
    for hook in local["hooks"]:
        assert " ".join(hook["entry"].replace(" --fix", "").split()[:2]) in script
