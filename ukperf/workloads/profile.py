"""profile: where the instructions of another workload's boots go. Each boot is counted by our plugin in QEMU, and what
was counted is kept in the run's folder; what it belongs to is found out whenever the run is shown.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ukperf.decode import decode, decode_stored, encode
from ukperf.errors import UkperfError
from ukperf.files import read_json
from ukperf.guests.base import join_cmdline
from ukperf.hosts.counting import check_accelerator
from ukperf.model import NO_PROGRAM, Accelerator, BootRecord, Portable, Program, Request, Result, Visitor
from ukperf.reports.page import Page
from ukperf.reports.pictures import Picture
from ukperf.stats.summary import RunSummary
from ukperf.text import clean
from ukperf.workloads import WORKLOADS, get, profiling
from ukperf.workloads.base import Bench, Finished, Prepared, Reader, Workload, option
from ukperf.workloads.boot_time import BootTime
from ukperf.workloads.initcalls import TELLING
from ukperf.workloads.run import Run, RunOptions

if TYPE_CHECKING:
    from ukperf.profile.model import Profiled

STATE = "profiled.json"
FORMAT = 1


@dataclass(frozen=True)
class ProfileOptions:
    """of: the workload whose boots are profiled; "": a plain boot, or that of the program that `words` are."""

    of: str = option("", "The workload whose boots are profiled, with its own defaults.", "WORKLOAD")
    set: tuple[str, ...] = option((), "An option of that workload, like only='getuid*'.", "NAME=VALUE")
    words: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    cwd: str = "/"
    python: bool = False
    packages: tuple[str, ...] = ()
    symbols: tuple[str, ...] = option((), "An ELF file with the symbols of a guest's kernel.", "GUEST=FILE")
    stacks: bool = option(False, "Call stacks are followed too, which makes boots slower.")
    initcalls: bool = option(False, "Linux kernels say what each of their initcalls takes.")


@dataclass(frozen=True)
class ProgramSeen:
    """A program that was profiled: what its code is looked up in."""

    path: str
    is_tree: bool
    argv: tuple[str, ...]

    @property
    def program(self) -> Program:
        return Program("", "", Path(self.path), self.is_tree, self.argv)


@dataclass(frozen=True)
class Executed:
    """What the boots of a run executed. programs: name of a setting → its program; "": of all others."""

    programs: Mapping[str, ProgramSeen]


class Profiling(Workload):
    """Instructions by function and window."""

    Options = ProfileOptions
    counts: ClassVar[bool] = True
    defaults: ClassVar[Mapping[str, object]] = {"boots": 2}

    def prepare(self, options: ProfileOptions, request: Request, bench: Bench) -> Prepared:
        if request.accelerator is not Accelerator.AUTO:
            check_accelerator(request.accelerator)
        symbol_files(options.symbols)
        inner, chosen = _inner(options)
        request = replace(request, counted=True, stacks=options.stacks)
        prepared = WORKLOADS.expect(inner.name or "boot", inner.prepare(chosen, request, bench), Prepared)
        asked = prepared.request
        programs = {"": asked.program, **asked.programs}
        known = Executed({name: _seen(program) for name, program in programs.items() if program != NO_PROGRAM})
        linux = profiling.linux_images(asked, bench)
        listed = profiling.kernel_lists(linux, asked, bench)
        if options.initcalls:
            if not linux:
                raise UkperfError("None of these guests has a Linux kernel, and so none has initcalls.")
            words = {name: join_cmdline(asked.cmdlines.get(name, ""), TELLING) for name in linux}
            asked = replace(asked, cmdlines={**asked.cmdlines, **words})
        return Prepared(asked, {**prepared.state, **listed, STATE: json.dumps(encode(known, FORMAT)) + "\n"})

    def reader(self, options: ProfileOptions) -> Reader | None:
        inner, chosen = _inner(options)
        return inner.reader(chosen)

    def visitor(self, options: ProfileOptions) -> Visitor | None:
        inner, chosen = _inner(options)
        return inner.visitor(chosen)

    def page(
        self,
        finished: Finished,
        host: str,
        records: Sequence[BootRecord],
        options: ProfileOptions,
        facts: Mapping[str, str],
    ) -> Page:
        result = finished.result
        return profiling.page(self.profiled(result, records, options), facts=facts)

    def profiled(
        self, result: Result, records: Sequence[BootRecord], options: ProfileOptions, symbols: Sequence[str] = ()
    ) -> tuple[Profiled, ...]:
        """The profiles of a run's guests: those that came with it in a bundle, else by the files of this machine.
        symbols: GUEST=FILE besides those of the run, whose files may be gone.

        Raises UkperfError where nothing was counted.
        """
        if not symbols and (there := profiling.kept_profiles(result.folder)):
            return there
        known = {name: seen.program for name, seen in known_of(result.folder).programs.items()}
        named = [text for text in options.symbols if Path(text.partition("=")[2]).is_file()]
        files = symbol_files([*named, *symbols])
        return profiling.profiled(result.folder, result.plan, records, known, files)

    def portable(self, result: Result) -> Portable:
        try:
            return profiling.portable(self.profiled(result, result.records, self.options_of(result)), result.plan)
        except UkperfError:
            return Portable()  # a run that was broken off early

    def remarks(self, result: Result) -> Sequence[str]:
        try:
            sides = self.profiled(result, result.records, self.options_of(result))
        except UkperfError as error:
            return (error.message,)
        there = filter(None, [profiling.broken_off(result.folder)])
        return (*profiling.page(sides, facts={}).answers(), *there, "By function, in any window: ukperf profile RUN")

    def pictures(self, result: Result, summary: RunSummary) -> Sequence[Picture]:
        try:
            sides = self.profiled(result, result.records, self.options_of(result))
        except UkperfError:
            return super().pictures(result, summary)
        return (*profiling.page(sides, facts={}).pictures(), *super().pictures(result, summary))

    def facts(self, records: Sequence[BootRecord], accelerator: Accelerator) -> Mapping[str, str]:
        return {"addresses": "the same in every boot of Linux guests (nokaslr, norandmaps); others' are their own"}


def symbol_files(given: Sequence[str]) -> dict[str, Path]:
    """Guest → file, as typed. Raises UkperfError for what is none."""
    files = {}
    for text in given:
        guest, equals, path = text.partition("=")
        if not equals or not guest or not Path(path).is_file():
            raise UkperfError(f"--symbols {clean(text, 200)} names no guest and file.", hint="Write GUEST=FILE.")
        files[guest] = Path(path)
    return files


def known_of(folder: Path) -> Executed:
    """What the run's state says. Raises UkperfError where it is missing or damaged."""
    path = folder / STATE
    try:
        return decode_stored(Executed, read_json(path), FORMAT)
    except (OSError, ValueError) as error:
        raise UkperfError(f"{path} cannot be read: {error}.") from error


def _seen(program: Program) -> ProgramSeen:
    return ProgramSeen(str(program.path), program.is_tree, program.argv)


def _inner(options: ProfileOptions) -> tuple[Workload, Any]:
    """The workload that is profiled, with its options. Raises UkperfError for what cannot be meant."""
    if options.of and options.words:
        raise UkperfError("--of and a program behind -- are two things to profile.", hint="Leave one of them out.")
    if options.words:
        same = ("words", "files", "env", "cwd", "python", "packages")
        return Run(), RunOptions(**{name: getattr(options, name) for name in same}, why=False)
    if options.of:
        inner = get(options.of)
        if isinstance(inner, Profiling):
            raise UkperfError("A profile of a profile would show QEMU's guests twice.", hint="Name another workload.")
        return inner, _chosen(inner, options.set)
    if options.set:
        raise UkperfError("--set is for a workload's options.", hint="Add --of WORKLOAD.")
    return BootTime(), BootTime.Options()


def _chosen(inner: Workload, given: Sequence[str]) -> Any:
    """A workload's options, those that are given and the others as they are by default. What takes several values gets
    them with commas between. Raises UkperfError for what it has not, or cannot take."""
    known = {item.name: item for item in fields(inner.Options)}
    values: dict[str, object] = {}
    for text in given:
        name, equals, value = text.partition("=")
        name = name.replace("-", "_")
        if not equals or name not in known:
            raise UkperfError(f"--set {clean(text, 100)} is no option of it.", hint=f"There are: {', '.join(known)}.")
        values[name] = value.split(",") if isinstance(known[name].default, tuple) else _plain(value)
    try:
        return decode(inner.Options, values)
    except ValueError as error:
        raise UkperfError(f"--set does not fit: {error}.") from error


def _plain(text: str) -> object:
    """A number or a truth value, where the text is one; else itself."""
    try:
        return json.loads(text)
    except ValueError:
        return text
