"""A tree of files as one stream: what is written from it is what was read, and nothing lies outside."""

from __future__ import annotations

import base64
import json
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ukperf.errors import UkperfError
from ukperf.imaging.digests import Digests
from ukperf.imaging.tree import Entry, Kind, scan, unpack, with_parents
from ukperf.imaging.treeparcel import TreeParcel, write

NAMES = st.binary(min_size=1, max_size=12).filter(lambda name: not {0, 47} & set(name) and name not in (b".", b".."))
LEAVES = st.dictionaries(
    st.lists(NAMES, min_size=1, max_size=3).map(b"/".join),
    st.tuples(st.binary(max_size=40), st.sampled_from((0o644, 0o755, None))),
    max_size=6,
)


@settings(max_examples=60, deadline=None)
@given(LEAVES, st.integers(1, 200))
def test_what_is_written_is_what_was_read_in_pieces_of_any_size(
    leaves: dict[bytes, tuple[bytes, int | None]], step: int
) -> None:
    below = {path for path in leaves if any(path.startswith(other + b"/") for other in leaves)}
    entries = [
        Entry(path, Kind.LINK, 0o777, target=data.replace(b"\0", b"") or b"x")
        if mode is None
        else Entry(path, Kind.FILE, mode, len(data), None, data)
        for path, (data, mode) in leaves.items()
        if path not in below
    ]
    with tempfile.TemporaryDirectory() as folder:
        ours, theirs, sent = (Path(folder, name) for name in ("ours", "theirs", "sent"))
        ours.mkdir()
        unpack(with_parents(entries), ours)
        parcel = TreeParcel(ours)
        pieces = list(iter(lambda: parcel.read(step), b""))
        assert all(len(piece) == step for piece in pieces[:-1])
        sent.write_bytes(b"".join(pieces))
        assert sent.stat().st_size == parcel.size
        write(sent, theirs)
        known = Digests(Path(folder, "digests"))
        assert known.entries(scan(theirs), theirs) == known.entries(scan(ours), ours)


def line(path: bytes, kind: str = "file", **more: object) -> bytes:
    told = {"path": base64.b64encode(path).decode(), "kind": kind, "mode": 0o644, **more}
    return json.dumps(told).encode() + b"\n"


OUT = line(b"out", "link", target=base64.b64encode(b"..").decode())
HOSTILE = {
    "above": line(b"../x"),
    "absolute": line(b"/x"),
    "itself": line(b"."),
    "nothing": line(b""),
    "through a folder that is none": line(b"a/x"),
    "through a link": OUT + line(b"out/x"),
    "over a link": OUT + line(b"out"),
    "twice": line(b"x") + line(b"x"),
    "null": line(b"a\0b"),
    "cut off": line(b"x", size=9) + b"few",
    "a link to nowhere": line(b"x", "link"),
    "a device": line(b"x", "device"),
    "negative": line(b"x", size=-1),
    "no base64": json.dumps({"path": "??", "kind": "file", "mode": 1}).encode() + b"\n",
    "deep": b"[" * 20_000 + b"\n",
    "no end": b"a" * 40_000,
    "no line": b"{}",
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE.keys())
def test_what_is_no_tree_is_refused_and_nothing_lies_outside(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "parcel").write_bytes(data)
    (tmp_path / "in").mkdir()
    with pytest.raises(UkperfError, match="It sends"):
        write(tmp_path / "parcel", tmp_path / "in" / "root")
    assert {path.name for path in tmp_path.iterdir()} == {"parcel", "in"}
    assert [path.name for path in (tmp_path / "in").iterdir()] == ["root"]


def test_a_tree_of_too_many_files_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ukperf.imaging.treeparcel.MOST_ENTRIES", 3)
    (tmp_path / "parcel").write_bytes(b"".join(line(b"%d" % n) for n in range(5)))
    with pytest.raises(UkperfError, match="more than 3 files"):
        write(tmp_path / "parcel", tmp_path / "root")


def test_a_file_that_became_shorter_while_it_was_sent_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "log").write_bytes(b"long" * 1000)
    parcel = TreeParcel(tmp_path / "root")
    (tmp_path / "root" / "log").write_bytes(b"short")
    with pytest.raises(UkperfError, match="became shorter while it was sent"):
        parcel.read(parcel.size)
    shutil.rmtree(tmp_path / "root")
    with pytest.raises(UkperfError, match="is not a directory"):
        TreeParcel(tmp_path / "root")
