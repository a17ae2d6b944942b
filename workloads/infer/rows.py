"""Rows for a model, as its runtime wants them, with NumPy or without: not every runtime needs it."""

from ast import literal_eval
from typing import NamedTuple

LETTERS = {"f4": "f", "f8": "d", "i8": "q", "i4": "i", "u1": "B", "b1": "?"}  # NumPy's kinds of numbers → struct's


class Array(NamedTuple):
    """Numbers as they are in memory: NumPy's word for their kind ("<f4"), how many in each direction, bytes."""

    kind: str
    shape: tuple
    data: bytes

    def numbers(self):
        return memoryview(self.data).cast(LETTERS[self.kind[1:]])


def read_npy(path):
    """An array of a .npy file, in the order of C. NumPy is not needed: not every runtime does."""
    content = path.read_bytes()
    start = 10 if content[6] == 1 else 12
    end = start + int.from_bytes(content[8:start], "little")
    about = literal_eval(content[start:end].decode("latin-1"))
    if about["fortran_order"]:
        raise ValueError(f"{path.name} is in the order of Fortran.")
    return Array(about["descr"], about["shape"], content[end:])


def rows_for(adapter, path):
    """What is predicted, from a .npy file: an array of NumPy where the adapter does not say otherwise."""
    inputs = read_npy(path)
    if hasattr(adapter, "array"):
        return adapter.array(*inputs)
    import numpy as np

    return np.frombuffer(inputs.data, inputs.kind).reshape(inputs.shape)
