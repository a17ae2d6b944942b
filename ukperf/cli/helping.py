"""How a command's help is laid out, alike with every Typer: some add types of Python to arguments (`RUN <str>`)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from typer.core import TyperCommand


class WellHelped(TyperCommand):
    """A command of ukperf's. Its help ends with a paragraph `Example: ukperf …`."""

    def records(self, ctx: Any) -> Iterator[tuple[str, str, str]]:
        """Argument or option; how it is written; what is said of it."""
        for param in self.get_params(ctx):
            if (record := param.get_help_record(ctx)) is not None:
                kind = str(param.param_type_name)
                yield kind, param.metavar or record[0] if kind == "argument" else record[0], record[1]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        for kind, title in (("argument", "Arguments"), ("option", "Options")):
            if rows := [(written, said) for of, written, said in self.records(ctx) if of == kind]:
                with formatter.section(title):
                    formatter.write_dl(rows)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        arguments = (param for param in self.get_params(ctx) if param.param_type_name == "argument")
        written = [(param, str(param.metavar or param.name)) for param in arguments]
        return ["[OPTIONS]", *(name if param.required else f"[{name.strip('[]')}]" for param, name in written)]
