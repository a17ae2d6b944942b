"""Which installed distributions a script asks for: versions, markers, extras, requirements files, other Pythons."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from ukperf.errors import UkperfError
from ukperf.imaging.distributions import (
    Resolved,
    Site,
    distribution_files,
    own_site,
    read_requirements,
    resolve,
    site_of,
    wanted_packages,
)


def site(folder: Path, packages: Mapping[str, Sequence[str]]) -> Site:
    """Distributions `name version` with what they require."""
    for package, requires in packages.items():
        name, version = package.split()
        info = folder / f"{name}-{version}.dist-info"
        info.mkdir(parents=True)
        lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
        (info / "METADATA").write_text("\n".join([*lines, *(f"Requires-Dist: {text}" for text in requires), "", ""]))
        (folder / f"{name}.py").write_text("")
        (info / "RECORD").write_text(f"{name}.py,,\n{info.name}/METADATA,,\n{info.name}/RECORD,,\n")
    return Site(Path("/usr/bin/python3"), (str(folder),))


def names(resolved: Resolved) -> list[str]:
    return [dist.metadata["Name"] for dist in resolved.distributions]


def refusal(call: object, *arguments: object) -> str:
    with pytest.raises(UkperfError) as caught:
        call(*arguments)  # type: ignore[operator]
    return str(caught.value)


def test_a_package_comes_with_what_it_requires_here(tmp_path: Path) -> None:
    there = site(
        tmp_path,
        {
            "top 1.0": [
                "below>=1",
                'windows; sys_platform == "win32"',
                'old; python_version < "3"',
                'more; extra == "more"',
                "psutil>=5",
                "nowhere",
                "not a requirement at all!",
            ],
            "below 2.0": ["Top"],  # round about
            "windows 1": [],
            "old 1": [],
            "more 1": ["below"],
            "psutil 6": [],
        },
    )
    plain = resolve(wanted_packages(["TOP"]), there)
    assert names(plain) == ["below", "top"]
    assert plain.absent == ("nowhere, which top requires, is not installed",)
    assert names(resolve(wanted_packages(["top[more]"]), there)) == ["below", "more", "top"]
    assert names(resolve(wanted_packages(["psutil", "top"]), there)) == ["below", "psutil", "top"]  # asked for by name


def test_what_is_missing_or_of_another_version_is_one_sentence_with_the_line_to_type(tmp_path: Path) -> None:
    there = site(tmp_path, {"thing 1.5": []})
    assert names(resolve(wanted_packages(["thing>=1,<2"]), there)) == ["thing"]
    said = refusal(resolve, wanted_packages(["thing>=2", "no-such[x]==3", "thing"]), there)
    assert said.startswith("--package thing>=2: thing>=2 is wanted and 1.5 is installed (and 1 other package).")
    assert said.endswith("type: /usr/bin/python3 -m pip install 'thing>=2' 'no-such[x]==3'")
    assert "numpy 2 is no name of a package" in refusal(wanted_packages, ["numpy 2"])
    assert "is no name of a package" in refusal(wanted_packages, ["\x1b[31m; rm -rf"])


def test_a_requirements_file_names_packages_with_versions_and_markers(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "more.txt").write_text("third\n-r../last.txt\n")
    (tmp_path / "last.txt").write_text("fourth @ https://example.invalid/fourth.whl\n")
    path = tmp_path / "requirements.txt"
    path.write_text(
        "# comment\n\n--index-url https://example.invalid\nfirst==1.0 --hash=sha256:00 \\\n    --hash=sha256:11\n"
        'second>=2 # why\nelsewhere; sys_platform == "win32"\n-r sub/more.txt\n'
    )
    wanted = read_requirements(path)
    assert [str(item.requirement) for item in wanted][:3] == ["first==1.0", "second>=2", "third"]
    assert [item.requirement.name for item in wanted] == ["first", "second", "third", "fourth"]
    assert wanted[1].who == f"{path}, line 6"
    there = site(tmp_path / "site", {"first 1.0": [], "second 1": [], "third 3": [], "fourth 4": []})
    assert refusal(resolve, wanted, there).startswith(f"{path}, line 6: second>=2 is wanted and 1 is installed.")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("-e .\n", "line 1: -e . names no package"),
        ("good\n./folder\n", r"line 2: \./folder is no name of a package"),
        ("-c constraints.txt", "names no package"),
        ("-r requirements.txt", "names others without end"),
        ("-r nothing.txt", "nothing.txt cannot be read: No such file"),
        ("--find-links 'x", "has a quote that does not end"),
        ("a" * 200 + " b", "line 1: a{79}… is no name"),
    ],
)
def test_a_line_that_names_no_package_is_refused(text: str, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "requirements.txt"
    path.write_text(text)
    assert re.search(sentence, refusal(read_requirements, path))


def test_a_requirements_file_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "requirements.txt"
    path.write_bytes(b"\xff\xfe")
    assert "it is no UTF-8" in refusal(read_requirements, path)
    path.write_bytes(b"x" * (2 << 20))
    assert "it has more than 1 MiB" in refusal(read_requirements, path)
    assert "Is a directory" in refusal(read_requirements, tmp_path)


def test_files_of_a_package_without_a_list_of_them_are_refused(tmp_path: Path) -> None:
    there = site(tmp_path, {"thing 1": []})
    (dist,) = resolve(wanted_packages(["thing"]), there).distributions
    assert [str(file.target) for file in distribution_files(dist)] == ["thing-1.dist-info/METADATA", "thing.py"]
    (tmp_path / "thing-1.dist-info" / "RECORD").unlink()
    (dist,) = resolve(wanted_packages(["thing"]), there).distributions
    assert "thing has no list of its files (RECORD)" in refusal(list, distribution_files(dist))


def test_another_interpreter_of_the_same_python_is_asked_where_its_packages_are(tmp_path: Path) -> None:
    asked = site_of(Path(sys.executable))
    assert names(resolve(wanted_packages(["pytest"]), asked)) == names(resolve(wanted_packages(["pytest"]), own_site()))
    assert "cannot be asked for its packages: No such file" in refusal(site_of, tmp_path / "python")
    for answer, sentence in (
        ("echo '[\"cpython-27\", []]'", f"is cpython-27 and ukperf runs in {sys.implementation.cache_tag}"),
        ("echo hello", "it does not say where it finds packages"),
        ("exit 3", "it does not say where it finds packages"),
    ):
        python = tmp_path / "fake"
        python.write_text(f"#!/bin/sh\n{answer}\n")
        python.chmod(0o755)
        assert sentence in refusal(site_of, python)
