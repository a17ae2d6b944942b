"""A network as TensorFlow Lite's flatbuffer: python write_tflite.py FOLDER FILE. The schema is ai-edge-litert's own."""

import sys
from pathlib import Path

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from netfile import Net

VERSION = 3  # of the schema, since 2017
IDENTIFIER = b"TFL3"
ALIGNMENT = 16  # of constants (force_align in schema.fbs); what the schema's own classes write has none


class Constant(schema.BufferT):
    """A buffer whose bytes lie where vector instructions may read them from the mapped file."""

    def Pack(self, builder):
        builder.StartVector(1, len(self.data), ALIGNMENT)
        builder.head -= len(self.data)
        builder.Bytes[builder.head : builder.head + len(self.data)] = self.data
        data = builder.EndVector()
        schema.BufferStart(builder)
        schema.BufferAddData(builder, data)
        return schema.BufferEnd(builder)


class Graph:
    """The tensors, buffers and operators of the one subgraph as they are added.

    Pictures are (height, width, channels) in this format. What a convolution gives is that way round; `pictures` has
    the names of such tensors, `flat` of those that were flattened from such, with the shape that they had in the net.
    """

    def __init__(self, net):
        self.net, self.tensors, self.index, self.operators, self.codes = net, [], {}, [], []
        self.buffers = [schema.BufferT()]  # the first one is empty, and of all tensors that are computed
        self.shapes, self.pictures, self.flat = {"x": net.shape}, set(), {}

    def tensor(self, name, shape):
        """One that is computed. Its first direction is rows, and any number of them may be asked for."""
        made = self._add(name, [1, *shape])
        made.shapeSignature = [-1, *shape]
        return name

    def constant(self, name, array):
        made = self._add(name, array.shape)
        made.type = schema.TensorType.INT32 if array.dtype == np.int32 else schema.TensorType.FLOAT32
        made.buffer = len(self.buffers)
        buffer = Constant()
        buffer.data = array.tobytes()
        self.buffers.append(buffer)
        return name

    def _add(self, name, shape):
        made = schema.TensorT()
        made.name, made.type, made.shape, made.buffer = name, schema.TensorType.FLOAT32, list(shape), 0
        self.index[name] = len(self.tensors)
        self.tensors.append(made)
        return made

    def weight(self, name):
        return self.constant(name, self.net.array(name))

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
        (source,), (w, b) = step["inputs"], step["weights"]
        weights = self.net.array(w)
        if source in self.flat:  # in the order in which the points are here
            weights = weights.reshape(-1, *self.flat[source]).transpose(0, 2, 3, 1).reshape(weights.shape)
        options = schema.FullyConnectedOptionsT()
        options.keepNumDims = len(step["shape"]) > 1
        inputs = [source, self.constant(w, weights), self.weight(b)]
        self.operator("FULLY_CONNECTED", inputs, self.tensor(step["output"], step["shape"]), options)

    def picture(self, name, shape):
        """A tensor for a picture, whose shape is told as in the net."""
        self.pictures.add(name)
        channels, height, width = shape
        return self.tensor(name, [height, width, channels])

    def conv(self, step):
        (source,), (w, b) = step["inputs"], step["weights"]
        if source not in self.pictures:
            turned = self.picture(source + "_turned", self.shapes[source])
            self.transpose(source, turned, [0, 2, 3, 1])
            source = turned
        options = schema.Conv2DOptionsT()
        options.padding, options.strideH, options.strideW = schema.Padding.SAME, 1, 1
        weights = self.constant(w, np.ascontiguousarray(self.net.array(w).transpose(0, 2, 3, 1)))
        self.operator(
            "CONV_2D", [source, weights, self.weight(b)], self.picture(step["output"], step["shape"]), options
        )

    def pool(self, step):
        options = schema.Pool2DOptionsT()
        options.padding, options.strideH, options.strideW = schema.Padding.VALID, 2, 2
        options.filterHeight, options.filterWidth = 2, 2
        self.operator("MAX_POOL_2D", step["inputs"], self.picture(step["output"], step["shape"]), options)

    def flatten(self, step):
        (source,) = step["inputs"]
        if source in self.pictures:
            self.flat[step["output"]] = self.shapes[source]
        self.reshape(source, self.tensor(step["output"], step["shape"]), step["shape"])

    def relu(self, step):
        make = self.picture if step["inputs"][0] in self.pictures else self.tensor
        self.operator("RELU", step["inputs"], make(step["output"], step["shape"]))

    def softmax(self, step):
        options = schema.SoftmaxOptionsT()
        options.beta = 1.0
        self.operator("SOFTMAX", step["inputs"], self.tensor(step["output"], step["shape"]), options)

    def norm(self, step):
        """There is no such operator: its parts."""
        (x,), out, shape = step["inputs"], step["output"], step["shape"]
        one = [*shape[:-1], 1]
        gain, bias = map(self.weight, step["weights"])

        def part(word, kind, inputs, of, options=None):
            name = self.tensor(f"{out}_{word}", of)
            self.operator(kind, inputs, name, options)
            return name

        axis = self.constant(f"{out}_axis", np.int32([len(shape)]))
        tiny = self.constant(f"{out}_tiny", np.float32([1e-5]))
        keep = schema.ReducerOptionsT()
        keep.keepDims = True
        mean = part("mean", "MEAN", [x, axis], one, keep)
        squares = part("squares", "SQUARED_DIFFERENCE", [x, mean], shape, schema.SquaredDifferenceOptionsT())
        variance = part("variance", "MEAN", [squares, axis], one, keep)
        safe = part("safe", "ADD", [variance, tiny], one, schema.AddOptionsT())
        inverse = part("inverse", "RSQRT", [safe], one)
        centred = part("centred", "SUB", [x, mean], shape, schema.SubOptionsT())
        scaled = part("scaled", "MUL", [centred, inverse], shape, schema.MulOptionsT())
        gained = part("gained", "MUL", [scaled, gain], shape, schema.MulOptionsT())
        self.operator("ADD", [gained, bias], self.tensor(out, shape), schema.AddOptionsT())

    def add(self, step):
        self.operator("ADD", step["inputs"], self.tensor(step["output"], step["shape"]), schema.AddOptionsT())

    def matmul(self, step):
        options = schema.BatchMatMulOptionsT()
        self.operator("BATCH_MATMUL", step["inputs"], self.tensor(step["output"], step["shape"]), options)

    def scores(self, step):
        options = schema.BatchMatMulOptionsT()
        options.adjY = True
        product = self.tensor(step["output"] + "_product", step["shape"])
        self.operator("BATCH_MATMUL", step["inputs"], product, options)
        factor = self.constant(step["output"] + "_factor", np.float32([step["value"]]))
        made = self.tensor(step["output"], step["shape"])
        self.operator("MUL", [product, factor], made, schema.MulOptionsT())

    def split(self, step):
        heads, places, width = step["shape"]
        parts = self.tensor(step["output"] + "_parts", [places, heads, width])
        self.reshape(step["inputs"][0], parts, [places, heads, width])
        self.transpose(parts, self.tensor(step["output"], step["shape"]), [0, 2, 1, 3])

    def merge(self, step):
        heads, places, width = self.shapes[step["inputs"][0]]
        turned = self.tensor(step["output"] + "_turned", [places, heads, width])
        self.transpose(step["inputs"][0], turned, [0, 2, 1, 3])
        self.reshape(turned, self.tensor(step["output"], step["shape"]), step["shape"])

    def mean(self, step):
        axis = self.constant(step["output"] + "_axis", np.int32([1]))
        made = self.tensor(step["output"], step["shape"])
        self.operator("MEAN", [*step["inputs"], axis], made, schema.ReducerOptionsT())

    def reshape(self, source, target, shape):
        options = schema.ReshapeOptionsT()
        options.newShape = [-1, *shape]
        self.operator("RESHAPE", [source, self.constant(target + "_shape", np.int32([-1, *shape]))], target, options)

    def transpose(self, source, target, order):
        inputs = [source, self.constant(target + "_order", np.int32(order))]
        self.operator("TRANSPOSE", inputs, target, schema.TransposeOptionsT())


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
        graph.shapes[step["output"]] = step["shape"]
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
