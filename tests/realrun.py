"""Running the `ukperf` program in a world of its own, and looking at what it leaves in the machine."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from ukperf.cli.main import application
from ukperf.guests import linux
from ukperf.guests.base import join_cmdline
from ukperf.paths import cache_dir

ROOT = Path(__file__).resolve().parents[1]
PATIENCE_S = 240.0
# What may be shared with the user's own cache: content-addressed, so nobody can tell. Not shared are sockets and locks
# between runs; what the truth check remembers is copied.
SHARED = ("kernels", "systems", "programs", "images", "digests", "locks", "tmp")
SHARED += ("python", "python-environments", "trees", "disks", "archives", "datasets")
VERDICT = "truth.json"
# More than half of what Linux does until it starts init are tests of its own cryptography (Debian's 6.1: 880 million of
# 1,560 million instructions; 6.12 makes them beside init). Where its boot is not what a test is about, it makes none.
QUICK = "cryptomgr.notests initcall_blacklist=jent_mod_init"  # the second: 6.12's noise from the CPU's timing
MAIN = "import sys; sys.argv[0] = 'ukperf'; from ukperf.cli.main import run; run()"


@dataclass
class World:
    """A cache, a data and a temporary folder of our own, and `ukperf` running in them."""

    folder: Path
    extra: Mapping[str, str] = field(default_factory=dict)
    python: str = sys.executable
    user: int | None = None  # run as this user and group
    patience_s: float = PATIENCE_S  # for one command
    whole_boots: bool = False  # Linux makes the tests of its cryptography

    @property
    def cache(self) -> Path:
        return self.folder / "c"

    def path(self, name: str) -> Path:
        return self.folder / name

    @property
    def environment(self) -> dict[str, str]:
        ours = {"UKPERF_CACHE_DIR": str(self.cache), "UKPERF_DATA_DIR": str(self.path("data"))}
        ours |= {"TMPDIR": str(self.path("tmp")), "PYTHONPATH": str(ROOT), "NO_COLOR": "1", **self.extra}
        return {**os.environ, **ours}

    def start(self, *words: str | Path, **options: Any) -> subprocess.Popen[str]:
        """`ukperf WORDS…`, running, in a session of its own."""
        typed = [str(word) for word in words]
        command = [self.python, "-c", MAIN, *(typed if self.whole_boots else quick(typed))]
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        identity: dict[str, Any] = {}
        if self.user is not None:
            identity = {"user": self.user, "group": self.user, "extra_groups": []}
        return subprocess.Popen(
            command, env=self.environment, start_new_session=True, cwd="/", **{**pipes, **identity, **options}
        )

    def run(self, *words: str | Path, status: int = 0) -> str:
        """What `ukperf WORDS…` printed: standard output, or standard error where it must fail."""
        out, err = self._ended(words, status)
        return out if status == 0 else err

    def _ended(self, words: Sequence[str | Path], status: int) -> tuple[str, str]:
        """Both outputs of a command that must end with this status."""
        process = self.start(*words)
        try:
            out, err = process.communicate(timeout=self.patience_s)
        except BaseException:
            process.kill()
            process.communicate()
            raise
        assert process.returncode == status, f"status {process.returncode}\n{out}\n{err}"
        assert "Traceback" not in err, err
        return out, err

    def json(self, *words: str | Path, status: int = 0) -> dict[str, Any]:
        """What it printed as JSON; a run that answers nothing prints it all the same, and ends with status 2."""
        found: dict[str, Any] = json.loads(self._ended((*words, "--json"), status)[0])
        return found

    def vmms(self) -> list[int]:
        """QEMU processes that run a guest of this world; not those that libvirt asks what QEMU can do."""
        return [
            pid
            for pid, argv in processes()
            if argv[0].rsplit("/", 1)[-1].startswith("qemu")
            and any(word.startswith("guest=ukperf-") for word in argv[1:])
            and self._named(argv[1:])
        ]

    def _named(self, words: Sequence[str]) -> bool:
        return any(str(self.cache / "embed") in word for word in words)

    def left_behind(self) -> list[str]:
        """Everything that no trial may leave: processes, sockets, folders, temporary files."""
        found = [f"process {pid}: {' '.join(argv)[:200]}" for pid, argv in processes() if self._named(argv)]
        sockets = Path("/proc/net/unix").read_text(encoding="utf-8", errors="replace").splitlines()
        found += [f"socket: {line}" for line in sockets if str(self.folder) in line]
        for folder in (self.cache / "embed", self.path("tmp")):
            found += [f"file: {path}" for path in folder.rglob("*")]
        return found


def quick(words: Sequence[str]) -> list[str]:
    """A command line with QUICK for linux, where linux takes part and nothing else is added to its own line."""
    before = list(words[: words.index("--")] if "--" in words else words)
    named = {word for flag, word in pairwise(before) if flag in ("-g", "--guest", "--baseline")}
    divided = "--baseline" not in before and named != {"native"}  # by linux, unless all are programs of this machine
    taking_part = not named or "linux" in named or divided
    if not taking_part or "--append" in before or not before or before[0] not in _appending():
        return list(words)
    return [words[0], "--append", f"linux={QUICK}", *words[1:]]


@cache
def _appending() -> frozenset[str]:
    """The commands that add to guests' command lines."""
    commands: Mapping[str, Any] = getattr(get_command(application()), "commands", {})
    return frozenset(name for name, one in commands.items() if any(param.name == "append" for param in one.params))


@contextmanager
def quick_linux() -> Iterator[None]:
    """Linux images that this process builds boot with QUICK, up to the end of the block."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(linux, "join_cmdline", lambda *parts: join_cmdline(*parts, QUICK))
        yield


@contextmanager
def world(**options: Any) -> Iterator[World]:
    """In /tmp whatever TMPDIR says: paths of sockets must be short."""
    shared = cache_dir()
    folder = Path(tempfile.mkdtemp(prefix="uk-", dir="/tmp"))
    try:
        ours = World(folder, **options)
        for path in (ours.cache, ours.path("data"), ours.path("tmp")):
            path.mkdir()
        for name in SHARED:
            (shared / name).mkdir(parents=True, exist_ok=True)
            (ours.cache / name).symlink_to(shared / name)
        _take_over(shared, ours.cache)
        yield ours
        if ours.user is None and ours.python == sys.executable:  # seen as this machine's user sees it
            _hand_on(ours.cache)
        for pid in ours.vmms():  # a test failed
            os.kill(pid, signal.SIGKILL)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _take_over(shared: Path, ours: Path) -> None:
    """What saves seconds of probing: libvirt itself checks that its capabilities fit, and ukperf that its verdict on
    KVM is of this QEMU and this boot of the machine. Another worker may be writing them: what is half there is not
    taken."""
    with suppress(shutil.Error, OSError):
        shutil.copytree(shared / "libvirt-capabilities", ours / "libvirt-capabilities")
    for remembered in (shared / VERDICT, _session() / VERDICT):
        with suppress(OSError):
            shutil.copy2(remembered, ours / VERDICT)


def _session() -> Path:
    """A folder of this user's that all workers of one `scripts/test.sh` have."""
    folder = Path(tempfile.gettempdir(), f"ukperf-tests-{os.getuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def _hand_on(ours: Path) -> None:
    """What this world's truth check found, for the next worlds: a KVM that cannot be used costs seconds each time."""
    with suppress(OSError):
        whole = _session() / f"{VERDICT}.{os.getpid()}"
        shutil.copy2(ours / VERDICT, whole)
        whole.replace(_session() / VERDICT)


def processes() -> Iterator[tuple[int, list[str]]]:
    """(pid, argv) of every process that is more than a zombie."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if command:
                yield int(entry.name), command.decode("utf-8", "replace").rstrip("\0").split("\0")


def wait_for(look: Callable[[], Any], what: str, process: subprocess.Popen[str] | None = None) -> Any:
    """What look() returns once that is true.

    Raises AssertionError when it never is, or the process that should bring it about has ended.
    """
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        if process is not None and process.poll() is not None:
            out, err = process.communicate()
            raise AssertionError(f"no {what}: ukperf ended with status {process.returncode}\n{out}\n{err}")
        time.sleep(0.005)
    raise AssertionError(f"no {what} within {PATIENCE_S:g} s")


def journal(run: Path) -> list[dict[str, Any]]:
    """The whole lines of a run's journal; empty where there is none yet."""
    try:
        text = (run / "journal.ndjson").read_text(encoding="utf-8")
    except OSError:
        return []
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
