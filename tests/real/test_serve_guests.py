"""`ukperf serve` as a person types it: a little server in real guests, and what goes wrong with servers."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
from pathlib import Path

import pytest
from cprograms import compiled
from realrun import World, journal

from ukperf import guests
from ukperf.guests.base import BuildOptions
from ukperf.hosts.network import free_port
from ukperf.imaging.kernelstore import KernelStore

pytestmark = [
    pytest.mark.real,
    pytest.mark.timeout(900),
    pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler"),
]
# One connection after the other; `how` is the first argument.
SERVER = r"""
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
int main(int argc, char **argv) {
    int on = 1, server = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[2]))};
    char how = argv[1][0], data[4096];
    setsockopt(server, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (how == 'f' && fork() != 0) return 0;
    if (how == 'f') setsid();
    if (bind(server, (struct sockaddr *)&at, sizeof at) || listen(server, 64)) return 3;
    for (int answered = 0;; answered++) {
        int one = accept(server, 0, 0);
        while (recv(one, data, sizeof data, 0) > 0) {
            const char *good = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello";
            if (how == 's') { sleep(1000); }
            if (how == 'h') { send(one, good, strlen(good) - 3, MSG_NOSIGNAL); break; }
            if (how == 'e' && answered > 20) return 4;
            send(one, good, strlen(good), MSG_NOSIGNAL);
            break;
        }
        close(one);
    }
}
"""
QUICK = ("--boots", "1", "--no-retry", "--duration", "0.5", "--warmup", "0", "--rate", "20", "--connections", "1")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled(tmp_path_factory.mktemp("server") / "server", SERVER, "-fPIE", "-pie")


def failure(uk: World, server: Path, how: str, *options: str) -> str:
    """The reason of the one boot of a server that misbehaves, on this machine."""
    port = str(free_port())
    asked = ("serve", "-g", "native", *QUICK, "--timeout", "2", *options, "--port", port, "--json")
    uk.run(*asked, "--run", str(uk.path("run")), "--", str(server), how, port, status=2)
    (record,) = journal(uk.path("run"))
    assert record["outcome"] != "ok"
    with socket.socket() as probe:  # nothing of it is left
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("", int(port)))
        probe.listen(1)
    return str(record["reason"])


@pytest.mark.skipif(shutil.which("qemu-system-x86_64") is None, reason="QEMU is not installed")
def test_one_server_in_every_guest_is_asked_and_answers_alike(uk: World, server: Path) -> None:
    names = [name for name in ("native", "linux", "nanos") if guests.get(name).availability(BuildOptions()).ok]
    uk.path("data").mkdir(exist_ok=True)
    with contextlib.suppress(FileExistsError):
        uk.path("data").joinpath("kernels").symlink_to(KernelStore().root)
    port, chosen = str(free_port()), [word for name in names for word in ("-g", name)]
    asked = (*QUICK, *chosen, "--accel", "tcg", "--port", port, "--json")
    page = json.loads(uk.run("serve", *asked, "--", str(server), "good", port))
    records = journal(Path(page["run"]))
    assert {record["trial"]["guest"] for record in records} == set(names)
    for record in records:
        assert record["outcome"] == "ok", record["reason"]
        samples = {sample["benchmark"]: sample["values"][0] for sample in record["samples"]}
        assert samples["first answer"] > 0
        assert record["checks"]["first answer's body"].startswith("status 200, sha256 2cf24dba")
        assert record["checks"]["answers under load"].endswith("-5")
        assert list(Path(page["run"], "serve").glob(f"{record['trial']['index']:05d}-*.json"))
    assert any(note.startswith("Same work: every answer") for note in page["notes"])
    assert "generator took" in page["facts"]["load"]


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ("silent", "no whole answer within 2 s"),
        ("half", "half an answer: 2 of 5"),
        ("ends", "status 4"),
        ("forks", "a server is to stay in the foreground"),
    ],
)
def test_a_server_that_misbehaves_is_said_in_a_sentence_and_leaves_nothing(
    how: str, why: str, uk: World, server: Path
) -> None:
    assert why in failure(uk, server, how)


def test_a_port_in_use_is_a_sentence(uk: World, server: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen(1)
        port = str(other.getsockname()[1])
        said = uk.run("serve", "-g", "native", *QUICK, "--port", port, "--", str(server), "good", port, status=2)
    assert f"Port {port} of this machine is in use" in said
