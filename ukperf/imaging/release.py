"""Pulls a nanos release: one tarball that holds boot.img and kernel.img."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ukperf.errors import UkperfError
from ukperf.imaging.archives import extract
from ukperf.imaging.download import Client
from ukperf.imaging.kernelstore import entry_name

ARCHIVE_MAX = 256 << 20
KERNEL_MAX = 12 << 20  # what fits into a disk's boot partition
BOOT_MAX = 1 << 20

# The sha256 that the archive or manifest of a version must have; None: nobody has said.
PinOf = Callable[[str], str | None]


@dataclass(frozen=True)
class Pulled:
    """What a registry or release server gave. digest: sha256 of the archive or manifest, as the server sent it."""

    version: str
    files: Mapping[str, bytes]  # role → bytes
    source: str
    digest: str
    pinned: bool


def pull_release(client: Client, mirror: str, paths: tuple[str, str], version: str | None, pin_of: PinOf) -> Pulled:
    """A release; version None is the newest.

    paths: below the mirror, that of an archive ({version} is replaced) and of the text that names the newest version.
    Raises UkperfError when anything is not as it should be, above all an archive whose digest is not the pinned one.
    """
    archive, latest = paths
    base = mirror.rstrip("/")
    if version is None:
        text = client.get(f"{base}/{latest}", 200).body
        version = text.decode("ascii", errors="replace").strip()
    entry_name("nanos", version, "qemu")  # a name that can be part of an address and of a file name
    source = f"{base}/{archive.format(version=version)}"
    answer = client.get(source, ARCHIVE_MAX)
    pin = pin_of(version)
    if pin is not None and pin != answer.sha256:
        raise wrong_digest(source, answer.sha256, pin)
    names = {"boot.img": "boot", "kernel.img": "kernel"}
    found = extract(answer.body, {"boot.img": BOOT_MAX, "kernel.img": KERNEL_MAX}, source)
    if set(found) != set(names):
        missing = " and ".join(sorted(set(names) - set(found)))
        raise UkperfError(f"{source} has no {missing} in it.", hint="Is it a nanos release for x86-64?")
    files = {names[name]: data for name, data in found.items()}
    return Pulled(version, files, source, answer.sha256, pin is not None)


def wrong_digest(source: str, digest: str, expected: str) -> UkperfError:
    return UkperfError(
        f"{source} has the digest sha256:{digest}, and not sha256:{expected}: it is not used.",
        hint="The server or the way to it gave other bytes than were published. Try another mirror by --mirror.",
    )
