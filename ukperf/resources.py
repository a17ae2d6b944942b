"""Where our own data is: `images/` and `workloads/` beside the package in a checkout, inside it in a wheel."""

from __future__ import annotations

from pathlib import Path

from ukperf import hints
from ukperf.errors import UkperfError

_PACKAGE = Path(__file__).resolve().parent


def data_root() -> Path:
    """The directory that holds `images/` and `workloads/`.

    Raises UkperfError when neither a checkout nor an installed wheel has them.
    """
    for root in (_PACKAGE / "_data", _PACKAGE.parent):
        if (root / "images").is_dir() and (root / "workloads").is_dir():
            return root
    raise UkperfError(
        f"The folders images/ and workloads/ are missing beside {_PACKAGE}.",
        hint=hints.AGAIN,
    )


def data(*parts: str) -> Path:
    """The path of one data file or folder, like data("images", "floor", "recipe.toml").

    Raises UkperfError when it is not there.
    """
    path = data_root().joinpath(*parts)
    if not path.exists():
        raise UkperfError(f"{path} is missing.", hint=hints.AGAIN)
    return path
