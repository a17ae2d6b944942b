"""Pulling kernels from servers that do what servers do, and worse; a failed pull leaves the store as it was."""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Callable
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from fakekernels import nanos_kernel, release, tar, unikraft_kernel
from hypothesis import given, settings
from hypothesis import strategies as st
from loopback import Loopback, Reply, Route

from ukperf import guests
from ukperf.errors import UkperfError
from ukperf.guests.stored import Pull, StoredGuest
from ukperf.imaging.archives import extract
from ukperf.imaging.download import REDIRECTS, TRIES, Client
from ukperf.imaging.kernelstore import KernelStore

NANOS = {"mirror": "http://127.0.0.1:9", "archive": "{version}/n-{version}.tar.gz", "latest": "latest.txt", "pins": {}}
UNIKRAFT = {"mirror": "http://127.0.0.1:9", "repository": "unikraft.org/base", "latest": "latest", "pins": {}}
ARCHIVE = "/0.1.54/n-0.1.54.tar.gz"


@pytest.fixture
def store(tmp_path: Path) -> KernelStore:
    store = KernelStore(tmp_path / "store")
    store.add("nanos", "old", {"kernel": b"k", "boot": b"b"})
    return store


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "UKPERF_NANOS_MIRROR", "UKPERF_UNIKRAFT_MIRROR"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def state(store: KernelStore) -> dict[str, bytes]:
    files = (path for path in store.root.rglob("*") if path.is_file())
    return {str(path.relative_to(store.root)): path.read_bytes() for path in files}


def client(**extra: Any) -> Client:
    return Client(pause=lambda seconds: None, **extra)


def of(name: str, store: KernelStore, **extra: Any) -> StoredGuest:
    """The guest with this store, and a recipe that names the test's servers."""
    guest = guests.of_store(name)
    guest.store = store
    guest.recipe = replace(guest.recipe, extra={**(NANOS if name == "nanos" else UNIKRAFT), **extra})
    return guest


def get(
    guest: str, store: KernelStore, url: str, version: str | None = None, sha256: str | None = None, **extra: Any
) -> Pull:
    return of(guest, store, **extra).pull(version=version, mirror=url, sha256=sha256, client=client())


# nanos: one tarball


def test_the_newest_release_is_pulled_into_the_store(store: KernelStore) -> None:
    archive = tar(release())
    with Loopback({"/latest.txt": Reply(b"0.1.54\n"), ARCHIVE: Reply(archive)}) as server:
        pulled = get("nanos", store, server.url)
        assert pulled.entry.source == f"{server.url}{ARCHIVE}"
    assert pulled.first_use
    assert (pulled.entry.version, pulled.entry.pinned) == ("0.1.54", False)
    assert pulled.entry.source_digest == hashlib.sha256(archive).hexdigest()
    assert pulled.entry.path("kernel").read_bytes() == nanos_kernel()
    assert store.find("nanos") == pulled.entry


def test_a_pinned_release_must_have_its_digest(store: KernelStore) -> None:
    archive = tar(release())
    digest = hashlib.sha256(archive).hexdigest()
    with Loopback({ARCHIVE: Reply(archive)}) as server:
        before = state(store)
        with pytest.raises(UkperfError, match=f"sha256:{digest}, and not sha256:0000"):
            get("nanos", store, server.url, "0.1.54", pins={"0.1.54": "0" * 64})
        assert state(store) == before
        pulled = get("nanos", store, server.url, "0.1.54", pins={"0.1.54": digest})
    assert pulled.entry.pinned
    assert not pulled.first_use


def test_a_digest_that_the_user_gives_is_a_pin(store: KernelStore) -> None:
    archive = tar(release())
    digest = hashlib.sha256(archive).hexdigest()
    with Loopback({"/latest.txt": Reply(b"0.1.54\n"), ARCHIVE: Reply(archive)}) as server:
        before = state(store)
        with pytest.raises(UkperfError, match=f"sha256:{digest}, and not sha256:2222"):
            get("nanos", store, server.url, sha256="2" * 64)
        with pytest.raises(UkperfError, match="recipe has sha256:3333"):
            get("nanos", store, server.url, sha256=digest, pins={"0.1.54": "3" * 64})
        with pytest.raises(UkperfError, match="abc is no sha256"):
            get("nanos", store, server.url, sha256="abc")
        assert state(store) == before
        pulled = get("nanos", store, server.url, sha256=f"sha256:{digest.upper()}")
    assert pulled.entry.pinned
    assert not pulled.first_use


def test_a_release_that_changed_since_its_first_use_is_refused(store: KernelStore) -> None:
    changed = {**release(), "kernel.img": nanos_kernel(b"changed")}
    with Loopback({ARCHIVE: [Reply(tar(release())), Reply(tar(release())), Reply(tar(changed))]}) as server:
        assert get("nanos", store, server.url, "0.1.54").first_use
        assert not get("nanos", store, server.url, "0.1.54").first_use
        before = state(store)
        with pytest.raises(UkperfError, match="There is another"):
            get("nanos", store, server.url, "0.1.54")
        assert state(store) == before


def test_the_mirror_can_be_named_by_the_environment(store: KernelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    with Loopback({ARCHIVE: Reply(tar(release()))}) as server:
        monkeypatch.setenv("UKPERF_NANOS_MIRROR", f"{server.url}/")
        assert of("nanos", store).pull(version="0.1.54", client=client()).entry.version == "0.1.54"


def test_a_500_and_then_an_answer_is_an_answer(store: KernelStore) -> None:
    with Loopback({ARCHIVE: [Reply(b"", 500), Reply(b"", 503), Reply(tar(release()))]}) as server:
        assert get("nanos", store, server.url, "0.1.54").entry.version == "0.1.54"
        assert len(server.asked) == 3


def link(kind: bytes, name: str = "kernel.img") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, "/etc/passwd"
    return info


def huge(name: str, size: int) -> bytes:
    """A tar archive whose one member declares a size that it has not."""
    info = tarfile.TarInfo(name)
    info.size = size
    return info.tobuf(tarfile.GNU_FORMAT)


bad_answers: list[tuple[str, Route, str]] = [
    ("truncated body", Reply(tar(release())[:-10], declared=len(tar(release()))), "10 bytes too early"),
    ("truncated archive", Reply(tar(release())[:-200]), "no sound tar archive|ends in the middle"),
    ("no archive", Reply(b"<html>welcome to the hotel's network</html>"), "no sound tar archive"),
    ("not found", Reply(b"", 404), "the server answered 404"),
    ("always 500", Reply(b"", 500), f"the server answered 500 .{TRIES} tries"),
    ("redirect loop", Reply(b"", 302, {"Location": ARCHIVE}), f"more than {REDIRECTS} redirects"),
    ("redirect to a file", Reply(b"", 302, {"Location": "file:///etc/passwd"}), "no http or https address"),
    ("10 GB declared", Reply(b"", declared=10_000_000_000), "10,000,000,000 bytes; more than"),
    ("10 GB declared inside", Reply(huge("kernel.img", 10_000_000_000)), "more files or bytes than any release"),
    ("200 MB kernel declared", Reply(huge("kernel.img", 200 << 20)), "more than it can have"),
    ("parent path", Reply(tar({**release(), "../x": b"x"})), "holds the path"),
    ("parent path inside", Reply(tar({**release(), "klibs/../../x": b"x"})), "holds the path"),
    ("absolute path", Reply(tar({**release(), "/etc/passwd": b"x"})), "holds the path"),
    ("symlink", Reply(tar({**release(), "kernel.img": link(tarfile.SYMTYPE)})), "is a link or a device"),
    ("hard link elsewhere", Reply(tar({**release(), "z": link(tarfile.LNKTYPE, "z")})), "is a link or a device"),
    ("device", Reply(tar({**release(), "z": link(tarfile.CHRTYPE, "z")})), "is a link or a device"),
    ("a directory as the kernel", Reply(tar({**release(), "kernel.img": link(tarfile.DIRTYPE)})), "no plain file"),
    ("no boot image", Reply(tar({"kernel.img": nanos_kernel()})), r"has no boot\.img in it"),
    ("another kernel", Reply(tar({**release(), "kernel.img": b"\x7fELF"})), "no nanos kernel"),
]


@pytest.mark.parametrize(
    ("route", "sentence"), [case[1:] for case in bad_answers], ids=[case[0] for case in bad_answers]
)
def test_a_bad_release_is_one_sentence_and_leaves_the_store(store: KernelStore, route: Route, sentence: str) -> None:
    before = state(store)
    with Loopback({ARCHIVE: route}) as server, pytest.raises(UkperfError, match=sentence):
        get("nanos", store, server.url, "0.1.54")
    assert state(store) == before


def test_a_newest_version_that_is_no_version_is_refused(store: KernelStore) -> None:
    for text in (b"../../x", b"<html>", b"\xff\xfe", b""):
        with Loopback({"/latest.txt": Reply(text)}) as server, pytest.raises(UkperfError, match="no version"):
            get("nanos", store, server.url)


def test_a_body_that_goes_on_past_its_bound_is_cut(store: KernelStore) -> None:
    with Loopback({"/x": Reply(b"x" * 5000, declared=None)}) as server:
        with pytest.raises(UkperfError, match="said to have 5,000 bytes"):
            client().get(f"{server.url}/x", 4999)
        assert client().get(f"{server.url}/x", 5000).sha256 == hashlib.sha256(b"x" * 5000).hexdigest()


def test_a_body_without_a_declared_length_is_bounded_too() -> None:
    def chunked(request: BaseHTTPRequestHandler) -> Reply:
        request.protocol_version = "HTTP/1.0"
        request.wfile.write(b"HTTP/1.0 200 OK\r\n\r\n" + b"x" * 100_000)
        request.wfile.flush()
        raise ConnectionAbortedError

    with Loopback({"/x": chunked}) as server:
        server.server.handle_error = lambda *_: None  # type: ignore[method-assign, assignment]
        with pytest.raises(UkperfError, match="more than the 1,000 bytes"):
            client().get(f"{server.url}/x", 1000)


def test_a_slow_pull_ends() -> None:
    with Loopback({"/x": Reply(b"x")}) as server, pytest.raises(UkperfError, match=r"too slow|time is up"):
        client(total_s=-1.0).get(f"{server.url}/x", 10)


def test_credentials_do_not_follow_a_redirect_to_another_host() -> None:
    seen: list[str | None] = []

    def note(request: BaseHTTPRequestHandler) -> Reply:
        seen.append(request.headers.get("Authorization"))
        return Reply(b"ok")

    with Loopback({"/blob": note}) as other:
        away = Reply(b"", 307, {"Location": f"{other.url}/blob"})
        with Loopback({"/x": away, "/near": Reply(b"", 307, {"Location": "/seen"}), "/seen": note}) as server:
            headers = {"Authorization": "Bearer secret"}
            client().get(f"{server.url}/x", 10, headers=headers)
            client().get(f"{server.url}/near", 10, headers=headers)
    assert seen == [None, "Bearer secret"]


@given(st.binary(max_size=3000))
@settings(max_examples=60, deadline=None)
def test_any_bytes_are_an_archive_or_one_sentence(data: bytes) -> None:
    try:
        extract(data, {"kernel.img": 1000}, "x")
    except UkperfError as error:
        assert "x" in error.message


# unikraft: an OCI registry


def sha(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


class Image:
    """The documents of an image as a registry serves them; a test bends them before routes()."""

    def __init__(self, kernel: bytes | None = None) -> None:
        self.repository = "/v2/unikraft.org/base"
        self.layer = tar({"unikraft/bin/kernel": kernel or unikraft_kernel(), "x/y": b"1"}, compress=False)
        self.annotations: dict[str, str] = {"org.unikraft.kernel.image": "/unikraft/bin/kernel"}
        self.platform = {"os": "qemu", "architecture": "x86_64"}
        self.bend: Callable[[dict[str, Any]], None] = lambda manifest: None

    def routes(self, tag: str = "latest") -> dict[str, Route]:
        other = tar({"other": b"x"}, compress=False)
        described = {"digest": sha(self.layer), "size": len(self.layer), "annotations": self.annotations}
        manifest: dict[str, Any] = {
            "schemaVersion": 2,
            "layers": [{"digest": sha(other), "size": len(other)}, described],
        }
        self.bend(manifest)
        self.manifest = json.dumps(manifest).encode()
        entries = [
            {"digest": sha(b"fc"), "platform": {"os": "fc", "architecture": "x86_64"}},
            {"digest": sha(b"arm"), "platform": {"os": "qemu", "architecture": "arm64"}},
            {"digest": sha(self.manifest), "platform": self.platform},
        ]
        self.index = json.dumps({"schemaVersion": 2, "manifests": entries}).encode()
        return {
            f"{self.repository}/manifests/{tag}": Reply(self.index, headers={"Docker-Content-Digest": sha(self.index)}),
            f"{self.repository}/manifests/{sha(self.manifest)}": Reply(self.manifest),
            f"{self.repository}/blobs/{sha(self.layer)}": Reply(self.layer),
            f"{self.repository}/blobs/{sha(other)}": Reply(other),
        }


def behind_token(server: Loopback, routes: dict[str, Route], token: str = "t0ken") -> None:
    """Puts routes behind a bearer token that /auth gives."""

    def guard(reply: Reply) -> Callable[[BaseHTTPRequestHandler], Reply]:
        def answer(request: BaseHTTPRequestHandler) -> Reply:
            if request.headers.get("Authorization") == f"Bearer {token}":
                return reply
            scope = "repository:unikraft.org/base:pull"
            challenge = f'Bearer realm="{server.url}/auth",service="registry",scope="{scope}"'
            return Reply(b"{}", 401, {"WWW-Authenticate": challenge})

        return answer

    for path, reply in routes.items():
        assert isinstance(reply, Reply)
        server.routes[path] = guard(reply)
    asked = "/auth?service=registry&scope=repository%3Aunikraft.org%2Fbase%3Apull"
    server.routes[asked] = Reply(json.dumps({"token": token}).encode())


def test_a_kernel_is_pulled_from_a_registry_that_wants_a_token(store: KernelStore) -> None:
    image = Image()
    with Loopback({}) as server:
        behind_token(server, image.routes())
        pulled = get("unikraft", store, server.url)
    assert pulled.entry.version == "0.16.3~e453b74a"  # what `latest` is today
    assert pulled.entry.source_digest == sha(image.manifest).removeprefix("sha256:")
    assert pulled.entry.path("kernel").read_bytes() == unikraft_kernel()
    assert pulled.first_use


def test_a_manifest_without_an_index_and_a_compressed_layer_without_a_mark_are_understood(store: KernelStore) -> None:
    image = Image()
    image.layer = tar({"./unikraft/bin/kernel": unikraft_kernel()})
    image.annotations = {}
    routes = image.routes("0.17.0")
    routes[f"{image.repository}/manifests/0.17.0"] = Reply(image.manifest)
    with Loopback(routes) as server:
        assert get("unikraft", store, server.url, "0.17.0").entry.version == "0.17.0"


def test_a_tag_that_moved_is_refused(store: KernelStore) -> None:
    first, second = Image(), Image(unikraft_kernel(content=b"changed"))
    with Loopback(first.routes("0.17.0")) as server:
        get("unikraft", store, server.url, "0.17.0")
    before = state(store)
    with Loopback(second.routes("0.17.0")) as server, pytest.raises(UkperfError, match="There is another"):
        get("unikraft", store, server.url, "0.17.0")
    assert state(store) == before


def test_a_pinned_manifest_must_have_its_digest(store: KernelStore) -> None:
    image = Image()
    routes = image.routes("0.17.0")
    digest = sha(image.manifest).removeprefix("sha256:")
    with Loopback(routes) as server:
        with pytest.raises(UkperfError, match="and not sha256:1111"):
            get("unikraft", store, server.url, "0.17.0", pins={"0.17.0": "1" * 64})
        assert get("unikraft", store, server.url, "0.17.0", pins={"0.17.0": digest}).entry.pinned


def test_a_recipes_pin_of_a_manifest_for_qemu_says_nothing_of_other_platforms(store: KernelStore) -> None:
    qemu, xen = Image(kernel=unikraft_kernel(content=b"q")), Image(kernel=unikraft_kernel(content=b"x"))
    xen.platform = {"os": "xen", "architecture": "x86_64"}
    routes = {**qemu.routes("0.17.0"), **xen.routes("0.17.0")}
    guest = of("unikraft", store, pins={"0.17.0": sha(qemu.manifest).removeprefix("sha256:")})
    with Loopback(routes) as server:
        pulled = guest.pull(version="0.17.0", mirror=server.url, platform="xen", client=client())
    assert pulled.entry.path("kernel").read_bytes() == unikraft_kernel(content=b"x")
    assert not pulled.entry.pinned


def test_a_pinned_manifest_is_had_by_its_digest_when_its_tag_has_moved(store: KernelStore) -> None:
    then, now = Image(kernel=unikraft_kernel(content=b"then")), Image(kernel=unikraft_kernel(content=b"now"))
    routes = {**then.routes("latest"), **now.routes("latest")}  # the tag is now's, all else is there of both
    digest = sha(then.manifest).removeprefix("sha256:")
    with Loopback(routes) as server:
        pulled = get("unikraft", store, server.url, sha256=digest)
    assert pulled.entry.path("kernel").read_bytes() == unikraft_kernel(content=b"then")
    assert pulled.entry.source_digest == digest
    assert pulled.entry.pinned


def _wrong_blob(image: Image, routes: dict[str, Route]) -> None:
    routes[f"{image.repository}/blobs/{sha(image.layer)}"] = Reply(bytes(len(image.layer)))


def _wrong_manifest(image: Image, routes: dict[str, Route]) -> None:
    routes[f"{image.repository}/manifests/{sha(image.manifest)}"] = Reply(image.manifest + b" ")


def _wrong_header(image: Image, routes: dict[str, Route]) -> None:
    path = f"{image.repository}/manifests/latest"
    routes[path] = Reply(image.index, headers={"Docker-Content-Digest": f"sha256:{'0' * 64}"})


def _not_json(image: Image, routes: dict[str, Route]) -> None:
    routes[f"{image.repository}/manifests/latest"] = Reply(b"<html>")


def _nested(image: Image, routes: dict[str, Route]) -> None:
    routes[f"{image.repository}/manifests/latest"] = Reply(b"[" * 200_000)


def _no_token(image: Image, routes: dict[str, Route]) -> None:
    routes[f"{image.repository}/manifests/latest"] = Reply(b"", 401, {"WWW-Authenticate": 'Basic realm="x"'})


def _odd(**changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda manifest: manifest["layers"][1].update(changes)


@pytest.mark.parametrize(
    ("bend", "spoil", "sentence"),
    [
        (None, _wrong_blob, "has the digest"),
        (None, _wrong_manifest, "has the digest"),
        (None, _wrong_header, "has the digest"),
        (None, _not_json, "gave no JSON"),
        (None, _nested, "gave no JSON"),
        (None, _no_token, "a login that ukperf does not know"),
        (_odd(size=10_000_000_000), None, "without a sound digest and size"),
        (_odd(size=-1), None, "without a sound digest and size"),
        (_odd(size="10"), None, "without a sound digest and size"),
        (_odd(digest="sha256:../../x"), None, "without a sound digest and size"),
        (_odd(digest="md5:00"), None, "without a sound digest and size"),
        (_odd(size=5), None, "more than"),
        (lambda manifest: manifest.update(layers=7), None, "holds no kernel"),
        (lambda manifest: manifest.update(layers=[3, None]), None, "holds no kernel"),
    ],
)
def test_a_bad_registry_is_one_sentence_and_leaves_the_store(
    store: KernelStore,
    bend: Callable[[dict[str, Any]], None] | None,
    spoil: Callable[[Image, dict[str, Route]], None] | None,
    sentence: str,
) -> None:
    image = Image()
    image.bend = bend or image.bend
    routes = image.routes()
    if spoil is not None:
        spoil(image, routes)
    before = state(store)
    with Loopback(routes) as server, pytest.raises(UkperfError, match=sentence):
        get("unikraft", store, server.url)
    assert state(store) == before


def test_a_platform_that_is_not_there_is_named_with_those_that_are(store: KernelStore) -> None:
    image = Image()
    image.platform = {"os": "xen", "architecture": "x86_64"}
    with Loopback(image.routes()) as server, pytest.raises(UkperfError, match="only fc/x86_64, qemu/arm64, xen/x86_64"):
        get("unikraft", store, server.url)


def test_a_token_that_is_never_enough_ends(store: KernelStore) -> None:
    image = Image()
    with Loopback({}) as server:
        behind_token(server, image.routes(), token="right")
        server.routes["/auth?service=registry&scope=repository%3Aunikraft.org%2Fbase%3Apull"] = Reply(b'{"token":"x"}')
        with pytest.raises(UkperfError, match="does not let anybody read"):
            get("unikraft", store, server.url)
