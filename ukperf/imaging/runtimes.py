"""Runtimes of models that run inside guests: one adapter in Python and a recipe each, as a Python tree of their own.

Ours are in workloads/infer, a Python file and a TOML file each; a package brings one as an entry point of the group
`ukperf.runtimes`, a function without arguments that gives a `Runtime` (`read` makes one of a recipe).
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from types import SimpleNamespace

from ukperf import hints
from ukperf.decode import decode
from ukperf.errors import UkperfError
from ukperf.files import read_text, reason
from ukperf.imaging.cache import Cache
from ukperf.imaging.closure import Pruning, PythonTree
from ukperf.imaging.distributions import Site, resolve, wanted_packages
from ukperf.imaging.models import ModelFormat
from ukperf.imaging.pythontree import python_tree
from ukperf.registry import OURS, Registry
from ukperf.resources import data
from ukperf.text import clean

MAX_BYTES = 64 << 10  # of a recipe


@dataclass(frozen=True)
class Runtime:
    """One recipe. adapter: a Python file with import_(), load(path, threads), predict(rows) and engine().

    distributions: what is packed, with all that they require; leave_out, keep_sources, optional: as in `Pruning`.
    environment: variables, set before anything is imported. formats: of models that it reads. needs: special files that
    a guest should have. memory_mib: of a guest, without what its files take there. extra: of ukperf, which installs it.
    lacks: operators of ONNX files that it has not, by patterns of DOMAIN:NAME.
    """

    name: str
    summary: str
    distributions: tuple[str, ...]
    formats: tuple[ModelFormat, ...]
    adapter: Path
    leave_out: tuple[str, ...] = ()
    keep_sources: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    memory_mib: int = 512
    extra: str = ""
    lacks: tuple[str, ...] = ()

    @property
    def pruning(self) -> Pruning:
        return Pruning(self.leave_out, self.keep_sources, self.optional)

    def lacking(self, operators: Iterable[str]) -> list[str]:
        """Of these operators (DOMAIN:NAME), those that it has not."""
        return sorted(o for o in operators if any(fnmatchcase(o, pattern) for pattern in self.lacks))


# Switched off before anything is imported; HOME is an empty folder, where some keep a database of events.
QUIET: Mapping[str, str] = {
    "ORT_DISABLE_TELEMETRY": "1",
    "OPENVINO_TELEMETRY_DISABLE": "1",
    "DO_NOT_TRACK": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
}
RUNTIMES: Registry[Callable[[], Runtime]] = Registry("ukperf.runtimes", "runtime")


def read(path: Path) -> Runtime:
    """The runtime of a recipe, whose adapter is the Python file of the same name beside it.

    Raises UkperfError where it cannot be read or is no recipe, with what is wrong.
    """
    try:
        values = tomllib.loads(read_text(path, MAX_BYTES))
        recipe = decode(Runtime, {"name": path.stem, "adapter": str(path.with_suffix(".py")), **values})
    except (OSError, ValueError) as error:
        raise UkperfError(f"The recipe {path} cannot be read: {clean(reason(error), 200)}.") from error
    return replace(recipe, adapter=path.parent / recipe.adapter)


ours = SimpleNamespace(**{path.stem: partial(read, path) for path in sorted(data("workloads", "infer").glob("*.toml"))})


ROWS = data("workloads", "infer", "rows.py")  # beside every adapter: rows of a file, as the adapter wants them


def get(name: str) -> Runtime:
    """Raises UkperfError where there is none of that name, or it cannot be loaded."""
    runtime: Runtime = RUNTIMES.call(name, kind=Runtime)
    return replace(runtime, name=name)


def reading(format: ModelFormat) -> Iterator[Runtime]:
    """All runtimes that read a format; one of another package that is broken is passed over."""
    for name in RUNTIMES.names():
        with suppress(UkperfError):
            if format in (runtime := get(name)).formats:
                yield runtime


def tree_of(runtime: Runtime, site: Site | None = None, cache: Cache | None = None) -> PythonTree:
    """The runtime with its Python. site: where it is installed, default ukperf's own environment.

    Raises UkperfError where it is not, with the line that installs it.
    """
    if site is None and (line := missing(runtime)):
        raise UkperfError(f"{runtime.name} is not installed where ukperf is.", hint=f"Type: {line}")
    return python_tree(cache, runtime.distributions, site, runtime.pruning)


def missing(runtime: Runtime, site: Site | None = None) -> str:
    """The line that installs it there, or "" where it is."""
    try:
        resolve(wanted_packages(runtime.distributions), site)
    except UkperfError as error:
        return installing(runtime) if site is None else error.hint or site.installing(runtime.distributions)
    return ""


def installing(runtime: Runtime) -> str:
    """The line that installs it where ukperf is."""
    if runtime.extra and RUNTIMES.origin(runtime.name) == OURS:
        return hints.extra(runtime.extra)
    return hints.distributions(runtime.distributions)
