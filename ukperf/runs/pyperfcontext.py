"""What pyperf's metadata say of the machine that a file was measured on, under the names of `stats.provenance`.

pyperf moves metadata that all runs share up to the benchmark or the file, so all three places count. Its names are
those of https://pyperf.readthedocs.io/en/latest/api.html#metadata.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ukperf.stats.estimate import middle
from ukperf.text import clean

LONGEST = 400
_GOVERNOR = re.compile(r"governor:([\w-]+)")
_TURBO = re.compile(r"intel_pstate:(no )?turbo")
_MHZ = re.compile(r"=\s*(\d+(?:\.\d+)?) *(MHz|GHz)")


def _governor(config: str) -> str:
    return ", ".join(sorted(set(_GOVERNOR.findall(config))))


def _turbo(config: str) -> str:
    return ", ".join(sorted({"off" if no else "on" for no in _TURBO.findall(config)}))


def _frequency(text: str) -> str:
    mhz = [float(number) * (1000 if unit == "GHz" else 1) for number, unit in _MHZ.findall(text)]
    return f"{middle(sorted(mhz)):.0f} MHz" if mhz else ""


def _as_it_is(text: str) -> str:
    return text


# fact → (pyperf's name, what to read from its text)
_FACTS: Mapping[str, tuple[str, Callable[[str], str]]] = {
    "cpu": ("cpu_model_name", _as_it_is),
    "hostname": ("hostname", _as_it_is),
    "platform": ("platform", _as_it_is),
    "python": ("python_version", _as_it_is),
    "compiler": ("python_compiler", _as_it_is),
    "aslr": ("aslr", _as_it_is),
    "affinity": ("cpu_affinity", _as_it_is),
    "governor": ("cpu_config", _governor),
    "turbo": ("cpu_config", _turbo),
    "cpu_frequency": ("cpu_freq", _frequency),
    # files that ukperf wrote before each value had its facts
    "accelerator": ("ukperf_accelerator", lambda text: text.partition(" (")[0]),
    "machine": ("ukperf_machine", _as_it_is),
}
_NAMES = frozenset(name for name, _ in _FACTS.values())


class Context:
    """Collects what metadata say while a file is read."""

    def __init__(self) -> None:
        self._seen: dict[str, dict[str, None]] = {}

    def add(self, metadata: Mapping[str, Any]) -> None:
        for name in _NAMES & metadata.keys():
            self._seen.setdefault(name, {})[str(metadata[name])[:LONGEST]] = None

    def facts(self) -> dict[str, str]:
        """Fact → text; of one that changed within the file, its values one after the other."""
        facts = {}
        for fact, (name, read) in _FACTS.items():
            texts = self._seen.get(name, {})
            values = _frequencies(texts) if fact == "cpu_frequency" else dict.fromkeys(map(read, texts))
            text = ", then ".join(list(filter(None, values))[:3])
            if text:
                facts[fact] = clean(text)
        return facts


def _frequencies(texts: Iterable[str]) -> list[str]:
    """One for all runs: each run reads another one, and what matters is where they lie."""
    read = [float(text.removesuffix(" MHz")) for text in map(_frequency, texts) if text]
    return [f"{middle(sorted(read)):.0f} MHz"] if read else []
