"""An apt made of shell scripts, with packages in a folder."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path


class FakeApt:
    """apt-cache, apt-get and dpkg-deb as scripts on a PATH of their own; a .deb is its data tarball."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bin = folder / "bin"
        self.bin.mkdir()
        self.log = folder / "log"
        (folder / "pool").mkdir()
        (folder / "facts").mkdir()
        self.script(
            "apt-cache",
            f'for last; do :; done\ncase "$*" in *depends*) kind=depends;; *) kind=show;; esac\n'
            f'cat "{folder}/facts/$kind-$last" 2>/dev/null || exit 100\n',
        )
        self.script(
            "apt-get",
            f'echo "$*" >>"{self.log}"\n[ ! -e "{folder}/broken" ] || {{ cat "{folder}/broken" >&2; '
            f'exit 100; }}\ncase "$*" in *download*) cp "{folder}"/pool/*.deb .;; esac\n',
        )
        self.script("dpkg-deb", 'exec cat "$2"\n')

    def script(self, name: str, body: str) -> None:
        (self.bin / name).write_text(f"#!/bin/sh\n{body}")
        (self.bin / name).chmod(0o755)

    def package(self, name: str, depends: list[str], members: dict[str, bytes]) -> None:
        lines = [name, *(f"  Depends: {other}" for other in depends), "  Depends: <virtual>", "    something"]
        (self.folder / "facts" / f"depends-{name}").write_text("\n".join(lines) + "\n")
        (self.folder / "facts" / f"show-{name}").write_text(f"Package: {name}\nVersion: 1\nSHA256: {'0' * 64}\n")
        if members:
            with tarfile.open(self.folder / "pool" / f"{name}_1_amd64.deb", "w") as archive:
                for path, contents in members.items():
                    member = tarfile.TarInfo(path)
                    member.size = len(contents)
                    archive.addfile(member, io.BytesIO(contents))
