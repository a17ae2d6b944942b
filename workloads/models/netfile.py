"""A model as ukperf writes it down for its writers: a network's steps (ukperf/imaging/nets.py), or a forest's nodes
(forests.py), and weights as bytes."""

import json
import math
from pathlib import Path


class Net:
    """One model. steps: mappings of op, inputs, output, shape, weights, value; none of a forest."""

    def __init__(self, folder):
        about = json.loads(Path(folder, "net.json").read_text())
        self.name, self.shape, self.steps, self.table = (about[key] for key in ("name", "shape", "steps", "weights"))
        self.content = Path(folder, "weights.bin").read_bytes()

    @property
    def output(self):
        return self.steps[-1]["output"]

    def shape_of(self, name):
        return self.table[name]["shape"]

    def bytes_of(self, name):
        """Numbers of four bytes each, little endian, in the order of C."""
        start = self.table[name]["offset"]
        return self.content[start : start + 4 * math.prod(self.shape_of(name))]

    def array(self, name):
        import numpy as np

        return np.frombuffer(self.bytes_of(name), self.table[name]["type"]).reshape(self.shape_of(name))
