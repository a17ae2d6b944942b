"""The two commands of the README: POSIX sh, honest about what is missing, and never more than was asked for.

The scripts run against a machine made of stand-ins: a folder that is the whole PATH. Nothing is installed.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted((ROOT / "scripts").glob("*.sh"))
SYSTEM = Path("ukperf", "doctor", "system.py")  # the knowledge of packages, which the scripts run by itself
TOOLS = (
    "basename cat dirname env find flock grep head id mkdir "
    "mktemp printf rm sed sha256sum sh sleep tail touch true uname"
)
# The file that knows packages is run by a real Python, whoever was asked to.
RUN_SYSTEM = f"""*{SYSTEM}*) exec {sys.executable} "$@" ;;"""


class Machine:
    """A checkout with the real scripts, and a PATH that holds only what a test puts there."""

    def __init__(self, folder: Path) -> None:
        self.checkout = folder / "checkout"
        self.bin = folder / "bin"
        self.home = folder / "home"
        self.calls = folder / "calls"
        self.tmp = folder / "tmp"
        for made in (self.checkout, self.bin, self.home, self.tmp):
            made.mkdir()
        shutil.copytree(ROOT / "scripts", self.checkout / "scripts", symlinks=True)
        shutil.copy(ROOT / "pyproject.toml", self.checkout)
        (self.checkout / SYSTEM).parent.mkdir(parents=True)
        shutil.copy(ROOT / SYSTEM, self.checkout / SYSTEM)
        self.of_system("os.geteuid()", "1000")
        self.drivers = folder / "usr"
        self.of_system('LIBRARIES = Path("/usr")', f"LIBRARIES = Path({str(self.drivers)!r})")
        for tool in TOOLS.split():
            found = shutil.which(tool)
            assert found, tool
            (self.bin / tool).symlink_to(found)
        self.add("id", "echo 1000")
        self.add("uname", '[ "$1" = -s ] && echo Linux || echo x86_64')

    def add(self, name: str, body: str) -> None:
        """A stand-in program that notes how it was called, then does what `body` says."""
        path = self.bin / name
        path.unlink(missing_ok=True)
        path.write_text(f'#!/bin/sh\necho "{name} $*" >>{self.calls}\n{body}\n')
        path.chmod(0o755)

    def of_system(self, old: str, new: str) -> None:
        """What is asked of the real machine by no program is said by this one."""
        path = self.checkout / SYSTEM
        text = path.read_text()
        assert old in text, old
        path.write_text(text.replace(old, new))

    def with_python(self, version: str = "3.11") -> None:
        """A python3 of the distribution that answers the scripts' questions and makes nothing."""
        new = "true" if tuple(map(int, version.split("."))) >= (3, 11) else "exit 1"
        self.add("python3", f"""case "$*" in *"sys.version_info < "*) {new} ;; {RUN_SYSTEM} esac""")

    def with_everything(self) -> None:
        """Every effect that the scripts look for, and a virtual environment that seems to work."""
        self.with_python()
        for name in (
            "qemu-system-x86_64",
            "gcc",
            "mke2fs",
            "pkg-config",
            "libvirtd",
            "ssh",
            "cpio",
            "lua5.4",
            "sqlite3",
            "strace",
            "xz",
        ):
            self.add(name, "true")
        for driver in ("qemu", "storage"):
            self.driver(driver).parent.mkdir(parents=True, exist_ok=True)
            self.driver(driver).touch()
        venv = self.checkout / ".venv" / "bin"
        venv.mkdir(parents=True)
        for name in ("python", "ukperf"):
            path = venv / name
            path.write_text(
                f'#!/bin/sh\necho "venv-{name} $*" >>{self.calls}\ncase "$*" in {RUN_SYSTEM} esac\n'
                '[ "$1" != - ] || cat >/dev/null\nexit 0\n'
            )
            path.chmod(0o755)
        self.stamp()

    def driver(self, name: str) -> Path:
        return self.drivers / "lib" / "x86" / "libvirt" / "connection-driver" / f"libvirt_driver_{name}.so"

    def stamp(self) -> None:
        with (self.checkout / "pyproject.toml").open() as project:
            digest = subprocess.run(["sha256sum"], stdin=project, capture_output=True, text=True, check=True).stdout
        (self.checkout / ".venv" / "ukperf-pyproject").write_text(digest)

    def run(self, script: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", str(self.checkout / "scripts" / script), *arguments],
            env={"PATH": str(self.bin), "HOME": str(self.home), "TMPDIR": str(self.tmp), **environment},
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            check=False,
        )

    def called(self, name: str) -> list[str]:
        """The argument lists that a stand-in was called with."""
        lines = self.calls.read_text().splitlines() if self.calls.exists() else []
        return [line.removeprefix(name).strip() for line in lines if line.split()[:1] == [name]]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_script_is_posix_sh(script: Path) -> None:
    shell = shutil.which("dash") or "sh"
    subprocess.run([shell, "-n", str(script)], check=True)


@pytest.mark.skipif(not shutil.which("shellcheck"), reason="no shellcheck on this machine")
def test_shellcheck_finds_nothing() -> None:
    command = ["shellcheck", "-x", "-P", "scripts", *map(str, SCRIPTS), ".ci/run"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout == "" and done.returncode == 0


@pytest.mark.parametrize("path", ["scripts/first-run.sh", "scripts/test.sh", ".ci/run"])
def test_a_command_of_the_readme_is_executable(path: str) -> None:
    assert (ROOT / path).stat().st_mode & stat.S_IXUSR


def test_a_machine_with_everything_gets_no_package_and_no_word(machine: Machine) -> None:
    machine.with_everything()
    machine.add("sudo", "exit 1")
    machine.add("apt-get", "exit 1")
    done = machine.run("first-run.sh", "--boots", "6")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert machine.called("apt-get") == machine.called("sudo") == []
    assert machine.called("venv-ukperf")[-2:] == ["setup --yes --quiet", "boot-time --boots 6"]


def test_offline_asks_nobody_and_is_no_word_of_the_measurement(machine: Machine) -> None:
    machine.with_everything()
    done = machine.run("first-run.sh", "--boots", "6", "--offline", "--run", "a b")
    assert (done.returncode, done.stderr) == (0, "")
    calls = [call for call in machine.called("venv-ukperf") if "--help" not in call]
    assert calls == ["setup --yes --quiet --offline", "boot-time --boots 6 --run a b"]


@pytest.mark.parametrize("gone", ["program", "python packages"])
def test_offline_ends_with_one_sentence_where_something_is_missing(machine: Machine, gone: str) -> None:
    machine.with_everything()
    machine.add("apt-get", "exit 1")
    if gone == "program":
        (machine.bin / "qemu-system-x86_64").unlink()
    else:
        (machine.checkout / ".venv" / "ukperf-pyproject").unlink()
    done = machine.run("first-run.sh", "--offline")
    assert done.returncode == 2
    assert "missing" in done.stderr and "--offline asks nobody" in done.stderr and done.stderr.count("\n") == 1
    assert machine.called("apt-get") == []
    calls = machine.called("venv-python") + machine.called("venv-ukperf")
    assert not [call for call in calls if "pip install" in call or "--yes" in call or "boot-time" in call]


@pytest.mark.parametrize(("status", "goes_on"), [(2, False), (70, True), (130, False)])
def test_a_setup_that_ends_ends_the_first_run_and_its_fault_does_not(
    machine: Machine, status: int, goes_on: bool
) -> None:
    machine.with_everything()
    ukperf = machine.checkout / ".venv" / "bin" / "ukperf"
    ukperf.write_text(ukperf.read_text().replace("exit 0", f'[ "$1" != setup ] || exit {status}'))
    done = machine.run("first-run.sh")
    assert done.returncode == (0 if goes_on else status)
    assert ("boot-time" in machine.called("venv-ukperf")) == goes_on


def test_the_second_command_hands_its_arguments_to_pytest(machine: Machine) -> None:
    machine.with_everything()
    done = machine.run("test.sh", "-k", "frames")
    assert (done.returncode, done.stderr) == (0, "")
    assert machine.called("venv-python")[-1] == "-m pytest -n 3 --durations=10 -k frames"


@pytest.mark.parametrize("status", [0, 1, 5])
def test_the_second_command_ends_as_pytest_does_and_leaves_no_temporary_file(machine: Machine, status: int) -> None:
    machine.with_everything()
    python = machine.checkout / ".venv" / "bin" / "python"
    with python.open() as script:
        body = script.read()
    python.write_text(body.replace("exit 0", f'[ "$2" != pytest ] || {{ >"$TMPDIR/left"; exit {status}; }}'))
    assert machine.run("test.sh").returncode == status
    assert list(machine.tmp.iterdir()) == []


def test_a_changed_pyproject_installs_the_python_packages_again(machine: Machine) -> None:
    machine.with_everything()
    with (machine.checkout / "pyproject.toml").open("a") as project:
        project.write("# changed\n")
    done = machine.run("test.sh")
    assert done.returncode == 0
    assert [call for call in machine.called("venv-python") if "pip install" in call and "[dev]" in call]
    machine.calls.unlink()
    machine.run("test.sh")
    assert not [call for call in machine.called("venv-python") if "pip install" in call]


def test_the_tests_get_the_linux_kernel_alone(machine: Machine) -> None:
    machine.with_everything()
    machine.run("test.sh")
    assert machine.called("venv-ukperf")[-1] == "setup --yes --quiet --guest linux"


def test_nothing_is_written_outside_checkout_and_cache(machine: Machine) -> None:
    machine.with_everything()
    machine.run("first-run.sh")
    assert sorted(path.name for path in machine.home.rglob("*")) == [".cache", "setup.log", "ukperf"]
    assert list(machine.tmp.iterdir()) == []


def test_without_root_or_sudo_one_sentence_names_the_packages(machine: Machine) -> None:
    machine.with_everything()
    (machine.bin / "qemu-system-x86_64").unlink()
    machine.add("gcc", "exit 1")
    machine.add("apt-get", "true")
    done = machine.run("first-run.sh")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "apt-get install --no-install-recommends qemu-system-x86 gcc libc6-dev" in done.stderr
    assert machine.called("apt-get") == []


def test_sudo_is_used_for_apt_alone_and_asks_for_what_is_missing_alone(machine: Machine) -> None:
    machine.with_everything()
    (machine.bin / "qemu-system-x86_64").unlink()
    machine.add("sudo", '[ "$1" != -n ] || shift; exec "$@"')
    made = machine.bin / "qemu-system-x86_64"
    machine.add("apt-get", f'case "$*" in *install*) printf "#!/bin/sh\\n" >{made}; /bin/chmod +x {made} ;; esac')
    done = machine.run("first-run.sh")
    assert done.returncode == 0, done.stderr
    assert done.stderr == "ukperf: installing qemu-system-x86 (apt)\n"
    installs = [call for call in machine.called("apt-get") if " install " in call]
    assert installs and all(call.endswith("install --no-install-recommends qemu-system-x86") for call in installs)
    assert re.search(r"DPkg::Path=/tmp/ukperf-\w+:/usr/sbin", installs[0])
    assert all(" apt-get " in call or call == "-n true" for call in machine.called("sudo"))


def test_what_only_tests_want_is_installed_for_tests_alone(machine: Machine) -> None:
    machine.with_everything()
    for name in ("ssh", "cpio"):
        (machine.bin / name).unlink()
    machine.add("sudo", '[ "$1" != -n ] || shift; exec "$@"')
    machine.add("apt-get", "true")
    assert machine.run("first-run.sh").returncode == 0
    assert machine.called("apt-get") == []
    done = machine.run("test.sh")
    assert (done.returncode, done.stderr) == (0, "ukperf: installing openssh-client cpio for the tests (apt)\n")
    assert machine.called("venv-python")[-1] == "-m pytest -n 3 --durations=10"


@pytest.mark.parametrize(("candidate", "wanted"), [("11.3.0-3", True), ("(none)", False)])
def test_libvirts_storage_driver_is_installed_for_tests_where_it_is_a_package(
    machine: Machine, candidate: str, wanted: bool
) -> None:
    machine.with_everything()
    machine.driver("storage").unlink()
    machine.add("sudo", '[ "$1" != -n ] || shift; exec "$@"')
    machine.add("apt-get", "true")
    machine.add("apt-cache", f"echo '  Candidate: {candidate}'")
    assert machine.run("test.sh").returncode == 0
    installs = [call for call in machine.called("apt-get") if " install " in call]
    assert [call.split()[-1] for call in installs] == (["libvirt-daemon-driver-storage"] if wanted else [])


@pytest.mark.parametrize("asked", [True, False])
def test_a_browser_is_installed_for_ci_alone(machine: Machine, asked: bool) -> None:
    machine.with_everything()
    machine.add("sudo", '[ "$1" != -n ] || shift; exec "$@"')
    machine.add(
        "apt-get", f'case "$*" in *chromium*) {shutil.which("cp")} {machine.bin}/cpio {machine.bin}/chromium ;; esac'
    )
    machine.add("apt-cache", "echo '  Candidate: 156.0'")
    environment = {"UKPERF_SLOW_TESTS": "1"} if asked else {}
    done = machine.run("test.sh", **environment)
    assert done.returncode == 0, done.stderr
    assert any("chromium" in call for call in machine.called("apt-get")) is asked


def test_tests_run_without_what_nobody_may_install(machine: Machine) -> None:
    machine.with_everything()
    (machine.bin / "cpio").unlink()
    machine.add("apt-get", "true")
    done = machine.run("test.sh")
    assert (done.returncode, machine.called("apt-get")) == (0, [])
    assert done.stderr == "ukperf: tests that want cpio are skipped, since nobody here may install it.\n"
    assert machine.called("venv-python")[-1] == "-m pytest -n 3 --durations=10"


def test_an_install_without_effect_is_said(machine: Machine) -> None:
    machine.with_everything()
    (machine.bin / "qemu-system-x86_64").unlink()
    machine.add("sudo", '[ "$1" != -n ] || shift; exec "$@"')
    machine.add("apt-get", "true")
    done = machine.run("first-run.sh")
    assert done.returncode == 2
    assert "what qemu-system-x86 should bring still does not work" in done.stderr
    assert machine.called("venv-ukperf") == []


def test_a_failing_install_shows_the_end_of_its_log(machine: Machine) -> None:
    machine.with_everything()
    (machine.bin / "qemu-system-x86_64").unlink()
    machine.add("sudo", '[ "$1" != -n ] || shift; exec "$@"')
    machine.add("apt-get", "echo E: no such mirror >&2; exit 100")
    done = machine.run("first-run.sh")
    assert done.returncode == 2
    assert "E: no such mirror" in done.stderr
    assert "no such mirror" in (machine.home / ".cache" / "ukperf" / "setup.log").read_text()


@pytest.mark.parametrize("version", ["3.9", "3.10"])
def test_an_old_python_gets_one_sentence(machine: Machine, version: str) -> None:
    machine.with_python(version)
    done = machine.run("first-run.sh")
    assert done.returncode == 2
    assert done.stderr.startswith("ukperf: ukperf needs Python 3.11") and done.stderr.count("\n") == 1


def test_a_newer_python_under_its_own_name_is_found(machine: Machine) -> None:
    machine.with_everything()
    shutil.rmtree(machine.checkout / ".venv")
    machine.with_python("3.9")
    (machine.bin / "python3").rename(machine.bin / "old")
    machine.with_python("3.12")
    (machine.bin / "python3").rename(machine.bin / "python3.12")
    (machine.bin / "old").rename(machine.bin / "python3")
    (machine.bin / "qemu-system-x86_64").unlink()
    assert machine.run("first-run.sh").returncode == 2
    assert [call for call in machine.called("python3") if str(SYSTEM) in call]


def test_another_processor_gets_one_sentence(machine: Machine) -> None:
    machine.add("uname", '[ "$1" = -s ] && echo Linux || echo aarch64')
    done = machine.run("first-run.sh")
    assert done.returncode == 2
    assert done.stderr == "ukperf: ukperf runs on x86-64 Linux, and this is Linux on aarch64.\n"


def test_two_setups_in_one_checkout_take_turns(machine: Machine) -> None:
    machine.with_everything()
    lock = os.open(machine.checkout / "scripts", os.O_RDONLY)
    try:
        subprocess.run(["flock", "-n", str(lock)], pass_fds=[lock], check=True)
        waiting = subprocess.Popen(
            ["sh", str(machine.checkout / "scripts" / "first-run.sh")],
            env={"PATH": str(machine.bin), "HOME": str(machine.home), "TMPDIR": str(machine.tmp)},
            stderr=subprocess.PIPE,
            text=True,
        )
        assert waiting.stderr is not None
        assert waiting.stderr.readline() == "ukperf: another setup is running in this checkout; waiting for it\n"
        assert machine.called("venv-ukperf") == []
    finally:
        os.close(lock)
    assert waiting.wait(60) == 0
    waiting.stderr.close()
    assert machine.called("venv-ukperf")[-1] == "boot-time"


@pytest.mark.parametrize(("system", "groups"), [("debian", []), ("ubuntu", ["--system kvm"])])
def test_root_gets_the_user_and_group_that_libvirts_driver_wants(
    machine: Machine, system: str, groups: list[str]
) -> None:
    machine.with_everything()
    release = machine.home.parent / "os-release"
    release.write_text(f"ID={system}\n")
    machine.of_system('Path("/etc/os-release")', f"Path({str(release)!r})")
    machine.of_system("1000", "0")
    machine.add("getent", "exit 2")
    machine.add("useradd", "true")
    machine.add("groupadd", "true")
    done = machine.run("first-run.sh")
    assert done.returncode == 0
    assert machine.called("groupadd") == groups
    assert [call.split()[-1] for call in machine.called("useradd")] == ["libvirt-qemu"]
    assert done.stderr.count("\n") == 1 + len(groups)


def test_a_user_and_group_that_exist_are_left_alone(machine: Machine) -> None:
    machine.with_everything()
    machine.of_system("1000", "0")
    machine.add("getent", "true")
    done = machine.run("first-run.sh")
    assert (done.returncode, done.stderr) == (0, "")
