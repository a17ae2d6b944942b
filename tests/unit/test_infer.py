"""Inference in guests: what is refused, what is read out of a boot and compared, and what is said of the engine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from records import run_of
from test_modelfile import node, onnx, part

from ukperf import guests, workloads
from ukperf.console import encode_frame
from ukperf.engine.campaign import EngineBench
from ukperf.errors import UkperfError
from ukperf.hosts.fake import good_boot
from ukperf.imaging import modelfile, models, runtimes
from ukperf.imaging.cache import Cache
from ukperf.imaging.distributions import is_installed, own_site
from ukperf.model import (
    Accelerator,
    BootProtocol,
    BootRecord,
    BootSpec,
    Image,
    Machine,
    Observation,
    Outcome,
    Program,
    Request,
    Sample,
    Unit,
)
from ukperf.workloads import inferring, joining
from ukperf.workloads.calibrating import DOES_NOT_RUN
from ukperf.workloads.infer import InferOptions, model_for, notes_of
from ukperf.workloads.learning import Calibration

IMAGE = Image("linux", "infer", "ab" * 32, "cd" * 32, BootProtocol.KERNEL)
ENGINE = {"engine version": "1.0", "engine xnnpack": "yes"}


def spec(accelerator: Accelerator) -> BootSpec:
    return BootSpec(IMAGE, Machine(), accelerator)


def boot(expected: str = "yes") -> Observation:
    """A guest's frames: import, load and first prediction, and whether its outputs were good."""
    times = {"import": 3_000.0, "load": 200.0, "first prediction": 10.0}
    frames = b"".join(
        encode_frame("samples", n, 0, 0, benchmark=name, unit="instructions", loops=1, values=[value])
        for n, (name, value) in enumerate(times.items(), 1)
    )
    return good_boot(100, frames=frames + encode_frame("check", 4, 0, 0, name="expected outputs", digest=expected))


@pytest.mark.parametrize(
    ("options", "vcpus", "said"),
    [
        (InferOptions("onnxruntime", threads=2), 1, "--threads 2 is more than the virtual CPUs that each guest has, 1"),
        (InferOptions("onnxruntime", threads=-1), 1, "--threads -1 is no number"),
        (InferOptions("onnxruntime", batch=1 << 30), 1, "--batch 1073741824 is not between 1 and"),
        (InferOptions("onnxruntime", calls=1 << 30), 1, "--calls 1073741824 is not between 1 and"),
        (InferOptions("onnxrutime"), 1, "There is no runtime 'onnxrutime'"),
        (InferOptions("onnxruntime", interpreter=Path("/nowhere/python")), 1, "cannot be asked for its packages"),
    ],
)
def test_options_that_cannot_be_meant_are_refused_before_anything_is_made(
    options: InferOptions, vcpus: int, said: str
) -> None:
    with pytest.raises(UkperfError, match=said):
        workloads.get("infer").prepare(options, Request(machine=Machine(vcpus=vcpus)), EngineBench(print))


def test_the_time_from_create_to_the_first_prediction_is_the_hosts_own() -> None:
    read = workloads.get("infer").reader(InferOptions("onnxruntime"))
    assert read is not None
    seen = boot()
    (sample,) = read(spec(Accelerator.TCG), seen).samples
    (frame,) = (f for f in seen.frames if f.fields.get("benchmark") == "first prediction")
    assert (sample.benchmark, sample.unit) == ("create to first prediction", Unit.SECONDS)
    assert sample.values == (frame.at_ns / 1e9,)
    (counted,) = read(spec(Accelerator.ICOUNT), seen).samples
    assert counted == Sample("import to first prediction", Unit.INSTRUCTIONS, (3_210.0,))


def test_a_guest_whose_outputs_are_off_has_not_done_its_work() -> None:
    read = workloads.get("infer").reader(InferOptions("onnxruntime"))
    assert read is not None
    reason = read(spec(Accelerator.TCG), boot("off by 0.5, and 0.0001 is allowed")).reason
    assert reason == "its outputs are not what is expected: off by 0.5, and 0.0001 is allowed"


def records(nanos: dict[str, str], **metadata: str) -> list[BootRecord]:
    checks = {"linux": {"outputs": "3a", **ENGINE}, "nanos": {"outputs": "3a", **ENGINE, **nanos}}
    made = run_of({"linux": 1.0, "nanos": 0.5}, 2)
    sample = Sample("import", Unit.SECONDS, (1.0,), metadata=metadata)
    return [replace(r, checks=checks[r.trial.guest], samples=(sample,)) for r in made]


def test_what_ran_is_said_once_for_guests_that_ran_the_same() -> None:
    assert inferring.engine_lines(records({})) == ["Engine of linux and nanos: version 1.0, xnnpack yes."]
    assert inferring.engine_lines(records({"engine xnnpack": "no"})) == [
        "Engine of linux: version 1.0, xnnpack yes.",
        "Engine of nanos: version 1.0, xnnpack no.",
    ]


def test_notes_say_whether_outputs_are_equal_and_that_nothing_was_given() -> None:
    assert notes_of(records({})) == ("Same work: the outputs of linux, nanos are equal, bit for bit.",)
    other, bare = notes_of(records({"outputs": "4b"}, cpuinfo="left out"))
    assert other == "The outputs of linux, nanos are not equal bit for bit."
    assert bare.startswith("With --bare no guest was given a /proc/cpuinfo")


def test_facts_name_the_guests_that_were_given_a_cpuinfo() -> None:
    infer = workloads.get("infer")
    assert infer.facts(records({}, cpuinfo="made"), Accelerator.TCG) == {"/proc/cpuinfo": "given to linux and nanos"}
    assert infer.facts(records({}, cpuinfo="own"), Accelerator.TCG) == {}


def test_phases_of_boots_are_not_compared() -> None:
    compared = workloads.get("infer").compared(records({}), Accelerator.TCG)
    assert all(r.phases == {} and not r.ended_by_host and r.outcome is Outcome.OK for r in compared)
    assert {s.benchmark for r in compared for s in r.samples} == {"import"}


def test_files_that_a_guest_holds_in_memory_are_added_to_its_memory() -> None:
    kinds = {guest.name: guest.name for guest in guests.loading_programs()}
    memory = joining.memory_for_files(kinds, dict.fromkeys(kinds, 100 << 20), 512)
    holding = {name for name in kinds if guests.get(name).recipe.tree_memory}
    assert set(memory) == holding and holding
    for name in holding:
        assert memory[name] == 512 + 100 * guests.get(name).recipe.tree_memory
    assert joining.memory_for_files(kinds, dict.fromkeys(kinds, 1 << 20), 512) == {}


def test_slow_models_are_asked_less_often_and_boots_get_the_time_for_it() -> None:
    quick, slow = Calibration({"single row": 1e-5, "batch": 1e-4}), Calibration({"single row": 0.1, "batch": 5.0})
    chosen = inferring.choose(quick, emulated=True), inferring.choose(slow, emulated=True)
    assert chosen[0]["single row"].loops > chosen[1]["single row"].loops
    assert chosen[1]["batch"].values < chosen[0]["batch"].values
    assert inferring.timeout_s(slow, chosen[1], True) > 4 * 25 * 5.0 + inferring.timeout_s(quick, chosen[0], True) - 600


def test_so_many_calls_as_were_asked_for_and_one_batch() -> None:
    chosen = inferring.choose(Calibration({"single row": 1e-5, "batch": 1e-4}), emulated=True, calls=20)
    assert {name: (asked.loops, asked.values, asked.warmups) for name, asked in chosen.items()} == {
        "single row": (20, 1, 0),
        "batch": (1, 1, 0),
    }
    assert inferring.choose(None, emulated=True, calls=20) == chosen


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (InferOptions("onnxruntime", model="mlp", model_file=Path("m.onnx")), "--model and --model-file exclude"),
        (InferOptions("onnxruntime", inputs=Path("rows.npy")), "--inputs are rows for --model-file"),
        (InferOptions("onnxruntime", model_file=Path("m.txt")), "m.txt is lightgbm, and onnxruntime reads onnx."),
        (InferOptions("onnxruntime", model_file=Path("nothing.onnx")), "The model nothing.onnx cannot be read"),
    ],
)
def test_a_model_file_that_does_not_fit_is_a_sentence(
    options: InferOptions, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("UKPERF_CACHE_DIR", str(tmp_path / "cache"))
    Path("m.txt").write_text("tree\nversion=v4\nmax_feature_idx=3\n\nend of trees\n")
    with pytest.raises(UkperfError, match=said):
        model_for(options, runtimes.get("onnxruntime"), None, print)


def test_a_model_that_never_ran_here_is_asked_a_fixed_number_of_times() -> None:
    emulated = inferring.choose(None, emulated=True)
    assert emulated[inferring.ROW].loops < inferring.choose(None, emulated=False)[inferring.ROW].loops
    assert inferring.timeout_s(None, emulated, emulated=True) > 600


def test_a_model_with_operators_that_a_runtime_lacks_is_refused_before_anything_is_packed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenVINO's own words come at load, and are a stack of ten lines."""
    monkeypatch.setenv("UKPERF_CACHE_DIR", str(tmp_path))
    trees = tmp_path / "trees.onnx"
    trees.write_bytes(onnx(node("TreeEnsembleClassifier", "ai.onnx.ml")))
    options = InferOptions("openvino", model_file=trees)
    with pytest.raises(
        UkperfError, match=r"^openvino has no ai\.onnx\.ml:TreeEnsembleClassifier, for which trees\.onnx asks\."
    ) as caught:
        model_for(options, runtimes.get("openvino"), None, print)
    assert caught.value.hint is not None and "onnxruntime" in caught.value.hint and "openvino" not in caught.value.hint
    assert model_for(options, runtimes.get("onnxruntime"), None, print).digest


@pytest.mark.parametrize("name", sorted(runtimes.RUNTIMES.names()))
def test_the_model_that_a_runtime_gets_unasked_is_one_that_it_takes(name: str) -> None:
    runtime = runtimes.get(name)
    kind = next(kind for kind in models.MODELS.values() if set(kind.formats) & set(runtime.formats))
    form = next(form for form in runtime.formats if form in kind.formats)
    writer = models.WRITERS.get(form)
    if writer is not None and not is_installed(writer.library, own_site()):
        pytest.skip(f"{writer.library} is not installed")
    model = model_for(InferOptions(name), runtime, None, print)
    assert model.format is form and not runtime.lacking(modelfile.examined(model.path).operators)


SAID = (
    "onnxruntime: Fail: [ONNXRuntimeError] : 1 : FAIL : Load model from /root/c/trees/65/copy-00/prog/bench/model.onnx "
    "failed:/onnxruntime_src/onnxruntime/core/graph/model.cc:256 onnxruntime::Model::Model(onnx::ModelProto&&, const "
    "onnxruntime::PathString&) Unsupported model IR version: 99, max supported IR version: 13"
)


def test_a_model_for_another_version_of_its_runtime_is_a_sentence_with_what_it_was_written_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "new.onnx"
    path.write_bytes(onnx()[:-4] + part(8, part(2, 99)))
    model = modelfile.given(path, cache=Cache(tmp_path / "cache"))
    work = inferring.Inference(runtimes.get("onnxruntime"), model)
    program = Program("infer", "ab" * 32, tmp_path, True, ("/x",))
    monkeypatch.setattr(inferring, "packed", lambda *_: inferring.PackedModel(program, 0, ()))

    def fails(*_: object) -> Observation:
        raise UkperfError(f"{DOES_NOT_RUN}{SAID}")

    monkeypatch.setattr(inferring, "run_here", fails)
    with pytest.raises(UkperfError) as caught:
        inferring.calibrate(work)
    assert caught.value.message == (
        "onnxruntime does not take new.onnx (IR version 8, opset 99 of ai.onnx): onnxruntime: Fail: [ONNXRuntimeError] "
        ": 1 : FAIL : Load model from model.onnx failed:Unsupported model IR version: 99, max supported IR version: 13"
    )
