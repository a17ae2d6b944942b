"""What a word on the command line means: a program of this machine, or an installed Python package."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ukperf.deps.composition import Composition, package_composition, program_composition
from ukperf.deps.ownword import own_word
from ukperf.errors import UkperfError
from ukperf.imaging.distributions import Site, is_installed, own_site, site_of


def is_package(word: str, site: Site) -> bool:
    """Is it a package by its name? What has a slash in it is a file."""
    return "/" not in word and is_installed(word, site)


def compose(words: Sequence[str], interpreter: Path | None) -> Composition:
    """What it is made of. interpreter: whose packages; None: ukperf's own. Raises UkperfError for what is neither."""
    site = site_of(interpreter) if interpreter is not None else own_site()
    if is_package(words[0], site):
        return package_composition(words[0], site, own_word(words[0], site.executable))
    try:
        return program_composition(words, os.environ.get("PATH", os.defpath))
    except UkperfError as error:
        if "/" in words[0] or "There is no program" not in error.message:
            raise
        raise UkperfError(
            f"{words[0]} is neither a program in the folders of PATH nor a package that {site.executable} has.",
            hint="Name another Python by --interpreter, or the program with its path.",
        ) from error
