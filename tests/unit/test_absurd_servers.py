"""Archives and servers that say absurd things: one sentence each, in bounded time and memory."""

from __future__ import annotations

import gzip
import io
import json
import socket
import subprocess
import sys
import tarfile
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fakekernels import nanos_kernel, release, tar
from hypothesis import given
from hypothesis import strategies as st
from loopback import Loopback, Reply

from ukperf.errors import UkperfError
from ukperf.imaging.archives import extract, members
from ukperf.imaging.download import Client
from ukperf.imaging.oci import OciRegistry

WANTED = {"kernel.img": 1 << 20, "boot.img": 1 << 20}

# -- archives ----------------------------------------------------------------------------------------------------------


def zeros(count: int) -> Iterator[bytes]:
    for _ in range(count >> 20):
        yield bytes(1 << 20)


def bomb(kind: bytes, size: int) -> bytes:
    """gzip of a tar whose first header (GNU long name, PAX) declares `size` bytes, and has them."""
    info = tarfile.TarInfo("x")
    info.type, info.size = kind, size
    packer = zlib.compressobj(1, wbits=31)
    head = info.tobuf(tarfile.GNU_FORMAT if kind == tarfile.GNUTYPE_LONGNAME else tarfile.PAX_FORMAT)
    return b"".join([packer.compress(head), *(packer.compress(part) for part in zeros(size)), packer.flush()])


KINDS = [tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE]


@pytest.mark.parametrize("kind", KINDS)
def test_a_header_of_half_a_gigabyte_takes_no_memory(kind: bytes, tmp_path: Path) -> None:
    """In a process with a limit on memory: tarfile alone reads the header whole."""
    (tmp_path / "bomb").write_bytes(bomb(kind, 400 << 20))
    code = (
        "import resource, sys; from pathlib import Path\n"
        "from ukperf.imaging.archives import extract; from ukperf.errors import UkperfError\n"
        "resource.setrlimit(resource.RLIMIT_AS, (300 << 20, 300 << 20))\n"
        "try: extract(Path(sys.argv[1]).read_bytes(), {}, 'it')\n"
        "except UkperfError as error: print(error)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "bomb")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout == "it has headers larger than any release's: not unpacked.\n", done.stderr


def test_many_long_headers_are_bounded_together() -> None:
    long = tar({f"{'x' * 12_000}{i}": b"" for i in range(200)})
    with pytest.raises(UkperfError, match="headers larger than any release's"):
        extract(long, {}, "it")


def test_a_usual_long_name_is_read() -> None:
    for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w:gz", format=form) as archive:
            for name in ("d/" * 60 + "x" * 90, "kernel.img", *(f"{i:0100}" for i in range(3_000))):
                info = tarfile.TarInfo(name)
                info.size = 5
                archive.addfile(info, io.BytesIO(b"bytes"))
        assert extract(out.getvalue(), WANTED, "it") == {"kernel.img": b"bytes"}


def test_an_archive_that_unpacks_to_gigabytes_is_refused() -> None:
    info = tarfile.TarInfo("padding")
    info.size = 500 << 20
    packer = zlib.compressobj(1, wbits=31)
    parts = [packer.compress(info.tobuf() * 2)]
    parts += [packer.compress(part) for part in zeros(600 << 20)]
    with pytest.raises(UkperfError, match=r"more files or bytes|unpacks to more than 512 MiB"):
        extract(b"".join([*parts, packer.flush()]), WANTED, "it")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x1f\x8b\x08",
        b"\x1f\x8b",
        b"\x1f\x8b\x08" + b"\xff" * 100,
        gzip.compress(b""),
        gzip.compress(b"x"),
        tar(release())[:-1],
        tar(release())[: len(tar(release())) // 2],
        gzip.compress(gzip.compress(b"x")),
        gzip.compress(tar(release(), compress=False)[:700]),
        b"BZh9" + b"x" * 100,
    ],
    ids=range(11),
)
def test_what_is_no_archive_is_a_sentence(data: bytes) -> None:
    with pytest.raises(UkperfError) as caught:
        found = extract(data, WANTED, "it")
        assert found == {}  # nothing in it is no fault
        raise UkperfError("it is empty")
    assert "Errno" not in str(caught.value)


@given(st.binary(max_size=2_000), st.integers(0, 10_000), st.booleans())
def test_bytes_that_change_in_an_archive_are_a_sentence_or_the_files(junk: bytes, at: int, packed: bool) -> None:
    data = bytearray(tar(release(), compress=packed))
    at %= len(data)
    data[at : at + len(junk)] = junk
    try:
        found = extract(bytes(data), WANTED, "it")
    except UkperfError:
        return
    assert set(found) <= set(WANTED)


def test_members_of_gzip_that_was_joined_are_read_one_after_the_other() -> None:
    whole = tar(release(), compress=False)
    joined = gzip.compress(whole[:1000]) + gzip.compress(whole[1000:]) + bytes(64)
    assert extract(joined, WANTED, "it")["kernel.img"] == nanos_kernel()


def test_a_content_is_never_read_past_its_end() -> None:
    data = tar({"a": b"x" * 1000, "b": b"y" * 513}, compress=False)
    found = {
        m.name: [content(700), content(700), content(700)]
        for m, content in members(io.BytesIO(data).read, "it", 1 << 20)
    }
    assert found == {"a": [b"x" * 700, b"x" * 300, b""], "b": [b"y" * 513, b"", b""]}


# -- servers -----------------------------------------------------------------------------------------------------------


@contextmanager
def raw_server(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server that says what it wants to; ended with the test."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                threading.Thread(target=one, args=(connection,), daemon=True).start()

        def one(connection: socket.socket) -> None:
            with connection:
                try:
                    connection.recv(65_536)
                    answer(connection)
                except OSError:
                    pass

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)


def client(**more: float) -> Client:
    return Client(pause=lambda _seconds: None, **more)


def says(text: bytes) -> Callable[[socket.socket], None]:
    return lambda connection: connection.sendall(text)


OK = b"HTTP/1.1 200 OK\r\n"
ABSURD = [
    OK + b"Content-Length: \xb2\r\n\r\nx",
    OK + b"Content-Length: " + b"9" * 5_000 + b"\r\n\r\nx",
    OK + b"Content-Length: -5\r\n\r\nx",
    OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nx",
    OK + b"".join(b"X-%d: y\r\n" % i for i in range(20_000)) + b"\r\n",
    OK + b"X: " + b"y" * 200_000 + b"\r\n\r\n",
    OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 70 + b"\r\nx",
    OK + b"Transfer-Encoding: chunked\r\n\r\n\xc2\xb2\r\nx",
    b"HTTP/9.9 99999 \xff\r\n\r\n",
    b"HTTP/1.1 -1 No\r\n\r\n",
    b"\x00" * 1_000,
    b"SSH-2.0-OpenSSH_9.2\r\n",
    b"",
    *(
        b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: " + target + b"\r\n\r\n"
        for target in (
            b"http://[",
            b"http://h:port/",
            b"http://h:99999999/",
            b"http://h:-1/",
            b"//",
            b"http:///x",
            b"http://\xff\xfe/",
            b"http://a\x1b[31m/" + b"x" * 5_000,
            b"http://" + b"a" * 300 + b"/",
            b"http://..../",
            b"http://a b/",
            b"http://xn--/",
            b"javascript:alert(1)",
            b"http://[::1%25\x00]/",
        )
    ),
]


@pytest.mark.parametrize("answer", ABSURD, ids=range(len(ABSURD)))
def test_an_absurd_answer_is_one_sentence(answer: bytes) -> None:
    with raw_server(says(answer)) as url:
        try:
            got = client(total_s=20.0).get(f"{url}/x", 1_000)
        except UkperfError as error:
            assert str(error).isprintable() and len(str(error)) < 1_000
            assert "Error(" not in str(error) and "object at" not in str(error)
        else:
            assert len(got.body) <= 1_000


@pytest.mark.parametrize(
    "address", ["http://[", "http://h:port/", "x" * 10, "", "http://h:99999/", "ftp://h/", "http://"]
)
def test_an_absurd_address_is_one_sentence(address: str) -> None:
    with pytest.raises(UkperfError, match=r"no address|no http or https address"):
        client().get(address, 10)


def dripping(head: bytes) -> Callable[[socket.socket], None]:
    def answer(connection: socket.socket) -> None:
        connection.sendall(head)
        while True:
            connection.sendall(b"x")
            time.sleep(0.02)

    return answer


@pytest.mark.parametrize(
    "head",
    [
        OK + b"Content-Length: 100000\r\n\r\n",
        OK + b"X-Header: ",
        b"HTTP/1.1 200 ",
        OK + b"Transfer-Encoding: chunked\r\n\r\n",
    ],
    ids=["body", "header", "status", "chunk"],
)
@pytest.mark.timeout(20)
def test_a_server_that_sends_a_byte_now_and_then_ends_with_the_pull(head: bytes) -> None:
    with raw_server(dripping(head)) as url, pytest.raises(UkperfError, match="too slow: it took more than 1 seconds"):
        Client(total_s=0.6).get(f"{url}/x", 1_000_000)


def test_the_time_is_that_of_the_whole_pull() -> None:
    asked: list[int] = []

    def slow_failure(connection: socket.socket) -> None:
        asked.append(1)
        time.sleep(0.2)
        connection.sendall(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n")

    with raw_server(slow_failure) as url:
        one = client(total_s=0.3)
        for _ in range(3):
            with pytest.raises(UkperfError, match="too slow"):
                one.get(f"{url}/x", 10)
    assert len(asked) <= 5  # not four tries each


@pytest.mark.parametrize(
    "token", ["ü", "a b", "a\r\nX: y", "a\x1b[31m", "x" * 100_000, "", 5, None, ["x"], "\ud800", "²"], ids=repr
)
def test_a_token_that_cannot_be_sent_is_refused(token: object) -> None:
    with Loopback({}) as server:
        challenge = Reply(b"", 401, {"WWW-Authenticate": f'Bearer realm="{server.url}/token"'})
        server.routes |= {
            "/v2/r/manifests/latest": challenge,
            "/token?scope=repository%3Ar%3Apull": Reply(json.dumps({"token": token}).encode()),
        }
        with pytest.raises(UkperfError, match="gave no token that can be sent back"):
            OciRegistry(client(), server.url, "r").pull("latest", "qemu", lambda _tag: None)


@pytest.mark.parametrize("realm", ["http://[", "http://h:p/", "file:///etc/passwd", "x" * 5_000, "\x1b[31m"])
def test_an_absurd_realm_is_one_sentence(realm: str) -> None:
    with (
        Loopback(
            {"/v2/r/manifests/latest": Reply(b"", 401, {"WWW-Authenticate": f'Bearer realm="{realm}"'})}
        ) as server,
        pytest.raises(UkperfError, match=r"no address|no http or https address") as caught,
    ):
        OciRegistry(client(), server.url, "r").pull("latest", "qemu", lambda _tag: None)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 1_000


@pytest.mark.parametrize(
    "document",
    [
        b"[" * 100_000,
        b"\xff",
        b"1" * 10_000,
        b"null",
        b"[]",
        b'{"manifests": 5}',
        b'{"layers": [{"digest": 5}]}',
        b'{"layers": [{"digest": "sha256:' + b"0" * 64 + b'", "size": 1e999}]}',
        b'{"manifests": [{"platform": {"os": "\\u001b[31m", "architecture": "' + b"x" * 100_000 + b'"}}]}',
    ],
    ids=range(9),
)
def test_an_absurd_manifest_is_one_sentence(document: bytes) -> None:
    with Loopback({"/v2/r/manifests/latest": Reply(document)}) as server, pytest.raises(UkperfError) as caught:
        OciRegistry(client(), server.url, "r").pull("latest", "qemu", lambda _tag: None)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 3_000
