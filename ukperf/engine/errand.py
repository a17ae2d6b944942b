"""What a run over many machines asks of a worker, and what a worker answers: JSON in bytes, checked and bounded here.

The asker never unpacks anything else: what comes from a worker is data of known types, or it is refused. Of its machine
a worker can say what it likes, as a remote host can; it cannot make the asker execute anything.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any

from ukperf.decode import SHA256, Fitting, NewerError, Within, decode_stored, encode
from ukperf.engine.journal import MAX_NUMBER
from ukperf.errors import UkperfError
from ukperf.model import Accelerator, BootRecord, Outcome, Plan

FORMAT = 1
MOST_QUESTION = 32 << 20
MOST_ANSWER = 48 << 20
MOST_FILES, MOST_FILE = 256, 8 << 20  # of a block, and bytes of one of them
MOST_SENTENCE = 2000
MOST_LACKED = 1024  # files
# A file of a run's folder: a console, or what a workload keeps of a boot.
_FILE = re.compile(r"([A-Za-z0-9][A-Za-z0-9._+@~=,-]{0,99}/){0,3}[A-Za-z0-9][A-Za-z0-9._+@~=,-]{0,99}")
_RESERVED = {"plan.json", "journal.ndjson", "suite.json", "report.html"}

Number = Annotated[int, Within(0, MAX_NUMBER, "number of a block")]
Name = Annotated[str, Fitting(r"[A-Za-z0-9][A-Za-z0-9._-]{0,252}", "name of a machine")]


@dataclass(frozen=True)
class Piece:
    """Of a file that guests boot from. digest: of the whole, `size` bytes; data (base64): of it from `offset` on."""

    digest: Annotated[str, SHA256]
    size: Annotated[int, Within(0, 1 << 40, "size of a file")]
    offset: Annotated[int, Within(0, 1 << 40, "place in a file")]
    data: str


@dataclass(frozen=True)
class Question:
    """do: tell `about` a worker and its machine, take a piece of a `file`, do a `block`, give one that is `kept` there,
    hear of the run's `end`.

    plan: as JSON. order: how many blocks of this run the machine has had, which decides the order of the guests.
    guests: those that are still booted, in orders that the seed decides. forget: blocks that the asker's journal holds.
    alone: another ukperf that measures there is in the way.
    """

    do: str
    plan: str
    block: Number = 0
    order: Number = 0
    guests: tuple[str, ...] = ()
    forget: tuple[Number, ...] = ()
    alone: bool = True
    seed: Annotated[int, Within(0, 2**32 - 1, "seed")] = 0
    piece: Piece | None = None


@dataclass(frozen=True)
class About:
    """A worker and its machine. kept: blocks of the run that are done there, and that nobody has taken yet. lacks:
    digests of files that it has not."""

    ukperf: str
    hostname: Name
    kernel: Annotated[str, Fitting(r"[0-9a-f-]{0,64}", "boot id")]  # one for all containers of a machine
    accelerator: Accelerator
    facts: Mapping[str, str] = field(default_factory=dict)
    kept: tuple[Number, ...] = ()
    lacks: tuple[Annotated[str, SHA256], ...] = ()


@dataclass(frozen=True)
class Done:
    """A block. files: name → content (base64), for the run's folder."""

    block: Number
    records: tuple[BootRecord, ...]
    files: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Told:
    """about, done: of a question that was answered; refusal, hint: of one that was not."""

    about: About | None = None
    done: Done | None = None
    refusal: str = ""
    hint: str = ""


def to_bytes(message: Question | Told) -> bytes:
    return json.dumps(encode(message, FORMAT), separators=(",", ":"), allow_nan=False).encode()


def question_of(data: bytes) -> Question:
    """Raises UkperfError for what is none."""
    question: Question = _read(Question, data, MOST_QUESTION)
    return question


def answer_of(data: bytes) -> Told:
    """Raises UkperfError for what is none, or holds more than a block may."""
    answer: Told = _read(Told, data, MOST_ANSWER)
    said = sum(len(text) for text in (answer.refusal, answer.hint))
    if said > 2 * MOST_SENTENCE or (answer.done is not None and len(answer.done.files) > MOST_FILES):
        raise UkperfError("It is larger than an answer may be.")
    about = answer.about
    if about is not None and (sum(map(len, about.facts.values())) > 1 << 16 or len(about.lacks) > MOST_LACKED):
        raise UkperfError("It is larger than an answer may be.")
    return answer


def _read(kind: type[Any], data: bytes, most: int) -> Any:
    if len(data) > most:
        raise UkperfError("It is larger than a message may be.")
    try:
        return decode_stored(kind, json.loads(data), FORMAT)
    except NewerError as error:
        raise UkperfError("It is from a newer version of ukperf.", hint="Use one version everywhere.") from error
    except (ValueError, RecursionError) as error:
        raise UkperfError("It is no message of ukperf's.") from error


def plan_text(plan: Plan) -> str:
    return json.dumps(asdict(plan), default=str, allow_nan=False, separators=(",", ":"))


def checked_block(done: Done, block: int, guests: Sequence[str]) -> tuple[BootRecord, ...]:
    """The records of a block that was asked for: each guest once, or twice where the first boot failed.

    Raises UkperfError for anything else.
    """
    tried: dict[str, list[BootRecord]] = {guest: [] for guest in guests}
    for record in done.records:
        trial = record.trial
        mine = tried.get(trial.guest)
        if done.block != block or trial.block != block or mine is None or trial.attempt != len(mine):
            raise UkperfError("It is another block than was asked for.")
        if trial.position >= len(guests) or (mine and mine[-1].outcome is Outcome.OK) or len(mine) > 1:
            raise UkperfError("It boots guests more often than was asked for.")
        mine.append(record)
    if not all(tried.values()):
        raise UkperfError("It lacks guests that were asked for.")
    return done.records


def files_of(done: Done) -> dict[str, bytes]:
    """The files of a block. Raises UkperfError for a name that is none of a run's folder, and for too much."""
    files = {}
    for name, content in done.files.items():
        if not _FILE.fullmatch(name) or name in _RESERVED or len(content) > 2 * MOST_FILE:
            raise UkperfError("It has a file that is none of a run's.")
        try:
            files[name] = base64.b64decode(content, validate=True)
        except binascii.Error as error:
            raise UkperfError("It has a file that is none of a run's.") from error
    return files


def unpacked(content: str) -> bytes:
    """Raises UkperfError for what `packed` does not give."""
    try:
        return base64.b64decode(content, validate=True)
    except binascii.Error as error:
        raise UkperfError("It sends what is no piece of a file.") from error


def packed(content: bytes) -> str:
    return base64.b64encode(content[:MOST_FILE]).decode()
