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
            found = points[name].load()
        except Exception as error:  # somebody else's code: whatever it raises is its own fault
            raise self.fault(name, f"cannot be loaded: {type(error).__name__}: {clean(str(error), 200)}") from error
        if not callable(found):
            raise self.fault(name, "is nothing that can be called")
        return cast(T, found)

    def call(self, name: str, *arguments: Any) -> Any:
        """What the extension gives when it is called.

        Raises UkperfError as `get` and as the extension itself; whatever else another package's raises is named as its
        fault, and ours is a fault of ukperf.
        """
        extension = cast(Callable[..., Any], self.get(name))
        try:
            return extension(*arguments)
        except UkperfError:
            raise
        except Exception as error:
            if self.origin(name) == OURS:
                raise
            raise self.fault(name, f"failed: {type(error).__name__}: {clean(str(error), 200)}") from error

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


def _package(point: EntryPoint) -> str:
    return clean(point.dist.name, 80) if point.dist is not None else "(unknown)"


@cache
def _found(group: str) -> Mapping[str, EntryPoint]:
    """Name → entry point. Ours go before others of the same name; among others the first by its package's name."""
    points = sorted(entry_points(group=group), key=lambda point: (_package(point) != OURS, _package(point)))
    found: dict[str, EntryPoint] = {}
    for point in points:
        found.setdefault(clean(point.name, 80), point)
    return found
