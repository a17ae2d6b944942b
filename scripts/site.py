"""Pages of the site that are made when it is built: README and its like from the checkout's root, the commands from
their own help, the extension interface from its docstrings. mkdocs.yml names this file as a hook.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
# Files of the checkout's root that are pages of the site, and where.
FROM_ROOT = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "CHANGELOG.md": "changelog.md",
}
# What extensions use, in the order of docs/extending.md; `exports` has one function to write.
INTERFACE = {
    "Workloads": ["ukperf.workloads.base"],
    "Guests": ["ukperf.guests.base", "ukperf.guests.recipes"],
    "Host drivers": ["ukperf.hosts.base"],
    "Exports": ["ukperf.reports.exports", "ukperf.runs.loaded"],
}
THEIRS = '<script src="https://unpkg.com/iframe-worker/shim"></script>'
_PICTURE = re.compile(r'\b(src|srcset)="docs/')  # of a page of the root
_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)#:\s]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for name, place in FROM_ROOT.items():
        files.append(File.generated(config, place, content=(ROOT / name).read_text()))
    files.append(File.generated(config, "reference/commands.md", content="\n".join(commands())))
    files.append(File.generated(config, "reference/interface.md", content="\n".join(interface())))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links as they are in a checkout, turned into links of the site; to what is no page, the text stays."""
    place = page.file.src_uri
    # where the text stands in the checkout
    origin = next((name for name, there in FROM_ROOT.items() if there == place), f"docs/{place}")

    def turned(link: re.Match[str]) -> str:
        text, target, anchor = link[1], link[2], link[3] or ""
        path = posixpath.normpath(posixpath.join(posixpath.dirname(origin), target))
        there = FROM_ROOT.get(path, path.removeprefix("docs/") if path.startswith("docs/") else "")
        if text in (target, path, posixpath.basename(path)) and path.endswith(".md"):  # a file's name: here the page's
            text = _title(path) or text
        if there and files.get_file_from_path(there) is not None:
            return f"[{text}]({posixpath.relpath(there, posixpath.dirname(place) or '.')}{anchor})"
        return link[0] if path.startswith("docs/") else text

    markdown = _LINK.sub(turned, markdown)
    return _PICTURE.sub(r'\1="', markdown) if "/" not in origin else markdown


def _title(path: str) -> str:
    """The first heading of a page of the checkout; empty of a page that is made here."""
    page = ROOT / path
    return page.read_text().partition("\n")[0].lstrip("# ") if page.is_file() else ""


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Search in a folder needs what the theme would load from others: docs/assets/worker.js does it."""
    place = posixpath.relpath("assets/worker.js", posixpath.dirname(page.file.dest_uri) or ".")
    return output.replace(THEIRS, f'<script src="{place}"></script>')


def on_post_template(output_content: str, template_name: str, config: MkDocsConfig) -> str:
    """The page of a server for what it has not."""
    return output_content.replace(THEIRS, "")


# ---- the commands ------------------------------------------------------------------------------------------------


def commands() -> Iterator[str]:
    """Every command's help as Markdown."""
    from typer.main import get_command

    from ukperf.cli.main import app

    yield "# Commands\n\nWhat `ukperf COMMAND --help` prints.\n"
    yield from _commands(get_command(app), "ukperf", None)


def _commands(command: Any, path: str, parent: Any) -> Iterator[str]:
    from ukperf.cli.helping import WellHelped

    context = command.make_context(path, [], parent=parent, resilient_parsing=True)
    yield f"## {path}\n"
    yield f"```text\n{path} {' '.join(command.collect_usage_pieces(context))}\n```\n"
    yield from _paragraphs(command.help or "")
    if isinstance(command, WellHelped):
        rows = [(names, said) for _, names, said in command.records(context)]
    else:
        rows = [record for param in command.get_params(context) if (record := param.get_help_record(context))]
    if rows:
        yield "| option or argument | what it does |\n|---|---|"
        yield from (f"| {_code(names)} | {_text(said)} |" for names, said in rows)
        yield ""
    for name, child in getattr(command, "commands", {}).items():
        yield from _commands(child, f"{path} {name}", context)


def _paragraphs(said: str) -> Iterator[str]:
    for paragraph in re.split(r"\n\s*\n", said.strip()):
        line = " ".join(paragraph.split())
        example = line.removeprefix("Example: ")
        yield f"```console\n$ {example}\n```\n" if example != line else f"{_text(line)}\n"


def _code(words: str) -> str:
    return f"<code>{_text(words)}</code>"


def _text(said: str) -> str:
    """Help is plain text but for its `code`."""
    parts = said.split("`")
    for at in range(0, len(parts), 2):
        for sign in "\\*_<>[]":
            parts[at] = parts[at].replace(sign, f"&#{ord(sign)};")
    return "`".join(parts).replace("|", "&#124;").replace("\n", " ")


# ---- the interface -----------------------------------------------------------------------------------------------


def interface() -> Iterator[str]:
    yield "# Extension interface\n"
    yield "What a workload, a guest, a host driver or an export of your own is made of, from the docstrings."
    yield " [Extending](../extending.md) tells how they go together.\n"
    for head, modules in INTERFACE.items():
        yield f"## {head}\n"
        yield from (f"::: {module}\n" for module in modules)
