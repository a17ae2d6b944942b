"""What the code of a guest may be: its kernel, what loads it, its program with its libraries, the firmware.

All of it lies in files of this machine. Where in memory a guest had it, `placing` finds out.
"""

from __future__ import annotations

import os
import sysconfig
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ukperf.errors import UkperfError
from ukperf.files import open_regular, read_bytes, reason
from ukperf.imaging.cache import Cache
from ukperf.imaging.elf import MAGIC, LibrarySearch, needed_libraries
from ukperf.imaging.programs import unstripped
from ukperf.model import Program
from ukperf.profile.elfcode import DEBUG, ElfCode, Segment, inner_code, read_code, with_debug_names
from ukperf.profile.model import CodePart
from ukperf.profile.symbols import NO_SYMBOLS, KernelSymbols, Symbols, parse_kallsyms

BLOB_MAX = 64 << 20  # bytes of a kernel's image or of firmware
MOST_FILES = 4000  # of a program's tree
_MODULE = ".ko"
DECOMPRESSOR = "decompressor"
VDSO = "vdso"  # what a kernel maps into its programs, to be called without entering it


@dataclass(frozen=True)
class CodeFile:
    """One file of code. paged: it moves by whole pages; others (firmware, a kernel's image) by any number of bytes.
    paged files have addresses of their own, which `symbols` go by."""

    part: CodePart
    name: str
    segments: tuple[Segment, ...]
    symbols: Symbols = NO_SYMBOLS
    paged: bool = True


@dataclass(frozen=True)
class Sources:
    """files: in the order in which they are looked for; linux: names of a Linux kernel's code by address, None of
    others. notes: sentences about what could not be used."""

    files: tuple[CodeFile, ...] = ()
    linux: KernelSymbols | None = None
    notes: tuple[str, ...] = ()


def sources_of(
    *,
    kernel: Path | None = None,
    kallsyms: str = "",
    program: Program | None = None,
    extra_files: Sequence[Path] = (),
    firmware: Sequence[Path] = (),
    loaders: Sequence[Path] = (),
    symbols: Path | None = None,
    debug: Path = DEBUG,
) -> Sources:
    """Everything that a guest's code may be.

    kernel: the kernel that is booted; a bzImage is a loader, whose kernel kallsyms names (/proc/kallsyms of the same
    kernel). extra_files: programs and libraries besides, like a guest's init. symbols: an ELF file with the kernel's
    symbols, where the kernel has none. Raises UkperfError for a file of symbols that is none; what else cannot be read
    is in the notes.
    """
    notes: list[str] = []
    # Small files first: what has an owner is not looked for in the large ones.
    files = [blob for path in firmware if (blob := _blob(CodePart.FIRMWARE, path, notes))]
    if kernel is not None:
        files += _kernel(kernel, symbols, debug, notes)
    files += [blob for path in loaders if (blob := _blob(CodePart.LOADER, path, notes, "boot image"))]
    files += _programs(program, extra_files, debug, notes)
    return Sources(tuple(files), _linux(kallsyms, symbols, notes), tuple(notes))


def _linux(kallsyms: str, symbols: Path | None, notes: list[str]) -> KernelSymbols | None:
    """What somebody names himself comes first."""
    if symbols is not None and not _is_elf(symbols):
        try:
            return parse_kallsyms(read_bytes(symbols, BLOB_MAX).decode("utf-8", "replace").splitlines())
        except (OSError, ValueError) as error:
            raise UkperfError(
                f"{symbols} names no functions: {reason(error)}.",
                hint="Name an ELF file with symbols, a System.map, or a copy of /proc/kallsyms.",
            ) from error
    try:
        return parse_kallsyms(kallsyms.splitlines()) if kallsyms else None
    except ValueError as error:
        notes.append(f"The kernel's symbols are not used: {error}.")
        return None


def _kernel(path: Path, symbols: Path | None, debug: Path, notes: list[str]) -> Iterator[CodeFile]:
    named = read_code(symbols) if symbols is not None and _is_elf(symbols) else None
    if not _is_elf(path):  # a bzImage: all of it that is executed, is executed before the kernel that it holds
        if (blob := _blob(CodePart.LOADER, path, notes, DECOMPRESSOR)) is not None:
            yield blob
        return
    try:
        code = read_code(path)
    except UkperfError as error:
        notes.append(error.message)
        return
    own = with_debug_names(path, code, debug)
    if named is not None and not _alike(code, named):
        notes.append(f"{symbols} is of another kernel: its code is not that of {path}.")
        named = None
    for inner in inner_code(path):  # before the kernel, which has these bytes too
        yield CodeFile(CodePart.LIBRARY, VDSO, inner.segments, inner.symbols)
    yield CodeFile(CodePart.KERNEL, "", code.segments, own if named is None else named.symbols.over(own))


def _alike(code: ElfCode, other: ElfCode) -> bool:
    """Is the code that both have at the same addresses the same? A file of debug information has none."""
    theirs = {segment.address: segment.data for segment in other.segments}
    pairs = [(s.data, theirs[s.address]) for s in code.segments if s.address in theirs]
    if not other.segments:
        return True
    return bool(pairs) and all(a.startswith(b) or b.startswith(a) for a, b in pairs)


def _programs(program: Program | None, extra: Sequence[Path], debug: Path, notes: list[str]) -> Iterator[CodeFile]:
    paths: dict[Path, tuple[CodePart, str]] = {}
    if program is not None:
        paths |= dict(_of_program(program))
    for path in extra:
        paths.setdefault(path, (CodePart.PROGRAM, path.name))
    if len(paths) > MOST_FILES:
        notes.append(f"Of {len(paths):,} files of code in the program's tree, {MOST_FILES:,} are looked at.")
    for path, (part, name) in list(paths.items())[:MOST_FILES]:
        try:
            code = read_code(path)
        except UkperfError as error:
            notes.append(error.message)
            continue
        if code.segments:
            names = _own_names(path, code, program).over(with_debug_names(path, code, debug))
            yield CodeFile(part, name, code.segments, names)


def _own_names(path: Path, code: ElfCode, program: Program | None) -> Symbols:
    """Of what we stripped: those of the same program unstripped, or of the file that was packed, where it is still here
    with the same code."""
    for twin in _twins(path, program):
        try:
            whole = read_code(twin) if _is_elf(twin) else None
        except UkperfError:
            continue
        if whole is not None and whole.segments == code.segments:
            return with_debug_names(twin, whole)
    return NO_SYMBOLS


def _twins(path: Path, program: Program | None) -> Iterator[Path]:
    """Files that may be the one that a file of the program was made of."""
    own = unstripped(path, Cache())
    if own is not None:
        yield own
    if program is not None and program.is_tree and path.is_relative_to(program.path):
        yield Path("/", path.relative_to(program.path))  # packed under its own path
        yield Path(str(sysconfig.get_config_var("LIBDIR")), path.name)  # an interpreter's library


def _of_program(program: Program) -> Iterator[tuple[Path, tuple[CodePart, str]]]:
    if not program.is_tree:
        yield program.path, (CodePart.PROGRAM, Path(program.argv[0]).name)
        return
    started = program.argv[0].lstrip("/")
    for path in _elf_files(program.path):
        inside = str(path.relative_to(program.path))
        is_program = inside == started or not (".so" in path.name or _MODULE in path.name)
        yield path, (CodePart.PROGRAM if is_program else CodePart.LIBRARY, path.name)


def _elf_files(root: Path) -> Iterator[Path]:
    """In the order of their names; links are not followed, since what they lead to is met by its own name."""
    for folder, folders, names in os.walk(root):
        folders.sort()
        for name in sorted(names):
            path = Path(folder, name)
            if not path.is_symlink() and _is_elf(path):
                yield path


def host_libraries(program: Path) -> tuple[Path, ...]:
    """The libraries that a program of this machine asks for, where they are: of one that runs as it is installed."""
    try:
        known, _ = needed_libraries([program], LibrarySearch())
    except UkperfError:
        return ()
    return tuple(known.values())


def _is_elf(path: Path) -> bool:
    try:
        with open_regular(path) as file:
            return file.read(4) == MAGIC
    except OSError:
        return False


def _blob(part: CodePart, path: Path, notes: list[str], name: str = "") -> CodeFile | None:
    """A file whose bytes are taken as they are. name: what it is called, if not by its path, which has a version."""
    try:
        data = read_bytes(path, BLOB_MAX)
    except OSError as error:
        notes.append(f"{path} cannot be read: {reason(error)}.")
        return None
    return CodeFile(part, name or path.name, (Segment(0, data),), paged=False)
