"""After a run: why guests ran its program in no boot is looked for once, kept, and shown again."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from cprograms import compiled
from records import boot, failed, save_run

from ukperf.engine import plan as plans
from ukperf.errors import UkperfError
from ukperf.files import write_atomically
from ukperf.hosts import calltrace, procfiles
from ukperf.imaging.pack import Packed, pack
from ukperf.model import (
    BootProtocol,
    BootRecord,
    CallClass,
    CallTable,
    Cause,
    Observation,
    Outcome,
    Plan,
    Result,
    SystemCall,
    Why,
)
from ukperf.workloads import explaining
from ukperf.workloads.explaining import Again
from ukperf.workloads.tracing import LIMIT_S

pytestmark = [
    pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler"),
    pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed"),
]
FORKS = """
#include <sys/wait.h>
#include <unistd.h>
int main(void) {
    pid_t child = fork();
    if (child == 0) _exit(0);
    return child < 0 ? 3 : wait(0) != child;
}"""
NO_FORK = (SystemCall(57, "fork", CallClass.ENOSYS, 38), SystemCall(334, "rseq", CallClass.ENOSYS, 38))
FAILED = failed(boot("uk", 0), Outcome.FAILED, "its program exited with status 3")


@dataclass
class Repeats:
    """Boots with other memories: with as much as `need` they are good."""

    plan: Plan
    need: int
    tried: list[int] = field(default_factory=list)

    def boot(self, _guest: str, memory_mib: int, _timeout_s: float) -> Observation:
        self.tried.append(memory_mib)
        return Observation(Outcome.OK if memory_mib >= self.need else Outcome.CRASHED)


@dataclass
class Bench:
    """What is said and kept; foreign: the run is somebody else's; need: MiB with which guests run."""

    foreign: bool = False
    need: int = 1 << 30
    said: list[str] = field(default_factory=list)

    def say(self, sentence: str) -> None:
        self.said.append(sentence)

    @contextmanager
    def again(self, result: Result) -> Iterator[Repeats]:
        if self.foreign:
            raise UkperfError("This run was planned by another.")
        yield Repeats(result.plan, self.need)

    def keep(self, folder: Path, name: str, text: str) -> None:
        write_atomically(folder / name, text)


@pytest.fixture
def packed(tmp_path: Path) -> Callable[[], Packed]:
    compiled(tmp_path / "forks", FORKS)
    return lambda: pack(["./forks"], base=tmp_path)


def result_of(folder: Path, packed: Packed, *records: BootRecord) -> Result:
    made = plans.load(save_run(folder / "run", records))
    images = {name: replace(image, program_digest=packed.program.digest) for name, image in made.images.items()}
    return Result(folder / "run", replace(made, images=images), records, "it ended")


def look(result: Result, pack: Callable[[], Packed], bench: Bench, limit_s: float = LIMIT_S) -> BootRecord:
    explaining.explain(result, [Again(pack, limit_s=limit_s)], bench)  # type: ignore[arg-type]
    return explaining.explained(result.records, result.folder)[-1]


@pytest.fixture(autouse=True)
def memory_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explaining.memory, "available_mib", lambda: 16 << 10)


@pytest.fixture(autouse=True)
def table(monkeypatch: pytest.MonkeyPatch) -> None:
    def tables(request: object, _bench: object, *, fresh: bool) -> tuple[CallTable, ...]:
        return (CallTable("uk", "", "", "", NO_FORK, 1),)

    monkeypatch.setattr(explaining, "tables", tables)


def test_it_is_looked_for_once_and_shown_again(tmp_path: Path, packed: Callable[[], Packed]) -> None:
    result, bench = result_of(tmp_path, packed(), boot("linux", 0), FAILED), Bench()
    why = look(result, packed, bench).why
    assert why is not None and why.sure and why.sentence == "it starts another process, and uk has no fork"
    assert len(bench.said) == 1 and bench.said[0].startswith("uk ran it in no boot")
    again = Bench()
    assert look(result, packed, again).why == why and not again.said


def test_it_is_looked_for_once_also_where_nothing_is_found(tmp_path: Path, packed: Callable[[], Packed]) -> None:
    hung = replace(FAILED, outcome=Outcome.HUNG)
    result, bench = result_of(tmp_path, packed(), boot("linux", 0), hung), Bench()
    assert look(result, packed, bench).why is None and look(result, packed, bench).why is None
    assert [sentence.partition(":")[0] for sentence in bench.said] == [
        "uk ran it in no boot",
        "uk gave no reason",
    ]


@pytest.mark.parametrize(
    "record",
    [
        boot("uk", 0),
        replace(FAILED, outcome=Outcome.LOST),
        replace(FAILED, why=Why(Cause.FAULT, "it touched memory that is not there")),
    ],
    ids=["good", "lost", "known"],
)
def test_nothing_is_run_where_nothing_is_asked(
    tmp_path: Path, packed: Callable[[], Packed], record: BootRecord
) -> None:
    result, bench = result_of(tmp_path, packed(), boot("linux", 0), record), Bench()
    assert look(result, packed, bench).why == record.why
    assert not bench.said and not (result.folder / explaining.STATE).exists()


def test_another_program_than_the_runs_is_not_run_for_it(tmp_path: Path, packed: Callable[[], Packed]) -> None:
    result, bench = result_of(tmp_path, packed(), boot("linux", 0), FAILED), Bench()
    compiled(tmp_path / "forks", "int main(void) { return 3; }")
    assert look(result, packed, bench).why is None and not bench.said


def test_programs_of_others_are_never_run_for_it(tmp_path: Path, packed: Callable[[], Packed]) -> None:
    result, bench = result_of(tmp_path, packed(), boot("linux", 0), FAILED), Bench(foreign=True)
    assert look(result, packed, bench).why is None
    assert bench.said == ["Why uk did not run it was not found out: This run was planned by another."]


def test_without_strace_it_is_said_how_to_get_it(
    tmp_path: Path, packed: Callable[[], Packed], monkeypatch: pytest.MonkeyPatch
) -> None:
    result, bench = result_of(tmp_path, packed(), boot("linux", 0), FAILED), Bench()
    which = shutil.which
    monkeypatch.setattr(
        calltrace.shutil, "which", lambda name, **more: None if name == "strace" else which(name, **more)
    )
    look(result, packed, bench)
    assert "apt-get install strace" in bench.said[-1]


def test_what_a_program_wrote_is_shown_where_nothing_better_is_known(tmp_path: Path) -> None:
    said = replace(FAILED, console_tail="MemoryError\n")
    (record,) = explaining.explained([said], tmp_path)
    assert record.why is not None and (record.why.cause, record.why.sure) == (Cause.MEMORY, False)
    known = Why(Cause.GUEST, "its kernel panicked")
    assert explaining.explained([replace(said, why=known)], tmp_path)[0].why == known
    write_atomically(tmp_path / explaining.STATE, "{damaged")
    assert explaining.explained([said], tmp_path)[0].why == record.why


def test_programs_of_this_machine_are_not_run_again(tmp_path: Path, packed: Callable[[], Packed]) -> None:
    result, bench = result_of(tmp_path, packed(), FAILED), Bench()
    images = {name: replace(image, protocol=BootProtocol.EXEC) for name, image in result.plan.images.items()}
    look(replace(result, plan=replace(result.plan, images=images)), packed, bench)
    assert not bench.said


OOM = Why(Cause.MEMORY, "the guest ran out of memory", "Out of memory: Killed process 80")


@pytest.mark.parametrize(
    ("why", "need", "says", "sure"),
    [
        (OOM, 700, "it has too little memory: 256 MiB; with 1,024 MiB it runs", True),
        (OOM, 1 << 30, "the guest ran out of memory; with 2,048 MiB it fails too", True),
        (replace(OOM, sure=False), 300, "it has too little memory: 256 MiB; with 512 MiB it runs", True),
    ],
    ids=["enough", "never", "guess"],
)
def test_how_much_memory_would_do_is_found_by_trying(
    tmp_path: Path,
    packed: Callable[[], Packed],
    why: Why,
    need: int,
    says: str,
    sure: bool,
) -> None:
    result, bench = result_of(tmp_path, packed(), boot("linux", 0), replace(FAILED, why=why)), Bench(need=need)
    found = look(result, packed, bench).why
    assert found is not None and (found.sentence, found.sure, found.evidence) == (says, sure, OOM.evidence)
    assert len(bench.said) == 1 and "trying it with more memory" in bench.said[0]


def test_a_guest_that_stays_without_a_word_is_tried_with_much_memory(
    tmp_path: Path, packed: Callable[[], Packed]
) -> None:
    hung = replace(FAILED, outcome=Outcome.HUNG)
    result, bench = result_of(tmp_path, packed(), boot("linux", 0), hung), Bench(need=400)
    why = look(result, packed, bench).why
    assert why == Why(Cause.MEMORY, "it has too little memory: 256 MiB; with 512 MiB it runs")


def test_a_program_that_never_ends_here_is_not_tried_with_more_memory(tmp_path: Path) -> None:
    compiled(tmp_path / "server", "#include <unistd.h>\nint main(void) { for (;;) pause(); }")

    def serve() -> Packed:
        return pack(["./server"], base=tmp_path)

    hung = replace(FAILED, outcome=Outcome.HUNG)
    result, bench = result_of(tmp_path, serve(), boot("linux", 0), hung), Bench(need=1)
    assert look(result, serve, bench, limit_s=1.0).why is None and len(bench.said) == 1


def test_each_of_several_programs_is_run_for_its_own_guests(tmp_path: Path, packed: Callable[[], Packed]) -> None:
    """Variants have programs of their own, and the run's own program runs in all guests."""
    compiled(tmp_path / "fine", "int main(void) { return 0; }")

    def fine() -> Packed:
        return pack(["./fine"], base=tmp_path)

    result, bench = result_of(tmp_path, fine(), boot("linux", 0), FAILED), Bench()
    images = dict(result.plan.images)
    images["uk"] = replace(images["uk"], program_digest=packed().program.digest)
    result = replace(result, plan=replace(result.plan, images=images))
    explaining.explain(result, [Again(fine), Again(packed)], bench)  # type: ignore[arg-type]
    why = explaining.explained(result.records, result.folder)[-1].why
    assert why is not None and why.sure and why.sentence == "it starts another process, and uk has no fork"
    assert len(bench.said) == 1


def test_a_program_that_is_not_there_any_more_leaves_the_others_alone(
    tmp_path: Path, packed: Callable[[], Packed]
) -> None:
    def gone() -> Packed:
        raise UkperfError("The program ./gone is not there.")

    result, bench = result_of(tmp_path, packed(), boot("linux", 0), FAILED), Bench()
    explaining.explain(result, [Again(gone), Again(packed)], bench)  # type: ignore[arg-type]
    why = explaining.explained(result.records, result.folder)[-1].why
    assert why is not None and why.sure


def test_one_with_less_work_is_run_in_its_place(tmp_path: Path, packed: Callable[[], Packed]) -> None:
    compiled(tmp_path / "ends", "int main(void) { return 0; }")
    result, bench = result_of(tmp_path, packed(), boot("linux", 0), FAILED), Bench()
    again = Again(packed, lambda: pack(["./ends"], base=tmp_path))
    explaining.explain(result, [again], bench)  # type: ignore[arg-type]
    assert explaining.explained(result.records, result.folder)[-1].why is None and len(bench.said) == 1


def test_cached_files_are_memory_that_guests_may_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where most of a machine's memory holds files, little is free and nearly all of it available."""
    (tmp_path / "meminfo").write_text("MemTotal: 24684000 kB\nMemFree: 463872 kB\nMemAvailable: 20826620 kB\n")
    monkeypatch.setattr(procfiles, "_MEMINFO", tmp_path / "meminfo")
    assert procfiles.available_mib() == 20338
    (tmp_path / "meminfo").write_text("")
    assert procfiles.available_mib() > 0


@pytest.mark.parametrize("ends", [True, False])
def test_a_guest_that_died_of_nothing_said_is_tried_with_more_memory_where_the_program_is_known_to_end(
    ends: bool, tmp_path: Path, packed: Callable[[], Packed]
) -> None:
    """What `ukperf infer` knows by its calibration: it does not run the program once more."""
    silent = replace(FAILED, outcome=Outcome.CRASHED, exit_status=None, reason="it stopped", console_tail="")
    result, bench = result_of(tmp_path, packed(), boot("linux", 0), silent), Bench(need=600)
    explaining.explain(result, (), bench, ends=ends)  # type: ignore[arg-type]
    why = explaining.explained(result.records, result.folder)[-1].why
    assert (why is not None and why.sentence.startswith("it has too little memory: 256 MiB; with ")) is ends
