"""A network as TorchScript: python write_torchscript.py FOLDER FILE. It is compiled from source that we make here, so
that no path of this machine is in the file."""

import sys
import warnings

import torch
from netfile import Net

warnings.simplefilter("ignore", DeprecationWarning)
SOURCES = {
    "dense": "torch.nn.functional.linear({x[0]}, {w[0]}, {w[1]})",
    "conv": "torch.conv2d({x[0]}, {w[0]}, {w[1]}, [1, 1], [1, 1])",
    "pool": "torch.max_pool2d({x[0]}, [2, 2])",
    "flatten": "torch.flatten({x[0]}, 1)",
    "relu": "torch.relu({x[0]})",
    "softmax": "torch.softmax({x[0]}, -1)",
    "norm": "torch.layer_norm({x[0]}, [{shape[1]}], {w[0]}, {w[1]}, 1e-5)",
    "add": "{x[0]} + {x[1]}",
    "matmul": "torch.matmul({x[0]}, {x[1]})",
    "scores": "torch.matmul({x[0]}, {x[1]}.transpose(-1, -2)) * {value}",
    "split": "{x[0]}.reshape([-1, {shape[1]}, {shape[0]}, {shape[2]}]).transpose(1, 2)",
    "merge": "{x[0]}.transpose(1, 2).reshape([-1, {shape[0]}, {shape[1]}])",
    "mean": "torch.mean({x[0]}, [1])",
}


def source(net):
    lines = ["def forward(self, x: Tensor) -> Tensor:"]
    for step in net.steps:
        weights = [f"self.{name}" for name in step["weights"]]
        made = SOURCES[step["op"]].format(x=step["inputs"], w=weights, shape=step["shape"], value=step["value"])
        lines.append(f"    {step['output']} = {made}")
    return "\n".join([*lines, f"    return {net.output}", ""])


def write(net, path):
    module = torch.jit.script(torch.nn.Module())
    for name in net.table:
        value = torch.frombuffer(bytearray(net.bytes_of(name)), dtype=torch.float32).reshape(net.shape_of(name))
        module._c._register_attribute(name, torch._C.TensorType.get(), value)
    module.define(source(net))
    torch.jit.save(module, path)


write(Net(sys.argv[1]), sys.argv[2])
