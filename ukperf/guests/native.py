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
        if program.is_tree:
            raise UkperfError(
                f"The workload {program.workload} is a directory tree, which needs a guest to run in.",
                hint="Run it on the host by its own command.",
            )
        argv = (str(program.path), *program.argv[1:])
        key = self.cache.key(
            {
                "guest": self.name,
                "program": program.digest,
                "argv": argv[1:],
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
            env=program.env,
            kernel_version=platform.release(),
        )
