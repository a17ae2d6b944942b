"""What the boots of a run execute, counted: the plugin that does, where its counts are kept, and what is refused."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

from ukperf.errors import HostError, UkperfError
from ukperf.files import reason
from ukperf.hosts import runs_here
from ukperf.hosts.base import Host
from ukperf.imaging.cache import Cache
from ukperf.imaging.plugin import counting_plugin
from ukperf.model import COUNTS, Accelerator, BootProtocol, Counting, Frame, Observation, Request, flow_beside
from ukperf.paths import make_dir


def counting_in(folder: Path, stacks: bool = False) -> Counting:
    """Of all boots of a run: one file, so that the command line is one; what is in it is kept after each.

    Raises UkperfError without a compiler.
    """
    return Counting(counting_plugin(Cache()), make_dir(folder / COUNTS) / "now", stacks)


def keep_counts(counting: Counting, kept: Path, seen: Observation) -> None:
    """What was counted in a boot that has ended, however it did, with the names of its windows; nothing where QEMU did
    not come to count.

    Raises UkperfError where it cannot be kept.
    """
    from ukperf.profile.counts import read_counts, write_counts  # numpy: not for who only asks for help
    from ukperf.profile.flows import read_flow, write_flow

    try:
        counts = read_counts(counting.file)
        write_counts(counts.named(*window_names(seen.frames, counts.marks)), kept)
        if counts.vcpus == 1:
            write_flow(read_flow(counting.flow), flow_beside(kept))
    except FileNotFoundError:
        return
    except ValueError as error:
        raise HostError(f"The counts of {kept.stem} are not what our plugin writes: {error}.") from error
    except OSError as error:
        raise UkperfError(f"{kept} cannot be written: {reason(error)}.") from error
    finally:
        with suppress(OSError):
            counting.file.unlink(missing_ok=True)
            counting.flow.unlink(missing_ok=True)


def window_names(frames: Sequence[Frame], marks: int) -> tuple[list[str], list[int]]:
    """Of the windows that frames began: what is between two of them; and the guest's counter there. None where frames
    were lost or are too many: nobody knows then which window is whose."""
    if len(frames) != marks:
        return [], []
    said = [*map(_said, frames), ""]
    ticks = [tick if isinstance(tick := frame.fields.get("tsc"), int) else 0 for frame in frames]
    return [f"{first} → {last}".rstrip() for first, last in pairwise(said)], ticks


def _said(frame: Frame) -> str:
    more = frame.fields.get({"phase": "name", "samples": "benchmark", "check": "name"}.get(frame.event, ""))
    if not isinstance(more, str) or not more:
        return frame.event
    return more if frame.event == "samples" else f"{frame.event} {more}"


def refuse_counting(request: Request, accelerator: Accelerator, hosts: Sequence[Host]) -> None:
    """Raises UkperfError for what cannot be counted."""
    cpus = [request.machine.vcpus, *(variant.vcpus or 1 for variant in request.variants.values())]
    if request.stacks and max(cpus) > 1:
        raise UkperfError("Call stacks are followed in guests with one CPU.", hint="Leave out --vcpus or --stacks.")
    if request.fleet is not None or request.scheduler or request.restores is not None:
        raise UkperfError(
            "What guests execute is counted in boots on this machine, one at a time.",
            hint="Leave out --fleet, and restore nothing.",
        )
    for host in hosts:
        host.check_counting(accelerator)


def refuse_uncounted(name: str, protocol: BootProtocol) -> None:
    """Raises HostError for a guest that no QEMU of ours executes."""
    if runs_here(protocol):
        raise HostError(
            f"What {name} executes cannot be counted: it is no guest of QEMU's.",
            hint=f"Leave {name} out, or profile a guest that QEMU executes: ukperf profile -g linux",
        )
