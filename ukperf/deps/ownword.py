"""What a runtime itself says of how it was built: asked in a process of its own, telemetry off."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from ukperf.imaging.runtimes import QUIET
from ukperf.text import clean

TIMEOUT_S = 60
LINES_MAX = 60
# distribution → Python that prints it
ASKED: Mapping[str, str] = {
    "torch": "import torch; print(torch.__config__.show()); print(torch.__config__.parallel_info())",
    "onnxruntime": "import onnxruntime as o; print(o.get_build_info()); print(*o.get_available_providers(), sep='\\n')",
    "openvino": "import openvino as o; print(o.get_version()); print(*o.Core().available_devices, sep='\\n')",
    "numpy": "import numpy; numpy.show_config()",
    "scipy": "import scipy; scipy.show_config()",
    "lightgbm": "import lightgbm; print(lightgbm.__version__)",
    "llama-cpp-python": "import llama_cpp; print(llama_cpp.llama_print_system_info().decode())",
    "xgboost-cpu": "import xgboost; print(*sorted(xgboost.build_info().items()), sep='\\n')",
}


def own_word(package: str, python: Path) -> tuple[str, ...]:
    """Lines of its own, cleaned; none where it has no word, or does not say it in time."""
    code = ASKED.get(package.lower())
    if code is None:
        return ()
    with tempfile.TemporaryDirectory() as home:
        env = {"PATH": os.environ.get("PATH", os.defpath), "HOME": home, **QUIET}
        try:
            done = subprocess.run(
                [str(python), "-I", "-c", code],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=TIMEOUT_S,
                check=True,
                env=env,
                cwd=home,
            )
        except (OSError, subprocess.SubprocessError):
            return ()
    lines = [clean(line.rstrip(), 300) for line in done.stdout.splitlines()]
    return tuple(line for line in lines if line.strip())[:LINES_MAX]
