"""`run`: a program of this machine as it is, timed, looked at and compared. As processes; real guests: tests/real."""

from __future__ import annotations

import hashlib
import html as entities
import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from cprograms import compiled
from test_compare import cli

from ukperf import workloads
from ukperf.cli.runtools import opened
from ukperf.engine.campaign import go_on, measure
from ukperf.errors import UkperfError
from ukperf.model import Accelerator, Limits, Outcome, Phase, Request, Unit, Variant, Verdict
from ukperf.paths import cache_dir
from ukperf.runs.loaded import sides
from ukperf.stats.between import compare_pairs
from ukperf.stats.summary import summarize
from ukperf.workloads import metrics
from ukperf.workloads.base import Finished, Outlook
from ukperf.workloads.run import PEAK, READY, RUN, RunOptions
from ukperf.workloads.runnotes import OUTPUT

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")


def run(folder: Path, words: Sequence[str], boots: int = 2, more: Request = Request(), **options: object) -> Finished:  # noqa: B008
    request = replace(
        more, guests=("native",), baseline="native", limits=Limits(boots=boots), folder=folder, share_host=True
    )
    asked = RunOptions(words=tuple(words), **options)  # type: ignore[arg-type]
    return measure(workloads.get("run"), asked, request, say=lambda _: None)


def test_a_program_is_timed_from_main_to_exit(tmp_path: Path) -> None:
    done = run(tmp_path / "run", ["/bin/sleep", "0.05"])
    for record in done.result.records:
        samples = {sample.benchmark: sample for sample in record.samples}
        assert record.outcome is Outcome.OK
        assert samples[RUN].unit is Unit.SECONDS and 0.05 <= samples[RUN].values[0] < record.phases[Phase.TOTAL]
        assert Phase.STOP not in record.phases  # it would be the run once more
    assert done.notes == ("run: from before the program's first constructor to after its last exit handler.",)


def test_what_it_prints_becomes_benchmarks_and_goes_on_after_a_break(tmp_path: Path) -> None:
    metrics = (r"rate=rate ([\d.]+):MB/s:higher", "t=t (\\d+) ms:ms", "never=xyz(\\d+)")
    done = run(tmp_path / "run", ["/bin/echo", "rate 12.5\nt 3 ms\nt 5 ms"], metrics=metrics)
    samples = {sample.benchmark: sample for sample in done.result.records[0].samples}
    assert (samples["rate (MB/s)"].values, samples["rate (MB/s)"].unit) == ((12.5,), Unit.SCORE)
    assert (samples["t"].values, samples["t"].unit) == ((0.003, 0.005), Unit.SECONDS)
    assert "never matched nothing in 2 of 2 boots of native." in done.notes
    again = go_on(workloads.get("run"), tmp_path / "run", say=lambda _: None, share_host=True)
    assert again.result.records == done.result.records and again.notes == done.notes


def test_programs_that_write_different_things_did_not_do_the_same_work(tmp_path: Path) -> None:
    other = {"other": Variant("native", program="/bin/echo one TWO three")}
    done = run(tmp_path / "run", ["/bin/echo", "one two three"], boots=6, more=Request(variants=other))
    comparison = summarize(done.result.records, "native", 0.01).comparison("other", RUN)
    assert comparison is not None and comparison.verdict is Verdict.NOT_COMPARABLE
    assert any("not the same work" in warning for warning in comparison.warnings)
    assert "other does not write what native does: first 'one two three', then 'one TWO three'." in done.notes


def test_a_report_has_the_notes_of_the_run_itself(tmp_path: Path) -> None:
    other = {"other": Variant("native", program="/bin/echo one TWO three")}
    run(tmp_path / "run", ["/bin/echo", "one two"], more=Request(variants=other), metrics=("never=xyz(\\d+)",))
    notes = go_on(workloads.get("run"), tmp_path / "run", say=lambda _: None, share_host=True).notes
    assert len(notes) >= 4 and notes[0].startswith("run: from before")
    told = cli("report", tmp_path / "run")
    assert [note for note in notes if f"Note: {note}" not in told] == []
    assert cli("report", tmp_path / "run", "--html")
    page = entities.unescape((tmp_path / "run" / "report.html").read_text())
    assert [note for note in notes if note not in page] == []


def test_lines_that_may_differ_are_left_out_of_the_comparison(tmp_path: Path) -> None:
    other = {"other": Variant("native", program="/bin/echo pid 18")}
    asked = {"boots": 6, "more": Request(variants=other)}
    equal = run(tmp_path / "a", ["/bin/echo", "pid 17"], ignore=("^pid",), **asked)  # type: ignore[arg-type]
    assert len({record.checks[OUTPUT] for record in equal.result.records}) == 1
    free = run(tmp_path / "b", ["/bin/echo", "pid 17"], output="may-differ", **asked)  # type: ignore[arg-type]
    assert not any(record.checks for record in free.result.records)


def test_a_program_whose_output_differs_from_boot_to_boot_is_told(tmp_path: Path) -> None:
    done = run(tmp_path / "run", ["/bin/date", "+%N"])
    assert done.notes[1].startswith("native does not write the same in every boot: first '")


def test_two_programs_stand_in_the_same_blocks(tmp_path: Path) -> None:
    slow = {"slow": Variant("native", program="/bin/sleep 0.02")}
    done = run(tmp_path / "run", ["/bin/true"], boots=6, more=Request(variants=slow))
    comparison = summarize(done.result.records, "native", 0.01).comparison("slow", RUN)
    assert comparison is not None and comparison.verdict is Verdict.SLOWER
    programs = {record.trial.guest: record.facts["program"] for record in done.result.records}
    assert len(set(programs.values())) == 2


def test_its_own_peak_memory_is_the_guests_to_tell(tmp_path: Path) -> None:
    done = run(tmp_path / "run", ["/bin/true"])
    assert not any(sample.benchmark == PEAK for record in done.result.records for sample in record.samples)


def test_files_environment_folder_and_input_go_along(tmp_path: Path) -> None:
    code = r"""
    #include <stdio.h>
    #include <stdlib.h>
    int main(void) {
        char data[100] = "", input[100] = "";
        fgets(data, 99, fopen("data", "r"));
        fgets(input, 99, stdin);
        printf("%s %s %s", data, input, getenv("WORD"));
    }"""
    compiled(tmp_path / "program", code)
    (tmp_path / "data").write_text("data")
    (tmp_path / "input").write_text("input")
    done = run(
        tmp_path / "run",
        [str(tmp_path / "program")],
        files=(f"{tmp_path}/data:/work/data",),
        env=("WORD=a=b",),
        cwd="/work",
        stdin=tmp_path / "input",
    )
    kept = [path.read_text() for path in (tmp_path / "run" / OUTPUT).iterdir()]
    assert kept == ["data input a=b"] and done.result.records[0].outcome is Outcome.OK


def test_a_program_that_fails_or_dies_has_no_figures(tmp_path: Path) -> None:
    compiled(tmp_path / "dies", "#include <signal.h>\nint main(void) { return raise(SIGSEGV); }")
    failed = run(tmp_path / "a", ["/bin/false"], boots=1).result.records[-1]
    died = run(tmp_path / "b", [str(tmp_path / "dies")], boots=1).result.records[-1]
    assert (failed.outcome, failed.exit_status, failed.samples) == (Outcome.FAILED, 1, ())
    assert died.outcome is Outcome.CRASHED and "SIGSEGV" in died.reason


def test_home_has_a_default_and_of_two_values_the_last_one_counts(tmp_path: Path) -> None:
    def seen(folder: str, *env: str) -> str:
        run(tmp_path / folder, ["/bin/sh", "-c", "echo $HOME $A"], boots=1, env=env)
        return next((tmp_path / folder / OUTPUT).iterdir()).read_text()

    assert seen("a", "A=1", "A=2") == "/ 2\n"
    assert seen("b", "HOME=/home") == "/home\n"


def static_program(folder: Path) -> str:
    compiled(folder / "static", "int main(void) { return 0; }", "-static-pie")
    return str(folder / "static")


def prepared(words: Sequence[str], request: Request, said: list[str], **options: object) -> Request:
    bench = SimpleNamespace(
        say=said.append,
        checked=lambda request: request,
        outlook=lambda request: Outlook(Accelerator.ICOUNT),
        heard=lambda trial, frame: None,
    )
    asked = RunOptions(words=tuple(words), **options)  # type: ignore[arg-type]
    return workloads.get("run").prepare(asked, request, bench).request  # type: ignore[arg-type]


def test_guests_that_do_not_tell_a_static_programs_end_are_refused_or_left_out(tmp_path: Path) -> None:
    words, said = [static_program(tmp_path)], []  # type: ignore[var-annotated]
    for request in (Request(guests=("linux", "nanos")), Request(variants={"n": Variant("nanos")})):
        with pytest.raises(UkperfError, match=r"(nanos|n) does not tell when a program .* ends, like this static one"):
            prepared(words, request, said)
    other = Request(guests=("linux",), variants={"n": Variant("nanos", program=words[0])})
    with pytest.raises(UkperfError, match="n does not tell"):
        prepared(["/bin/true"], other, said)
    assert not said
    assert set(prepared(words, Request(), said).default_guests) == {"linux", "native"}
    assert [line.split(" is left out")[0] for line in said] == ["nanos", "unikraft"]
    assert {"linux", "nanos", "unikraft", "native"} <= set(prepared(["/bin/true"], Request(), said).default_guests)


def test_a_pyperf_script_reports_its_end_itself_so_every_guest_runs_it(tmp_path: Path) -> None:
    script, said = tmp_path / "bench.py", []  # type: ignore[var-annotated]
    script.write_text("import pyperf\npyperf.Runner().bench_func('sum', sum, [1, 2])\n")
    named = ("linux", "nanos", "unikraft")
    assert prepared([str(script)], Request(guests=named), said, python=True).guests == named
    assert {*named, "native"} <= set(prepared([str(script)], Request(), said, python=True).default_guests)
    assert not [line for line in said if "left out" in line]


def test_a_guest_that_unpacks_files_in_memory_gets_more_for_large_ones(tmp_path: Path) -> None:
    with (tmp_path / "data").open("wb") as file:
        file.truncate(50 << 20)
    files = (f"{tmp_path}/data:/data",)
    both = Request(guests=("linux", "unikraft"), variants={"u": Variant("unikraft", memory_mib=999)})
    memory = prepared(["/bin/true"], both, [], files=files).memory_mib
    assert set(memory) == {"unikraft", "u"}  # of a variant its own word counts
    assert 256 + 3.5 * 50 < memory["unikraft"] < 256 + 3.5 * 60
    assert not prepared(["/bin/true"], both, []).memory_mib


@pytest.mark.parametrize(
    ("words", "options", "says"),
    [
        ((), {}, "no program to run"),
        (("no-such-program",), {}, "no-such-program"),
        (("/bin/",), {}, "/bin is a directory, not a program"),
        (("/bin/true",), {"output": "equall"}, "no --output 'equall'"),
        (("/bin/true",), {"until_ready": True}, "--until-ready needs to know"),
        (("/bin/true",), {"ignore": ("(",)}, "--ignore '\\(' is no pattern"),
        (("/bin/true",), {"ready": "("}, "--ready '\\(' is no pattern"),
        (("/bin/true",), {"env": ("WORD",)}, "--env WORD has no value"),
        (("/bin/true",), {"env": ("=word",)}, "--env =word has no name"),
        (("/bin/true",), {"files": ("/nowhere",)}, "/nowhere"),
        (("/bin/true",), {"cwd": "work"}, "no absolute path"),
    ],
)
def test_what_cannot_be_meant_is_one_sentence(
    tmp_path: Path, words: Sequence[str], options: dict[str, object], says: str
) -> None:
    with pytest.raises(UkperfError, match=says):
        run(tmp_path / "run", words, **options)  # type: ignore[arg-type]
    assert not (tmp_path / "run").exists()


def test_the_plan_says_what_was_run(tmp_path: Path) -> None:
    run(tmp_path / "run", ["/bin/echo", "a b"], metrics=("n=(\\d+)",))
    plan = json.loads((tmp_path / "run" / "plan.json").read_text())
    assert plan["workload"] == "run" and plan["parameters"]["words"] == ["/bin/echo", "a b"]


def test_the_first_line_that_says_so_is_when_it_is_ready(tmp_path: Path) -> None:
    words = ["/bin/sh", "-c", "sleep 0.05; echo not yet; echo up; sleep 0.05"]
    record = run(tmp_path / "run", words, boots=1, ready="^up$").result.records[0]
    samples = {sample.benchmark: sample.values[0] for sample in record.samples}
    assert 0.05 <= samples[READY] < record.phases[Phase.TOTAL] and samples[RUN] >= 0.1


def test_a_guest_is_ended_when_it_is_ready(tmp_path: Path) -> None:
    words = ["/bin/sh", "-c", "echo up; sleep 60"]
    record = run(tmp_path / "run", words, boots=1, ready="up", until_ready=True).result.records[0]
    assert record.outcome is Outcome.OK
    assert record.phases[Phase.TOTAL] < 30 and RUN not in {sample.benchmark for sample in record.samples}


def test_a_line_that_never_comes_is_named(tmp_path: Path) -> None:
    done = run(tmp_path / "a", ["/bin/echo", "down"], boots=1, ready="up")
    assert "until ready matched nothing in 1 of 1 boot of native." in done.notes
    ended = run(tmp_path / "b", ["/bin/echo", "down"], boots=1, ready="up", until_ready=True).result.records[-1]
    assert (ended.outcome, ended.reason) == (Outcome.FAILED, "it ended, and no line of its output matched --ready")


def test_a_python_script_is_run_and_one_of_pyperfs_has_its_benchmarks(tmp_path: Path) -> None:
    (tmp_path / "bench.py").write_text("import pyperf\npyperf.Runner().bench_func('sum', sum, list(range(100)))\n")
    done = run(tmp_path / "run", [str(tmp_path / "bench.py")], boots=1, python=True)
    samples = {sample.benchmark: sample for sample in done.result.records[-1].samples}
    assert samples["sum"].unit is Unit.SECONDS and 0 < min(samples["sum"].values) < 1e-3
    assert done.notes == ("run: from the start of pyperf's worker, its interpreter loaded, to the script's end.",)


def test_options_of_scripts_are_for_scripts(tmp_path: Path) -> None:
    with pytest.raises(UkperfError, match="are for scripts"):
        run(tmp_path / "run", ["/bin/true"], packages=("numpy",))


WRITES = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
static void show(const char *name) {
    char line[100] = "gone";
    FILE *file = fopen(name, "r");
    if (file) { strcpy(line, "empty"); fgets(line, 99, file); fclose(file); }
    printf("%s %s\n", name, strtok(line, "\n"));
}
int main(int argc, char **argv) {
    printf("%s\n", argv[0]);
    show("grows"); show("in-place"); show("goes"); show("new"); show("folder/deep"); show("link");
    FILE *file = fopen("grows", "a"); fputs("more\n", file); fclose(file);
    file = fopen("grows", "r+"); fputs("G", file); fclose(file);
    file = fopen("in-place", "r+"); fputs("S", file); fclose(file);
    unlink("goes");
    file = fopen("new", "w"); fputs("new", file); fclose(file);
    system("rm -r folder; mkdir -p more/and/more; touch folder more/and/more/x; chmod 0 more/and");
    unlink("link"); symlink("/etc", "link");
    chmod("in-place", 0);
    return 0;
}
"""


def packed_files() -> dict[Path, str]:
    """All that is in trees of the cache, and its digest."""
    paths = (path for path in (cache_dir() / "trees").glob("*/root/**/*") if path.is_file())
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def test_each_boot_begins_with_the_files_as_they_were_packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As each guest does, whatever the last one appended, deleted, made, or wrote in place; and the cache, which is
    addressed by its contents, keeps them."""
    monkeypatch.setenv("UKPERF_CACHE_DIR", str(tmp_path / "cache"))
    compiled(tmp_path / "writes", WRITES)
    data = tmp_path / "data"
    (data / "folder").mkdir(parents=True)
    for name in ("grows", "in-place", "goes", "folder/deep"):
        (data / name).write_text(f"{name}\n")
    (data / "link").symlink_to("grows")
    asked = {"files": (f"{data}:/data", "/bin/rm", "/bin/mkdir", "/bin/touch", "/bin/chmod"), "cwd": "/data"}
    words = [str(tmp_path / "writes")]
    first = run(tmp_path / "a", words, boots=3, **asked)  # type: ignore[arg-type]
    trees = packed_files()
    second = run(tmp_path / "b", words, boots=3, **asked)  # type: ignore[arg-type]
    records = (*first.result.records, *second.result.records)
    assert [record.outcome for record in records] == [Outcome.OK] * 6, records[0].reason
    assert len({record.checks[OUTPUT] for record in records}) == 1
    written = [path.read_text() for path in (tmp_path / "b" / OUTPUT).iterdir()]
    shown = "grows grows\nin-place in-place\ngoes goes\nnew gone\nfolder/deep folder/deep\nlink grows\n"
    assert written == [f"/writes\n{shown}"]
    assert packed_files() == trees


def test_a_program_sees_the_name_that_it_has_in_guests(tmp_path: Path) -> None:
    def said(folder: str, *flags: str) -> str:
        compiled(tmp_path / "says", "#include <stdio.h>\nint main(int c, char **v) { puts(v[0]); }", *flags)
        run(tmp_path / folder, [str(tmp_path / "says")], boots=1)
        return next((tmp_path / folder / OUTPUT).iterdir()).read_text()

    assert said("dynamic") == "/says\n"
    assert said("static", "-static") == "/says\n"


def test_runs_are_compared_by_what_their_own_tables_have(tmp_path: Path) -> None:
    """`stop`, and what is before `main` in a program of this machine, would be in the family of comparisons."""
    for name in ("old", "new"):
        run(tmp_path / name, ["/bin/true"], boots=6)
    pairs = sides([str(tmp_path / "old"), str(tmp_path / "new")], opened)
    assert {comparison.benchmark for comparison in compare_pairs(pairs, 0.01)} == {"total", RUN}


def test_five_megabytes_of_output_come_through_whole(tmp_path: Path) -> None:
    written = b"0123456789abcdef" * (5 << 16)
    (tmp_path / "data").write_bytes(written)
    record = run(tmp_path / "run", ["/bin/cat", "/data"], boots=1, files=(f"{tmp_path}/data:/data",)).result.records[0]
    assert (record.outcome, record.checks[OUTPUT]) == (Outcome.OK, hashlib.sha256(written).hexdigest())


def test_a_program_that_writes_without_end_is_ended_as_a_flood(tmp_path: Path) -> None:
    done = run(tmp_path / "run", ["/usr/bin/yes", "x" * 1000], boots=1, more=Request(timeout_s=60))
    assert {record.outcome for record in done.result.records} == {Outcome.FLOODED}
    assert all(path.stat().st_size < 100 << 20 for path in (tmp_path / "run" / "console").iterdir())


def test_a_pattern_that_matches_a_million_times_fails_the_boot_in_a_sentence(tmp_path: Path) -> None:
    record = run(tmp_path / "run", ["/usr/bin/seq", "1000000"], boots=1, metrics=("n=\\d+",)).result.records[-1]
    assert record.outcome is Outcome.FAILED
    assert record.reason == "the metric n: it matched more than 100,000 times"


def test_a_pattern_that_backtracks_for_ever_fails_the_boot_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "PATTERN_S", 0.2)
    words = ["/bin/echo", "a" * 100 + "b"]
    record = run(tmp_path / "run", words, boots=1, metrics=("n=(a|aa)+$",)).result.records[-1]
    assert (record.outcome, record.reason) == (
        Outcome.FAILED,
        "the metric n: it was searched for longer than 0.2 s",
    )


@pytest.mark.skipif(shutil.which("lua5.4") is None, reason="lua5.4 is not installed")
def test_a_script_is_run_by_its_interpreter(tmp_path: Path) -> None:
    (script := tmp_path / "sum.lua").write_text("#!/usr/bin/env lua5.4\nprint(#arg, arg[1])\n")
    script.chmod(0o755)
    run(tmp_path / "run", [str(script), "two words"], boots=1)
    assert [path.read_text() for path in (tmp_path / "run" / OUTPUT).iterdir()] == ["1\ttwo words\n"]


def test_one_that_closes_its_output_and_executes_another_is_one_program(tmp_path: Path) -> None:
    code = """
    #include <unistd.h>
    int main(void) { write(1, "so far", 6); close(1); return execl("/bin/false", "false", (char *)0); }"""
    compiled(tmp_path / "program", code)
    record = run(tmp_path / "run", [str(tmp_path / "program")], boots=1).result.records[-1]
    assert (record.outcome, record.exit_status) == (Outcome.FAILED, 1)
