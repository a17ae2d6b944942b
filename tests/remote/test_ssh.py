"""QEMU guests on a host that is reached by ssh, and what ssh refuses, as one sentence with something to do."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from debpackages import CannotBuild

from remote.daemon import missing
from remote.sshd import SshHost, ssh_host
from remote.test_remote_qemu import boot
from ukperf.errors import HostError
from ukperf.hosts.libvirt_host import open_host
from ukperf.model import Outcome

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def there() -> Iterator[SshHost]:
    why = missing()
    if why is not None:
        pytest.skip(why)
    try:
        with ssh_host() as running:
            yield running
    except CannotBuild as error:
        pytest.skip(f"no sshd can be had here: {error}")


def refusal(uri: str) -> HostError:
    with pytest.raises(HostError) as caught, open_host(uri):
        pass
    assert "\n" not in caught.value.message.strip()
    return caught.value


def test_a_guest_boots_on_a_host_that_is_reached_by_ssh(there: SshHost) -> None:
    with open_host(there.ssh_uri()) as host:
        seen = boot(host, "floor")
        assert seen.outcome is Outcome.OK, f"{seen.reason}\n{seen.console_tail}"
        assert seen.bad_frames == 0
        assert host._connection.listAllDomains(0) == []


def test_a_refused_login_is_one_sentence_and_says_how_to_bring_a_key_there(there: SshHost) -> None:
    error = refusal(there.ssh_uri(key="strangers_key"))
    assert "Permission denied" in error.message
    assert error.hint == f"Bring your key there: ssh-copy-id -p {there.ssh_port} root@127.0.0.1"


def test_a_host_key_that_changed_is_one_sentence_that_does_not_say_to_accept_it(there: SshHost) -> None:
    error = refusal(there.ssh_uri(known="changed"))
    assert "REMOTE HOST IDENTIFICATION HAS CHANGED" in error.message and "@@" not in error.message
    assert error.hint == f"If you know why, forget the old key: ssh-keygen -R '[127.0.0.1]:{there.ssh_port}'"


def test_an_unknown_host_key_is_one_sentence(there: SshHost) -> None:
    error = refusal(there.ssh_uri(known="empty"))
    assert "host key is known" in error.message
    assert error.hint == f"Compare the host's key and accept it: ssh -p {there.ssh_port} root@127.0.0.1 true"


def test_an_ssh_host_without_xen_says_so(there: SshHost) -> None:
    error = refusal(there.ssh_uri(driver="xen"))
    assert "xen" in error.message.lower()
