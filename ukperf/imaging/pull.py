"""`images pull`: from a recipe's address, or a mirror, into the kernel store."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from ukperf.errors import UkperfError
from ukperf.imaging.download import Client
from ukperf.imaging.kernelstore import Check, KernelOrigin, KernelStore, StoredKernel
from ukperf.imaging.oci import OciRegistry
from ukperf.imaging.release import PinOf, Pulled, pull_release
from ukperf.imaging.unikernels import inspect_bytes


@dataclass(frozen=True)
class Pull:
    """What was pulled. first_use: no recipe pinned the digest, and this machine had not seen it before."""

    entry: StoredKernel
    first_use: bool


def mirror_variable(guest: str) -> str:
    return f"UKPERF_{guest.upper()}_MIRROR"


def pull(
    guest: str,
    recipe: Mapping[str, object],
    store: KernelStore,
    *,
    version: str | None = None,
    mirror: str | None = None,
    platform: str = "qemu",
    sha256: str | None = None,
    client: Client | None = None,
    check: Check | None = None,
) -> Pull:
    """Downloads a kernel and puts it into the store.

    recipe: the recipe's own part (mirror, pins …); mirror: an address instead of the recipe's, else the environment
    variable mirror_variable(guest); sha256: what the archive or manifest must have, as a recipe's pin would say;
    check: as KernelStore.add.
    Raises UkperfError when anything fails; the store is as it was then.
    """
    client = client or Client()
    base = mirror or os.environ.get(mirror_variable(guest)) or str(recipe["mirror"])
    # Unikraft's pins are of manifests for qemu; nanos's archive is the same for all.
    pin_of = _pins(recipe.get("pins") if guest == "nanos" or platform == "qemu" else None, sha256)
    if guest == "nanos":
        pulled = pull_release(client, base, (str(recipe["archive"]), str(recipe["latest"])), version, pin_of)
    elif guest == "unikraft":
        registry = OciRegistry(client, base, str(recipe["repository"]))
        pulled = registry.pull(version or str(recipe["latest"]), platform, pin_of)
    else:
        raise UkperfError(f"There is nothing to pull for the guest {guest}.")
    return _store(guest, pulled, store, platform, floating=version is None, check=check)


def _pins(pins: object, given: str | None) -> PinOf:
    """What a version must have: by the recipe's pins, and by the user's word, which may not contradict them."""
    known = {str(name): str(digest) for name, digest in pins.items()} if isinstance(pins, dict) else {}
    asked = given.strip().lower().removeprefix("sha256:") if given is not None else None
    if asked is not None and not re.fullmatch(r"[0-9a-f]{64}", asked):
        raise UkperfError(f"{given} is no sha256.", hint="It has 64 hexadecimal digits.")

    def pin_of(version: str) -> str | None:
        pinned = known.get(version)
        if asked is not None and pinned not in (None, asked):
            raise UkperfError(
                f"ukperf's recipe has sha256:{pinned} for {version}, and you asked for sha256:{asked}.",
                hint="Leave --sha256 out, or find out which of the two is wrong.",
            )
        return asked or pinned

    return pin_of


def _store(
    guest: str, pulled: Pulled, store: KernelStore, platform: str, *, floating: bool, check: Check | None
) -> Pull:
    found = inspect_bytes(guest, pulled.files["kernel"], pulled.source)
    version = pulled.version
    if guest == "unikraft" and floating and found.version:
        # `latest` moves by design; what it is today has a version of its own, and that one must not change.
        version = found.version
    first = not pulled.pinned and store.trusted(guest, version, platform) is None
    origin = KernelOrigin(pulled.source, pulled.digest, pulled.pinned)
    return Pull(store.add(guest, version, pulled.files, platform=platform, origin=origin, check=check), first)
