"""What times programs that know nothing of ukperf (workloads/preload/).

A library, which the loader of a dynamic program brings in: in a guest by /etc/ld.so.preload, which glibc's loader
reads, on this machine by LD_PRELOAD. What it does before the program starts is written into its file. For static
programs a starter, which loads them itself.
"""

from __future__ import annotations

from pathlib import Path

from ukperf.files import read_bytes
from ukperf.imaging.cache import Cache
from ukperf.imaging.compiler import PRELOADED, compile_c, find_compiler
from ukperf.imaging.programs import build_program, compiled_from
from ukperf.resources import data

LIBRARY = "/ukperf/preload.so"  # in every tree; preload.c has it too
LIST = "/etc/ld.so.preload"
STARTER = "/ukperf/start"
GATE = ("UKPERF_GATE", "closed")  # in a program's environment: it waits at a gate before it starts (common/gate.h)
_MARK = b"ukperf-settings\0"
NAME_MAX, PATH_MAX = 128, 512  # bytes of a setting, its NUL among them
_LIBRARY_MAX = 1 << 20


def preload_library(cache: Cache) -> Path:
    """The library without settings, compiled where nothing in the cache fits. Raises UkperfError without a compiler."""
    base = data("workloads")
    compiler = find_compiler()
    source = sources()[0]
    description = compiled_from(cache, compiler, PRELOADED, sources(), base, libraries=False)
    entry = cache.entry(
        "programs",
        cache.key(description),
        lambda folder: compile_c([source], folder / "preload.so", PRELOADED, base=base, compiler=compiler),
    )
    return entry / "preload.so"


def start_program(cache: Cache) -> Path:
    """The starter of static programs, likewise."""
    return build_program("preload/start.c", cache)


def sources() -> list[Path]:
    """The files that both are compiled from, the library's C file first."""
    common = ("rawsyscall.h", "ukperf.h", "marker.h", "gate.h")
    names = ("preload/preload.c", "preload/start.c", *(f"common/{name}" for name in common))
    return [data("workloads", *name.split("/")) for name in names]


def with_settings(library: Path, *, name: str, cwd: str, stdin: str) -> bytes:
    """The library's bytes with what it does before the program starts.

    name: the program's, for its `main` frame; cwd and stdin: paths in the guest of less than PATH_MAX bytes, "" for
    nothing to do.
    """
    content = bytearray(read_bytes(library, _LIBRARY_MAX))
    at = content.index(_MARK) + len(_MARK)
    shown = name.encode("ascii", "replace")[: NAME_MAX - 1]
    for value, room in ((shown, NAME_MAX), (cwd.encode(), PATH_MAX), (stdin.encode(), PATH_MAX)):
        assert len(value) < room
        content[at : at + room] = value.ljust(room, b"\0")
        at += room
    return bytes(content)
