"""Files that look like kernels as far as ukperf looks before it stores them; nothing boots from them."""

from __future__ import annotations

import io
import struct
import tarfile


def elf(machine: int, content: bytes) -> bytes:
    """An ELF64 (or, for EM_386, ELF32) header with nothing behind it but content."""
    if machine == 3:
        head = (
            b"\x7fELF\x01\x01\x01" + bytes(9) + struct.pack("<HHIIIIIHHHHHH", 2, 3, 1, 0, 0, 0, 0, 52, 32, 0, 40, 0, 0)
        )
    else:
        tail = struct.pack("<HHIQQQIHHHHHH", 2, machine, 1, 0, 0, 0, 0, 64, 56, 0, 64, 0, 0)
        head = b"\x7fELF\x02\x01\x01" + bytes(9) + tail
    return head + content


def nanos_kernel(content: bytes = b"") -> bytes:
    return elf(62, b"\0NVMTFS\0" + b"0123456789abcdef0123456789abcdef01234567\0" + content)


def unikraft_kernel(version: str = "0.16.3~e453b74a", content: bytes = b"") -> bytes:
    return elf(3, f"\0Powered by Unikraft Telesto ({version})\n\0".encode() + content)


def boot_img() -> bytes:
    data = bytearray(2048)
    data[426:446] = (0).to_bytes(8, "little") + (1536).to_bytes(8, "little") + b"\x0c\0\0\0"
    data[510:512] = b"\x55\xaa"
    return bytes(data)


def tar(members: dict[str, bytes | tarfile.TarInfo], compress: bool = True) -> bytes:
    """A tarball; a TarInfo goes in as it is, without bytes of its own."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz" if compress else "w") as archive:
        for name, content in members.items():
            if isinstance(content, tarfile.TarInfo):
                archive.addfile(content)
            else:
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def release() -> dict[str, bytes | tarfile.TarInfo]:
    return {"boot.img": boot_img(), "kernel.img": nanos_kernel(), "klibs/cloud_init": b"x"}
