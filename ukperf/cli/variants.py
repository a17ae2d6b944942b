"""--variant NAME=GUEST[,KEY=VALUE…]: a guest under another name, with what differs."""

from __future__ import annotations

import re

from ukperf.cli.options import kernels, machine, pairs
from ukperf.errors import UkperfError
from ukperf.model import Variant
from ukperf.text import clean, meant

_KEYS = ("kernel", "append", "machine", "memory", "vcpus", "program")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,39}")  # it becomes part of files' and domains' names


def variants(words: list[str] | None) -> dict[str, Variant]:
    """Name → variant. A comma ends a value only where a key follows: `append=isolcpus=1,2` is one value.

    Raises UkperfError for what is no variant.
    """
    return {name: _variant(name, value) for name, value in pairs(words, "--variant").items()}


def _variant(name: str, words: str) -> Variant:
    said = f"--variant {clean(name, 60)}={clean(words, 200)}"
    if not _NAME.fullmatch(name):
        raise UkperfError(f"{said}: {clean(name, 60)!r} is no name.", hint="Letters, digits and ._+- make one.")
    guest, *rest = re.split(rf",(?=(?:{'|'.join(_KEYS)})=)", words)
    if "," in guest or not guest:
        unknown = guest.partition(",")[2].partition("=")[0]
        raise UkperfError(f"{said}: there is no key {unknown!r}.", hint=meant(unknown, _KEYS))
    values: dict[str, str] = {}
    for part in rest:
        key, _, value = part.partition("=")
        if not value or key in values:
            raise UkperfError(f"{said}: {key} has {'two values' if value else 'no value'}.")
        values[key] = value
    memory, vcpus = (_number(said, key, values.get(key)) for key in ("memory", "vcpus"))
    kind = values.get("machine")
    checked = machine(kind or "q35", memory or 1, vcpus or 1, None)
    return Variant(
        guest=guest,
        words=words,
        kernel=kernels([f"{name}={values['kernel']}"])[name] if "kernel" in values else None,
        append=values.get("append", ""),
        machine=checked.kind if kind else None,
        memory_mib=memory,
        vcpus=vcpus,
        program=values.get("program", ""),
    )


def _number(said: str, key: str, value: str | None) -> int | None:
    if value is None:
        return None
    if not re.fullmatch(r"[0-9]{1,7}", value) or int(value) == 0:
        raise UkperfError(f"{said}: {key} is no number.", hint=f"Write {key}=2, for example.")
    return int(value)
