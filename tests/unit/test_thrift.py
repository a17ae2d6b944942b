"""Records of large journals in little memory: the same records."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from records import boot, run_of, save_run
from test_over_machines import on_machines

from ukperf import workloads
from ukperf.cli import output
from ukperf.engine import journal
from ukperf.engine import plan as plans
from ukperf.engine.journal import JOURNAL, from_json, read_journal, to_json
from ukperf.engine.thrift import Thrift
from ukperf.errors import UkperfError
from ukperf.model import BootRecord, Phase, Result, Status
from ukperf.stats.summary import summarize
from ukperf.workloads.base import Finished, NoOptions

names = st.sampled_from(["main", "total", "exit", "measured", "cpu"])
counts = st.dictionaries(names, st.integers(-(1 << 70), 1 << 70))
numbers = st.dictionaries(names, st.one_of(st.floats(allow_nan=False), st.integers(0, 9)))
texts = st.dictionaries(names, st.sampled_from(["measured", "total", "x" * 50, ""]))
records = st.builds(
    lambda events, ticks, noise, facts, phases, statuses: replace(
        boot("linux", 3), events=events, ticks=ticks, noise=noise, facts=facts, phases=phases, statuses=statuses
    ),
    counts,
    counts,
    numbers,
    texts,
    st.dictionaries(st.sampled_from(Phase), st.floats(0, 9)),
    st.dictionaries(names, st.sampled_from(Status)),
)


@given(st.lists(records, max_size=6))
def test_every_record_is_what_it_was_to_the_kinds_of_its_names_and_values(given_records: list[BootRecord]) -> None:
    thrift = Thrift()
    for record in given_records:
        kept = thrift(record)
        assert kept == record and to_json(kept) == to_json(record)
        for field in ("events", "ticks", "noise", "facts", "phases", "statuses"):
            before, after = getattr(record, field), getattr(kept, field)
            assert list(after) == list(before) and dict(after) == dict(before)
            assert [(type(n), type(v)) for n, v in after.items()] == [(type(n), type(v)) for n, v in before.items()]


def test_what_records_have_in_common_is_there_once() -> None:
    thrift = Thrift()
    first, second = (thrift(from_json(to_json(replace(boot("linux", n), facts={"cpu": "a CPU"})))) for n in range(2))
    assert first.facts is second.facts and first.trial.guest is second.trial.guest
    assert first.trial.block != second.trial.block


def test_a_large_journal_gives_the_same_figures_as_a_small_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = save_run(tmp_path / "run", run_of({"linux": 1.0, "nanos": 0.5}, 12, samples=("a",)))
    plain = read_journal(folder / JOURNAL)
    monkeypatch.setattr(journal, "LARGE", 0)
    packed = read_journal(folder / JOURNAL)
    assert packed == plain and type(packed.records[0].events) is not dict
    assert summarize(packed.records, "linux", 0.01) == summarize(plain.records, "linux", 0.01)
    monkeypatch.setattr(journal, "MAX_BYTES", 10)
    with pytest.raises(UkperfError, match="it has more than 10 bytes"):
        read_journal(folder / JOURNAL)


def test_a_run_of_very_many_boots_has_its_page_and_no_suite(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = on_machines({f"node{n}": 0.5 for n in range(5)})
    folder = save_run(tmp_path / "run", made)
    monkeypatch.setattr(journal, "LARGE", 0)
    monkeypatch.setattr(output, "MOST_IN_SUITE", len(made) - 1)
    result = Result(folder, plans.load(folder), read_journal(folder / JOURNAL).records, "")
    output.show(workloads.of_run("boot"), Finished(result), NoOptions(), as_json=False)
    said = capsys.readouterr().out
    assert "Over 5 machines" in said and f"No suite.json: of {len(made)} boots" in said
    assert not (folder / "suite.json").exists()
    output.show(workloads.of_run("boot"), Finished(result), NoOptions(), as_json=True)
    assert len(json.loads(capsys.readouterr().out)["hosts"]) == 5
