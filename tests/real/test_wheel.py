"""The wheel and the source distribution, away from the checkout: what they lack would be found out nowhere else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

import ukperf

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Both, as the release's workflow builds them: the wheel out of the unpacked source distribution, so that what is
    installed below is what both hold."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "No module named build" in done.stderr or "ConnectionError" in done.stdout + done.stderr:
        pytest.skip(f"nothing can be built here: {done.stderr.strip().splitlines()[-1:]}")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    (wheel,), (sdist,) = folder.glob("ukperf-*.whl"), folder.glob("ukperf-*.tar.gz")
    return {"wheel": wheel, "sdist": sdist}


@dataclass(frozen=True)
class Installed:
    """ukperf in a virtual environment of its own, far from the checkout."""

    program: Path
    away: Path
    environment: dict[str, str]

    def __call__(self, *words: str | Path, **more: str) -> subprocess.CompletedProcess[str]:
        command = [self.program, *map(str, words)]
        environment = {**self.environment, **more}
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=self.away, env=environment)


def install(file: Path, folder: Path) -> Installed:
    """A virtual environment with `file` in it and nothing else of ours.

    What ukperf depends on is this environment's, found by a .pth file; Python reads no .pth files of the folder that it
    names, so the editable checkout is not found by it.
    """
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
    pip = [sys.executable, "-m", "pip", "--python", folder / "venv", "--disable-pip-version-check", "--no-input"]
    subprocess.run([*pip, "install", "--quiet", "--no-deps", file], check=True)
    (site,) = (folder / "venv" / "lib").glob("python3*/site-packages")
    theirs = dict.fromkeys([sysconfig.get_path("purelib"), sysconfig.get_path("platlib")])
    (site / "dependencies.pth").write_text("\n".join(theirs) + "\n")
    away = folder / "elsewhere"
    away.mkdir()
    dirs = {f"UKPERF_{kind.upper()}_DIR": str(folder / kind) for kind in ("data", "cache", "config")}
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    return Installed(folder / "venv" / "bin" / "ukperf", away, {**kept, **dirs})


@pytest.fixture(scope="module")
def installed(built: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Installed:
    return install(built["wheel"], tmp_path_factory.mktemp("installed"))


def test_the_wheel_has_our_data_and_licence_and_no_tests(built: dict[str, Path]) -> None:
    with zipfile.ZipFile(built["wheel"]) as wheel:
        names = wheel.namelist()
        (info,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        metadata = wheel.read(info).decode()
    assert f"Version: {ukperf.__version__}\n" in metadata
    assert "License-Expression: Apache-2.0\nLicense-File: LICENSE\n" in metadata
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert {name.split("/")[0] for name in names} == {"ukperf", info.split("/")[0]}
    missing = [
        path
        for folder in ("images", "workloads")
        for path in git("ls-files", folder)
        if f"ukperf/_data/{path}" not in names
    ]
    assert not missing


def test_the_source_distribution_has_what_git_keeps(built: dict[str, Path]) -> None:
    with tarfile.open(built["sdist"]) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    assert {path for path in git("ls-files") if path not in names} == set()


def git(*words: str) -> list[str]:
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("this checkout is not git's")
    return [path for path in done.stdout.splitlines() if (ROOT / path).exists()]


def test_it_starts_says_its_version_and_is_not_the_checkout(installed: Installed) -> None:
    assert installed("--version").stdout == f"ukperf {ukperf.__version__}\n"
    where = subprocess.run(
        [installed.program.with_name("python"), "-c", "import ukperf; print(ukperf.__file__)"],
        capture_output=True,
        text=True,
        check=True,
        cwd=installed.away,
        env=installed.environment,
    )
    assert str(installed.program.parents[1]) in where.stdout


def test_doctor_knows_all_guests(installed: Installed, libvirt_here: None) -> None:
    done = installed("doctor", "--json")
    assert done.returncode in (0, 2) and "Traceback" not in done.stderr, done.stderr
    names = {check["name"] for check in json.loads(done.stdout)["checks"]}
    assert {"guest floor", "guest native", "guest linux", "guest nanos", "guest unikraft"} <= names


def test_what_is_missing_leads_to_commands_that_an_installed_ukperf_has(installed: Installed, tmp_path: Path) -> None:
    """On a machine without QEMU and compiler: every sentence of doctor, and what a run is refused with."""
    empty = {"PATH": str(tmp_path)}
    refused = installed("boot-time", "-g", "floor", "--share-host", **empty)
    assert refused.returncode == 2 and "`ukperf setup`" in refused.stderr, refused.stderr
    told = refused.stderr + installed("doctor", **empty).stdout + installed("setup", "--offline", **empty).stderr
    assert not [word for word in (".sh", "scripts/", str(ROOT), "checkout") if word in told], told
    planned = installed("setup", "--dry-run", "--guest", "floor", **empty)
    assert planned.returncode == 0, planned.stderr
    assert "would install qemu-system-x86" in planned.stdout


@pytest.mark.parametrize(("guest", "words"), [("floor", ["--accel", "icount"]), ("native", [])])
def test_a_campaign_runs_from_the_wheel(installed: Installed, guest: str, words: list[str], tmp_path: Path) -> None:
    asked = ["-g", guest, "--baseline", guest, "--boots", "6", *words, "--run", tmp_path / "run", "--json"]
    done = installed("boot-time", *asked)
    assert done.returncode == 0, done.stderr
    (told,) = json.loads(done.stdout)["guests"]
    assert (told["guest"], told["boots"]) == (guest, 6)
    assert str(ROOT) not in (tmp_path / "run" / "plan.json").read_text()
    assert "6 good boots" in installed("report", tmp_path / "run").stdout
