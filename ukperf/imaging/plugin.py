"""QEMU's plugin that counts what guests execute (workloads/profile/), compiled on first use."""

from __future__ import annotations

from pathlib import Path

from ukperf.imaging.cache import Cache
from ukperf.imaging.compiler import compile_c, find_compiler
from ukperf.imaging.programs import compiled_from
from ukperf.resources import data

FLAGS = ("-std=gnu11", "-O2", "-Wall", "-Wextra", "-shared", "-fPIC", "-fvisibility=hidden", "-Wl,--build-id=none")


def counting_plugin(cache: Cache) -> Path:
    """The plugin's file, for every QEMU. Raises UkperfError without a compiler."""
    base, compiler = data("workloads"), find_compiler()
    folder = base / "profile"
    sources = [folder / f"{name}.c" for name in ("plugin", "flow", "decode")]
    files = [*sources, *sorted(folder.glob("*.h")), base / "common" / "marker.h"]
    description = compiled_from(cache, compiler, FLAGS, files, base, libraries=False)
    entry = cache.entry(
        "programs",
        cache.key(description),
        lambda folder: compile_c(sources, folder / "counting.so", FLAGS, base=base, compiler=compiler),
    )
    return entry / "counting.so"
