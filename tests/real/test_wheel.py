"""The wheel, away from the checkout: what it lacks of images/ and workloads/ would be found out nowhere else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory, libvirt_here: None) -> tuple[Path, dict[str, str]]:
    """A folder with the wheel in it and nothing else of ours, and an environment in which Python finds it there.

    What ukperf depends on is this environment's; Python reads no .pth files of a PYTHONPATH, so the editable checkout
    is not found by it.
    """
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "--quiet"]
    built = subprocess.run(
        [*pip, "wheel", "--no-deps", "--wheel-dir", folder, ROOT], capture_output=True, text=True, check=False
    )
    if built.returncode:
        pytest.skip(f"no wheel can be built here: {built.stderr.strip().splitlines()[-1:]}")
    (wheel,) = folder.glob("ukperf-*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", folder / "site", wheel], check=True)
    away = folder / "elsewhere"
    away.mkdir()
    found = {
        "PYTHONPATH": f"{folder / 'site'}:{sysconfig.get_path('purelib')}:{sysconfig.get_path('platlib')}",
        "UKPERF_DATA_DIR": str(folder / "data"),
        "UKPERF_CACHE_DIR": str(folder / "cache"),
        "UKPERF_CONFIG_DIR": str(folder / "config"),
    }
    return away, {**os.environ, **found}


def run(installed: tuple[Path, dict[str, str]], *words: str | Path) -> subprocess.CompletedProcess[str]:
    away, environment = installed
    # not this environment's own python: its site-packages would bring the checkout
    python = Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}"
    return subprocess.run(
        [python, "-c", "from ukperf.cli.main import run; run()", *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        cwd=away,
        env=environment,
    )


def test_doctor_runs_from_the_wheel_and_knows_all_guests(installed: tuple[Path, dict[str, str]]) -> None:
    done = run(installed, "doctor", "--json")
    assert done.returncode in (0, 1) and "Traceback" not in done.stderr, done.stderr
    names = {check["name"] for check in json.loads(done.stdout)["checks"]}
    assert {"guest floor", "guest native", "guest linux", "guest nanos", "guest unikraft"} <= names


@pytest.mark.parametrize(("guest", "words"), [("floor", ["--accel", "icount"]), ("native", [])])
def test_a_campaign_runs_from_the_wheel(
    installed: tuple[Path, dict[str, str]], guest: str, words: list[str], tmp_path: Path
) -> None:
    asked = ["-g", guest, "--baseline", guest, "--boots", "6", *words, "--run", tmp_path / "run", "--json"]
    done = run(installed, "boot-time", *asked)
    assert done.returncode == 0, done.stderr
    (told,) = json.loads(done.stdout)["guests"]
    assert (told["guest"], told["boots"]) == (guest, 6)
    assert str(ROOT) not in (tmp_path / "run" / "plan.json").read_text()
    assert "6 good boots" in run(installed, "report", tmp_path / "run").stdout
