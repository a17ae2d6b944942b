"""How a guest program in Python speaks: docs/wire.md's frames on standard output. Standard library only.

wire = Wire("demo")                 # first statement: the `main` frame
wire.phase("fit")
wire.samples("fit", "s", [0.25], loops=1, meta={"rows": 10})
wire.check("answer", "3f2a")
wire.exit(0)                        # does not return
"""

import json
import os
import time
import zlib

FRAME_MAX = 16_384
TEXT_MAX = 128
MESSAGE_MAX = 500
VALUES_PER_FRAME = 400  # 24 characters a value at most: far below FRAME_MAX

# lfence; rdtsc; shl rdx, 32; or rax, rdx; ret
RDTSC = bytes.fromhex("0faee8 0f31 48c1e220 4809d0 c3")
# The same for a frame: behind the rdtsc is the marker by which `ukperf profile` knows it (common/marker.h).
FRAME_RDTSC = bytes.fromhex("0faee8 0f31 0f1f840046504b55 48c1e220 4809d0 c3")


def tsc_reader(code=RDTSC):
    """A function that returns the time-stamp counter, or None where memory cannot be made executable."""
    try:
        import ctypes
        import mmap

        page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        page.write(code)
        function = ctypes.CFUNCTYPE(ctypes.c_uint64)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
    except (ImportError, OSError, ValueError):
        return None
    function.page = page  # lives as long as the function does
    return function


def ascii_text(text, limit):
    """At most limit characters of printable ASCII; anything else becomes a question mark."""
    return "".join(c if " " <= c <= "~" else "?" for c in str(text))[:limit]


def encode(fields):
    """One frame: RS, the object with its CRC as last member, LF."""
    body = json.dumps(fields, separators=(",", ":"), allow_nan=False)[:-1] + ","
    body += f'"crc":"{zlib.crc32(body.encode()):08x}"}}'
    if len(body) > FRAME_MAX:
        raise ValueError(f"frame of {len(body)} bytes")
    return b"\x1e" + body.encode() + b"\n"


class Wire:
    """Writes frames to a file descriptor (standard output); numbers them, stamps them."""

    def __init__(self, program, fd=1):
        self.fd = fd
        self.count = 0
        self.tsc = tsc_reader()
        self.frame_tsc = self.tsc and tsc_reader(FRAME_RDTSC)
        self.send("main", program=ascii_text(program, TEXT_MAX), v=1)

    def send(self, event, **fields):
        stamp = {
            "event": event,
            "n": self.count,
            "t": time.monotonic_ns(),
            "tsc": self.frame_tsc() if self.frame_tsc else 0,
        }
        self.count += 1
        data = memoryview(encode({**stamp, **fields}))
        while data:
            data = data[os.write(self.fd, data) :]

    def phase(self, name):
        self.send("phase", name=ascii_text(name, TEXT_MAX))

    def samples(self, benchmark, unit, values, loops=1, *, warmups=(), meta=None):
        """values, warmups: the cost of one loop each. What is too long for one frame goes on in the next."""
        facts = {f"meta_{key}": value for key, value in (meta or {}).items()}
        values, warmups = [float(v) for v in values], [float(v) for v in warmups]
        while True:
            part = {"benchmark": ascii_text(benchmark, TEXT_MAX), "unit": unit, "loops": loops}
            if warmups:
                part["warmups"], warmups = warmups[:VALUES_PER_FRAME], warmups[VALUES_PER_FRAME:]
                part["values"] = []
            else:
                part["values"], values = values[:VALUES_PER_FRAME], values[VALUES_PER_FRAME:]
            self.send("samples", **part, **facts)
            if not warmups and not values:
                return

    def check(self, name, digest):
        self.send("check", name=ascii_text(name, TEXT_MAX), digest=ascii_text(digest, TEXT_MAX))

    def error(self, message):
        self.send("error", message=ascii_text(message, MESSAGE_MAX))

    def exit(self, status):
        """Say so and go, at once: what an interpreter does at its end is not measured."""
        self.send("exit", status=status)
        os._exit(status)
