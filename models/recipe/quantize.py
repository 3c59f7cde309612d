"""The f32 image encoder to int8, as a file with Quantize and Dequantize nodes (QDQ).

Weights are int8 with one scale per output channel, activations uint8 with one scale per tensor.
The file reads well in two ways: as it stands, with int8 activations, and as edgeclip reads it, with
every pair of Quantize and Dequantize on activations replaced by the clamp that it implies. The head
keeps float activations: its softmax does not bear rounding.

Ranges of activations are those with the least squared error over the calibration pictures, but
never above what ReLU6 gives. How weights are rounded: rounding.py.
"""

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

import accuracy
import preprocess
import rounding
from graph import int8_steps, quantize_rows

BINS = 2048
SAMPLED = 5  # one value in so many goes into the histogram
# What lies outside the range is lost in both readings, and photos reach farther than made scenes.
CLAMP_WEIGHT = 64
PIXELS = ((0 - preprocess.MEAN) / preprocess.STD, (1 - preprocess.MEAN) / preprocess.STD)  # exact


class Model:
    """An ONNX model with its constants as arrays."""

    def __init__(self, path):
        self.proto = onnx.load(path)
        self.nodes = list(self.proto.graph.node)
        self.constants = {c.name: numpy_helper.to_array(c) for c in self.proto.graph.initializer}
        self.users = {}
        for node in self.nodes:
            for name in node.input:
                self.users.setdefault(name, []).append(node)

    def convolutions(self):
        return [node for node in self.nodes if node.op_type == "Conv"]

    def activations(self):
        """Tensors to be rounded: the input, and what leaves each layer before the pooling."""
        names = ["pixel_values"]
        for node in self.nodes:
            clipped = node.op_type == "Conv" and self.users[node.output[0]][0].op_type == "Clip"
            if node.op_type in ("Clip", "Add") or (node.op_type == "Conv" and not clipped):
                names.append(node.output[0])
        return names


def observe(path, names, inputs, batch=16):
    """Yields {name: values} for each batch of inputs."""
    proto = onnx.load(path)
    known = {value.name for value in proto.graph.output}
    wanted = [name for name in names if name != "pixel_values"]
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in wanted if name not in known)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, ["CPUExecutionProvider"])
    for start in range(0, len(inputs), batch):
        part = inputs[start : start + batch]
        values = dict(zip(wanted, session.run(wanted, {"pixel_values": part})))
        yield values | {"pixel_values": part}


class Statistics:
    """Histogram of one tensor. The first batch sets the width, doubled."""

    def __init__(self, first):
        self.edge = 2 * float(np.abs(first).max())
        self.counts = np.zeros(BINS, np.int64)

    def add(self, values):
        some = values.reshape(-1)[::SAMPLED].clip(-self.edge, self.edge)
        self.counts += np.histogram(some, BINS, (-self.edge, self.edge))[0]

    def range(self):
        """The (low, high) of least squared error, low ≤ 0 ≤ high."""
        centres = (np.arange(BINS) + 0.5) * (2 * self.edge / BINS) - self.edge
        seen = centres[self.counts > 0]
        low, high = min(seen[0], 0.0), max(seen[-1], 0.0)
        half_bin = self.edge / BINS
        low, high = (low - half_bin if low < 0 else 0.0), high + half_bin
        best = (np.inf, low, high)
        for keep_low in np.linspace(0.4, 1, 25) if low < 0 else (1.0,):
            for keep_high in np.linspace(0.4, 1, 25):
                a, b = low * keep_low, high * keep_high
                step = (b - a) / 255
                inside = centres.clip(a, b)
                # Inside the range the error is a uniform one of step²/12; outside, the distance.
                clamped = ((centres - inside) ** 2 * self.counts).sum()
                error = CLAMP_WEIGHT * clamped + step**2 / 12 * self.counts.sum()
                best = min(best, (error, a, b))
        return best[1:]


def statistics(model, path, pictures):
    """Of each activation to be rounded, and of what each convolution is given, by its output."""
    names = model.activations()
    seen, inputs = {}, {
        node.output[0]: rounding.Inputs(node, model.constants[node.input[1]].shape[2], seed)
        for seed, node in enumerate(model.convolutions())
    }
    for values in observe(path, names, pictures):
        for name in names:
            seen.setdefault(name, Statistics(values[name])).add(values[name])
        for node in model.convolutions():
            inputs[node.output[0]].add(values[node.input[0]])
    return seen, inputs


def scale_and_zero(low, high):
    scale = np.float32((high - low) / 255)
    return scale, np.uint8(np.clip(round(-low / float(scale)), 0, 255))


class QdqWriter:
    def __init__(self, model):
        self.model = model
        self.constants = dict(model.constants)
        self.nodes = []
        self.rounded = {}  # tensor name: name of its dequantized copy
        self.scales = {}

    def pair(self, name, bounds):
        """Quantize and dequantize the activation `name`."""
        scale, zero = scale_and_zero(*bounds)
        self.scales[name] = scale
        self.constants |= {name + "_scale": scale, name + "_zero": zero}
        ends = [name + "_scale", name + "_zero"]
        for kind, source, target in (
            ("QuantizeLinear", name, name + "_q"),
            ("DequantizeLinear", name + "_q", name + "_dq"),
        ):
            self.nodes.append(helper.make_node(kind, [source] + ends, [target], name=target))
        self.rounded[name] = name + "_dq"

    def weight(self, name, axis, int8, scale):
        """Holds the constant `name` as int8 with one scale per slice of `axis`."""
        self.constants.pop(name)
        self.constants |= {
            name + "_q": np.ascontiguousarray(int8), name + "_scale": scale,
            name + "_zero": np.zeros(len(scale), np.int8),
        }
        self.dequantize(name, axis)

    def bias(self, name, values, scale):
        """Biases are int32 in steps of input scale times weight scale, as int8 kernels add them."""
        self.constants.pop(name)
        self.constants |= {
            name + "_q": np.rint(values / scale.astype(np.float64)).astype(np.int32),
            name + "_scale": scale,
            name + "_zero": np.zeros(len(scale), np.int32),
        }
        self.dequantize(name, 0)

    def dequantize(self, name, axis):
        inputs = [name + "_q", name + "_scale", name + "_zero"]
        self.nodes.append(helper.make_node("DequantizeLinear", inputs, [name + "_dq"], name=name + "_dq", axis=axis))
        self.rounded[name] = name + "_dq"

    def convolution(self, node, inputs):
        source, weight_name, bias_name = node.input
        weight, bias = self.constants[weight_name], self.constants[bias_name]
        # Some channels are dead, with weights near 0: their bias must still fit into an int32.
        scale = np.maximum(int8_steps(weight), np.abs(bias) / (self.scales[source] * 2**30))
        int8 = inputs.round(weight, scale, self.scales[source] ** 2 / 12)
        self.weight(weight_name, 0, int8, scale)
        change = int8 * scale.reshape(-1, 1, 1, 1).astype(np.float64) - weight
        self.bias(bias_name, bias - inputs.mean_shift(change), self.scales[source] * scale)

    def product(self, name, axis):
        """The head's weights, to nearest: they add next to nothing."""
        int8, scale = quantize_rows(np.moveaxis(self.constants[name], axis, 0))
        self.weight(name, axis, np.moveaxis(int8, 0, axis), scale)

    def copy(self, node):
        fresh = onnx.NodeProto()
        fresh.CopyFrom(node)
        for i, name in enumerate(node.input):
            fresh.input[i] = self.rounded.get(name, name)
        self.nodes.append(fresh)

    def save(self, path):
        graph = self.model.proto.graph
        del graph.node[:], graph.initializer[:], graph.value_info[:]
        graph.node.extend(self.nodes)
        graph.initializer.extend(
            numpy_helper.from_array(np.asarray(values), name) for name, values in self.constants.items()
        )
        onnx.checker.check_model(self.model.proto)
        onnx.save(self.model.proto, path)


def quantize(path, inputs, target):
    """Writes the int8 form of the encoder at `path`, calibrated on `inputs`."""
    model = Model(path)
    seen, given = statistics(model, path, inputs)
    writer = QdqWriter(model)
    writer.pair("pixel_values", PIXELS)
    for node in model.nodes:
        if node.op_type == "Conv":
            writer.convolution(node, given[node.output[0]])
        elif node.op_type in ("Gemm", "MatMul") and node.input[1] in model.constants:
            writer.product(node.input[1], 0 if node.op_type == "Gemm" else 1)
        writer.copy(node)
        output = node.output[0]
        if output in seen:
            writer.pair(output, seen[output].range())
    writer.save(target)


def without_activation_rounding(path, target):
    """The same file with every pair on an activation replaced by its clamp, as edgeclip reads it."""
    proto = onnx.load(path)
    values = {c.name: numpy_helper.to_array(c) for c in proto.graph.initializer}
    sources = {n.output[0]: n.input[0] for n in proto.graph.node if n.op_type == "QuantizeLinear"}
    nodes = []
    for node in proto.graph.node:
        name = node.output[0]
        if node.op_type == "DequantizeLinear" and node.input[0] in sources:
            scale, zero = (float(values[end]) for end in node.input[1:])
            bounds = {f"{name}_low": -zero * scale, f"{name}_high": (255 - zero) * scale}
            proto.graph.initializer.extend(numpy_helper.from_array(np.float32(v), n) for n, v in bounds.items())
            node = helper.make_node("Clip", [sources[node.input[0]], *bounds], [name], name=name)
        if name not in sources:
            nodes.append(node)
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    onnx.checker.check_model(proto)
    onnx.save(proto, target)


def cosines(reference, other, inputs):
    """Cosine between the features of two image encoders, for each input."""
    one, two = (accuracy.features(accuracy.image_session(path), inputs) for path in (reference, other))
    return (one * two).sum(axis=1)
