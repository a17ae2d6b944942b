"""What a word on the command line means: a program of this machine, or an installed Python package; what it is made of,
how it runs here, and how it is packed for guests."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ukperf.deps.composition import Composition, package_composition, program_composition
from ukperf.deps.ownword import own_word
from ukperf.errors import UkperfError
from ukperf.files import open_regular, read_text, reason, write_atomically
from ukperf.hosts.calltrace import CallTrace, trace_calls
from ukperf.hosts.ownership import scratch
from ukperf.imaging import modelfile, runtimes
from ukperf.imaging.cache import Cache
from ukperf.imaging.closure import NO_PRUNING
from ukperf.imaging.distributions import Site, is_installed, own_site, resolve, site_of, wanted_packages
from ukperf.imaging.executable import look_up
from ukperf.imaging.models import Model
from ukperf.imaging.pack import FileToPack, Packed, pack
from ukperf.imaging.packpython import pack_python
from ukperf.imaging.runtimes import QUIET, Runtime
from ukperf.workloads.run import DEFAULT_ENV

_CODE = (".keras", ".h5", ".npy")  # besides the formats of modelfile.CODE
# Behind an adapter and rows.py (workloads/infer), whose functions these are.
_PREDICT = """

if __name__ == "__main__":
    import sys
    from pathlib import Path

    import_()
    load(sys.argv[1], 1)
    predict(rows_for(sys.modules["__main__"], Path(sys.argv[2])))
    print(sorted(engine().items()))
"""


@dataclass(frozen=True)
class Subject:
    """words: as they were typed; of a model the runtime's package. site: of a package, None for a program. script: what
    is run of a package; None: it is imported. files: HOST[:GUEST], for the script or the program. model: a file that
    the package's runtime loads; inputs: rows for it, None: they are made."""

    words: tuple[str, ...]
    site: Site | None
    interpreter: Path | None = None
    script: Path | None = None
    files: tuple[str, ...] = ()
    model: Path | None = None
    inputs: Path | None = None

    @property
    def is_package(self) -> bool:
        return self.site is not None


def subject_of(
    words: Sequence[str],
    interpreter: Path | None,
    script: Path | None = None,
    files: Sequence[str] = (),
    inputs: Path | None = None,
) -> Subject:
    """What is meant. interpreter: whose packages; None: ukperf's own. Raises UkperfError where a package is wanted by
    what only packages have, and there is none of that name, and for models that nothing here may or can load."""
    site = site_of(interpreter) if interpreter is not None else own_site()
    if len(words) == 1 and _is_model(Path(words[0])):
        return replace(_model(Path(words[0]), site, interpreter), inputs=inputs and inputs.absolute())
    if inputs is not None:
        raise UkperfError(f"--inputs are rows for a model, and {words[0]} is none.")
    is_package = "/" not in words[0] and is_installed(words[0], site)
    if not is_package and script is not None:
        raise UkperfError(f"{words[0]} is no package that {site.executable} has, so no script can use it.")
    if is_package and len(words) > 1:
        raise UkperfError(
            f"{words[0]} is a package, and takes no arguments: {words[1]}.", hint="Name what is run by --script FILE."
        )
    return Subject(tuple(words), site if is_package else None, interpreter, script, tuple(files))


def _is_model(path: Path) -> bool:
    """By its name: a program with one of these would be odd."""
    return path.suffix.lower() in _CODE or modelfile.format_by_name(path) is not None


def _model(path: Path, site: Site, interpreter: Path | None) -> Subject:
    """A model and the first runtime that takes such and is installed. What it is, its content says."""
    about = None if path.suffix.lower() in _CODE else modelfile.format_by_name(path)
    if about is not None and about not in modelfile.CODE:
        try:
            with open_regular(path):
                pass
        except OSError as error:
            raise UkperfError(f"The model {path} cannot be read: {reason(error)}.") from error
        facts = modelfile.examined(path)
        about = facts.format
    if about is None or about in modelfile.CODE:
        raise UkperfError(
            f"{path} is a model that is code, and ukperf loads none on this machine.",
            hint="Name the package that loads it: ukperf deps torch",
        )
    able = [runtime for runtime in runtimes.reading(about) if not runtime.lacking(facts.operators)]
    for runtime in able:
        if is_installed(runtime.distributions[0], site):
            return Subject((runtime.distributions[0],), site, interpreter, model=path.absolute())
    names = ", ".join(runtime.distributions[0] for runtime in able) or "none that ukperf knows"
    raise UkperfError(
        f"{site.executable} has no package that loads {path.name}: {names}.",
        hint="Name another Python by --interpreter.",
    )


def ready_model(subject: Subject) -> Model | None:
    """The model as it is now, and rows to ask it, in the cache; None of what is no model. Raises UkperfError where rows
    are wanted and it does not tell what one looks like."""
    return modelfile.given(subject.model, subject.inputs) if subject.model is not None else None


def _runtimes() -> Iterator[Runtime]:
    for name in runtimes.RUNTIMES.names():
        with contextlib.suppress(UkperfError):  # of another package, and broken
            yield runtimes.get(name)


def compose(subject: Subject) -> Composition:
    """What it is made of. Raises UkperfError for what is neither a package nor a program."""
    name = subject.words[0]
    if subject.site is not None:
        made = package_composition(name, subject.site, own_word(name, subject.site.executable))
        if subject.model is None:
            return made
        size = subject.model.stat().st_size
        note = f"{subject.model.name} ({size:,} bytes) is loaded by it; other runtimes by --script."
        return replace(made, notes=(note, *made.notes))
    try:
        return program_composition(subject.words, os.environ.get("PATH", os.defpath))
    except UkperfError as error:
        if "/" in name or "There is no program" not in error.message:
            raise
        python = (subject.interpreter or own_site().executable).name
        raise UkperfError(
            f"{name} is neither a program in the folders of PATH nor a package that {python} has.",
            hint="Name another Python by --interpreter, or the program with its path.",
        ) from error


def trace_here(subject: Subject, timeout_s: float) -> CallTrace:
    """One run on this machine, as it is. Raises UkperfError where strace is not there, or it cannot be executed."""
    path = os.environ.get("PATH", os.defpath)
    if subject.site is None:
        located = look_up(subject.words[0], path, Path.cwd())
        return trace_calls([str(located.path), *subject.words[1:]], dict(os.environ), Path.cwd(), timeout_s)
    with scratch() as home:
        env = {"PATH": path, "HOME": str(home), **QUIET}
        # its own folder is where a script finds what it opens
        cwd = subject.script.absolute().parent if subject.script is not None else home
        words = [str(subject.site.executable), "-I", str(script_of(subject))]
        model = ready_model(subject)
        words += [str(model.path), str(model.inputs)] if model is not None else []
        return trace_calls(words, env, cwd, timeout_s)


def packed(subject: Subject) -> Packed:
    """The same for guests. A package that a recipe of a runtime is about (`ukperf infer`) is packed by that. Raises
    UkperfError for what cannot be packed."""
    files = [FileToPack.parse(text) for text in subject.files]
    if subject.site is None:
        return pack(subject.words, files=files, env=DEFAULT_ENV.items())
    runtime = runtime_of(subject)
    env = {**DEFAULT_ENV, **QUIET, **(runtime.environment if runtime is not None else {})}
    model = ready_model(subject)
    inside = [f"/model{model.path.suffix}", "/inputs.npy"] if model is not None else []
    if model is not None:
        files += [FileToPack(model.path, inside[0]), FileToPack(model.inputs, inside[1])]
    return pack_python(
        script_of(subject),
        inside,
        packages=[subject.words[0]],
        site=subject.site,
        pruning=runtime.pruning if runtime is not None else NO_PRUNING,
        files=files,
        env=env.items(),
    )


def runtime_of(subject: Subject) -> Runtime | None:
    """The recipe that is about a package, if there is one."""
    if subject.site is None:
        return None
    name = _plain(subject.words[0])
    return next((runtime for runtime in _runtimes() if name in map(_plain, runtime.distributions)), None)


def _plain(requirement: str) -> str:
    """The name in a requirement, as modules are called."""
    return re.sub(r"[-_.]+", "_", wanted_packages([requirement])[0].requirement.name).lower()


def script_of(subject: Subject) -> Path:
    """What is run of a package: the script that was named, or one that imports it, which stays in the cache so that the
    same is packed the next time."""
    if subject.script is not None:
        return subject.script.absolute()
    assert subject.site is not None
    if subject.model is not None:
        runtime = runtime_of(subject)
        assert runtime is not None
        name = f"predict-{runtime.name}"
        source = read_text(runtime.adapter) + "\n\n" + read_text(runtimes.ROWS) + _PREDICT
    else:
        modules = _modules(subject.words[0], subject.site)
        name = f"import-{'-'.join(modules)}"
        source = "".join(f"import {module}\n" for module in modules)
    folder = Cache().root / "deps"
    path = folder / f"{name}.py"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(path, source, durable=False)
    except OSError as error:
        raise UkperfError(f"{path} cannot be written: {reason(error)}.") from error
    return path


def _modules(requirement: str, site: Site) -> list[str]:
    """The modules that a package is imported by: the one that is called like it, else all that it has on top."""
    name = _plain(requirement)
    dist = next(
        d for d in resolve(wanted_packages([requirement]), site).distributions if _plain(d.metadata["Name"]) == name
    )
    parts = [Path(str(entry)).parts for entry in dist.files or ()]
    tops = {part[0] for part in parts if len(part) == 2 and part[1] == "__init__.py"}
    tops |= {part[0].removesuffix(".py") for part in parts if len(part) == 1 and part[0].endswith(".py")}
    tops = {top for top in tops if top.isidentifier()}
    same = [top for top in tops if top.lower() == name]
    public = sorted(same or [top for top in tops if not top.startswith("_")])
    if not public:
        raise UkperfError(f"{requirement} has no module to import.", hint="Name what is run by --script FILE.")
    return public
