"""Extensions by entry points: what a workload, guest, host driver or export is called, and where it is loaded from.

Ours are registered in pyproject.toml as anybody's are; no other list of their names exists. Entry points are those of
the Python packaging specification (https://packaging.python.org/specifications/entry-points/).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar, cast

from ukperf.errors import UkperfError
from ukperf.text import clean, meant

T = TypeVar("T")
U = TypeVar("U")
OURS = "ukperf"  # the distribution whose extensions cannot be replaced by another's


class Registry(Generic[T]):
    """The extensions of one kind, by name. Names are known without importing anything; `get` loads one."""

    def __init__(self, group: str, noun: str) -> None:
        self.group, self.noun = group, noun

    def names(self) -> tuple[str, ...]:
        """Sorted; also of extensions that cannot be loaded, which is found out when one is wanted."""
        return tuple(sorted(_found(self.group)))

    def get(self, name: str) -> T:
        """The extension of that name, loaded.

        Raises UkperfError, with the name that was perhaps meant, where there is none, and with the package's name where
        it cannot be loaded.
        """
        points = _found(self.group)
        if name not in points:
            article = "an" if self.noun[0] in "aeiou" else "a"
            raise UkperfError(
                f"There is no {self.noun} {name!r}.",
                hint=f"{meant(name, self.names())} A package can bring {article} {self.noun}: docs/extending.md.",
            )
        try:
            extension = points[name].load()
        except (Exception, SystemExit) as error:  # somebody else's code: whatever it raises is its own fault
            raise self.fault(name, f"cannot be loaded: {type(error).__name__}: {clean(str(error), 200)}") from error
        if not callable(extension):
            raise self.fault(name, "is nothing that can be called")
        return cast(T, extension)

    def call(self, name: str, *arguments: Any, kind: type | None = None) -> Any:
        """What the extension gives when it is called; kind: what that must be.

        Raises UkperfError as `get` and as the extension itself; whatever else another package's raises is named as its
        fault, and ours is a fault of ukperf.
        """
        extension = cast(Callable[..., Any], self.get(name))
        try:
            given = extension(*arguments)
        except UkperfError:
            raise
        except (Exception, SystemExit) as error:
            if self.origin(name) == OURS:
                raise
            raise self.fault(name, f"failed: {type(error).__name__}: {clean(str(error), 200)}") from error
        return given if kind is None else self.expect(name, given, kind)

    def expect(self, name: str, given: object, kind: type[U]) -> U:
        """What an extension gave. Raises UkperfError, with the package's name, where it is of another kind."""
        if not isinstance(given, kind):
            raise self.fault(name, f"gave {type(given).__name__}, where {kind.__module__}.{kind.__name__} is wanted")
        return given

    def fault(self, name: str, what: str) -> UkperfError:
        """An error about an extension: whose it is, and what is wrong with it."""
        package = _package(_found(self.group)[name])
        return UkperfError(
            f"The {self.noun} {name} of the package {package} {what}.",
            hint=f"Update that package, or remove it: pip uninstall {package}",
        )

    def origin(self, name: str) -> str:
        """The package that an extension comes from; `ukperf` for ours."""
        return _package(_found(self.group)[name])


def package_at_fault(error: BaseException) -> str:
    """The package whose extension raised an error that nobody foresaw: the one of the innermost code that is its or
    ours. "" where that is ours."""
    packages = {
        point.module.partition(".")[0]: _package(point)
        for group in ("workloads", "guests", "hosts", "exports", "runtimes")
        for point in _found(f"ukperf.{group}").values()
    }
    at_fault = ""
    trace = error.__traceback__
    while trace is not None:
        root = str(trace.tb_frame.f_globals.get("__name__", "")).partition(".")[0]
        at_fault = packages.get(root, at_fault)
        trace = trace.tb_next
    return "" if at_fault == OURS else at_fault


def _package(point: EntryPoint) -> str:
    return clean(point.dist.name, 80) if point.dist is not None else "(unknown)"


@cache
def _found(group: str) -> Mapping[str, EntryPoint]:
    """Name → entry point. Ours go before others of the same name; among others the first by its package's name."""
    points = sorted(entry_points(group=group), key=lambda point: (_package(point) != OURS, _package(point)))
    first: dict[str, EntryPoint] = {}
    for point in points:
        first.setdefault(clean(point.name, 80), point)
    return first
