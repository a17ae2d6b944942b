"""Pages of made-up profiles: each kind, for those who look at pages."""

from __future__ import annotations

from dataclasses import replace

from profiles import guest

from ukperf.profile.consolemarks import CallKind, Initcall
from ukperf.profile.difference import gate_of, gated
from ukperf.profile.differencepage import DifferencePage
from ukperf.profile.initcallpage import InitcallPage, KernelCalls
from ukperf.profile.model import CallSum, CallTree, Profiled
from ukperf.profile.page import ProfilePage
from ukperf.reports.page import Page

LONG = "a-guest-of-somebody-with-a-long-name:0.1.55-rc1"
SIDES = (guest("linux"), guest("nanos", 0.05, sigma=0.01), guest(LONG, 0.3, boots=2))


def stacked(label: str, scale: float = 1.0, boots: int = 2) -> Profiled:
    """With call stacks: functions that call each other as deep as they go, and the last one itself."""
    side = guest(label, scale, boots=boots)
    made = []
    for boot in side.boots:
        functions = [*boot.rows, list(boot.rows)[-1]]
        own = {
            at: {node: boot.rows[f][w] for node, f in enumerate(functions[:-1], 1)} for w, at in enumerate(boot.windows)
        }
        parents = (-1, *(max(0, node - 1) if node % 4 else 0 for node in range(1, len(functions) + 1)))
        times = {window: {2: 7} for window in boot.windows}
        tree = CallTree(parents, (None, *functions), own, times, dict.fromkeys(boot.windows, 0))
        calls = {boot.windows[-1]: {"read": CallSum(3, 1000), "futex": CallSum(0, 12_345)}}
        made.append(replace(boot, tree=tree, calls=calls))
    return Profiled(label, tuple(made))


def pages() -> dict[str, Page]:
    new = guest("linux:6.12", 1.01, seed=1, sigma=0.003, acpi_ns_lookup=4e7, brand_new_init=2e6)
    old, gates = guest("linux:6.1"), [gate_of("acpi_*:more"), gate_of("pci_*:more")]
    calls = tuple(
        KernelCalls(
            label,
            (tuple(Initcall(f"call_{i}_init", CallKind.INITCALL, 10.0 * i * factor, 0, 300.0 * i) for i in range(40)),)
            * 6,
        )
        for label, factor in (("6.1.0-56-cloud-amd64", 1.0), ("6.12.118+deb13-cloud-amd64", 1.3))
    )
    return {
        "profile": ProfilePage(SIDES, facts={"machine": "q35", "accelerator": "icount"}),
        "window": ProfilePage(SIDES, window="main", most=5),
        "difference": DifferencePage(new, old, gates=gated(new, old, gates, 0.01)),
        "few": DifferencePage(guest("a", boots=2), guest("b", 1.1, boots=2)),
        "same": DifferencePage(guest("a"), guest("a")),
        "initcalls": InitcallPage(calls),
        "stacks": ProfilePage((stacked("linux"), stacked(LONG, 0.1)), facts={"machine": "q35"}),
        "stacks against": DifferencePage(stacked("new", 1.2), stacked("old")),
    }
