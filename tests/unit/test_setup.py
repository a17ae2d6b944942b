"""`ukperf setup`: does for an installed ukperf what the first command does for a checkout, and asks before root acts.

It runs against a machine made of stand-ins: a folder that is the whole PATH. Nothing is installed.
"""

from __future__ import annotations

import ast
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from test_cli import Shell
from test_scripts import TOOLS

from ukperf import guests, signals
from ukperf.doctor import checks, preparing, system
from ukperf.doctor.system import Need
from ukperf.errors import UkperfError
from ukperf.guests.base import Guest
from ukperf.guests.missing import missing
from ukperf.hosts.libvirt_host import EMULATOR

ROOT = Path(__file__).resolve().parents[2]
NOWHERE = "http://127.0.0.1:1"
HERE = (EMULATOR, "gcc", "mke2fs", "getent")


class Machine:
    """A PATH that holds only what a test puts there, for a user that is not root."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.bin, self.calls = folder / "bin", folder / "calls"
        self.bin.mkdir()
        self.driver = folder / "usr/lib/x86/libvirt/connection-driver/libvirt_driver_qemu.so"
        self.driver.parent.mkdir(parents=True)
        self.driver.touch()
        for tool in TOOLS.split():
            (self.bin / tool).symlink_to(shutil.which(tool) or tool)
        for name in HERE:
            self.add(name, "true")
        patch.setenv("PATH", str(self.bin))
        patch.setattr(system, "LIBRARIES", folder / "usr")
        patch.setattr(os, "geteuid", lambda: 1000)

    def add(self, name: str, body: str) -> Path:
        path = self.bin / name
        path.write_text(f'#!/bin/sh\necho "{name} $*" >>{self.calls}\n{body}\n')
        path.chmod(0o755)
        return path

    def without_qemu(self, apt: str = "") -> None:
        """apt-get brings it, unless it does something else."""
        path = self.bin / EMULATOR
        path.unlink()
        brings = f'case "$*" in *install*) printf "#!/bin/sh\\n" >{path}; /bin/chmod +x {path} ;; esac'
        self.add("apt-get", apt or brings)

    def with_sudo(self) -> None:
        self.add("sudo", '[ "$1" != -n ] || shift; exec "$@"')

    def called(self, name: str) -> list[str]:
        lines = self.calls.read_text().splitlines() if self.calls.exists() else []
        return [line.removeprefix(name).strip() for line in lines if line.split()[:1] == [name]]


@pytest.fixture
def machine(tmp_path: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Its Linux kernel is there, and no server that is not the test's is asked for the others."""
    for guest in missing():
        monkeypatch.setenv(f"UKPERF_{guest.name.upper()}_MIRROR", NOWHERE)
    monkeypatch.setattr(Guest, "fetches", property(lambda self: False))
    monkeypatch.setattr(preparing, "pull_missing", lambda check, say, of: ())
    return Machine(tmp_path, monkeypatch)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def nothing_to_do(diagnosis: checks.Diagnosis) -> Callable[..., checks.Diagnosis]:
    return lambda uri: diagnosis


@pytest.fixture
def able(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "diagnose", nothing_to_do(checks.Diagnosis("", (), None, None, ())))


def test_nothing_missing_is_said_and_what_to_type_next(machine: Machine, shell: Shell, able: None) -> None:
    assert shell("setup", "--dry-run", "-g", "linux") == (0, "Nothing is missing.\n", "")
    status, out, err = shell("setup")
    assert (status, err) == (0, "")
    assert out.splitlines()[-1] == "Type next: ukperf boot-time"


def test_what_cannot_run_afterwards_is_status_2_with_its_reason(
    machine: Machine, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = checks.Check("disk", checks.State.MISSING, "It cannot be written.", "Set XDG_CACHE_HOME.")
    monkeypatch.setattr(checks, "diagnose", nothing_to_do(checks.Diagnosis("", (gone,), None, None, ())))
    status, out, _ = shell("setup")
    assert status == 2
    assert "disk: It cannot be written. Set XDG_CACHE_HOME." in out and "Type next: ukperf doctor" in out
    assert json.loads(shell("setup", "--json")[1])["ok"] is False


def test_a_dry_run_says_each_step_and_does_nothing(machine: Machine, shell: Shell) -> None:
    machine.without_qemu()
    machine.driver.unlink()
    status, out, err = shell("setup", "--dry-run")
    assert (status, err) == (0, "")
    packages = "qemu-system-x86 libvirt-daemon-driver-qemu"
    assert out.splitlines()[0] == f"would install {packages} with apt: QEMU, libvirt's QEMU driver"
    assert f"would fetch nanos's newest kernel from {NOWHERE}" in out
    assert json.loads(shell("setup", "--dry-run", "--json")[1])["packages"] == packages.split()
    assert machine.called("apt-get") == machine.called("sudo") == []


def test_in_a_pipe_without_yes_the_line_to_type_is_printed_and_nothing_is_done(machine: Machine, shell: Shell) -> None:
    machine.without_qemu()
    machine.with_sudo()
    err = shell.refusal("setup")
    assert "Missing here: QEMU." in err
    assert "sudo apt-get install --no-install-recommends qemu-system-x86 " in err
    assert machine.called("apt-get") == machine.called("sudo") == []


@pytest.mark.parametrize(("answer", "installs"), [("y\n", True), ("\n", True), ("n\n", False), ("", False)])
def test_on_a_terminal_somebody_is_asked(
    machine: Machine, shell: Shell, able: None, monkeypatch: pytest.MonkeyPatch, answer: str, installs: bool
) -> None:
    machine.without_qemu()
    machine.with_sudo()
    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    monkeypatch.setattr("ukperf.text.CleanStream.isatty", lambda self: True, raising=False)
    status, _, err = shell("setup")
    assert "Install 1 package (qemu-system-x86)?" in err
    assert status == (0 if installs else 2)
    assert ("Nothing was installed." in err) is not installs
    assert bool(machine.called("apt-get")) == installs


def test_interrupting_the_question_is_an_interrupt(
    machine: Machine, shell: Shell, able: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(question: str, **more: object) -> bool:
        monkeypatch.setattr(signals, "_arrived", [signal.SIGINT])
        raise typer.Abort

    machine.without_qemu()
    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr("ukperf.text.CleanStream.isatty", lambda self: True, raising=False)
    monkeypatch.setattr(typer, "confirm", interrupted)
    status, _, err = shell("setup")
    assert status == 130 and err.splitlines()[-1] == "ukperf: Interrupted."


def test_with_yes_sudo_is_used_for_apt_alone_and_no_service_is_started(
    machine: Machine, shell: Shell, able: None
) -> None:
    machine.without_qemu()
    machine.with_sudo()
    status, _, err = shell("setup", "--yes")
    assert (status, err) == (0, "ukperf: installing qemu-system-x86 (apt)\n")
    installs = [call for call in machine.called("apt-get") if " install " in call]
    assert installs and all(call.endswith("install --no-install-recommends qemu-system-x86") for call in installs)
    assert "DPkg::Path=/tmp/ukperf-" in installs[0]
    assert all(" apt-get " in call or call == "-n true" for call in machine.called("sudo"))


@pytest.mark.parametrize("sudo", [True, False])
def test_who_may_not_install_is_told_what_root_types(machine: Machine, shell: Shell, sudo: bool) -> None:
    machine.without_qemu()
    if sudo:
        machine.add("sudo", "exit 1")
    err = shell.refusal("setup", "--yes")
    assert ("sudo refused" in err) == sudo
    assert "As root: sudo apt-get install --no-install-recommends qemu-system-x86" in err


def test_offline_only_looks(machine: Machine, shell: Shell, able: None) -> None:
    assert shell("setup", "--offline", "--quiet") == (0, "", "")
    machine.without_qemu()
    machine.with_sudo()
    assert "qemu-system-x86 is missing, and --offline asks nobody" in shell.refusal("setup", "--offline", "--yes")
    needs = (Need("one", ("first",), lambda: False), Need("two", ("second",), lambda: False))
    lacking = preparing.Lacking(needs, (), (), ())
    with pytest.raises(UkperfError, match="first, second are missing"):
        preparing.refuse_offline(lacking)
    assert machine.called("apt-get") == []


def test_the_linux_kernel_is_got_and_offline_is_missed(
    machine: Machine, shell: Shell, able: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    got: list[str] = []
    monkeypatch.setattr(Guest, "fetches", property(lambda self: self.name == "linux"))
    monkeypatch.setattr(type(guests.get("linux")), "obtain", lambda self: got.append(self.name) or "here")
    err = shell.refusal("setup", "--offline", "-g", "linux")
    assert "the linux guest's kernel is missing" in err and not got
    status, out, err = shell("setup", "-q", "-g", "linux")
    assert (status, out) == (0, "")
    assert err == "ukperf: getting the linux guest's kernel (apt, into your cache)\n"
    assert got == ["linux"]


def test_root_is_told_of_the_account_that_libvirts_driver_wants(
    machine: Machine, shell: Shell, able: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(system, "OS_RELEASE", tmp_path / "os-release")
    (tmp_path / "os-release").write_text("ID=debian\n")
    made = tmp_path / "made"
    machine.add("getent", f"[ -e {made} ]")
    machine.add("useradd", f": >{made}")
    typed = shell.refusal("setup").partition("sudo ")[2].partition("   (or")[0]
    subprocess.run(["sh", "-c", typed.replace("useradd", f"{machine.bin}/useradd")], check=True)
    assert machine.called("useradd")[-1].endswith("--comment Libvirt Qemu libvirt-qemu")
    made.unlink()
    assert shell("setup", "--yes", "-q")[0] == 0
    assert [call.split()[-1] for call in machine.called("useradd")] == ["libvirt-qemu"] * 2
    assert shell("setup", "--dry-run", "-g", "linux")[1] == "Nothing is missing.\n"


def test_a_failing_install_shows_the_end_of_its_log(machine: Machine, shell: Shell, cache: Path) -> None:
    machine.without_qemu("echo E: no such mirror; exit 100")
    machine.with_sudo()
    status, out, err = shell("setup", "--yes")
    assert (status, out) == (2, "")
    assert f"the whole log is {cache}/setup.log" in err
    assert "no such mirror" in (cache / "setup.log").read_text()


def test_an_install_without_effect_is_said(machine: Machine, shell: Shell) -> None:
    machine.without_qemu("true")
    machine.with_sudo()
    status, _, err = shell("setup", "--yes")
    assert status == 2
    assert "what qemu-system-x86 should bring still does not work here" in err


def test_where_there_is_no_apt_the_names_are_said(machine: Machine, shell: Shell) -> None:
    (machine.bin / EMULATOR).unlink()
    assert "This machine has no apt-get." in shell.refusal("setup", "--yes")


def test_another_processor_gets_one_sentence(machine: Machine, shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    there = os.uname_result(("Linux", "host", "6.1", "#1", "aarch64"))
    monkeypatch.setattr(os, "uname", lambda: there)
    assert shell.refusal("setup") == "ukperf: ukperf runs on x86-64 Linux, and this is Linux on aarch64.\n"


# ---- the part that runs by itself --------------------------------------------------------------------------------


def test_the_file_that_the_scripts_run_imports_the_standard_library_alone() -> None:
    tree = ast.parse((ROOT / "ukperf" / "doctor" / "system.py").read_text())
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert names - {"__future__"} and {name.split(".")[0] for name in names} <= sys.stdlib_module_names


@pytest.mark.parametrize(("part", "package"), [("venv", "python3.11-venv"), ("dev", "python3.11-dev")])
def test_a_distributions_python_is_completed_by_the_distribution(
    part: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "version_info", _Version())
    monkeypatch.setattr(os.path, "realpath", lambda path: "/usr/bin/python3.11")
    assert system._of_python(part, "lacks it") == (package,)
    monkeypatch.setattr(os.path, "realpath", lambda path: "/opt/python/bin/python3")
    with pytest.raises(system.Trouble, match="use a complete Python"):
        system._of_python(part, "lacks it")


class _Version:
    major, minor = 3, 11


def test_package_lists_are_fresh_for_a_week(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lists = tmp_path / "lists"
    monkeypatch.setattr(system, "APT_LISTS", lists)
    assert not system._lists_are_fresh()
    lists.mkdir()
    assert not system._lists_are_fresh()
    (lists / "mirror_Packages").touch()
    assert system._lists_are_fresh()
    old = time.time() - 8 * 24 * 3600
    os.utime(lists, (old, old))
    assert not system._lists_are_fresh()


@pytest.mark.parametrize("name", system.STARTERS)
def test_an_install_starts_no_service(name: str) -> None:
    with system._no_services() as folder:
        path = folder / name
        started = subprocess.run([path, "start", "no-such.service"], check=False)
        assert started.returncode == 0
    assert not folder.exists()


# ---- hints -------------------------------------------------------------------------------------------------------


def texts(path: Path) -> list[tuple[int, str]]:
    """Every text of a module that is no docstring."""
    tree = ast.parse(path.read_text())
    doc = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    return [
        (node.lineno, node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in doc
    ]


OF_A_CHECKOUT = ("scripts/", "first-run", "test.sh", ".ci/", "checkout", "pip install -e")
PACKAGES_NAMED_IN = {"hints.py", "doctor/system.py"}


def test_no_hint_names_what_only_a_checkout_has() -> None:
    """An installed ukperf has no scripts. (Part of Debian's initramfs-tools is called so, too.)"""
    said = [
        f"{path.relative_to(ROOT)}:{line}: {text}"
        for path in (ROOT / "ukperf").rglob("*.py")
        for line, text in texts(path)
        if any(word in text for word in OF_A_CHECKOUT) and not text.startswith("etc/initramfs-tools/")
    ]
    assert said == []


def test_packages_are_worded_in_one_place() -> None:
    said = {
        str(path.relative_to(ROOT / "ukperf"))
        for path in (ROOT / "ukperf").rglob("*.py")
        for _, text in texts(path)
        if "apt install" in text or "apt-get install" in text
    }
    assert said == PACKAGES_NAMED_IN
