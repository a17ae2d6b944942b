"""Compile Python sources to bytecode files that depend on nothing but the sources. Also runs alone, as the compiling
process of closure.py: `python -I bytecode.py < jobs`, a JSON list of [source, destination, name in the guest].

Files are `unchecked-hash` pycs (PEP 552): no time stamp, so equal sources give equal bytes, and the guest's importer
never asks for the source's status. marshal marks an object for later reference when anybody else holds it, which varies
with what was compiled before (bpo-34093); here everybody is held, so everything is marked.
"""

from __future__ import annotations

import importlib.util
import json
import marshal
import sys
from pathlib import Path
from types import CodeType

UNCHECKED_HASH = (1).to_bytes(4, "little")


def bytecode(source: bytes, name: str) -> bytes:
    """The pyc file of one source; name is what tracebacks say. Raises SyntaxError or ValueError (null bytes)."""
    code = compile(source, name, "exec", dont_inherit=True, optimize=0)
    held = list(_objects(code))
    body = marshal.dumps(code)
    del held
    return importlib.util.MAGIC_NUMBER + UNCHECKED_HASH + importlib.util.source_hash(source) + body


def _objects(value: object) -> list[object]:
    """The value and all that it is made of, each reference twice held: by its owner and by this list."""
    held: list[object] = []
    todo = [value]
    while todo:
        item = todo.pop()
        held.append(item)
        if isinstance(item, CodeType):
            parts = ("co_consts", "co_names", "co_varnames", "co_freevars", "co_cellvars")
            todo.extend(getattr(item, part) for part in parts)
            parts = ("co_filename", "co_name", "co_qualname", "co_linetable", "co_exceptiontable")
            held.extend(getattr(item, part) for part in parts)
        elif isinstance(item, tuple | frozenset):
            todo.extend(item)
    return held


def main() -> int:
    """Compile the jobs on standard input; print the sources that are no valid Python as a JSON list."""
    bad = []
    for source, destination, name in json.load(sys.stdin):
        try:
            data = bytecode(Path(source).read_bytes(), name)
        except (SyntaxError, ValueError):  # templates and Python 2 samples that wheels carry
            bad.append(source)
            continue
        Path(destination).write_bytes(data)
    json.dump(bad, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
