"""Pages as GitHub-flavoured Markdown, for issues and pull requests. Nothing foreign becomes markup there."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ukperf.reports.page import Line, Page, Quote, Table
from ukperf.text import clean

# GitHub reads mentions, references, emoji and formulas in any text; only code is left alone.
_READ = re.compile(r"[`@#<>&$]|://|\bwww\.|:\w+:", re.IGNORECASE)
_MARKUP = re.compile(r"([\\*_\[\]~])")
_FIGURES = re.compile(r"[\[\]\d.,…–±%×÷+\s-]*")  # no markup where it stands alone in a cell
_START = re.compile(r"^(\d+(?=[.)](?: |$))|(?=[-+=]))(.)")  # of a list, or of what underlines the line above


def render(page: Page) -> str:
    """The whole page: a paragraph for each line, a block of code for each quote."""
    blocks: list[str] = []
    for part in page.parts():
        if isinstance(part, Table):
            blocks.append("\n".join(table_lines(part)))
        elif isinstance(part, Quote):
            blocks += [*paragraphs(Line(part.lead)), _fenced(part.text)]
        else:
            blocks += paragraphs(part)
    return "\n\n".join(blocks) + "\n"


def paragraphs(line: Line) -> Iterator[str]:
    """One for each line of it that says something."""
    for said in (line.lead + line.text).splitlines():
        if text := _START.sub(r"\1\\\2", quoted(said)):
            yield text


def table_lines(table: Table) -> Iterator[str]:
    """Title, alignment, rows."""
    titles = [column.title for column in table.columns]
    if table.corner:
        titles[1] += f" ({table.corner})"
    yield _row(titles)
    yield f"|{'|'.join('--:' if column.right else '---' for column in table.columns)}|"
    for row in table.rows:
        yield _row([cell.text for cell in row])


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(map(cell, cells))} |"


def cell(text: str) -> str:
    """Text in a table, where a bar would end the cell even inside code."""
    shown = " ".join(clean(text).split())
    return shown if _FIGURES.fullmatch(shown) else quoted(shown).replace("|", "\\|")


def quoted(text: str) -> str:
    """Text that cannot become markup, a link or a mention of somebody, on one line: words that could are code."""
    return " ".join(map(_word, clean(text).split()))


def _word(word: str) -> str:
    bare = word.rstrip(";,.")  # how a part of a sentence ends
    return _code(bare) + word[len(bare) :] if _READ.search(bare) else _MARKUP.sub(r"\\\1", word)


def _fenced(text: str) -> str:
    """Lines as they are; nothing in them is read as markup, nor ends the block."""
    fence = _longer_fence(text, 3)
    return "\n".join((fence, clean(text, keep="\n\t"), fence))


def _longer_fence(text: str, least: int) -> str:
    return "`" * max(least, max(map(len, re.findall("`+", text)), default=0) + 1)


def _code(word: str) -> str:
    fence = _longer_fence(word, 1)
    pad = " " if word[0] == "`" or word[-1] == "`" else ""
    return f"{fence}{pad}{word}{pad}{fence}"
