"""What ukperf needs of the system, what of it is not here, and how that is installed: no more, and no service started.

Each need is looked for by its effect (it runs, it compiles, it is loaded), never by a note that it was installed once.
`ukperf setup` asks this module; scripts/lib.sh runs this file by itself, before there is a virtual environment. So it
imports the standard library alone.

    python3 system.py [--offline] [--log FILE] PURPOSE…
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

LIBRARIES = Path("/usr")  # libvirt's drivers are plug-ins of its library
_DRIVER_FOLDERS = ("lib/*/libvirt", "lib64/libvirt", "lib/libvirt", "local/lib/*/libvirt", "local/lib*/libvirt")
APT_LISTS = Path("/var/lib/apt/lists")
FRESH_S = 7 * 24 * 3600  # package lists of this week are good enough; older ones may name files that are gone
OS_RELEASE = Path("/etc/os-release")
LOG_TAIL = 25  # lines of the log, where something failed
# Package scripts look for these two on dpkg's path. Ours come first and start no service, so that installing QEMU or
# libvirt never leaves a daemon running; restarts of what runs already, stops and the rest go through.
STARTERS = ("invoke-rc.d", "deb-systemd-invoke")
STARTER = """#!/bin/sh
for word; do
    [ "$word" != start ] || exit 0
done
name=$(basename -- "$0")
for dir in /usr/sbin /usr/bin; do
    [ ! -x "$dir/$name" ] || exec "$dir/$name" "$@"
done
"""


class Purpose(Enum):
    """What something is needed for."""

    RUN = "run"  # ukperf
    VENV = "venv"  # to make a virtual environment
    COMPILE = "compile"  # libvirt's Python package is compiled when pip installs it
    TESTS = "tests"  # what only tests want: without it they are skipped


class Trouble(Exception):
    """One sentence that a person can act on. hint: the line to type, where there is one."""

    def __init__(self, sentence: str, hint: str = "") -> None:
        super().__init__(sentence)
        self.hint = hint


@dataclass(frozen=True)
class Need:
    """what: for people. packages: Debian's (and Ubuntu's) names of what brings it."""

    what: str
    packages: tuple[str, ...]
    here: Callable[[], bool]


@dataclass(frozen=True)
class Account:
    """A user or group of the system. why: a clause. command: what root types to add it."""

    name: str
    why: str
    command: tuple[str, ...]


# ---- what is there ----------------------------------------------------------------------------------------------


def _program(name: str) -> str | None:
    """On the path, or where root's programs are."""
    return shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")


def _works(*command: str) -> bool:
    try:
        return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def _driver(name: str) -> bool:
    """Without qemu's file qemu:///embed cannot be opened."""
    file = f"connection-driver/libvirt_driver_{name}.so"
    return any((folder / file).exists() for pattern in _DRIVER_FOLDERS for folder in LIBRARIES.glob(pattern))


def _compiler() -> bool:
    """The guests' programs are static position-independent executables, so that is what it must make."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "probe.c")
        source.write_text("int main(void) { return 0; }\n")
        return _works("gcc", "-O1", "-static-pie", "-fPIE", "-o", f"{folder}/probe", str(source))


def _python_headers() -> bool:
    return Path(sysconfig.get_path("include"), "Python.h").is_file()


def _venv_modules() -> bool:
    return all(importlib.util.find_spec(name) is not None for name in ("ensurepip", "venv"))


def _is_package(name: str) -> bool:
    """Does this distribution have it?"""
    try:
        said = subprocess.run(
            ["apt-cache", "policy", name], capture_output=True, text=True, errors="replace", check=False
        ).stdout
    except OSError:
        return False
    return any(line.strip().startswith("Candidate: ") and line.strip()[11:12].isdigit() for line in said.splitlines())


def _of_python(part: str, what: str) -> tuple[str, ...]:
    """The package with a part of this Python. An interpreter of the distribution gets what it lacks from the
    distribution; any other brings its own. Raises Trouble where that one is incomplete."""
    base = os.path.realpath(sys.executable)
    if base.startswith("/usr/bin/"):
        return (f"python{sys.version_info.major}.{sys.version_info.minor}-{part}",)
    raise Trouble(f"{base} {what}: use a complete Python.")


def _needs(purpose: Purpose) -> Iterator[Need]:
    if purpose is Purpose.RUN:
        yield Need("QEMU", ("qemu-system-x86",), lambda: _works("qemu-system-x86_64", "--version"))
        yield Need("libvirt's QEMU driver", ("libvirt-daemon-driver-qemu",), lambda: _driver("qemu"))
        yield Need("a C compiler that makes static programs", ("gcc", "libc6-dev"), _compiler)
        yield Need("mke2fs", ("e2fsprogs",), lambda: _program("mke2fs") is not None)
    elif purpose is Purpose.VENV:
        if not _venv_modules():
            packages = _of_python("venv", "cannot make virtual environments (no venv or ensurepip module)")
            yield Need("Python's venv", packages, _venv_modules)
    elif purpose is Purpose.COMPILE:
        yield Need("pkg-config", ("pkg-config",), lambda: _works("pkg-config", "--version"))
        yield Need("libvirt's headers", ("libvirt-dev",), lambda: _works("pkg-config", "--exists", "libvirt"))
        if not _python_headers():
            packages = _of_python("dev", "has no Python.h, which libvirt's Python package is compiled with")
            yield Need("Python's headers", packages, _python_headers)
    else:
        yield from _needs_of_tests()


def _needs_of_tests() -> Iterator[Need]:
    """They make hosts of their own, hold our archives against GNU's, and run programs that know nothing of ukperf."""

    def program(name: str, package: str) -> Need:
        return Need(name, (package,), lambda: _program(name) is not None)

    yield program("libvirtd", "libvirt-daemon")
    # A package of its own where libvirt's daemon comes without it; elsewhere the daemon's, which was just named.
    if not _driver("storage") and _is_package("libvirt-daemon-driver-storage"):
        yield Need("libvirt's storage driver", ("libvirt-daemon-driver-storage",), lambda: _driver("storage"))
    yield program("ssh", "openssh-client")
    for name in ("cpio", "lua5.4", "sqlite3", "strace"):
        yield program(name, name)
    yield program("xz", "xz-utils")  # sources of kernels are packed by it
    # It opens our pages, and is 300 MB: for .ci/run alone, which says this of itself.
    names = ("chromium", "chromium-browser", "google-chrome")
    if "UKPERF_SLOW_TESTS" in os.environ and not any(map(_program, names)) and _is_package("chromium"):
        yield program("chromium", "chromium")


def missing(purposes: Iterable[Purpose]) -> tuple[Need, ...]:
    """What is not here of what these purposes need. Raises Trouble where no package brings it."""
    return tuple(need for purpose in purposes for need in _needs(purpose) if not need.here())


def packages_of(needs: Iterable[Need]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(package for need in needs for package in need.packages))


def missing_accounts() -> tuple[Account, ...]:
    """As root, libvirt's QEMU driver does not load unless the user and the group that it was built for exist, although
    we have it use neither. The distributions' libvirt-daemon-system makes them, and brings a daemon with it."""
    if os.geteuid() != 0:
        return ()
    why, lacking = "without which libvirt's QEMU driver does not load for root", []
    # containers have no udev, which makes Ubuntu's group
    if "ubuntu" in OS_RELEASE.read_text().lower() and not _works("getent", "group", "kvm"):
        lacking.append(Account("group kvm", why, ("groupadd", "--system", "kvm")))
    user = "libvirt-qemu"
    if not _works("getent", "passwd", user):
        group = ("--gid", user) if _works("getent", "group", user) else ("--user-group",)
        place = ("--no-create-home", "--home-dir", "/var/lib/libvirt", "--shell", "/usr/sbin/nologin")
        lacking.append(
            Account(f"user {user}", why, ("useradd", "--system", *group, *place, "--comment", "Libvirt Qemu", user))
        )
    return tuple(lacking)


# ---- installing what is not --------------------------------------------------------------------------------------


Command = tuple[str, ...]


def step(sentence: str, attempts: Sequence[Sequence[Command]], log: Path) -> None:
    """Run the first attempt (commands in a row) that succeeds: one line on the terminal, details in the log.

    Raises Trouble where all fail, after the log's tail.
    """
    print(f"ukperf: {sentence}", file=sys.stderr, flush=True)
    for attempt in attempts:
        if all(_logged(command, log) for command in attempt):
            return
    lines = log.read_text(errors="replace").splitlines()[-LOG_TAIL:]
    print("\n".join(lines), file=sys.stderr)
    raise Trouble(f"that failed; the whole log is {log}.")


def _logged(command: Command, log: Path) -> bool:
    with log.open("ab") as out:
        try:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, check=False)
        except OSError as error:
            out.write(f"{error}\n".encode())
            return False
    return done.returncode == 0


def _as_root() -> tuple[str, ...]:
    """What goes before root's commands. sudo may ask for a password on the terminal only."""
    if os.geteuid() == 0:
        return ()
    return ("sudo",) if os.isatty(0) else ("sudo", "-n")


def may_install() -> str:
    """Empty where we may, else why not."""
    if shutil.which("apt-get") is None:
        return "this machine has no apt-get"
    if os.geteuid() == 0:
        return ""
    if shutil.which("sudo") is None:
        return "packages are missing and only root can add them"
    # here, and not in a step: it may have to ask
    asked = subprocess.run([*_as_root(), "true"], stdin=None if os.isatty(0) else subprocess.DEVNULL, check=False)
    return "packages are missing and sudo refused" if asked.returncode else ""


@contextmanager
def _no_services() -> Iterator[Path]:
    """A folder for the front of dpkg's path; in /tmp, since that is a list of paths with colons between them."""
    with tempfile.TemporaryDirectory(prefix="ukperf-", dir="/tmp") as folder:
        for name in STARTERS:
            path = Path(folder, name)
            path.write_text(STARTER)
            path.chmod(0o755)
        yield Path(folder)


def _lists_are_fresh() -> bool:
    """The folder's own time says when it was filled: the files carry the mirror's times."""
    try:
        old = time.time() - APT_LISTS.stat().st_mtime > FRESH_S
        return not old and any("_Packages" in path.name for path in APT_LISTS.iterdir())
    except OSError:
        return False


def install(packages: Sequence[str], log: Path, why: str = "") -> None:
    """With apt, as root. Raises Trouble where it fails; may_install was asked before."""
    with _no_services() as folder:
        path = f"DPkg::Path={folder}:/usr/sbin:/usr/bin:/sbin:/bin"
        quiet = ("DEBIAN_FRONTEND=noninteractive", "NEEDRESTART_SUSPEND=1")
        apt = (*_as_root(), "env", *quiet, "apt-get", "-q", "-y", "-o", "DPkg::Lock::Timeout=300", "-o", path)
        wanted = (*apt, "install", "--no-install-recommends", *packages)
        attempts = [[wanted]] if _lists_are_fresh() else []
        step(f"installing {' '.join(packages)}{why} (apt)", [*attempts, [(*apt, "update"), wanted]], log)


def install_missing(purposes: Sequence[Purpose], log: Path) -> None:
    """All that `missing` says, then a second look. Raises Trouble."""
    needs = missing(purposes)
    if not needs:
        return
    packages = packages_of(needs)
    refused = may_install()
    line = f"apt-get install --no-install-recommends {' '.join(packages)}"
    if refused and shutil.which("apt-get") is None:
        raise Trouble(f"{refused}; install what Debian calls {' '.join(packages)}, then run this again.")
    if refused:
        raise Trouble(f"{refused}: run '{line}' as root, then this again.")
    install(packages, log)
    if left := packages_of(missing(purposes)):
        installed, without = " ".join(packages), " ".join(left)
        raise Trouble(f"apt installed {installed}, yet what {without} should bring still does not work here.")


def install_for_tests(log: Path) -> None:
    """What cannot be installed is said, and its tests are skipped."""
    if needs := missing([Purpose.TESTS]):
        packages = packages_of(needs)
        if may_install():
            wanted = " ".join(packages)
            print(f"ukperf: tests that want {wanted} are skipped, since nobody here may install it.", file=sys.stderr)
        else:
            install(packages, log, " for the tests")


def add_accounts(log: Path) -> None:
    for account in missing_accounts():
        step(f"adding the system {account.name}, {account.why}", [[account.command]], log)


def main() -> int:
    parser = argparse.ArgumentParser(prog="system.py", description="Install what ukperf needs of the system.")
    parser.add_argument("--offline", action="store_true", help="nobody is asked for anything")
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("purpose", nargs="+", type=Purpose)
    asked = parser.parse_args()
    purposes = [purpose for purpose in asked.purpose if purpose is not Purpose.TESTS]
    try:
        if asked.offline and (needs := missing(purposes)):
            names = " ".join(packages_of(needs))
            raise Trouble(
                f"{names} (what Debian calls it) is missing, and --offline asks nobody: run this without it once."
            )
        install_missing(purposes, asked.log)
        if Purpose.TESTS in asked.purpose and not asked.offline:
            install_for_tests(asked.log)
        add_accounts(asked.log)
    except Trouble as trouble:
        print(f"ukperf: {trouble}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
