"""Forecasts: a packed program runs here with a guest's files and calls only, and tells what it would do there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from cprograms import compiled
from test_modelfile import BOOSTED, PICKLE, TREES, node, onnx
from typer.testing import CliRunner

from ukperf import guests
from ukperf.cli.main import app
from ukperf.deps import guestroot, trying
from ukperf.deps import subject as subject_module
from ukperf.deps.asking import Asked, Special, has_file, provided, special_files
from ukperf.deps.composition import Composition
from ukperf.deps.forecast import Forecast, Running, forecast, run_in_tree, truth_of
from ukperf.deps.page import CompositionPage
from ukperf.deps.subject import runtime_of, script_of, subject_of, trace_here
from ukperf.deps.trying import Tried
from ukperf.errors import UkperfError
from ukperf.imaging import models
from ukperf.imaging.distributions import is_installed, own_site
from ukperf.imaging.models import ModelFormat
from ukperf.imaging.pack import pack
from ukperf.model import CallClass, CallTable, Observation, Outcome, Program, Request, SystemCall
from ukperf.reports.markdown import render


def may_forecast() -> bool:
    try:
        guestroot.before(Path("/x"), Path("/y"), "/p", ())
    except UkperfError:
        return False
    return shutil.which("strace") is not None


here = pytest.mark.skipif(not may_forecast(), reason="no strace, or no name spaces")

NEEDS = """
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <unistd.h>
static volatile int came;
static void on_alarm(int number) { came = number; }
static int waits(void)
{
    signal(SIGALRM, on_alarm);
    alarm(1);
    while (!came) pause();
    return 0;
}
int main(int argc, char **argv)
{
    struct utsname name;
    for (int i = 1; i < argc; i++)
        if (argv[i][0] == '/' ? open(argv[i], O_RDONLY) < 0
            : argv[i][0] == 'a' ? alarm(1) != 0
            : argv[i][0] == 'w' ? waits() != 0
            : argv[i][0] == 'u' ? uname(&name) != 0 : argv[i][0] == 'f' ? fork() < 0 : 0) {
            fprintf(stderr, "no %s\\n", argv[i]);
            return 3;
        }
    return 0;
}
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled(tmp_path_factory.mktemp("p") / "needs", NEEDS)


def packed(program: Path, *words: str) -> Program:
    return pack([str(program), *words]).program


def table(guest: str, kinds: Mapping[str, CallClass], complaint: str = "") -> CallTable:
    calls = tuple(SystemCall(number, name, kind) for number, (name, kind) in enumerate(kinds.items()))
    return CallTable(guest, "1", "", "", calls, 1, complaint)


ALL: Mapping[str, CallClass] = {"uname": CallClass.WORKS, "fork": CallClass.WORKS}


@here
@pytest.mark.parametrize(
    ("guest", "path", "runs"),
    [
        ("linux", "/proc/cpuinfo", True),
        ("nanos", "/proc/cpuinfo", False),
        ("nanos", "/proc/meminfo", True),
        ("nanos", "/proc/self/maps", True),
        ("nanos", "/proc/self/exe", True),
        ("nanos", "/sys/devices/system/cpu/online", True),
        ("nanos", "/dev/urandom", True),
        ("nanos", "/dev/zero", False),
        ("unikraft", "/dev/zero", True),
        ("unikraft", "/proc/meminfo", False),
        ("unikraft", "/etc/hostname", False),
    ],
)
def test_a_guest_has_its_special_files_and_no_others(program: Path, guest: str, path: str, runs: bool) -> None:
    told = forecast(packed(program, path), table(guest, ALL), 30)
    assert (told.says is Running.YES) is runs
    if not runs:
        assert f"no {path}" in told.reason


@here
def test_a_call_that_is_missing_is_answered_so_and_only_it(program: Path) -> None:
    without = {**ALL, "uname": CallClass.ENOSYS}
    told = forecast(packed(program, "uname"), table("nanos", without), 30)
    assert told.says is Running.NO and "no uname" in told.reason and told.lacking == ("uname",)
    assert forecast(packed(program), table("nanos", without), 30).says is Running.YES
    assert forecast(packed(program, "uname"), table("nanos", ALL), 30).says is Running.YES


@here
def test_a_call_that_is_missing_and_survived_is_named(program: Path) -> None:
    told = forecast(packed(program), table("nanos", {**ALL, "set_robust_list": CallClass.ENOSYS}), 30)
    assert (told.says, told.lacking) == (Running.YES, ("set_robust_list",))


@here
def test_a_call_that_kills_the_guest_is_a_no_and_a_fork_too(program: Path) -> None:
    assert forecast(packed(program, "uname"), table("nanos", {"uname": CallClass.KILLS}), 30).says is Running.NO
    told = forecast(packed(program, "fork"), table("nanos", {"fork": CallClass.ENOSYS, "vfork": CallClass.ENOSYS}), 30)
    assert told.says is Running.NO and "no fork" in told.reason


@here
def test_a_signal_is_waited_for_in_vain_where_the_table_says_that_none_comes(program: Path) -> None:
    """Only by those that wait: one that sets an alarm and ends before is none of them."""
    pretends = table("unikraft", {"alarm": CallClass.STUB, "pause": CallClass.STUB})
    told = forecast(packed(program, "wait"), pretends, 3)
    assert told.says is Running.NO
    assert told.reason == "it waits for SIGALRM, which never comes: the guest's alarm does nothing"
    assert forecast(packed(program, "alarm"), pretends, 30).says is Running.YES
    assert forecast(packed(program, "wait"), table("nanos", ALL), 30).says is Running.YES


@here
def test_the_programs_own_exit_status_is_no_failure(program: Path) -> None:
    assert forecast(packed(program, "/no/such"), table("nanos", ALL), 30, status=3).says is Running.YES


@here
def test_a_tree_is_not_changed_and_may_be_written(tmp_path: Path) -> None:
    writes = compiled(tmp_path / "w", '#include <stdio.h>\nint main(void) { return !fopen("/new", "w"); }')
    program = packed(writes)
    before = sorted(program.path.rglob("*"))
    assert run_in_tree(program, ("/dev/null",), (), 30).status == 0
    assert sorted(program.path.rglob("*")) == before


@here
def test_a_file_of_the_tree_goes_before_the_kernels(program: Path) -> None:
    root = packed(program, "/proc/cpuinfo")
    asked = Asked({}, {}, (Special("/proc/cpuinfo", True),), (), 0, 0, True, "")
    assert provided(asked, table("nanos", ALL), root.path).files == ("/proc/cpuinfo",)


def test_nothing_is_forecast_of_an_incomplete_table() -> None:
    told = forecast(Program("x", "", Path("/x"), True, ("/x",)), table("nanos", ALL, "it died"), 1)
    assert (told.says, told.reason) == (Running.UNKNOWN, "it died")


def test_without_name_spaces_there_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    guestroot._unshare.cache_clear()
    monkeypatch.setattr(guestroot.shutil, "which", lambda name: "/bin/false")
    monkeypatch.setattr(guestroot.os, "geteuid", lambda: 1000)
    monkeypatch.setattr(
        guestroot.subprocess, "run", lambda *_, **__: type("Done", (), {"stderr": "unshare: Operation not permitted"})
    )
    with pytest.raises(UkperfError, match="Operation not permitted") as raised:
        guestroot.before(Path("/x"), Path("/y"), "/p", ())
    assert raised.value.hint is not None and "sysctl" in raised.value.hint
    guestroot._unshare.cache_clear()


def test_which_calls_and_files_a_guest_lacks() -> None:
    special = (Special("/proc/cpuinfo", True), Special("/dev/null", True), Special("/dev/nowhere", False))
    asked = Asked({"mbind": 2, "read": 9, "kill": 1, "odd": 1}, {}, special, (), 0, 0, True, "")
    kinds = {"mbind": CallClass.ENOSYS, "read": CallClass.WORKS, "kill": CallClass.STUB, "odd": CallClass.HANGS}
    has = provided(asked, table("nanos", kinds))
    assert (has.lacking, has.stubs, has.fatal, has.files) == (("mbind",), ("kill",), ("odd",), ("/proc/cpuinfo",))


@pytest.mark.parametrize(
    ("special", "path", "has"),
    [
        (None, "/proc/x", True),
        (("/proc/",), "/proc/self/maps", True),
        (("/proc/self/maps",), "/proc/self", True),
        (("/proc/self/maps",), "/proc/self/map", False),
        ((), "/dev/null", False),
    ],
)
def test_special_files_are_found_in_their_folders(special: Sequence[str] | None, path: str, has: bool) -> None:
    assert has_file(special, path) is has


def test_each_guest_that_loads_programs_says_which_special_files_it_has() -> None:
    for guest in guests.loading_programs():
        if guest.recipe.machines:
            assert special_files(guest.name)


@pytest.mark.parametrize(
    ("seen", "says"),
    [
        (Observation(Outcome.OK, exit_status=0), Running.YES),
        (Observation(Outcome.FAILED, "status 1", exit_status=1), Running.NO),
        (Observation(Outcome.HUNG, "it hung"), Running.NO),
    ],
)
def test_what_a_boot_says(seen: Observation, says: Running) -> None:
    assert truth_of(seen)[0] is says
    assert truth_of(Observation(Outcome.FAILED, "3", exit_status=3), 3)[0] is Running.YES


def test_the_page_counts_the_forecasts_that_came_true() -> None:
    forecasts = (
        Forecast("a", "1", Running.YES, truth=Running.YES, lacking=("mbind",)),
        Forecast("b", "1", Running.NO, "no /proc", truth=Running.YES),
        Forecast("c", "1", Running.UNKNOWN, truth=Running.YES),
    )
    asked = Asked({"read": 3}, {"TCGETS": False}, (Special("/dev/null", True),), (), 1, 0, False, "exit status 3")
    page = CompositionPage(Composition("x", "", (), (), ()), tried=Tried(asked, (), forecasts))
    text = render(page)
    assert "1 of 2 forecasts came true" in text and "although it lacks mbind" in text
    assert "TCGETS (refused)" in text and "exit status 3" in text
    said = page.json()
    assert isinstance(said, dict) and isinstance(said["forecasts"], list)


# ---- subjects ----


def test_a_package_is_imported_unless_a_script_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UKPERF_CACHE_DIR", str(tmp_path))
    assert script_of(subject_of(["pyelftools"], None)).read_text() == "import elftools\n"
    assert script_of(subject_of(["rich"], None)).read_text() == "import rich\n"
    script = tmp_path / "s.py"
    assert script_of(subject_of(["rich"], None, script)) == script


@pytest.mark.parametrize(("words", "script"), [(["rich", "x"], None), (["/bin/sh"], Path("s.py"))])
def test_what_cannot_be_meant_is_refused(words: list[str], script: Path | None) -> None:
    with pytest.raises(UkperfError):
        subject_of(words, None, script)


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not here")
def test_what_runs_here_is_traced_with_this_machines_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OF_THE_TEST", "yes")
    trace = trace_here(subject_of(["/bin/sh", "-c", "echo $OF_THE_TEST; exit 5"], None), 30)
    assert (trace.stdout, trace.status) == ("yes\n", 5)


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not here")
def test_the_command_traces_a_package() -> None:
    done = CliRunner().invoke(app, ["deps", "--trace", "packaging"], env={"COLUMNS": "200", **os.environ})
    assert done.exit_code == 0, done.output
    assert "asks a kernel for" in done.output


def test_a_package_is_packed_by_the_recipe_that_is_about_it() -> None:
    runtime = runtime_of(subject_of(["scikit-learn"], None))
    assert runtime is not None and "scikit-learn" in runtime.distributions
    assert runtime_of(subject_of(["rich"], None)) is None
    assert runtime_of(subject_of(["/bin/sh"], None)) is None


def test_a_model_stands_for_the_runtime_that_takes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, trees = tmp_path / "m.onnx", tmp_path / "trees.onnx"
    model.write_bytes(onnx())
    trees.write_bytes(onnx(node("TreeEnsembleClassifier", "ai.onnx.ml")))
    (tmp_path / "m.txt").write_bytes(TREES)
    (tmp_path / "m.json").write_bytes(BOOSTED)
    monkeypatch.setenv("UKPERF_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(subject_module, "is_installed", lambda name, site: name != "onnxruntime")
    assert subject_of([str(model)], None).words == ("openvino",)
    assert subject_of([str(tmp_path / "m.txt")], None).words == ("lightgbm",)
    assert subject_of([str(tmp_path / "m.json")], None).words == ("xgboost-cpu",)
    with pytest.raises(UkperfError, match="no package that loads trees"):
        subject_of([str(trees)], None)
    monkeypatch.setattr(subject_module, "is_installed", lambda name, site: name == "onnxruntime")
    subject = subject_of([str(model)], None)
    assert (subject.words, subject.model) == (("onnxruntime",), model)
    source = script_of(subject).read_text()
    assert "def load(path, threads):" in source and "load(sys.argv[1], 1)" in source and "predict(rows_for(" in source


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("no.onnx", None, "cannot be read"),
        ("x.pkl", b"x", "is code"),
        ("x.pt", b"x", "is code"),
        ("x.h5", b"x", "is code"),
        ("x.tflite", b"x", "no model that can be loaded"),
        ("x.onnx", TREES, "called as onnx files are, and is lightgbm"),
        ("x.onnx", PICKLE, "called as onnx files are, and is sklearn"),
        ("x.onnx", onnx(), "no package"),
    ],
)
def test_models_that_cannot_be_loaded_are_a_sentence(
    name: str, content: bytes | None, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subject_module, "is_installed", lambda name, site: False)
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UkperfError, match=why):
        subject_of([str(tmp_path / name)], None)


def test_rows_are_for_models_only() -> None:
    with pytest.raises(UkperfError, match="--inputs are rows for a model, and rich is none"):
        subject_of(["rich"], None, inputs=Path("rows.npy"))


@pytest.mark.parametrize("form", [ModelFormat.ONNX, ModelFormat.TFLITE])
@here
def test_a_model_is_asked_for_a_prediction_here_and_where_it_is_forecast(form: ModelFormat, tmp_path: Path) -> None:
    """With rows of its shape it ends well, and with others it does not: so it did predict."""
    if not is_installed(models.WRITERS[form].library, own_site()):
        pytest.skip(f"{models.WRITERS[form].library} is not installed")
    made = models.made("mlp", form)
    path = tmp_path / made.path.name
    path.write_bytes(made.path.read_bytes())
    trace = trace_here(subject_of([str(path)], None), 60)
    assert trace.status == 0 and "version" in trace.stdout, trace.last_line
    program = subject_module.packed(subject_of([str(path)], None)).program
    assert run_in_tree(program, ("/dev/", "/proc/", "/sys/"), (), 60).status == 0
    np.save(tmp_path / "rows.npy", np.ones((2, 3), np.float32))
    wrong = trace_here(subject_of([str(path)], None, inputs=tmp_path / "rows.npy"), 60)
    assert wrong.status == 1


# -- forecasts, and boots that confirm them ----------------------------------------------------------------------------


class Bench:
    """What the engine lends: boots that end as they are told to. refused: guests that refuse the program."""

    def __init__(self, seen: Mapping[str, Observation], refused: Sequence[str] = ()) -> None:
        self.seen, self.refused, self.said, self.memory = seen, refused, [], {}  # type: ignore[var-annotated]

    def say(self, sentence: str) -> None:
        self.said.append(sentence)

    @contextmanager
    def boots(self, request: Request, *, exact: bool = True) -> Iterator[Any]:
        (guest,) = request.guests
        if guest in self.refused:
            raise UkperfError(f"{guest} takes no such program.")
        self.memory[guest] = request.machine.memory_mib
        yield SimpleNamespace(boot=lambda guest, program, timeout_s: self.seen[guest])


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """What guests answer is known: nanos has no uname, floor cannot be asked."""

    def tables(request: Request, bench: Bench, *, fresh: bool) -> tuple[CallTable, ...]:
        (guest,) = request.guests
        if guest == "floor":
            raise UkperfError("floor loads no programs.")
        return (table(guest, {**ALL, "uname": CallClass.ENOSYS} if guest == "nanos" else ALL),)

    monkeypatch.setattr(trying, "tables", tables)


def asked(*guests: str) -> Request:
    return Request(guests=guests, timeout_s=60.0)


GOOD = Observation(Outcome.OK, exit_status=0)
BAD = Observation(Outcome.FAILED, "its program exited with status 3", exit_status=3)


@here
def test_each_guest_gets_a_forecast_and_one_that_cannot_be_asked_is_left_out(program: Path, known: None) -> None:
    bench = Bench({})
    told = trying.tried(
        subject_of([str(program), "uname"], None), asked("linux", "nanos", "floor"), bench, confirm=False
    )
    assert {item.guest: item.says for item in told.forecasts} == {"linux": Running.YES, "nanos": Running.NO}
    assert bench.said == ["floor is left out: floor loads no programs."]
    assert "uname" in {name for name, _ in told.asked.calls.items()} and len(told.has) == 2
    with pytest.raises(UkperfError, match="There is no guest to forecast for"):
        trying.tried(subject_of([str(program)], None), asked("floor"), bench, confirm=False)


@here
def test_what_is_said_of_one_guests_kernel_is_asked_of_it_alone(
    program: Path, known: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_one: dict[str, tuple[object, object]] = {}
    answers = trying.tables

    def tables(request: Request, bench: Any, *, fresh: bool) -> Sequence[CallTable]:
        (guest,) = request.guests
        of_one[guest] = dict(request.kernels), dict(request.cmdlines)
        return answers(request, bench, fresh=fresh)

    monkeypatch.setattr(trying, "tables", tables)
    request = replace(asked("linux", "nanos"), kernels={"linux": Path("/k")}, cmdlines={"nanos": "a"})
    trying.tried(subject_of([str(program)], None), request, Bench({}), confirm=False)
    assert of_one == {"linux": ({"linux": Path("/k")}, {}), "nanos": ({}, {"nanos": "a"})}
    with pytest.raises(UkperfError, match="unikraft: named by --kernel or --append"):
        odd = replace(request, cmdlines={"unikraft": "a"})
        trying.tried(subject_of([str(program)], None), odd, Bench({}), confirm=False)


@here
def test_a_boot_confirms_a_forecast_or_does_not_and_a_refusal_is_a_no(program: Path, known: None) -> None:
    bench = Bench({"linux": GOOD, "nanos": BAD}, refused=["unikraft"])
    meant = subject_of([str(program), "uname"], None)
    told = trying.tried(meant, asked("linux", "nanos", "unikraft"), bench, confirm=True)
    truths = {item.guest: (item.says, item.truth, item.truth_reason) for item in told.forecasts}
    assert truths["linux"][:2] == (Running.YES, Running.YES)
    assert truths["nanos"][:2] == (Running.NO, Running.NO)
    assert truths["unikraft"] == (Running.YES, Running.NO, "unikraft takes no such program.")
    assert told.right == (2, 3)
    assert all(mib == asked().machine.memory_mib for mib in bench.memory.values())  # a program in C needs no more


@here
def test_what_does_not_run_packed_is_forecast_nowhere(
    program: Path, known: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trying, "run_in_tree", lambda *words: SimpleNamespace(status=3, signal="", last_line="no file"))
    told = trying.tried(subject_of([str(program)], None), asked("linux"), Bench({}), confirm=True)
    assert [item.says for item in told.forecasts] == [Running.UNKNOWN] and told.right == (0, 0)
    (note,) = told.notes
    assert "Packed, it does not run on this machine itself (exit status 3: no file)" in note


@here
def test_a_trace_alone_asks_no_guest(program: Path) -> None:
    told = trying.traced(subject_of([str(program), "/proc/cpuinfo"], None), 60)
    assert told.forecasts == () and "/proc/cpuinfo" in {item.path for item in told.asked.special}
