"""The `native` guest's host: the program as a process of this machine, its standard output as the console."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

from ukperf.errors import HostError
from ukperf.hosts import THIS_MACHINE, children, remains
from ukperf.hosts.base import HostDefaults, OnFrame
from ukperf.hosts.direct import ProcessStop
from ukperf.hosts.intake import SocketConsole
from ukperf.hosts.network import own_port
from ukperf.hosts.noise import Lately, ShortNoise, conditions, cpu_model, peak_rss
from ukperf.hosts.owntree import as_packed
from ukperf.hosts.sockets import pidfd
from ukperf.hosts.watch import Watch
from ukperf.model import Accelerator, BootSpec, Event, Machine, MachineKind, Observation, Outcome

_conditions = Lately(conditions)
_noise = ShortNoise()


class LocalHost(HostDefaults):
    """What boots without a connection, as a process of this machine."""

    accelerators = (Accelerator.NATIVE,)
    ours = True

    def fit(self, machine: Machine, kinds: Sequence[MachineKind]) -> Machine:
        if kinds:
            raise HostError(f"It boots on {' and '.join(kinds)} only, and {self.uri} has programs of this machine.")
        return machine

    def facts(self) -> Mapping[str, str]:
        release = os.uname().release
        return {"connection": self.uri, "host_kernel": release, "cpu": cpu_model(), "cpus": str(os.cpu_count())}

    def conditions(self) -> Mapping[str, str]:
        return _conditions()


class NativeHost(LocalHost):
    """Runs EXEC images. The memory of the machine is no limit here; pinning is."""

    uri = THIS_MACHINE

    def describe(self) -> str:
        return "programs are executed by this machine itself"

    def machine_facts(self, kinds: Mapping[str, MachineKind]) -> Mapping[str, str]:
        return {"firmware": "none", "console": "socket"}

    def check_network(self) -> None:
        """Programs of this machine have its own."""

    def boot(self, spec: BootSpec, on_frame: OnFrame | None = None) -> Observation:
        _noise.starts()
        children.prepare()
        if spec.network is not None:
            spec = replace(spec, network=own_port(spec.network))
        image = as_packed(spec.image)
        argv = (image.argv0 or image.argv[0], *image.argv[1:])
        ours, theirs = socket.socketpair()
        with ours, theirs:
            try:
                with children.spawned(
                    argv,
                    dict(image.env) if spec.network is None else children.marked(dict(image.env)),
                    theirs.fileno(),
                    subprocess.STDOUT,
                    spec.machine.pin,
                    executed=image.argv[0],
                    own_session=False,
                ) as process:
                    theirs.close()
                    events = dict.fromkeys((Event.START, Event.CREATED, Event.RESUMED), process.started_ns)
                    watch = _watch(spec, process.pid, ours, events, on_frame)
            except children.NotExecutedError as error:
                return Observation(Outcome.LOST, str(error), {})
            finally:
                if spec.network is not None:  # a server may have gone into the background
                    children.end_marked()
        return replace(_observed(watch, process.wait()), noise=_noise.ended())


def _watch(
    spec: BootSpec, pid: int, console: socket.socket, events: dict[Event, int], on_frame: OnFrame | None
) -> Watch:
    with pidfd(pid) as descriptor:
        watch = Watch(spec, SocketConsole(console), ProcessStop(descriptor), events, on_frame, lambda: peak_rss(pid))
        watch.run()
    return watch


def _observed(watch: Watch, status: int) -> Observation:
    """What was seen, and of a program without an `exit` frame (a static one of somebody's) the end that it had: that is
    ours to tell, as in Linux guests it is init's."""
    observation = watch.observe()
    if observation.ended_by_host:
        return observation
    untold = observation.outcome is Outcome.CRASHED and observation.exit_status is None
    if untold and Event.MAIN in observation.events:
        observation = replace(observation, outcome=Outcome.OK, reason="", exit_status=0)
    if observation.outcome is Outcome.OK and status != 0:
        outcome = Outcome.FAILED if status > 0 else Outcome.CRASHED
        word = f"exited with status {status}" if status > 0 else f"was killed by {signal.Signals(-status).name}"
        return replace(observation, outcome=outcome, reason=f"its program {word}", exit_status=max(status, 0) or None)
    return observation


def driver(_uri: str, _run_id: str, _shared_path: bool) -> AbstractContextManager[NativeHost]:
    """The entry point `native`. What dead runs left is removed first."""
    remains.clear()
    return nullcontext(NativeHost())
