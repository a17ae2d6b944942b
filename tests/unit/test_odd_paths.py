"""Folders with any name: what libvirt, QEMU and sockets are given is plain all the same, and nothing is elsewhere."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_cli import NATIVE, Shell

from ukperf import guests, paths
from ukperf.engine import plan
from ukperf.errors import HostError, UkperfError
from ukperf.guests.base import BuildOptions
from ukperf.hosts import connection, libvirt_host, ownership, places
from ukperf.hosts.domainevents import DomainEvents
from ukperf.hosts.domainxml import sayable
from ukperf.hosts.libvirt_host import LibvirtHost
from ukperf.imaging.closure import Inputs, input_key
from ukperf.imaging.python_env import Interpreter
from ukperf.model import Accelerator, BootProtocol, BootSpec, Image, Machine, Program
from ukperf.text import shell as shell_words

NAMES = {
    "space": b"a b",
    "colon": b"a:b",
    "comma": b"a,b",
    "equals sign": b"a=b",
    "percent": b"a%41b",
    "lone percent": b"100%",
    "umlaut": "aüb".encode(),
    "ampersand": b"a&b",
    "hash": b"a#b",
    "question mark": b"a?b",
    "semicolon": b"a;b",
    "line feed": b"a\nb",
    "no UTF-8": b"a\xffb",
    "control": b"a\x01b",
    "quotes": b"a'b\"c",
    "brackets": b"a<b>",
    "backslash": b"a\\b",
    "long": b"L" * 120,
}
ALL = b"".join(name for key, name in NAMES.items() if key != "long")
odd_names = pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)


@pytest.fixture
def tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What stands for /tmp."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr(places, "TMP", folder)
    return folder


def odd(folder: Path, name: bytes) -> Path:
    path = folder / os.fsdecode(name)
    path.mkdir()
    return path


@pytest.mark.parametrize("variable", ["UKPERF_CACHE_DIR", "XDG_CACHE_HOME", "HOME"])
@odd_names
def test_scratch_folders_are_plain_private_and_gone_whatever_the_cache_is_called(
    variable: str, name: bytes, tmp_path: Path, tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for other in ("UKPERF_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(other, raising=False)
    monkeypatch.setenv(variable, str(odd(tmp_path, name)))
    with ownership.scratch() as folder:
        assert paths.is_plain(folder)
        assert folder.parent.parent == tmp
        assert (folder.stat().st_mode | folder.parent.stat().st_mode) & 0o077 == 0
    assert not folder.exists()
    assert {path.name for path in tmp_path.iterdir()} == {"tmp", os.fsdecode(name)}


def test_a_short_plain_cache_has_the_scratch_folders(tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UKPERF_CACHE_DIR", "/c")
    monkeypatch.setattr(places, "make_dir", lambda path: path)
    assert places.scratch_parent("1-1") == Path("/c/embed")
    monkeypatch.setenv("UKPERF_CACHE_DIR", f"/{'c' * 60}")
    assert places.scratch_parent("1-1").parent == tmp


@odd_names
def test_libvirt_is_given_the_very_root_that_was_made(
    name: bytes, tmp_path: Path, tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UKPERF_CACHE_DIR", str(odd(tmp_path, name)))
    monkeypatch.setattr("ukperf.hosts.embed._check_user", lambda: None)
    addresses: list[str] = []

    @contextmanager
    def opened(address: str, _shown: str) -> Iterator[SimpleNamespace]:
        addresses.append(address)
        assert os.environ["LIBVIRT_LOG_OUTPUTS"].removeprefix("2:file:").count(":") == 0
        assert " " not in os.environ["LIBVIRT_LOG_OUTPUTS"]
        yield SimpleNamespace()

    monkeypatch.setattr(connection, "_open", opened)
    monkeypatch.setattr(connection, "_embedded", connection._Embedded())
    with connection.connect(connection.EMBED) as made:
        assert parse_qs(urlsplit(addresses[0]).query) == {"root": [str(made.ukperf_root)]}
        assert (made.ukperf_root / "etc" / "qemu.conf").is_file()


class Silent:
    """A connection on which nothing happens."""

    def getType(self) -> str:
        return "QEMU"

    def domainEventRegisterAny(self, *_: object) -> int:
        return 1

    def __getattr__(self, _name: str) -> Any:
        return lambda *_: None


@pytest.fixture
def embedded(tmp: Path, monkeypatch: pytest.MonkeyPatch) -> LibvirtHost:
    monkeypatch.setattr(libvirt_host, "emulator_path", lambda: "/usr/bin/qemu-system-x86_64")
    monkeypatch.setattr(libvirt_host, "load_libvirt", lambda: SimpleNamespace(libvirtError=OSError))
    monkeypatch.setattr(DomainEvents, "_listen", lambda _self: [])
    return LibvirtHost(connection.EMBED, Silent(), tmp, "run")


@odd_names
def test_a_domain_names_odd_files_by_links_to_them(name: bytes, tmp_path: Path, embedded: LibvirtHost) -> None:
    folder = odd(tmp_path, name)
    for file in ("kernel", "initrd", "disk"):
        (folder / file).write_text(file)
    image = Image(
        "unikraft",
        "boot",
        "0" * 64,
        "1" * 64,
        BootProtocol.KERNEL,
        *(folder / file for file in ("kernel", "initrd", "disk")),
    )
    spec = BootSpec(image, Machine(), Accelerator.TCG, name="ukperf-01234567-unikraft")
    xml = embedded.xml(spec)
    domain = ET.fromstring(xml)
    drive = next(word for word in xml.split('"') if word.startswith("file="))
    named = [domain.findtext("os/kernel"), domain.findtext("os/initrd"), drive.removeprefix("file=").split(",")[0]]
    assert [Path(str(path)).read_text() for path in named] == ["kernel", "initrd", "disk"]
    assert all(paths.is_plain(Path(str(path))) for path in named) or name == NAMES["long"]
    assert embedded.xml(spec) == xml  # the second boot


@pytest.mark.parametrize(
    "name", [NAMES["no UTF-8"], NAMES["line feed"], b"a\\\nb"], ids=["no UTF-8", "LF", "escaped LF"]
)
def test_a_vmm_launched_directly_gets_the_users_own_variables(
    name: bytes, embedded: LibvirtHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", f"/{os.fsdecode(name)}")

    def native(_format: str, _xml: str) -> str:
        """libvirt's text, which libvirt-python decodes."""
        return os.fsencode(f"TMPDIR={shlex.quote(os.environ['TMPDIR'])} HOME=/h qemu -nodefaults").decode("utf-8")

    monkeypatch.setattr(Silent, "domainXMLToNative", staticmethod(native), raising=False)
    image = Image("linux", "boot", "0" * 64, "1" * 64, BootProtocol.KERNEL, Path("/k"))
    command = embedded.command_line(BootSpec(image, Machine(), Accelerator.TCG, name="ukperf-01234567-linux"))
    assert dict(command.env) == {"TMPDIR": f"/{os.fsdecode(name)}", "HOME": "/h"}
    assert os.environ["TMPDIR"] == f"/{os.fsdecode(name)}"


def test_plain_files_are_named_as_they_are(tmp: Path) -> None:
    image = Image("linux", "boot", "0" * 64, "1" * 64, BootProtocol.KERNEL, Path("/boot/vmlinuz-6.1_2"))
    assert places.plainly_named(image, tmp) == image
    assert list(tmp.iterdir()) == []


@pytest.mark.parametrize("character", ["\x00", "\x01", "\x1b", "\udcff", "￾"])
def test_what_xml_cannot_say_is_refused_with_the_variable_to_set(character: str) -> None:
    with pytest.raises(HostError) as caught:
        sayable(f"<kernel>/a{character}b</kernel>", "linux")
    assert "UKPERF_CACHE_DIR" in str(caught.value.hint)
    assert sayable("<kernel>/a ü&amp;😀\n</kernel>", "linux")


def dead_owners_folder(parent: Path) -> Path:
    folder = parent / "999999999-1"
    folder.mkdir(parents=True)
    return folder


def test_strays_are_found_in_the_cache_and_where_its_path_does_not_do(
    tmp_path: Path, tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UKPERF_CACHE_DIR", str(tmp_path / "a b"))
    folders = [dead_owners_folder(parent) for parent in (tmp_path / "a b" / "embed", places.scratch_parent("1-1"))]
    monkeypatch.setenv("UKPERF_CACHE_DIR", str(tmp_path / "a b"))
    assert ownership.remove_strays() == 2
    assert not any(folder.exists() for folder in folders)


def _squat(kind: str, folder: Path) -> None:
    if kind == "file":
        folder.touch()
    elif kind == "link":
        (folder.parent / "elsewhere").mkdir(mode=0o700)
        folder.symlink_to(folder.parent / "elsewhere")
    else:
        folder.mkdir()
        folder.chmod(0o770)


@pytest.mark.parametrize("kind", ["file", "link", "open to others"])
def test_a_folder_in_tmp_that_is_not_ours_alone_is_not_used(
    kind: str, tmp_path: Path, tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UKPERF_CACHE_DIR", str(tmp_path / "a b"))
    folder = tmp / f"ukperf-{os.geteuid()}"
    _squat(kind, folder)
    with pytest.raises(UkperfError) as caught, ownership.scratch():
        pass
    assert str(folder) in caught.value.message
    assert "Set UKPERF_CACHE_DIR" in str(caught.value.hint)
    if kind != "file":
        dead_owners_folder(folder)
        assert ownership.remove_strays() == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives folders away")
def test_a_folder_in_tmp_of_another_user_is_not_used(
    tmp_path: Path, tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UKPERF_CACHE_DIR", str(tmp_path / "a b"))
    folder = places.scratch_parent("1-1")
    os.chown(folder, 4242, 4242)
    with pytest.raises(UkperfError, match="not a folder of yours alone"):
        places.scratch_parent("1-1")


@pytest.mark.parametrize("kind", ["nothing", "file"])
def test_a_tmpdir_that_is_no_folder_is_refused_before_a_guest_boots(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind == "file":
        (tmp_path / "it").touch()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "it"))
    with pytest.raises(UkperfError) as caught, libvirt_host.open_host(connection.EMBED):
        pass
    assert "Set TMPDIR" in str(caught.value.hint)


def test_a_relative_home_is_one_place_whatever_folder_a_compiler_runs_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for other in ("UKPERF_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(other, raising=False)
    monkeypatch.setenv("HOME", "rel")  # what platformdirs makes of it depends on its version
    assert paths.cache_dir().is_absolute()


def test_without_a_home_the_variable_to_set_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("UKPERF_DATA_DIR", "XDG_DATA_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)

    def unknown(_uid: int) -> None:
        raise KeyError

    monkeypatch.setattr("pwd.getpwuid", unknown)
    with pytest.raises(UkperfError, match="home folder is not known") as caught:
        paths.data_dir()
    assert caught.value.hint == "Set HOME, or UKPERF_DATA_DIR."


def test_a_current_folder_that_is_gone_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shell: Shell) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert "current folder, which is gone" in shell.refusal(*NATIVE, "--boots", "1", "--run", "here")
    monkeypatch.chdir(tmp_path)


def test_a_run_whose_every_folder_is_odd_is_a_run_like_any_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shell: Shell
) -> None:
    for variable in ("UKPERF_CACHE_DIR", "UKPERF_DATA_DIR", "TMPDIR"):
        monkeypatch.setenv(variable, str(odd(tmp_path, variable.encode() + ALL)))
    monkeypatch.chdir(odd(tmp_path, b"cwd" + ALL))
    before = set(tmp_path.iterdir())
    status, out, err = shell(*NATIVE, "--boots", "1", "--run", os.fsdecode(b"run" + ALL))
    assert (status, err) == (0, ""), err
    assert set(tmp_path.iterdir()) == before
    run = Path.cwd() / os.fsdecode(b"run" + ALL)
    assert plan.load(run).guests == ("native",)
    assert f"Run: {shell_words(run)} " in out
    for words in (["resume", str(run)], ["report", str(run), "--html"], ["export", str(run), "--format", "csv"]):
        assert shell(*words)[0] == 0, words
    assert (run / "report.html").exists()
    assert json.loads(shell(*NATIVE, "--boots", "1", "--json")[1])["run"].startswith(os.environ["UKPERF_DATA_DIR"])


def test_a_python_in_a_folder_that_is_no_utf8_has_an_identity(tmp_path: Path) -> None:
    python = odd(tmp_path, b"a\xffb") / "python"
    python.touch()
    assert len(input_key(Inputs(Interpreter(python, False, "3.11"), (), (), (), ()))) == 64


@given(st.binary(min_size=1, max_size=20).filter(lambda name: b"\0" not in name))
def test_a_shown_command_gives_the_shell_the_very_words(name: bytes) -> None:
    shown = shell_words("printf", "%s", os.fsdecode(name))
    assert shown.isprintable()
    done = subprocess.run(["bash", "-c", shown], capture_output=True, check=True)
    assert done.stdout == name


@given(st.text(st.characters(codec="ascii", exclude_categories=("C",))))
def test_a_printable_word_is_quoted_as_any_shell_takes_it(word: str) -> None:
    assert shell_words(word, "b") == shlex.join([word, "b"])


@pytest.mark.parametrize("name", ["a:b", "a;b", "a\udcffb"])
def test_a_python_tree_whose_path_its_own_environment_cannot_name_is_refused(name: str, tmp_path: Path) -> None:
    tree = tmp_path / name
    (tree / "prog").mkdir(parents=True)
    program = Program("sklearn", "ab" * 32, tree, True, ("/prog/python",), (("PYTHONHOME", "/prog"),))
    with pytest.raises(UkperfError) as caught:
        guests.get("native").build(program, BuildOptions(accelerator=Accelerator.NATIVE))
    assert "UKPERF_CACHE_DIR" in str(caught.value.hint)
