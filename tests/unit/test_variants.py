"""--variant: a guest under another name, in the same blocks, with its own kernel, command line or machine."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_session import Stage, stage  # noqa: F401  # a fixture

from ukperf.cli.measuring import Shared
from ukperf.cli.variants import variants
from ukperf.engine.facts import facts_of
from ukperf.engine.plan import load
from ukperf.errors import UkperfError
from ukperf.model import Accelerator, MachineKind, Variant


def test_a_variant_says_what_differs(tmp_path: Path) -> None:
    kernel = tmp_path / "a,b"
    kernel.write_bytes(b"kernel")
    words = f"linux,kernel={kernel},append=isolcpus=1,2 quiet,machine=microvm,memory=512,vcpus=2"
    assert variants([f"tuned={words}"]) == {
        "tuned": Variant(
            "linux", words, kernel, "isolcpus=1,2 quiet", machine=MachineKind.MICROVM, memory_mib=512, vcpus=2
        )
    }


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("x", "names no guest"),
        ("x=", "names no guest"),
        ("x=linux,memory", "no key 'memory'"),
        ("x=linux,memori=3", "no key 'memori'"),
        ("x=linux,memory=0", "memory is no number"),
        ("x=linux,memory=99999999", "memory is no number"),
        ("x=linux,vcpus=256", "--vcpus 256 is not between"),
        ("x=linux,memory=1,memory=2", "memory has two values"),
        ("x=linux,append=", "append has no value"),
        ("x=linux,machine=q53", "no machine type 'q53'"),
        ("x=linux,kernel=/nowhere", "/nowhere cannot be read"),
        ("a/b=linux", "is no name"),
        ("=linux", "names no guest"),
        ("x=linux\x1b[31m", "cannot be printed"),
    ],
)
def test_what_is_no_variant_is_one_sentence(words: str, says: str) -> None:
    with pytest.raises(UkperfError, match=says):
        variants([words])


@pytest.mark.parametrize(
    ("options", "guests", "baseline"),
    [
        ({"variant": ["a=linux"]}, ("linux",), "linux"),  # no others than what it is divided by
        ({"variant": ["a=linux", "b=linux"], "baseline": "a"}, (), "a"),
        ({"variant": ["a=linux"], "guest": ["nanos"]}, ("linux", "nanos"), "linux"),
        ({"variant": ["a=linux"], "guest": ["nanos"], "baseline": "a"}, ("nanos",), "a"),
    ],
)
def test_guests_beside_variants_are_those_that_were_named(
    options: dict[str, object], guests: tuple[str, ...], baseline: str
) -> None:
    asked = Shared(**options).request()  # type: ignore[arg-type]
    assert (asked.guests, asked.baseline) == (guests, baseline)
    assert asked.added == ("linux" if guests == ("linux", "nanos") else "")


def test_variants_are_booted_in_every_block_with_what_is_theirs(stage: Stage) -> None:  # noqa: F811
    changed = {
        "big": Variant("linux", "linux,memory=1024,vcpus=4", memory_mib=1024, vcpus=4),
        "micro": Variant("linux", "linux,machine=microvm", machine=MachineKind.MICROVM),
    }
    result = stage.start(guests=("linux",), variants=changed)
    assert sorted(record.trial.guest for record in result.records) == sorted(["linux", "big", "micro"] * 2)
    plan = load(result.folder)
    assert [plan.machine_of(name).memory_mib for name in plan.guests] == [256, 1024, 256]
    assert [plan.machine_of(name).vcpus for name in plan.guests] == [1, 4, 1]
    assert plan.machine_of("micro").kind is MachineKind.MICROVM
    facts = facts_of(plan)
    assert (facts["big is"], facts["micro is"]) == ("linux,memory=1024,vcpus=4", "linux,machine=microvm")
    assert facts["machine"].endswith("linux 256 MiB and big 1024 MiB and micro 256 MiB")


def test_a_variant_may_be_what_the_others_are_divided_by(stage: Stage) -> None:  # noqa: F811
    pair = {"old": Variant("linux"), "new": Variant("linux")}
    result = stage.start(guests=(), variants=pair, baseline="old")
    assert (result.plan.baseline, {record.trial.guest for record in result.records}) == ("old", {"old", "new"})


def test_a_variant_is_not_called_as_a_guest(stage: Stage) -> None:  # noqa: F811
    with pytest.raises(UkperfError, match="nanos is a guest"):
        stage.start(variants={"nanos": Variant("linux")})


def test_a_program_of_this_machine_has_no_machine_of_its_own(stage: Stage) -> None:  # noqa: F811
    with pytest.raises(UkperfError, match="is a program on this machine"):
        stage.start(variants={"big": Variant("native", memory_mib=512)})


def test_a_variant_gets_no_more_cpus_than_the_accelerator_can_count(stage: Stage) -> None:  # noqa: F811
    with pytest.raises(UkperfError, match="2 virtual CPUs under icount"):
        stage.start(variants={"two": Variant("linux", vcpus=2)}, accelerator=Accelerator.ICOUNT)
