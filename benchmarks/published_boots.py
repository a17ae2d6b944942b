"""Published boot times once more, with intervals: Unikraft's EuroSys'21 artifact (Kuenzer et al., figure 10).

    git clone https://github.com/unikraft/eurosys21-artifacts
    python benchmarks/published_boots.py eurosys21-artifacts

Its folder experiments/fig_10_unikraft-boot/paperresults has a file for each monitor, with the microseconds that it and
the guest took in each start. Their sums go to `ukperf compare` as times of processes, Solo5 as what others are divided
by. A start is the unit; starts were made one monitor after the other, so what changed in between is in the ratios.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import tempfile
from pathlib import Path

FOLDER = Path("experiments/fig_10_unikraft-boot/paperresults")
MONITORS = ("solo5", "firecracker", "qemumicrovm", "qemu", "qemu1nic")
UKPERF = (sys.executable, "-c", "from ukperf.cli.main import run; run()")


def seconds(path: Path) -> list[float]:
    """What each start took, the first one (caches are cold) among them."""
    with path.open(encoding="ascii", newline="") as lines:
        return [(int(row["vmm_us"]) + int(row["guest_us"])) / 1e6 for row in csv.DictReader(lines, delimiter="\t")]


def main() -> int:
    words = argparse.ArgumentParser(description="Published boot times with intervals.")
    words.add_argument("artifact", type=Path, help="a checkout of unikraft/eurosys21-artifacts")
    folder = words.parse_args().artifact / FOLDER
    with tempfile.TemporaryDirectory() as made:
        files = []
        for monitor in MONITORS:
            file = Path(made, f"{monitor}.json")
            file.write_text(json.dumps({"results": [{"command": "boot", "times": seconds(folder / f"{monitor}.csv")}]}))
            files.append(str(file))
        return subprocess.run((*UKPERF, "compare", *files), check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
