"""Python programs for guests: the closure from the cache, and a workload's own files laid over it."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from ukperf.decode import SHA256, decode_stored, encode
from ukperf.errors import UkperfError
from ukperf.files import SMALL, copy, read_bytes, read_json, read_text, reason, write_atomically
from ukperf.imaging import bytecode, closure
from ukperf.imaging.cache import Cache
from ukperf.imaging.closure import NO_PRUNING, PREFIX, PYTHON, Inputs, Pruning, PythonTree
from ukperf.imaging.distributions import Site
from ukperf.imaging.python_env import ROOTS
from ukperf.model import Program
from ukperf.resources import data

BENCH = f"/{PREFIX}/bench"  # where a workload's own files are, in every guest
FACTS = "tree.json"
FORMAT = 1  # of what is remembered of an environment
# No site (nothing but the tree is to be found), no writing of bytecode, unbuffered; UTF-8 whatever the locale.
OPTIONS = ("-S", "-B", "-u", "-X", "utf8")
MOUNT_POINTS = ("dev", "proc", "sys", "tmp")  # the Linux guest's disk is read-only


def python_tree(
    cache: Cache | None = None,
    roots: Sequence[str] = ROOTS,
    site: Site | None = None,
    pruning: Pruning = NO_PRUNING,
) -> PythonTree:
    """The closure of distributions, built where no input's size or time of change fits the cache's.

    roots: names, or with versions (`numpy>=2`); site: where they are installed, default ukperf's own environment.
    pruning: what of their files is left out. Raises UkperfError where a package, a library or a compiler is missing.
    """
    cache = cache or Cache()
    memory = _Memory(cache, roots, site, pruning)
    key = memory.recall()
    if key is None or not cache.has("python", key):
        inputs = closure.collect(roots, site=site, pruning=pruning)
        before = closure.input_key(inputs)
        key = cache.key({"inputs": before})

        def fill(folder: Path) -> None:
            (folder / "root").mkdir()
            tree = closure.build(inputs, folder / "root", data("workloads", "python", "launcher.c"))
            if closure.input_key(inputs) != before:
                raise UkperfError(
                    "The packages were changed while they were packed.", hint="Try again when nothing is installed."
                )
            (folder / FACTS).write_text(closure.describe(tree), encoding="utf-8")

        cache.entry("python", key, fill)
        memory.remember(inputs, key)
    folder = cache.root / "python" / key
    return closure.from_description(folder / "root", read_text(folder / FACTS))


@dataclass(frozen=True)
class _Environment:
    """The cache entry of an environment, and what stat said of its files: size and time, or nothing where none was."""

    key: Annotated[str, SHA256]
    files: Mapping[str, tuple[int, ...]]


class _Memory:
    """Which cache entry belongs to the environment as it is: a list of its files with what stat said of them.

    Finding out what belongs to an environment takes a second; looking whether it changed takes milliseconds.
    """

    def __init__(self, cache: Cache, roots: Sequence[str], site: Site | None, pruning: Pruning = NO_PRUNING) -> None:
        where = [str(site.executable), *site.path] if site is not None else [sys.executable]
        pruned = [repr(pruning)] if pruning != NO_PRUNING else []
        identity = json.dumps([where, sys.version, sorted(roots), closure.FORMAT, os.environ.get("CC", ""), *pruned])
        name = hashlib.sha256(identity.encode()).hexdigest()
        self.path = cache.root / "python-environments" / f"{name}.json"

    def recall(self) -> str | None:
        try:
            stored = decode_stored(_Environment, read_json(self.path), FORMAT)
            return stored.key if all(_stamp(path) == stamp for path, stamp in stored.files.items()) else None
        except (OSError, ValueError):
            return None

    def remember(self, inputs: Inputs, key: str) -> None:
        paths = {inputs.interpreter.executable, Path("/etc/ld.so.conf")}
        for f in (*inputs.modules, *inputs.libraries):
            paths.add(f.source)
        # A new module or distribution changes a directory that we have read.
        paths |= {path.parent for path in paths}
        paths |= {f.source.parents[len(f.target.parts) - 1] for f in inputs.modules if len(f.target.parts) > 1}
        files = {str(path): _stamp(str(path)) for path in sorted(paths)}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self.path, json.dumps(encode(_Environment(key, files), FORMAT)), durable=False)


def _stamp(path: str) -> tuple[int, ...]:
    """Size and time of change; of a directory only the latter, and none of its __pycache__, which anybody fills."""
    try:
        status = os.stat(path)  # noqa: PTH116 (thousands of them)
    except OSError:
        return ()
    return status.st_size, status.st_mtime_ns


def tree_program(
    workload: str,
    files: Mapping[str, Path | bytes],
    argv: Sequence[str],
    env: Sequence[tuple[str, str]] = (),
    *,
    python: PythonTree,
    cache: Cache | None = None,
) -> Program:
    """A Python workload: files ({path below BENCH: contents}; .py becomes bytecode) over the closure.

    argv: script and arguments behind the interpreter's own. The tree is made of hard links into the closure, so it
    costs no space. Raises UkperfError for a source that does not compile.
    """
    cache = cache or Cache()
    contents: dict[str, Path | bytes] = {}
    for name, content in files.items():
        if name.endswith(".py"):
            source = content if isinstance(content, bytes) else read_bytes(content, SMALL)
            contents[f"{name}c"] = _compiled(source, f"{BENCH}/{name}")
        else:
            contents[name] = content
    overlay = {
        name: hashlib.sha256(content).hexdigest() if isinstance(content, bytes) else cache.digests.file(content)
        for name, content in sorted(contents.items())
    }
    digest = cache.key({"python": python.digest, "files": overlay})

    def fill(folder: Path) -> None:
        link_tree(python.root, folder / "root")
        for name in MOUNT_POINTS:
            (folder / "root" / name).mkdir(exist_ok=True)
        for name, content in contents.items():
            path = folder / "root" / BENCH.lstrip("/") / name
            path.parent.mkdir(parents=True, exist_ok=True)
            _put(content, path)
            path.chmod(0o644)

    root = cache.entry("trees", digest, fill) / "root"
    words = (PYTHON, *OPTIONS, *argv)
    return Program(workload, digest, root, True, words, (*environment(python), *env), settled=True)


def _put(content: Path | bytes, path: Path) -> None:
    if isinstance(content, bytes):
        path.write_bytes(content)
        return
    try:
        copy(content, path)
    except OSError as error:
        raise UkperfError(f"{content} cannot be copied: {reason(error)}.") from error


def _compiled(source: bytes, name: str) -> bytes:
    try:
        return bytecode.bytecode(source, name)
    except (SyntaxError, ValueError) as e:
        raise UkperfError(f"{name} is no valid Python: {e}.") from e


def link_tree(source: Path, target: Path) -> None:
    """A copy, in a folder that is there or not, whose files are links to those of `source`: it takes no space."""
    for folder, _, names in os.walk(source):
        copy = target / Path(folder).relative_to(source)
        copy.mkdir(exist_ok=True)
        for name in names:
            os.link(f"{folder}/{name}", copy / name)


def environment(python: PythonTree) -> tuple[tuple[str, str], ...]:
    """The same in every guest, and short: Unikraft drops variables behind the first few without a word. PYTHONHOME
    spares the search for the library; a fixed hash seed makes equal work."""
    candidates = [p for top in ("lib", "lib64", "usr") for p in (python.root / top).rglob("libc.so.6")]
    libraries = candidates[0].parent
    return (
        ("PYTHONHOME", f"/{PREFIX}"),
        ("LD_LIBRARY_PATH", f"/{libraries.relative_to(python.root)}"),
        ("PYTHONHASHSEED", "0"),
    )
