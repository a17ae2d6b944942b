"""The journal: what was measured is never lost, whatever happens to the process, the disk or the file."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from records import boot, failed

from ukperf.engine.journal import JOURNAL, MAX_NUMBER, Journal, from_json, read_journal, to_json
from ukperf.errors import UkperfError
from ukperf.model import BootRecord, Outcome, Phase, Sample, Trial, Unit

FINITE = st.floats(allow_nan=False, allow_infinity=False)
COUNT = st.integers(0, 2**64)
NUMBER = st.integers(0, MAX_NUMBER - 1)
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(-(2**64), 2**64), FINITE, st.text())
SAMPLES = st.builds(
    Sample,
    st.text(),
    st.sampled_from(Unit),
    st.lists(FINITE, max_size=4).map(tuple),
    COUNT,
    st.lists(FINITE, max_size=3).map(tuple),
    st.dictionaries(st.text(), SCALARS, max_size=3),
)
RECORDS = st.builds(
    BootRecord,
    trial=st.builds(Trial, NUMBER, NUMBER, NUMBER, st.text(), NUMBER),
    outcome=st.sampled_from(Outcome),
    reason=st.text(),
    started_at=st.text(),
    phases=st.dictionaries(st.sampled_from(Phase), FINITE),
    unit=st.sampled_from(Unit),
    samples=st.lists(SAMPLES, max_size=2).map(tuple),
    checks=st.dictionaries(st.text(), st.text(), max_size=2),
    exit_status=st.none() | COUNT,
    ended_by_host=st.booleans(),
    clock_ratio=st.none() | FINITE,
    console_tail=st.text(),
    vmm_peak_rss=st.none() | COUNT,
    events=st.dictionaries(st.text(), st.integers(-(2**64), 2**64), max_size=2),
    ticks=st.dictionaries(st.text(), COUNT, max_size=2),
    noise=st.dictionaries(st.text(), FINITE, max_size=2),
    host_calls_ns=COUNT,
    host=st.text(),
    image_digest=st.text(),
)
SOME = [boot("linux", 0, index=0), failed(boot("nanos", 0, index=1)), boot("nanos", 0, index=2)]


def write(path: Path, records: list[BootRecord]) -> Path:
    with Journal(path) as journal:
        for record in records:
            journal.append(record)
    return path


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(RECORDS)
def test_any_record_comes_back_as_it_was(record: BootRecord) -> None:
    line = json.dumps(to_json(record), allow_nan=False)
    assert "\n" not in line
    assert from_json(json.loads(line)) == record


def test_a_line_of_the_first_ukperf_has_no_format_and_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / JOURNAL, SOME)
    text = path.read_text()
    assert text.count('{"format":1,') == len(SOME)
    path.write_text(text.replace('{"format":1,', "{"))
    write(path, SOME)
    assert read_journal(path).records == (*SOME, *SOME)


@pytest.mark.parametrize("end", ["\n", ""])
def test_a_line_of_a_newer_ukperf_is_refused_and_stays(tmp_path: Path, end: str) -> None:
    path = write(tmp_path / JOURNAL, SOME)
    with path.open("a") as journal:
        journal.write(f'{{"format":99,"what":"ever"}}{end}')
    before = path.read_bytes()
    with pytest.raises(UkperfError, match="written by a newer version of ukperf"):
        read_journal(path)
    if not end:  # a whole line in the middle is read when the run goes on
        with pytest.raises(UkperfError, match="written by a newer version of ukperf"), Journal(path):
            pass
    assert path.read_bytes() == before


def test_records_come_back_in_order(tmp_path: Path) -> None:
    contents = read_journal(write(tmp_path / JOURNAL, SOME))
    assert (list(contents.records), contents.damaged) == (SOME, ())


@given(st.data())
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_journal_cut_anywhere_loses_at_most_the_trial_under_way(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / JOURNAL
    path.unlink(missing_ok=True)
    whole = write(path, SOME).read_bytes()
    cut = data.draw(st.integers(0, len(whole)))
    path.write_bytes(whole[:cut])
    # A line that lacks nothing but its line feed was measured.
    kept = SOME[: (whole + b"\n")[: cut + 1].count(b"\n")]
    contents = read_journal(path)
    assert (list(contents.records), contents.damaged) == (kept, ())
    again = boot("linux", 7, index=9)
    write(path, [again])
    contents = read_journal(path)
    assert (list(contents.records), contents.damaged) == ([*kept, again], ())


DAMAGE = {
    "a hole in the file": b"\0" * 40,
    "half a line": b'{"trial":{"index":1',
    "other JSON": b"[1,2]",
    "a number": b"7",
    "bytes that are no UTF-8": b'{"trial":"\xff"}',
    "nesting": b"[" * 100_000,
    "an integer of thousands of digits": b"9" * 5_000,
}


@pytest.mark.parametrize("line", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_line_in_the_middle_costs_that_trial_alone(tmp_path: Path, line: bytes) -> None:
    path = write(tmp_path / JOURNAL, SOME)
    lines = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join([lines[0], line, lines[2], b""]))
    contents = read_journal(path)
    assert (list(contents.records), contents.damaged) == ([SOME[0], SOME[2]], (2,))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("trial", {"index": "1", "block": 0, "position": 0, "guest": "linux"}),
        ("trial", {"index": 1}),
        ("trial", [1]),
        ("outcome", "fine"),
        ("unit", "years"),
        ("phases", [1]),
        ("phases", {"lunch": 1.0}),
        ("phases", {"total": "1"}),
        ("phases", {"total": True}),
        ("phases", {"total": float("nan")}),
        ("phases", {"total": 10**400}),
        ("samples", {"a": 1}),
        ("samples", [{"benchmark": "b", "unit": "s", "values": 7}]),
        ("events", {"start": 1.5}),
        ("exit_status", "0"),
        ("exit_status", False),
        ("ended_by_host", 1),
        ("noise", 5),
        ("a field of tomorrow", 1),
        ("bad_frames", 2**64 + 1),
        ("exit_status", -(10**400)),
        ("elapsed_s", float("inf")),
        ("samples", [{"benchmark": "b", "unit": "s", "values": [1.0], "metadata": {"a": float("nan")}}]),
        ("samples", [{"benchmark": "b", "unit": "s", "values": [1.0], "metadata": {"a": 10**400}}]),
        *(
            ("trial", {"index": 1, "block": 0, "position": 0, "guest": "linux", "attempt": 0, key: number})
            for key in ("index", "block", "position", "attempt")
            for number in (-1, 10_000_000, 2**63, 10**400)
        ),
    ],
)
def test_a_line_with_a_wrong_type_is_a_damaged_one(tmp_path: Path, field: str, value: object) -> None:
    path = tmp_path / JOURNAL
    path.write_text(json.dumps({**to_json(SOME[0]), field: value}) + "\n")
    assert read_journal(path).damaged == (1,)


@pytest.mark.parametrize(("pause_s", "expected"), [(1.0, [1, 2, 3]), (0.11, [1, 2, 3]), (0.06, [1, 3]), (0.0, [1, 3])])
def test_lines_are_on_the_disk_at_once_or_a_tenth_of_a_second_later_and_all_at_the_end(
    pause_s: float, expected: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pause_s: how long a trial takes."""
    path = tmp_path / JOURNAL
    synced: list[int] = []
    fsync, now = os.fsync, 5.0

    def watched(descriptor: int) -> None:
        fsync(descriptor)
        if os.fstat(descriptor).st_ino == path.stat().st_ino:
            synced.append(path.read_bytes().count(b"\n"))

    monkeypatch.setattr(os, "fsync", watched)
    monkeypatch.setattr("ukperf.engine.journal.time.monotonic", lambda: now)
    with Journal(path) as journal:
        for count, record in enumerate(SOME, 1):
            now += pause_s
            journal.append(record)
            assert path.read_bytes().count(b"\n") == count  # what kill -9 leaves
    assert synced == expected


def test_a_disk_that_refuses_the_last_lines_at_the_end_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with pytest.raises(UkperfError, match="Input/output error"), Journal(tmp_path / JOURNAL) as journal:
        journal.append(SOME[0])
        journal.append(SOME[1])
        monkeypatch.setattr(os, "fsync", broken)


def test_a_full_disk_is_a_sentence_and_leaves_whole_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / JOURNAL
    write_all, room = os.write, 0

    def full(descriptor: int, data: bytes) -> int:
        nonlocal room
        if not room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = write_all(descriptor, bytes(data)[:room])
        room -= written
        return written

    with Journal(path) as journal:
        journal.append(SOME[0])
        monkeypatch.setattr(os, "write", full)
        room = 50
        with pytest.raises(UkperfError) as caught:
            journal.append(SOME[1])
        room = 10**6
        journal.append(SOME[2])
    assert caught.value.message == f"{path} cannot be written: No space left on device."
    assert f"ukperf resume {tmp_path}" in str(caught.value.hint)
    assert list(read_journal(path).records) == [SOME[0], SOME[2]]


def test_a_disk_that_takes_the_bytes_but_not_for_good_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / JOURNAL

    def broken(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with Journal(path) as journal:
        monkeypatch.setattr(os, "fsync", broken)
        with pytest.raises(UkperfError, match="Input/output error"):
            journal.append(SOME[0])
    assert path.read_bytes() == b""


def test_writes_in_pieces_make_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_all = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write_all(descriptor, bytes(data)[:7]))
    assert list(read_journal(write(tmp_path / JOURNAL, SOME)).records) == SOME


def test_an_interrupt_between_two_pieces_leaves_whole_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, write_all, calls = tmp_path / JOURNAL, os.write, 0

    def interrupted(descriptor: int, data: bytes) -> int:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise KeyboardInterrupt
        return write_all(descriptor, bytes(data)[:9])

    with Journal(path) as journal:
        journal.append(SOME[0])
        monkeypatch.setattr(os, "write", interrupted)
        with pytest.raises(KeyboardInterrupt):
            journal.append(SOME[1])
    assert list(read_journal(path).records) == SOME[:1]


def test_an_interrupt_right_behind_the_last_piece_keeps_the_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python handles a signal between a call's end and the use of what it returned."""
    path, write_all = tmp_path / JOURNAL, os.write

    def interrupted(descriptor: int, data: bytes) -> int:
        write_all(descriptor, data)
        raise KeyboardInterrupt

    with Journal(path) as journal:
        journal.append(SOME[0])
        monkeypatch.setattr(os, "write", interrupted)
        with pytest.raises(KeyboardInterrupt):
            journal.append(SOME[1])
    assert list(read_journal(path).records) == SOME[:2]


def test_an_interrupt_while_the_disk_is_waited_for_keeps_the_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, fsync = tmp_path / JOURNAL, os.fsync

    def interrupted(descriptor: int) -> None:
        fsync(descriptor)
        raise KeyboardInterrupt

    with Journal(path) as journal:
        monkeypatch.setattr(os, "fsync", interrupted)
        with pytest.raises(KeyboardInterrupt):
            journal.append(SOME[0])
    assert list(read_journal(path).records) == SOME[:1]


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    path = tmp_path / JOURNAL
    with Journal(path) as journal:
        with pytest.raises(UkperfError, match="Another ukperf is writing"), Journal(path):
            pass
        journal.append(SOME[0])
    assert len(read_journal(write(path, SOME[1:])).records) == 3


@pytest.mark.parametrize("path", ["nowhere/journal.ndjson", "."])
def test_a_journal_that_cannot_be_opened_is_a_sentence(tmp_path: Path, path: str) -> None:
    with pytest.raises(UkperfError, match="cannot be written"), Journal(tmp_path / path):
        pass
    with pytest.raises(UkperfError, match="cannot be read"):
        read_journal(tmp_path / path)


def test_what_is_larger_than_any_journal_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / JOURNAL
    with path.open("wb") as file:
        file.truncate(3 << 30)
    with pytest.raises(UkperfError, match="more than 2 GiB"):
        read_journal(path)


@pytest.mark.parametrize("how", ["removed", "replaced", "folder"])
def test_a_journal_that_was_removed_meanwhile_stops_the_run(tmp_path: Path, how: str) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    path = folder / JOURNAL
    with Journal(path) as journal:
        journal.append(boot("linux", 0))
        if how == "folder":
            shutil.rmtree(folder)
        else:
            path.unlink()
        if how == "replaced":
            path.write_text("")
        with pytest.raises(UkperfError, match="removed or replaced") as caught:
            journal.append(boot("linux", 1))
        assert "gone with it, unless" in str(caught.value.hint)


def test_a_journal_that_was_moved_meanwhile_is_said_to_be_where_it_is_now(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with Journal(tmp_path / "run" / JOURNAL) as journal:
        journal.append(boot("linux", 0))
        (tmp_path / "run").rename(tmp_path / "kept for later")
        with pytest.raises(UkperfError, match="was moved while") as caught:
            journal.append(boot("linux", 1))
        assert f"ukperf resume '{tmp_path / 'kept for later'}'" in str(caught.value.hint)
        assert "gone" not in str(caught.value.hint)
        (tmp_path / "kept for later").rename(tmp_path / "run")
        (tmp_path / "run" / JOURNAL).rename(tmp_path / "run" / "old")
        with pytest.raises(UkperfError, match="was moved while") as caught:
            journal.append(boot("linux", 1))
        assert f"in {tmp_path / 'run' / 'old'}; move it back" in str(caught.value.hint)
        (tmp_path / "run" / "other").hardlink_to(tmp_path / "run" / "old")
        (tmp_path / "run" / "old").unlink()
        with pytest.raises(UkperfError, match="was moved while") as caught:
            journal.append(boot("linux", 1))
        assert "under another name" in str(caught.value.hint)
