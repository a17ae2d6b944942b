"""The names of a Linux guest's kernel: its /proc/kallsyms, read once in a guest and kept by the kernel's digest.

Distributions ship no System.map. Without address space randomization a kernel has its code at the same addresses in
every boot, and its modules too where the same ones are loaded in the same order: so what is kept is for a kernel with
its disk's and network's modules or without them.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ukperf.errors import UkperfError
from ukperf.files import copy, create_own, read_bytes, reason
from ukperf.imaging.cache import Cache
from ukperf.imaging.kernelfile import kernel_version
from ukperf.imaging.programs import c_program
from ukperf.model import Accelerator, Image, Listening, Observation, Outcome, Program, Request
from ukperf.profile.symbols import parse_kallsyms
from ukperf.workloads.base import Bench

LIST_MAX = 24 << 20  # bytes that a guest may print; a distribution's kernel has 1.5 MiB of functions
TIMEOUT_S = 240.0
NAME = "kallsyms"  # of the program, and of its check
FORMAT = 1  # of what is kept
_NO_RANDOM = "nokaslr"
_ADDRESS_MAX = 1 << 64
_LINE = re.compile(r"([0-9a-f]{1,16}) (\S) (\S.{0,600})")


def is_linux(kernel: Path | None) -> bool:
    """Does the file say that it is a Linux kernel?"""
    if kernel is None:
        return False
    try:
        kernel_version(kernel)
    except UkperfError:
        return False
    return True


def kernel_symbols(guest: str, image: Image, request: Request, bench: Bench, *, tree: bool, cache: Cache) -> str:
    """A kallsyms of a guest's kernel: from the cache, else from one boot; "" where the kernel has none.

    image: the guest's, of the request. tree: is the program on a disk, whose modules are loaded then? Raises
    UkperfError where the guest does not say what it should; nothing is kept then.
    """
    key = cache.key({"format": FORMAT, "kernel": image.kernel_digest, "tree": tree, "network": bool(request.network)})

    def read(folder: Path) -> None:
        bench.say(f"Reading the symbols of {guest}'s kernel, once: they are kept.")
        text = _asked(guest, request, bench, _program(tree, cache))
        with create_own(folder / NAME) as file:
            file.write(text.encode())

    path = cache.entry("kallsyms", key, read) / NAME
    try:
        return read_bytes(path, LIST_MAX * 2).decode("utf-8", "replace")
    except OSError as error:
        raise UkperfError(f"The kept symbols {path} cannot be read: {reason(error)}.") from error


def _asked(guest: str, request: Request, bench: Bench, program: Program) -> str:
    words = " ".join(filter(None, (request.cmdlines.get(guest, ""), _NO_RANDOM)))
    asking = replace(
        request,
        program=program,
        guests=(guest,),
        accelerator=_quick(request.accelerator),
        cmdlines={**request.cmdlines, guest: words},
        arguments={},
        listening=Listening(keep=LIST_MAX, limit=2 * LIST_MAX),
        folder=None,
    )
    with bench.boots(asking, exact=False) as boots:
        return listed(guest, boots.boot(guest, program, TIMEOUT_S))


def _quick(accelerator: Accelerator) -> Accelerator:
    """Only the answer counts."""
    return Accelerator.TCG if accelerator is Accelerator.ICOUNT else accelerator


def _program(tree: bool, cache: Cache) -> Program:
    program = c_program(NAME, "profile/kallsyms.c", cache=cache)
    if not tree:
        return program
    digest = cache.key({"tree of": program.digest})
    root = cache.entry("trees", digest, lambda folder: _put(program.path, folder / NAME))
    return Program(NAME, digest, root, True, program.argv)


def _put(source: Path, target: Path) -> None:
    copy(source, target)
    target.chmod(0o755)


def listed(guest: str, seen: Observation) -> str:
    """What a guest listed, with whole addresses; "" of a kernel without kallsyms. Raises UkperfError."""
    digest = seen.report.checks.get(NAME, "")
    if seen.outcome is not Outcome.OK or not digest:
        why = seen.reason or "it did not come to its end"
        raise UkperfError(f"{guest} did not tell its kernel's symbols: {why}.", hint="Try again, or use --symbols.")
    if digest == "none":
        return ""
    head = seen.output.head if seen.output is not None else b""
    text = _whole_lines(head)
    if f"{zlib.crc32(text):08x}" != digest:
        raise UkperfError(
            f"The symbols of {guest}'s kernel were damaged on its console.", hint="Try again, or use --symbols."
        )
    lines = _summed(text.decode("ascii", "replace").splitlines())
    try:
        parse_kallsyms(lines)
    except ValueError as error:
        raise UkperfError(f"The symbols of {guest}'s kernel are of no use: {error}.") from error
    return "\n".join(lines) + "\n"


def _whole_lines(text: bytes) -> bytes:
    """The program's own lines: a kernel that has something to say says it in lines of its own, mostly."""
    lines = text.replace(b"\r\n", b"\n").split(b"\n")
    own = [line for line in lines if _LINE.fullmatch(line.decode("ascii", "replace"))]
    return b"".join(line + b"\n" for line in own)


def _summed(lines: Sequence[str]) -> list[str]:
    address, whole = 0, []
    for line in lines:
        more, _, rest = line.partition(" ")
        address = (address + int(more, 16)) % _ADDRESS_MAX
        whole.append(f"{address:016x} {rest}")
    return whole
