"""Scripts of workloads/models that write models, run by an interpreter that has the library: ukperf imports none."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
from pathlib import Path

from ukperf import hints
from ukperf.errors import UkperfError
from ukperf.imaging.distributions import Site, own_site
from ukperf.resources import data
from ukperf.text import clean

TIMEOUT_S = 300.0  # importing torch alone takes up to ten seconds
LEARNER = "scikit-learn"
# Nothing that a script imports may tell the world that it runs.
QUIET = {"ORT_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1", "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1"}


def script(name: str) -> Path:
    return data("workloads", "models", name)


def version(library: str, site: Site) -> str:
    """Of an installed distribution; empty where there is none."""
    there = importlib.metadata.distributions(name=library, path=list(site.path))
    return next((distribution.version for distribution in there), "")


def version_of(library: str, extra: str, site: Site | None) -> str:
    """The version of a library that a script needs. extra: of ukperf, which installs it. site: default ukperf's own.

    Raises UkperfError where it is not installed, with the line that installs it.
    """
    if there := version(library, site or own_site()):
        return there
    hint = hints.extra(extra) if site is None else site.installing([library])
    where = "where ukperf is" if site is None else f"for {site.executable}"
    raise UkperfError(f"{library}, which writes such models, is not installed {where}.", hint=f"Type: {hint}")


def run_script(library: str, site: Site, name: str, *arguments: str) -> None:
    """Raises UkperfError with the last line that it said where it fails or takes too long."""
    try:
        subprocess.run(
            [str(site.executable), "-B", str(script(name)), *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIMEOUT_S,
            env={**os.environ, **QUIET},
            check=True,
        )
    except subprocess.TimeoutExpired as error:
        raise UkperfError(f"{library} took more than {TIMEOUT_S:.0f} s to write a model.") from error
    except subprocess.CalledProcessError as error:
        said = (error.stderr or "").strip().splitlines()
        what = clean(said[-1], 300) if said else f"it ended with status {error.returncode}"
        raise UkperfError(f"{library} could not write a model: {what}.") from error
    except OSError as error:
        raise UkperfError(f"{site.executable} cannot be run: {error.strerror}.") from error
