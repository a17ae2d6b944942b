"""A network or a forest as ONNX, by the package onnx: python write_onnx.py FOLDER FILE."""

import sys
from pathlib import Path

import numpy as np
from netfile import Net
from onnx import TensorProto, checker, helper

OPSET, ML_OPSET, IR = 17, 3, 8  # of 2022: what every runtime that is still looked after reads


class Graph:
    """The nodes of a graph as they are added."""

    def __init__(self, net):
        self.net, self.nodes, self.weights = net, [], {}

    def node(self, kind, inputs, output, **attributes):
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))

    def weight(self, name):
        return self.constant(name, self.net.array(name))

    def constant(self, name, array):
        """A tensor of the file, by its name."""
        array = np.ascontiguousarray(array)
        kind = TensorProto.INT64 if array.dtype == np.int64 else TensorProto.FLOAT
        self.weights[name] = helper.make_tensor(name, kind, array.shape, array.tobytes(), raw=True)
        return name

    def dense(self, step):
        w, b = step["weights"]
        if len(step["shape"]) == 1:
            self.node("Gemm", [*step["inputs"], self.weight(w), self.weight(b)], step["output"], transB=1)
            return
        product = step["output"] + "_product"
        self.node("MatMul", [*step["inputs"], self.constant(w, self.net.array(w).T)], product)
        self.node("Add", [product, self.weight(b)], step["output"])

    def conv(self, step):
        weights = map(self.weight, step["weights"])
        self.node("Conv", [*step["inputs"], *weights], step["output"], kernel_shape=[3, 3], pads=[1, 1, 1, 1])

    def pool(self, step):
        self.node("MaxPool", step["inputs"], step["output"], kernel_shape=[2, 2], strides=[2, 2])

    def flatten(self, step):
        self.node("Flatten", step["inputs"], step["output"])

    def relu(self, step):
        self.node("Relu", step["inputs"], step["output"])

    def softmax(self, step):
        self.node("Softmax", step["inputs"], step["output"], axis=-1)

    def norm(self, step):
        weights = map(self.weight, step["weights"])
        self.node("LayerNormalization", [*step["inputs"], *weights], step["output"], axis=-1, epsilon=1e-5)

    def add(self, step):
        self.node("Add", step["inputs"], step["output"])

    def matmul(self, step):
        self.node("MatMul", step["inputs"], step["output"])

    def scores(self, step):
        left, right = step["inputs"]
        turned, product, factor = (f"{step['output']}_{word}" for word in ("turned", "product", "factor"))
        self.node("Transpose", [right], turned, perm=[0, 1, 3, 2])
        self.node("MatMul", [left, turned], product)
        self.node("Mul", [product, self.constant(factor, np.float32([step["value"]]))], step["output"])

    def split(self, step):
        heads, places, width = step["shape"]
        parts, shape = step["output"] + "_parts", step["output"] + "_shape"
        self.node("Reshape", [*step["inputs"], self.constant(shape, np.int64([0, places, heads, width]))], parts)
        self.node("Transpose", [parts], step["output"], perm=[0, 2, 1, 3])

    def merge(self, step):
        turned, shape = step["output"] + "_turned", step["output"] + "_shape"
        self.node("Transpose", step["inputs"], turned, perm=[0, 2, 1, 3])
        self.node("Reshape", [turned, self.constant(shape, np.int64([0, *step["shape"]]))], step["output"])

    def mean(self, step):
        self.node("ReduceMean", step["inputs"], step["output"], axes=[1], keepdims=0)


def network(net):
    """Nodes, tensors of the file, and outputs."""
    graph = Graph(net)
    for step in net.steps:
        getattr(graph, step["op"])(step)
    outputs = [helper.make_tensor_value_info(net.output, TensorProto.FLOAT, ["n", *net.steps[-1]["shape"]])]
    return graph.nodes, list(graph.weights.values()), outputs


def forest(net):
    """As converters write a forest of scikit-learn's: the label, and the probabilities behind it."""
    parts = {name: net.array(name) for name in net.table}
    roots, left, leaves = parts["roots"], parts["left"], parts["leaves"]
    classes, inner = leaves.shape[1], left >= 0
    numbers = np.arange(len(left))
    tree = np.searchsorted(roots, numbers, side="right") - 1
    ids = numbers - roots[tree]
    ends = np.flatnonzero(~inner)
    node = helper.make_node(
        "TreeEnsembleClassifier",
        ["x"],
        ["label", "probabilities"],
        domain="ai.onnx.ml",
        nodes_treeids=tree.tolist(),
        nodes_nodeids=ids.tolist(),
        nodes_featureids=parts["column"].tolist(),
        nodes_modes=np.where(inner, "BRANCH_LEQ", "LEAF").tolist(),
        nodes_values=parts["threshold"].tolist(),
        nodes_truenodeids=np.where(inner, left - roots[tree], 0).tolist(),
        nodes_falsenodeids=np.where(inner, parts["right"] - roots[tree], 0).tolist(),
        class_treeids=np.repeat(tree[ends], classes).tolist(),
        class_nodeids=np.repeat(ids[ends], classes).tolist(),
        class_ids=list(range(classes)) * len(ends),
        class_weights=(leaves[ends] / np.float32(len(roots))).ravel().tolist(),
        classlabels_int64s=list(range(classes)),
        post_transform="NONE",
    )
    outputs = [
        helper.make_tensor_value_info("label", TensorProto.INT64, ["n"]),
        helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", classes]),
    ]
    return [node], [], outputs


def write(net, path):
    nodes, weights, outputs = network(net) if net.steps else forest(net)
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", *net.shape])]
    made = helper.make_graph(nodes, net.name, inputs, outputs, weights)
    opsets = [helper.make_opsetid("", OPSET)] + ([] if net.steps else [helper.make_opsetid("ai.onnx.ml", ML_OPSET)])
    model = helper.make_model(made, producer_name="ukperf", opset_imports=opsets, ir_version=IR)
    checker.check_model(model, full_check=True)
    Path(path).write_bytes(model.SerializeToString(deterministic=True))


write(Net(sys.argv[1]), sys.argv[2])
