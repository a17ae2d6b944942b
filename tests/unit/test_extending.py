"""A stranger's guest and export, by a recipe file and by a package that lies outside of ours: docs/extending.md."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

import pytest
from records import run_of, save_run

from ukperf import guests, resources
from ukperf.errors import UkperfError
from ukperf.guests import recipes
from ukperf.guests.base import BuildOptions
from ukperf.guests.stored import StoredGuest
from ukperf.imaging.cache import Cache
from ukperf.imaging.programs import boot_program

DOCS = (resources.data_root() / "docs" / "extending.md").read_text()


def fenced(language: str) -> list[str]:
    """The examples of the page in one language."""
    return re.findall(rf"```{language}\n(.*?)```", DOCS, re.DOTALL)


def package(folder: Path, name: str, source: str, points: str) -> Path:
    """An installed package: its module and its dist-info, as pip leaves them."""
    (folder / f"{name}.py").write_text(source)
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(points)
    return folder


def ukperf(*words: str | Path, path: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": f"{path}:{resources.data_root()}", **variables}
    return subprocess.run(
        [sys.executable, "-c", "from ukperf.cli.main import run; run()", *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )


@pytest.fixture
def site(tmp_path: Path) -> Path:
    folder = tmp_path / "site"
    folder.mkdir()
    return folder


def test_the_pages_export_is_listed_used_and_not_ours(site: Path, tmp_path: Path) -> None:
    source = next(text for text in fenced("python") if "def export" in text)
    points = next(text for text in fenced("toml") if "ukperf.exports" in text).replace("[project.entry-points.", "[")
    package(site, "my_package", source, points.replace('"', ""))
    run = save_run(tmp_path / "run", run_of({"linux": 1.0, "nanos": 0.5}, 8))
    assert "lines" in " ".join(ukperf("export", "--help", path=site).stdout.split())
    done = ukperf("export", run, "--format", "lines", "--benchmark", "total", path=site)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"linux total [\d.]+ s\nnanos total [\d.]+ s\n", done.stdout)


@pytest.mark.parametrize(
    "source",
    [
        "raise RuntimeError('\\x1b[31mbroken')",
        "import there_is_no_such_module",
        "export = 3",
        "def export(run): return 3",
        "def export(run): return run.nothing",
    ],
)
def test_a_broken_package_is_named_and_keeps_nothing_from_working(source: str, site: Path, tmp_path: Path) -> None:
    package(site, "broken", source, "[ukperf.exports]\nbroken = broken:export\n[ukperf.guests]\nodd = broken:Odd\n")
    run = save_run(tmp_path / "run", run_of({"linux": 1.0}, 8))
    assert ukperf("export", run, "--format", "csv", path=site).returncode == 0
    assert ukperf("--help", path=site).returncode == 0
    done = ukperf("export", run, "--format", "broken", path=site)
    assert done.returncode == 2 and "of the package broken" in done.stderr
    assert "\x1b" not in done.stderr and "Traceback" not in done.stderr and "broken" in done.stderr
    listed = ukperf("images", "list", path=site, UKPERF_DATA_DIR=str(tmp_path / "data"))
    assert listed.returncode == 0


BROKEN = """
from contextlib import contextmanager
from dataclasses import replace
from ukperf.guests.base import Availability, Guest
from ukperf.guests.recipes import load_recipe
from ukperf.imaging.programs import boot_program
from ukperf.resources import data
from ukperf.workloads.base import Prepared, Workload
class Odd:
    def __init__(self, cache=None): pass
class Raises(Workload):
    def prepare(self, options, request, bench): raise KeyError("x")
class Few(Workload):
    def prepare(self, options, request, bench): return Prepared(replace(request, program=boot_program()))
    def compared(self, records, accelerator): return 3
class Strings(Few):
    def compared(self, records, accelerator): return ["a", "b"]
class Ended(Few):
    def finish(self, result, bench): return None
class Builds(Guest):
    name = "builds"
    recipe = load_recipe(data("images", "native", "recipe.toml"))
    def availability(self, options): return Availability(True, "here")
    def build(self, program, options): return "image"
class Words(Workload):
    def prepare(self, options, request, bench): return "words"
@contextmanager
def host(uri, run_id, shared_path): yield Odd()
"""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            "odd -g native",
            "The workload odd of the package broken gave Odd, where ukperf.workloads.base.Workload is wanted",
        ),
        ("odd --help", "The workload odd of the package broken gave Odd"),
        ("ends -g native", "The workload ends of the package ends cannot be loaded: SystemExit: 3"),
        ("raises -g native", "The package broken failed: KeyError: 'x'. The traceback is in"),
        ("words -g native", "The workload words of the package broken gave str, where ukperf.workloads.base.Prepared"),
        (
            "images build other",
            "The guest other of the package broken gave Odd, where ukperf.guests.base.Guest is wanted",
        ),
        (
            "few -g native --boots 1 --share-host",
            "The workload few of the package broken gave int, where collections.abc.Iterable is wanted",
        ),
        (
            "strings -g native --boots 1 --share-host",
            "The workload strings of the package broken gave str, where ukperf.model.seen.BootRecord is wanted",
        ),
        (
            "ended -g native --boots 1 --share-host",
            "The workload ended of the package broken gave NoneType, where ukperf.workloads.base.Finished is wanted",
        ),
        (
            "boot-time -g builds --baseline builds --share-host",
            "The guest builds of the package broken gave str, where ukperf.model.asked.Image is wanted",
        ),
        ("images build builds", "The guest builds of the package broken gave str, where ukperf.model.asked.Image"),
        ("boot-time --connect there:x", "The host driver there of the package broken gave Odd, which has no uri, "),
    ],
)
def test_what_an_extension_does_wrong_is_one_sentence_with_its_packages_name(
    words: str, said: str, site: Path, tmp_path: Path
) -> None:
    names = ("odd", "raises", "words", "few", "strings", "ended")
    points = "\n".join(f"{name} = broken:{name.capitalize()}" for name in names)
    others = "[ukperf.guests]\nother = broken:Odd\nbuilds = broken:Builds\n[ukperf.hosts]\nthere = broken:host\n"
    package(site, "broken", BROKEN, f"[ukperf.workloads]\n{points}\n{others}")
    package(site, "ends", "raise SystemExit(3)", "[ukperf.workloads]\nends = ends:Ends\n")
    folders = {f"UKPERF_{kind}_DIR": str(tmp_path / kind.lower()) for kind in ("CONFIG", "DATA", "CACHE")}
    done = ukperf(*words.split(), path=site, **folders)
    assert (done.returncode, done.stdout) == (2, "") and said in done.stderr, done.stderr
    assert len(done.stderr.splitlines()) == 2


def test_doctor_names_a_broken_guest_and_looks_at_the_others(site: Path, tmp_path: Path) -> None:
    source = """
from ukperf.guests.base import Guest
class Odd(Guest):
    name = "odd"
    def availability(self, options): raise TypeError("no")
    def build(self, program, options): raise TypeError("no")
"""
    package(site, "broken", source, "[ukperf.guests]\nodd = broken:Odd\nnone = broken:None_\n")
    folders = {f"UKPERF_{kind}_DIR": str(tmp_path / kind.lower()) for kind in ("CONFIG", "DATA", "CACHE")}
    done = ukperf("doctor", "--connect", "nowhere:x", path=site, **folders)
    assert "The guest odd of the package broken failed: TypeError: no." in done.stdout, done.stderr
    assert "The guest none of the package broken cannot be loaded" in done.stdout and "guest native" in done.stdout


def test_another_packages_extension_does_not_take_the_place_of_ours(site: Path, tmp_path: Path) -> None:
    package(site, "aaa", "def export(run): return 'hijacked'", "[ukperf.exports]\ncsv = aaa:export\n")
    run = save_run(tmp_path / "run", run_of({"linux": 1.0}, 8))
    assert "hijacked" not in ukperf("export", run, "--format", "csv", path=site).stdout


def test_a_guest_that_breaks_when_it_is_made_keeps_no_run_from_starting(site: Path, tmp_path: Path) -> None:
    source = "class Odd:\n    def __init__(self, cache): raise RuntimeError('no')\n"
    package(site, "broken", source, "[ukperf.guests]\nodd = broken:Odd\n[ukperf.workloads]\nreport = broken:Odd\n")
    folders = {f"UKPERF_{kind}_DIR": str(tmp_path / kind.lower()) for kind in ("CONFIG", "DATA", "CACHE")}
    words = ["boot-time", "-g", "native", "--baseline", "native", "--boots", "6", "--run", tmp_path / "run"]
    assert ukperf(*words, path=site, **folders).returncode == 0
    assert ukperf("report", tmp_path / "run", path=site, **folders).returncode == 0  # ours cannot be replaced
    done = ukperf("boot-time", "-g", "odd", path=site, **folders)
    assert done.returncode == 2 and "The guest odd of the package broken failed: RuntimeError: no." in done.stderr


@pytest.fixture
def lean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The page's recipe, with a kernel beside it, in the user's folder."""
    monkeypatch.setenv("UKPERF_CONFIG_DIR", str(tmp_path / "config"))
    folder = tmp_path / "config" / "guests"
    folder.mkdir(parents=True)
    path = folder / "lean.toml"
    path.write_text(next(text for text in fenced("toml") if "builder" in text))
    return path


def test_the_pages_recipe_is_a_guest_with_its_own_kernel_and_words(lean: Path, tmp_path: Path) -> None:
    from test_guest_kernels import bzimage

    (lean.parent / "bzImage").write_bytes(bzimage("6.1.0"))
    assert "lean" in guests.names()
    guest = guests.get("lean", Cache(tmp_path / "cache"))
    assert (guest.recipe.memory_mib, guest.recipe.min_memory_mib, guest.recipe.summary) == (128, 64, "my own kernel")
    image = guest.build(boot_program(guest.cache), BuildOptions(cmdline="quiet2"))
    assert image.guest == "lean" and image.kernel is not None
    assert image.kernel.read_bytes() == (lean.parent / "bzImage").read_bytes()
    assert image.cmdline.split()[-2:] == ["mitigations=off", "quiet2"] or "mitigations=off quiet2" in image.cmdline
    plain = guests.get("linux", guest.cache)
    assert plain.recipe.memory_mib == 256  # the builder itself is as it was
    assert "lean" not in {found.name for found in guests.by_default()}
    assert (guest.recipe.role, guest.fetches, plain.fetches) == (None, False, True)


def test_a_guest_whose_kernel_is_missing_says_where_it_is_named(lean: Path, tmp_path: Path) -> None:
    guest = guests.get("lean", Cache(tmp_path / "cache"))
    there = guest.availability(BuildOptions())
    assert not there.ok and str(lean.parent / "bzImage") in there.sentence
    with pytest.raises(UkperfError, match="The kernel of lean is missing"):
        guest.build(boot_program(guest.cache), BuildOptions())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("builder = 'linux'\nkernal = 'x'", "has an unknown key 'kernal'"),
        ("kernel = 'x'", "names no builder"),
        ("builder = 'linus'", "There is no guest 'linus'"),
        ("builder = 'linux'\nmemory_mib = '5'", "memory_mib is no number of MiB"),
        ("builder = 'linux'\nmemory_mib = -1", "memory_mib is no number of MiB"),
        ("builder = 3", "builder is no text"),
        ("builder = 'linux'\nname = '../up'", "names a guest '../up'"),
        ("builder = ", "cannot be read"),
    ],
)
def test_a_recipe_that_cannot_be_meant_is_refused_in_a_sentence(lean: Path, text: str, said: str) -> None:
    lean.write_text(text)
    with pytest.raises(UkperfError) as caught:
        recipes.use(lean)
        guests.get("lean")
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_a_pipe_in_the_folder_hangs_nobody(lean: Path) -> None:
    os.mkfifo(lean.parent / "pipe.toml")
    assert "pipe" in guests.names()
    with pytest.raises(UkperfError, match="cannot be read"):
        guests.get("pipe")


def test_a_strangers_extensions_are_used_by_the_command_line_alone(site: Path, tmp_path: Path) -> None:
    """Lists, runs, resumes, reports, compares, checks and exports with a workload, a guest, a driver and an export of
    another package; no file of ours is touched."""
    working = next(text for text in fenced("python") if "class Summing" in text)
    package(site, "my_workload", working, "[ukperf.workloads]\nsumming = my_workload:Summing\n")
    (site / "summing.c").write_text(fenced("c")[0])
    exporting = next(text for text in fenced("python") if "def export" in text)
    driving = next(text for text in fenced("python") if "def driver" in text)
    package(site, "my_package", exporting, "[ukperf.exports]\nlines = my_package:export\n")
    package(site, "my_driver", driving, "[ukperf.hosts]\npretend = my_driver:driver\n")
    config = tmp_path / "config" / "guests"
    config.mkdir(parents=True)
    (config / "mine.toml").write_text('builder = "native"\nsummary = "native again"\n')
    run = tmp_path / "run"
    folders = {f"UKPERF_{kind}_DIR": str(tmp_path / kind.lower()) for kind in ("CONFIG", "DATA", "CACHE")}

    def said(*words: str | Path, status: int = 0) -> str:
        done = ukperf(*words, path=site, **folders)
        assert (done.returncode, "Traceback" in done.stderr) == (status, False), done.stderr
        return done.stdout

    assert "A workload of the package my_workload." in said("--help")
    helped = said("summing", "--help")
    assert "--rounds" in helped and "How often it sums up." in helped and "Sum up numbers" in helped
    table = said("summing", "-g", "mine", "--baseline", "native", "--rounds", "4", "--run", run)
    assert "mine" in table and "sum " in table and "12 good boots; 0 failed" in table
    stored = json.loads((run / "plan.json").read_text())
    assert (stored["workload"], stored["parameters"]) == ("summing", {"rounds": 4})
    journal = run / "journal.ndjson"
    journal.write_text("".join(journal.read_text().splitlines(keepends=True)[:5]))
    assert "12 good boots; 0 failed" in said("resume", run)
    assert "mine" in said("report", run)
    said("report", run, "--html")
    assert '<td class="plain">sum</td>' in (run / "report.html").read_text()
    assert "| mine | sum |" in said("export", run, "-f", "markdown")
    assert "mine ÷ run:native" in said("compare", f"{run}:native", f"{run}:mine")
    lines = said("export", run, "-f", "lines", "-b", "sum")
    assert re.fullmatch(r"native sum [\d.e+]+ cycles\nmine sum [\d.e+]+ cycles\n", lines)
    asked = [
        "-c",
        "pretend:here",
        "-g",
        "floor",
        "--baseline",
        "floor",
        "--boots",
        "6",
        "--run",
        tmp_path / "pretended",
    ]
    assert "6 good boots; 0 failed" in said("boot-time", *asked)
    looked = json.loads(said("doctor", "-c", "pretend:here", "--json", status=2))  # its floor counts nothing
    checks = {check["name"]: check["sentence"] for check in looked["checks"]}
    assert (looked["accelerator"], checks["connection"]) == ("tcg", "pretend:here opens: a driver of somebody else's")
    assert checks["truth"] == "floor does not boot there: it gave no figures."
    (site / "my_workload.py").unlink()  # and when it is gone, its runs are still read
    for words in (["resume", run], ["report", run], ["compare", f"{run}:native", f"{run}:mine"]):
        assert "sum" in said(*words)
    refused = ukperf("boot-time", "-c", "pretence:here", path=site, **folders)
    assert refused.returncode == 2 and "nor one of pretend" in " ".join(refused.stderr.split())


def boot_time(words: Sequence[str | Path], tmp_path: Path) -> subprocess.CompletedProcess[str]:
    return ukperf("boot-time", *words, "--run", tmp_path / "run", "--share-host", path=tmp_path)


def test_a_guest_file_takes_part_and_completion_offers_the_folders_guests(lean: Path, tmp_path: Path) -> None:
    done = boot_time(["--guest-file", lean, "-g", "native", "--share-host"], tmp_path)  # others may measure
    assert done.returncode == 2 and "kernel of lean is missing" in done.stderr.replace("\n", " ")
    from ukperf.cli.options import _guests

    assert _guests("le") == ["lean"]


def test_the_pages_command_line_runs_beside_native(tmp_path: Path) -> None:
    path = tmp_path / "fixed.toml"
    path.write_text(next(text for text in fenced("toml") if "setarch" in text))
    words = ["boot-time", "--guest-file", path, "-g", "native", "--baseline", "native", "--boots", "6", "--share-host"]
    folders = {f"UKPERF_{kind}_DIR": str(tmp_path / kind.lower()) for kind in ("CONFIG", "DATA", "CACHE")}
    done = ukperf(*words, "--run", tmp_path / "run", path=tmp_path, **folders)
    assert (done.returncode, "fixed command setarch from util-linux" in done.stdout) == (0, True), done.stderr
    stored = json.loads((tmp_path / "run" / "plan.json").read_text())["images"]
    assert (stored["fixed"]["protocol"], stored["native"]["protocol"]) == ("command", "exec")
    assert stored["fixed"]["program_digest"] == stored["native"]["program_digest"]


def test_what_the_page_shows_is_what_it_says() -> None:
    assert textwrap.dedent(fenced("toml")[0]).startswith('name = "lean"')
    assert {"workloads", "guests", "hosts", "exports"} <= set(re.findall(r"ukperf\.(\w+)", "".join(fenced("toml"))))


def test_a_strangers_guest_with_kernels_in_the_store_is_added_to_listed_and_pruned_like_ours(
    site: Path, tmp_path: Path
) -> None:
    source = next(text for text in fenced("python") if "StoredGuest" in text)
    package(site, "others", source, "[ukperf.guests]\nmine = others:Mine\n")
    (tmp_path / "kernel").write_bytes(b"a kernel")
    (tmp_path / "loader").write_bytes(b"a loader")
    folders = {f"UKPERF_{kind}_DIR": str(tmp_path / kind.lower()) for kind in ("CONFIG", "DATA", "CACHE")}
    add = ["images", "add", "mine", "--kernel", tmp_path / "kernel", "--no-probe"]
    bare = ukperf(*add, path=site, **folders)
    assert (bare.returncode, "mine needs its boot image too" in bare.stderr) == (2, True)
    assert "--boot loader.bin" in bare.stderr
    added = ukperf(*add, "--boot", tmp_path / "loader", "--version", "7", path=site, **folders)
    assert (added.returncode, added.stderr) == (0, "")
    assert added.stdout.startswith("mine 7 (qemu) is here, taken by -g mine:")
    (listed,) = json.loads(ukperf("images", "list", "--json", path=site, **folders).stdout)["kernels"]
    assert [file["role"] for file in listed["files"]] == ["boot", "kernel"]
    built = ukperf("images", "build", "mine:7", "--json", path=site, **folders)
    assert json.loads(built.stdout)["guest"] == "mine:7"
    pull = ukperf("images", "pull", "mine", path=site, **folders)
    assert (pull.returncode, "nothing to pull for the guest mine" in pull.stderr) == (2, True)
    odd = ukperf("images", "add", "mien", "--kernel", tmp_path / "kernel", path=site, **folders)
    assert "Did you mean mine?" in odd.stderr
    pruned = ukperf("images", "prune", "mine", "--version", "7", path=site, **folders)
    assert pruned.stdout.startswith("Removed mine 7 (qemu).")


def test_the_pages_runtime_is_one_like_ours_and_its_package_is_named_where_it_is_missing(site: Path) -> None:
    """Its adapter, its recipe, and the function that gives both, as the page has them. tests/real runs it."""
    adapter, source = (next(t for t in fenced("python") if w in t) for w in ("def predict", "def evaluator"))
    recipe = next(text for text in fenced("toml") if "reference evaluator" in text)
    package(site, "my_runtime", source, "[ukperf.runtimes]\nevaluator = my_runtime:evaluator\n")
    (site / "evaluator.py").write_text(adapter)
    missing = 'distributions = ["there-is-no-such-evaluator"]'
    (site / "evaluator.toml").write_text(recipe.replace('distributions = ["onnx"]', missing))
    assert "evaluator" in ukperf("infer", "nothing", path=site).stderr
    done = ukperf("infer", "evaluator", "-g", "native", path=site)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "evaluator is not installed where ukperf is." in done.stderr
    assert "pip install there-is-no-such-evaluator" in done.stderr
    (site / "evaluator.toml").write_text(recipe.replace("formats", "format"))
    assert "unknown" in ukperf("infer", "evaluator", "-g", "native", path=site).stderr


def test_recipes_say_truly_whose_kernels_are_in_the_store() -> None:
    """`--help` goes by the recipes, and the commands by what the guest is."""
    kinds = (recipes.Kernels.STORED, recipes.Kernels.BUILT)
    said = {recipe.name for recipe in guests.our_recipes() if recipe.kernels in kinds}
    assert said == {name for name in guests.GUESTS.names() if isinstance(guests.get(name), StoredGuest)}


@pytest.mark.parametrize("role", recipes.Role)
def test_one_guest_of_ours_has_each_role(role: recipes.Role) -> None:
    assert [recipe.name for recipe in guests.our_recipes() if recipe.role is role] == [guests.in_role(role).name]
