"""Tells the plans that this user's ukperf wrote from all others: `resume` executes what a plan says.

The seal of a plan is a keyed digest (HMAC-SHA-256) of what it says. The key is made at random when it is first needed,
and kept beside the images that a run boots: whoever has lost the one has lost the other.
"""

from __future__ import annotations

import errno
import hashlib
import hmac
import json
import os
from collections.abc import Mapping
from pathlib import Path

from ukperf.errors import UkperfError
from ukperf.files import read_bytes, write_once
from ukperf.paths import cache_dir, make_dir

_BYTES = 32


def seal_of(plan: Mapping[str, object]) -> str:
    """The seal of a plan's JSON data. Raises UkperfError where there is no key and none can be kept."""
    path = _path()
    try:
        make_dir(path.parent)
        if not path.exists():
            write_once(path, os.urandom(_BYTES), mode=0o600)
        return _seal(plan, _key(path))
    except OSError as error:
        raise UkperfError(
            f"The key of plans, {path}, cannot be used: {error.strerror}.", hint="Remove it, or set UKPERF_CACHE_DIR."
        ) from error


def is_sealed(plan: Mapping[str, object], seal: object) -> bool:
    """Is that this user's seal of this plan?"""
    try:
        return isinstance(seal, str) and hmac.compare_digest(_seal(plan, _key(_path())).encode(), seal.encode())
    except (OSError, ValueError):
        return False


def _path() -> Path:
    """A cache may be shared; a key is not."""
    return cache_dir() / f"plan-key-{os.geteuid()}"


def _key(path: Path) -> bytes:
    key = read_bytes(path, _BYTES)
    if len(key) != _BYTES:
        raise OSError(errno.EINVAL, "it is damaged", str(path))
    return key


def _seal(plan: Mapping[str, object], key: bytes) -> str:
    text = json.dumps(plan, sort_keys=True, separators=(",", ":"))
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
