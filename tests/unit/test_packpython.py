"""Python scripts become trees that run: packages, files, refusals; pyperf scripts as workers, on this machine."""

from __future__ import annotations

import re
import shutil
import sys
import textwrap
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ukperf import guests
from ukperf.errors import UkperfError
from ukperf.guests.base import BuildOptions
from ukperf.hosts.native import NativeHost
from ukperf.imaging import packpython
from ukperf.imaging.cache import Cache
from ukperf.imaging.closure import PythonTree
from ukperf.imaging.distributions import own_site
from ukperf.imaging.pack import FileToPack, Packed, Timing
from ukperf.imaging.packpython import MAX_BENCHMARKS, PyperfWorker, pack_python, uses_pyperf
from ukperf.imaging.pythontree import python_tree
from ukperf.model import Accelerator, BootSpec, Machine, Observation, Outcome, Repetitions, Unit
from ukperf.text import Say
from ukperf.workloads.calibrating import costs, run_here
from ukperf.workloads.python_script import PythonOptions, PythonScript, once_each, packer, python_script

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
Write = Callable[..., Path]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    """One for all: the tree is made once."""
    return Cache(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def script(tmp_path: Path) -> Write:
    def write(text: str, name: str = "s.py") -> Path:
        (tmp_path / name).write_text(textwrap.dedent(text))
        return Path(name)

    return write


@pytest.fixture
def pack(tmp_path: Path, cache: Cache) -> Callable[..., Packed]:
    return lambda path, *args, **options: pack_python(path, args, base=tmp_path, cache=cache, **options)


def run(packed: Packed) -> Observation:
    image = guests.get("native").build(packed.program, BuildOptions())
    return NativeHost().boot(BootSpec(image, Machine(), Accelerator.NATIVE, timeout_s=60))


def refusal(call: Callable[..., object], *args: object, **options: object) -> str:
    with pytest.raises(UkperfError) as caught:
        call(*args, **options)
    return str(caught.value)


# ---- plain scripts ----


def test_a_plain_script_runs_with_arguments_folder_input_files_and_variables(
    script: Write, pack: Callable[..., Packed], tmp_path: Path
) -> None:
    script("NAME = 'helper'", "helper.py")
    (tmp_path / "in").write_text("input")
    text = """
        import os, sys, helper
        words = [helper.NAME, sys.argv[1], sys.stdin.read(), os.environ["A"], os.path.basename(os.getcwd())]
        print("|".join(words), sys.flags.hash_randomization)
        exit(3)
    """
    packed = pack(
        script(text),
        "two words",
        files=[FileToPack(Path("helper.py"))],
        cwd="/some/where",
        stdin=Path("in"),
        env=[("A", "1"), ("PYTHONHASHSEED", "7")],
    )
    assert packed.program.argv[-2:] == ("/some/where/s.py", "two words")
    assert [value for name, value in packed.program.env if name == "PYTHONHASHSEED"] == ["7"]
    assert (packed.timing, packed.left_out) == (Timing.PRELOAD, ())
    seen = run(packed)
    assert "helper|two words|input|1|where 1" in seen.console_tail  # seed 0, the default, does not randomize
    assert [frame.event for frame in seen.frames] == ["main", "exit"]
    assert (seen.outcome, seen.exit_status) == (Outcome.FAILED, 3), seen.reason


def test_the_tree_is_shared_by_links_and_found_again(
    script: Write, pack: Callable[..., Packed], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = pack(script("print(1)"))
    second = pack(script("print(2)"))
    assert first.program.digest != second.program.digest
    assert first.program.path != second.program.path
    pythons = [packed.program.path / "prog/python" for packed in (first, second)]
    assert pythons[0].samefile(pythons[1])
    assert (first.program.path / "s.py").read_text() == "print(1)"
    assert pack(script("print(1)")) == first
    assert pack(script("print(1)"), "x").program.path == first.program.path  # arguments are not of the tree


@pytest.mark.parametrize(
    ("name", "inside"),
    [("s.py", "/work/s.py"), ("a/../s.py", "/s.py"), ("../here/s.py", "/s.py"), ("{0}/s.py", "/s.py")],
)
def test_a_script_lies_where_guests_can_have_it(
    name: str, inside: str, script: Write, cache: Cache, tmp_path: Path
) -> None:
    base = tmp_path / "here"
    (base / "a").mkdir(parents=True)
    (base / "s.py").write_text("")
    packed = pack_python(Path(name.format(base)), base=base, cache=cache, cwd="/work" if inside != "/s.py" else "/")
    assert packed.program.argv[-1] == inside
    assert (packed.program.path / inside.lstrip("/")).is_file()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("x = 1\nif x\n", r"s.py, line 2 is no valid Python 3\.\d+: expected ':'"),
        ("return 1", "s.py, line 1 is no valid Python .* 'return' outside function"),
        ("a = '\0'", "s.py.* is no valid Python.*null bytes"),
        ("x = " + "(" * 5000 + ")" * 5000, "s.py.* is no valid Python"),
    ],
)
def test_a_script_that_does_not_compile_is_refused_with_its_line(
    text: str, sentence: str, pack: Callable[..., Packed], tmp_path: Path
) -> None:
    (tmp_path / "s.py").write_text(text)
    assert re.search(sentence, refusal(pack, Path("s.py")))
    assert re.search(sentence, refusal(uses_pyperf, Path("s.py"), tmp_path))


def test_what_is_no_script_is_refused(pack: Callable[..., Packed], tmp_path: Path, script: Write) -> None:
    assert "The script nothing.py cannot be read: No such file" in refusal(pack, Path("nothing.py"))
    assert "Is a directory" in refusal(pack, Path())
    (tmp_path / "elf").write_bytes(Path(sys.executable).read_bytes()[:4096])
    assert "elf is no valid Python" in refusal(pack, Path("elf")).replace(", line 1", "")
    said = refusal(pack, script(""), packages=["no-such-package-xyz"])
    assert said.startswith("--package no-such-package-xyz: no-such-package-xyz is not installed.")
    assert said.endswith("-m pip install no-such-package-xyz")
    (tmp_path / "requirements.txt").write_text("pyperf\nno-such==1; python_version >= '3'\nother; os_name == 'nt'\n")
    said = refusal(pack, script(""), requirements=Path("requirements.txt"))
    assert re.search(r"requirements.txt, line 2: no-such is not installed. .*pip install no-such==1$", said)


def test_a_module_that_is_nowhere_is_said_before_any_guest_misses_it(
    script: Write, pack: Callable[..., Packed]
) -> None:
    text = """
        import os.path, helper, numpy.linalg
        from . import x
        from absent import y
        try:
            import optional
        except ImportError:
            pass
    """
    script("", "helper.py")
    assert pack(script(text), files=[FileToPack(Path("helper.py"))]).left_out == (
        "numpy, which the script imports, is in no package and no file that is packed",
        "absent, which the script imports, is in no package and no file that is packed",
    )


def test_what_a_package_requires_and_is_not_there_is_said(
    script: Write, pack: Callable[..., Packed], monkeypatch: pytest.MonkeyPatch
) -> None:
    def incomplete(*arguments: object) -> PythonTree:
        return replace(python_tree(*arguments), left_out=("x, which y requires, is not installed",))  # type: ignore[arg-type]

    monkeypatch.setattr(packpython, "python_tree", incomplete)
    assert pack(script("'incomplete'")).left_out == ("x, which y requires, is not installed",)


def test_a_file_where_the_python_tree_has_another_is_refused(script: Write, pack: Callable[..., Packed]) -> None:
    said = refusal(pack, script(""), files=[FileToPack(Path("s.py"), "/prog/python")])
    assert said == "/prog/python is two things in one image."


def test_a_packed_requirements_file_is_the_same_tree_as_its_packages(
    script: Write, pack: Callable[..., Packed], tmp_path: Path
) -> None:
    (tmp_path / "requirements.txt").write_text("pyperf>=2 ; python_version > '3'\n")
    by_file = pack(script(""), requirements=Path("requirements.txt"))
    by_name = pack(script(""), packages=["pyperf"], site=own_site())
    assert by_file.program == by_name.program
    assert list(by_file.program.path.glob("prog/lib/python3*/pyperf/__init__.pyc"))
    assert not list(by_file.program.path.glob("prog/lib/python3*/psutil*"))


# ---- pyperf scripts ----

BENCH = """
    import pyperf, sys, time
    runner = pyperf.Runner(values=9)
    runner.argparser.add_argument("--size", type=int, default=10)
    size = runner.parse_args().size
    assert runner.is_worker()
    print("size", size, sys.argv[1:])
    runner.bench_func("sum", sum, range(size), inner_loops=2)
    runner.timeit("sort", "sorted(s)", setup="s = [3, 2, 1]")
    runner.bench_time_func("fixed", lambda loops: 0.5 * loops)
    runner.bench_time_func("memory", lambda loops: 1000 * loops, metadata={"unit": "byte"})
"""


@pytest.mark.parametrize(
    ("text", "uses"),
    [
        (BENCH, True),
        ("def main():\n    from pyperf import Runner as R\n", True),
        ("import pyperf\nprint(pyperf.VERSION)", False),
        ("# import pyperf; pyperf.Runner()", False),
        ("import perf\nperf.Runner()", False),
    ],
)
def test_a_script_that_uses_pyperfs_runner_is_known_by_its_source(
    text: str, uses: bool, script: Write, tmp_path: Path
) -> None:
    assert uses_pyperf(script(text), tmp_path) is uses


def test_a_pyperf_script_is_calibrated_and_then_measured_as_told(script: Write, pack: Callable[..., Packed]) -> None:
    path = script(BENCH)
    packed = pack(path, "--size", "5", worker=PyperfWorker())
    assert packed.timing is Timing.WORKER
    seen = run_here(packed.program)
    assert "size 5 ['--size', '5']" in seen.console_tail
    known = costs(seen)
    assert list(known) == ["sum", "sort", "fixed", "memory"]
    assert known["fixed"].seconds == pytest.approx(0.5)
    assert known["memory"].seconds is None
    assert 1e-9 < known["sort"].seconds < 1e-3  # type: ignore[operator]

    told = {"sum": Repetitions(8, 3, 2), "fixed": Repetitions(4, 2, 0), "memory": Repetitions(2, 1, 0)}
    samples = {s.benchmark: s for s in run(pack(path, worker=PyperfWorker(told))).report.samples}
    for name, asked in told.items():
        sample = samples[name]
        assert (sample.loops, len(sample.values), len(sample.warmups)) == (asked.loops, asked.values, asked.warmups)
    assert samples["sum"].metadata["inner_loops"] == 2
    assert samples["fixed"].values == (0.5, 0.5)
    assert (samples["memory"].unit, samples["memory"].values) == (Unit.BYTES, (1000.0,))


def test_loops_that_the_script_fixes_are_kept_and_its_options_are_pyperfs(
    script: Write, pack: Callable[..., Packed]
) -> None:
    text = """
        import pyperf
        runner = pyperf.Runner()
        runner.bench_time_func("a", lambda loops: 1e-3 * loops)
    """
    options = ["--loops", "3", "--rigorous", "-o", "/nowhere/x.json", "--affinity", "99", "--inherit-environ", "A"]
    (sample,) = run_here(pack(script(text), *options, worker=PyperfWorker()).program).report.samples
    assert (sample.loops, len(sample.values), sample.metadata["own_loops"]) == (3, 1, 3)


@pytest.mark.parametrize(
    ("text", "sentence", "status"),
    [
        ("print('no benchmark')", "The script made no benchmark", 1),
        ("raise SystemExit('a reason')", "", 1),
        ("raise SystemExit(7)", "", 7),
        ("import no_such_module_xyz", "The import of no_such_module_xyz failed", 1),
        (
            "import pyperf\nr = pyperf.Runner()\nr.bench_func('a', lambda: 1 / 0)",
            "ZeroDivisionError: division by zero (<lambda>, s.py:3)",
            1,
        ),
        ("import pyperf\nr = pyperf.Runner()\n[r.bench_func('a', int) for _ in '12']", "duplicated benchmark name", 1),
        (
            "import pyperf\nr = pyperf.Runner(loops=1)\n[r.bench_time_func(str(i), lambda n: 1) for i in range(200)]",
            f"The script has more than {MAX_BENCHMARKS} benchmarks",
            1,
        ),
    ],
)
def test_a_pyperf_script_that_fails_says_why(
    text: str, sentence: str, status: int, script: Write, pack: Callable[..., Packed]
) -> None:
    seen = run(pack(script(text), worker=PyperfWorker()))
    assert (seen.outcome, seen.exit_status) == (Outcome.FAILED, status)
    assert sentence in seen.report.error
    assert not seen.report.lies


def test_handlers_of_a_scripts_end_run_before_the_exit_frame(script: Write, pack: Callable[..., Packed]) -> None:
    text = """
        import atexit, pyperf
        atexit.register(print, "at the end")
        pyperf.Runner(loops=1).bench_time_func("a", lambda loops: 1)
    """
    tail = run(pack(script(text), worker=PyperfWorker())).console_tail
    assert tail.index("at the end") < tail.index('"event":"exit"')


def test_more_benchmarks_than_a_command_line_holds_are_refused() -> None:
    many = {str(number): Repetitions(1, 1, 0) for number in range(MAX_BENCHMARKS)}
    assert len(" ".join(PyperfWorker(many).words())) < 3_000  # Unikraft's whole command line has 4,060 characters
    said = refusal(PyperfWorker({**many, "more": Repetitions(1, 1, 0)}).words)
    assert "129 benchmarks, and 128 are possible in one boot" in said


def test_an_unchanged_script_is_not_packed_again(
    script: Write, pack: Callable[..., Packed], monkeypatch: pytest.MonkeyPatch
) -> None:
    import time

    later = time.time_ns() + 10_000_000_000
    monkeypatch.setattr(time, "time_ns", lambda: later)  # all files have settled
    path = script("print('once')")
    first = pack(path)
    monkeypatch.setattr(packpython, "_PythonPacking", None)  # from here on nothing can be packed
    assert pack(path) == first
    with pytest.raises(TypeError):
        pack(script("print('again')"))


# ---- both, as a workload takes them ----


def scripted(
    path: str, options: PythonOptions, accelerator: Accelerator, say: Say, tmp: Path, cache: Cache
) -> PythonScript:
    pack = packer([path], options, base=tmp, cache=cache)
    return python_script(pack, Path(path), options, accelerator, say, base=tmp, cache=cache)


def test_a_pyperf_script_is_calibrated_for_the_accelerator(script: Write, cache: Cache, tmp_path: Path) -> None:
    """Where guests are emulated, fewer loops do; a process of this machine counts no instructions."""
    text = """
        import pyperf
        runner = pyperf.Runner()
        runner.bench_time_func("quick", lambda loops: 1e-4 * loops)
    """
    path, said = str(script(text)), list[str]()
    loops = {}
    for accelerator in (Accelerator.KVM, Accelerator.ICOUNT):
        made = scripted(path, PythonOptions(), accelerator, said.append, tmp_path, cache)
        (sample,) = run(made.packed).report.samples
        assert (sample.unit, len(sample.values), len(sample.warmups)) == (Unit.SECONDS, 5, 1)
        loops[accelerator] = sample.loops
        assert made.worker is not None
        (once,) = run(
            packer([path], PythonOptions(), base=tmp_path, cache=cache)(once_each(made.worker))
        ).report.samples
        assert (once.loops, len(once.values), len(once.warmups)) == (1, 1, 0)
        assert made.timeout_s is not None and 120 < made.timeout_s < 200
    assert loops == {Accelerator.KVM: 1024, Accelerator.ICOUNT: 64}
    assert said[0] == "Calibrating s.py on this host: each benchmark once." and "s.py has 1 benchmark." in said


def test_a_plain_script_is_not_run_before_guests_run_it(script: Write, cache: Cache, tmp_path: Path) -> None:
    path = str(script("raise SystemExit(1)"))
    made = scripted(path, PythonOptions(), Accelerator.TCG, pytest.fail, tmp_path, cache)
    assert (made.packed.timing, made.timeout_s) == (Timing.PRELOAD, None)
    options = PythonOptions(pyperf=True)
    said = refusal(scripted, path, options, Accelerator.TCG, str, tmp_path, cache)
    assert said.startswith("The program does not even run on this host: its program exited with status 1")
    loud = str(script("print('no such thing')\nraise SystemExit(1)"))
    with pytest.raises(UkperfError) as refused:
        scripted(loud, options, Accelerator.TCG, str, tmp_path, cache)
    assert refused.value.hint == "It wrote: no such thing"  # a person's line, and no frame of ours
    assert "There is no script to run" in refusal(packer, [], options)
