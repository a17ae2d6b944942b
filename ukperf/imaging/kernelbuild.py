"""Builds a guest's kernel from the distribution's own source, with options that are data (kconfig.py).

What is half done lies in the cache, under the digest of source, options and compiler; the next build of the same goes
on with it, and one of anything else removes it. The kernel store gets a kernel that is whole, or nothing.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from ukperf import hints
from ukperf.errors import UkperfError
from ukperf.files import locked, write_atomically
from ukperf.imaging import kconfig, longrun
from ukperf.imaging.cache import Cache
from ukperf.imaging.compiler import Compiler, find_compiler, why_failed
from ukperf.imaging.kconfig import Missed
from ukperf.imaging.kernelsource import Source
from ukperf.imaging.kernelstore import Check, KernelOrigin, KernelStore, StoredKernel
from ukperf.paths import is_plain, make_dir
from ukperf.text import Say

FOLDER = "kernel-builds"  # in the cache
_LAYOUT = 1  # of what is done with a source: part of each build's digest
# Programs that a build runs, and the package that each is in.
_TOOLS = {
    "make": "make",
    "flex": "flex",
    "bison": "bison",
    "bc": "bc",
    "tar": "tar",
    "xz": "xz-utils",
    "ld": "binutils",
    "strip": "binutils",
}
_LIBELF = ("gelf.h", "libelf-dev")  # objtool, which the kernel builds for itself, looks into object files
_TIMEOUT_S = 4 * 3600.0
_OBJECT = re.compile(r"\s*(?:CC|AS|HOSTCC|LDS|LD|AR)\s")
# Of nobody: the same inputs make the same bytes.
_ENVIRONMENT = {
    "KBUILD_BUILD_TIMESTAMP": "Thu Jan  1 00:00:00 UTC 2026",
    "KBUILD_BUILD_USER": "ukperf",
    "KBUILD_BUILD_HOST": "ukperf",
    "KBUILD_BUILD_VERSION": "1",
}
_MIB = 1 << 20


@dataclass(frozen=True)
class Order:
    """What a recipe says of a build. source: the package that stands for the source; leave_out: patterns of its files
    that are not unpacked; objects: about how many files are compiled; space_mib: what source and build take."""

    source: str
    leave_out: tuple[str, ...]
    objects: int
    space_mib: int


@dataclass(frozen=True)
class Making:
    """A build. options: the file that says what the kernel is to have. say: gets a sentence for each option that is not
    as wanted, before anything is compiled; progress: gets what is going on, often."""

    guest: str
    options: Path
    order: Order
    cache: Cache
    say: Say
    progress: Callable[[str], None] = lambda text: None


@dataclass(frozen=True)
class BuiltKernel:
    """What came of it. seconds: that it took; 0 where the store had it. missed: options that are not as wanted."""

    entry: StoredKernel
    seconds: float
    missed: tuple[Missed, ...]


def build(making: Making, source: Source, store: KernelStore, check: Check | None = None) -> BuiltKernel:
    """The kernel in the store, built if it is not there yet. check: as KernelStore.add.

    Raises UkperfError when a tool, memory or space is missing, the source cannot be had, or the kernel cannot be built;
    the store is as it was then.
    """
    compiler = _need_tools()
    options = kconfig.read_options(making.options)
    inputs = {"source": str(source.package), "options": making.cache.digests.file(making.options)}
    key = Cache.key({"layout": _LAYOUT, "compiler": compiler.version, **inputs})
    version = f"{source.package.version}~{key[:8]}"
    origin = KernelOrigin(f"{source.package.name} {source.package.version}", source.package.sha256, pinned=True)
    there = store.find(making.guest, version)
    if there is not None:
        files = {file.role: there.path(file.role) for file in there.files}
        return BuiltKernel(store.add(making.guest, version, files, origin=origin, check=check), 0.0, ())
    started = time.monotonic()
    place = _Place(making, key)
    with place.locked():
        place.make_ready(source)
        work = _Make(making, place.source, place.output, compiler)
        known = kconfig.defined(place.source)
        work.configure(kconfig.fragment(options, known))
        missed = tuple(kconfig.missed(options, known, kconfig.read_config(work.config)))
        for option in missed:
            making.say(str(option))
        kernel = work.compile()
        making.progress("booting it once")
        files = {"kernel": kernel, "config": work.config}
        entry = store.add(making.guest, version, files, origin=origin, replacing=True, check=check)
        place.clear()
    return BuiltKernel(entry, time.monotonic() - started, missed)


@dataclass(frozen=True)
class _Place:
    """Where a build is: one folder a digest, with the source and what is made of it."""

    making: Making
    key: str

    @property
    def folder(self) -> Path:
        return self.making.cache.root / self.kind / self.key

    @property
    def kind(self) -> str:
        """Of the cache's entries: `images clean` removes what nobody goes on with."""
        return f"{FOLDER}/{self.making.guest}"

    @property
    def source(self) -> Path:
        return self.folder / "source"

    @property
    def unpacked(self) -> Path:
        """A file that is there when the source is whole."""
        return self.folder / "unpacked"

    @property
    def output(self) -> Path:
        return self.folder / "build"

    def locked(self) -> AbstractContextManager[None]:
        """Nobody else builds a kernel of this guest meanwhile. Raises UkperfError where somebody does."""
        guest = self.making.guest
        held = UkperfError(f"Another ukperf is building a kernel of {guest}.", hint="Wait until it has ended.")
        return locked(make_dir(self.making.cache.root / "locks") / f"kernel-build-{guest}", held, mode=0o600)

    def make_ready(self, source: Source) -> None:
        """The source, unpacked; what other builds left is gone. Raises UkperfError where there is no room."""
        if not is_plain(self.folder):
            raise UkperfError(
                f"A kernel cannot be built in {self.folder}: make takes no such name.",
                hint="Name another folder by UKPERF_CACHE_DIR: letters, digits, and . _ - /",
            )
        self.making.cache.has(self.kind, self.key)  # in use from now on
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for other in self.folder.parent.iterdir():
                if other != self.folder:
                    shutil.rmtree(other, ignore_errors=True)
            self._need_room()
            if not self.unpacked.is_file():
                self.making.progress(f"unpacking {source.package.name} {source.package.version}")
                self._unpack(source)
            self.output.mkdir(exist_ok=True)
        except OSError as error:
            raise _cannot_write(self.folder, error.strerror or str(error)) from error

    def clear(self) -> None:
        """Removes the build, and the source with it."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _unpack(self, source: Source) -> None:
        shutil.rmtree(self.source, ignore_errors=True)  # half of it, where an unpacking was killed
        self.source.mkdir()
        try:
            source.unpack(self.source)
        except BaseException as error:
            shutil.rmtree(self.source, ignore_errors=True)
            if isinstance(error, UkperfError) and ("No space left" in error.message or "quota" in error.message):
                raise _cannot_write(self.folder, error.message.rstrip(".")) from error
            raise
        write_atomically(self.unpacked, "")

    def _need_room(self) -> None:
        """Half of it is the source; what an earlier try made of it is there already."""
        wanted = self.making.order.space_mib // (2 if self.unpacked.is_file() else 1)
        free = shutil.disk_usage(self.folder).free // _MIB
        if free < wanted:
            raise UkperfError(
                f"A kernel's source and its build take {wanted:,} MiB, and {self.folder.parent} has {free:,} MiB free.",
                hint="Make room there, or name another folder by UKPERF_CACHE_DIR.",
            )


@dataclass(frozen=True)
class _Make:
    """make, with a source and a folder for what is made."""

    making: Making
    source: Path
    output: Path
    compiler: Compiler

    @property
    def config(self) -> Path:
        return self.output / ".config"

    def configure(self, fragment: str) -> None:
        """Writes .config: nothing but the fragment, and what that selects."""
        self.making.progress("configuring")
        wanted = self.output / "wanted.config"
        wanted.write_text(fragment, encoding="utf-8")
        self._make("allnoconfig", environment={"KCONFIG_ALLCONFIG": str(wanted)})

    def compile(self) -> Path:
        """The kernel's ELF file, without symbols. Raises UkperfError with the line that says why it failed."""
        started, done = time.monotonic(), 0

        def count(line: str) -> None:
            nonlocal done
            if _OBJECT.match(line):
                done += 1
                took = time.monotonic() - started
                self.making.progress(f"compiling: {done:,} of about {self.making.order.objects:,} files, {took:.0f} s")

        jobs = len(os.sched_getaffinity(0))
        self._make(f"-j{jobs}", "vmlinux", on_line=count)
        kernel = self.output / "kernel.stripped"
        ended = longrun.run(["strip", "-s", "-o", str(kernel), str(self.output / "vmlinux")], timeout_s=_TIMEOUT_S)
        self._check("strip", ended)
        return kernel

    def _make(
        self,
        *words: str,
        environment: dict[str, str] | None = None,
        on_line: Callable[[str], None] = lambda line: None,
    ) -> None:
        tools = [f"CC={self.compiler.path}", f"HOSTCC={self.compiler.path}"]
        command = ["make", "-C", str(self.source), f"O={self.output}", "ARCH=x86_64", *tools, *words]
        environment = {**_ENVIRONMENT, **(environment or {})}
        self._check("make", longrun.run(command, timeout_s=_TIMEOUT_S, environment=environment, on_line=on_line))

    def _check(self, tool: str, ended: longrun.ToolEnd) -> None:
        if ended.status == 0:
            return
        why, hint = why_failed("\n".join(ended.tail), ended.status)
        again = f"What is done is kept in {self.output.parent}: the next build goes on with it, or remove it."
        raise UkperfError(f"{tool} could not build the kernel of {self.making.guest}: {why}.", hint=hint or again)


def _need_tools() -> Compiler:
    """The compiler. Raises UkperfError, with the line to type, where a tool is missing."""
    compiler = find_compiler()
    missing = {name: package for name, package in _TOOLS.items() if shutil.which(name) is None}
    header, package = _LIBELF
    if not _has_header(compiler, header):
        missing[f"the header {header}"] = package
    if missing:
        raise UkperfError(
            f"To build a kernel, this machine lacks {', '.join(missing)}.",
            hint=hints.packages(*dict.fromkeys(missing.values())),
        )
    return compiler


def _has_header(compiler: Compiler, header: str) -> bool:
    with tempfile.TemporaryDirectory(prefix="ukperf-") as folder:
        probe = Path(folder, "probe.c")
        probe.write_text(f"#include <{header}>\n", encoding="utf-8")
        command: Sequence[str] = [compiler.path, "-fsyntax-only", str(probe)]
        return longrun.run(command, timeout_s=60).status == 0


def _cannot_write(folder: Path, why: str) -> UkperfError:
    return UkperfError(
        f"{folder} cannot be written: {why}.", hint="Make room there, or name another folder by UKPERF_CACHE_DIR."
    )
