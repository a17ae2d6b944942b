"""Building a guest's kernel: from a package's source, with an apt, a compiler and a make of shell scripts."""

from __future__ import annotations

import hashlib
import io
import shutil
import sys
import tarfile
import time
from collections import namedtuple
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
from fakeapt import FakeApt
from fakekernels import elf

from ukperf import guests
from ukperf.errors import UkperfError
from ukperf.imaging import cleaning, kconfig, kernelbuild, kernelsource, longrun
from ukperf.imaging.apt import Apt
from ukperf.imaging.cache import Cache
from ukperf.imaging.kernelbuild import BuiltKernel, Making, Order
from ukperf.imaging.kernelstore import Check, KernelStore, StoredKernel
from ukperf.resources import data
from ukperf.signals import Ended

OPTIONS = """
[[group]]
reason = "programs wait"
on = ["FUTEX", "GONE", "OLD"]
off = ["NOISE", "NEVER_WAS"]

[[group]]
reason = "a console"
on = ["NEEDY"]
numbers = { PORTS = 1 }
texts = { NAME = "-lean" }

[renamed]
OLD = "NEWER"
"""
ORDER = Order("linux-source", ("*/sound/*.c",), 3, 1)
KCONFIG = "config FUTEX\n\tbool\nmenuconfig NEEDY\nconfig NOISE\nconfig NEWER\nconfig PORTS\nconfig NAME\n"
# allnoconfig writes .config as Kconfig does: without NEEDY, which depends on something. vmlinux "compiles" a file a
# line, leaves out what is there, and stops at a file that says so.
MAKE = """
for word; do
  case $word in O=*) out=${word#O=};; esac
  last=$word
done
case $last in
allnoconfig) grep -v NEEDY "$KCONFIG_ALLCONFIG" >"$out/.config"; exit;;
esac
mkdir -p "$out/kernel"  # as the real one does
for n in 1 2 3; do
  [ -e "$out/$n.o" ] && continue
  [ ! -e WHERE/stops-$n ] || { cat WHERE/stops-$n; exit 2; }
  [ ! -e WHERE/hangs-$n ] || { touch WHERE/hanging; exec sleep 1000; }
  echo "$n" >>WHERE/compiled
  touch "$out/$n.o"
  echo "  CC      $n.o"
done
cp WHERE/kernel "$out/vmlinux"
"""


@dataclass
class Bench:
    """What a build needs, all of it ours."""

    folder: Path
    apt: FakeApt
    cache: Cache
    store: KernelStore
    order: Order
    said: list[str] = field(default_factory=list)
    shown: list[str] = field(default_factory=list)

    def build(self, progress: Callable[[str], None] | None = None, check: Check | None = None) -> BuiltKernel:
        options = self.folder / "options.toml"
        making = Making("linux-lean", options, self.order, self.cache, self.said.append, progress or self.shown.append)
        (self.folder / "apt").mkdir(exist_ok=True)
        source = kernelsource.newest(Apt(self.folder / "apt"), self.order.source, self.order.leave_out)
        return kernelbuild.build(making, source, self.store, check)

    def tell(self, name: str, text: str = "") -> Path:
        path = self.folder / name
        path.write_text(text)
        return path

    def compiled(self) -> list[str]:
        path = self.folder / "compiled"
        return path.read_text().split() if path.exists() else []

    def half_done(self) -> list[str]:
        folder = self.cache.root / kernelbuild.FOLDER
        return sorted({path.name for path in folder.rglob("*") if path.is_file()})

    def processes(self) -> list[str]:
        listed = "\n".join(" ".join(each.info["cmdline"] or ()) for each in psutil.process_iter(["cmdline"]))
        return [line for line in listed.splitlines() if str(self.folder) in line]


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    apt = FakeApt(tmp_path)
    apt.script("make", MAKE.replace("WHERE", str(tmp_path)))
    apt.script("cc", 'case "$*" in *--version*) echo "cc of tests 1";; esac\n')
    apt.script("strip", 'cp "$4" "$3"\n')
    for tool in ("flex", "bison", "bc", "ld"):
        apt.script(tool, "")
    for tool in ("cat", "cp", "sleep", "touch", "grep", "tar", "xz", "nice", "mkdir"):
        (apt.bin / tool).symlink_to(str(shutil.which(tool)))
    monkeypatch.setenv("PATH", str(apt.bin))
    monkeypatch.setenv("CC", str(apt.bin / "cc"))
    bench = Bench(tmp_path, apt, Cache(tmp_path / "cache"), KernelStore(tmp_path / "store"), ORDER)
    bench.tell("options.toml", OPTIONS)
    (tmp_path / "kernel").write_bytes(elf(62, b"\0Linux version 9.9.1-lean (x)\0"))
    apt.package("linux-source", ["linux-source-9.9"], {})
    apt.package("linux-source-9.9", ["xz-utils"], {"./usr/src/linux-source-9.9.tar.xz": source_archive()})
    return bench


def source_archive(**more: str) -> bytes:
    files = {"init/Kconfig": KCONFIG, "arch/x86/Kconfig": "config X86\n", "arch/arm/Kconfig": "config GONE\n"}
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:xz") as archive:
        for name, text in {**files, "sound/loud.c": "", "README": "", **more}.items():
            member = tarfile.TarInfo(f"linux-source-9.9/{name}")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    return out.getvalue()


def test_a_kernel_is_built_once_and_kept_whole(bench: Bench) -> None:
    built = bench.build()
    entry = built.entry
    assert entry.version.startswith("1~") and len(entry.version) == 10
    assert entry.path("kernel").read_bytes() == (bench.folder / "kernel").read_bytes()
    assert "CONFIG_FUTEX=y" in entry.path("config").read_text()
    assert entry.source == "linux-source-9.9 1" and entry.source_digest == "0" * 64
    assert [checked.problem for checked in bench.store.verify()] == [None]
    assert bench.half_done() == []
    again = bench.build()
    assert (again.entry, again.seconds) == (entry, 0.0) and bench.compiled() == ["1", "2", "3"]


def test_a_kernel_that_could_not_be_probed_is_probed_later_and_not_built_again(bench: Bench) -> None:
    assert not bench.build(check=lambda entry: False).entry.probed
    assert bench.build(check=lambda entry: True).entry.probed
    assert bench.compiled() == ["1", "2", "3"]


def test_a_kernel_that_the_probe_refuses_is_not_stored(bench: Bench) -> None:
    def refuse(entry: StoredKernel) -> bool:
        raise UkperfError("it does not boot")

    with pytest.raises(UkperfError, match="does not boot"):
        bench.build(check=refuse)
    assert bench.store.entries() == []


def test_how_far_it_is_is_shown(bench: Bench) -> None:
    bench.build()
    assert bench.shown[:2] == ["unpacking linux-source-9.9 1", "configuring"]
    assert bench.shown[2].startswith("compiling: 1 of about 3 files, ")
    assert bench.shown[4].startswith("compiling: 3 of about 3 files, ")


def test_options_that_vanished_or_were_refused_are_said(bench: Bench) -> None:
    """GONE is an option of another architecture only; OLD has another name here, and NEVER_WAS is off as it should
    be."""
    missed = bench.build().missed
    assert [(m.name, m.vanished) for m in missed] == [("GONE", True), ("NEEDY", False)]
    assert bench.said == [
        "This source has no option GONE, which was wanted for this: programs wait.",
        "NEEDY is n, not y, which was wanted for this: a console.",
    ]


@pytest.mark.parametrize("what", ["options", "source", "compiler"])
def test_another_input_is_another_kernel(bench: Bench, what: str) -> None:
    first = bench.build().entry
    if what == "options":
        bench.tell("options.toml", OPTIONS.replace("PORTS = 1", "PORTS = 2"))
    elif what == "source":
        bench.apt.package("linux-source-9.9", [], {"./usr/src/linux-source-9.9.tar.xz": source_archive(more="x")})
        facts = bench.folder / "facts" / "show-linux-source-9.9"
        facts.write_text(facts.read_text().replace("0" * 64, "1" * 64))
    else:
        other = bench.apt.bin / "cc-2"
        bench.apt.script("cc-2", 'case "$*" in *--version*) echo "cc of tests 2";; esac\n')
        pytest.MonkeyPatch().setenv("CC", str(other))
    second = bench.build().entry
    assert second.version != first.version and len(bench.compiled()) == 6
    assert bench.store.find("linux-lean") == second


def test_a_build_that_failed_goes_on_where_it_was(bench: Bench) -> None:
    stops = bench.tell("stops-3", "x.c:1: error: no such thing\nmake: *** [3.o] Error 1\n")
    with pytest.raises(UkperfError, match=r"could not build the kernel of linux-lean: x\.c:1: error: no such thing"):
        bench.build()
    assert bench.store.entries() == [] and bench.compiled() == ["1", "2"]
    stops.unlink()
    bench.build()
    assert bench.compiled() == ["1", "2", "3"] and bench.half_done() == []


def test_a_full_disk_is_said_with_what_to_do(bench: Bench) -> None:
    bench.tell("stops-2", "x.s: fatal error: can't write 12 bytes: No space left on device\nmake: Error 1\n")
    with pytest.raises(UkperfError, match="No space left on device") as caught:
        bench.build()
    assert "Make room" in (caught.value.hint or "") and bench.store.entries() == []


def test_no_space_is_said_before_anything_is_fetched(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10 << 30, 10 << 30, 5 << 20))
    bench.order = Order("linux-source", (), 3, 2500)
    with pytest.raises(UkperfError, match=r"take 2,500 MiB, and .* has 5 MiB free") as caught:
        bench.build()
    assert "UKPERF_CACHE_DIR" in (caught.value.hint or "") and not bench.apt.log.exists()


def test_an_interrupt_ends_the_compiler_and_the_next_build_goes_on(bench: Bench) -> None:
    bench.tell("hangs-2")

    def ctrl_c(line: str) -> None:
        if line.startswith("compiling: 1"):
            raise Ended(2)

    with pytest.raises(KeyboardInterrupt):
        bench.build(ctrl_c)
    until = time.monotonic() + 60  # a killed process may be listed for a moment
    while bench.processes() and time.monotonic() < until:
        time.sleep(0.05)
    assert bench.processes() == [] and bench.store.entries() == []
    (bench.folder / "hangs-2").unlink()
    bench.build()
    assert bench.compiled() == ["1", "2", "3"]


def test_a_source_that_was_half_unpacked_is_unpacked_anew(bench: Bench) -> None:
    whole = bench.folder / "pool" / "linux-source-9.9_1_amd64.deb"
    content = whole.read_bytes()
    whole.write_bytes(content[:700])
    with pytest.raises(UkperfError, match=r"linux-source-9\.9_1_amd64\.deb"):
        bench.build()
    assert bench.half_done() == []
    whole.write_bytes(content)
    bench.build()


def test_what_builds_of_other_inputs_left_goes(bench: Bench) -> None:
    stops = bench.tell("stops-3", "error: x\n")
    with pytest.raises(UkperfError):
        bench.build()
    assert "1.o" in bench.half_done()
    stops.unlink()
    bench.tell("options.toml", OPTIONS.replace("PORTS = 1", "PORTS = 2"))
    bench.build()
    assert bench.half_done() == [] and bench.compiled() == ["1", "2", "1", "2", "3"]


@pytest.mark.parametrize(
    ("tool", "package"), [("flex", "flex"), ("bison", "bison"), ("make", "make"), ("xz", "xz-utils")]
)
def test_a_missing_tool_is_said_with_its_package(bench: Bench, tool: str, package: str) -> None:
    (bench.apt.bin / tool).unlink()
    with pytest.raises(UkperfError, match=f"this machine lacks {tool}") as caught:
        bench.build()
    assert caught.value.hint == f"Debian, Ubuntu: sudo apt-get install {package}"


def test_a_missing_header_and_a_missing_compiler_are_said(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.apt.script("cc", 'case "$*" in *--version*) echo 1;; *) exit 1;; esac\n')
    with pytest.raises(UkperfError, match=r"lacks the header gelf.h") as caught:
        bench.build()
    assert caught.value.hint == "Debian, Ubuntu: sudo apt-get install libelf-dev"
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(UkperfError, match="no C compiler"):
        bench.build()


def test_no_linux_source_is_said(bench: Bench) -> None:
    bench.order = Order("linux-sauce", (), 3, 1)
    with pytest.raises(UkperfError, match="apt knows no package linux-sauce"):
        bench.build()


def test_images_clean_knows_what_a_build_left_and_leaves_what_is_in_use(bench: Bench) -> None:
    bench.tell("stops-3", "error: x\n")
    with pytest.raises(UkperfError):
        bench.build()
    entries = [entry for entry in cleaning.entries(bench.cache.root) if entry.kind == kernelbuild.FOLDER]
    assert len(entries) == 1
    assert [entry.key for entry in cleaning.clean(bench.cache.root).in_use] == [entries[0].key], (
        "it is ours until we end"
    )


def test_two_builds_at_once_are_one_too_many(bench: Bench) -> None:
    place = kernelbuild._Place(Making("linux-lean", Path(), bench.order, bench.cache, print), "0" * 64)
    with place.locked(), pytest.raises(UkperfError, match="Another ukperf is building"):
        bench.build()
    bench.build()


def test_a_name_that_make_does_not_take_is_said(bench: Bench, tmp_path: Path) -> None:
    bench.cache = Cache(tmp_path / "a b")
    with pytest.raises(UkperfError, match="make takes no such name"):
        bench.build()


def test_a_program_that_never_ends_is_ended() -> None:
    started = time.monotonic()
    with pytest.raises(UkperfError, match="did not end"):
        longrun.run([sys.executable, "-c", "import time; time.sleep(1000)"], timeout_s=0.5)
    assert time.monotonic() - started < 100


# ---- options ----


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('[[group]]\nreason = " "\non = ["A"]\n', "gives no reason"),
        ('[[group]]\nreason = "x"\non = ["A"]\noff = ["A"]\n', "there twice"),
        ('[[group]]\nreason = "x"\non = ["A=y\\nB"]\n', "is no option"),
        ('[[group]]\nreason = "x"\ntexts = { A = "a\\"b" }\n', "is no option"),
        ("[[group]]\n", "reason"),
        ("group = 1", "damaged"),
        ("[", "damaged"),
    ],
)
def test_options_are_checked(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "o.toml"
    path.write_text(text)
    with pytest.raises(UkperfError, match=sentence):
        kconfig.read_options(path)


def test_a_fragment_has_each_options_reason_and_value(tmp_path: Path) -> None:
    (tmp_path / "o.toml").write_text(OPTIONS)
    options = kconfig.read_options(tmp_path / "o.toml")
    text = kconfig.fragment(options, frozenset({"FUTEX", "NEWER", "NOISE", "PORTS", "NAME"}))
    assert text.splitlines() == [
        "# programs wait",
        "CONFIG_FUTEX=y",
        "CONFIG_NEWER=y",
        "# CONFIG_NOISE is not set",
        "# a console",
        "CONFIG_PORTS=1",
        'CONFIG_NAME="-lean"',
    ]


def test_what_is_as_it_was_wanted_is_not_said(tmp_path: Path) -> None:
    (tmp_path / "o.toml").write_text(OPTIONS)
    options = kconfig.read_options(tmp_path / "o.toml")
    known = frozenset({"FUTEX", "NEWER", "NOISE", "PORTS", "NAME", "NEEDY", "GONE"})
    config = 'CONFIG_FUTEX=y\nCONFIG_NEWER=y\nCONFIG_PORTS=1\nCONFIG_NAME="-lean"\nCONFIG_NEEDY=y\nCONFIG_GONE=y\n'
    assert kconfig.missed(options, known, config) == []
    (noise,) = kconfig.missed(options, known, config + "CONFIG_NOISE=y\n")
    assert (noise.name, noise.wanted, noise.got, noise.vanished) == ("NOISE", "n", "y", False)


def test_our_options_are_sound_and_its_recipe_is_complete() -> None:
    options = kconfig.read_options(data("images", "linux-lean", "options.toml"))
    assert {"FUTEX", "EXT4_FS", "VIRTIO_NET", "PAGE_TABLE_ISOLATION"} <= {n for g in options.group for n in g.on}
    guest = guests.of_store("linux-lean")
    linux = guests.get("linux").recipe
    assert set(guest.recipe.machines) < set(linux.machines) and guest.recipe.listed("special") == linux.listed(
        "special"
    )
    assert hashlib.sha256(b"").hexdigest() not in guest.get_one and "build-kernel linux-lean" in guest.get_one
