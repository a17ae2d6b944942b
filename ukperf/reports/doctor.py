"""`ukperf doctor`'s page."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

_MARK = {"ok": ("ok", "green"), "missing": ("MISSING", "bold red"), "optional": ("–", "yellow")}


def render(diagnosis: dict[str, Any], console: Console) -> None:
    """Print a diagnosis (campaign.examine.Diagnosis.to_json): a line a check, advice below it, then the verdict."""
    for check in diagnosis["checks"]:
        mark, style = _MARK[check["state"]]
        _line(console, mark, style, check["name"], check["sentence"], check["advice"])
    if diagnosis["noise"]:
        console.print()
        console.print("What makes timing noisy here:", soft_wrap=True)
        for source in diagnosis["noise"]:
            mark, style = ("ok", "green") if source["quiet"] else ("noisy", "yellow")
            _line(console, mark, style, source["name"], source["state"], "" if source["quiet"] else source["advice"])
    console.print()
    console.print(_verdict(diagnosis), soft_wrap=not console.is_terminal)


def _line(console: Console, mark: str, style: str, name: str, sentence: str, advice: str) -> None:
    text = Text.assemble((f"{mark:8}", style), (f"{name:15} ", "bold"), sentence)
    if not console.is_terminal:
        console.print(text, soft_wrap=True)
        if advice:
            console.print(Text(" " * 24 + advice), soft_wrap=True)
        return
    console.print(Text.assemble((f"{mark:8}", style), (f"{name:15} ", "bold")), end="")
    first, *rest = Text(sentence).wrap(console, max(20, console.width - 24)) or [Text("")]
    console.print(first)
    for line in rest:
        console.print(Padding(line, (0, 0, 0, 24)))
    if advice:
        console.print(Padding(Text(advice, style="dim"), (0, 0, 0, 24)))


def _verdict(diagnosis: dict[str, Any]) -> str:
    if not diagnosis["ok"]:
        return "`ukperf boot-time` cannot run here: get what is missing first."
    accelerator = diagnosis["accelerator"]
    unit = "guest instructions, exact and repeatable" if accelerator == "icount" else "seconds"
    return f"`ukperf boot-time` can run here; --accel auto means {accelerator}: figures are {unit}."
