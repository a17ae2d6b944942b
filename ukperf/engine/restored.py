"""Settings that are restored: a guest under its name and `@restore`, and the templates that its boots go on from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ukperf.engine.plan import spec_of
from ukperf.engine.setting import Setting
from ukperf.engine.templates import about, template_of
from ukperf.errors import HostError, UkperfError
from ukperf.hosts import runs_here
from ukperf.hosts.base import Host
from ukperf.hosts.template import ABOUT
from ukperf.imaging.cache import Cache
from ukperf.model import RESTORED, Accelerator, BootSpec, Plan, Request, Restores, Visitor
from ukperf.text import Say


def with_restored(
    settings: Mapping[str, Setting], request: Request, accelerator: Accelerator, say: Say
) -> dict[str, Setting]:
    """The settings of a run, and for each one the same that is restored; without what is booted, where nobody wants it.

    Raises UkperfError where nothing is left, and for what under icount would not repeat.
    """
    wanted = request.restores
    if wanted is None:
        return dict(settings)
    if accelerator is Accelerator.ICOUNT and (wanted.ready or wanted.answered):
        raise UkperfError(
            "Under icount only a program that goes straight on after it was restored repeats, and one that waits for "
            "something does not.",
            hint="Use --accel tcg, or let it be saved at its gate: leave out --ready and --port.",
        )
    every: dict[str, Setting] = {}
    for name, setting in settings.items():
        if wanted.booted:
            every[name] = setting
        if runs_here(setting.image.protocol):
            part = "it takes part booted alone" if wanted.booted else "it is left out"
            say(f"{name} is a process of this machine, and none that is saved: {part}.")
        else:
            every[name + RESTORED] = _gated(setting, wanted)
    if not every:
        raise UkperfError("There is no guest to restore.", hint="Name one: -g nanos -g linux")
    return every


def _gated(setting: Setting, wanted: Restores) -> Setting:
    """The setting with the program that waits at its gate."""
    program = setting.program
    if wanted.words or wanted.env:
        program = replace(program, argv=(*program.argv, *wanted.words), env=(*program.env, *wanted.env))
        setting = setting.running(program)
    return replace(setting, name=setting.name + RESTORED)


def with_templates(
    plan: Plan, wanted: Restores | None, hosts: Sequence[Host], visitor: Visitor | None, say: Say
) -> Plan:
    """The plan with the templates of its restored settings, which are made where the cache has none. Of a guest that
    cannot be saved there is a sentence, and no setting. Raises UkperfError where nothing is left, or only the baseline.
    """
    if wanted is None:
        return plan
    templates: dict[str, Path] = {}
    refused: dict[str, HostError] = {}
    for name in plan.images:
        if not name.endswith(RESTORED):
            continue
        try:
            if len(hosts) > 1:
                raise HostError("A template is of one host, and this run has several.", hint="Name one --connect.")
            templates[name] = template_of(hosts[0], saving_spec(plan, name, wanted, visitor), say)
        except HostError as error:
            refused[name] = error
    left = {name: image for name, image in plan.images.items() if name not in refused}
    if refused and (not left or not wanted.booted):
        raise next(iter(refused.values()))
    for name, why in refused.items():
        say(f"{name} is left out: {why.message}")
    cache = Cache()
    files = {str(folder / ABOUT): cache.digests.file(folder / ABOUT) for folder in templates.values()}
    taken = {f"template of {name}": about(folder) for name, folder in templates.items()}
    return replace(
        plan,
        images=left,
        templates=templates,
        restorer=wanted.by,
        files={**plan.files, **files},
        facts={**plan.facts, **taken},
    )


def saving_spec(plan: Plan, name: str, wanted: Restores, visitor: Visitor | None) -> BootSpec:
    """The boot of which a template is made."""
    spec = spec_of(plan, name)
    return replace(
        spec,
        template=None,
        restorer=wanted.by,
        cold=False,
        ready=wanted.ready,
        until_ready=True,
        keep_output=None,
        visitor=visitor if wanted.answered else None,
    )


def refuse_lost(plan: Plan, cache: Cache) -> None:
    """Raises UkperfError where a template of a run that is to go on is gone, or another one by now."""
    for name, folder in plan.templates.items():
        path = cache.hold(folder) / ABOUT
        now = cache.digests.file(path) if path.is_file() else ""
        if now != plan.files.get(str(path)):
            raise UkperfError(
                f"The template of {name} is {'another one by now' if now else 'gone'} ({folder}).",
                hint="Start a new run with the same options: restored guests of two templates are not alike.",
            )
