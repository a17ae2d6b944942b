"""How fast this host's time stamp counter runs. Under plain emulation a guest's counter is the host's.

A guest without a reference clock (microvm has neither HPET nor PM timer) measures its counter against the PIT; when the
host is busy that fails, and Linux then has no clock at all and hangs (about every fourth boot on a loaded machine). It
need not measure what we can tell.
"""

from __future__ import annotations

import json
import subprocess
from functools import lru_cache

from ukperf.errors import UkperfError
from ukperf.imaging.cache import Cache
from ukperf.imaging.programs import count_program

_LOOPS, _VALUES = 20_000_000, 5  # some 50 ms between the two frames
_ROUND_KHZ = 1000  # 0.04 % at most, and the same command line, so the same image, each time
_TIMEOUT_S = 30


def tsc_khz(cache: Cache) -> int:
    """The rate in kHz, to the nearest MHz, from the clocks in the frames of our counting program.

    Raises UkperfError when the program cannot be built or run.
    """
    program = count_program(_LOOPS, _VALUES, cache)
    return _measured(str(program.path), *program.argv[1:])


@lru_cache(maxsize=4)
def _measured(*command: str) -> int:
    try:
        done = subprocess.run(command, check=True, capture_output=True, timeout=_TIMEOUT_S)
        frames = [json.loads(line.lstrip(b"\x1e")) for line in done.stdout.splitlines()]
        ticks, nanoseconds = (int(frames[-1][name]) - int(frames[0][name]) for name in ("tsc", "t"))
        return round(ticks * 1_000_000 / nanoseconds / _ROUND_KHZ) * _ROUND_KHZ
    except (OSError, subprocess.SubprocessError, ValueError, KeyError, IndexError, ZeroDivisionError) as error:
        raise UkperfError(f"The counting program does not run on this host: {error}.") from error
