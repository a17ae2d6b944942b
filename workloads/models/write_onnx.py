"""A network as ONNX, by the package onnx: python write_onnx.py FOLDER FILE."""

import sys
from pathlib import Path

from netfile import Net
from onnx import TensorProto, checker, helper

OPSET, IR = 17, 8  # of 2022: what every runtime that is still looked after reads


class Graph:
    """The nodes of a graph as they are added."""

    def __init__(self, net):
        self.net, self.nodes, self.weights = net, [], {}

    def node(self, kind, inputs, output, **attributes):
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))

    def weight(self, name):
        dims, content = self.net.shape_of(name), self.net.bytes_of(name)
        self.weights[name] = helper.make_tensor(name, TensorProto.FLOAT, dims, content, raw=True)
        return name

    def dense(self, step):
        w, b = map(self.weight, step["weights"])
        self.node("Gemm", [*step["inputs"], w, b], step["output"], transB=1)

    def relu(self, step):
        self.node("Relu", step["inputs"], step["output"])


def write(net, path):
    graph = Graph(net)
    for step in net.steps:
        getattr(graph, step["op"])(step)
    value = helper.make_tensor_value_info
    inputs = [value("x", TensorProto.FLOAT, ["n", *net.shape])]
    outputs = [value(net.output, TensorProto.FLOAT, ["n", *net.steps[-1]["shape"]])]
    made = helper.make_graph(graph.nodes, net.name, inputs, outputs, list(graph.weights.values()))
    opsets = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(made, producer_name="ukperf", opset_imports=opsets, ir_version=IR)
    checker.check_model(model, full_check=True)
    Path(path).write_bytes(model.SerializeToString(deterministic=True))


write(Net(sys.argv[1]), sys.argv[2])
