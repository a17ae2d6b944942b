"""A network as TensorFlow Lite's flatbuffer: python write_tflite.py FOLDER FILE. The schema is ai-edge-litert's own."""

import sys
from pathlib import Path

import flatbuffers
from ai_edge_litert import schema_py_generated as schema
from netfile import Net

VERSION = 3  # of the schema, since 2017
IDENTIFIER = b"TFL3"


class Graph:
    """The tensors, buffers and operators of the one subgraph as they are added."""

    def __init__(self, net):
        self.net, self.tensors, self.index, self.operators, self.codes = net, [], {}, [], []
        self.buffers = [schema.BufferT()]  # the first one is empty, and of all tensors that are computed

    def tensor(self, name, shape, content=None):
        """One of a name; the first direction of what is computed is a row, and any number of rows may be asked for."""
        made = schema.TensorT()
        made.name, made.type, made.buffer = name, schema.TensorType.FLOAT32, 0
        made.shape = list(shape) if content is not None else [1, *shape]
        if content is None:
            made.shapeSignature = [-1, *shape]
        else:
            made.buffer = len(self.buffers)
            buffer = schema.BufferT()
            buffer.data = list(content)
            self.buffers.append(buffer)
        self.index[name] = len(self.tensors)
        self.tensors.append(made)
        return name

    def weight(self, name):
        return self.tensor(name, self.net.shape_of(name), self.net.bytes_of(name))

    def operator(self, kind, inputs, output, options=None, version=1):
        """kind: the name of a BuiltinOperator; options: the object of its options."""
        code = getattr(schema.BuiltinOperator, kind)
        if (code, version) not in self.codes:
            self.codes.append((code, version))
        made = schema.OperatorT()
        made.opcodeIndex = self.codes.index((code, version))
        made.inputs, made.outputs = [self.index[name] for name in inputs], [self.index[output]]
        if options is not None:
            made.builtinOptions = options
            made.builtinOptionsType = getattr(schema.BuiltinOptions, type(options).__name__.removesuffix("T"))
        self.operators.append(made)

    def dense(self, step):
        w, b = map(self.weight, step["weights"])
        self.tensor(step["output"], step["shape"])
        options = schema.FullyConnectedOptionsT()
        options.keepNumDims = len(step["shape"]) > 1
        self.operator("FULLY_CONNECTED", [*step["inputs"], w, b], step["output"], options)

    def relu(self, step):
        self.operator("RELU", step["inputs"], self.tensor(step["output"], step["shape"]))


def code_of(code, version):
    made = schema.OperatorCodeT()
    made.builtinCode, made.version = code, version
    made.deprecatedBuiltinCode = min(code, 127)
    return made


def write(net, path):
    graph = Graph(net)
    graph.tensor("x", net.shape)
    for step in net.steps:
        getattr(graph, step["op"])(step)
    sub = schema.SubGraphT()
    sub.name, sub.tensors, sub.operators = net.name, graph.tensors, graph.operators
    sub.inputs, sub.outputs = [graph.index["x"]], [graph.index[net.output]]
    model = schema.ModelT()
    model.version, model.description, model.subgraphs, model.buffers = VERSION, "ukperf", [sub], graph.buffers
    model.operatorCodes = [code_of(*code) for code in graph.codes]
    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), file_identifier=IDENTIFIER)
    Path(path).write_bytes(builder.Output())


write(Net(sys.argv[1]), sys.argv[2])
