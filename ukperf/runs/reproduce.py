"""How to read a bundle, and how to measure what is in it again: REPRODUCE.txt."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import ukperf
from ukperf import guests
from ukperf.errors import UkperfError
from ukperf.guests.recipes import Kernels
from ukperf.model import BootProtocol, Image
from ukperf.runs.loaded import LoadedRun
from ukperf.text import clean, many, shell

_WITHOUT = "Home folders, user names and host names were replaced: `~`, user, host1; UKPERF_CACHE is ukperf's cache."


def reproduce(runs: Mapping[str, LoadedRun], *, with_names: bool) -> str:
    """The text, its lines cleaned. runs: name in the bundle → the run as it is there."""
    lines = [
        f"{many(len(runs), 'run')} of ukperf, bundled by ukperf {ukperf.__version__}.",
        "" if with_names else _WITHOUT,
        "",
        "To read it (FILE is this archive as it came; nothing in it is executed):",
        "",
        *_reading(list(runs)),
        "",
        "Unpacked, runs/NAME/report.html is the page, journal.ndjson has a line for each boot, console/ what guests",
        "wrote, suite.json is for python -m pyperf. bundle.json has the sha256 of each file.",
    ]
    for name, run in runs.items():
        lines += ["", "", *_run(name, run)]
    return "\n".join(clean(line) for line in lines) + "\n"


def again(command: Sequence[str], seed: int) -> list[str]:
    """The words that make such a run anew: its seed among them, and not the folder, which is taken."""
    if not command:
        return []
    words = ["ukperf", *command[1:]]  # a plan may be anybody's, and name any program
    end = words.index("--") if "--" in words else len(words)
    ours, programs = words[:end], words[end:]  # what is behind `--` is another program's command line
    for i in reversed(range(len(ours))):
        if ours[i] == "--run":
            del ours[i : i + 2]
        elif ours[i].startswith("--run="):
            del ours[i]
    has_seed = any(word == "--seed" or word.startswith("--seed=") for word in ours)
    return [*ours, *([] if has_seed else ["--seed", str(seed)]), *programs]


def _reading(names: list[str]) -> Iterator[str]:
    first = "FILE" if len(names) == 1 else f"FILE/{names[0]}"
    yield f"  ukperf report {first}"
    yield f"  ukperf compare {first}"
    yield f"  ukperf compare {first} MY-OWN-RUN"
    if len(names) > 1:
        yield f"  ukperf compare {first} FILE/{names[1]}"


def _run(name: str, run: LoadedRun) -> Iterator[str]:
    plan = run.plan
    if plan is None:
        return
    yield name
    yield "=" * len(name)
    yield f"Begun {plan.created_at}, workload {plan.workload}, seed {plan.seed}, {many(len(run.records), 'boot')}."
    yield f"Measured by ukperf {plan.facts.get('ukperf', '(not known)')}."
    yield ""
    yield "What the figures are:"
    yield from (f"  {fact}: {value}" for fact, value in run.facts.items())
    yield ""
    yield "To measure it again, with what is listed below:"
    yield ""
    yield f"  {shell(*again(plan.command, plan.seed))}"
    for guest, image in plan.images.items():
        yield ""
        yield from _guest(guest, image)


def _guest(guest: str, image: Image) -> Iterator[str]:
    yield f"{guest}:"
    if image.kernel_version or image.kernel_digest:
        yield f"  kernel {image.kernel_version or '(no version)'}, sha256 {image.kernel_digest or 'not known'}"
    if way := _way(guest, image):
        yield f"  {way}"
    if image.program_digest:
        yield f"  program sha256 {image.program_digest}"
    yield f"  image sha256 {image.digest}"
    if image.cmdline:
        yield f"  command line {image.cmdline}"
    if image.command is not None:
        yield f"  started by {image.command.vmm or image.argv[0]}, sha256 {image.command.vmm_sha256 or 'not known'}"


def _way(guest: str, image: Image) -> str:
    """How its kernel is had."""
    if image.protocol is BootProtocol.EXEC or image.command is not None:
        return ""
    try:
        known = guests.get(image.guest)
        kind = known.recipe.kernels
    except UkperfError:
        return "a guest of somebody else's: its recipe is needed"
    version = image.kernel_version if kind is Kernels.STORED else ""
    return {
        Kernels.OWN: "made by ukperf itself",
        Kernels.PULLED: f"get it: ukperf images pull {known.name} (the version that there is; see the sha256)",
        Kernels.STORED: f"get it: ukperf images pull {known.name} --version {shell(version)}, or images add a file",
        Kernels.BUILT: f"build it: ukperf images build-kernel {known.name}",
    }[kind]
