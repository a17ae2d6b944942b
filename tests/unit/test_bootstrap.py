"""Building a distribution's root file system: whatever mmdebstrap does, the cache holds all of it or nothing."""

from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest

from ukperf.errors import UkperfError
from ukperf.guests import distribution
from ukperf.guests.distribution import Debian
from ukperf.imaging import bootstrap
from ukperf.imaging.cache import Cache

SBIN = "/usr/sbin:/sbin:" + os.environ["PATH"]
pytestmark = pytest.mark.skipif(shutil.which("debugfs", path=SBIN) is None, reason="e2fsprogs is not installed")

STATUS = "Package: a\nStatus: install ok installed\nVersion: 1.0-1\n\nPackage: b\nVersion: 2:3\nDescription: x\n y\n"
FILES = {
    "boot/vmlinuz-6.1.0-9-test": (b"kernel", 0o644, 0),
    "boot/initrd.img-6.1.0-9-test": (b"initrd", 0o644, 0),
    "var/lib/dpkg/status": (STATUS.encode(), 0o644, 0),
    "usr/lib/os-release": (b'PRETTY_NAME="Testing 1"\n', 0o644, 0),
    "etc/shadow": (b"secret", 0o640, 42),
    "etc/hostname": (b"builder", 0o644, 0),
    "usr/bin/su": (b"su", 0o4755, 0),
}


def archive(path: Path) -> None:
    with tarfile.open(path, "w") as tar:
        folders: set[str] = set()
        for name, (data, mode, gid) in FILES.items():
            for parent in reversed(Path(name).parents[:-1]):
                if str(parent) not in folders:
                    folders.add(str(parent))
                    info = tarfile.TarInfo(f"./{parent}")
                    info.type, info.mode = tarfile.DIRTYPE, 0o755
                    tar.addfile(info)
            info = tarfile.TarInfo(f"./{name}")
            info.size, info.mode, info.gid = len(data), mode, gid
            tar.addfile(info, io.BytesIO(data))


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in front of PATH, where tests put an mmdebstrap of their own."""
    folder = tmp_path / "tools"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{SBIN}")
    monkeypatch.setattr(bootstrap, "_PATH", f"{folder}:{SBIN}")
    monkeypatch.setattr(bootstrap, "unshare_or_root", lambda: "unshare")
    unit = tmp_path / "unit"
    unit.write_bytes(b"unit")
    monkeypatch.setattr(distribution, "own_part", lambda _cache, _source: unit)  # no compiler
    return folder


def fake(tools: Path, script: str) -> None:
    tool = tools / "mmdebstrap"
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)


@pytest.fixture
def debian(tools: Path, tmp_path: Path) -> Debian:
    return Debian(Cache(tmp_path / "cache"))


def works(tools: Path, tmp_path: Path) -> None:
    archive(tmp_path / "root.tar")
    fake(tools, f'printf "%s\\n" "$@" > {tmp_path}/words; echo "I: unpacking..." >&2; cat {tmp_path}/root.tar')


def left(debian: Debian) -> list[str]:
    there = [path for kind in ("systems", "tmp") for path in (debian.cache.root / kind).rglob("*")]
    return [str(path) for path in there if path.is_file()]


def test_the_system_is_built_once_with_its_owners_and_our_unit(tools: Path, tmp_path: Path, debian: Debian) -> None:
    works(tools, tmp_path)
    said = debian.obtain()
    assert "6.1.0-9-test" in said and "Testing 1, 2 packages of" in said
    (folder,) = (debian.cache.root / "systems").iterdir()
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        ["built.json", "initrd", "packages.txt", "system.ext4", "vmlinuz"]
    )
    assert (folder / "packages.txt").read_text() == "a=1.0-1\nb=2:3\n"
    image = folder / "system.ext4"
    check = subprocess.run(["e2fsck", "-fn", image], capture_output=True, text=True, check=False)
    assert check.returncode == 0, check.stdout

    def debugfs(words: str) -> str:
        return subprocess.run(["debugfs", "-R", words, image], capture_output=True, text=True, check=True).stdout

    assert debugfs("cat /etc/hostname") == "debian\n"
    assert "Restart=no" in debugfs("cat /etc/systemd/system/ukperf.service")
    assert "Group:    42" in debugfs("stat /etc/shadow") and "Mode:  0640" in debugfs("stat /etc/shadow")
    assert "Mode:  04755" in debugfs("stat /usr/bin/su")
    assert "Mode:  0755" in debugfs("stat /usr/lib/ukperf/unit")
    assert '"/dev/null"' in debugfs("stat /etc/systemd/system/serial-getty@ttyS0.service")
    assert "Journal" in debugfs("stats") or "has_journal" in debugfs("stats")
    fake(tools, "exit 1")
    assert debian.obtain() == said  # it is there


def test_words_of_mmdebstrap(tools: Path, tmp_path: Path, debian: Debian, monkeypatch: pytest.MonkeyPatch) -> None:
    works(tools, tmp_path)
    monkeypatch.setenv("UKPERF_DEBIAN_MIRROR", "http://mirror.example/debian")
    debian.obtain()
    words = (tmp_path / "words").read_text().splitlines()
    assert words[:2] == ["--mode=unshare", "--variant=important"]
    assert words[-2:] == ["-", "http://mirror.example/debian"]
    assert '--aptopt=Acquire::Retries "5"' in words


@pytest.mark.parametrize(
    ("script", "sentence", "hint"),
    [
        ("echo 'E: Failed to fetch http://x/y.deb  Connection timed out' >&2; exit 100", "Failed to fetch", "MIRROR"),
        ("echo 'dpkg: error: No space left on device' >&2; exit 1", "No space left", "TMPDIR"),
        ("echo 'E: strange' >&2; head -c 700 {tar}; exit 1", "strange", "Try again"),
        ("head -c 3000 {tar}", "is not whole", "Try again"),
        ("kill -9 $$", "status -9", "Try again"),
    ],
)
def test_a_build_that_fails_is_one_sentence_and_leaves_nothing(
    tools: Path, tmp_path: Path, debian: Debian, script: str, sentence: str, hint: str
) -> None:
    archive(tmp_path / "root.tar")
    fake(tools, script.replace("{tar}", str(tmp_path / "root.tar")))
    with pytest.raises(UkperfError, match=sentence) as caught:
        debian.obtain()
    assert hint in (caught.value.hint or "")
    assert left(debian) == []


def test_without_mmdebstrap_it_says_how_to_get_it(tools: Path, debian: Debian, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tools))
    with pytest.raises(UkperfError, match="which builds root file systems, is not installed") as caught:
        debian.obtain()
    assert "apt-get install mmdebstrap" in (caught.value.hint or "")


def test_without_room_nothing_is_begun(tools: Path, debian: Debian, monkeypatch: pytest.MonkeyPatch) -> None:
    fake(tools, "exit 3")
    monkeypatch.setattr(bootstrap, "ROOM_MIB", 1 << 40)
    with pytest.raises(UkperfError, match="of room while it is built"):
        debian.obtain()
    assert left(debian) == []


def test_a_build_that_is_interrupted_leaves_nothing_and_no_process(tools: Path, tmp_path: Path) -> None:
    archive(tmp_path / "root.tar")
    fake(tools, f"echo $$ > {tmp_path}/pid; head -c 3000 {tmp_path}/root.tar; exec sleep 100")
    program = (
        "import sys; from pathlib import Path; from ukperf.imaging import bootstrap;"
        "from ukperf.guests import distribution; from ukperf.imaging.cache import Cache;"
        f"distribution.own_part = lambda *_: Path({str(tmp_path / 'unit')!r});"
        f"bootstrap._PATH = {f'{tools}:{SBIN}'!r}; bootstrap.unshare_or_root = lambda: 'unshare';"
        f"distribution.Debian(Cache(Path({str(tmp_path / 'cache')!r}))).obtain()"
    )
    building = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.DEVNULL)
    unpacked = tmp_path / "cache" / "tmp"
    while not list(unpacked.glob("*/tree/boot")) or not (tmp_path / "pid").exists():
        assert building.poll() is None
        time.sleep(0.05)
    building.send_signal(signal.SIGINT)
    assert building.wait(30) != 0
    assert left(Debian(Cache(tmp_path / "cache"))) == []
    assert not Path("/proc", (tmp_path / "pid").read_text().strip()).exists()


def test_who_may_not_map_ids_is_told_what_helps(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    monkeypatch.setattr(bootstrap, "_user", lambda _uid: "nobody-at-all")
    (tmp_path / "newuidmap").write_text("#!/bin/sh\n")
    (tmp_path / "newuidmap").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{SBIN}")
    with pytest.raises(UkperfError, match="without root") as caught:
        bootstrap.unshare_or_root()
    assert "--add-subuids" in (caught.value.hint or "")
