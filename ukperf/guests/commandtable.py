"""`[command]` of a recipe file: a guest that is a command line. What it says, and what it may not say."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from ukperf import patterns, templates
from ukperf.decode import Within, decode
from ukperf.model import Accelerator, ConsoleWay, MachineKind, StatusWay
from ukperf.text import clean, meant

ACCELERATOR = "accelerator"  # as a whole word: what the table `accelerators` says
_STATUS = Within(0, 255, "exit status")
_WHOLE = (templates.ARGUMENTS, ACCELERATOR)  # placeholders that stand for several words


@dataclass(frozen=True)
class CommandTable:
    """The keys of `[command]`, as docs/extending.md explains them.

    arguments: words, and lists of words that are left out where a placeholder of theirs has no value. accelerators:
    how the guest is executed → what `{accelerator}` becomes; empty: as a process of this machine's CPU. json: text.
    """

    arguments: tuple[object, ...]
    accelerators: Mapping[Accelerator, tuple[str, ...]] = field(default_factory=dict)
    machine: MachineKind = MachineKind.Q35  # what the builder builds for
    json: str = ""
    console: ConsoleWay = ConsoleWay.STDOUT
    chatter: bool = False
    frames: bool = True
    ready: str = ""
    powers_off: bool | None = None
    status: StatusWay = StatusWay.PLAIN
    good_status: tuple[Annotated[int, _STATUS], ...] = (0,)
    copies_disk: bool = True
    own_kernel: bool = False  # the command answers the program's system calls, and not this machine's kernel
    version: tuple[str, ...] = ("--version",)
    needs: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    tried: str = "not tried"  # where and when

    @property
    def groups(self) -> tuple[tuple[str, ...], ...]:
        """The arguments, each word that stands alone a group of one."""
        return tuple((item,) if isinstance(item, str) else tuple(item) for item in self._listed())

    @property
    def binary(self) -> str:
        """What is executed: a name to be looked for in PATH, or a path."""
        return self.groups[0][0]

    @property
    def used(self) -> frozenset[str]:
        """The placeholders of all arguments."""
        return templates.all_places(word for group in self.groups for word in group)

    def template(self, there: frozenset[str], accelerator: Accelerator) -> tuple[str, ...]:
        """The words of the command with the placeholders that are filled when it boots.

        there: those that have a value then. Raises KeyError for one that has none and does not stand in a list.
        """
        words: list[str] = []
        for item, group in zip(self._listed(), self.groups, strict=True):
            missing = templates.all_places(group) - there - {*_WHOLE}
            if missing and isinstance(item, str):
                raise KeyError(min(missing))
            if not missing:
                words += group
        chosen = self.accelerators.get(accelerator, ())
        return tuple(each for word in words for each in (chosen if word == f"{{{ACCELERATOR}}}" else (word,)))

    def _listed(self) -> list[Any]:
        return list(self.arguments)


def table_of(data: object) -> CommandTable:
    """A recipe's table, checked. Raises ValueError with what is wrong, as a phrase without its full stop."""
    if not isinstance(data, Mapping):
        raise ValueError("command is no table")
    values = dict(data)
    if "json" in values:
        try:
            values["json"] = json.dumps(values["json"], allow_nan=False)
        except (TypeError, ValueError):
            raise ValueError("command.json has what JSON has not: a date or a number that is none") from None
    known = CommandTable.__dataclass_fields__
    for key in values:
        if key not in known:
            raise ValueError(f"command has an unknown key {clean(key, 60)!r}; {meant(key, known).rstrip('.?')}")
    try:
        table = decode(CommandTable, values)
    except ValueError as error:
        raise ValueError(f"command{str(error).removeprefix('CommandTable')}") from None
    _check_words(table)
    _check_places(table)
    _check_end(table)
    return table


def _check_words(table: CommandTable) -> None:
    for item in table.arguments:
        listed = isinstance(item, tuple) and item and all(isinstance(word, str) for word in item)
        if not isinstance(item, str) and not listed:
            raise ValueError("command.arguments has what is neither a word nor a list of words")
    if not table.arguments or not isinstance(table.arguments[0], str) or not table.binary:
        raise ValueError("command.arguments does not begin with a program")
    if templates.places(table.binary):
        raise ValueError("command.arguments begins with a placeholder, not with a program")
    accelerators = [word for words in table.accelerators.values() for word in words]
    words = [*(word for group in table.groups for word in group), *accelerators, *table.version, *table.needs]
    pairs = [text for pair in table.environment.items() for text in pair]
    if any("\0" in word for word in (*words, *pairs)):
        raise ValueError("a word of command has a NUL in it, which no argument can have")
    if any(not name or "=" in name for name in table.environment):
        raise ValueError("command.environment has a name that no variable can have")


def _check_places(table: CommandTable) -> None:
    words = [word for group in table.groups for word in group]
    texts = templates.texts(json.loads(table.json)) if table.json else ()
    mine = [word for added in table.accelerators.values() for word in added]
    for word in (*words, *mine, *texts):
        for name in templates.places(word):
            known = (*templates.KNOWN, ACCELERATOR)
            if name not in known:
                raise ValueError(f"command has an unknown placeholder {{{name}}}; {meant(name, known).rstrip('.?')}")
            alone = word == f"{{{name}}}" and (word in words or (name == templates.ARGUMENTS and word in texts))
            if name in _WHOLE and not alone:
                raise ValueError(f"{{{name}}} stands for several words, so it must be a word of its own")
    if (ACCELERATOR in table.used) != any(table.accelerators.values()):
        raise ValueError("{accelerator} and the words of the table command.accelerators go together")
    if ("json" in table.used) != bool(table.json):
        raise ValueError("{json} and the table command.json go together")
    if ("console" in table.used) != (table.console is ConsoleWay.SOCKET):
        raise ValueError('{console} and console = "socket" go together')


def _check_end(table: CommandTable) -> None:
    if table.ready:
        try:
            patterns.compiled(table.ready)
        except patterns.PatternError as error:
            raise ValueError(f"command.ready is no pattern: {clean(str(error), 200)}") from None
    if not table.frames and table.powers_off is False and not table.ready:
        raise ValueError("its guest speaks no frames and does not end by itself, so command.ready must say when it may")
    if not table.frames and Accelerator.ICOUNT in table.accelerators:
        raise ValueError("its guest speaks no frames, so nobody can count its instructions: leave out icount")
    if not table.good_status:
        raise ValueError("command.good_status is empty, so no end would be a good one")
    if table.status is StatusWay.DEBUG_EXIT and max(table.good_status) > 127:
        raise ValueError("command.good_status has a value that isa-debug-exit cannot tell: 127 is the largest")


def check_booted(table: CommandTable, builder: str) -> None:
    """Raises ValueError, with a phrase, for a command that nothing reaches that it could boot."""
    named = table.used | templates.all_places([table.json])
    if not named & {"kernel", "disk", "program"}:
        raise ValueError("command boots nothing: it has neither {kernel} nor {disk} nor {program}")
    if not builder and "program" not in named and "kernel" not in named:
        raise ValueError("command has {disk}, and no builder makes one")
