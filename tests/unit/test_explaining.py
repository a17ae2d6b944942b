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
from ukperf.hosts import calltrace
from ukperf.imaging.pack import Packed, pack
from ukperf.model import BootProtocol, BootRecord, CallClass, CallTable, Cause, Outcome, Result, SystemCall, Why
from ukperf.workloads import explaining

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
class Bench:
    """What is said and kept; foreign: the run is somebody else's."""

    foreign: bool = False
    said: list[str] = field(default_factory=list)

    def say(self, sentence: str) -> None:
        self.said.append(sentence)

    @contextmanager
    def again(self, _result: Result) -> Iterator[None]:
        if self.foreign:
            raise UkperfError("This run was planned by another.")
        yield

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


def look(result: Result, pack: Callable[[], Packed], bench: Bench) -> BootRecord:
    explaining.explain(result, pack, bench)  # type: ignore[arg-type]
    return explaining.explained(result.records, result.folder)[-1]


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
    assert len(bench.said) == 1


@pytest.mark.parametrize(
    "record",
    [
        boot("uk", 0),
        replace(FAILED, outcome=Outcome.LOST),
        replace(FAILED, why=Why(Cause.MEMORY, "the guest ran out of memory")),
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
    assert "apt install strace" in bench.said[-1]


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
