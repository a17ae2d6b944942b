"""Takes names out of runs before they are published: home folders, users, hosts, and where ukperf keeps its things.

What is known is replaced wherever it stands, exactly: nothing is guessed. Known are this user's and this machine's own
names, and those that the runs themselves name (the host names in their facts, the users and hosts of connections, home
folders in paths, ukperf's folders by what is in them): so that the bytes do not depend on who bundles, and with which
HOME. A name that says nothing about anybody, like root, or that is a guest's, stays.
"""

from __future__ import annotations

import json
import os
import pwd
import re
import socket
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import ukperf
from ukperf import guests
from ukperf.errors import UkperfError
from ukperf.hosts import parts_of
from ukperf.paths import cache_dir, config_dir, data_dir

if TYPE_CHECKING:
    from ukperf.runs.loaded import LoadedRun

USER, HOST, HOME = "user", "host", "~"
# Names that are many people's, or a word of every console.
_NOBODYS = {
    "root",
    "user",
    "users",
    "host",
    "guest",
    "nobody",
    "admin",
    "localhost",
    "vagrant",
    "runner",
    "test",
    "home",
}
_LEAST, _CLEAR = 3, 5  # letters of a name that is replaced at all, and inside of other words too
_HOMES = re.compile(r"(?<![\w.~-])(/(?:home|Users)/([^/\s\"'\\:]+))")
# where ukperf kept its things when the run was made: by custom, or its cache by what is in it
_CUSTOM = re.compile(r"(/.*?)/\.(cache|local/share|config)/ukperf(?=/|\Z)")
_CACHED = re.compile(r"(/.+?)/(?:kernels/[^/]+|images/[0-9a-f]+)/[0-9a-f]{64}/")
_KINDS = {"cache": "UKPERF_CACHE", "local/share": "UKPERF_DATA", "config": "UKPERF_CONFIG"}
_HEX = re.compile(r"[0-9a-f]+")  # may be a part of any digest
_HOSTNAME = "hostname"  # how the names of such facts end, in plans, boots and suites


@dataclass(frozen=True)
class Secrets:
    """paths: path → what stands for it. names: name → what stands for it."""

    paths: Mapping[str, str]
    names: Mapping[str, str]


class Scrub:
    """Replaces what is known, in texts of any kind."""

    def __init__(self, secrets: Secrets) -> None:
        self._hosts = {name.lower(): stands for name, stands in secrets.names.items() if stands.startswith(HOST)}
        self._stands: dict[str, str] = {}
        patterns: dict[str, str] = {}
        for path, stands in secrets.paths.items():
            for spelled in _spellings(path):
                self._stands[spelled.lower()] = stands
                patterns[spelled] = rf"(?<![\w.~-]){re.escape(spelled)}(?![\w-])"
        for name, stands in secrets.names.items():
            for spelled in _spellings(name) if telling(name) else ():
                self._stands.setdefault(spelled.lower(), stands)
                word = f"(?i:{re.escape(spelled)})"
                clear = len(name) >= _CLEAR and not _HEX.fullmatch(name.lower())
                patterns.setdefault(spelled, word if clear else rf"(?<![A-Za-z0-9]){word}(?![A-Za-z0-9])")
        longest = sorted(patterns, key=lambda spelled: (-len(spelled), spelled))
        self._all = re.compile("|".join(patterns[spelled] for spelled in longest) or r"(?!)")

    def text(self, text: str) -> str:
        return self._all.sub(lambda match: self._stands[match[0].lower()], text)

    def file(self, name: str, data: bytes) -> bytes:
        """A file's bytes. JSON stays JSON: there names are replaced in what its texts say."""
        if name.endswith(".ndjson"):
            return b"\n".join(map(self._document, data.split(b"\n")))
        if not name.endswith(".json"):
            return self._plain(data)
        return self._document(data, indent=1 if b"\n" in data.strip() else None)

    def _plain(self, data: bytes) -> bytes:
        return self.text(data.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")

    def _document(self, data: bytes, indent: int | None = None) -> bytes:
        try:
            value = json.loads(data)
            changed = self.value(value)
        except (ValueError, RecursionError):  # none, or a damaged line of a journal
            return self._plain(data)
        if changed == value and self._plain(data) == data:  # what a key hides that is there twice, is in no value
            return data
        separators = (",", ":") if indent is None else None
        return (json.dumps(changed, indent=indent, separators=separators) + "\n" * (indent is not None)).encode()

    def value(self, value: Any, key: str = "") -> Any:
        """Decoded JSON. key: what it is the value of."""
        if isinstance(value, str):
            if key.endswith(_HOSTNAME) or f"{_HOSTNAME} of " in key:
                return self._hosts.get(value.lower(), HOST)
            return self.text(value)
        if isinstance(value, list):
            return [self.value(item) for item in value]
        if isinstance(value, dict):
            return {self.text(name): self.value(item, name) for name, item in value.items()}
        return value


def secrets_of(runs: Sequence[LoadedRun]) -> Secrets:
    """All names that are known here and in these runs."""
    paths, users = _own()
    hosts = [socket.gethostname()]
    for run in runs:
        paths |= dict.fromkeys(_ways(run.path), "RUN")
        for text in _texts(run):
            for home, user in _HOMES.findall(text):
                paths.setdefault(home, HOME)
                users.append(user)
            for folder, stands in _folders(text):
                paths.setdefault(folder, stands)
                users += [Path(folder).name] if stands == HOME else []
            user, host = parts_of(text)
            users += [user] if user else []
            hosts += [host] if host else []
        hosts += _host_names(run)
    names = dict.fromkeys(filter(telling, users), USER)
    numbers: dict[str, int] = {}
    for host in sorted({name.lower() for name in hosts if name}):
        number = numbers.setdefault(host.partition(".")[0], len(numbers) + 1)
        names |= {host: f"{HOST}{number}", host.partition(".")[0]: f"{HOST}{number}"}
    return Secrets({path: stands for path, stands in paths.items() if len(path) > 1}, names)


def _folders(text: str) -> Iterator[tuple[str, str]]:
    """The home folder, and those of ukperf's, that a path of a plan lies in."""
    if custom := _CUSTOM.match(text):
        yield custom[1], HOME
        yield custom[0], _KINDS[custom[2]]
    elif cached := _CACHED.match(text):
        yield cached[1], _KINDS["cache"]


def telling(name: str) -> bool:
    """Does a name say anything about anybody? Short ones are parts of too many words."""
    return len(name) >= _LEAST and name.lower() not in _NOBODYS and name.lower() not in guests.names()


def _own() -> tuple[dict[str, str], list[str]]:
    """This user's folders and names."""
    users = [value for name in ("USER", "LOGNAME", "SUDO_USER") if (value := os.environ.get(name))]
    homes = [value for value in (os.environ.get("HOME"),) if value]
    with suppress(KeyError):
        entry = pwd.getpwuid(os.geteuid())
        users += [entry.pw_name, entry.pw_gecos.partition(",")[0]]
        homes.append(entry.pw_dir)
    users += [Path(home).name for home in homes]
    paths: dict[str, str] = {}
    folders = dict.fromkeys(homes, HOME) | {sys.prefix: "PYTHON", str(Path(ukperf.__file__).parent): "UKPERF"}
    for folder, stands in ((cache_dir, "UKPERF_CACHE"), (data_dir, "UKPERF_DATA"), (config_dir, "UKPERF_CONFIG")):
        with suppress(UkperfError):
            folders[str(folder())] = stands
    for path, stands in folders.items():
        paths |= dict.fromkeys(_ways(Path(path)), stands)
    return paths, users


def _ways(path: Path) -> tuple[str, str]:
    """A path from the root on, as it was named and without links."""
    return str(path.absolute()), str(path.resolve())


def _host_names(run: LoadedRun) -> Iterator[str]:
    facts: Iterable[Mapping[str, str]] = (record.facts for record in run.records)
    for table in ((run.plan.facts if run.plan else {}), *facts):
        for name, value in table.items():
            if name == _HOSTNAME or name.startswith(f"{_HOSTNAME} of "):
                yield value
    if run.plan is not None and run.plan.scheduler:  # records call machines by their names
        yield from sorted({record.host for record in run.records})


def _texts(run: LoadedRun) -> Iterator[str]:
    """Texts of a plan that may hold paths and addresses."""
    if run.plan is None:
        return
    yield from run.plan.hosts
    yield from run.plan.command
    yield from map(str, run.plan.files)
    for image in run.plan.images.values():
        yield from (*map(str, image.argv), image.cmdline, *map(str, (image.kernel, image.initrd, image.disk)))


def _spellings(text: str) -> Iterator[str]:
    """As it is; as JSON writes it, and JSON in JSON; as an address does."""
    once = json.dumps(text)[1:-1]
    yield from dict.fromkeys((text, once, json.dumps(once)[1:-1], quote(text, errors="surrogateescape")))
