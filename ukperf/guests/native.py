"""native: no guest at all. The same program as a process on this host: the control."""

from __future__ import annotations

import platform

from ukperf.errors import UkperfError
from ukperf.guests.base import Availability, BuildOptions, Guest
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
        argv, env = (str(program.path), *program.argv[1:]), program.env
        if program.is_tree:
            _check(program)
            argv = tuple(_on_host(word, program) for word in program.argv)
            env = tuple((name, _on_host(value, program)) for name, value in program.env)
        key = self.cache.key(
            {
                "guest": self.name,
                "program": program.digest,
                "argv": program.argv[1:],
                "env": [list(pair) for pair in program.env],
            }
        )
        return Image(
            guest=self.name,
            workload=program.workload,
            digest=key,
            program_digest=program.digest,
            protocol=self.recipe.protocol,
            argv=argv,
            env=env,
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


def _on_host(word: str, program: Program) -> str:
    """A path of the program's tree as the host sees it; any other word as it is. No chroot: that would take root."""
    inside = program.path / word.lstrip("/")
    return str(inside) if word.startswith("/") and inside.exists() else word
