"""Templates in the cache: made once for all that one depends on, looked at before use, and made anew if damaged."""

from __future__ import annotations

from pathlib import Path

from ukperf.hosts.base import Host
from ukperf.hosts.template import DamagedError, load
from ukperf.imaging.cache import Cache
from ukperf.model import BootSpec
from ukperf.text import Say

KIND = "templates"


def template_of(host: Host, spec: BootSpec, say: Say, cache: Cache | None = None) -> Path:
    """The folder of the template from which boots like this one are restored; its guest is booted where there is none.

    spec: with the pattern of its being ready, or none for a program that has a gate. Of two ukperfs that want one, the
    second waits and takes the first one's. Raises UkperfError as `Host.take_template` and `Cache.entry`.
    """
    cache = cache or Cache()
    key = cache.key(host.template_inputs(spec))
    made = False

    def make(folder: Path) -> None:
        nonlocal made
        made = True
        say(f"Making the template of {spec.image.guest}: it is booted once, until it is ready, and saved.")
        host.take_template(spec, folder)

    folder = cache.entry(KIND, key, make)
    try:
        host.check_template(folder)
    except DamagedError as error:
        if made:  # what was written is not what is read
            raise
        say(f"{error.message} It is made anew.")
        cache.discard(KIND, key)
        folder = cache.entry(KIND, key, make)
        host.check_template(folder)
    return folder


def about(folder: Path) -> str:
    """A template in a sentence's words: when it was taken. Raises HostError."""
    template = load(folder)
    return f"taken at {template.at}, {template.took_s:.3g} s after create"
