"""How fast are the image writers next to `cp -r` of the same tree onto the same disk?

    python benchmarks/image_writers.py [--mib 300] [--rounds 7] [--folder DIR]

Each round runs cp and every writer once, in a random order from a fixed seed, each as a process of its own (Python's
start included) and each ended by a sync of what it wrote, so nobody gains by leaving work to the kernel. Prints the
median and spread of each, the ratio to cp (median of the rounds' own ratios, with the smallest and the greatest), and
the writers' peak resident memory.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

WRITERS = {
    "tfs": (
        "from ukperf.imaging import tfs, tree\n"
        "layout = tfs.plan(tree.scan(source), {})\n"
        "with target.open('wb') as out:\n"
        "    out.truncate(layout.used)\n"
        "    tfs.write(out.fileno(), layout, 0)\n"
    ),
    "cpio": "from ukperf.imaging import cpio, tree\ncpio.write(target, tree.scan(source))\n",
}
HEAD = "import os, pathlib, sys\nsource, target = map(pathlib.Path, sys.argv[1:])\n"
TAIL = (
    "descriptor = os.open(target, os.O_RDONLY)\n"
    "os.fsync(descriptor)\n"
    "status = pathlib.Path('/proc/self/status').read_text()\n"
    "print(status.split('VmHWM:')[1].split()[0])\n"
)
COPY = 'cp -r "$1" "$2" && sync -f "$2"'


def make_tree(top: Path, mib: int) -> tuple[int, int]:
    """A tree like a Python environment: thousands of small files, some of megabytes. (files, bytes)."""
    chance = random.Random(1)
    block = chance.randbytes(8 << 20)
    files = size = 0
    while size < mib << 20:
        folder = top / f"package{files // 40}" / ("sub" if files % 3 else "data")
        folder.mkdir(parents=True, exist_ok=True)
        length = int(chance.lognormvariate(8.6, 1.6)) if files % 25 else chance.randrange(1 << 20, 5 << 20)
        length = min(length, len(block), (mib << 20) - size)
        (folder / f"module{files}.py").write_bytes(memoryview(block)[:length])
        files, size = files + 1, size + max(length, 1)
    return files, size


def run(name: str, source: Path, target: Path) -> tuple[float, int]:
    """(seconds, peak resident set in bytes or 0)."""
    command = ["sh", "-c", COPY, "sh", str(source), str(target)]
    if name != "cp":
        command = [sys.executable, "-c", HEAD + WRITERS[name] + TAIL, str(source), str(target)]
    begin = time.monotonic()
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    seconds = time.monotonic() - begin
    if target.is_dir():
        shutil.rmtree(target)
    else:
        target.unlink()
    os.sync()
    return seconds, int(done.stdout) * 1024 if name != "cp" else 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mib", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--folder", type=Path, default=None, help="on the disk in question; default: the temporary one")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as scratch:
        source, target = Path(scratch, "tree"), Path(scratch, "out")
        files, size = make_tree(source, options.mib)
        print(f"{files} files, {size / 1e6:.0f} MB, {options.rounds} rounds")
        names = ["cp", *WRITERS]
        seconds: dict[str, list[float]] = {name: [] for name in names}
        memory: dict[str, int] = dict.fromkeys(names, 0)
        order = random.Random(2)
        for name in names:  # once unmeasured: the tree gets into the page cache
            run(name, source, target)
        for _ in range(options.rounds):
            for name in order.sample(names, len(names)):
                took, peak = run(name, source, target)
                seconds[name].append(took)
                memory[name] = max(memory[name], peak)
        for name in names:
            times = seconds[name]
            text = f"{name:5} {statistics.median(times):6.2f} s ({min(times):.2f}–{max(times):.2f})"
            if name != "cp":
                ratios = [copy / mine for copy, mine in zip(seconds["cp"], times, strict=True)]
                text += f"  speed ÷ cp {statistics.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})"
                text += f"  peak memory {memory[name] / 1e6:.0f} MB"
            print(text)


if __name__ == "__main__":
    main()
