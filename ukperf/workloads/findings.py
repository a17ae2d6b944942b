"""What was found out about a kernel by booting it, kept in the cache under all that it depends on."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol, TypeVar

from ukperf.decode import decode_stored, encode
from ukperf.errors import UkperfError
from ukperf.files import read_json, write_atomically
from ukperf.imaging.cache import Cache
from ukperf.model import Image, kind_of

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    class Complete(DataclassInstance, Protocol):
        """A finding; complaint: why it is none."""

        @property
        def complaint(self) -> str: ...

    T = TypeVar("T", bound=Complete)


def kept(
    kind: type[T],
    folder: str,
    number: int,
    image: Image,
    context: Sequence[str],
    make: Callable[[], T],
    *,
    cache: Cache,
    fresh: bool = False,
) -> T:
    """The finding of this kernel and program, from the cache or made; one with a complaint is not kept.

    folder: of the cache. number: of the findings' format, to be raised when their meaning changes. context: what else
    they depend on (accelerator, machine, the user for `native`). fresh: made in any case. What is damaged, or a newer
    ukperf's, is made again. Raises UkperfError where the cache cannot be written, and what `make` raises.
    """
    key = cache.key(
        {
            "format": number,
            "guest": kind_of(image.guest),
            "kernel": image.kernel_digest or image.kernel_version,
            "program": image.program_digest,
            "context": list(context),
        }
    )
    path = cache.root / folder / f"{key}.json"
    if not fresh:
        try:
            return decode_stored(kind, read_json(path), number)
        except (OSError, ValueError):
            pass
    made = make()
    if not made.complaint:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, json.dumps(encode(made, number)) + "\n")
        except OSError as error:
            raise UkperfError(
                f"The cache {path.parent} cannot be written: {error.strerror}.",
                hint="Make room there, or name another folder by UKPERF_CACHE_DIR.",
            ) from error
    return made
