"""The rooms of the house: which part may import which, and what may be imported at all before it is needed.

Data moves cli → engine → workloads → guests → imaging → hosts → console → stats → reports and never back; a library
that is large or changes often has one owner, so that it can be replaced there.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "ukperf"

# Who may import a library; a library that is not named here has no owner because it is not one of ours.
OWNERS = {
    "typer": {"cli"},
    "click": {"cli"},
    "elftools": {"imaging"},
    "packaging": {"imaging"},
    "urllib.request": {"imaging"},
    "http.client": {"imaging"},
    "requests": {"imaging"},
    "urllib3": {"imaging"},
    "httpx": {"imaging"},
    "libvirt": {"hosts"},
    "libvirtmod": {"hosts"},
    "psutil": {"hosts"},
    "scipy": {"stats"},
    "rich": {"reports"},
    "jinja2": {"reports"},
    "plotly": {"reports"},
    "matplotlib": {"reports"},
    "pyperf": {"reports"},  # and the scripts in workloads/, which are no part of the package
    "dask": {"cluster"},
    "distributed": {"cluster"},
    "sklearn": set[str](),  # runs inside guests only
    # A pickle is code, and is loaded inside guests only.
    **{library: set[str]() for library in ("pickle", "joblib", "cloudpickle", "dill", "shelve")},
}
# `""` is the package itself: its version.
SHARED = {"", "decode", "model", "errors", "files", "hints", "patterns", "registry", "signals", "templates", "text"}
# Rooms of ours that a room may import, besides the shared nouns and itself.
MAY_IMPORT = {
    "": {"runs"},  # ukperf.load, inside the function
    "errors": set[str](),
    "files": set[str](),
    "hints": set[str](),
    "templates": set[str](),
    "text": set[str](),
    "patterns": set[str](),
    "registry": set[str](),
    "signals": set[str](),
    "decode": set[str](),
    "paths": set[str](),
    "resources": set[str](),
    "model": set[str](),
    "console": set[str](),
    "cluster": set[str](),
    "imaging": {"paths", "resources"},
    "guests": {"imaging", "paths", "resources"},
    "hosts": {"console", "paths", "resources"},
    "stats": set[str](),
    "reports": {"stats"},
    "engine": {
        "cluster",
        "console",
        "guests",
        "hosts",
        "imaging",
        "paths",
        "profile",
        "reports",
        "resources",
        "stats",
        "workloads",
    },
    "profile": {"imaging", "paths", "reports", "resources", "stats"},
    "runs": {"engine", "guests", "hosts", "paths", "stats"},
    "doctor": {"engine", "guests", "hosts", "imaging", "paths", "reports", "resources"},
    "workloads": {
        "console",
        "guests",
        "hosts",
        "imaging",
        "paths",
        "profile",
        "reports",
        "resources",
        "stats",
    },
    "deps": {"guests", "hosts", "imaging", "paths", "reports", "resources", "workloads"},
    "cli": {
        "console",
        "deps",
        "doctor",
        "engine",
        "guests",
        "hosts",
        "imaging",
        "paths",
        "profile",
        "reports",
        "resources",
        "runs",
        "stats",
        "workloads",
    },
}
# Who opens files by another way than ukperf.files, and what. Whatever others may have put there is opened there.
OPENERS = {
    "files.py": "",
    "workloads/syscall_probe.py": "a table of our own package",
    "cli/main.py": "/dev/null",
    "doctor/system.py": "its log, the package lists' folder and /etc/os-release; it runs alone, without our package",
    "hosts/calltrace.py": "the pipe that strace writes to",
    "runs/bundle.py": "an archive in memory",
    "runs/unpack.py": "files that it makes in a folder of its own",
    "hosts/children.py": "/proc",
    "hosts/command.py": "both ends of pipes and terminals",
    "hosts/connection.py": "connections",
    "hosts/domainboots.py": "the pid file in its own private root",
    "hosts/domains.py": "/proc",
    "hosts/noise.py": "/proc and /sys",
    "hosts/ownership.py": "/proc",
    "hosts/procfiles.py": "/proc and /sys",
    "hosts/reaper.py": "the pid file in its own private root",
    "imaging/archives.py": "members of archives",
    "imaging/bytecode.py": "sources that closure.py looked at; it runs alone, without our package",
    "imaging/cpio.py": "the image that it makes",
    "imaging/datasources.py": "members of archives",
    "imaging/distro.py": "what it unpacks into a folder that it has just made",
    "imaging/ext4.py": "the image that mke2fs has just made",
    "imaging/nanosdisk.py": "the image that it makes",
}
# Who locks, syncs, replaces or cuts files by another way than ukperf.files, and what.
MOVERS = {
    "files.py": "",
    "engine/journal.py": "the journal: one line is appended, synced, and cut off again where that fails",
    "hosts/children.py": "its list of processes, which is cut and never read after a power cut",
    "imaging/cpio.py": "the image that it makes, with holes",
    "imaging/nanosdisk.py": "the image that it makes, with holes",
    "imaging/pythontree.py": "hard links into a tree that stays",
    "imaging/rootfs.py": "hard links of an archive",
}
MOVING = {"flock", "lockf", "fsync", "fdatasync", "ftruncate", "rename", "renames", "hardlink_to", "link"}
# Who says what only hosts/ knows, and which: "qemu", "xen", or the parts of an address.
SAYING = {
    "model/asked.py": "accelerators, machine types and platforms, as people type them and records keep them",
    "doctor/system.py": "names of packages, and of what they bring",
    "engine/plan.py": "keys of plans of the old format, to leave them out",
    "imaging/cache.py": "names of fields that are part of every image's digest",
    "imaging/distro.py": "a module of Linux",
    "imaging/download.py": "addresses of downloads",
    "stats/provenance.py": "what facts of records are called for people",
}
OPENING = {"open", "fdopen", "read_bytes", "read_text", "copy", "copy2", "copyfile", "copytree", "fromfile", "memmap"}
FREE_OF_OURS = {"decode", "model", "files", "signals", "text"}


def room_of(path: Path) -> str:
    """'hosts' for ukperf/hosts/xml.py, 'console' for ukperf/console.py, '' for ukperf/__init__.py."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return "" if parts == ("__init__",) else parts[0]


def imports_of(path: Path, package: Path = PACKAGE) -> Iterator[tuple[int, str]]:
    """Line and absolute dotted name of everything that a module imports, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = path.parent.parts[len(package.parent.parts) :]
                above = above[: len(above) - node.level + 1]
                base = ".".join([*above, *([base] if base else [])])
            for alias in node.names:
                yield node.lineno, f"{base}.{alias.name}"


def faults(path: Path) -> Iterator[str]:
    """One sentence for each import that the house does not allow."""
    room = room_of(path)
    for line, name in imports_of(path):
        at = f"{path.relative_to(ROOT)}:{line}"
        top, *rest = name.split(".")
        for library in {".".join([top, *rest[:depth]]) for depth in range(len(rest) + 1)} & set(OWNERS):
            if room not in OWNERS[library]:
                yield f"{at}: {library} belongs to {' and '.join(sorted(OWNERS[library])) or 'no room'}, not to {room}"
        if top != "ukperf":
            continue
        # `from ukperf import __version__` names the package itself; anything else names a room
        target = rest[0] if rest and rest[0] in MAY_IMPORT else ""
        if room in FREE_OF_OURS and not name.startswith(f"ukperf.{room}."):
            yield f"{at}: {room} imports nothing of ours, and this is {name}"
        elif target not in SHARED | MAY_IMPORT[room] | {room}:
            yield f"{at}: {room} may not import {target}"


MODULES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_imports_only_what_its_room_may(path: Path) -> None:
    assert list(faults(path)) == []


def test_every_room_is_known() -> None:
    assert {room_of(path) for path in MODULES} <= set(MAY_IMPORT)


def test_data_moves_one_way() -> None:
    """The table of rooms has no cycle."""
    left = dict(MAY_IMPORT)
    while left:
        leaves = [room for room, needs in left.items() if not needs & set(left)]
        assert leaves, f"these rooms import each other: {sorted(left)}"
        for room in leaves:
            del left[room]


@pytest.mark.parametrize(
    ("source", "module", "fault"),
    [
        ("def late():\n    import libvirt", "cli/x.py", "libvirt belongs to hosts"),
        ("from scipy import stats", "engine/x.py", "scipy belongs to stats"),
        ("from ..cli import main", "hosts/x.py", "hosts may not import cli"),
        ("from .. import engine", "imaging/x.py", "imaging may not import engine"),
        ("from ukperf.hosts.base import Host", "stats/x.py", "stats may not import hosts"),
        ("import ukperf.errors", "model/x.py", "imports nothing of ours"),
    ],
)
def test_a_forbidden_import_is_found(
    source: str, module: str, fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "ukperf"
    for room in MAY_IMPORT:
        (package / room).mkdir(parents=True, exist_ok=True)
    path = package / module
    path.write_text(source)
    monkeypatch.setattr(sys.modules[__name__], "PACKAGE", package)
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    monkeypatch.setattr(imports_of, "__defaults__", (package,))
    found = list(faults(path))
    assert len(found) == 1 and fault in found[0]


def modules_after(statement: str) -> set[str]:
    code = f"import sys; {statement}; print('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


HEAVY = {"numpy", "scipy", "sklearn", "libvirt", "psutil", "pyperf", "elftools", "jinja2", "ssl", "asyncio"}


def test_the_command_line_starts_without_heavy_imports() -> None:
    """Nothing heavy is imported before it is needed: `ukperf --help` must stay quick."""
    new = modules_after("import ukperf.cli.main") - modules_after("import typer")
    assert not {name.split(".")[0] for name in new} & HEAVY


@pytest.mark.parametrize("case", ["bimodal100", "mix", "tick", "markup"])
def test_small_files_are_compared_without_heavy_imports(case: str) -> None:
    """numpy alone takes longer to import than all of pyperf's compare_to takes; benchmarks/compare_cost.py measures."""
    words = ["ukperf", "compare", *(f"tests/cases/pyperf/{case}-{side}.json" for side in "ab")]
    new = modules_after(f"sys.argv = {words!r}; from ukperf.cli.main import _work; _work()")
    assert not {name.split(".")[0] for name in new} & (HEAVY | {"msgspec", "pydantic", "statistics"})


def test_programs_of_this_machine_are_run_without_heavy_imports(tmp_path: Path) -> None:
    """And without libvirt, which may be missing: nothing is asked about virtual machines."""
    words = ["ukperf", "run", "-g", "native", "--boots", "12", "--share-host", "--run", f"{tmp_path}/run", "--", "true"]
    new = modules_after(
        f"sys.argv = {words!r}; sys.modules['libvirt'] = None; from ukperf.cli.main import _work; _work()"
    )
    assert not {name.split(".")[0] for name in new - {"libvirt"}} & (HEAVY - {"elftools"} | {"urllib3"})


def test_the_nouns_cost_nothing() -> None:
    assert not {name.split(".")[0] for name in modules_after("import ukperf.model")} & (HEAVY | {"typer", "rich"})


def opens(path: Path) -> list[int]:
    """Lines on which a module opens or reads a file by itself."""
    called = [node.func for node in ast.walk(ast.parse(path.read_text(), str(path))) if isinstance(node, ast.Call)]
    found = [function.lineno for function in called if isinstance(function, ast.Name) and function.id == "open"]
    methods = [function for function in called if isinstance(function, ast.Attribute) and function.attr in OPENING]
    return found + [method.lineno for method in methods if ast.unparse(method.value) != "files"]


def test_files_are_opened_in_one_place() -> None:
    """A pipe hangs an ordinary open, and /dev/zero fills the memory."""
    found = {str(path.relative_to(PACKAGE)): lines for path in PACKAGE.rglob("*.py") if (lines := opens(path))}
    assert {name: lines for name, lines in found.items() if name not in OPENERS} == {}
    assert OPENERS.keys() <= found.keys(), "an exception that nobody needs any more"


def moves(path: Path) -> list[int]:
    """Lines on which a module locks, syncs, replaces or cuts a file by itself."""
    nodes = list(ast.walk(ast.parse(path.read_text(), str(path))))
    called = [(node.func, len(node.args)) for node in nodes if isinstance(node, ast.Call)]
    return [line for line, name in imports_of(path) if name.startswith("fcntl")] + [
        function.lineno
        for function, arguments in called
        if isinstance(function, ast.Attribute)
        # `replace` with one argument is Path's, with two os's; with two of a string it is str's
        and (
            function.attr in MOVING
            or (function.attr == "replace" and (arguments == 1 or ast.unparse(function.value) == "os"))
        )
    ]


def test_files_are_locked_and_replaced_in_one_place() -> None:
    """Nine atomic writes, four locks and three syncs, each a little different, were what there was before."""
    found = {str(path.relative_to(PACKAGE)): lines for path in PACKAGE.rglob("*.py") if (lines := moves(path))}
    assert {name: lines for name, lines in found.items() if name not in MOVERS} == {}
    assert MOVERS.keys() <= found.keys(), "an exception that nobody needs any more"


@pytest.mark.parametrize(
    "code", ["import fcntl", "os.replace(a, b)", "draft.replace(path)", "os.fsync(1)", "work.rename(path)"]
)
def test_a_module_that_moves_files_by_itself_is_found(code: str, tmp_path: Path) -> None:
    (tmp_path / "x.py").write_text(f"text.replace('a', 'b'); replace(record, a=1)\n{code}\n")
    assert moves(tmp_path / "x.py") == [2]


def test_frames_are_put_together_once() -> None:
    """By the host that saw them; whoever comes later reads the observation's report."""
    who = {
        str(path.relative_to(PACKAGE)) for path in MODULES for _, name in imports_of(path) if name.endswith(".assemble")
    }
    assert who == {"hosts/watch.py", "hosts/fake.py"}


VMMS = re.compile("qemu|xen", re.IGNORECASE)
FOR_PEOPLE = {"help", "metavar"}  # options' texts
CUTS = {"partition", "rpartition", "split", "rsplit", "startswith", "removeprefix"}


def names_in(node: ast.AST) -> Iterator[str]:
    """The identifiers that a node itself has."""
    for attribute in ("id", "attr", "arg", "name", "asname"):
        if isinstance(name := getattr(node, attribute, None), str):
            yield name


def drivers_words(source: str) -> list[int]:
    """Lines on which code, not a text for people, names a VMM or takes a connection's address apart.

    A text for people is a docstring, the help of an option, or anything with a blank in it.
    """
    tree = ast.parse(source)
    helps = [word.value for node in ast.walk(tree) for word in getattr(node, "keywords", ()) if word.arg in FOR_PEOPLE]
    docs = [
        node.value for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    ]
    spared = {id(part) for whole in (*helps, *docs) for part in ast.walk(whole) if isinstance(part, ast.Constant)}
    lines = []
    for node in ast.walk(tree):
        said = list(names_in(node))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in spared:
            said += [] if re.search(r"\s", node.value) else [node.value]
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in CUTS:
            cut = {word.value for word in node.args if isinstance(word, ast.Constant)}
            scheme = {"+"} if "partition" in node.func.attr else set()  # split("+") is of dates
            said += ["urlsplit"] if cut & {"://", *scheme} else []
        if any(VMMS.search(word) or word in ("urlsplit", "urlparse") for word in said):
            lines.append(getattr(node, "lineno", 0))
    return lines


def test_nothing_outside_of_hosts_knows_a_vmm_or_the_parts_of_an_address() -> None:
    """Capabilities are asked of the driver: a new one needs no change elsewhere."""
    others = [path for path in MODULES if room_of(path) != "hosts"]
    found = {str(path.relative_to(PACKAGE)): lines for path in others if (lines := drivers_words(path.read_text()))}
    assert {name: lines for name, lines in found.items() if name not in SAYING} == {}
    assert SAYING.keys() <= found.keys(), "an exception that nobody needs any more"


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("if platform == 'qemu': pass", True),
        ("image.qemu_args", True),
        ("from ukperf.hosts.xen import xen_xml", True),
        ("def on_xen(): pass", True),
        ("f'{guest}-xen'", True),
        ("uri.split('://')", True),
        ("scheme.partition('+')", True),
        ("from urllib.parse import urlsplit", True),
        ('"QEMU and Xen."', False),
        ("raise E('Kernels for Xen run one program.')", False),
        ("Option('--connect', help='qemu:///embed')", False),
        ("guest.partition(':')", False),
    ],
)
def test_a_drivers_word_is_found_and_a_text_for_people_is_none(source: str, found: bool) -> None:
    assert bool(drivers_words(source)) is found


def variables_of(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and name of each variable, argument, attribute and function."""
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name):
                yield node.lineno, name
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                yield node.lineno, name


def test_no_variable_is_called_found_whatever_it_holds() -> None:
    odd = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in PACKAGE.rglob("*.py")
        for line, name in variables_of(ast.parse(path.read_text()))
        if name == "found"
    ]
    assert not odd


def test_a_variable_called_found_is_seen() -> None:
    source = "def f(found): ...\nfound = 1\nx.found\ndef found(): ...\nfounder, text = 1, 'found'"
    assert {line for line, name in variables_of(ast.parse(source)) if name == "found"} == {1, 2, 3, 4}


def test_no_two_public_classes_share_a_name() -> None:
    """One word for one thing: whoever reads `Plan` knows which."""
    where: dict[str, list[str]] = {}
    for path in MODULES:
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                where.setdefault(node.name, []).append(str(path.relative_to(ROOT)))
    assert {name: paths for name, paths in where.items() if len(paths) > 1} == {}


REGISTRIES = {"exports": "ukperf/reports/exports/", "guests": "ukperf/guests/", "workloads": "ukperf/workloads/"}


@pytest.mark.parametrize("kind", REGISTRIES)
def test_extensions_are_listed_in_pyproject_alone(kind: str) -> None:
    """No module names all guests, workloads or formats: such a list would have to be touched for a new one."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = set(project["entry-points"][f"ukperf.{kind}"])
    assert len(names) > 2
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Tuple | ast.List | ast.Set | ast.Dict):
                items = node.keys if isinstance(node, ast.Dict) else node.elts
                said = {item.value for item in items if isinstance(item, ast.Constant) and isinstance(item.value, str)}
                assert not said >= names, f"{path.relative_to(ROOT)}:{node.lineno} lists all {kind}"


# A file outside of their room in which a name stands all the same, and why: another thing is called so, or it is data.
NAMED_ELSEWHERE = {
    ("guests", "doctor/system.py", "ubuntu"): "a distribution, as /etc/os-release names it",
    ("guests", "hosts/__init__.py", "native"): "the host driver",
    ("guests", "hosts/xen.py", "linux"): "libvirt's word for a kind of Xen's domains",
    ("guests", "hosts/xen.py", "native"): "libvirt's word for a mode of a timer",
    ("guests", "model/asked.py", "native"): "an accelerator",
    ("guests", "workloads/paperfigures.py", "linux"): "figures of the paper",
    ("guests", "workloads/paperfigures.py", "nanos"): "figures of the paper",
    ("guests", "workloads/paperfigures.py", "native"): "figures of the paper",
    ("guests", "workloads/paperfigures.py", "unikraft"): "figures of the paper",
    ("workloads", "cli/__init__.py", "sklearn"): "a command",
    ("workloads", "cli/boot_time.py", "boot"): "what this command runs",
    ("workloads", "cli/cold_start.py", "cold_start"): "what this command runs",
    ("workloads", "cli/images.py", "boot"): "the default of an option",
    ("workloads", "cli/__init__.py", "profile"): "a command",
    ("workloads", "cli/profile.py", "profile"): "what this command runs",
    ("workloads", "imaging/plugin.py", "profile"): "the folder of the plugin's source",
    ("workloads", "cli/sklearn.py", "sklearn"): "what this command runs",
    ("workloads", "cli/syscall_cost.py", "syscall_cost"): "what this command runs",
    ("workloads", "guests/command.py", "boot"): "of a kernel with its program in it, that is all there is to measure",
    ("workloads", "imaging/models.py", "sklearn"): "a format of models",
    ("workloads", "guests/floor.py", "boot"): "floor's kernel has this program linked in",
    ("workloads", "guests/floor.py", "density"): "floor's kernel has this program linked in",
    ("workloads", "guests/floor.py", "syscall_cost"): "floor's kernel has this program linked in",
    ("workloads", "guests/nanos.py", "boot"): "the role of a kernel's file, and a folder",
    ("workloads", "guests/stored.py", "boot"): "the role of a kernel's file",
    ("workloads", "guests/unikraft.py", "boot"): "what a kernel with its program linked in stands for",
    ("workloads", "hosts/domainxml.py", "boot"): "libvirt's word for the order of devices",
    ("workloads", "hosts/xen.py", "boot"): "libvirt's word for the order of devices",
    ("workloads", "imaging/runtimes.py", "infer"): "the folder of adapters and recipes",
    ("workloads", "cli/__init__.py", "density"): "a command",
    ("workloads", "cli/__init__.py", "infer"): "a command",
    ("workloads", "cli/density.py", "boot"): "the default of an option",
    ("workloads", "cli/density.py", "density"): "what this command runs",
    ("workloads", "cli/infer.py", "infer"): "what this command runs",
    ("workloads", "cli/__init__.py", "serve"): "a command",
    ("workloads", "cli/serve.py", "serve"): "what this command runs",
    ("workloads", "imaging/distro.py", "boot"): "a folder of a distribution's package",
    ("workloads", "imaging/programs.py", "boot"): "the program's own recipe",
    ("workloads", "imaging/programs.py", "density"): "the program's own recipe",
    ("workloads", "reports/plan_table.py", "boot"): "what is counted",
    ("workloads", "reports/progress.py", "boot"): "what is being done",
    ("exports", "imaging/packpython.py", "pyperf"): "a package that guests need",
    ("exports", "imaging/python_env.py", "pyperf"): "a package that guests need",
}
ORDINARY = {"run"}  # every page has runs
ROOM_OF_KIND = {"guests": "guests/", "workloads": "workloads/", "exports": "reports/exports/"}


def named(kind: str) -> Iterator[tuple[str, str, str]]:
    """(kind, file, name) for each text outside of their room that is the name of an extension of ours, and no noun
    that is counted."""
    points = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"][f"ukperf.{kind}"]
    for path in MODULES:
        file = str(path.relative_to(PACKAGE))
        nodes = list(ast.walk(ast.parse(path.read_text())))
        counted = {
            id(word)
            for node in nodes
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "many"
            for word in node.args
        }
        for node in nodes:
            if isinstance(node, ast.Constant) and node.value in points and id(node) not in counted:
                if node.value in ORDINARY:
                    continue
                # A guest is named in its own module alone; in the other rooms one thought spans several.
                module = points[node.value].split(":")[0].removeprefix("ukperf.").replace(".", "/")
                if not file.startswith(f"{module}.py" if kind == "guests" else ROOM_OF_KIND[kind]):
                    yield kind, file, node.value


@pytest.mark.parametrize("kind", ROOM_OF_KIND)
def test_names_of_extensions_stand_in_their_own_room(kind: str) -> None:
    """Others look them up by what they are: roles and recipes of guests, methods of workloads."""
    found = set(named(kind))
    assert found - NAMED_ELSEWHERE.keys() == set()
    assert {key for key in NAMED_ELSEWHERE if key[0] == kind} - found == set(), "exceptions that nobody needs any more"


def test_what_other_programs_say_need_not_be_utf8() -> None:
    """They print paths."""
    for path in PACKAGE.rglob("*.py"):
        calls = [node for node in ast.walk(ast.parse(path.read_text(), str(path))) if isinstance(node, ast.Call)]
        for call in calls:
            if ast.unparse(call.func) in ("subprocess.run", "subprocess.Popen"):
                words = {word.arg for word in call.keywords}
                assert "text" not in words or "errors" in words, f"{path.relative_to(PACKAGE)}:{call.lineno}"
