"""Little C programs for tests."""

from __future__ import annotations

import subprocess
from pathlib import Path


def compiled(path: Path, code: str, *flags: str) -> Path:
    """The program of `code` at `path`, built with the machine's compiler."""
    path.parent.mkdir(parents=True, exist_ok=True)
    command = ["cc", "-D_GNU_SOURCE", "-w", "-o", str(path), "-x", "c", "-", "-x", "none", *flags]
    subprocess.run(command, input=code, text=True, check=True)
    return path


def shared_library(path: Path, code: str, *flags: str) -> Path:
    return compiled(path, code, "-shared", "-fPIC", f"-Wl,-soname,{path.name}", *flags)


PRINTS = """
#include <stdio.h>
int main(int argc, char **argv) { for (int i = 1; i < argc; i++) puts(argv[i]); return 0; }
"""
