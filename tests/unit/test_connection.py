"""What a person reads when a libvirt connection cannot be opened."""

from __future__ import annotations

from pathlib import Path

import pytest

from ukperf.errors import HostError
from ukperf.hosts import connection
from ukperf.hosts.connection import connect


def refusal(uri: str) -> HostError:
    with pytest.raises(HostError) as caught, connect(uri):
        pass
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize("uri", ["http://example/", "foo", "", "vbox:///session", "test:///default"])
def test_what_is_no_connection_to_qemu_or_xen_is_refused_before_libvirt_sees_it(uri: str) -> None:
    assert refusal(uri).message == f"{uri!r} is no libvirt connection to QEMU or Xen."


def test_a_chroot_without_sysfs_is_told_what_to_mount(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "SYSFS", tmp_path / "nothing")
    error = refusal("qemu:///embed")
    assert error.message == "/sys is not there, and without it libvirt starts no guest."
    assert "mount -t sysfs" in str(error.hint)


def test_a_port_where_nobody_listens_is_one_sentence() -> None:
    error = refusal("xen+tcp://127.0.0.1:1/")
    assert error.message.endswith("Connection refused.")
    assert "libvirtd" in str(error.hint)


@pytest.mark.parametrize(
    ("said", "hint"),
    [
        ("Host key verification failed.", "Compare the host's key and accept it: ssh me@there true"),
        ("me@there: Permission denied (publickey).", "Bring your key there: ssh-copy-id me@there"),
    ],
)
def test_what_ssh_refuses_is_passed_on_with_what_to_do(tmp_path: Path, said: str, hint: str) -> None:
    ssh = tmp_path / "ssh"
    ssh.write_text(f"#!/bin/sh\nhead -c 4 >/dev/null\necho '{said}' >&2\nexit 255\n")
    ssh.chmod(0o755)
    error = refusal(f"qemu+ssh://me@there/system?command={ssh}")
    assert said.rstrip(".") in error.message
    assert error.hint == hint


def test_the_frame_of_signs_around_sshs_warning_is_not_the_sentence(tmp_path: Path) -> None:
    ssh = tmp_path / "ssh"
    frame = "@" * 59
    warning = f"{frame}\n@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\n{frame}\nIT IS POSSIBLE …"
    (tmp_path / "warning").write_text(warning)
    ssh.write_text(f"#!/bin/sh\nhead -c 4 >/dev/null\ncat {tmp_path}/warning >&2\nexit 255\n")
    ssh.chmod(0o755)
    error = refusal(f"qemu+ssh://me@there/system?command={ssh}")
    assert error.message.endswith("WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED.")
    assert error.hint == "If you know why, forget the old key: ssh-keygen -R 'there'"
