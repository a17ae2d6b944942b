"""A distribution's whole root file system, built by mmdebstrap from its package archive, and bootable files of it.

mmdebstrap runs apt and dpkg where nothing of this machine is touched: in a user name space, which takes no root, or by
chroot(2) where there are none and we are root. What it makes comes to us as a tar archive; the ext4 image is written
from it here. apt checks what it downloads against the distribution's signed lists.
"""

from __future__ import annotations

import getpass
import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from ukperf import hints
from ukperf.decode import decode
from ukperf.errors import UkperfError
from ukperf.files import copy, open_regular, read_json, read_text, reason, size_text
from ukperf.imaging import ext4
from ukperf.imaging.rootfs import unpack
from ukperf.text import clean

FORMAT = 1  # raise when the same packages give another root file system
SYSTEM, KERNEL, INITRD, BUILT = "system.ext4", "vmlinuz", "initrd", "built.json"
UUID = "5eed5eed-0000-4000-8000-000000000001"
# As mkfs.ext4 makes them today, but for checksums: inodes are gone over afterwards (ext4.py).
FEATURES = "none,has_journal,extent,filetype,sparse_super,large_file,dir_index,ext_attr,extra_isize,dir_nlink,huge_file"
ROOM_MIB = 2048  # while it is built: the unpacked packages twice, their archives, the image
LIMIT_S = 2400.0
_STATUS, _RELEASE = "var/lib/dpkg/status", "usr/lib/os-release"
_STATUS_MAX = 64 << 20  # bytes of dpkg's list
_TAIL = 400  # lines of mmdebstrap's that are kept
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_VARIABLES = ("TMPDIR", "HOME", "http_proxy", "https_proxy", "no_proxy")
_TICK_S = 1.0


@dataclass(frozen=True)
class SystemWanted:
    """What a root file system is made of.

    early: path in it → content of an executable file that is there before packages are configured. files: path → file
    of this machine, or content; those of this machine are executable. links: path → target. mirror: an address, or ""
    for the distribution's own, its updates and its security archive.
    """

    suite: str
    variant: str  # of mmdebstrap: which packages besides `packages`
    packages: tuple[str, ...]
    mirror: str = ""
    leave_out: tuple[str, ...] = ()  # patterns of files of packages, as dpkg takes them
    early: Mapping[str, str] | None = None
    files: Mapping[str, Path | str] | None = None
    links: Mapping[str, str] | None = None
    spare_mib: int = 256


@dataclass(frozen=True)
class Built:
    """What was built. packages: how many; packages_digest: sha256 over their names and versions."""

    release: str
    kernel_version: str
    packages: int
    packages_digest: str
    system_digest: str
    built_at: str

    @property
    def says(self) -> str:
        return f"{self.release}, {self.packages} packages of {self.built_at}"


def read_built(folder: Path) -> Built:
    """What stands in a folder that `build` filled. Raises UkperfError where it cannot be read."""
    try:
        return decode(Built, read_json(folder / BUILT))
    except (OSError, ValueError) as error:
        raise UkperfError(
            f"The root file system in {folder} is damaged: {reason(error)}.", hint=f"Remove it: rm -r {folder}"
        ) from error


def build(wanted: SystemWanted, folder: Path, name: str) -> None:
    """Fill an empty folder with a distribution's root file system (SYSTEM), its kernel, its initramfs, and BUILT.

    Minutes; on a terminal standard error tells how far it is. Raises UkperfError where a tool or the room is missing,
    or the archive cannot be reached.
    """
    tool = find_tool()
    mode = unshare_or_root()
    for tools in ("mke2fs", "debugfs"):
        ext4.tool_path(tools)
    _check_room(folder)
    tree = folder / "tree"
    tree.mkdir()
    with _Ticker(f"Building the root file system of {name}") as ticker:
        with _bootstrap(tool, mode, wanted, ticker) as tar:
            owners = unpack(tar.read, tree, f"The root file system of {name}")
        ticker.say("writing the disk")
        kernel = _kernel_of(tree)
        _finish(tree, wanted)
        version = kernel.name.removeprefix("vmlinuz-")
        _copied(kernel, folder / KERNEL)
        _copied(tree / f"boot/initrd.img-{version}", folder / INITRD)
        layout = ext4.Ext4Layout(UUID, FEATURES, wanted.spare_mib, owners)
        ext4.write_ext4(tree, folder / SYSTEM, layout)
        ticker.say("reading it once more")
        packages = _packages(tree)
        built = Built(
            release=_release(tree),
            kernel_version=version,
            packages=len(packages),
            packages_digest=hashlib.sha256("".join(f"{line}\n" for line in packages).encode()).hexdigest(),
            system_digest=_sha256(folder / SYSTEM),
            built_at=time.strftime("%Y-%m-%d", time.gmtime()),
        )
    (folder / "packages.txt").write_text("".join(f"{line}\n" for line in packages))
    (folder / BUILT).write_text(json.dumps(asdict(built), indent=2) + "\n")
    shutil.rmtree(tree)


def find_tool() -> str:
    """mmdebstrap. Raises UkperfError where it is not installed."""
    tool = shutil.which("mmdebstrap")
    if tool is None:
        raise UkperfError(
            "mmdebstrap, which builds root file systems, is not installed.",
            hint=hints.packages("mmdebstrap"),
        )
    return tool


def unshare_or_root() -> str:
    """mmdebstrap's mode here. Raises UkperfError where there are no user name spaces and we are not root."""
    uid = os.geteuid()
    forbidden = subprocess.run(["unshare", "--user", "true"], capture_output=True, check=False).returncode != 0
    if uid == 0:  # which needs no help to map ids
        return "root" if forbidden else "unshare"
    if shutil.which("newuidmap") is None:
        tried, hint = "newuidmap is not installed", hints.packages("uidmap")
    elif not _has_range(uid):
        tried = "this user has no range of ids in /etc/subuid"
        hint = f"Give it one: sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {_user(uid)}"
    elif forbidden:
        tried, hint = "this system forbids user name spaces", "Run `ukperf images pull` once as root."
    else:
        return "unshare"
    raise UkperfError(f"A root file system cannot be built without root here: {tried}.", hint=hint)


def _user(uid: int) -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user without a name
        return str(uid)


def _has_range(uid: int) -> bool:
    owners = {str(uid), _user(uid)}
    with suppress(OSError, ValueError):
        return all(
            any(line.partition(":")[0] in owners for line in read_text(Path(table)).splitlines())
            for table in ("/etc/subuid", "/etc/subgid")
        )
    return False


def _check_room(folder: Path) -> None:
    for place in dict.fromkeys((Path(tempfile.gettempdir()), folder)):
        free = shutil.disk_usage(place).free
        if free < ROOM_MIB << 20:
            raise UkperfError(
                f"A root file system takes {ROOM_MIB:,} MiB of room while it is built, and {place} has "
                f"{size_text(free)}.",
                hint="Make room there, or name other folders by TMPDIR and UKPERF_CACHE_DIR.",
            )


def command_line(tool: str, mode: str, wanted: SystemWanted) -> list[str]:
    """mmdebstrap's words; the archive goes to its standard output."""
    words = [tool, f"--mode={mode}", f"--variant={wanted.variant}", "--format=tar"]
    words += [f"--include={','.join(wanted.packages)}"] if wanted.packages else []
    words += ['--aptopt=Acquire::Retries "5"', '--aptopt=Acquire::http::Timeout "30"']
    words += [f"--dpkgopt=path-exclude={pattern}" for pattern in wanted.leave_out]
    for path, content in (wanted.early or {}).items():
        target = f'"$1"/{shlex.quote(path)}'
        made = f"mkdir -p $(dirname {target}) && printf %s {shlex.quote(content)} > {target} && chmod 755 {target}"
        words.append(f"--essential-hook={made}")
    return [*words, wanted.suite, "-", *filter(None, (wanted.mirror,))]


class _Tar:
    """What mmdebstrap writes, as long as it goes on well."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        self._from = process.stdout

    def read(self, count: int) -> bytes:
        return self._from.read(count)


@contextmanager
def _bootstrap(tool: str, mode: str, wanted: SystemWanted, ticker: _Ticker) -> Iterator[_Tar]:
    """mmdebstrap's archive while it is written. Raises UkperfError, with the reason, where it ends badly."""
    environment = {name: os.environ[name] for name in _VARIABLES if name in os.environ}
    environment |= {"PATH": _PATH, "LC_ALL": "C.UTF-8", "SOURCE_DATE_EPOCH": str(ext4.EPOCH)}
    said: deque[str] = deque(maxlen=_TAIL)
    started, broken = time.monotonic(), None
    words = command_line(tool, mode, wanted)
    process = subprocess.Popen(
        words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    )
    watchdog = threading.Timer(LIMIT_S, process.terminate)
    watchdog.daemon = True
    try:
        watchdog.start()
        listener = threading.Thread(target=_listen, args=(process, said, ticker), daemon=True)
        listener.start()
        try:
            yield _Tar(process)
        except UkperfError as error:  # the archive broke off: mmdebstrap knows why
            broken = error
            process.terminate()
        status = process.wait()
        listener.join(5)
    finally:
        watchdog.cancel()
        if process.poll() is None:
            process.terminate()  # it removes what it made
            with suppress(subprocess.TimeoutExpired):
                process.wait(60)
        process.kill()
    if time.monotonic() - started > LIMIT_S:
        raise UkperfError(f"mmdebstrap did not end within {LIMIT_S / 60:.0f} minutes.", hint="Check the network.")
    if status != 0:
        raise failure(list(said), status)
    if broken is not None:
        raise broken


def _listen(process: subprocess.Popen[bytes], said: deque[str], ticker: _Ticker) -> None:
    assert process.stderr is not None
    for raw in iter(lambda: process.stderr.readline(4096), b""):  # type: ignore[union-attr]
        line = clean(raw.decode("utf-8", "replace").strip(), 300)
        said.append(line)
        if line.startswith("I: "):
            ticker.say(line[3:].rstrip("."))


# What mmdebstrap and apt say → what helps. The first that any line fits counts.
_CAUSES = (
    ("No space left on device", "Make room in the folder for temporary files (TMPDIR, else /tmp)."),
    ("Temporary failure resolving", "Check the network, or name a mirror by UKPERF_{}_MIRROR."),
    ("Failed to fetch", "Check the network, or name a mirror by UKPERF_{}_MIRROR, and try again."),
    ("does not have a Release file", "Check the network, or name a mirror by UKPERF_{}_MIRROR, and try again."),
    ("NO_PUBKEY", "Install its keys (Debian 13: ubuntu-keyring; Ubuntu: debian-archive-keyring), and try again."),
    ("Unable to locate package", "The archive has no such package: is it complete?"),
    ("no such mirror", "Check the network."),
)


def failure(said: list[str], status: int) -> UkperfError:
    """Why mmdebstrap failed, by what it wrote."""
    for words, hint in _CAUSES:
        line = next((line for line in said if words in line), None)
        if line is not None:
            return _failed(line, hint.replace("UKPERF_{}_MIRROR", "UKPERF_DEBIAN_MIRROR or UKPERF_UBUNTU_MIRROR"))
    errors = [line for line in said if re.match(r"E: |Err", line)]
    return _failed((errors or said or [f"status {status}"])[0], "Try again; what was begun is removed.")


def _failed(line: str, hint: str) -> UkperfError:
    why = line.removeprefix("E: ").rstrip(".")
    return UkperfError(f"mmdebstrap could not build the root file system: {why}.", hint=hint)


def _finish(tree: Path, wanted: SystemWanted) -> None:
    """What makes it ours: not the packages' and not this machine's."""
    for path in (*(wanted.files or {}), *(wanted.links or {})):
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).unlink(missing_ok=True)
    for path, content in (wanted.files or {}).items():
        if isinstance(content, Path):
            _copied(content, tree / path)
            (tree / path).chmod(0o755)
        else:
            (tree / path).write_text(content)
            (tree / path).chmod(0o644)
    for path, target in (wanted.links or {}).items():
        (tree / path).symlink_to(target)


def _kernel_of(tree: Path) -> Path:
    """The newest kernel. Raises UkperfError where what is needed of a root file system is not all there."""
    there = sorted(tree.glob("boot/vmlinuz-*"))
    needed = (_STATUS, _RELEASE, f"boot/initrd.img-{there[-1].name.removeprefix('vmlinuz-')}") if there else ()
    if not there or not all((tree / path).is_file() for path in needed):
        raise UkperfError(
            "The root file system that mmdebstrap made is not whole: no kernel, no initramfs or no list of packages.",
            hint="Try again, or name another mirror.",
        )
    return there[-1]


def _copied(source: Path, target: Path) -> None:
    try:
        copy(source, target)
    except OSError as error:
        raise UkperfError(f"{source.name} cannot be copied: {reason(error)}.") from error


def _packages(tree: Path) -> list[str]:
    """name=version of all that is installed, sorted."""
    text = read_text(tree / _STATUS, _STATUS_MAX)
    fields = (dict(re.findall(r"^(Package|Version): (\S+)$", part, re.MULTILINE)) for part in text.split("\n\n"))
    return sorted(f"{one['Package']}={one['Version']}" for one in fields if len(one) == 2)


def _release(tree: Path) -> str:
    """`Debian GNU/Linux 12 (bookworm)`."""
    text = read_text(tree / _RELEASE)
    named = re.search(r'^PRETTY_NAME="?([^"\n]*)', text, re.MULTILINE)
    return clean(named.group(1), 80) if named else "?"


def _sha256(path: Path) -> str:
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class _Ticker:
    """One line on a terminal's standard error: what is done, and for how long; nothing elsewhere."""

    def __init__(self, what: str) -> None:
        self._what, self._step = what, "starting"
        self._started, self._over = time.monotonic(), threading.Event()
        self._there = sys.stderr.isatty()

    def say(self, step: str) -> None:
        self._step = step

    def __enter__(self) -> _Ticker:
        if self._there:
            threading.Thread(target=self._tick, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._there:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()

    def _tick(self) -> None:
        while not self._over.wait(_TICK_S):
            line = f"{self._what}: {self._step} ({time.monotonic() - self._started:.0f} s)"
            sys.stderr.write(f"\r\x1b[K{line[: shutil.get_terminal_size().columns - 1]}")
            sys.stderr.flush()
