"""The emulated Xen host's files, from Debian's packages (debpackages.py): unpacked, cut down, packed by mke2fs."""

from __future__ import annotations

import gzip
import hashlib
import lzma
import re
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import platformdirs
from debpackages import Deb, closure, download, extract, need, run, sbin

from ukperf.imaging import cpio
from ukperf.imaging.tree import scan

PACKAGES = (
    "xen-system-amd64",  # the hypervisor and its tools, whose own packages are named by their version
    "xenstore-utils",
    "qemu-system-xen",
    "libvirt-daemon",
    "libvirt-daemon-driver-xen",
    "linux-image-amd64",
    "busybox-static",
    "iproute2",
    "openssh-server",
    "bash",  # Xen's block script, for disks that are files
    "mount",
    "util-linux",
)
STORAGE = "libvirt-daemon-driver-storage"  # a package of its own where libvirt's daemon is in several
MODULES = (
    "virtio_pci",
    "virtio_blk",
    "virtio_net",
    "ext4",
    "crc32c_generic",
    "loop",
    "9p",
    "9pnet_virtio",
    "xenfs",
    "xen-privcmd",
    "xen-evtchn",
    "xen-gntdev",
    "xen-gntalloc",
    "xen-blkback",
    "xen-netback",
)
UNUSED = (
    "usr/lib/modules",
    "usr/share/doc",
    "usr/share/man",
    "usr/share/info",
    "usr/share/locale",
    "usr/share/iso-codes",
    "usr/lib/udev/hwdb.d",
    "usr/lib/python3.*",
    "usr/lib/xen-*/boot/xen-shim",
    "boot",
    # An emulator for this driver is not there, and it refuses to start without its user.
    "usr/lib/x86_64-linux-gnu/libvirt/connection-driver/libvirt_driver_qemu.so",
)
LIBVIRTD_CONF = """\
listen_tls = 0
listen_tcp = 1
listen_addr = "0.0.0.0"
tcp_port = "16509"
auth_tcp = "none"
auth_unix_rw = "none"
unix_sock_group = "root"
max_clients = 50
host_uuid = "6a1e9f0c-53b5-4d6d-9d53-2f1c0f6a7e55"
"""
HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class HostFiles:
    """What QEMU needs. All paths are files in the cache; the disk must be opened with snapshot=on."""

    xen: Path  # multiboot ELF, not compressed
    kernel: Path
    initrd: Path
    disk: Path  # ext4


def _digest(debs: Iterable[Deb]) -> str:
    """sha256 over everything that goes into the host: the packages' digests and this folder's sources."""
    state = hashlib.sha256()
    for deb in debs:
        state.update(f"{deb.name} {deb.digest}\n".encode())
    for source in ("build.py", "initrd-init.sh", "dom0-init.sh", "../debpackages.py"):
        state.update((HERE / source).read_bytes())
    return state.hexdigest()


def _modules(tree: Path) -> Iterator[Path]:
    """MODULES and what they depend on, in an order in which insmod takes them."""
    files = {path.name.partition(".")[0].replace("-", "_"): path for path in tree.rglob("*.ko*")}
    seen: set[str] = set()

    def walk(name: str) -> Iterator[Path]:
        if name in seen or name not in files:  # not a file: built into this kernel
            return
        seen.add(name)
        found = re.search(rb"\0depends=([^\0]*)\0", _plain(files[name]))
        for dependency in (found.group(1).decode() if found else "").split(","):
            yield from walk(dependency.replace("-", "_"))
        yield files[name]

    for wanted in MODULES:
        yield from walk(wanted.replace("-", "_"))


def _plain(module: Path) -> bytes:
    """Its bytes as insmod takes them: some distributions compress modules."""
    data = module.read_bytes()
    return lzma.decompress(data) if module.suffix == ".xz" else data


def _initrd(root: Path, work: Path) -> Path:
    tree = work / "initrd"
    for name in ("bin", "modules", "proc", "sys", "dev", "root"):
        (tree / name).mkdir(parents=True)
    shutil.copy2(root / "usr/bin/busybox", tree / "bin/busybox")
    (tree / "bin/sh").symlink_to("busybox")
    (tree / "bin/insmod").symlink_to("busybox")
    shutil.copy2(HERE / "initrd-init.sh", tree / "init")
    (tree / "init").chmod(0o755)
    order = list(_modules(root / "usr/lib/modules"))
    names = [f"{module.name.partition('.')[0]}.ko" for module in order]
    for module, name in zip(order, names, strict=True):
        (tree / "modules" / name).write_bytes(_plain(module))
    (tree / "modules/order").write_text("".join(f"{name}\n" for name in names))
    out = work / "initrd.img"
    cpio.write(out, scan(tree))
    return out


def _configure(root: Path) -> None:
    """What the packages' scripts would have done, as far as this host needs it."""
    for path in (path for pattern in UNUSED for path in root.glob(pattern)):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    for name in ("dev", "proc", "sys", "run", "tmp", "root", "var/log", "var/lib", "var/cache", "etc/libvirt"):
        (root / name).mkdir(parents=True, exist_ok=True)
    for name in ("run", "lock"):  # libvirt locks a console's terminal in /var/lock
        link = root / "var" / name
        if link.is_dir() and not link.is_symlink():
            shutil.rmtree(link)
        if not link.is_symlink():
            link.symlink_to("/run" if name == "run" else "/run/lock")
    users = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/usr/sbin/nologin\n"
    users += "sshd:x:100:65534::/run/sshd:/usr/sbin/nologin\n"
    (root / "etc/passwd").write_text(users)
    (root / "etc/group").write_text("root:x:0:\ntty:x:5:\nkvm:x:101:\nlibvirt:x:102:\nnogroup:x:65534:\n")
    (root / "etc/hosts").write_text("127.0.0.1 localhost xenhost\n")
    (root / "etc/libvirt/libvirtd.conf").write_text(LIBVIRTD_CONF)
    busybox = root / "usr/bin/busybox"
    for applet in run([busybox, "--list"]).split():
        link = root / "usr/bin" / applet
        if not link.exists() and not (root / "usr/sbin" / applet).exists():
            link.symlink_to("busybox")
    for model in ("486", "pentium"):
        # TCG's `vme` is hidden by Xen, and then libvirt finds no CPU model that fits.
        path = root / f"usr/share/libvirt/cpu_map/x86_{model}.xml"
        path.write_text(path.read_text().replace("    <feature name='vme'/>\n", ""))
    init = root / "usr/sbin/xenhost-init"
    shutil.copy2(HERE / "dom0-init.sh", init)
    init.chmod(0o755)
    run([sbin("ldconfig"), "-r", root])


def _disk(root: Path, work: Path) -> Path:
    for path in root.rglob("*"):  # mke2fs reads every file, also those that only root may read in Debian
        if path.is_file() and not path.is_symlink():
            path.chmod(path.stat().st_mode | stat.S_IRUSR)
    out = work / "disk.img"
    run(
        [
            sbin("mke2fs"),
            "-q",
            "-F",
            "-t",
            "ext4",
            "-O",
            "^has_journal",
            "-E",
            "root_owner=0:0",
            "-d",
            root,
            out,
            "3072M",  # for the images that guests bring; what is never written takes no room
        ]
    )
    return out


def _closure(work: Path) -> tuple[list[Deb], tuple[str, ...]]:
    """All packages, and those that they are the closure of."""
    debs = closure(work, PACKAGES)
    if not any(deb.name.startswith("libvirt-daemon-common_") for deb in debs):
        return debs, PACKAGES
    packages = (*PACKAGES, STORAGE)
    return closure(work, packages), packages


def _make(debs: list[Deb], packages: tuple[str, ...], work: Path, target: Path) -> None:
    root = work / "root"
    extract(download(work, packages), root)
    initrd = _initrd(root, work)
    kernel = next((root / "boot").glob("vmlinuz-*"))
    hypervisor = next((root / "boot").glob("xen-*.gz"))
    result = work / "result"
    result.mkdir()
    (result / "xen").write_bytes(gzip.decompress(hypervisor.read_bytes()))
    shutil.copy2(kernel, result / "kernel")
    shutil.copy2(initrd, result / "initrd")
    _configure(root)
    _disk(root, work).rename(result / "disk")
    (result / "packages").write_text("".join(f"{deb.name} {deb.digest}\n" for deb in debs))
    try:
        result.rename(target)
    except OSError:
        if not target.is_dir():  # else somebody made the same one meanwhile
            raise


def build() -> HostFiles:
    """Files of the host, from the cache when nothing that they are made of has changed (then in about 2 s).

    Raises:
        CannotBuild: a tool, the packages or their mirror is missing.
    """
    need("apt-get", "dpkg-deb", "tar", "mke2fs", "ldconfig", "qemu-system-x86_64", "taskset", "chrt")
    cache = platformdirs.user_cache_path("ukperf-tests") / "xenhost"  # `ukperf images clean` is not to take it
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="work-", dir=cache) as name:
        work = Path(name)
        debs, packages = _closure(work)
        target = cache / _digest(debs)
        if not target.is_dir():
            _make(debs, packages, work, target)
    for other in cache.iterdir():  # made of older packages or sources: nothing will ask for them again
        if re.fullmatch(r"[0-9a-f]{64}", other.name) and other != target:
            shutil.rmtree(other, ignore_errors=True)
    return HostFiles(xen=target / "xen", kernel=target / "kernel", initrd=target / "initrd", disk=target / "disk")
