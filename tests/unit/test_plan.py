"""plan.json comes back as it was, and whatever else stands there is one sentence."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from records import run_of, save_run

import ukperf
from ukperf.engine.plan import PLAN, load, refuse_foreign, save
from ukperf.engine.schedule import block_order
from ukperf.errors import UkperfError
from ukperf.model import (
    BALANCED,
    INDEPENDENT,
    Accelerator,
    BootProtocol,
    Image,
    Launch,
    Limits,
    Machine,
    MachineKind,
    Plan,
    Trait,
)

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
PATHS = st.from_regex(r"/[a-zé ]{1,8}", fullmatch=True).map(Path)
NAMES = st.from_regex(r"[a-z]{1,8}", fullmatch=True)
IMAGES = st.builds(
    Image,
    guest=NAMES,
    workload=TEXT,
    digest=TEXT,
    program_digest=TEXT,
    protocol=st.sampled_from(BootProtocol),
    kernel=st.none() | PATHS,
    initrd=st.none() | PATHS,
    disk=st.none() | PATHS,
    cmdline=TEXT,
    argv=st.lists(TEXT, max_size=3).map(tuple),
    env=st.lists(st.tuples(TEXT, TEXT), max_size=2).map(tuple),
    traits=st.lists(st.sampled_from(Trait), max_size=2).map(tuple),
    powers_off=st.booleans(),
    min_memory_mib=st.integers(0, 10**6),
)
FRACTIONS = st.floats(1e-6, 1.0)
PLANS = st.builds(
    Plan,
    run_id=NAMES,
    created_at=TEXT,
    workload=TEXT,
    images=st.lists(IMAGES, min_size=1, max_size=3).map(lambda images: {image.guest: image for image in images}),
    baseline=NAMES,
    machine=st.builds(Machine, st.sampled_from(MachineKind), st.integers(1, 10**6), pin=st.just((0, 2))),
    accelerator=st.sampled_from(Accelerator),
    launch=st.sampled_from(Launch),
    hosts=st.lists(TEXT, min_size=1, max_size=2).map(tuple),
    seed=st.integers(-(2**63), 2**63),
    limits=st.builds(Limits, st.integers(1, 10**5), st.none() | FRACTIONS, st.none() | FRACTIONS, st.booleans()),
    delta=FRACTIONS,
    memory_mib=st.dictionaries(NAMES, st.integers(1, 10**6), max_size=2),
    command=st.lists(TEXT, max_size=3).map(tuple),
    facts=st.dictionaries(TEXT, TEXT, max_size=2),
)
PLAIN = Plan(
    "0123456789abcdef",
    "2026-01-01T00:00:00+00:00",
    "boot",
    {"linux": Image("linux", "boot", "d", "p", BootProtocol.KERNEL, kernel=Path("/k"))},
    "linux",
    Machine(),
    Accelerator.ICOUNT,
    Launch.LIBVIRT,
    ("qemu:///embed",),
    1,
    Limits(),
)


@given(PLANS)
@settings(max_examples=50, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
def test_any_plan_comes_back_as_it_was(tmp_path: Path, plan: Plan) -> None:
    save(plan, tmp_path)
    assert load(tmp_path) == plan
    assert [entry.name for entry in tmp_path.iterdir()] == [PLAN]


def complaint(folder: Path) -> str:
    with pytest.raises(UkperfError) as caught:
        load(folder)
    assert "\n" not in str(caught.value)
    return caught.value.message


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "it is no JSON"),
        ('{"format": 1', "it is no JSON"),
        ("[" * 100_000, "it is no JSON"),
        ("[]", "it is no plan of ukperf"),
        ("{}", "it is no plan of ukperf"),
        ('{"format": 99}', "another version"),
        ('{"format": 2}', "Plan lacks 'accelerator'"),
    ],
)
def test_what_is_no_plan_is_one_sentence(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / PLAN).write_text(text)
    assert says in complaint(tmp_path)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("images", {}),
        ("images", []),
        ("images", {"linux": {"guest": "linux"}}),
        ("hosts", []),
        ("hosts", [1]),
        ("hosts", "qemu:///embed"),
        ("machine", {"kind": "pdp11", "memory_mib": 1, "vcpus": 1, "pin": []}),
        ("machine", {"kind": "q35", "memory_mib": "1", "vcpus": 1, "pin": []}),
        ("limits", {"boots": "many"}),
        ("limits", {"boots": None, "precision": None}),
        ("limits", {"boots": 5, "precision": float("nan")}),
        ("seed", None),
        ("accelerator", "steam"),
        ("something", "else"),
    ],
)
def test_a_plan_with_a_wrong_part_is_one_sentence(tmp_path: Path, field: str, value: object) -> None:
    save(PLAIN, tmp_path)
    data = json.loads((tmp_path / PLAN).read_text())
    (tmp_path / PLAN).write_text(json.dumps({**data, field: value}))
    assert complaint(tmp_path).startswith(f"{tmp_path / PLAN} is damaged: ")


def test_a_folder_without_a_plan_is_no_run(tmp_path: Path) -> None:
    assert "is no run of ukperf" in complaint(tmp_path)
    assert "is no run of ukperf" in complaint(tmp_path / "nowhere")


def test_bytes_that_are_no_text_and_files_that_are_no_plan_are_sentences(tmp_path: Path) -> None:
    (tmp_path / PLAN).write_bytes(b"\xff\xfe")
    assert "it is no JSON" in complaint(tmp_path)
    with (tmp_path / PLAN).open("wb") as file:
        file.truncate(1 << 30)
    assert "more than 16 MiB" in complaint(tmp_path)


def test_a_plan_that_cannot_be_written_is_a_sentence_and_leaves_no_draft(tmp_path: Path) -> None:
    with pytest.raises(UkperfError, match="cannot be written"):
        save(PLAIN, tmp_path / "nowhere")
    (tmp_path / PLAN).mkdir()
    with pytest.raises(UkperfError, match="cannot be written"):
        save(replace(PLAIN, seed=2), tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == [PLAN]


# The order of boots in a block.

GUESTS = ("floor", "linux", "nanos")


@given(st.sets(NAMES, min_size=1), st.integers(), st.integers(0, 10**6))
def test_a_block_boots_every_guest_once_in_an_order_of_the_seeds(guests: set[str], seed: int, block: int) -> None:
    order = block_order(sorted(guests), seed, block)
    assert sorted(order) == sorted(guests)
    assert order == block_order(sorted(guests, reverse=True), seed, block)


def test_orders_differ_from_block_to_block_and_from_seed_to_seed() -> None:
    assert len({block_order(GUESTS, 1, block) for block in range(60)}) == 6
    assert [block_order(GUESTS, 1, b) for b in range(9)] != [block_order(GUESTS, 2, b) for b in range(9)]


def test_no_guest_has_a_favourite_place() -> None:
    """6,000 blocks: each of 9 (guest, place) pairs 2,000 ± 5 σ times; the seed is fixed, so this cannot flicker."""
    places = Counter((guest, place) for b in range(6_000) for place, guest in enumerate(block_order(GUESTS, 7, b)))
    assert len(places) == 9
    assert all(abs(count - 2_000) < 5 * (6_000 * 2 / 9) ** 0.5 for count in places.values())


def test_orders_are_those_of_every_version() -> None:
    """A run that an older ukperf began goes on in the same order."""
    assert [block_order(GUESTS, 1, block) for block in range(3)] == [
        ("floor", "nanos", "linux"),
        ("floor", "linux", "nanos"),
        ("floor", "linux", "nanos"),
    ]


def test_in_a_balanced_schedule_every_guest_follows_every_guest_as_often() -> None:
    """A boot after guest B that is 3 % slower must slow all guests alike, B itself included."""
    for guests in (("linux", "nanos"), GUESTS):
        order = [g for block in range(3000) for g in block_order(guests, 7, block, BALANCED)]
        follows = Counter(pairwise(order))
        expected = 3000 / len(guests)
        assert all(abs(follows[a, b] - expected) < 0.1 * expected for a in guests for b in guests), follows
        assert all(sorted(block_order(guests, 7, b, BALANCED)) == sorted(guests) for b in range(50))
    assert len({block_order(GUESTS, 7, block, BALANCED) for block in range(50)}) == 6


def test_in_a_balanced_schedule_carry_over_does_not_move_the_ratio() -> None:
    def bias(schedule: int) -> float:
        order = [(b, g) for b in range(400) for g in block_order(("a", "b"), 3, b, schedule)]
        slow = {(b, g): 0.03 * (before == "b") for (_, before), (b, g) in pairwise(order)}
        return sum(slow[b, "a"] - slow[b, "b"] for b in range(1, 400)) / 399

    assert bias(INDEPENDENT) == pytest.approx(0.015, abs=0.003) and abs(bias(BALANCED)) < 1e-12


def test_the_order_of_a_far_block_is_found_at_once() -> None:
    assert block_order(GUESTS, 1, 20_000, BALANCED) == block_order(GUESTS, 1, 20_000, BALANCED)


@pytest.mark.parametrize("name", ["../../etc/cron.d/x", "a/b", "", "-rf", "a\nb", "\ud800", "x" * 101])
def test_a_guests_name_in_a_plan_cannot_lead_out_of_the_runs_folder(name: str, tmp_path: Path) -> None:
    """The name of a guest is part of the name of its console's file."""
    save_run(tmp_path / "run", run_of({"linux": 1.0, "nanos": 0.5}, 2))
    path = tmp_path / "run" / PLAN
    data = json.loads(path.read_text())
    data["images"][name] = data["images"].pop("nanos")
    path.write_text(json.dumps(data))
    with pytest.raises(UkperfError, match="is no guest's name"):
        load(tmp_path / "run")


def old(folder: Path) -> Path:
    """A run whose plan is as ukperf wrote it in format 1."""
    save_run(folder, run_of({"linux": 1.0, "nanos": 0.5}, 6))
    data = json.loads((folder / PLAN).read_text())
    for image in data["images"].values():
        del image["traits"]
        image |= {"qemu_args": ["-machine", "ioapic2=off"], "debug_exit": True, "idle_leap_us": 1000}
    (folder / PLAN).write_text(json.dumps({**data, "format": 1}))
    return folder


def test_a_plan_of_the_old_format_is_read_and_its_run_reported(tmp_path: Path) -> None:
    assert list(load(old(tmp_path / "run")).images) == ["linux", "nanos"]
    assert {record.trial.guest for record in ukperf.load(tmp_path / "run").records} == {"linux", "nanos"}


def test_a_run_of_the_old_format_is_not_gone_on_with(tmp_path: Path) -> None:
    with pytest.raises(UkperfError, match="was written by an older version of ukperf, and this one cannot go on") as e:
        refuse_foreign(old(tmp_path / "run"))
    assert e.value.hint == f"What was measured can be read: ukperf report {tmp_path / 'run'}"


@pytest.mark.parametrize("images", [[], 3, {"linux": 5}, {"linux": None}])
def test_a_damaged_plan_of_the_old_format_is_a_sentence_too(images: object, tmp_path: Path) -> None:
    data = json.loads((old(tmp_path / "run") / PLAN).read_text())
    (tmp_path / "run" / PLAN).write_text(json.dumps({**data, "images": images}))
    assert "is damaged" in complaint(tmp_path / "run")
