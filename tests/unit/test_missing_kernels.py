"""What the first command fetches: each unikernel's newest kernel from its project's place, or one sentence instead."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from fakekernels import release, tar
from loopback import Loopback, Reply
from test_cli import Shell

from ukperf.engine import kernelprobe
from ukperf.errors import UkperfError
from ukperf.guests.missing import missing, pull_missing
from ukperf.imaging.download import Client
from ukperf.imaging.kernelstore import KernelStore, StoredKernel

ARCHIVE = "/0.1.54/nanos-release-linux-0.1.54.tar.gz"
NOWHERE = "http://127.0.0.1:1"


@pytest.fixture(autouse=True)
def nobody_is_asked(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """A data folder of the test, by `shell`, and no server that is not the test's."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for guest in missing():
        monkeypatch.setenv(f"UKPERF_{guest.name.upper()}_MIRROR", NOWHERE)


@contextmanager
def nanos_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Loopback]:
    with Loopback({"/latest.txt": Reply(b"0.1.54\n"), ARCHIVE: Reply(tar(release()))}) as server:
        monkeypatch.setenv("UKPERF_NANOS_MIRROR", server.url)
        yield server


def test_each_unikernel_is_asked_for_and_none_that_is_here() -> None:
    assert [guest.name for guest in missing()] == ["nanos", "unikraft"]
    KernelStore().add("nanos", "old", {"kernel": b"k", "boot": b"b"})
    assert [guest.name for guest in missing()] == ["unikraft"]


def test_one_is_pulled_and_the_other_is_one_sentence(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    with nanos_server(monkeypatch) as server:
        status, out, err = shell("images", "pull", "--missing", "--no-probe")
        assert status == 2
        assert err.splitlines() == [
            f"ukperf: fetching nanos's newest kernel from {server.url}",
            f"ukperf: fetching unikraft's newest kernel from {NOWHERE}",
            f"ukperf: No unikraft kernel was added: {NOWHERE}/v2/unikraft.org/base/manifests/latest could not be "
            "downloaded: no connection (2 tries).",
        ]
        assert "trusted on first use: sha256:" in out and "--version 0.1.54 --sha256" in out
        assert KernelStore().find("nanos") is not None
        asked = len(server.asked)
        status, out, _ = shell("images", "pull", "--missing", "--no-probe", "--json")
        assert len(server.asked) == asked  # it is here: nothing is fetched
    said = json.loads(out)
    assert status == 2 and (said["kernels"], [one["guest"] for one in said["refused"]]) == ([], ["unikraft"])


def test_where_nothing_is_missing_nothing_is_asked_or_said(shell: Shell) -> None:
    for guest in missing():
        KernelStore().add(guest.name, "1", {"kernel": b"k", "boot": b"b"})
    assert shell("images", "pull", "--missing") == (0, "", "")


@pytest.mark.parametrize("words", [[], ["nanos", "--missing"], ["--missing", "--version", "1"]])
def test_one_guest_or_all_that_are_missing(shell: Shell, words: list[str]) -> None:
    assert "--missing" in shell.refusal("images", "pull", *words)
    assert KernelStore().entries() == []


def test_a_kernel_that_does_not_boot_here_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    def check(entry: StoredKernel) -> bool:
        raise UkperfError(f"{entry.guest} {entry.version} did not run a program to its end: it wants RDSEED.")

    with nanos_server(monkeypatch):
        asked = pull_missing(check, lambda sentence: None)
    assert (asked[0].guest, asked[0].pull) == ("nanos", None)
    assert "RDSEED" in asked[0].reason
    assert KernelStore().entries() == []


@pytest.mark.parametrize("failure", ["", "timeout"])
def test_a_kernel_that_boots_is_kept_whatever_else_it_lacks(failure: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = kernelprobe.Found({"random": 2}, failure)
    monkeypatch.setattr(kernelprobe, "_probe", lambda entry: seen)
    said: list[str] = []
    with nanos_server(monkeypatch):
        asked = pull_missing(lambda entry: kernelprobe.check_boots(entry, said.append), lambda sentence: None)
    assert (asked[0].pull is None) == bool(failure)
    assert [sentence for sentence in said if "no random numbers" in sentence] == said
    assert len(said) == (0 if failure else 1)


def test_a_server_that_takes_connections_and_says_nothing_costs_seconds() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        started = time.monotonic()
        with pytest.raises(UkperfError, match="could not be reached: no answer within 0 seconds"):
            Client(reach_s=0.2).get(f"{url}/x", 10)
        assert time.monotonic() - started < 20  # and not READ_S


def test_a_server_that_was_reached_has_its_time() -> None:
    held = threading.Event()
    with Loopback({"/x": Reply(b"a"), "/slow": lambda _: Reply(b"b" if held.wait(1.0) is False else b"")}) as server:
        client = Client(reach_s=0.5)
        client.get(f"{server.url}/x", 10)
        assert client.get(f"{server.url}/slow", 10).body == b"b"
