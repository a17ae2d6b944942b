"""Options of every workload go into plan.json and come back, whatever their values are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ukperf.decode import decode
from ukperf.engine.campaign import stored_options
from ukperf.workloads import WORKLOADS, get

st.register_type_strategy(Path, st.from_regex(r"/[a-zé ]{1,8}", fullmatch=True).map(Path))
OURS = [name for name in WORKLOADS.names() if get(name).Options is not None]


@dataclass(frozen=True)
class Parameters:
    """The part of a plan in which they stand."""

    parameters: Mapping[str, object]


def values_of(kind: Any) -> st.SearchStrategy[Any]:
    """Any values of an option's type, as they can be typed."""
    return st.from_type(kind).filter(_typed)


def _typed(value: object) -> bool:
    try:
        json.dumps(value, allow_nan=False, default=str).encode()
    except ValueError:
        return False
    return all(abs(item) < 2**53 for item in (value if isinstance(value, tuple) else [value]) if isinstance(item, int))


@pytest.mark.parametrize("name", OURS)
@settings(max_examples=25, deadline=None)
@given(st.data())
def test_options_come_back_from_a_plan_as_they_were(name: str, data: st.DataObject) -> None:
    kind = get(name).Options
    hints = get_type_hints(kind)
    options = kind(**{item.name: data.draw(values_of(hints[item.name]), item.name) for item in fields(kind)})
    read = decode(Parameters, json.loads(json.dumps({"parameters": stored_options(options)})))
    assert decode(kind, read.parameters) == options
