"""A terminal's recording of a run, as one SVG: the command is typed, progress goes by, the table stays.

Nothing in it is made up. The command, the order and the length of boots are the run's own (plan.json, journal.ndjson);
the line of progress is what ukperf shows at such a moment; the table is what the command prints of these boots. Time is
compressed, and the title says how much. CSS moves it, so it moves where README's pictures may have no scripts. Without
its animation the file shows the last screen: for who wants no motion (prefers-reduced-motion), and for print.

    python docs/results/recording.py    writes terminal.svg
"""

from __future__ import annotations

import html
import io
import math
import os
import pty
import subprocess
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from make import UKPERF, bundle
from rich.cells import cell_len
from rich.console import Console
from rich.spinner import SPINNERS
from rich.style import Style
from rich.text import Text

from ukperf.model import BootRecord, Event, Frame, Plan
from ukperf.reports.progress import Progress
from ukperf.runs.loaded import load
from ukperf.text import shell

COLUMNS = 110
CHARACTER, ROW, SIZE = 8.4, 19, 14  # SVG units: a character's width, a row's height, the letters' size
LEFT, TOP, BOTTOM = 14, 40, 12  # around the text
INK, FAINT, GROUND, BAR = "#e6edf3", "#9198a1", "#161b22", "#21262d"
COLOURS = {1: ("red", "#ff7b72"), 2: ("green", "#7ee787"), 3: ("yellow", "#f2cc60")}  # by ANSI's numbers
FONT = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', 'Liberation Mono', monospace"

PROMPT = 2  # characters
PAUSE_S, KEY_S, REST_S = 0.6, 0.025, 12.0  # before it is typed; a key; the last screen
MOST_PROGRESS_S, STEP_S = 10.0, 0.125  # of the film; between two looks at the line of progress
TIMES = 3  # it is played
_PLAIN = Console(file=io.StringIO(), width=COLUMNS)  # rich asks one what a style is
# of a run's command: where it went, and whom it did not mind, is nobody's business
DROPPED = {"--share-host": 0, "--run": 1, "--timeout": 1}


@dataclass(frozen=True)
class Recording:
    """typed: rows of the command; progress: what stood below it, one after the other, each for STEP_S; rows: of the
    answer; speed: how many times faster than it was."""

    typed: tuple[str, ...]
    progress: tuple[str, ...]
    rows: tuple[Text, ...]
    speed: int


def record(run: str) -> Recording:
    """From a run in docs/results/runs."""
    loaded = load(bundle(run))
    assert loaded.plan is not None
    command = (*_command(loaded.plan), "--brief")
    typed = textwrap.wrap(shell(*command), COLUMNS - 4, break_long_words=False, break_on_hyphens=False)
    rows = [f"{'>' if number else '$'} {row} \\" for number, row in enumerate(typed)]
    rows[-1] = rows[-1].removesuffix(" \\")
    took = max(boot.elapsed_s for boot in loaded.records)
    speed = max(1, math.ceil(took / MOST_PROGRESS_S / 10) * 10)
    progress = tuple(_progress(loaded.plan, loaded.records, speed * STEP_S))
    answer = Text.from_ansi(_shown((*UKPERF, "compare", "--brief", str(bundle(run)))).rstrip("\n"))
    return Recording(tuple(rows), progress, tuple(answer.split("\n")), speed)


def write(run: str, path: Path) -> None:
    path.write_text(drawn(record(run)), encoding="utf-8")


def _command(plan: Plan) -> Iterator[str]:
    words = iter(plan.command)
    for word in words:
        if word in DROPPED:
            for _ in range(DROPPED[word]):
                next(words)
        else:
            yield word


def _progress(plan: Plan, boots: Sequence[BootRecord], every_s: float) -> Iterator[str]:
    """The line of progress, looked at every so many seconds of the run."""
    now = 0.0
    seen = Progress(plan.limits, clock=lambda: now)
    spinner = SPINNERS["dots"]["frames"]
    looks = 0
    begun = 0.0
    for boot in boots:
        at = {event: begun + (ns - boot.events[Event.START]) / 1e9 for event, ns in boot.events.items()}
        steps = [(begun, lambda boot=boot: seen.trial_starts(boot.trial))]
        for event, name in ((Event.MAIN, "main"), (Event.EXIT, "exit")):
            if event in at:
                frame = Frame(name, {}, boot.events[event])
                steps.append((at[event], lambda boot=boot, frame=frame: seen.frame(boot.trial, frame)))
        steps.append((boot.elapsed_s, lambda boot=boot: seen.trial_ends(boot)))
        for when, happens in steps:
            while looks * every_s < when:
                now = looks * every_s
                yield f"{spinner[looks % len(spinner)]} {seen.text().plain}"
                looks += 1
            now = when
            happens()
        begun = boot.elapsed_s


def _shown(command: Sequence[str]) -> str:
    """What a command writes to a terminal of COLUMNS columns."""
    ours, theirs = pty.openpty()
    env = {**os.environ, "COLUMNS": str(COLUMNS), "LINES": "50", "TERM": "xterm-256color"}
    env.pop("NO_COLOR", None)
    process = subprocess.Popen(command, stdout=theirs, stderr=subprocess.DEVNULL, env=env)
    os.close(theirs)
    pieces: list[bytes] = []
    try:
        while piece := os.read(ours, 65_536):
            pieces.append(piece)
    except OSError:  # EIO: the other end is closed
        pass
    finally:
        os.close(ours)
        process.wait()
    return b"".join(pieces).decode("utf-8", "replace").replace("\r\n", "\n")


# -- the picture -------------------------------------------------------------------------------------------------------


def drawn(recording: Recording) -> str:
    """The SVG."""
    typed, rows = recording.typed, recording.rows
    width = LEFT * 2 + COLUMNS * CHARACTER
    height = TOP + (len(typed) + len(rows)) * ROW + BOTTOM
    title = f"ukperf: a run and its answer, {recording.speed} times as fast as it was"
    below = TOP + len(typed) * ROW
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" role="img" '
            f'aria-labelledby="title">',
            f'<title id="title">{html.escape(title)}</title>',
            f"<style>{_style(recording, width)}</style>",
            f'<rect width="{width:g}" height="{height:g}" rx="8" fill="{GROUND}"/>',
            f'<path d="M0 26V8a8 8 0 0 1 8-8H{width - 8:g}a8 8 0 0 1 8 8V26z" fill="{BAR}"/>',
            f'<text x="{width / 2:g}" y="18" text-anchor="middle" class="f">{html.escape(title)}</text>',
            f'<svg x="0" y="{TOP}" width="{width - 1:g}" height="{len(typed) * ROW}">',
            *(f"<g>{_row(Text(row), number)}</g>" for number, row in enumerate(typed)),
            *(
                f'<g id="k{number}" class="k" transform="translate({width:g} 0)"><rect x="{LEFT}" '
                f'y="{number * ROW}" width="{width:g}" height="{ROW}" fill="{GROUND}"/><rect id="c{number}" class="c" '
                f'x="{LEFT}" y="{number * ROW + 1}" width="{CHARACTER:g}" height="{ROW - 3}" fill="{INK}"/></g>'
                for number in range(len(typed))
            ),
            "</svg>",
            f'<svg x="0" y="{below}" width="{width:g}" height="{ROW}"><g id="p">',
            *(_row(Text(line), number) for number, line in enumerate(recording.progress)),
            "</g></svg>",
            f'<svg x="0" y="{below}" width="{width:g}" height="{len(rows) * ROW}"><g id="a">',
            *(_row(row, number) for number, row in enumerate(rows)),
            "</g></svg>",
            "</svg>",
            "",
        ]
    )


def _style(recording: Recording, width: float) -> str:
    """Who moves when. Without animation the answer is there, and what goes before it is not."""
    keys = [len(row) - PROMPT for row in recording.typed]
    typing = [PAUSE_S + KEY_S * sum(keys[:number]) for number in range(len(keys) + 1)]
    begins = typing[-1] + PAUSE_S / 2
    ends = begins + STEP_S * len(recording.progress)
    whole = ends + REST_S

    def at(seconds: float) -> str:
        return f"{100 * seconds / whole:.3f}%"

    film = [
        f"{at(begins + STEP_S * n)}{{opacity:1;transform:translateY({-ROW * n}px)}}"
        for n in range(len(recording.progress))
    ]
    rules = [
        f"text{{font:{SIZE}px {FONT};fill:{INK};white-space:pre}}",
        f".b{{font-weight:bold}}.f{{fill:{FAINT}}}",
        *(f".{name}{{fill:{colour}}}" for name, colour in COLOURS.values()),
        "#p,.c{opacity:0}",
        f"#p,#a,.k,.c{{animation-duration:{whole:.3f}s;animation-iteration-count:{TIMES};animation-timing-function:step-end}}",
        "#p{animation-name:p}#a{animation-name:a}",
        f"@keyframes p{{0%{{opacity:0}}{''.join(film)}{at(ends)},100%{{opacity:0}}}}",
        f"@keyframes a{{0%{{opacity:0}}{at(ends)},100%{{opacity:1}}}}",
    ]
    for number, count in enumerate(keys):
        left, typed, gone = (
            f"translateX({to:g}px)"
            for to in (PROMPT * CHARACTER * (number == 0), CHARACTER * (PROMPT + count), width)  # the first is there
        )
        rules.append(f"#k{number}{{animation-name:k{number}}}#c{number}{{animation-name:c{number}}}")
        here = f"0%{{opacity:{int(number == 0)}}}{at(typing[number])}{{opacity:1}}"
        rules.append(f"@keyframes c{number}{{{here}{at(typing[number + 1])},100%{{opacity:0}}}}")
        rules.append(
            f"@keyframes k{number}{{0%{{transform:{left}}}"
            f"{at(typing[number])}{{transform:translateX({PROMPT * CHARACTER:g}px);"
            f"animation-timing-function:steps({count})}}"
            f"{at(typing[number + 1])}{{transform:{typed}}}"
            f"{at(typing[number + 1] + (PAUSE_S / 2 if number == len(keys) - 1 else 0.001))},100%{{transform:{gone}}}}}"
        )
    rules.append("@media(prefers-reduced-motion:reduce){#p,#a,.k,.c{animation:none}}")
    return "\n".join(rules)


def _row(row: Text, number: int) -> str:
    """A row of a terminal. Words that stand together are one text of a given length, whatever letters there are."""
    y = number * ROW + SIZE
    marks = []
    for start, words, style in _runs(row):
        kind = " ".join(_kinds(style))
        x = LEFT + CHARACTER * cell_len(row.plain[:start])
        length = CHARACTER * cell_len(words)
        said = html.escape(words, quote=False)
        named = f' class="{kind}"' if kind else ""
        marks.append(f'<text x="{x:g}" y="{y}" textLength="{length:g}"{named}>{said}</text>')
    return "".join(marks)


def _runs(row: Text) -> Iterator[tuple[int, str, Style]]:
    """Start, words and style of what stands together: of one style, without two blanks."""
    styles = [row.get_style_at_offset(_PLAIN, offset) for offset in range(len(row.plain))]
    start = 0
    for end in range(1, len(row.plain) + 1):
        if end < len(row.plain) and styles[end] == styles[start] and row.plain[end : end + 2].strip():
            continue
        if end < len(row.plain) and styles[end] == styles[start] and not row.plain[start:end].strip():
            continue
        words = row.plain[start:end]
        if words.strip():
            blank = len(words) - len(words.lstrip())
            yield start + blank, words.strip(), styles[start + blank]
        start = end


def _kinds(style: Style) -> Iterator[str]:
    if style.bold:
        yield "b"
    if style.color is not None and style.color.number in COLOURS:
        yield COLOURS[style.color.number][0]
    elif style.dim:
        yield "f"


if __name__ == "__main__":
    write("boot-icount", Path(__file__).resolve().parent / "terminal.svg")
