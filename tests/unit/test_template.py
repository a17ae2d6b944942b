"""Templates on disk: digests that see every bit and no holes, JSON that may be anything, and the gate in the memory."""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ukperf.engine.templates import template_of
from ukperf.errors import HostError
from ukperf.hosts import gate
from ukperf.hosts.fake import FakeHost
from ukperf.hosts.template import (
    ABOUT,
    BLOCK,
    MEMORY,
    PAGE,
    STATE,
    DamagedError,
    Template,
    checked,
    load,
    memory_digest,
    save,
    state_digest,
)
from ukperf.imaging.cache import Cache
from ukperf.model import Accelerator, BootProtocol, BootSpec, Image, Machine
from ukperf.resources import data

QEMU = ("7.2.22", "18397984 bytes of 2026-05-25")
IMAGE = Image("nanos", "w", "d" * 64, "p" * 64, BootProtocol.DISK)
SPEC = BootSpec(IMAGE, Machine(memory_mib=1), Accelerator.TCG)


def make(folder: Path, content: dict[int, bytes] | None = None) -> Template:
    """A template of 1 MiB with these bytes in its memory."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / MEMORY).open("wb") as file:
        file.truncate(1 << 20)
        for offset, part in (content or {4096: b"guest"}).items():
            file.seek(offset)
            file.write(part)
    (folder / STATE).write_bytes(b"devices")
    digests = memory_digest(folder / MEMORY), state_digest(folder / STATE)
    template = Template("d" * 64, 1, *digests, *QEMU, at="its frame `ready`")
    save(folder, template)
    return template


def test_a_template_as_it_was_written_is_good(tmp_path: Path) -> None:
    template = make(tmp_path)
    assert checked(tmp_path, *QEMU) == template


@pytest.mark.parametrize("offset", [0, 4096, 70_000, (1 << 20) - 1])
def test_one_flipped_bit_is_seen_wherever_it_is_also_in_a_hole(tmp_path: Path, offset: int) -> None:
    make(tmp_path)
    with (tmp_path / MEMORY).open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 4]))
    with pytest.raises(DamagedError, match="its memory is not what was saved"):
        checked(tmp_path, *QEMU)


def test_what_is_truncated_missing_or_other_is_told_in_a_sentence(tmp_path: Path) -> None:
    make(tmp_path)
    os.truncate(tmp_path / MEMORY, (1 << 20) - 1)
    with pytest.raises(DamagedError, match=r"1,048,575 bytes instead of 1,048,576"):
        checked(tmp_path, *QEMU)
    make(tmp_path)
    (tmp_path / STATE).write_bytes(b"device")
    with pytest.raises(DamagedError, match="state of its devices"):
        checked(tmp_path, *QEMU)
    (tmp_path / STATE).unlink()
    with pytest.raises(DamagedError, match="No such file"):
        checked(tmp_path, *QEMU)
    (tmp_path / ABOUT).unlink()
    with pytest.raises(DamagedError, match="cannot be read"):
        checked(tmp_path, *QEMU)


def test_a_template_of_another_qemu_is_refused_with_both_named(tmp_path: Path) -> None:
    make(tmp_path)
    with pytest.raises(HostError, match=r"made by QEMU 7\.2\.22 .*, and here is QEMU 10\.0\.0") as raised:
        checked(tmp_path, "10.0.0", QEMU[1])
    assert not isinstance(raised.value, DamagedError)  # it is not ours to remove
    with pytest.raises(HostError, match="here is QEMU 7"):
        checked(tmp_path, QEMU[0], "another file")


CHUNKS = st.dictionaries(
    st.integers(0, 15), st.sampled_from([b"", b"\0", b"a", b"\0" * PAGE, b"x" * (BLOCK - 1)]), max_size=6
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(CHUNKS)
def test_a_digest_is_of_the_content_and_not_of_the_holes(tmp_path: Path, chunks: dict[int, bytes]) -> None:
    sparse, full = tmp_path / "sparse", tmp_path / "full"
    text = bytearray(1 << 20)
    with sparse.open("wb") as file:
        file.truncate(1 << 20)
        for number, part in chunks.items():
            file.seek(number * BLOCK)
            file.write(part)
            text[number * BLOCK : number * BLOCK + len(part)] = part
    full.write_bytes(text)
    assert memory_digest(sparse) == memory_digest(full)
    text[-1] ^= 1
    full.write_bytes(text)
    assert memory_digest(sparse) != memory_digest(full)


def test_the_length_is_in_the_digest(tmp_path: Path) -> None:
    for name, size in (("a", 1 << 20), ("b", 2 << 20)):
        with (tmp_path / name).open("wb") as file:
            file.truncate(size)
    assert memory_digest(tmp_path / "a") != memory_digest(tmp_path / "b")


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(
        st.sampled_from(["format", "image", "memory_mib", "gate", "qemu", "state_sha256", "at", "odd"]),
        st.none() | st.integers() | st.text(max_size=70) | st.floats() | st.lists(st.integers(), max_size=2),
    )
)
def test_json_that_is_anything_is_a_template_or_a_sentence(tmp_path: Path, changed: dict[str, object]) -> None:
    make(tmp_path)
    about = json.loads((tmp_path / ABOUT).read_text())
    (tmp_path / ABOUT).write_text(json.dumps({**about, **changed}))
    try:
        assert 1 <= load(tmp_path).memory_mib <= 1 << 20
    except HostError as error:
        assert str(tmp_path) in error.message


# ---- the gate ----


def gate_at(offset: int, word: bytes = gate.CLOSED) -> dict[int, bytes]:
    return {offset: gate.magic() + word}


def test_the_one_gate_is_opened_and_nothing_else_is_touched(tmp_path: Path) -> None:
    make(tmp_path, {0: b"kernel", **gate_at(3 * PAGE)})
    before = (tmp_path / MEMORY).read_bytes()
    at = gate.open_gate(tmp_path / MEMORY)
    after = (tmp_path / MEMORY).read_bytes()
    assert at == 3 * PAGE + 64
    assert after[at : at + 8] == gate.OPEN
    assert after[:at] + gate.CLOSED + after[at + 8 :] == before


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({0: b"no gate"}, "no gate is in its memory"),
        ({**gate_at(PAGE), **gate_at(40 * PAGE)}, "more than one gate"),
        ({**gate_at(PAGE), 40 * PAGE + 8: gate.magic()}, "more than one gate"),  # in a cache of its file, say
        (gate_at(PAGE + 8), "is none"),
        (gate_at(PAGE, gate.OPEN), "is none"),
        ({**gate_at(PAGE), BLOCK - 30: gate.magic()}, "more than one gate"),  # across two blocks
    ],
)
def test_what_is_not_exactly_one_closed_gate_is_refused(tmp_path: Path, content: dict[int, bytes], words: str) -> None:
    make(tmp_path, content)
    with pytest.raises(HostError, match=words):
        gate.open_gate(tmp_path / MEMORY)


def test_programs_have_the_same_two_halves_and_their_sum_stands_in_no_source() -> None:
    header = data("workloads", "common", "gate.h").read_text()
    numbers = bytes(int(text, 16) for text in re.findall(r"0x([0-9a-f]{2})\b", header))
    assert numbers == gate.FIRST + gate.SECOND
    python = data("workloads", "common", "ukperf_gate.py").read_text()
    assert bytes.fromhex("".join(re.findall(r'"([0-9a-f]{64})"', python))) == gate.FIRST + gate.SECOND
    assert gate.magic() not in numbers
    assert len(set(gate.magic())) > 32  # no pattern that memory may hold by itself


# ---- in the cache ----


def test_a_template_is_made_once_and_found_again(tmp_path: Path) -> None:
    host, said = FakeHost(takes=lambda _spec, folder: make(folder) and None), []
    first = template_of(host, SPEC, said.append, Cache(tmp_path))
    assert template_of(host, SPEC, said.append, Cache(tmp_path)) == first
    assert host.taken == ["nanos"]
    assert len(said) == 1
    other = template_of(host, replace(SPEC, ready="Serving"), said.append, Cache(tmp_path))
    assert other != first


def test_a_damaged_template_of_ours_is_made_anew(tmp_path: Path) -> None:
    host, said = FakeHost(takes=lambda _spec, folder: make(folder) and None), []
    folder = template_of(host, SPEC, said.append, Cache(tmp_path))
    host.damaged.append(folder)
    assert template_of(host, SPEC, said.append, Cache(tmp_path)) == folder
    assert host.taken == ["nanos", "nanos"]
    assert any("made anew" in sentence for sentence in said)
    assert not list((tmp_path / "tmp").iterdir())


def test_what_cannot_be_made_leaves_nothing_in_the_cache(tmp_path: Path) -> None:
    def fails(_spec: BootSpec, folder: Path) -> None:
        (folder / MEMORY).write_bytes(b"half")
        raise HostError("nanos did not get ready.")

    host = FakeHost(takes=fails)
    with pytest.raises(HostError, match="did not get ready"):
        template_of(host, SPEC, lambda _: None, Cache(tmp_path))
    assert not list((tmp_path / "tmp").iterdir())
    assert not (tmp_path / "templates").exists() or not list((tmp_path / "templates").iterdir())


def test_a_host_without_a_qemu_of_ours_says_so(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="nanos cannot be saved and restored") as raised:
        template_of(FakeHost(), SPEC, lambda _: None, Cache(tmp_path))
    assert raised.value.hint == "Use --path boot."
