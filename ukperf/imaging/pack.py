"""Any program of this machine as a tree that every guest runs: the program, its loader and libraries, and files.

For the workload `run`:

    packed = pack(["sqlite3", ":memory:", "select 1"], files=[FileToPack.parse("data.csv")], cwd="/work")
    packed.program              a model.Program with is_tree=True, for guests.get(…).build
    packed.timing               who tells when it starts and ends, to be stated beside every figure
    preload.preload_library()   the library that does for dynamic programs, compiled (pack calls it)
    BootSpec.keep_output        for Observation.output: what it wrote, alike in every guest

A run of PRELOAD lasts from `began_tsc` (`began_t`) of the `exit` frame to that frame's own `tsc` (`t`); where a program
executed another, and of STARTER, from the `main` frame on. A program gets no variables but those of `env`, so one that
wants HOME or PATH must be given them.

What is where in a tree: the program, a script and every `--file` at its own absolute path; the loader where the program
names it; libraries in the folder of the C library, which glibc's loader searches by default; the library of preload.py
and the file of standard input in /ukperf. A relative path begins at the guest's working folder. argv[0] is the
program's path, for a script its interpreter's.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePosixPath

from ukperf.errors import UkperfError
from ukperf.files import open_regular, reason
from ukperf.imaging import preload, tree
from ukperf.imaging.cache import Cache
from ukperf.imaging.closure import DLOPENED
from ukperf.imaging.elf import LibrarySearch, is_loadable, missing_library, needed_libraries, read_elf
from ukperf.imaging.executable import Executable, Located, absolute, find_executable, follow
from ukperf.imaging.guestpaths import checked_environment, image_path, is_reserved, working_folder
from ukperf.imaging.memo import Memo
from ukperf.imaging.pythontree import MOUNT_POINTS
from ukperf.imaging.tree import Entry, Kind
from ukperf.model import Program
from ukperf.text import shell

FORMAT = 1  # raise when the same inputs give another tree
WORKLOAD = "run"
STDIN = "/ukperf/stdin"
_GLIBC = "ld-linux-x86-64.so.2"  # the loader that reads /etc/ld.so.preload


class Timing(StrEnum):
    """Who tells when the program starts and ends. Figures of different ways are not compared."""

    PRELOAD = "preload"  # our library: before the program's first constructor, after its last exit handler
    STARTER = "starter"  # our starter before it jumps to the program's first instruction; then the guest, at its end
    WORKER = "worker"  # the Python program of ours that runs a pyperf script: when it starts, when the script has ended
    GUEST = "guest"  # the guest itself

    @property
    def reports_end(self) -> bool:
        """Does the program report its own end, so that the guest need not?"""
        return self in (Timing.PRELOAD, Timing.WORKER)


@dataclass(frozen=True)
class FileToPack:
    """A file or folder of this machine and its path in the guest ("": the same, as far as there is one)."""

    host: Path
    guest: str = ""

    @classmethod
    def parse(cls, text: str) -> FileToPack:
        """`HOST` or `HOST:GUEST`. A path that is there may have colons in it."""
        if ":" not in text or os.path.lexists(text):
            return cls(Path(text))
        host, _, guest = text.rpartition(":")
        if not host or not guest:
            raise UkperfError(f"--file {text} has no path on one side of its colon.", hint="Write HOST or HOST:GUEST.")
        return cls(Path(host), guest)


@dataclass(frozen=True)
class Packed:
    """A program that guests can run. libraries: names, loader and C library among them; size: bytes of its tree."""

    program: Program
    timing: Timing
    libraries: tuple[str, ...]
    size: int
    left_out: tuple[str, ...] = ()  # libraries that files in packed folders ask for and that are not here


def pack(
    words: Sequence[str],
    *,
    files: Iterable[FileToPack] = (),
    env: Iterable[tuple[str, str]] = (),
    cwd: str = "/",
    stdin: Path | None = None,
    base: Path | None = None,
    cache: Cache | None = None,
    search: LibrarySearch | None = None,
) -> Packed:
    """PROGRAM and its arguments as a tree in the cache, found again in milliseconds while no file of it has changed.

    cwd: the working folder in the guest; stdin: what it reads from standard input, default nothing; base: where
    relative paths of this machine begin, default the current folder. The program's digest covers all that goes in:
    files, permission to execute, links, arguments, environment, working folder, standard input. Raises UkperfError,
    one sentence and a hint, for what cannot be packed.
    """
    cache = cache or Cache()
    search = search or LibrarySearch()
    if not words:
        raise UkperfError("There is no program to run.", hint="Name it behind --, like: -- sqlite3 :memory: 'select 1'")
    request = to_pack(words, files=files, env=env, cwd=cwd, stdin=stdin, base=base)
    question = [FORMAT, str(request), search.environment, search.system, os.environ.get("CC", "")]
    return packed_once(question, cache, lambda: Packing(request, search, cache))


@dataclass(frozen=True)
class ToPack:
    """What was asked for."""

    words: tuple[str, ...]
    files: tuple[FileToPack, ...]
    env: tuple[tuple[str, str], ...]
    cwd: PurePosixPath
    stdin: Path | None
    base: Path
    path: str


def to_pack(
    words: Sequence[str],
    *,
    files: Iterable[FileToPack],
    env: Iterable[tuple[str, str]],
    cwd: str,
    stdin: Path | None,
    base: Path | None,
) -> ToPack:
    """What `pack` is asked for. Raises UkperfError for variables and folders that not every guest takes."""
    folder, path = base or Path.cwd(), os.environ.get("PATH", os.defpath)
    return ToPack(tuple(words), tuple(files), checked_environment(env), working_folder(cwd), stdin, folder, path)


def packed_once(question: object, cache: Cache, packing: Callable[[], Packing]) -> Packed:
    """What was packed before for this question, while none of its files has changed; else what is packed now."""
    memory = Memo(cache.root / "packed", Packed, question)
    packed = memory.recall()
    if packed is None or not cache.hold(packed.program.path).is_dir():
        packed, looked_at = packing().done()
        memory.remember(packed, looked_at)
    return _untouched(packed, cache)


class Packing:
    """One program on its way into a tree. looked_at: files and folders on which the result depends."""

    def __init__(self, request: ToPack, search: LibrarySearch, cache: Cache) -> None:
        self.request, self.search, self.cache = request, search, cache
        self.entries: list[Entry] = []
        self.looked_at: dict[str, None] = {}
        self.left_out: list[str] = []
        self.askers: list[Path] = []  # ELF files whose libraries are wanted

    def done(self) -> tuple[Packed, Iterable[str]]:
        request = self.request
        executable = find_executable(request.words[0], request.path, base=request.base)
        parts = (executable.program, *executable.words)
        named = parts[-1]  # what the first word names: a script, or the program itself
        argv = [p if isinstance(p, str) else self._put_program(p, relative=p is named) for p in parts]
        argv += request.words[1:]
        timing = self._put_timing(executable, Path(request.words[0]).name)
        if timing is Timing.STARTER:
            argv = [preload.STARTER, Path(request.words[0]).name, self._folder_word(), STDIN, *argv]
        optional = [path for file in request.files for path in self._put_files(file)]
        libraries = self._put_libraries(executable, optional)
        self._look_at_folders()
        self.looked_at[str(executable.program.path)] = None
        return self._packed(tuple(argv), (*executable.env, *request.env), timing, libraries), self.looked_at

    def _packed(
        self, argv: tuple[str, ...], env: tuple[tuple[str, str], ...], timing: Timing, libraries: tuple[str, ...]
    ) -> Packed:
        """The tree of all entries."""
        for name in (*MOUNT_POINTS, str(self.request.cwd).strip("/")):
            if name:
                self.entries.append(Entry(name.encode(), Kind.DIRECTORY, 0o755))
        entries = tree.with_parents(self.entries)
        program = self._program(entries, argv, env, timing)
        return Packed(program, timing, libraries, sum(entry.size for entry in entries), tuple(self.left_out))

    def _folder_word(self) -> str:
        """The working folder for a program of ours, with a dot: `native` leaves / alone, and not /. of the tree."""
        return f"{str(self.request.cwd).rstrip('/')}/."

    # ---- what goes in ----

    def _put_program(self, program: Located, *, relative: bool) -> str:
        """The file and the links that lead to it; the guest's path of its name. relative: the first word names it."""
        word = self.request.words[0]
        if relative and "/" in word and not word.startswith("/"):
            inside = self._inside(program.path.name if ".." in Path(word).parts else word)
            return self._put_file(program.file, inside, executable=True)
        if is_reserved(str(program.path)):
            return self._put_file(program.file, f"/{program.path.name}", executable=True)
        for name, target in program.links:
            # Relative, so that the tree means the same wherever it is.
            towards = os.path.relpath(target, name.parent)
            self._add(Entry(image_path(str(name)), Kind.LINK, 0o777, target=os.fsencode(towards)))
            self.looked_at[str(name)] = None
        self._put_file(program.file, str(program.file), executable=True)
        return str(program.path)

    def _inside(self, path: str) -> str:
        """A path in the guest; relative ones begin at its working folder. Raises UkperfError for what leads outside."""
        inside = os.path.normpath(self.request.cwd / path)
        if PurePosixPath(path).parts[:1] == ("..",):
            raise UkperfError(f"{path} is no path in the guest.", hint="Name one: HOST:/PATH/IN/GUEST.")
        return inside

    def _put_file(
        self, source: Path, target: str, *, executable: bool | None = None, content: bytes | None = None
    ) -> str:
        try:
            if content is None:
                with open_regular(source) as file:
                    status = os.fstat(file.fileno())
                size, runs = status.st_size, bool(status.st_mode & 0o100)
                self.looked_at[str(source)] = None
            else:
                size, runs = len(content), False
        except OSError as error:
            raise UkperfError(f"{source} cannot be packed: {reason(error)}.") from error
        mode = 0o755 if (runs if executable is None else executable) else 0o644
        where = str(source) if content is None else None
        self._add(Entry(image_path(target), Kind.FILE, mode, size, where, content or b""))
        return target

    def _add(self, entry: Entry) -> None:
        if entry not in self.entries:
            self.entries.append(entry)

    def _put_files(self, file: FileToPack) -> Iterable[Path]:
        """Pack one `--file`. The ELF files in a folder, whose libraries may be missing, are returned."""
        host = absolute(self.request.base / file.host)
        guest = file.guest or str(file.host)
        inside = self._inside(guest)
        if is_reserved(inside) and not (inside == "/" and host.is_dir()):
            hint = "Name another place: HOST:/PATH/IN/GUEST."
            raise UkperfError(f"{inside} is a path that guests keep for themselves.", hint=hint)
        if not host.is_dir():
            self._put_file(host, inside)
            if is_loadable(host):
                self.askers.append(host)
            return ()
        prefix = image_path(inside) + b"/" if inside != "/" else b""
        if prefix:
            self._add(Entry(prefix[:-1], Kind.DIRECTORY, 0o755))
        self.looked_at[str(host)] = None
        elves = []
        for entry in tree.scan(host):
            image_path(os.fsdecode(prefix + entry.path))
            self.entries.append(
                Entry(prefix + entry.path, entry.kind, entry.mode, entry.size, entry.source, b"", entry.target)
            )
            self.looked_at[str(host / os.fsdecode(entry.path))] = None
            if entry.source is not None and is_loadable(Path(entry.source)):
                elves.append(Path(entry.source))
        return elves

    def _put_libraries(self, executable: Executable, optional: Sequence[Path]) -> tuple[str, ...]:
        """Loaders and libraries of everything that is dynamic. Returns their names."""
        program = executable.program.file
        asking = {path: read_elf(path).interpreter for path in (program, *self.askers, *optional)}
        loaders = sorted({loader for loader in asking.values() if loader})
        needed = self._needed([program, *self.askers], optional)
        libc = needed.get("libc.so.6")
        if libc is not None:
            for name in DLOPENED:
                extra = self.search.find(name, program, executable.elf)
                if extra is not None:
                    needed.setdefault(name, extra)
        folder = libc.parent if libc is not None else Path("/lib")
        for loader in loaders:
            if not Path(loader).is_file():
                asker = next(path for path, wanted in asking.items() if wanted == loader)
                raise UkperfError(
                    f"{asker} asks for the loader {loader}, which is not on this machine.",
                    hint="Install the C library that it was built for, or build it statically.",
                )
            self._put_file(follow(Path(loader)).file, loader, executable=True)
        names = {PurePosixPath(loader).name for loader in loaders}
        for name, path in sorted(needed.items()):
            if name not in names:
                self._put_file(path, f"{folder}/{PurePosixPath(name).name}", executable=True)
                self.looked_at[str(path.parent)] = None
        return tuple(sorted({*names, *needed}))

    def _needed(self, files: Sequence[Path], optional: Sequence[Path]) -> dict[str, Path]:
        """The libraries of these files by their names, and those of optional ones as far as they are here."""
        needed, missing = needed_libraries(files, self.search)
        if missing:
            raise missing_library(missing[0])
        for path in optional:
            more, missing = needed_libraries([path], self.search)
            self.left_out += [f"{m.name}, which {m.asker} needs, is not on this machine" for m in missing]
            needed = {**more, **needed}
        return needed

    def _put_timing(self, executable: Executable, name: str) -> Timing:
        """What of ours tells when the program starts, and what it reads from standard input."""
        cwd = str(self.request.cwd)
        if executable.static:
            self._put_file(preload.start_program(self.cache), preload.STARTER, executable=True)
        elif PurePosixPath(executable.elf.interpreter).name == _GLIBC:
            self._put_preload(name)
        elif self.request.stdin is not None or cwd != "/":
            raise UkperfError(
                f"{executable.program.path} is a program with the loader {executable.elf.interpreter}, and takes no "
                "--cwd and no --stdin.",
                hint="Only static programs, and those that glibc's loader loads, can be prepared so.",
            )
        else:
            return Timing.GUEST
        self._put_stdin()
        return Timing.STARTER if executable.static else Timing.PRELOAD

    def _put_preload(self, name: str) -> None:
        """Our library, where the loader of a dynamic program brings it in. name: the program's."""
        cwd = str(self.request.cwd)
        library = preload.preload_library(self.cache)
        content = preload.with_settings(library, name=name, cwd="" if cwd == "/" else cwd, stdin=STDIN)
        self._put_file(library, preload.LIBRARY, content=content)
        self._put_file(library, preload.LIST, content=f"{preload.LIBRARY}\n".encode())
        self.looked_at[str(library)] = None

    def _put_stdin(self) -> None:
        for path in preload.sources():
            self.looked_at[str(path)] = None
        if self.request.stdin is None:
            self._put_file(Path(os.devnull), STDIN, content=b"")
        else:
            self._put_file(absolute(self.request.base / self.request.stdin), STDIN, executable=False)

    def _look_at_folders(self) -> None:
        """Where another program or library might turn up that would be taken instead."""
        for folder in (*self.request.path.split(os.pathsep), *self.search.environment, *self.search.system):
            self.looked_at[str(self.request.base / folder)] = None
        self.looked_at["/etc/ld.so.conf"] = None

    # ---- the tree ----

    def _program(
        self, entries: list[Entry], argv: tuple[str, ...], env: tuple[tuple[str, str], ...], timing: Timing
    ) -> Program:
        before = {entry.source: _facts(entry.source) for entry in entries if entry.source is not None}
        contents = self.cache.digests.entries(entries, self.cache.root / "packed" / self.request.words[0])

        def fill(folder: Path) -> None:
            root = folder / "root"
            root.mkdir()
            self._unpack(entries, root)
            if self.cache.digests.entries(tree.scan(root), root) != contents:
                changed = [source for source, facts in before.items() if _facts(source) != facts]
                name = changed[0] if changed else f"A file of {self.request.words[0]}"
                raise UkperfError(f"{name} changed while it was packed.", hint="Try again when nobody writes to it.")

        root = self.cache.entry("trees", contents, fill) / "root"
        everything = {
            "format": FORMAT,
            "tree": contents,
            "argv": argv,
            "env": [list(pair) for pair in env],
            "cwd": str(self.request.cwd),
            "timing": timing.value,
        }
        return Program(WORKLOAD, self.cache.key(everything), root, True, argv, env, settled=True)

    def _unpack(self, entries: Sequence[Entry], root: Path) -> None:
        tree.unpack(entries, root)


def _untouched(packed: Packed, cache: Cache) -> Packed:
    """`packed` itself. Raises UkperfError where its tree is no longer what its name says."""
    root = packed.program.path
    if cache.digests.tree(root) != root.parent.name:
        raise UkperfError(
            f"The tree {root} was changed after it was packed.",
            hint=f"Remove it: rm -r {shell(root.parent)}",
        )
    return packed


def _facts(source: str) -> tuple[int, int, int] | None:
    try:
        status = Path(source).stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns
