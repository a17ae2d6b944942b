"""Text from elsewhere (guests, servers, files, paths) made safe to show: one function, used at every border.

A terminal takes some characters for commands: escape sequences (ECMA-48: ESC, and the C1 controls U+0080 to U+009F),
line separators, and the bidirectional controls that make a line look like another one (CVE-2021-42574). Lone
surrogates, as JSON and paths that are no UTF-8 bring them, can be written to no file.
"""

from __future__ import annotations

import os
import shlex
import unicodedata
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

Say = Callable[[str], None]  # takes sentences for people

_BLANKS = "\t\n\v\f\r\x85\u2028\u2029"
_MOST_NAMES = 20  # in a hint
_MOST_MARKS = 3  # combining marks on one character; stacks of them run over the lines around


def clean(text: str, limit: int | None = None, keep: str = "") -> str:
    """`text` with white space that is no space as a space, and everything else that is not printable as "·".

    Not printable are control characters, bidirectional and other format controls, line separators, lone surrogates,
    private and unassigned characters (str.isprintable). keep: characters that stay, such as "\\n\\t". limit: characters
    of the result at most; what is longer is cut and ends in "…".
    """
    if limit is not None and len(text) > limit:
        text = text[: max(0, limit - 1)] + "…"
    if text.isascii():
        return text if text.isprintable() else text.translate(_ascii_controls(keep))
    out: list[str] = []
    marks = 0
    for c in text:
        marks = marks + 1 if unicodedata.combining(c) else 0
        if marks <= _MOST_MARKS:
            out.append(c if c.isprintable() or c in keep else " " if c in _BLANKS else "·")
    return "".join(out)


def written_lines(tail: str) -> list[str]:
    """The lines that a guest wrote for people, of a console's tail: frames are ours to read and are left out."""
    return [line.rstrip() for line in tail.splitlines() if line.strip() and '{"event":' not in line]


def many(n: int, noun: str) -> str:
    """`1 block`, `20 blocks`: a number with its noun, which takes an s."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def meant(word: str, names: Iterable[str], there: str = "There are") -> str:
    """A hint for a name, or a glob of names, that fits none of `names`: what was perhaps meant, else what there is.

    there: what stands before the names.

    Names like `getppid.raw` go by their first part too: for `getpid*` the hint is `getppid*`.
    """
    import difflib  # rarely wanted, and this module is imported by every command

    known = list(dict.fromkeys(names))
    wild = any(letter in word for letter in "*?[")
    first = {name.partition(".")[0] for name in known if "." in name}
    choices = {stem: f"{stem}*" if wild else f"{stem}.*" for stem in first}
    choices |= {name: f"{name}*" if wild else name for name in known}
    bare = word.translate(str.maketrans("", "", "*?[]")).strip(".").lower()
    near = difflib.get_close_matches(bare, choices, n=1) if bare else []
    if near:
        return f"Did you mean {choices[near[0]]}?"
    more = f" and {len(known) - _MOST_NAMES} more" if len(known) > _MOST_NAMES else ""
    return f"{there}: {', '.join(known[:_MOST_NAMES])}{more}."


def unfitting(globs: str, names: Iterable[str]) -> list[str]:
    """Those of the globs, with commas between them, that fit no name: none of them may vanish without a word."""
    from fnmatch import fnmatchcase

    known = list(names)
    return [glob for glob in globs.split(",") if not any(fnmatchcase(name, glob.strip()) for name in known)]


def shell(*words: object) -> str:
    """Words of a command line as a shell takes them (sh, bash, zsh), safe to show: `'a b'`, `$'a\\xff'`."""
    return " ".join(_quoted(str(word)) for word in words)


def _quoted(word: str) -> str:
    if clean(word) == word:
        return shlex.quote(word)
    # clean() would leave another name behind
    parts = [c if c.isprintable() and c not in "\\'" else _escaped(c) for c in word]
    return "$'" + "".join(parts) + "'"


def _escaped(character: str) -> str:
    try:
        data = os.fsencode(character)
    except UnicodeEncodeError:  # a lone surrogate, which no path and no argument has
        return "·"
    return "".join(f"\\x{byte:02x}" for byte in data)


@cache
def _ascii_controls(keep: str) -> dict[int, str]:
    return {n: " " if chr(n) in _BLANKS else "·" for n in (*range(32), 127) if chr(n) not in keep}


class CleanStream:
    """A text stream whose write() cleans; what styles its text itself, safely, writes to `styled`, the stream behind.

    The last line of defence before a terminal: lines are as they are, and may be as many as the text has.
    """

    def __init__(self, stream: Any) -> None:
        self.styled = stream

    def write(self, text: str) -> int:
        self.styled.write(clean(text, keep="\n\r\t"))
        return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.styled, name)
