"""What a program may be given in every guest: paths, variables and a working folder that all of them take."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import PurePosixPath

from ukperf.errors import UkperfError
from ukperf.imaging import preload
from ukperf.imaging.pythontree import MOUNT_POINTS

_NAME = re.compile(r"[^=\0]+")


def is_reserved(path: str) -> bool:
    """Is this where guests mount or make something of their own, which would hide a file or be in its way?"""
    parts = PurePosixPath(path).parts[1:]
    return not parts or parts[0] in (*MOUNT_POINTS, "ukperf") or path == preload.LIST


def image_path(path: str) -> bytes:
    """A guest's path as an image has it. Raises UkperfError for names that not every guest can open."""
    try:
        raw = path.encode()
    except UnicodeEncodeError as error:
        raise UkperfError(f"{path!r} is no UTF-8, and nanos opens no such names.", hint="Rename it.") from error
    if any(byte < 32 or byte == 127 for byte in raw):
        raise UkperfError(f"{path!r} has a control character in its name.", hint="Rename it.")
    return raw.strip(b"/")


def checked_environment(env: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    pairs = tuple(env)
    for name, value in pairs:
        if not _NAME.fullmatch(name) or any(letter in name + value for letter in "\0\n"):
            raise UkperfError(
                f"{name!r}={value!r} is no variable that every guest takes.", hint="Use --env NAME=VALUE."
            )
    return pairs


def working_folder(cwd: str) -> PurePosixPath:
    if not cwd.startswith("/"):
        raise UkperfError(f"The working folder {cwd} is no absolute path in the guest.", hint="Write it like /work.")
    folder = os.path.normpath(cwd)
    if is_reserved(folder) and folder not in ("/", "/tmp"):
        raise UkperfError(f"The working folder {folder} is a path that guests keep for themselves.")
    if len(folder.encode(errors="replace")) >= preload.PATH_MAX:
        raise UkperfError(f"The working folder {folder} has more than {preload.PATH_MAX - 1} bytes.")
    return PurePosixPath(os.fsdecode(b"/" + image_path(folder)))
