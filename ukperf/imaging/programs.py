"""The C workloads: each a static-PIE ELF, built once, whose bytes are the same in every guest that loads ELF."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from ukperf.errors import UkperfError
from ukperf.imaging.cache import Cache
from ukperf.imaging.compiler import STATIC_PIE, Compiler, compile_c, find_compiler
from ukperf.model import Program
from ukperf.resources import data, data_root


def c_program(
    workload: str, source: str, *arguments: str, cache: Cache | None = None, env: Sequence[tuple[str, str]] = ()
) -> Program:
    """A program from workloads/SOURCE (like "boot/boot.c"); argv[0] in the guest is /NAME.

    Raises UkperfError when there is no compiler or the source does not compile.
    """
    path = build_program(source, cache or Cache())
    digest = (cache or Cache()).digests.file(path)
    return Program(workload, digest, path, False, (f"/{path.name}", *arguments), tuple(env))


def own_program(workload: str, source: Path, *arguments: str, cache: Cache | None = None) -> Program:
    """A program from a C file that lies anywhere. `#include "ukperf.h"` finds our header.

    Raises UkperfError when there is no such file or compiler, or the source does not compile.
    """
    kept = cache or Cache()
    if not source.is_file():
        raise UkperfError(f"The source of {workload} is missing ({source}).", hint="Install its package again.")
    common, compiler = data("workloads", "common"), find_compiler()
    flags = (*STATIC_PIE, f"-I{common}")
    description = compiled_from(kept, compiler, STATIC_PIE, [source], source.parent, libraries=True)
    description["headers"] = {
        path.name: kept.digests.file(path) for path in sorted({*source.parent.glob("*.h"), *common.glob("*.h")})
    }
    name = source.stem
    entry = kept.entry(
        "programs",
        kept.key(description),
        lambda folder: compile_c([source], folder / name, flags, base=source.parent, compiler=compiler),
    )
    path = entry / name
    return Program(workload, kept.digests.file(path), path, False, (f"/{name}", *arguments))


def boot_program(cache: Cache | None = None) -> Program:
    """Says `main` and `exit`."""
    return c_program("boot", "boot/boot.c", cache=cache)


def density_program(cache: Cache | None = None) -> Program:
    """Says `main` and stays, until its guest is ended."""
    return c_program("density", "density/density.c", cache=cache)


def clock_program(ms: int = 30, cache: Cache | None = None) -> Program:
    """Lets its own clock advance by `ms` four times and says so: the host compares (doctor/clocks.py)."""
    return c_program("clock", "boot/clock.c", f"ms={ms}", cache=cache)


def needs_program(cache: Cache | None = None) -> Program:
    """Tells what a kernel gives to programs: for kernels that are about to be stored (engine/kernelprobe.py)."""
    words = ("two words", 'quotes" and \\')
    return c_program("needs", "boot/needs.c", *words, cache=cache, env=(("NEEDS", "a=b c"),))


def count_program(loops: int = 1_000_000, values: int = 5, cache: Cache | None = None) -> Program:
    """The counting loop of the truth check, two instructions a loop; floor has it linked in, with the same words."""
    return c_program("count", "count/count.c", f"loops={loops}", f"values={values}", cache=cache)


def misbehave_program(*words: str, cache: Cache | None = None) -> Program:
    """For tests: does what the words say (see workloads/boot/misbehave.c)."""
    return c_program("misbehave", "boot/misbehave.c", *words, cache=cache)


def build_program(source: str, cache: Cache) -> Path:
    """The ELF file of workloads/SOURCE, from the cache where nothing that it is made of has changed."""
    base = data("workloads")
    path = data("workloads", *source.split("/"))
    compiler = find_compiler()
    headers = sorted({*path.parent.glob("*.h"), *(base / "common").glob("*.h")})
    description = compiled_from(cache, compiler, STATIC_PIE, [path, *headers], base, libraries=True)
    name = path.stem
    entry = cache.entry(
        "programs",
        cache.key(description),
        lambda folder: compile_c([path], folder / name, STATIC_PIE, base=base, compiler=compiler),
    )
    return entry / name


def unstripped(path: Path, cache: Cache) -> Path | None:
    """A C program of ours once more, with its symbols: compiled like the one in the cache but for that. None for what
    is none of ours, or where it cannot be compiled; whether the code is the same, its reader must see."""
    if not path.is_relative_to(cache.root / "programs"):
        return None
    root = data_root()
    sources = [*sorted(root.glob(f"workloads/*/{path.name}.c")), *sorted(root.glob(f"images/*/{path.name}.c"))]
    if not sources:
        return None
    flags = tuple(flag for flag in STATIC_PIE if flag != "-s")
    try:
        compiler, source = find_compiler(), sources[0]
        headers = sorted({*source.parent.glob("*.h"), *(root / "workloads" / "common").glob("*.h")})
        base = root / "workloads" if source.is_relative_to(root / "workloads") else root
        description = compiled_from(cache, compiler, flags, [source, *headers], root, libraries=True)
        entry = cache.entry(
            "symbols",
            cache.key(description),
            lambda folder: compile_c([source], folder / path.name, flags, base=base, compiler=compiler),
        )
    except UkperfError:
        return None
    return entry / path.name


def compiled_from(
    cache: Cache, compiler: Compiler, flags: Iterable[str], files: Iterable[Path], base: Path, *, libraries: bool
) -> dict[str, object]:
    """The description of a compilation for a cache key: compiler, flags, sources by path and digest, C library."""
    return {
        "compiler": compiler.version,
        "flags": list(flags),
        "files": {str(path.relative_to(base)): cache.digests.file(path) for path in files},
        "libraries": [cache.digests.file(path) for path in compiler.libraries()] if libraries else [],
    }
