"""A network as TorchScript: python write_torchscript.py FOLDER FILE. It is compiled from source that we make here, so
that no path of this machine is in the file."""

import sys
import warnings

import torch
from netfile import Net

warnings.simplefilter("ignore", DeprecationWarning)
F = "torch.nn.functional"
SOURCES = {
    "dense": "torch.addmm({w[1]}, {x[0]}, {w[0]}.t())",
    "relu": "torch.relu({x[0]})",
}


def source(net):
    lines = ["def forward(self, x: Tensor) -> Tensor:"]
    for step in net.steps:
        weights = [f"self.{name}" for name in step["weights"]]
        lines.append(f"    {step['output']} = " + SOURCES[step["op"]].format(x=step["inputs"], w=weights))
    return "\n".join([*lines, f"    return {net.output}", ""])


def write(net, path):
    module = torch.jit.script(torch.nn.Module())
    for name in net.table:
        value = torch.frombuffer(bytearray(net.bytes_of(name)), dtype=torch.float32).reshape(net.shape_of(name))
        module._c._register_attribute(name, torch._C.TensorType.get(), value)
    module.define(source(net))
    torch.jit.save(module, path)


write(Net(sys.argv[1]), sys.argv[2])
