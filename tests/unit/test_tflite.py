"""TFLite files that we write: constants lie where the schema says that they do (force_align: 16)."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from test_models import writers_site

from ukperf.imaging import models
from ukperf.imaging.cache import Cache
from ukperf.imaging.models import MODELS, ModelFormat

NAMES = [name for name, kind in MODELS.items() if ModelFormat.TFLITE in kind.formats]


@pytest.mark.parametrize("name", NAMES)
def test_constants_are_aligned(name: str, tmp_path: Path) -> None:
    """Kernels may read the mapped file by instructions that want it so."""
    site = writers_site(ModelFormat.TFLITE)
    content = models.made(name, ModelFormat.TFLITE, Cache(tmp_path), site=site).path.read_bytes()

    def at(place: int, form: str) -> int:
        return int(struct.unpack_from(form, content, place)[0])

    def field(table: int, index: int) -> int:
        vtable = table - at(table, "<i")
        offset = at(vtable + 4 + 2 * index, "<H") if 4 + 2 * index < at(vtable, "<H") else 0
        return table + offset if offset else 0

    vector = field(at(0, "<I"), 4)  # Model.buffers
    vector += at(vector, "<I")
    places = range(vector + 4, vector + 4 + 4 * at(vector, "<I"), 4)
    data = [field(place + at(place, "<I"), 0) for place in places]  # Buffer.data
    starts = [place + at(place, "<I") + 4 for place in data if place]
    assert len(starts) > 1 and {start % 16 for start in starts} == {0}
