"""The options that every measuring command has, written once: their order, their defaults, and what becomes of them."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass, fields, replace
from typing import Any, get_type_hints

from ukperf import guests
from ukperf.cli import options as o
from ukperf.model import Accelerator, Launch, Request


@dataclass(frozen=True)
class Shared:
    """What was typed, in the order of `--help`. A command may do without some of it: see `without`."""

    guest: o.Guests = None
    guest_file: o.GuestFile = None
    baseline: o.Baseline = None
    boots: o.Boots = None
    precision: o.Precision = None
    max_time: o.MaxTime = None
    retry: o.Retry = True
    delta: o.Delta = 1.0
    seed: o.Seed = None
    accel: o.Accel = Accelerator.AUTO
    machine: o.Kind = "q35"
    memory: o.Memory = 256
    vcpus: o.Vcpus = 1
    pin: o.Pin = None
    launch: o.LaunchBy = Launch.LIBVIRT
    connect: o.Connect = None
    fleet: o.OverFleet = None
    fleet_strata: o.FleetStrata = False
    timeout: o.Timeout = 120.0
    kernel: o.Kernel = None
    append: o.Append = None
    variant: o.Variants = None
    run: o.RunDir = None
    json: o.Json = False
    brief: o.Brief = False
    share_host: o.ShareHost = False
    shared_path: o.SharedPath = False
    without: frozenset[str] = frozenset()

    def timeout_s(self) -> float | None:
        """--timeout in seconds; None where it was not given and the command has no default."""
        return None if self.timeout is None else o.seconds(self.timeout, "--timeout")

    def request(self, boots: int | None = None) -> Request:
        """What these options ask for; what a command does without is as a Request has it by default.

        boots: where there is neither --boots nor --precision. Raises UkperfError for what cannot be meant.
        """
        from ukperf.cli.variants import variants as parsed
        from ukperf.guests import recipes
        from ukperf.hosts import DEFAULT
        from ukperf.paths import absolute

        mine = [recipes.use(path) for path in self.guest_file or ()]
        variants = parsed(self.variant)
        named = [*(self.guest or ()), *mine]
        based_on = [variant.guest for variant in variants.values()]
        baseline = self.baseline or guests.baseline([*(name for name in named if name not in variants), *based_on])
        if variants and not named and "baseline" not in self.without:  # no others but what they are divided by
            named = [] if baseline in variants else [baseline]
        asked = Request(
            guests=tuple(dict.fromkeys(named)),
            machine=o.machine(self.machine, self.memory, self.vcpus, self.pin),
            accelerator=self.accel,
            launch=self.launch,
            connect=tuple(self.connect or [DEFAULT]),
            timeout_s=self.timeout_s() or Request.timeout_s,
            kernels=o.kernels(self.kernel),
            cmdlines=o.pairs(self.append, "--append"),
            variants=variants,
            share_host=self.share_host,
            shared_path=self.shared_path,
            command=("ukperf", *sys.argv[1:]),
        )
        if "baseline" not in self.without:
            alone = baseline in variants
            asked = replace(
                asked,
                guests=asked.guests if alone else o.with_baseline(named, baseline),
                baseline=baseline,
                added=baseline if named and not alone and baseline not in named else "",
            )
        if "boots" not in self.without:
            few = boots if self.boots is None and self.precision is None else self.boots
            asked = replace(
                asked,
                limits=o.limits(few, self.precision, self.max_time, retry=self.retry),
                delta=o.percent(self.delta, "--delta"),
                seed=self.seed,
                folder=absolute(self.run) if self.run else None,
                scheduler=o.scheduler(self.fleet),
                strata=self.fleet_strata,
            )
        return asked


CAMPAIGN = frozenset(
    {"baseline", "boots", "precision", "max_time", "retry", "delta", "seed", "run", "fleet", "fleet_strata"}
)


def measuring(
    *, after: str, without: Collection[str] = (), **defaults: object
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the shared options and hand them to it as its first argument.

    after: the shared option that the command's own ones follow in `--help`. without: options that it has not (those of
    CAMPAIGN together or not at all). defaults: its own defaults of shared ones.
    """
    hints = get_type_hints(Shared, include_extras=True)
    shared = {
        item.name: inspect.Parameter(
            item.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=defaults.get(item.name, item.default),
            annotation=hints[item.name],
        )
        for item in fields(Shared)
        if item.name not in {"without", *without}
    }

    def give(command: Callable[..., None]) -> Callable[..., None]:
        own = list(inspect.signature(command, eval_str=True).parameters.values())[1:]
        order = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own]
        place = list(shared).index(after) + 1
        parameters = [*list(shared.values())[:place], *order, *list(shared.values())[place:]]

        def called(**words: Any) -> None:
            typed = {name: words.pop(name) for name in shared}
            command(Shared(**typed, without=frozenset(without)), **words)

        called.__doc__, called.__module__, called.__name__ = command.__doc__, command.__module__, command.__name__
        called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        called.__annotations__ = {p.name: p.annotation for p in parameters}
        return called

    return give
