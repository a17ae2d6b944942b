"""Pulls a Unikraft kernel from an OCI registry: token, index, manifest, layer, every digest checked.

A plain client of the distribution specification (github.com/opencontainers/distribution-spec) for anonymous pulls.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from ukperf.errors import UkperfError
from ukperf.imaging.archives import extract
from ukperf.imaging.download import Answer, Client, short, split
from ukperf.imaging.kernelstore import KERNEL_MAX, check_version
from ukperf.imaging.pull import PinOf, Pulled, wrong_digest
from ukperf.text import clean

DOCUMENT_MAX = 4 << 20  # an index or manifest; the specification's own recommendation for registries
LAYER_MAX = 128 << 20
KERNEL_ANNOTATION = "org.unikraft.kernel.image"
KERNEL_PATH = "unikraft/bin/kernel"
_ACCEPT = ", ".join(
    (
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    )
)
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_TOKEN = re.compile(r"[\x21-\x7e]{1,32768}")  # what RFC 6750 allows, and a bit more; a header of a server's limit
_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')


class OciRegistry:
    """One repository of one registry."""

    def __init__(self, client: Client, base: str, repository: str) -> None:
        self.client = client
        self.base = base.rstrip("/")
        self.repository = repository
        self.token = ""

    def pull(self, tag: str, platform: str, pin_of: PinOf) -> Pulled:
        """The kernel of a tag for a platform (`qemu`, `xen`).

        A tag may have moved since its manifest was pinned: then the registry is asked for the pinned one by its digest.
        Raises UkperfError when anything is not as it should be.
        """
        source = f"{self.base}/v2/{self.repository}/manifests/{check_version(tag)}"
        answer = self._get(source, DOCUMENT_MAX)
        declared = answer.headers.get("docker-content-digest", "")
        if _DIGEST.fullmatch(declared) and declared != f"sha256:{answer.sha256}":
            raise wrong_digest(source, answer.sha256, declared.removeprefix("sha256:"))
        document = _document(answer.body, source)
        digest = answer.sha256
        if "manifests" in document:
            digest = _choose(document, platform, source)
            document = _document(self._checked("manifests", digest, DOCUMENT_MAX), source)
        pin = pin_of(tag)
        if pin is not None and pin != digest:
            try:
                document = _document(self._checked("manifests", pin, DOCUMENT_MAX), source)
            except UkperfError as error:
                raise wrong_digest(source, digest, pin) from error
            digest = pin
        return Pulled(tag, {"kernel": self._kernel(document, source)}, source, digest, pin is not None, tag)

    def _kernel(self, manifest: Mapping[str, Any], source: str) -> bytes:
        layers = [layer for layer in _list(manifest, "layers") if isinstance(layer, dict)]
        marked = [layer for layer in layers if KERNEL_ANNOTATION in _mapping(layer, "annotations")]
        for layer in marked or layers:
            sha256 = _DIGEST.fullmatch(str(layer.get("digest")))
            size = layer.get("size")
            if sha256 is None or not isinstance(size, int) or not 0 <= size <= LAYER_MAX:
                raise UkperfError(f"{source} names a layer without a sound digest and size.")
            data = self._checked("blobs", sha256.group(1), size)
            path = str(_mapping(layer, "annotations").get(KERNEL_ANNOTATION) or KERNEL_PATH).lstrip("/")
            kernel = extract(data, {path: KERNEL_MAX, KERNEL_PATH: KERNEL_MAX}, f"layer {sha256.group(0)} of {source}")
            if kernel:
                return kernel.get(path) or kernel[KERNEL_PATH]
        raise UkperfError(
            f"{source} holds no kernel.", hint="Kernels without a program are in images like base:latest."
        )

    def _checked(self, kind: str, digest: str, limit: int) -> bytes:
        """A manifest or blob by its digest; limit: its greatest size."""
        url = f"{self.base}/v2/{self.repository}/{kind}/sha256:{digest}"
        answer = self._get(url, limit)
        if answer.sha256 != digest:
            raise wrong_digest(url, answer.sha256, digest)
        return answer.body

    def _get(self, url: str, limit: int) -> Answer:
        for _ in range(2):
            headers = {"Accept": _ACCEPT, **({"Authorization": f"Bearer {self.token}"} if self.token else {})}
            answer = self.client.get(url, limit, headers=headers, accept_status=(200, 401))
            if answer.status == 200:
                return answer
            self.token = self._new_token(answer.headers.get("www-authenticate", ""), url)
        raise UkperfError(f"The registry does not let anybody read {url}.", hint="Name a mirror by --mirror.")

    def _new_token(self, challenge: str, url: str) -> str:
        """An anonymous token as the challenge asks (distribution's docs/spec/auth/token)."""
        scheme, _, rest = challenge.partition(" ")
        asked = dict(_CHALLENGE.findall(rest))
        realm = asked.get("realm", "")
        if scheme.lower() != "bearer" or not realm:
            what = f"a login that ukperf does not know: {clean(challenge, 100)!r}"
            raise UkperfError(f"The registry asks for {what} ({short(url)}).")
        if split(self.base).scheme == "https" and split(realm).scheme != "https":
            what = f"{short(realm)} for a token, which is not encrypted"
            raise UkperfError(f"The registry sends us to {what}: not followed.")
        query = {name: asked[name] for name in ("service", "scope") if name in asked}
        query.setdefault("scope", f"repository:{self.repository}:pull")
        answer = self.client.get(f"{realm}{'&' if '?' in realm else '?'}{urlencode(query)}", 1 << 20)
        document = _document(answer.body, realm)
        token = document.get("token") or document.get("access_token")
        if not isinstance(token, str) or not _TOKEN.fullmatch(token):
            raise UkperfError(f"{short(realm)} gave no token that can be sent back.")
        return token


def _choose(index: Mapping[str, Any], platform: str, source: str) -> str:
    """The digest of the first manifest for platform os PLATFORM, architecture x86_64 (or amd64)."""
    seen = []
    for entry in _list(index, "manifests"):
        if not isinstance(entry, dict):
            continue
        where = _mapping(entry, "platform")
        system, machine = str(where.get("os")), str(where.get("architecture"))
        seen.append(f"{system}/{machine}")
        sha256 = _DIGEST.fullmatch(str(entry.get("digest")))
        if system == platform and machine in {"x86_64", "amd64"} and sha256:
            return sha256.group(1)
    raise UkperfError(
        f"{source} has nothing for {platform}/x86_64, only {', '.join(sorted(set(seen))[:8]) or 'nothing'}."
    )


def _document(body: bytes, source: str) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise UkperfError(f"{source} gave no JSON.") from error
    if not isinstance(document, dict):
        raise UkperfError(f"{source} gave JSON that is no object.")
    return document


def _list(document: Mapping[str, Any], name: str) -> list[Any]:
    value = document.get(name)
    return value if isinstance(value, list) else []


def _mapping(document: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = document.get(name)
    return value if isinstance(value, dict) else {}
