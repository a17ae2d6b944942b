"""native: no guest at all. The same program as a process on this host: the control."""

from __future__ import annotations

import platform
from dataclasses import replace

from ukperf.errors import UkperfError
from ukperf.guests.base import Availability, BuildOptions, Guest
from ukperf.imaging import preload
from ukperf.imaging.pythontree import MOUNT_POINTS
from ukperf.model import Image, Program


class Native(Guest):
    """The host itself."""

    name = "native"

    def availability(self, options: BuildOptions) -> Availability:
        system, machine, release = platform.system(), platform.machine(), platform.release()
        if (system, machine) != ("Linux", "x86_64"):
            return Availability(False, f"This host is {system} on {machine}.", "native needs Linux on x86-64.")
        return Availability(True, f"this host, Linux {release}")

    def build(self, program: Program, options: BuildOptions) -> Image:
        argv, env, argv0 = (str(program.path), *program.argv[1:]), program.env, program.argv[0]
        if program.is_tree:
            _check(program)
            argv = tuple(_on_host(word, program) for word in program.argv)
            env = _environment(program)
            if argv0 == preload.STARTER:  # it finds the tree by it, and tells the program its own
                argv0 = ""
        key = self.cache.key(
            {
                "guest": self.name,
                "program": program.digest,
                "argv": program.argv[1:],
                "env": [list(pair) for pair in program.env],
            }
        )
        return replace(
            self.by_recipe(program, key),
            argv=argv,
            argv0=argv0,
            env=env,
            tree=program.path if program.is_tree else None,
            kernel_version=platform.release(),
        )


def _check(program: Program) -> None:
    """Raises UkperfError for a tree at a path that its environment cannot name, or that Python's packages cannot read.

    `:` and `;` end a path in PYTHONHOME and LD_LIBRARY_PATH; threadpoolctl takes libraries' paths for UTF-8.
    """
    path = str(program.path)
    if {":", ";"} & set(path) or path.encode(errors="replace").decode() != path:
        raise UkperfError(
            f"Python does not run on this machine itself from {path}: it has ':', ';' or bytes that are no UTF-8.",
            hint="Set UKPERF_CACHE_DIR to a path without them.",
        )


def _environment(program: Program) -> tuple[tuple[str, str], ...]:
    """The program's variables with the host's paths. What a tree's /etc/ld.so.preload is to its loader, LD_PRELOAD is
    to this machine's, whose own file is left alone; LD_LIBRARY_PATH then names the tree's libraries."""
    env = {name: _on_host(value, program) for name, value in program.env}
    preloaded = program.path / preload.LIST.lstrip("/")
    if preloaded.is_file():
        if " " in str(program.path):
            raise UkperfError(
                f"Nothing can be loaded into programs of this machine itself from {program.path}: it has a space.",
                hint="Set UKPERF_CACHE_DIR to a path without one.",
            )
        library = _on_host(preload.LIBRARY, program)
        env["LD_PRELOAD"] = ":".join(filter(None, (library, env.get("LD_PRELOAD"))))
        folders = dict.fromkeys(str(path.parent) for path in program.path.rglob("libc.so.6"))
        env["LD_LIBRARY_PATH"] = ":".join(filter(None, (*folders, env.get("LD_LIBRARY_PATH"))))
    return tuple(env.items())


def _on_host(word: str, program: Program) -> str:
    """A path of the program's tree as the host sees it; any other word as it is. No chroot: that would take root.

    /tmp and what else guests mount over the tree is the host's own.
    """
    inside = program.path / word.lstrip("/")
    mounted = word.strip("/") in ("", *MOUNT_POINTS)
    return str(inside) if word.startswith("/") and not mounted and inside.exists() else word
