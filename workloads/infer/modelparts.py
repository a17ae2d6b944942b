"""What the benchmark of a model and its server have in common: what a prediction gives, threads, the CPU."""

import os

import cpuinfo
from rows import Array


def pin_threads(count):
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(count)
    os.environ["JOBLIB_MULTIPROCESSING"] = "0"  # its pools need semaphores, which unikernels lack


def arrays_of(adapter, outputs):
    """What a prediction gave, whatever it came in."""
    outputs = outputs if isinstance(outputs, list | tuple) else [outputs]
    if hasattr(adapter, "raw"):
        return [Array(*adapter.raw(output)) for output in outputs]
    import numpy as np

    arrays = [np.ascontiguousarray(output) for output in outputs]
    return [Array(array.dtype.str, array.shape, array.tobytes()) for array in arrays]


def cpu_here():
    try:
        return cpuinfo.Cpu()
    except (ImportError, OSError, ValueError):
        return None
