"""A host with no VM: it plays scripts, so that the campaign's order of events is tested without booting anything."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ukperf.console import FrameDecoder, assemble, encode_frame
from ukperf.hosts.base import HostDefaults, OnFrame
from ukperf.hosts.template import DamagedError
from ukperf.model import Accelerator, BootSpec, Event, Observation, Outcome

MS = 1_000_000


def good_boot(total_ms: float = 100.0, *, status: int = 0, frames: bytes = b"") -> Observation:
    """A boot that went well: VMM 10 %, kernel 60 %, init 10 %, stop 20 % of total_ms; ticks count nanoseconds."""
    at = {event: round(total_ms * MS * share) for event, share in _SHARES.items()}
    numbers = [int(str(frame.fields.get("n", 0))) for frame in FrameDecoder().feed(frames, 0)]
    console = (
        encode_frame("main", 0, at[Event.MAIN], at[Event.MAIN], program="fake", v=1)
        + frames
        + encode_frame("exit", max(numbers, default=0) + 1, at[Event.EXIT], at[Event.EXIT], status=status)
    )
    report = assemble(FrameDecoder().feed(console, at[Event.MAIN]))
    ticks = {Event.MAIN: at[Event.MAIN], Event.EXIT: at[Event.EXIT]}
    return Observation(
        Outcome.OK if status == 0 else Outcome.FAILED,
        "" if status == 0 else f"its program exited with status {status}",
        at,
        ticks,
        report,
        status,
        console_bytes=len(console),
        vmm_peak_rss=64 << 20,
    )


def bad_boot(outcome: Outcome, reason: str = "as scripted") -> Observation:
    """A boot that went wrong, with a tail for the post-mortem."""
    return Observation(outcome, reason, {Event.START: 0}, console_tail="fake console tail")


_SHARES = {
    Event.START: 0.0,
    Event.CREATED: 0.1,
    Event.RESUMED: 0.1,
    Event.FIRST_BYTE: 0.7,
    Event.MAIN: 0.8,
    Event.EXIT: 0.9,
    Event.STOPPED: 1.0,
}


@dataclass
class FakeHost(HostDefaults):
    """script: called with each spec and the number of boots so far; what it returns (or raises) is what happened."""

    script: Callable[[BootSpec, int], Observation] = field(default=lambda spec, number: good_boot())
    booted: list[str] = field(default_factory=list)
    closed: bool = False
    uri: str = "fake"
    settings: Mapping[str, str] = field(default_factory=dict)
    replaced: str = ""  # what `changed` says
    about: Mapping[str, str] = field(default_factory=dict)
    accelerators: Sequence[Accelerator] = (Accelerator.KVM, Accelerator.ICOUNT, Accelerator.TCG)
    ours: bool = False
    takes: Callable[[BootSpec, Path], None] | None = None  # makes templates; None: as hosts do that make none
    damaged: list[Path] = field(default_factory=list)  # templates that are
    taken: list[str] = field(default_factory=list)

    @property
    def here(self) -> bool:  # type: ignore[override]  # of tests' connections
        return "+" not in self.uri.partition(":")[0]

    def boot(self, spec: BootSpec, on_frame: OnFrame | None = None) -> Observation:
        self.booted.append(spec.image.guest)
        observation = self.script(spec, len(self.booted) - 1)
        if on_frame is not None:
            for frame in observation.frames:
                on_frame(frame)
        return observation

    def template_inputs(self, spec: BootSpec) -> Mapping[str, object]:
        image = spec.image
        known = {"guest": image.guest, "image": image.digest, "at": spec.ready}
        return super().template_inputs(spec) if self.takes is None else known

    def take_template(self, spec: BootSpec, folder: Path) -> None:
        self.taken.append(spec.image.guest)
        if self.takes is not None:
            self.takes(spec, folder)

    def check_template(self, folder: Path) -> None:
        if folder in self.damaged:
            self.damaged.remove(folder)
            raise DamagedError(f"The template in {folder} is damaged: as scripted.")

    def check_network(self) -> None:
        """Scripts say what happens."""

    def facts(self) -> Mapping[str, str]:
        return {"connection": self.uri, **self.about}

    def conditions(self) -> Mapping[str, str]:
        return self.settings

    def changed(self) -> str:
        return self.replaced

    def close(self) -> None:
        self.closed = True
