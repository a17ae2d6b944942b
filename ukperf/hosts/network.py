"""The way to a guest's program over the network: QEMU's user-mode network, one port of the loopback interface a guest.

It needs no root. `restrict`: the guest reaches nothing but what calls it through that port.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from dataclasses import replace

from ukperf.errors import HostError
from ukperf.model import BootSpec, MachineKind, Network, Observation, Outcome

LOOPBACK = "127.0.0.1"
# The same in every boot: Linux's random numbers and nanos's DHCP know the guest by it.
MAC = "52:54:00:12:34:56"
ATTEMPTS = 3
_TAKEN = "could not set up host forwarding rule"  # QEMU, of a port that somebody else took first


def network_words(network: Network, kind: MachineKind) -> list[str]:
    """QEMU's words for a spec whose host port is chosen. Firmware gets no boot ROM, or it would look for a server."""
    assert network.host_port, "no port was chosen"
    way = f"hostfwd=tcp:{LOOPBACK}:{network.host_port}-:{network.guest_port}"
    mmio = kind is MachineKind.MICROVM
    card = f"virtio-net-{'device' if mmio else 'pci'},netdev=way,mac={MAC}{'' if mmio else ',romfile='}"
    return ["-netdev", f"user,id=way,restrict=on,{way}", "-device", card]


def free_port() -> int:
    """A TCP port of the loopback interface that nobody listens on now. Raises HostError where there is none."""
    with socket.socket() as probe:
        try:
            probe.bind((LOOPBACK, 0))
        except OSError as error:
            raise HostError(f"No port of {LOOPBACK} is free: {error.strerror}.") from error
        return int(probe.getsockname()[1])


def at_port(spec: BootSpec, port: int = 0) -> BootSpec:
    """A boot whose guest, where it has a network, is reached by a port of this machine: its own, else this one, 0: one
    that is free now."""
    if spec.network is None or spec.network.host_port:
        return spec
    return replace(spec, network=replace(spec.network, host_port=port or free_port()))


def retried(spec: BootSpec, boot: Callable[[BootSpec], Observation]) -> Observation:
    """A boot whose guest is reached by a port that is free now; with another one where somebody took it meanwhile."""
    if spec.network is None:
        return boot(spec)
    for attempt in range(1, ATTEMPTS + 1):
        placed = at_port(spec)
        seen = boot(placed)
        if seen.outcome is not Outcome.LOST or _TAKEN not in seen.reason.lower():
            break
        assert placed.network is not None
        port = placed.network.host_port
        seen = replace(seen, reason=f"port {port} of {LOOPBACK} is in use, which led to the guest ({attempt} tried)")
    return seen


def own_port(network: Network) -> Network:
    """That of a program of this machine, which listens on its own port. Raises HostError where somebody else does."""
    port = network.guest_port
    try:
        # As servers do it: what is left of connections that ended is not in their way.
        for host in ("", LOOPBACK):
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((host, port))
                probe.listen(1)
    except OSError as error:
        raise HostError(_why_not(port, error), hint="Let the program listen on another port, and name it.") from error
    return replace(network, host_port=port)


def _why_not(port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"Port {port} of this machine is in use, so no program of this machine can listen on it."
    return f"Programs of this machine cannot listen on port {port}: {error.strerror}."
