"""Boots the emulated Xen host and ends it again."""

from __future__ import annotations

import contextlib
import io
import os
import re
import select
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from realrun import QUICK
from remote.sshd import new_keys, ssh_client

from ukperf.hosts.storage import Pool
from xenhost.build import HostFiles, build

# Without -smap dom0 dies of a page fault; with rdtscp PVH guests crash.
CPU = "max,-smap,-rdtscp"
XEN_ARGS = "console=com1 com1=115200,8n1 loglvl=warning dom0_mem=768M,max:768M dom0_max_vcpus=1 sched=credit2"
# QEMU's XSAVE and XRSTOR do not trap while CR0.TS is set, which is how Xen would switch vector registers at their first
# use: dom0's processes then go on with registers of the guest, and files arrive with other bytes than were sent.
XEN_ARGS += " spec-ctrl=eager-fpu"
DOM0_ARGS = f"console=hvc0 quiet panic=-1 net.ifnames=0 {QUICK}"


@dataclass
class XenHost:
    """A running host. `uri` goes to libvirt; `kill` ends it as a power cut would; `restart` brings it back there."""

    files: HostFiles
    port: int
    log: Path
    shares: tuple[Path, ...] = ()
    ssh_port: int = 0  # 0: no ssh
    ssh_folder: Path = Path()  # with our key
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    boot_s: float = 0.0  # wall-clock seconds from exec to a libvirtd that listens

    @property
    def uri(self) -> str:
        return f"xen+tcp://127.0.0.1:{self.port}/"

    @property
    def ssh_uri(self) -> str:
        """The same host by ssh."""
        client = ssh_client(self.ssh_folder, "key", "known")
        return f"xen+ssh://root@127.0.0.1:{self.ssh_port}/?command={client}"

    def start(self, timeout_s: float = 240) -> None:
        """Boots, and returns when libvirtd listens.

        Raises:
            RuntimeError: QEMU ended, or dom0 said that something failed, or `timeout_s` is over.
        """
        began = time.monotonic()
        with self.log.open("wb") as sink:
            self.process = subprocess.Popen(
                command_line(self.files, self._forwarded(), self.shares, self._key()),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=sink,
            )
        try:
            self._wait_ready(began + timeout_s)
        except BaseException:
            self.kill()
            raise
        self.boot_s = time.monotonic() - began
        found = re.search(r"xenhost: KEY (\S+ \S+) \.", self.log.read_text(errors="replace"))
        if self.ssh_port and found:
            (self.ssh_folder / "known").write_text(f"[127.0.0.1]:{self.ssh_port} {found.group(1)}\n")

    def _wait_ready(self, deadline: float) -> None:
        assert self.process is not None
        assert self.process.stdout is not None
        seen = b""
        with self.log.open("ab") as sink:
            while b"xenhost: READY" not in seen:
                ready, _, _ = select.select([self.process.stdout], [], [], max(0.0, deadline - time.monotonic()))
                data = self.process.stdout.read1(65536) if ready else b""  # type: ignore[attr-defined]
                sink.write(data)
                seen = (seen + data)[-65536:]
                trouble = re.search(rb"xenhost: FAILED[^\r\n]*", seen)
                if not data or trouble:
                    why = trouble.group().decode() if trouble else seen[-600:].decode(errors="replace")
                    raise RuntimeError(f"the emulated Xen host did not come up ({self.log}): {why}")

    def _forwarded(self) -> dict[int, int]:
        return {self.port: 16509, **({self.ssh_port: 22} if self.ssh_port else {})}

    def _key(self) -> str:
        """Our public key as one word."""
        if not self.ssh_port:
            return ""
        kind, key, *_ = (self.ssh_folder / "key.pub").read_text().split()
        return f"{kind}:{key}"

    def kill(self) -> None:
        """Ends the machine at once; its disk was a snapshot, so nothing is left."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            if self.process.stdout is not None:
                self.process.stdout.close()
            self.process = None

    def restart(self) -> None:
        self.kill()
        self.start()


def command_line(files: HostFiles, ports: Mapping[int, int], shares: Sequence[Path], key: str = "") -> list[str]:
    """QEMU's arguments: Xen by multiboot, dom0 as its two modules, ports (here → there) on loopback only.

    key: a public one, KIND:BASE64, that may log in by ssh.
    """
    dom0 = f"{DOM0_ARGS} xenhost.shares={','.join(f'share{n}:{path}' for n, path in enumerate(shares))}"
    dom0 += f" xenhost.key={key}" if key else ""
    modules = f"{files.kernel} {dom0}".replace(",", ",,") + "," + str(files.initrd).replace(",", ",,")
    argv = [*one_at_a_time(), "qemu-system-x86_64"]
    argv += ["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"]
    argv += ["-machine", "q35", "-accel", "tcg,thread=multi,tb-size=512", "-cpu", CPU, "-smp", "1", "-m", "2560"]
    argv += ["-kernel", str(files.xen), "-append", XEN_ARGS, "-initrd", modules]
    argv += ["-drive", f"file={str(files.disk).replace(',', ',,')},format=raw,if=virtio,snapshot=on,cache=unsafe"]
    forwards = "".join(f",hostfwd=tcp:127.0.0.1:{here}-:{there}" for here, there in ports.items())
    argv += ["-netdev", f"user,id=net,restrict=on{forwards}"]
    argv += ["-device", "virtio-net-pci,netdev=net,romfile=", "-serial", "stdio", "-monitor", "none"]
    for n, path in enumerate(shares):
        argv += ["-virtfs", f"local,path={path},mount_tag=share{n},security_model=none,readonly=on,multidevs=remap"]
    return argv


def one_at_a_time() -> list[str]:
    """Words before a command: its threads share one CPU, and one that wakes up waits until the running one pauses.

    QEMU's emulation of SVM (7.2, and the newest source that we could read) gives a guest an interrupt twice, the second
    time with interrupts off, if its main loop gets the big lock, and asks the vCPU thread to leave, within nanoseconds
    of that thread's giving the lock up: helper_vmrun leaves the vector in exception_index, and cpu_handle_interrupt
    puts EXCP_INTERRUPT there only if nothing is. nanos takes that for an exception in its interrupt handler, and halts.
    """
    return ["taskset", "--cpu-list", str(max(os.sched_getaffinity(0))), "chrt", "--batch", "0"]


def free_port() -> int:
    """A TCP port on loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def xen_host(shares: Sequence[Path] = ()) -> Iterator[XenHost]:
    """A running Xen host; QEMU and its files are gone afterwards.

    Args:
        shares: folders that dom0 sees read-only at the same path.

    Raises:
        CannotBuild: it cannot be made here; str() says why.
        RuntimeError: it was made, and did not boot.
    """
    with tempfile.TemporaryDirectory(prefix="ukperf-xenhost-") as folder:
        host = XenHost(build(), free_port(), Path(folder) / "serial.log", tuple(Path(s).resolve() for s in shares))
        if shutil.which("ssh") and shutil.which("ssh-keygen"):
            host.ssh_port, host.ssh_folder = free_port(), Path(folder)
            new_keys(host.ssh_folder, "key")
        try:
            host.start()
            yield host
        finally:
            host.kill()


def content(pool: Pool, path: str) -> bytes:
    """The bytes of a volume of the host, by its path there."""
    volume = pool._connection.storageVolLookupByPath(path)
    stream, sink = pool._connection.newStream(0), io.BytesIO()
    volume.download(stream, 0, volume.info()[1], 0)
    stream.recvAll(lambda _stream, data, target: target.write(data), sink)
    stream.finish()
    return sink.getvalue()
